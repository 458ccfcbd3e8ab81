"""Adversarial training in PyTorch at its best: RS-FGSM (Wong, Rice, Kolter 2020) on images that lie on the
device, a step a call, for what times it beside `fgsm train`.

Crafting goes through a twin of the net, whose weights are the same memory and ask for no gradient. Tensors
lie channels last, samples are drawn, moved and mirrored on the device, the optimiser is fused, bfloat16 is
autocast's or that of weights with float32 masters, nets are compiled or not, and on a card the whole step
is one CUDA graph, whose losses nobody waits for."""

import contextlib
import copy
import dataclasses
import warnings

import torch
import torch.nn.functional as F
from torch import nn

import torch_nets

PAD = 4


@dataclasses.dataclass
class Recipe:
    """Defaults are those of `fgsm train --method rs-fgsm --augment crop-flip` at 8/255."""
    batch: int = 128
    steps: int = 390  # of the whole, of which the rate is a triangle
    eps: float = 8 / 255
    alpha: float = 10 / 255
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4


class WongPreAct(torch_nets.PreAct):
    """As in Wong et al.'s code, the shortcut's convolution takes what comes in."""

    def forward(self, x):
        y = self.b(torch.relu(self.second(self.a(torch.relu(self.first(x))))))
        return y + (x if self.shortcut is None else self.shortcut(x))


NETS = {  # of images of 3 x 32 x 32, as `fgsm train --arch` composes them
    "preact-resnet18": lambda: torch_nets.preact(64, (64, 128, 256, 512), 2, block=WongPreAct),
    "tiny-cnn": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4096, 10)),
}


def start(x, eps):
    """Uniform noise in the ball, which is not brought into the box (their MNIST code)."""
    return torch.empty_like(x).uniform_(-eps, eps)


def climb(x, noise, slope, eps, alpha):
    return x + torch.clamp((noise + alpha * slope.sign()).clamp(-eps, eps), -x, 1 - x)


def rs_fgsm(loss_at, x, eps, alpha, start=start, climb=climb):
    """x' of loss_at(x) -> loss; no weight's gradient is asked for."""
    noise = start(x, eps)
    at = (x + noise).requires_grad_()
    (slope,) = torch.autograd.grad(loss_at(at), at)
    return climb(x, noise, slope, eps, alpha)


def lay(images):
    """uint8 (N, C, H, W) -> (N, H + 8, W + 8, C) with zeros around."""
    return F.pad(images, (PAD,) * 4).permute(0, 2, 3, 1).contiguous()


def draw(laid, index):
    """Samples in 0..1 (B, C, H, W), channels last, moved by up to 4 places, half of them mirrored."""
    n, high, wide = len(index), laid.shape[1] - 2 * PAD, laid.shape[2] - 2 * PAD
    down, across = torch.randint(0, 2 * PAD + 1, (2, n, 1), device=laid.device)
    rows, columns = (torch.arange(size, device=laid.device).expand(n, size) for size in (high, wide))
    mirrored = torch.rand(n, 1, device=laid.device) < 0.5
    columns = torch.where(mirrored, wide - 1 - columns, columns)
    x = laid[index[:, None, None], (down + rows)[:, :, None], (across + columns)[:, None, :]]
    return x.permute(0, 3, 1, 2).float() / 255


def twin(net):
    """The same net, of the same memory, of which only the input asks for a gradient."""
    other = copy.deepcopy(net)
    for mine, theirs in zip(other.modules(), net.modules()):
        for name, weight in theirs.named_parameters(recurse=False):
            setattr(mine, name, nn.Parameter(weight.detach(), requires_grad=False))
        for name, value in theirs.named_buffers(recurse=False):
            setattr(mine, name, value)
    return other


