"""Compares what the C library computes of the exported zoo with PyTorch's float64 results, and
writes the table of docs/ONNX.md.

    python check_zoo.py FOLDER ZOO_RUN [--markdown docs/ONNX.md]

FOLDER comes from export_zoo.py; ZOO_RUN is the program `ninja zoo-run` builds. Exits with 1 where a
model that loads misses the numerics contract. A model that is refused is listed with the reason.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

LIMIT = {"ref": 1e-5, "cpu": 1e-4}  # of the gradient, relative to its largest component

HEAD = """# Models that load

Generated down to "Operators" by `python/export_zoo.py` and `python/check_zoo.py`; do not edit that.
Architectures with random weights go through both of PyTorch's exporters (TorchScript at opset 17; dynamo at opset 18 with its
tensors in `model.onnx.data`). Logits and the gradient of a random combination of them with respect
to the input are compared with PyTorch in float64, on a batch of two.

`logits` and `gradient` are the largest deviation divided by the largest magnitude; `signs` is the
share of gradient components whose sign agrees. `ref` is the oracle in double, `cpu` float32 through
oneDNN. Calls are the planner's, of forward and gradient together. Weights in the file are float32,
so `ref` differs from PyTorch by what the exporter folded in float32.

`PyTorch moves` says how well the question is posed: by how much PyTorch's own float64 gradient changes
when its weights change by 1e-7 of themselves. Where that is large, some unit lies within rounding of
the kink of a ReLU or of a tie in a max pool, and the gradient jumps by that much in any float32
program; such rows are held to ten times that figure only, which for the largest says little beyond
their logits; the others to 1e-4 on `cpu` and 1e-5 on `ref`. TorchScript does not export graph_net.

| model | parameters | exporter | calls | PyTorch moves | ref logits | ref gradient | cpu logits | cpu gradient | cpu signs |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|
"""


def deviation(got, want):
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-300))


def measure(program, folder, device):
    """(figures, None), or (None, why it was refused)."""
    arrays = np.load(folder / "zoo.npz")
    logits, grad = arrays["logits"], arrays["grad"]
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run([program, folder / "model.onnx", folder / "zoo.npz", device, out.name],
                              capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            return None, done.stderr.strip().splitlines()[-1]
        values = np.fromfile(out.name)
    if values.size != logits.size + grad.size:
        return None, f"{values.size} numbers instead of {logits.size + grad.size}"
    mine, slope = values[:logits.size], values[logits.size:]
    clear = np.abs(grad.ravel()) > 1e-7 * np.abs(grad).max()
    signs = np.mean(np.sign(slope[clear]) == np.sign(grad.ravel()[clear]))
    return {"logits": deviation(mine, logits.ravel()), "grad": deviation(slope, grad.ravel()),
            "signs": float(signs), **json.loads(done.stdout)}, None


def row(info, ref, cpu):
    name = info["name"] + (f" ({info['reduced']})" if info["reduced"] else "")
    cells = [name, f"{info['parameters']:,}", info["exporter"], str(cpu["calls"]),
             f"{info['stake']:.0e}", f"{ref['logits']:.0e}", f"{ref['grad']:.0e}", f"{cpu['logits']:.0e}",
             f"{cpu['grad']:.0e}", f"{100 * cpu['signs']:.3f} %"]
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
    parser.add_argument("--markdown", type=pathlib.Path)
    args = parser.parse_args()
    text, refused, missed, torch = HEAD, [], [], ""
    for path in sorted(args.folder.glob("*/zoo.json")):
        info = json.loads(path.read_text())
        torch = info["torch"]
        label = f"{info['name']}, {info['exporter']}"
        figures = {}
        for device in ("ref", "cpu"):
            figures[device], why = measure(args.program, path.parent, device)
            if why:
                refused.append((label, why))
                print(f"{label}: {why}", flush=True)
                break
            if not figures[device]["grad"] <= max(LIMIT[device], 10 * info["stake"]):
                missed.append(f"{label} on {device}: {figures[device]['grad']:.1e}")
        else:
            line = row(info, figures["ref"], figures["cpu"])
            text += line
            print(line, end="", flush=True)
    text += f"\nPyTorch {torch.split('+')[0]}.\n"
    if missed:
        text += "\nOutside the contract:\n\n" + "".join(f"- {m}\n" for m in missed)
    if refused:
        text += "\nRefused:\n\n" + "".join(f"- {label}: {why}\n" for label, why in refused)
    if args.markdown:
        args.markdown.write_text(text + operators(args.markdown))
    print("\n".join(missed))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
