"""Trains each built-in architecture for a moment with `fgsm train --arch`, and loads what it writes.

    python python/check_arch.py FGSM DATA [LABELS]      DATA: images, such as MNIST's or CIFAR-10's

ONNX Runtime must give the held-out accuracy that fgsm reports, with the model's
BatchNormalization in its inference form; PyTorch must take the weights of mnist-cnn and resnet18 by
name into modules written here, and give the same logits. Needs onnx, onnxruntime, torch.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

ARCHITECTURES = ["tiny-cnn", "mnist-cnn", "lenet5", "mlp:64,32", "resnet18", "preact-resnet18",
                 "wrn-16-4"]
SAMPLES, HELD = 220, 60


class Block(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False),
                                          nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for i, width in enumerate([64, 128, 256, 512]):
            first = Block(before, width, 2 if i else 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(first, Block(width, width, 1)))
            before = width
        self.linear = nn.Linear(512, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.linear(x.mean((2, 3)))


def twin(name, shape, classes):
    """The architecture as a PyTorch module, where there is one here."""
    if name == "mnist-cnn":
        flat = 32 * (shape[1] // 4) * (shape[2] // 4)
        return nn.Sequential(nn.Conv2d(shape[0], 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1),
                             nn.ReLU(), nn.Flatten(), nn.Linear(flat, 100), nn.ReLU(),
                             nn.Linear(100, classes))
    return ResNet18(shape[0], classes) if name == "resnet18" else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fgsm")
    parser.add_argument("data")
    parser.add_argument("labels", nargs="?")
    args = parser.parse_args()
    labels = ["--labels", args.labels] if args.labels else []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([args.fgsm, "convert", args.data, folder / "d.npz", "--limit", str(SAMPLES),
                        *labels], check=True)
        arrays = np.load(folder / "d.npz")
        x = next(a for a in (arrays[k] for k in arrays.files) if a.ndim > 1).astype(np.float32) / 255
        y = next(a for a in (arrays[k] for k in arrays.files) if a.ndim == 1)
        x = x.reshape(len(x), -1, *x.shape[-2:]) if x.ndim == 3 else x
        for name in ARCHITECTURES:
            out = folder / "m.onnx"
            run = subprocess.run(
                [args.fgsm, "train", "--arch", name, folder / "d.npz", "--method", "rs-fgsm", "--eps",
                 "8/255", "--epochs", "2", "--batch", "20", "--validation", str(HELD), "--eval-steps",
                 "2", "--lr", "0.02", "--device", "cpu", "--out", out, "--json"],
                check=True, capture_output=True, text=True)
            session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
            logits = session.run(None, {"x": x})[0]
            right = float((logits[-HELD:].argmax(1) == y[-HELD:]).mean())
            said = json.loads(run.stdout)["clean_accuracy"]
            assert abs(right - said) < 1e-9, f"{name}: ONNX Runtime {right}, fgsm {said}"
            module, apart = twin(name, x.shape[1:], logits.shape[1]), None
            if module:
                weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
                           for t in onnx.load(out).graph.initializer}
                missing = module.load_state_dict(weights, strict=False).missing_keys
                assert all(k.endswith("num_batches_tracked") for k in missing), missing
                with torch.no_grad():
                    apart = float(np.abs(module.eval()(torch.from_numpy(x)).numpy() - logits).max())
                assert apart < 1e-4 * max(1.0, np.abs(logits).max()), f"{name}: PyTorch {apart} apart"
            print(f"{name}: ONNX Runtime agrees on {HELD} held-out samples ({100 * right:.1f} % right)"
                  + (f", PyTorch on the logits to {apart:.1e}" if module else ""))


if __name__ == "__main__":
    main()
