"""The golden nets: small modules, their seeded weights and their inputs.

Idea: together they use every operator that a whole-net golden can show; each class says what it
adds. Invariant: weights and inputs are drawn in float32, so float64 holds the same numbers.
"""

import collections

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import (SwinTransformer, SwinTransformerBlock,
                                                 SwinTransformerBlockV2)

BATCH = 3
CLASSES = 10


class Normalise(nn.Module):
    """(x - mean) / std per channel, as a preprocessing step inside the net."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


class ConvNet(nn.Module):
    """(N, 3, 13, 13): normalisation, asymmetric padding, residual, depthwise, both poolings."""

    def __init__(self):
        super().__init__()
        self.normalise = Normalise([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.pad = nn.ZeroPad2d((0, 1, 1, 2))
        self.stem = nn.Conv2d(3, 16, 3, stride=2, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.branch = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.depthwise = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16)
        self.depthwise_bn = nn.BatchNorm2d(16)
        self.max_pool = nn.MaxPool2d(3, 2, 1)
        self.late_bn = nn.BatchNorm2d(16)  # after a ReLU: cannot be folded backwards
        self.grouped = nn.Conv2d(16, 24, (3, 1), padding=(1, 0), groups=4)
        self.avg_pool = nn.AvgPool2d(2)
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        x = F.relu(self.stem_bn(self.stem(self.pad(self.normalise(x)))))
        x = F.relu(x + self.branch(x))
        x = self.max_pool(F.hardtanh(self.depthwise_bn(self.depthwise(x)), 0.0, 6.0))
        x = F.relu(self.grouped(self.late_bn(x)))
        return self.head(self.avg_pool(x).flatten(1))


class Mlp(nn.Module):
    """(N, 20): one activation of each smooth or leaky kind between Gemm layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(20, 32), nn.LeakyReLU(0.125), nn.Linear(32, 32), nn.Sigmoid(),
            nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.GELU(), nn.Dropout(0.5),
            nn.Linear(32, 32), nn.GELU(approximate="tanh"), nn.Linear(32, 10))

    def forward(self, x):
        return self.layers(x)


class Attention(nn.Module):
    """Multi-head self-attention from primitive operators; heads of 4, so the scale is 1/2."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        tokens, width = x.shape[1], x.shape[2]
        q, k, v = (t.reshape(x.shape[0], tokens, self.heads, width // self.heads).transpose(1, 2)
                   for t in self.qkv(x).split(width, dim=2))
        share = torch.softmax(q @ k.transpose(2, 3) * 0.5, dim=3)
        return self.out((share @ v).transpose(1, 2).reshape(x.shape[0], tokens, width))


class Vit(nn.Module):
    """(N, 3, 12, 12): patches of 4, class token, positions, two blocks, LayerNorm before each."""

    def __init__(self, expand=False):
        super().__init__()
        self.expand = expand
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.position = nn.Parameter(torch.zeros(1, 10, 16))
        self.norm1 = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.norm2 = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.attention = nn.ModuleList(Attention(16, 4) for _ in range(2))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(2))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.expand:
            token = self.token.expand(x.shape[0], 1, 16)
        else:  # the older exporter writes expand() with Equal, which is no part of the set
            token = self.token + torch.zeros(x.shape[0], 1, 16, dtype=x.dtype)
        x = torch.cat([token, x], dim=1) + self.position
        for norm1, attention, norm2, mlp in zip(self.norm1, self.attention, self.norm2, self.mlp):
            x = x + attention(norm1(x))
            x = x + mlp(norm2(x))
        return self.head(self.norm(x)[:, 0])


class Nhwc(nn.Module):
    """(N, H, W, C) = (N, 12, 12, 3), with "same" padding as TensorFlow places it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2)
        self.conv2 = nn.Conv2d(16, 16, 3)
        self.dense = nn.Linear(3 * 3 * 16, 10)

    def forward(self, x):
        x = F.relu(self.conv1(F.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1))))
        x = F.max_pool2d(F.relu(self.conv2(F.pad(x, (1, 1, 1, 1)))), 2)
        return self.dense(x.permute(0, 2, 3, 1).reshape(x.shape[0], -1))


