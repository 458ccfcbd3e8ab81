"""Writes tests/golden/attacks.npz: what each attack does to two golden nets, from float64 PyTorch.

    python python/reference_attacks.py [--out tests/golden]

Idea: each attack is written here once, plainly, from its paper's formula; the library must land
on the same pixels. The nets are mlp.onnx and conv.onnx, whose x and y are in their own .npz.

Arrays, for NET in mlp, conv:
    NET_noise   float32  in [-1, 1], like x; what the attacks with a random start begin from
    NET_target  int64    (N) target classes, all different from y
    NET_ATTACK  float32  the adversarial x, rounded from float64
    NET_ATTACK_loss  float64  (N) cross-entropy there (targeted: towards the target)
and the settings as scalars: eps, eps_l1, eps_l2, steps, decay. Bounds are 0 and 1.

Before it is written each result is made again in float32, and again with the gradient of a
confident sample kept alive (any positive factor per sample must change nothing); all agree.
"""

import argparse
import pathlib

import numpy as np
import torch
from torch.nn import functional as F

from golden_nets import CLASSES, build

EPS, EPS_L1, EPS_L2 = 0.1, 1.0, 0.5
STEPS, DECAY = 10, 1.0
LO, HI = 0.0, 1.0


def softmax_slope(z, y):
    """d(cross-entropy)/dz per sample: p - onehot."""
    return torch.softmax(z, dim=1) - F.one_hot(y, z.shape[1])


def lively_slope(z, y):
    """The same times a positive factor per sample, never zero: exp(z_j - best of the others)."""
    true = F.one_hot(y, z.shape[1]).bool()
    best = z.masked_fill(true, -torch.inf).amax(dim=1, keepdim=True)
    others = torch.exp(z - best).masked_fill(true, 0.0)
    return others - true * others.sum(dim=1, keepdim=True)


class Victim:
    """A net, its clean batch, and the gradient of the per-sample loss at any other batch."""

    def __init__(self, net, x, y, slope):
        self.net, self.x, self.y, self.slope = net, x, y, slope

    def gradient(self, x):
        x = x.detach().clone().requires_grad_()
        z = self.net(x)
        return torch.autograd.grad(z, x, self.slope(z.detach(), self.y))[0]

    def inside(self, delta, eps=torch.inf):
        """delta within eps per pixel and x + delta within the bounds, in one clamp."""
        low, high = (LO - self.x).clamp(min=-eps), (HI - self.x).clamp(max=eps)
        return torch.minimum(torch.maximum(delta, low), high)


def norm(g, p):
    """The p-norm of each sample, shaped to broadcast; never zero."""
    n = torch.linalg.vector_norm(g.flatten(1), p, dim=1).clamp(min=1e-30)
    return n.view(-1, *[1] * (g.dim() - 1))


def fgsm(v, noise):
    """Goodfellow et al. 2015: one step of eps along the sign."""
    return v.inside(EPS * v.gradient(v.x).sign(), EPS)


def fgsm_targeted(v, noise):
    """Towards the target, which the victim holds as its y: down the loss."""
    return v.inside(-EPS * v.gradient(v.x).sign(), EPS)


def rs_fgsm(v, noise):
    """Wong et al. 2020: uniform start inside the bounds, step of 1.25 eps, projection."""
    start = v.inside(EPS * noise)
    return v.inside(start + 1.25 * EPS * v.gradient(v.x + start).sign(), EPS)


def n_fgsm(v, noise):
    """de Jorge et al. 2022: noise of 2 eps inside the bounds, step of eps, no projection."""
    start = v.inside(2 * EPS * noise)
    return v.inside(start + EPS * v.gradient(v.x + start).sign())


def linf_steps(v, delta):
    for _ in range(STEPS):
        delta = v.inside(delta + EPS / 4 * v.gradient(v.x + delta).sign(), EPS)
    return delta


def bim(v, noise):
    """Kurakin et al. 2017: steps of eps / 4 from x, projected after each."""
    return linf_steps(v, torch.zeros_like(v.x))


