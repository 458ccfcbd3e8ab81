"""The architectures of the zoo: torchvision's, and small nets for what those leave out. Widths and
resolutions are reduced where the full model would take minutes; ZOO says what was reduced.
"""

import torch
import torch.nn.functional as F
import torchvision.models as vision
from torch import nn

IMAGE = (3, 64, 64)
SMALL = (3, 32, 32)


class PreAct(nn.Module):
    """A pre-activation residual block: the normalisation comes before each convolution."""

    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.n1, self.n2 = nn.BatchNorm2d(wide_in), nn.BatchNorm2d(wide)
        self.c1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.c2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        same = wide_in == wide and stride == 1
        self.skip = None if same else nn.Conv2d(wide_in, wide, 1, stride, bias=False)

    def forward(self, x):
        h = F.relu(self.n1(x))
        y = self.c2(F.relu(self.n2(self.c1(h))))
        return y + (x if self.skip is None else self.skip(h))


class PreActNet(nn.Module):
    """PreActResNet-18 and the wide residual networks: stages of PreAct blocks."""

    def __init__(self, first, widths, blocks, classes=10):
        super().__init__()
        layers, wide = [nn.Conv2d(3, first, 3, 1, 1, bias=False)], first
        for i, width in enumerate(widths):
            for k in range(blocks):
                layers.append(PreAct(wide, width, 2 if i and k == 0 else 1))
                wide = width
        self.body, self.norm = nn.Sequential(*layers), nn.BatchNorm2d(wide)
        self.head = nn.Linear(wide, classes)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.body(x))).mean((2, 3)))


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al. 2021) on patches of 8."""

    class Block(nn.Module):
        def __init__(self, tokens, wide):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(wide), nn.LayerNorm(wide)
            self.tokens = nn.Sequential(nn.Linear(tokens, 64), nn.GELU(), nn.Linear(64, tokens))
            self.wide = nn.Sequential(nn.Linear(wide, 256), nn.GELU(), nn.Linear(256, wide))

        def forward(self, x):
            x = x + self.tokens(self.n1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.wide(self.n2(x))

    def __init__(self, wide=128, tokens=64, depth=4):
        super().__init__()
        self.patch = nn.Conv2d(3, wide, 8, 8)
        self.body = nn.Sequential(*[Mixer.Block(tokens, wide) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(wide), nn.Linear(wide, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.body(x)).mean(1))


class TwoTower(nn.Module):
    """CLIP's form: an image tower against the normalised text embeddings of ten captions, which a
    text tower computes from fixed tokens."""

    def __init__(self, wide=64):
        super().__init__()
        self.patch = nn.Conv2d(3, wide, 16, 16)
        self.token = nn.Embedding(100, wide)
        layer = {"nhead": 4, "dim_feedforward": 128, "activation": "gelu", "batch_first": True,
                 "norm_first": True, "dropout": 0.0}
        self.image = nn.TransformerEncoder(nn.TransformerEncoderLayer(wide, **layer), 2,
                                           enable_nested_tensor=False)
        self.text = nn.TransformerEncoder(nn.TransformerEncoderLayer(wide, **layer), 2,
                                          enable_nested_tensor=False)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("captions", torch.randint(0, 100, (10, 7)))

    def forward(self, x):
        image = self.image(self.patch(x).flatten(2).transpose(1, 2)).mean(1)
        text = self.text(self.token(self.captions))[:, -1]
        return self.scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()


class TextLstm(nn.Module):
    """A bidirectional LSTM over word embeddings, which are what is attacked."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(24, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.head(y[:, -1])


