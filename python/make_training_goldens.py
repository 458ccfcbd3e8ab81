"""Writes tests/golden/training.onnx, training_smooth.onnx and training.npz: what training makes of two
small nets, from PyTorch in float64.

    python python/make_training_goldens.py [--out tests/golden]

Idea: each method is written here once, plainly, on torch.autograd and torch.optim, with the library's
noise (Philox, keyed by seed, sample, stream and element); the library, given the same batches, must
land on the same weights.

training.onnx has a BatchNormalization and ReLU; training_smooth.onnx is twice differentiable, for
what differentiates a gradient, and for the bound on its operators' norms. training.npz holds

    x  float32 (40, 1, 6, 6) in [0, 1]    y  int64 (40)
    gradient.NAME  float64  d(mean cross-entropy of batch 0)/d(weight NAME)
    cosine         float64  mean cosine of the gradients at batch 0 and at noise of eps around it, by
                            running statistics
    CASE.NAME      float64  weight NAME after the case's steps

Batches have 8 samples: step k takes samples 8k .. 8k + 7 modulo 40 in pass k div 5 over the data,
which is also the stream of its noise. The cases are those of CASES below; tests/test_training.c has
the same table with the library's options.
"""

import argparse
import copy
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from make_goldens import export

N, BATCH, CLASSES, EPS, SEED = 40, 8, 5, 0.1, 7
LO, HI = 0.0, 1.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(54, CLASSES)

    def forward(self, x):
        x = F.relu(self.norm(self.conv1(x)))
        return self.fc(torch.flatten(F.relu(self.conv2(x)), 1))


class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.fc1 = nn.Linear(36, 12)
        self.fc2 = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = torch.flatten(torch.tanh(self.conv(x)), 1)
        return self.fc2(torch.tanh(self.fc1(x)))


def make(kind, seed):
    """A net in float64 whose parameters float32 holds exactly."""
    torch.manual_seed(seed)
    net = kind()
    with torch.no_grad():
        for name, t in net.state_dict().items():
            if "running_var" in name or name == "norm.weight":
                t.uniform_(0.5, 1.5)
            elif t.is_floating_point():
                t.mul_(1.5) if t.dim() > 1 else t.uniform_(-0.3, 0.3)
    return net.double()


# ---- the library's noise

def philox(counter, key):
    """Salmon et al. 2011: Philox4x32-10 over arrays of 32-bit words."""
    c = [np.broadcast_to(np.asarray(w, np.uint64), np.broadcast_shapes(*map(np.shape, counter)))
         for w in counter]
    k = [np.uint64(w) for w in key]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ k[0], p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ k[1], p0 & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def noise(index, stream, count=36):
    """Uniform in [-1, 1): one row of `count` elements per sample, shaped like x."""
    block = np.arange((count + 3) // 4)
    words = philox((index[:, None], 0, stream, block[None, :]), (SEED, 0))
    words = np.stack(words, axis=-1).reshape(len(index), -1)[:, :count]
    signed = (words.astype(np.uint32).view(np.int32) >> 8).astype(np.float64) * 2.0 ** -23
    return torch.from_numpy(signed.reshape(len(index), 1, 6, 6))


# ---- crafting

def inside(x, delta, eps):
    """delta within eps and x + delta within the bounds."""
    return torch.minimum(torch.maximum(delta, (LO - x).clamp(min=-eps)), (HI - x).clamp(max=eps))


def ce(net, x, y):
    return F.cross_entropy(net(x), y, reduction="sum")


def divergence(net, x, log_p):
    """KL(p || p(x)), summed over the samples."""
    return F.kl_div(torch.log_softmax(net(x), 1), log_p, log_target=True, reduction="sum")


def slope(loss, x, *rest):
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(x, *rest), x)[0]


