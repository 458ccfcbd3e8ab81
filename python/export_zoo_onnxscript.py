"""Writes a net of nested model-local functions through onnxscript, and what PyTorch says of it in
float64: no other exporter of the zoo leaves functions in its files.

    python export_zoo_onnxscript.py FOLDER
"""

import argparse
import pathlib

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnxscript import FLOAT, opset18 as op, script
from onnxscript.values import Opset

from zoo_record import deviation, record

PACKAGES = ("torch", "onnxscript", "onnx")
LOCAL = Opset("zoo.functions", 1)


@script(LOCAL)
def dense(x, w, b):
    return op.Add(op.MatMul(x, w), b)


@script(LOCAL)
def block(x, w1, b1, w2, b2, alpha: float):
    h = op.LeakyRelu(dense(x, w1, b1), alpha=alpha)
    return op.Add(x, op.Tanh(dense(h, w2, b2)))


@script()
def net(x: FLOAT["N", 16], w1, b1, w2, b2, w3, b3) -> FLOAT["N", 5]:
    h = block(x, w1, b1, w2, b2, alpha=0.2)
    h = block(h, w1, b1, w2, b2, alpha=0.05)
    return dense(h, w3, b3)


def reference(x, w1, b1, w2, b2, w3, b3):
    for alpha in (0.2, 0.05):
        x = x + torch.tanh(F.leaky_relu(x @ w1 + b1, alpha) @ w2 + b2)
    return x @ w3 + b3


def gradient(x, seed, weights):
    x = x.clone().requires_grad_()
    y = reference(x, *weights)
    (grad,) = torch.autograd.grad((y * seed).sum(), x)
    return y.detach().numpy(), grad.numpy()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    torch.manual_seed(1)
    weights = [torch.randn(s) / 4 for s in ((16, 32), (32,), (32, 16), (16,), (16, 5), (5,))]
    x, seed = torch.rand(2, 16), torch.randn(2, 5)
    doubles = x.double(), seed.double()
    logits, grad = gradient(*doubles, [w.double() for w in weights])
    moved = [w.double() * (1 + 1e-7 * torch.randn_like(w)) for w in weights]
    stake = deviation(gradient(*doubles, moved)[1], grad)
    model = net.to_model_proto()
    names = [i.name for i in model.graph.input]
    del model.graph.input[1:]
    model.graph.initializer.extend(onnx.numpy_helper.from_array(w.numpy(), n)
                                   for n, w in zip(names[1:], weights))
    onnx.checker.check_model(model)
    folder = args.folder / "functions.onnxscript"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    record(folder, PACKAGES, x.numpy(), seed.numpy(), logits, grad, name="functions",
           exporter="onnxscript", reduced="", parameters=sum(w.numel() for w in weights), stake=stake,
           float32=deviation(gradient(x, seed, weights)[1], grad))


if __name__ == "__main__":
    main()
