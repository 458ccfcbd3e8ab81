"""Compares what the C library computes of the exported zoo with the frameworks' float64 results, and
writes the table of docs/ONNX.md.

    python check_zoo.py FOLDER ZOO_RUN [--only NAME,...] [--markdown docs/ONNX.md]

FOLDER comes from export_zoo.py and its kin; ZOO_RUN is the program `ninja zoo-run` builds. Exits
with 1 where a model is refused or misses the numerics contract. Figures are kept in FOLDER, and
measured again where the model or the program is newer.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from zoo_record import deviation

LOGITS = 1e-4  # the largest deviation, relative to the largest magnitude
GRADIENT = {"ref": 1e-5, "cpu": 1e-4}
SIGNS = {"signs": 0.999, "weighted": 0.9999}  # the least share that agrees

HEAD = """# Models that load

Generated down to "Operators" by `python/check_zoo.py` from what `python/export_zoo.py`,
`export_zoo_tf.py`, `export_zoo_sklearn.py`, `export_zoo_cntk.py` and `export_zoo_onnxscript.py` made; do
not edit that. Architectures with random weights go through the exporters that users have. Logits and the
gradient of a random combination of them with respect to the input are compared, on a batch of two, with
the framework in float64 (PyTorch in double, TensorFlow in
float64, scikit-learn by the chain rule in NumPy, which is held against scikit-learn's own slopes).

`logits` and `gradient` are the largest deviation divided by the largest magnitude; `signs` is the
share of gradient components whose sign agrees, and what that share is when components are weighted by
their magnitude. `ref` is the oracle in double, `cpu` float32 through oneDNN. The gradient is held to
1e-4 on `cpu` and 1e-5 on `ref`, 99.9 % of the signs and 99.99 % by weight, the logits to 1e-4;
weights in the file are float32, so `ref` differs from the framework by what the exporter folded in
float32. Calls are the planner's, of forward and gradient together. An exporter is as it is by default
(optimised) unless the table says otherwise; *data* marks tensors in `model.onnx.data`, *functions* model-local functions, *ml* operators
of ai.onnx.ml.

## How inputs were chosen

A comparison of gradients says something only where the gradient is continuous. Within float32's
rounding of the kink of a ReLU, or of a tie in a max pool, it jumps, in any program, and of the million
units of a random net some always lie that close. So the bias of each channel in front of a ReLU of the
PyTorch nets is moved by less than a tenth of the channel's standard deviation, to the middle of the
widest gap between its units' values on the input, and inputs are drawn until the framework itself is
sure: `moves` is by how much its own float64 gradient changes when every weight changes by 1e-7 of
itself, and must not exceed 1e-5. Where it says so, its own float32 gradient was held to the same;
`float32` shows it.

## What exporters leave out

TorchScript does not export graph_net; tf2onnx has no exact GELU from TensorFlow (its nets here use the
tanh form) and leaves the mean of `keras.layers.Normalization` as another input of the model (`--feed`).
skl2onnx's classifiers need `options={'zipmap': False}`, and `--output probabilities` at the command
line. CNTK and its exporter no longer run: `cntk_cnn` is built by hand in the manner of their files, and
PyTorch says what it computes.

## Figures

| model | parameters | exporter | opset | nodes | calls | moves | float32 | ref logits | ref gradient | cpu logits | cpu gradient | cpu signs |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def measure(program, folder, device, info):
    """(figures, None), or (None, why it was refused)."""
    arrays = np.load(folder / "zoo.npz")
    logits, grad = arrays["logits"], arrays["grad"].ravel()
    with tempfile.NamedTemporaryFile() as out:
        command = [program, folder / "model.onnx", folder / "zoo.npz", device, out.name]
        done = subprocess.run([*command, *([info["output"]] if "output" in info else [])],
                              capture_output=True, text=True, timeout=1200, check=False)
        if done.returncode:
            return None, done.stderr.strip().splitlines()[-1]
        values = np.fromfile(out.name)
    if values.size != logits.size + grad.size:
        return None, f"{values.size} numbers instead of {logits.size + grad.size}"
    mine, slope = values[:logits.size], values[logits.size:]
    agree = np.sign(slope) == np.sign(grad)
    return {"logits": deviation(mine, logits.ravel()), "grad": deviation(slope, grad),
            "signs": float(agree.mean()), "weighted": float(np.average(agree, weights=np.abs(grad))),
            **json.loads(done.stdout)}, None


def figures_of(program, folder, device, info):
    """As measure, from an earlier run where nothing has changed since."""
    kept = folder / f"figures.{device}.json"
    newest = max(p.stat().st_mtime for p in (program, folder / "zoo.npz", folder / "zoo.json"))
    if kept.exists() and kept.stat().st_mtime > newest:
        return json.loads(kept.read_text())
    answer = measure(program, folder, device, info)
    kept.write_text(json.dumps(answer))
    return answer


def misses(figures, device):
    """What of the contract the figures miss, in words."""
    most = {"logits": LOGITS, "grad": GRADIENT[device]}
    return [f"{key} {figures[key]:.1e}" for key in most if not figures[key] <= most[key]] + [
        f"{key} {100 * figures[key]:.3f} %" for key in SIGNS if not figures[key] >= SIGNS[key]]


def row(info, ref, cpu):
    marks = [word for word in ("external", "functions", "ml") if info.get(word)]
    exporter = ", ".join([info["exporter"], *(m.replace("external", "data") for m in marks)])
    narrow = f"{info['float32']:.0e}" if "float32" in info else ""
    cells = [info["name"] + (f" ({info['reduced']})" if info["reduced"] else ""),
             f"{info['parameters']:,}", exporter, str(info["opset"]), str(info["nodes"]),
             str(cpu["calls"]), f"{info['stake']:.0e}", narrow, f"{ref['logits']:.0e}",
             f"{ref['grad']:.0e}", f"{cpu['logits']:.0e}", f"{cpu['grad']:.0e}",
             f"{100 * cpu['signs']:.3f} %, {100 * cpu['weighted']:.4f} %"]
    return "| " + " | ".join(cells) + " |\n"


def operators(path):
    """The part of the page that is not ours."""
    page = path.read_text() if path.exists() else ""
    start = page.find("\n# Operators\n")
    return page[start:] if start >= 0 else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--markdown", type=pathlib.Path)
    args = parser.parse_args()
    wanted = [n for n in args.only.split(",") if n]
    text, failed, versions = HEAD, [], {}
    for path in sorted(args.folder.glob("*/zoo.json")):
        info, figures = json.loads(path.read_text()), {}
        if wanted and info["name"] not in wanted:
            continue
        versions |= info["versions"]
        label = f"{info['name']}, {info['exporter']}, opset {info['opset']}"
        for device in ("ref", "cpu"):
            figures[device], why = figures_of(args.program.resolve(), path.parent, device, info)
            missed = [why] if why else misses(figures[device], device)
            failed += [f"{label}, on {device}: {m}" for m in missed]
            if why:
                break
        else:
            line = row(info, figures["ref"], figures["cpu"])
            text += line
            print(line, end="", flush=True)
    text += f"\nOn {datetime.date.today()}, with " + ", ".join(
        f"{package} {version}" for package, version in sorted(versions.items())) + ".\n"
    if failed:
        text += "\nRefused, or outside the contract:\n\n" + "".join(f"- {m}\n" for m in failed)
    if args.markdown:
        args.markdown.write_text(text + operators(args.markdown))
    print("\n".join(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
