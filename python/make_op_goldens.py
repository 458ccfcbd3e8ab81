"""Writes tests/golden/ops.npz: what PyTorch's gradients are where there is no derivative.

    python python/make_op_goldens.py [--out tests/golden]

Idea: at a kink, a tie, a saturation or a repeated index the gradient is a convention, and a sign
attack shows it; here are PyTorch's conventions, one small case each. float64 throughout.

Arrays of a case: CASE_a (CASE_b where there is a second input), CASE_y = f(a, b), CASE_dy, the
gradient that arrives, and CASE_da (CASE_db), the gradient that leaves. Infinities and NaNs are
PyTorch's own. What f is stands beside each case below.
"""

import argparse
import pathlib

import numpy as np
import torch
from torch.nn import functional as F

INF = float("inf")
LINE = [-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0]
FAR = [-1e3, -60.0, -1e-9, 0.0, 1e-9, 60.0, 1e3]
STEPS = [[[[1.0, 1.0, 0.0, 2.0], [1.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 0.0],
           [0.0, 3.0, 0.0, 0.0]]]]  # (1, 1, 4, 4) with a tie in every 2x2 window
COUNT = np.arange(16.0).reshape(1, 1, 4, 4).tolist()
Z = [[60.0, 0.0, 0.0], [800.0, 0.0, -800.0], [0.0, 0.0, 0.0], [1.0, 1.0, -60.0]]


def cross_entropy(y):
    """Loss per sample of logits against fixed labels; p - onehot, zeros included."""
    return lambda z: F.cross_entropy(z, torch.tensor(y), reduction="none")


# name: (f, a) or (f, a, b)
CASES = {
    # kinks: relu and leaky_relu take the left slope at 0, abs is flat there; clip is flat at its
    # bounds (older releases let the gradient through there: pytorch/pytorch#184574)
    "relu": (torch.relu, LINE),
    "leaky_relu": (lambda a: F.leaky_relu(a, 0.125), LINE),
    "abs": (torch.abs, LINE),
    "clip": (lambda a: torch.clamp(a, -1.0, 1.0), LINE),
    "clip_low": (lambda a: torch.clamp(a, min=0.0), LINE),
    "hardtanh": (lambda a: F.hardtanh(a, -1.0, 1.0), LINE),
    # ties: half each for two inputs, the first in the window for pooling
    "max": (torch.maximum, LINE, [-2.0, 0.0, -1.0, 0.0, -0.0, 0.5, 0.0, 2.0]),
    "min": (torch.minimum, LINE, [-2.0, 0.0, -1.0, 0.0, -0.0, 0.5, 0.0, 2.0]),
    "maxpool_k2s2": (lambda a: F.max_pool2d(a, 2), STEPS),
    "maxpool_k3s1p1": (lambda a: F.max_pool2d(a, 3, 1, 1), STEPS),
    "maxpool_k2s1d2": (lambda a: F.max_pool2d(a, 2, 1, 0, 2), STEPS),
    "maxpool_k3s2_ceil": (lambda a: F.max_pool2d(a, 3, 2, 0, ceil_mode=True), STEPS),
    # powers and roots at 0
    "pow_2": (lambda a: torch.pow(a, 2.0), LINE),
    "pow_1": (lambda a: torch.pow(a, 1.0), LINE),
    "pow_0": (lambda a: torch.pow(a, 0.0), LINE),
    "pow_3": (lambda a: torch.pow(a, 3.0), LINE),
    "pow_half": (lambda a: torch.pow(a, 0.5), [0.0, 0.25, 4.0]),
    "pow_ab": (torch.pow, [0.0, 0.0, 0.0, 2.0, 2.0], [2.0, 1.0, 0.0, 0.0, -1.0]),
    "sqrt": (torch.sqrt, [0.0, 0.25, 4.0]),
    "log": (torch.log, [0.0, 0.25, 4.0]),
    "div": (torch.div, [1.0, -1.0, 0.0, 3.0], [2.0, 0.0, 4.0, -2.0]),
    # saturation
    "sigmoid": (torch.sigmoid, FAR),
    "tanh": (torch.tanh, FAR),
    "erf": (torch.erf, FAR),
    "gelu": (F.gelu, FAR),
    "gelu_tanh": (lambda a: F.gelu(a, approximate="tanh"), FAR),
    "exp": (torch.exp, [-1e3, -1.0, 0.0, 1.0]),
    "softmax": (lambda a: torch.softmax(a, 1), Z),
    "log_softmax": (lambda a: torch.log_softmax(a, 1), Z),
    "cross_entropy_right": (cross_entropy([0, 0, 0, 0]), Z),
    "cross_entropy_wrong": (cross_entropy([2, 2, 2, 2]), Z),
    # constant rows: only epsilon, 1e-5, keeps the denominator from 0
    "layer_norm": (lambda a: F.layer_norm(a, (3,)), [[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]]),
    # borders: padding in the divisor or not; the same element read more than once
    "avgpool_k3s2p1": (lambda a: F.avg_pool2d(a, 3, 2, 1), COUNT),
    "avgpool_k3s2p1_exclude": (
        lambda a: F.avg_pool2d(a, 3, 2, 1, count_include_pad=False), COUNT),
    "avgpool_k3s2_ceil": (lambda a: F.avg_pool2d(a, 3, 2, 0, ceil_mode=True), COUNT),
    "pad_constant": (lambda a: F.pad(a, (1, 0, 2, 1), value=7.0), COUNT),
    "pad_crop": (lambda a: F.pad(a, (-1, 1, 0, -2)), COUNT),
    "pad_reflect": (lambda a: F.pad(a, (2, 1, 0, 3), mode="reflect"), COUNT),
    "pad_edge": (lambda a: F.pad(a, (2, 1, 0, 3), mode="replicate"), COUNT),
    "gather_0210_axis2": (lambda a: a.index_select(2, torch.tensor([0, 2, 1, 0])), COUNT),
    "expand_3x2": (lambda a: a.expand(3, 2), [[1.0], [2.0], [3.0]]),
    "where": (lambda a, b: torch.where(torch.tensor([True, False, True]), a, b),
              [1.0, INF, 0.0], [INF, 2.0, 0.0]),
}


def record(name, f, *lists):
    """The arrays of one case; dy is 1, 2, 3, ... so that no two paths look alike."""
    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in lists]
    y = f(*inputs)
    dy = torch.arange(1, y.numel() + 1, dtype=torch.float64).view(y.shape)
    grads = torch.autograd.grad(y, inputs, dy)
    arrays = {f"{name}_y": y.detach().numpy(), f"{name}_dy": dy.numpy()}
    for letter, x, grad in zip("ab", inputs, grads):
        arrays |= {f"{name}_{letter}": x.detach().numpy(), f"{name}_d{letter}": grad.numpy()}
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden")
    args = parser.parse_args()
    arrays = {}
    for name, case in CASES.items():
        arrays |= record(name, *case)
        for key in (k for k in (f"{name}_da", f"{name}_db") if k in arrays):
            print(f"{key}: {arrays[key].flatten().tolist()}")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "ops.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size} bytes, {len(CASES)} cases, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
