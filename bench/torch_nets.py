"""The nets that attacks are timed on, in plain PyTorch with random weights, and their ONNX files.
Needs nothing but torch (and onnx, for the exporter)."""

import pathlib
import warnings

import torch
from torch import nn


def conv(inside, outside, kernel, stride=1, groups=1):
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual(nn.Module):
    """He et al. 2016: `body` beside a shortcut, a ReLU after the sum."""

    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def shortcut(inside, outside, stride):
    if inside == outside and stride == 1:
        return nn.Identity()
    return nn.Sequential(conv(inside, outside, 1, stride), nn.BatchNorm2d(outside))


def basic(inside, width, stride):
    body = nn.Sequential(conv(inside, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(),
                         conv(width, width, 3), nn.BatchNorm2d(width))
    return Residual(body, shortcut(inside, width, stride)), width


def bottleneck(inside, width, stride):
    body = nn.Sequential(conv(inside, width, 1), nn.BatchNorm2d(width), nn.ReLU(),
                         conv(width, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(),
                         conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width))
    return Residual(body, shortcut(inside, 4 * width, stride)), 4 * width


def resnet(block, blocks, widths, classes, small):
    """small: the CIFAR stem (3 x 3, stride 1, no pool)."""
    wide = widths[0]
    stem = [conv(3, wide, 3)] if small else [conv(3, wide, 7, 2)]
    layers = stem + [nn.BatchNorm2d(wide), nn.ReLU()] + ([] if small else [nn.MaxPool2d(3, 2, 1)])
    for stage, (n, width) in enumerate(zip(blocks, widths)):
        for i in range(n):
            layer, wide = block(wide, width, 2 if stage and i == 0 else 1)
            layers.append(layer)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))


class PreAct(nn.Module):
    """A pre-activation block (He et al. 2016b); wide residual nets are made of it too."""

    def __init__(self, inside, width, stride):
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(inside), nn.BatchNorm2d(width)
        self.a, self.b = conv(inside, width, 3, stride), conv(width, width, 3)
        same = inside == width and stride == 1
        self.shortcut = None if same else conv(inside, width, 1, stride)

    def forward(self, x):
        h = torch.relu(self.first(x))
        y = self.b(torch.relu(self.second(self.a(h))))
        return y + (x if self.shortcut is None else self.shortcut(h))


def preact(stem, widths, blocks, classes=10, block=PreAct):
    layers, wide = [conv(3, stem, 3)], stem
    for stage, width in enumerate(widths):
        for i in range(blocks):
            layers.append(block(wide, width, 2 if stage and i == 0 else 1))
            wide = width
    return nn.Sequential(*layers, nn.BatchNorm2d(wide), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(wide, classes))


def vgg16(classes=1000):
    layers, wide = [], 3
    for width, n in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(n):
            layers += [nn.Conv2d(wide, width, 3, 1, 1), nn.ReLU()]
            wide = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(),
                         nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes))