class Run:
    """One case: a net, its optimiser, and a step of training."""

    def __init__(self, net, method, optimiser, **options):
        self.net, self.method, self.options = copy.deepcopy(net), method, options
        self.net.train()
        groups = [{"params": [p for p in self.net.parameters() if p.dim() > 1]},
                  {"params": [p for p in self.net.parameters() if p.dim() <= 1]}]
        if options.get("decay_matrices"):
            groups[1]["weight_decay"] = 0.0
        self.optimiser = optimiser(groups)
        self.average = copy.deepcopy(self.net.state_dict())
        self.delta = torch.zeros(BATCH, 1, 6, 6, dtype=torch.float64)
        self.kept = {}
        self.directions = {}

    def climb(self, x, start, steps, alpha, eps, loss, *rest):
        adv = start
        for _ in range(steps):
            g = slope(loss, adv, *rest)
            adv = x + inside(x, adv - x + alpha * g.sign(), eps)
        return adv

    def craft(self, x, y, index, stream):
        u, loss = EPS * noise(index, stream), lambda a: ce(self.net, a, y)
        box = lambda t: t.clamp(LO, HI)
        if self.method in ("fgsm", "fgsm-mix"):
            return self.climb(x, x, 1, EPS, EPS, loss)
        if self.method == "rs-fgsm":
            return self.climb(x, x + u, 1, 1.25 * EPS, EPS, loss)
        if self.method == "n-fgsm":
            return self.climb(x, box(x + 2 * u), 1, EPS, np.inf, loss)
        if self.method == "pgd":
            return self.climb(x, box(x + u), 7, EPS / 4, EPS, loss)
        if self.method == "fgsm-pgi":
            past = [self.kept.get(int(i)) for i in index]
            if past[0] is None:
                start = box(x + u)
            else:
                start = box(x + EPS / 127 * torch.stack(past))
            adv = self.climb(x, start, 1, EPS, EPS, loss)
            for i, q in zip(index, torch.round((adv - x) * 127 / EPS)):
                self.kept[int(i)] = q
            return adv
        if self.method in ("trades", "mart"):
            self.net.eval()
            start = box(x + 0.055 * u)
            if self.method == "trades":
                log_p = torch.log_softmax(self.net(x), 1).detach()
                loss = lambda a: divergence(self.net, a, log_p)
            adv = self.climb(x, start, 10, EPS / 4, EPS, loss)
            self.net.train()
            return adv
        return x

    def cross_entropy(self, z, y):
        kind, s = self.options.get("smoothing", ("all", 0.0))
        target = F.one_hot(y, CLASSES).double()
        spread = s / CLASSES if kind == "all" else s / (CLASSES - 1) * (1 - target)
        return -(((1 - s) * target + spread) * torch.log_softmax(z, 1)).sum(1).mean()

    def objective(self, x, adv, y):
        if self.method == "clean":
            return self.cross_entropy(self.net(x), y)
        if self.method == "fgsm-mix":
            return 0.5 * self.cross_entropy(self.net(x), y) + 0.5 * self.cross_entropy(self.net(adv), y)
        if self.method == "trades":
            z, z_adv = self.net(x), self.net(adv)
            kl = F.kl_div(torch.log_softmax(z_adv, 1), torch.log_softmax(z, 1), log_target=True,
                          reduction="batchmean")
            return self.cross_entropy(z, y) + 6 * kl
        if self.method == "mart":
            z, z_adv = self.net(x), self.net(adv)
            p, p_adv = torch.softmax(z, 1), torch.softmax(z_adv, 1)
            true = F.one_hot(y, CLASSES).bool()
            other = p_adv.masked_fill(true, 0).amax(1)
            kl = F.kl_div(torch.log(p_adv), p, reduction="none").sum(1)
            return (F.cross_entropy(z_adv, y) - torch.log(1.0001 - other).mean()
                    + 5 * (kl * (1 - p[true])).mean())
        return self.cross_entropy(self.net(adv), y)

    def regulariser(self, x, y, index, stream):
        """By true double backward."""
        align, penalty = self.options.get("grad_align"), self.options.get("penalty")
        loss = 0
        if align:
            eta = (x + EPS * noise(index, stream + (1 << 31))).clamp(LO, HI)
            g1 = slope(lambda a: ce(self.net, a, y), x).flatten(1)
            eta.requires_grad_()
            g2 = torch.autograd.grad(ce(self.net, eta, y), eta, create_graph=True)[0].flatten(1)
            loss = loss + align * (1 - F.cosine_similarity(g1, g2, dim=1).mean())
        if penalty:
            a = x.clone().requires_grad_()
            g = torch.autograd.grad(ce(self.net, a, y), a, create_graph=True)[0]
            loss = loss + penalty * g.square().sum() / len(x)
        return loss

    def bound(self, limit):
        """W / max(1, sigma / limit) (Gouk et al. 2021), sigma by one power iteration a step."""
        sizes = {"conv": (1, 1, 6, 6), "fc1": (1, 36), "fc2": (1, 12)}
        for name, module in self.net.named_children():
            w = module.weight.data
            if isinstance(module, nn.Conv2d):
                there = lambda v: F.conv2d(v, w, stride=2, padding=1)
                back = lambda u: F.conv_transpose2d(u, w, stride=2, padding=1, output_padding=1)
            else:
                there, back = lambda v: v @ w.T, lambda u: u @ w
            v = self.directions.get(name)
            if v is None:
                v = torch.ones(sizes[name], dtype=torch.float64)
                v = v / v.norm()
            u = there(v)
            sigma, v = u.norm(), back(u)
            self.directions[name] = v / v.norm()
            w.mul_(min(1.0, limit / float(sigma)))

    def descend(self, loss):
        self.optimiser.zero_grad()
        loss.backward()
        if "clip" in self.options:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.options["clip"])
        self.optimiser.step()
        if "spectral" in self.options:
            self.bound(self.options["spectral"])
        if "ema" in self.options:
            d = self.options["ema"]
            for name, t in self.net.state_dict().items():
                if t.is_floating_point():
                    self.average[name] = d * self.average[name] + (1 - d) * t

    def step(self, x, y, index, stream):
        if self.method == "free":
            for _ in range(8):
                adv = (x + self.delta).requires_grad_()
                self.descend(self.cross_entropy(self.net(adv), y))
                self.delta = inside(x, self.delta + EPS * adv.grad.sign(), EPS)
            return
        adv = self.craft(x, y, index, stream).detach()
        regular = self.regulariser(x, y, index, stream)
        self.descend(self.objective(x, adv, y) + regular)