class TwoInputs(nn.Module):
    """An image (N, 1, 8, 8) and a row of features (N, 6), joined by a gate and a Concat."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.features, self.gate = nn.Linear(6, 16), nn.Linear(6, 16)
        self.head = nn.Linear(32, 10)

    def forward(self, image, features):
        seen = F.adaptive_avg_pool2d(F.relu(self.conv(image)), 1).flatten(1)
        gated = seen * torch.sigmoid(self.gate(features))
        return self.head(torch.cat([gated, torch.tanh(self.features(features))], dim=1))


def swin(cosine=False):
    """(N, 3, 16, 16): two blocks of torchvision's Swin transformer, in windows of 4, the second with
    shifted windows under a mask; cosine: its second version."""
    block = SwinTransformerBlockV2 if cosine else SwinTransformerBlock
    return SwinTransformer([2, 2], 16, [2], [2], [4, 4], mlp_ratio=2.0, num_classes=CLASSES,
                           stochastic_depth_prob=0.0, block=block)


class Arithmetic(nn.Module):
    """(N, 4, 6): the element-wise and the shape operators that the other nets do not use."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(6, 6))
        self.floor, self.roof = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(4, 1))
        self.register_buffer("mask", torch.tensor([True, False, True, True, False, False]))
        self.register_buffer("order", torch.tensor([2, 0, 3, 3, 1]))
        self.head = nn.Linear(15, 10)

    def forward(self, x):
        x = torch.maximum(torch.minimum(x @ self.mix, self.roof.exp()), -self.floor.exp())
        a, b = torch.split(x, [2, 4], dim=2)
        soft = torch.log(torch.exp(a) + 1.0)
        root = torch.sqrt(torch.abs(b) + 0.25) / (1.0 + torch.pow(b, 2.0))
        x = torch.where(self.mask, torch.cat([soft, root], dim=2), -x)
        x = x.index_select(1, self.order) - x.unsqueeze(3)[:, 1:2, :, :].squeeze(3)
        columns = torch.cat([x.sum(dim=2), x.mean(dim=2), torch.pow(x, 3.0)[:, :, 5]], dim=1)
        return self.head(torch.clamp(columns, -2.0, 2.0) * torch.erf(columns))


class Ends(nn.Module):
    """(N, 1, 8, 8): a small net with an activation after its logits."""

    def __init__(self, end):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                  nn.Linear(144, 10))
        self.end = end

    def forward(self, x):
        return self.end(self.body(x))


def randomise(net, seed):
    """Fills parameters and BatchNorm statistics from the seed, as float32, gain about 1."""
    random = torch.Generator().manual_seed(seed)

    def normal(shape, scale, centre=0.0):
        return torch.randn(shape, generator=random) * scale + centre

    for module in net.modules():
        norm = isinstance(module, (nn.BatchNorm2d, nn.LayerNorm))
        for name, value in module.named_parameters(recurse=False):
            if norm:
                value.data = normal(value.shape, 0.3, 1.0 if name == "weight" else 0.0)
            elif value.dim() > 1 and name in ("weight", "mix"):
                value.data = normal(value.shape, 1.6 / value[0].numel() ** 0.5)
            else:
                value.data = normal(value.shape, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = normal(module.running_mean.shape, 0.4)
            module.running_var = normal(module.running_var.shape, 0.5).exp()
    return net.eval()


def make_inputs(shapes, seed):
    """float32 inputs in [0, 1]; about one value in eight lies exactly on a bound."""
    random = torch.Generator().manual_seed(seed)
    return [(torch.rand((BATCH, *s), generator=random) * 1.15 - 0.075).clamp(0, 1) for s in shapes]


# make() -> module; shapes of the inputs without the batch; how the net is exported: operator set,
# by the newer exporter or not, with constants folded or not.
Golden = collections.namedtuple("Golden", "make shapes seed opset dynamo fold")
GOLDENS = {
    "conv": Golden(ConvNet, [(3, 13, 13)], 1, 13, False, True),
    "mlp": Golden(Mlp, [(20,)], 2, 20, True, True),
    "vit_opset17": Golden(Vit, [(3, 12, 12)], 3, 17, False, True),
    "vit_opset13": Golden(Vit, [(3, 12, 12)], 3, 13, False, False),
    "vit_dynamo": Golden(lambda: Vit(expand=True), [(3, 12, 12)], 3, 18, True, True),
    "nhwc": Golden(Nhwc, [(12, 12, 3)], 4, 13, False, True),
    "two_inputs": Golden(TwoInputs, [(1, 8, 8), (6,)], 5, 17, False, True),
    "arithmetic": Golden(Arithmetic, [(4, 6)], 6, 17, False, False),
    "softmax": Golden(lambda: Ends(nn.Softmax(1)), [(1, 8, 8)], 7, 13, False, True),
    "logsoftmax": Golden(lambda: Ends(nn.LogSoftmax(1)), [(1, 8, 8)], 8, 17, False, True),
    "external": Golden(Mlp, [(20,)], 9, 18, True, True),
    "swin": Golden(swin, [(3, 16, 16)], 10, 17, False, True),
    "swin_cosine": Golden(lambda: swin(cosine=True), [(3, 16, 16)], 11, 17, False, True),
}


def build(name):
    """(net in float32, inputs, labels) of one golden; .double() the net for float64."""
    golden = GOLDENS[name]
    net = randomise(golden.make(), golden.seed)
    inputs = make_inputs(golden.shapes, golden.seed + 100)
    y = torch.randint(CLASSES, (BATCH,), generator=torch.Generator().manual_seed(golden.seed + 200))
    return net, inputs, y
