"""Exports the architectures that attacks are run on, with random weights, through PyTorch's two
exporters in several of their forms, each with an input and what PyTorch says in float64 of its
logits and input gradient.

    python export_zoo.py FOLDER [--only NAME,...]

makes FOLDER/NAME.EXPORTER/ as zoo_record.py says; check_zoo.py compares. Needs torch, torchvision,
onnx and onnxscript (see requirements.txt).

A comparison of gradients proves something only where the gradient is continuous: within float32's
rounding of the kink of a ReLU it jumps, in any program. Among a million units of a random net some
always lie that close. So, before anything is exported, stand_clear moves the bias of each channel in
front of a ReLU by less than a tenth of the channel's standard deviation, to the middle of the widest
gap between its units' values; and inputs are drawn until max pools have no near ties either, which
shows in PyTorch's own gradient: it must move by less than zoo_record.STAKE when every weight moves
by 1e-7 of itself, and so must its float32 gradient deviate from its float64 one.
"""

import argparse
import pathlib
import traceback
import warnings

import torch
from torch import nn

from zoo_nets import ZOO
from zoo_record import STAKE, deviation, record

PACKAGES = ("torch", "torchvision", "onnx", "onnxscript")
DRAWS = 8  # inputs tried

def torchscript(opset, **more):
    return {"dynamo": False, "opset_version": opset, **more}


def dynamo(**more):
    return {"dynamo": True, "opset_version": 18, "external_data": True, "verbose": False, **more}


# a folder's suffix -> (what the table calls it, arguments of torch.onnx.export)
FORMS = {
    "torchscript": ("torchscript", torchscript(17)),
    "torchscript7": ("torchscript", torchscript(7)),
    "torchscript9": ("torchscript", torchscript(9)),
    "torchscript11": ("torchscript", torchscript(11)),
    "unfolded": ("torchscript, not optimised",
                 torchscript(13, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)),
    "dynamo": ("dynamo", dynamo()),
    "plain": ("dynamo, not optimised", dynamo(optimize=False)),
}
COMMON = ("torchscript", "dynamo")
MORE = {
    "resnet18": ("torchscript7", "torchscript9", "torchscript11", "unfolded", "plain"),
    "mobilenet_v2": ("torchscript9", "torchscript11"),
    "vgg16": ("torchscript7",),
    "vit_b_16": ("plain",),
    "mlp_mixer": ("torchscript9", "plain"),
    "two_tower": ("plain",),
    "lstm_text": ("torchscript7", "torchscript9", "torchscript11", "plain"),
    "gru_text": ("torchscript7",),
    "graph_net": ("plain",),
    "up_down": ("torchscript11",),
    "conv1d": ("torchscript7", "torchscript9", "torchscript11"),
}


def settle(model, shape):
    """Statistics and weights as after some training: what starts at zero (biases, last layers, layer
    scales) gets values, and running statistics come from data."""
    with torch.no_grad():
        for p in model.parameters():
            if p.abs().max() < 1e-3:
                p.normal_(0, 0.1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.rand(32, *shape))
    return model.eval()


def widest_gap(values, kinks, reach):
    """The shift within +-reach that takes the values farthest from the kinks."""
    crossings = torch.cat([kink - values for kink in kinks])
    crossings = crossings[crossings.abs() <= reach]
    edges = torch.cat([values.new_tensor([-reach, reach]), crossings]).sort().values
    widest = (edges[1:] - edges[:-1]).argmax()
    return (edges[widest] + edges[widest + 1]) / 2


def stand_clear(model, x):
    """Moves biases in front of ReLUs so that no unit lies near a kink at x; the model is float32
    before and after, and float64 in between."""
    last, hooks = [None], []

    def affine(module, args, out):
        last[0] = module

    def before(module, args):
        (u,) = args
        kinks = (0.0, 6.0) if isinstance(module, nn.ReLU6) else (0.0,)
        lines, bias = u.transpose(0, 1).flatten(1), last[0].bias
        shift = torch.stack([widest_gap(line, kinks, 0.1 * line.std().item()) for line in lines])
        moved = (bias + shift).float().double()
        shift = moved - bias
        bias.copy_(moved)
        return (u + shift.view(1, -1, *[1] * (u.dim() - 2)),)

    for module in model.modules():
        if getattr(module, "bias", None) is not None and not isinstance(module, nn.LayerNorm):
            hooks.append(module.register_forward_hook(affine))
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            hooks.append(module.register_forward_pre_hook(before))
    with torch.no_grad():
        model.double()(x.double())
    for hook in hooks:
        hook.remove()
    model.float()


def gradient(model, x, seed):
    """Logits and the gradient of sum(seed * logits), in x's precision."""
    point = x.clone().requires_grad_()
    logits = model(point)
    (grad,) = torch.autograd.grad((logits * seed).sum(), point)
    return logits.detach().numpy(), grad.numpy()


def answers(model, x, seed):
    """What PyTorch says, and how well it can say it; leaves the model in float64."""
    narrow = gradient(model.float(), x, seed)[1]
    model, x, seed = model.double(), x.double(), seed.double()
    logits, grad = gradient(model, x, seed)
    stake, kept = 0.0, [p.detach().clone() for p in model.parameters()]
    for turn in range(3):
        with torch.no_grad():
            for p, k in zip(model.parameters(), kept):
                p.copy_(k * (1 + 1e-7 * torch.randn_like(k)) if turn < 2 else k)
        if turn < 2:
            stake = max(stake, deviation(gradient(model, x, seed)[1], grad))
    return {"logits": logits, "grad": grad, "stake": stake, "float32": deviation(narrow, grad)}


def export(model, x, folder, options):
    """Whether the exporter takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.onnx.export(model, (x,), str(folder / "model.onnx"), input_names=["input"],
                          output_names=["logits"], **options)
    except Exception:
        traceback.print_exc(limit=1)
        return False
    return True


def choose(model, shape):
    """(x, seed, what PyTorch says), with x such that it says it clearly."""
    for _ in range(DRAWS):
        x = torch.rand(2, *shape)
        stand_clear(model, x)
        with torch.no_grad():
            seed = torch.randn(model(x).shape)
        said = answers(model, x, seed)
        model.float()
        if max(said["stake"], said["float32"]) <= STAKE:
            return x, seed, said
        print(f"  moves by {said['stake']:.0e}, float32 {said['float32']:.0e}: another", flush=True)
    raise ValueError("no input without kinks was found")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for name in [n for n in args.only.split(",") if n] or ZOO:
        make, shape, reduced = ZOO[name]
        torch.manual_seed(1)
        model = settle(make(), shape)
        x, seed, said = choose(model, shape)
        count = sum(p.numel() for p in model.parameters())
        for form in (*COMMON, *MORE.get(name, ())):
            exporter, options = FORMS[form]
            folder = args.folder / f"{name}.{form}"
            if export(model, x, folder, options):
                record(folder, PACKAGES, x.numpy(), seed.numpy(), name=name, exporter=exporter,
                       reduced=reduced, parameters=count, **said)
            else:
                print(f"{name}: {form} does not export it", flush=True)


if __name__ == "__main__":
    main()