class Step:
    """One way of training: called, it does one step."""

    def __init__(self, name, net, images, labels, recipe, form, compiled=None):
        device = images.device
        graph = device.type != "cpu"
        self.name, self.recipe, self.form = name, recipe, form
        self.laid, self.labels = lay(images), labels
        net = copy.deepcopy(net).train().to(device, memory_format=torch.channels_last)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = None  # a launch a layer for what nobody reads
        self.masters = list(net.parameters())
        if form == "masters":
            self.masters = [weight.detach().clone() for weight in net.parameters()]
            for module in net.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.to(torch.bfloat16)
            for weight in self.masters:
                weight.grad = torch.zeros_like(weight)
        self.weights = list(net.parameters())
        # A graph of the whole step is made here: the compiler's own would be graphs within it.
        mode = "max-autotune-no-cudagraphs" if graph and compiled == "max-autotune" else compiled

        def made(what):
            return torch.compile(what, mode=mode) if compiled else what

        self.net, self.twin = made(net), made(twin(net))
        self.draw, self.start, self.climb = made(draw), made(start), made(climb)
        self.rate = torch.zeros((), device=device)
        self.total = torch.zeros((), device=device)
        self.optimiser = torch.optim.SGD(self.masters, lr=self.rate, momentum=recipe.momentum,
                                         weight_decay=recipe.decay, fused=True)
        self.index = torch.zeros(recipe.batch, dtype=torch.int64, device=device)
        self.order, self.done, self.graph = None, 0, None
        self.steps, self.totals = len(self.laid) // recipe.batch, []  # of an epoch; of those that ended
        if graph:
            self.record()

    def loss(self, net, x, y):
        half = contextlib.nullcontext()
        if self.form == "autocast":
            half = torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False)
        with half:
            logits = net(x.bfloat16() if self.form == "masters" else x)
        return F.cross_entropy(logits.float(), y)

    def run(self):
        r = self.recipe
        x, y = self.draw(self.laid, self.index), self.labels[self.index]
        x = rs_fgsm(lambda at: self.loss(self.twin, at, y), x, r.eps, r.alpha, self.start, self.climb)
        loss = self.loss(self.net, x, y)
        gradients = torch.autograd.grad(loss, self.weights)
        if self.form == "masters":
            torch._foreach_copy_([weight.grad for weight in self.masters], list(gradients))
        else:
            for weight, gradient in zip(self.weights, gradients):
                weight.grad = gradient
        self.optimiser.step()
        if self.form == "masters":
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.masters)
        self.total += loss.detach()

    def record(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.run()
        self.total.zero_()

    def __call__(self):
        batch, at = self.recipe.batch, self.done % self.steps
        if at == 0 and self.done:
            self.totals.append(self.total.clone())
            self.total.zero_()
        if at == 0:
            self.order = torch.randperm(len(self.laid), device=self.laid.device)
        self.index.copy_(self.order[at * batch:(at + 1) * batch])
        way = (self.done % self.recipe.steps + 1) / self.recipe.steps
        self.rate.fill_(self.recipe.rate * 2 * min(way, 1 - way))
        if self.graph:
            self.graph.replay()
        else:
            self.run()
        self.done += 1

    def second_loss(self):
        """The mean loss of the second epoch, which goes on to its end where nobody asked for so many steps."""
        while self.done < 2 * self.steps:
            self()
        return (self.totals + [self.total])[1].item() / self.steps


def variants(net, images, labels, recipe, precision, compile_modes):
    """All that can be made; what a tool cannot take is left out with a line that says so."""
    forms = ("autocast", "masters") if precision == "bf16" else ("plain",)
    for form in forms:
        for mode in [None] + compile_modes:
            name = ", ".join(word for word in (
                form if form != "plain" else "", f"compiled ({mode})" if mode else "eager",
                "CUDA graph" if images.device.type != "cpu" else "") if word)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made = Step(name, net, images, labels, recipe, form, mode)
                    made()
            except Exception as why:  # a compiler that fails is not the fastest
                print(f"    {name}: {type(why).__name__}: {str(why)[:200]}")
                continue
            yield made