class TextGru(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(24, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x):
        y, _ = self.gru(x)
        return self.head(y.mean(1))


class GraphNet(nn.Module):
    """Two rounds of message passing over a fixed graph of 12 nodes: gather along the edges, sum
    into their targets, then a readout."""

    def __init__(self):
        super().__init__()
        self.register_buffer("source", torch.randint(0, 12, (40,)))
        self.register_buffer("target", torch.randint(0, 12, (40,)))
        self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def spread(self, x):
        return torch.zeros_like(x).index_add(1, self.target, x.index_select(1, self.source))

    def forward(self, x):
        x = F.relu(self.first(x + self.spread(x)))
        x = F.relu(self.second(x + self.spread(x)))
        return self.head(x.mean(1))


class UpDown(nn.Module):
    """What segmenters and generators bring: transposed convolution, group and instance
    normalisation, bilinear and nearest resizing."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, 2, 1)
        self.norm, self.up = nn.GroupNorm(4, 16), nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.inorm, self.head = nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 10, 3)

    def forward(self, x):
        h = F.silu(self.norm(self.down(x)))
        h = self.inorm(self.up(h))
        h = F.interpolate(h, scale_factor=0.5, mode="bilinear", align_corners=False)
        h = F.interpolate(h, scale_factor=2, mode="nearest")
        return self.head(h).mean((2, 3))


class Sound(nn.Module):
    """A 1-D net on a waveform, and a 3-D one on a clip, as one: convolutions over other ranks."""

    def __init__(self, rank):
        super().__init__()
        conv = nn.Conv1d if rank == 1 else nn.Conv3d
        pool = nn.MaxPool1d if rank == 1 else nn.Identity
        self.body = nn.Sequential(conv(2, 8, 3, 2, 1), nn.ReLU(), pool(2), conv(8, 16, 3), nn.ReLU())
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.body(x).flatten(2).mean(2))


def small_vgg():
    """At 64 x 64 the features are 2 x 2; averaging them up to 7 x 7 is nothing that users export."""
    model = vision.vgg16(num_classes=100)
    model.avgpool, model.classifier[0] = nn.Identity(), nn.Linear(512 * 4, 4096)
    return model


# name -> (how to make it, shape of a sample, what was reduced)
ZOO = {
    "resnet18": (lambda: vision.resnet18(num_classes=100), IMAGE, "64 x 64"),
    "resnet50": (lambda: vision.resnet50(num_classes=100), IMAGE, "64 x 64"),
    "wrn28_10": (lambda: PreActNet(16, (160 // 4, 320 // 4, 640 // 4), 4), SMALL,
                 "a quarter of the width"),
    "preactresnet18": (lambda: PreActNet(64, (64, 128, 256, 512), 2), SMALL, ""),
    "vgg16": (small_vgg, IMAGE, "64 x 64, without the average to 7 x 7"),
    "densenet121": (lambda: vision.densenet121(num_classes=100), IMAGE, "64 x 64"),
    "mobilenet_v2": (lambda: vision.mobilenet_v2(num_classes=100), IMAGE, "64 x 64"),
    "mobilenet_v3": (lambda: vision.mobilenet_v3_large(num_classes=100), IMAGE, "64 x 64"),
    "efficientnet_b0": (lambda: vision.efficientnet_b0(num_classes=100), IMAGE, "64 x 64"),
    "convnext_tiny": (lambda: vision.convnext_tiny(num_classes=100), IMAGE, "64 x 64"),
    "vit_b_16": (lambda: vision.VisionTransformer(64, 16, 4, 12, 768, 3072, num_classes=100), IMAGE,
                 "64 x 64, 4 of 12 layers"),
    "swin_t": (lambda: vision.swin_t(num_classes=100), IMAGE, "64 x 64"),
    "mlp_mixer": (Mixer, IMAGE, "4 layers of width 128"),
    "two_tower": (TwoTower, IMAGE, "2 layers of width 64 a tower"),
    "lstm_text": (TextLstm, (9, 24), ""),
    "gru_text": (TextGru, (9, 24), ""),
    "graph_net": (GraphNet, (12, 8), ""),
    "up_down": (UpDown, SMALL, ""),
    "conv1d": (lambda: Sound(1), (2, 50), ""),
    "conv3d": (lambda: Sound(3), (2, 9, 11, 10), ""),
}