def pgd(v, noise):
    """Madry et al. 2018: BIM from a uniform start in the ball."""
    return linf_steps(v, v.inside(EPS * noise, EPS))


def pgd_l2(v, noise):
    """Steps of eps / 4 along g / |g|_2 from x; after each the ball, then the bounds."""
    delta = torch.zeros_like(v.x)
    for _ in range(STEPS):
        g = v.gradient(v.x + delta)
        delta = delta + EPS_L2 / 4 * g / norm(g, 2)
        delta = v.inside(delta * (EPS_L2 / norm(delta, 2)).clamp(max=1.0))
    return delta


def mi_fgsm(v, noise):
    """Dong et al. 2018: the gradients, each over its mean |g|, summed; steps of eps / 10."""
    delta, momentum = torch.zeros_like(v.x), torch.zeros_like(v.x)
    pixels = v.x[0].numel()
    for _ in range(STEPS):
        g = v.gradient(v.x + delta)
        momentum = DECAY * momentum + g / (norm(g, 1) / pixels)
        delta = v.inside(delta + EPS / STEPS * momentum.sign(), EPS)
    return delta


def fgm_l2(v, noise):
    """The L2 ball's maximiser: eps along g / |g|_2, then the bounds."""
    g = v.gradient(v.x)
    return v.inside(EPS_L2 * g / norm(g, 2))


def fgm_l1(v, noise):
    """The L1 ball's maximiser: all of eps on the first pixel of largest |g|, then the bounds."""
    g = v.gradient(v.x).flatten(1)
    first = F.one_hot(g.abs().argmax(dim=1), g.shape[1])
    return v.inside((EPS_L1 * first * g.sign()).view(v.x.shape))


ATTACKS = [fgsm, fgsm_targeted, rs_fgsm, n_fgsm, bim, pgd, pgd_l2, mi_fgsm, fgm_l2, fgm_l1]


def run(attack, name, noise, target, dtype, slope):
    """(adversarial x, loss per sample) of one attack on one net in one precision."""
    net, (x,), y = build(name)
    net, x, noise = net.to(dtype), x.to(dtype), noise.to(dtype)
    victim = Victim(net, x, target if attack is fgsm_targeted else y, slope)
    x_adv = x + attack(victim, noise)
    with torch.no_grad():
        return x_adv, F.cross_entropy(net(x_adv), victim.y, reduction="none")


def record(name, seed):
    """All arrays of one net; raises where the three ways of computing disagree."""
    _, (x,), y = build(name)
    random = torch.Generator().manual_seed(seed)
    noise = torch.rand(x.shape, generator=random) * 2 - 1
    target = (y + torch.randint(1, CLASSES, y.shape, generator=random)) % CLASSES
    arrays = {f"{name}_noise": noise.numpy(), f"{name}_target": target.numpy()}
    for attack in ATTACKS:
        setup = attack, name, noise, target
        x_adv, loss = run(*setup, torch.float64, softmax_slope)
        others = (run(*setup, torch.float32, softmax_slope)[0],
                  run(*setup, torch.float64, lively_slope)[0])
        apart = [(o.double() - x_adv).abs().max().item() for o in others]
        print(f"{name} {attack.__name__}: float32 {apart[0]:.1e}, lively {apart[1]:.1e}; loss "
              + " ".join(f"{v:.3f}" for v in loss.tolist()))
        if apart[0] > 1e-5 or apart[1] > 1e-9:
            raise ValueError(f"{name} {attack.__name__}: a gradient's sign hangs on rounding")
        arrays[f"{name}_{attack.__name__}"] = x_adv.float().numpy()
        arrays[f"{name}_{attack.__name__}_loss"] = loss.numpy()
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden")
    args = parser.parse_args()
    torch.set_num_threads(2)
    arrays = {"eps": np.float64(EPS), "eps_l1": np.float64(EPS_L1), "eps_l2": np.float64(EPS_L2),
              "steps": np.int64(STEPS), "decay": np.float64(DECAY)}
    arrays |= record("mlp", 11) | record("conv", 12)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "attacks.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