def mobilenet_v2(classes=1000):
    """Sandler et al. 2018."""

    class Inverted(nn.Module):
        def __init__(self, inside, outside, stride, expand):
            super().__init__()
            wide = inside * expand
            layers = [] if expand == 1 else [conv(inside, wide, 1), nn.BatchNorm2d(wide), nn.ReLU6()]
            self.body = nn.Sequential(*layers, conv(wide, wide, 3, stride, wide),
                                      nn.BatchNorm2d(wide), nn.ReLU6(), conv(wide, outside, 1),
                                      nn.BatchNorm2d(outside))
            self.add = stride == 1 and inside == outside

        def forward(self, x):
            return x + self.body(x) if self.add else self.body(x)

    layers, wide = [conv(3, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU6()], 32
    for expand, width, n, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                     (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(n):
            layers.append(Inverted(wide, width, stride if i == 0 else 1, expand))
            wide = width
    return nn.Sequential(*layers, conv(wide, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU6(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021, patches of 16 at 224."""

    class Block(nn.Module):
        def __init__(self, wide, heads):
            super().__init__()
            self.heads, self.n1, self.n2 = heads, nn.LayerNorm(wide), nn.LayerNorm(wide)
            self.qkv, self.out = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)
            self.mlp = nn.Sequential(nn.Linear(wide, 4 * wide), nn.GELU(), nn.Linear(4 * wide, wide))

        def forward(self, x):
            q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2)
                       for t in self.qkv(self.n1(x)).chunk(3, 2))
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            x = x + self.out(y.transpose(1, 2).flatten(2))
            return x + self.mlp(self.n2(x))

    def __init__(self, wide, heads, depth=12, classes=1000):
        super().__init__()
        self.patches = nn.Conv2d(3, wide, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, wide) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 197, wide) * 0.02)
        self.blocks = nn.Sequential(*(ViT.Block(wide, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(wide), nn.Linear(wide, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


def mlp(*widths):
    layers = []
    for inside, outside in zip(widths, widths[1:]):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet5():
    return nn.Sequential(nn.Conv2d(1, 32, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(32, 64, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(3136, 200), nn.ReLU(), nn.Linear(200, 10))


def mnist_cnn():
    """The net of Wong et al. 2020's fast adversarial training."""
    return nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
                         nn.Flatten(), nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10))


CIFAR, IMAGE, DIGIT = (3, 32, 32), (3, 224, 224), (1, 28, 28)
NETS = {  # name -> (maker, shape of a sample)
    "lenet5": (lenet5, DIGIT),
    "mnist-cnn": (mnist_cnn, DIGIT),
    "resnet20": (lambda: resnet(basic, (3, 3, 3), (16, 32, 64), 10, True), CIFAR),
    "resnet18": (lambda: resnet(basic, (2, 2, 2, 2), (64, 128, 256, 512), 10, True), CIFAR),
    "preact-resnet18": (lambda: preact(64, (64, 128, 256, 512), 2), CIFAR),
    "wrn-16-4": (lambda: preact(16, (64, 128, 256), 2), CIFAR),
    "wrn-28-10": (lambda: preact(16, (160, 320, 640), 4), CIFAR),
    "resnet50": (lambda: resnet(bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), 1000, False), IMAGE),
    "mobilenet-v2": (mobilenet_v2, IMAGE),
    "vgg16": (vgg16, IMAGE),
    "vit-tiny": (lambda: ViT(192, 3), IMAGE),
    "vit-b16": (lambda: ViT(768, 12), IMAGE),
    "mlp": (lambda: mlp(784, 1024, 1024, 10), (784,)),
    "acasxu": (lambda: mlp(5, 50, 50, 50, 50, 50, 50, 5), (5,)),
}


def make(name, seed=0):
    """The net, in eval mode, its batch statistics those of noise rather than 0 and 1."""
    torch.manual_seed(seed)
    maker, shape = NETS[name]
    net = maker().train()
    with torch.no_grad():
        net(torch.rand(4, *shape))
    return net.eval().requires_grad_(False), shape


def load_dense(net, path):
    """Gives a net of dense layers the weights of an ONNX file of such, as ACAS Xu's controllers are."""
    import onnx
    model = onnx.load(path)
    values = {i.name: torch.tensor(onnx.numpy_helper.to_array(i)) for i in model.graph.initializer}
    weights = [values[node.input[1]] for node in model.graph.node if node.op_type == "MatMul"]
    biases = [values[node.input[1]] for node in model.graph.node if node.op_type == "Add"]
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias.flatten())


def export(net, shape, path):
    """To ONNX with an open batch dimension; not done again where the file is."""
    path = pathlib.Path(path)
    if path.exists():
        return path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.rand(2, *shape), str(path) + ".part", dynamo=False,
                          opset_version=17, input_names=["x"], output_names=["logits"],
                          dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}})
    pathlib.Path(str(path) + ".part").rename(path)
    return path
