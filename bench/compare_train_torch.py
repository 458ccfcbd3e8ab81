"""Training beside PyTorch on the same processor cores: fast_adversarial's MNIST net and recipe (Wong,
Rice, Kolter 2020): RS-FGSM at eps 0.3, alpha 0.375, batches of 100, Adam, a triangular learning rate.

    python compare_train_torch.py DATA [--fgsm PATH] [--threads N] [--steps N] [--rounds N] [--json FILE]
    python compare_train_torch.py DATA --whole FILE.onnx [--seed N] [--threads N]

DATA is MNIST's train-images-idx3-ubyte.gz, its labels beside it. Windows of as many steps go
A B A B; what is told are medians and quartiles of the pairwise ratio. Of fgsm a window is one run of
the command, of which the steps count (`train_seconds`). PyTorch's samples lie in memory as floats, and
its crafting asks for the input's gradient alone, which the authors' code does not. --whole has PyTorch
train the whole recipe, 10 epochs of the first 59,000, and write what it comes to."""

import argparse
import datetime
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
from torch import nn

import torch_fgsm
import torch_train

EPS, ALPHA, BATCH, RATE, PEAK = 0.3, 0.375, 100, 0.005, 0.4


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--fgsm", default="fgsm")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json")
    parser.add_argument("--whole", metavar="FILE.onnx")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read(path, n):
    images = gzip.open(path).read()[16:16 + n * 784]
    labels = gzip.open(str(path).replace("images-idx3", "labels-idx1")).read()[8:8 + n]
    x = torch.from_numpy(numpy.frombuffer(images, numpy.uint8).copy()).reshape(n, 1, 28, 28) / 255
    return x, torch.from_numpy(numpy.frombuffer(labels, numpy.uint8).astype(numpy.int64))


class Torch:
    """Called, it trains `net` from the beginning, and answers with seconds."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def step(self, net, optimiser, x, y):
        x = torch_train.rs_fgsm(lambda at: nn.functional.cross_entropy(net(at), y), x, EPS, ALPHA)
        loss = nn.functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    def __call__(self, epochs=1):
        net = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
                            nn.Flatten(), nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10))
        self.net = net
        optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
        n = len(self.x) // BATCH
        began = time.perf_counter()
        for k in range(epochs * n):
            i = k % n
            if i == 0:
                order = torch.randperm(len(self.x))
            way = (k + 1) / (epochs * n)
            rate = RATE * min(way / PEAK, (1 - way) / (1 - PEAK))
            optimiser.param_groups[0]["lr"] = rate
            index = order[i * BATCH:(i + 1) * BATCH]
            self.step(net, optimiser, self.x[index], self.y[index]).item()
        return time.perf_counter() - began


def whole(o):
    torch.manual_seed(o.seed)
    theirs = Torch(*read(o.data, 59000))
    print(f"seed {o.seed}: {theirs(10):.0f} s")
    torch.onnx.export(theirs.net, theirs.x[:1], o.whole, input_names=["x"], output_names=["logits"],
                      dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}}, dynamo=False)


def ours(o, folder):
    words = [o.fgsm, "train", "--arch", "mnist-cnn", o.data, "--limit", o.steps * BATCH, "--validation", 0,
             "--method", "rs-fgsm", "--eps", EPS, "--alpha", ALPHA, "--batch", BATCH, "--optimizer", "adam",
             "--lr", RATE, "--lr-peak", PEAK, "--weight-decay", 0, "--epochs", 1, "--watch", 0, "--device",
             "cpu", "--threads", o.threads, "--json", "--out", f"{folder}/out.onnx"]
    answer = subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout
    return json.loads(answer)["train_seconds"]


def main():
    o = options()
    torch.set_num_threads(o.threads)
    if o.whole:
        return whole(o)
    theirs = Torch(*read(o.data, o.steps * BATCH))
    seconds = {"fgsm": [], "torch": []}
    with tempfile.TemporaryDirectory() as folder:
        theirs(), ours(o, folder)
        for _ in range(o.rounds):
            seconds["fgsm"].append(ours(o, folder))
            seconds["torch"].append(theirs())
    ratios = [t / f for t, f in zip(seconds["torch"], seconds["fgsm"])]
    low, high = torch_fgsm.quartiles(ratios)
    middle = statistics.median(ratios)
    rate = {name: BATCH * o.steps / statistics.median(s) for name, s in seconds.items()}
    print(f"{o.threads} threads: fgsm {rate['fgsm']:.0f} samples/s, PyTorch {rate['torch']:.0f}, "
          f"{middle:.2f}x ({low:.2f} to {high:.2f})")
    if o.json:
        answer = {"date": datetime.date.today().isoformat(), "torch": torch.__version__,
                  "threads": o.threads, "steps": o.steps, "rounds": o.rounds, "seconds": seconds,
                  "ratio": middle, "ratio_q1": low, "ratio_q3": high}
        pathlib.Path(o.json).write_text(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