SGD = lambda g: torch.optim.SGD(g, lr=0.05, momentum=0.9, weight_decay=5e-4)
CASES = {
    # optimisers: 3 steps on clean samples
    "sgd": ("net", 3, "clean", lambda g: torch.optim.SGD(g, lr=0.05), {}),
    "momentum": ("net", 3, "clean", SGD, {}),
    "nesterov": ("net", 3, "clean",
                 lambda g: torch.optim.SGD(g, lr=0.05, momentum=0.9, nesterov=True), {}),
    "adam": ("net", 3, "clean", lambda g: torch.optim.Adam(g, lr=0.01, weight_decay=1e-2), {}),
    "adamw": ("net", 3, "clean", lambda g: torch.optim.AdamW(g, lr=0.01, weight_decay=0.1), {}),
    "exclusions": ("net", 3, "clean", lambda g: torch.optim.AdamW(g, lr=0.01, weight_decay=0.1),
                   {"decay_matrices": True}),
    "clipped": ("net", 3, "clean", lambda g: torch.optim.SGD(g, lr=0.05), {"clip": 0.5}),
    # methods: 50 steps
    "clean": ("net", 50, "clean", SGD, {}),
    "fgsm": ("net", 50, "fgsm-mix", SGD, {}),
    "rs_fgsm": ("net", 50, "rs-fgsm", SGD, {}),
    "n_fgsm": ("net", 50, "n-fgsm", SGD, {}),
    "pgd": ("net", 50, "pgd", SGD, {}),
    "free": ("net", 50, "free", lambda g: torch.optim.SGD(g, lr=0.01, momentum=0.9), {}),
    "fgsm_pgi": ("net", 50, "fgsm-pgi", SGD, {}),
    "trades": ("net", 50, "trades", SGD, {}),
    "mart": ("net", 50, "mart", SGD, {}),
    "smoothing_others": ("net", 50, "rs-fgsm", SGD, {"smoothing": ("others", 0.1)}),
    "smoothing_all": ("net", 50, "rs-fgsm", SGD, {"smoothing": ("all", 0.1)}),
    "ema": ("net", 50, "rs-fgsm", SGD, {"ema": 0.9}),
    "grad_align": ("smooth", 50, "fgsm", SGD, {"grad_align": 0.2}),
    "penalty": ("smooth", 50, "clean", SGD, {"penalty": 0.5}),
    "spectral": ("smooth", 50, "rs-fgsm", SGD, {"spectral": 1.0}),
}


def batch(x, y, k):
    index = np.arange(BATCH * k, BATCH * (k + 1)) % N
    return x[index].double(), y[index], index, k // (N // BATCH)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/golden"))
    out = parser.parse_args().out
    nets = {"net": make(Net, 1), "smooth": make(Smooth, 2)}
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(N, 1, 6, 6, generator=generator)
    y = torch.randint(CLASSES, (N,), generator=generator)
    arrays = {"x": x.numpy(), "y": y.numpy()}

    first, labels, _, _ = batch(x, y, 0)
    F.cross_entropy(nets["net"].train()(first), labels).backward()
    for name, p in nets["net"].named_parameters():
        arrays[f"gradient.{name}"] = p.grad.numpy().copy()
    nets["net"] = make(Net, 1)
    index = np.arange(BATCH)
    at = lambda a: slope(lambda t: ce(nets["net"].eval(), t, labels), a).flatten(1)
    around = (first + EPS * noise(index, 1 << 31)).clamp(LO, HI)
    arrays["cosine"] = F.cosine_similarity(at(first), at(around), dim=1).mean().numpy()

    for case, (net, steps, method, optimiser, options) in CASES.items():
        run = Run(nets[net], method, optimiser, **options)
        for k in range(steps):
            run.step(*batch(x, y, k))
        state = run.average if "ema" in options else run.net.state_dict()
        for name, t in state.items():
            if t.is_floating_point():
                arrays[f"{case}.{name}"] = t.detach().numpy().copy()
        with torch.no_grad():
            right = (run.net.eval()(x.double()).argmax(1) == y).double().mean()
        print(f"{case}: {steps} steps, {100 * right:.0f} % of the samples right")

    for file, net in (("training", nets["net"]), ("training_smooth", nets["smooth"])):
        model = export(net.float().eval(), [x[:2]], 17, False, False)
        (out / f"{file}.onnx").write_bytes(model.SerializeToString())
    np.savez_compressed(out / "training.npz", **arrays)


if __name__ == "__main__":
    main()
