"""fgsm beside PyTorch on the same card, both with their data on it (torch_fgsm.py says how).

    python gpu_compare_torch.py [--fgsm PATH] [--nets NAME,...] [--batches N,...] [--precisions P,...]
                                [--compile MODE,...] [--rounds N] [--minutes M] [--json FILE]

Without --nets a selection that takes two minutes; --nets all is what bench/RESULTS.md wants. When the
minutes are over it stops after the net at hand, and says what is left out."""

import argparse
import datetime
import json
import pathlib
import sys
import tempfile
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch_fgsm
import torch_nets

ALL = ("resnet18", "preact-resnet18", "wrn-28-10", "resnet50", "vgg16", "vit-b16", "mnist-cnn", "mlp",
       "acasxu")
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fgsm", default="fgsm")
    parser.add_argument("--nets", default="acasxu,mlp,mnist-cnn,resnet18,resnet50")
    parser.add_argument("--batches", default="512")
    parser.add_argument("--precisions", default="fp32,tf32,bf16")
    parser.add_argument("--compile", default="", help="default,max-autotune")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--json")
    return parser.parse_args()


def main():
    o = options()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no card")
    names = ALL if o.nets == "all" else o.nets.split(",")
    cases = [(n, int(b), p) for n in names for b in o.batches.split(",")
             for p in o.precisions.split(",")]
    modes = [mode for mode in o.compile.split(",") if mode]
    rows, left_out, until = [], [], time.monotonic() + 60 * o.minutes
    with tempfile.TemporaryDirectory() as folder:
        for name, batch, precision in cases:
            if time.monotonic() > until:
                left_out.append(f"{name} {batch} {precision}")
                continue
            row = {"net": name, "batch": batch, "precision": precision}
            try:
                net, shape = torch_nets.make(name)
                path = torch_nets.export(net, shape, f"{folder}/{name}.onnx")
                torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
                torch.backends.cudnn.allow_tf32 = precision == "tf32"
                theirs = torch_fgsm.variants(net, shape, batch, "cuda", DTYPES[precision], modes)
                row |= torch_fgsm.compare(
                    list(theirs),
                    lambda: torch_fgsm.ours(o.fgsm, path, batch, "cuda", precision, 0, 10)[0],
                    "cuda", o.rounds)
                print(f"{name:16} {batch:5} {precision}: fgsm {batch / row['fgsm_seconds']:12.0f}/s, "
                      f"PyTorch {batch / row['torch_seconds']:12.0f}/s ({row['variant']}), "
                      f"{row['ratio']:.2f}x ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})", flush=True)
            except Exception as why:  # said beside the others: one net must not end the run
                row["failed"] = str(why)[:300]
                print(f"{name:16} {batch:5} {precision}: {row['failed']}", flush=True)
            torch.cuda.empty_cache()
            rows.append(row)
    for one in left_out:
        print("left out for want of time:", one)
    if o.json:
        answer = {"date": datetime.date.today().isoformat(), "torch": torch.__version__,
                  "card": torch.cuda.get_device_name(), "rows": rows, "left_out": left_out}
        pathlib.Path(o.json).write_text(json.dumps(answer, indent=2) + "\n")
    sys.exit(any("failed" in row for row in rows))


if __name__ == "__main__":
    main()
