"""`fgsm train` beside PyTorch on the same device: RS-FGSM at 8/255 with crops and mirror images, SGD with
momentum, the samples on the device (torch_train.py says how PyTorch does it).

    python gpu_compare_train_torch.py [--fgsm PATH] [--data FILE.bin] [--arch NAME] [--batch N]
                                      [--precision P] [--device NAME] [--compile MODE,...] [--lr RATE]
                                      [--steps N] [--rounds N] [--json FILE]

FILE is in CIFAR-10's binary format; without one, images of as many classes are drawn, since the speed does
not depend on them. Windows of as many steps go A B A B with the fastest of PyTorch's ways. Of fgsm a window
is the second epoch of a run of the command, its steps alone; neither side's first steps count, in which
kernels are chosen and the step is recorded. bench/RESULTS.md wants --compile default,max-autotune
--rounds 10; `--device cpu` shows that it works where there is no card."""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch_fgsm
import torch_train

SHAPE, CLASSES, RECORD = (3, 32, 32), 10, 3073


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fgsm", default="fgsm")
    parser.add_argument("--data")
    parser.add_argument("--arch", default="preact-resnet18", choices=list(torch_train.NETS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], help="default: bf16, fp32 on a cpu")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=0, help="of a cpu")
    parser.add_argument("--compile", default="", help="default,max-autotune")
    parser.add_argument("--lr", type=float, default=torch_train.Recipe.rate)
    parser.add_argument("--steps", type=int, default=390)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    o = parser.parse_args()
    o.precision = o.precision or ("fp32" if o.device == "cpu" else "bf16")
    return o


def synthetic(path, n):
    """n records: a colour of the class's, and noise, which crops and mirrors leave as they are."""
    torch.manual_seed(0)
    colours = torch.randint(0, 192, (CLASSES, SHAPE[0], 1))
    labels = torch.randint(0, CLASSES, (n, 1))
    pixels = colours[labels[:, 0]] + torch.randint(0, 64, (n, SHAPE[0], SHAPE[1] * SHAPE[2]))
    path.write_bytes(torch.cat((labels, pixels.flatten(1)), 1).to(torch.uint8).numpy().tobytes())


def read(path, n, device):
    records = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).view(-1, RECORD)
    if len(records) < n:
        sys.exit(f"{path}: {n} samples are wanted, and there are {len(records)}")
    images = records[:n, 1:].reshape(n, *SHAPE).to(device)
    return images, records[:n, 0].long().to(device)


def ours(o, data, log):
    """Seconds of one step, and the mean loss, of the second epoch."""
    command = [o.fgsm, "train", "--arch", o.arch, data, "--limit", o.steps * o.batch, "--validation", 0,
               "--method", "rs-fgsm", "--eps", "8/255", "--batch", o.batch, "--augment", "crop-flip",
               "--lr", o.lr, "--epochs", 2, "--watch", 0, "--precision", o.precision, "--device", o.device, "--log", log,
               "--quiet"] + (["--threads", o.threads] if o.threads else [])
    answer = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(answer.stderr.strip())
    epochs = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "epoch"]
    return epochs[-1]["seconds"] / o.steps, epochs[-1]["loss"]


def compare(o, folder):
    data = pathlib.Path(o.data or folder / "synthetic.bin")
    if not o.data:
        synthetic(data, o.steps * o.batch)
    images, labels = read(data, o.steps * o.batch, o.device)
    recipe = torch_train.Recipe(batch=o.batch, steps=2 * o.steps, rate=o.lr)
    modes = [mode for mode in o.compile.split(",") if mode]
    torch.manual_seed(0)
    theirs = list(torch_train.variants(torch_train.NETS[o.arch](), images, labels, recipe, o.precision, modes))
    losses = []

    def our_seconds():
        seconds, loss = ours(o, data, folder / "log.jsonl")
        losses.append(loss)
        return seconds

    row = torch_fgsm.compare(theirs, our_seconds, o.device, o.rounds, least=0.5)
    best = next(one for one in theirs if one.name == row["variant"])
    return row | {"fgsm_loss": losses[-1], "torch_loss": best.second_loss()}


def main():
    o = options()
    card = "cpu"
    if o.device != "cpu":
        if not torch.cuda.is_available():
            sys.exit("PyTorch sees no card")
        if ":" in o.device:
            torch.cuda.set_device(o.device)
        card = torch.cuda.get_device_name()
    elif o.threads:
        torch.set_num_threads(o.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = o.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory() as folder:
        row = compare(o, pathlib.Path(folder))
    print(f"{o.arch} {o.batch} {o.precision}: fgsm {o.batch / row['fgsm_seconds']:.0f} samples/s, PyTorch "
          f"{o.batch / row['torch_seconds']:.0f} ({row['variant']}), {row['ratio']:.2f}x "
          f"({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})")
    if o.json:
        answer = {"date": datetime.date.today().isoformat(), "torch": torch.__version__, "card": card,
                  "arch": o.arch, "batch": o.batch, "precision": o.precision, "steps": o.steps} | row
        pathlib.Path(o.json).write_text(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
