"""Trains the demo's net on the drawn glyphs and exports it to ONNX.

    glyphs --out DIR && python python/train_demo.py DIR --out examples/glyphs.onnx

Plain training on purpose: the net is accurate on clean glyphs and knows nothing of attacks.
The net in examples/glyphs.onnx was trained on glyphs of seed 1 with the defaults below. Seen on
the 5000 test glyphs, FGSM in PyTorch on float pixels:

    eps       0       0.05    0.1     0.2     0.3
    accuracy  0.9932  0.4774  0.1454  0.0246  0.0162

Another processor or release rounds otherwise, and ends a few thousandths away.
"""

import argparse
import pathlib
import warnings

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 16


def block(c_in, c_out, stride):
    """Convolution, BatchNorm and ReLU; the convolution leaves its bias to the BatchNorm."""
    return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]


def make_net():
    """x (N, 1, 28, 28) in [0, 1] -> logits (N, 16)."""
    return nn.Sequential(
        *block(1, 16, 1), *block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def read_idx(path, rank):
    """The uint8 array in an uncompressed IDX file."""
    data = path.read_bytes()
    if len(data) < 4 or data[:3] != b"\0\0\x08" or data[3] != rank:
        raise SystemExit(f"{path}: not an IDX file of bytes with {rank} dimensions")
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, int(shape.prod()), 4 + 4 * rank).reshape(shape)


def read_split(folder, split):
    """(x float32 (N, 1, 28, 28) in [0, 1], y int64 (N))."""
    x = read_idx(folder / f"glyphs-{split}-images-idx3-ubyte", 3)
    y = read_idx(folder / f"glyphs-{split}-labels-idx1-ubyte", 1)
    return (torch.from_numpy(x.astype(np.float32) / 255).unsqueeze(1),
            torch.from_numpy(y.astype(np.int64)))


def train(net, x, y, epochs, batch):
    """Adam with a one-cycle schedule; prints the mean loss of each epoch."""
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    steps = len(x) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, epochs * steps)
    net.train()
    for epoch in range(epochs):
        order, total = torch.randperm(len(x)), 0.0
        for i in range(steps):
            pick = order[i * batch:(i + 1) * batch]
            loss = F.cross_entropy(net(x[pick]), y[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)


def fgsm(net, x, y, eps):
    """x moved by eps along the sign of the loss's gradient, kept in [0, 1]."""
    x = x.clone().requires_grad_()
    gradient, = torch.autograd.grad(F.cross_entropy(net(x), y, reduction="sum"), x)
    return (x.detach() + eps * gradient.sign()).clamp(0, 1)


def accuracy(net, x, y, eps):
    """Share of right answers, under FGSM if eps > 0."""
    net.eval()
    right = 0
    for xb, yb in zip(x.split(500), y.split(500)):
        if eps > 0:
            xb = fgsm(net, xb, yb, eps)
        with torch.no_grad():
            right += (net(xb).argmax(1) == yb).sum().item()
    return right / len(x)


def export(net, path):
    """Writes one file, weights inside, dynamic batch, BatchNormalization kept as it is."""
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about this exporter's age
        torch.onnx.export(net, (torch.zeros(2, 1, 28, 28),), str(path), dynamo=False,
                          input_names=["x"], output_names=["logits"], opset_version=17,
                          dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
                          training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    print(f"{path}: {path.stat().st_size} bytes:", " ".join(n.op_type for n in model.graph.node))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path, help="folder that the program glyphs wrote")
    parser.add_argument("--out", type=pathlib.Path, default="examples/glyphs.onnx")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    net = make_net()
    train(net, *read_split(args.data, "train"), args.epochs, args.batch)
    x, y = read_split(args.data, "test")
    for eps in (0, 0.05, 0.1, 0.2, 0.3):
        print(f"eps {eps}: accuracy {accuracy(net, x, y, eps):.4f}", flush=True)
    export(net, args.out)


if __name__ == "__main__":
    main()
