"""Makes tests/golden/zoo: the nets that attacks are timed on (bench/torch_nets.py) and those of the zoo
(zoo_nets.py), all that have convolutions, as ONNX files without their weights. A weight is a ConstantOfShape
there, so that a file of a few kilobytes plans as the net itself would.

    python make_zoo_skeletons.py [--only NAME,...] [FOLDER]

What no convolution sees is made smaller before: the wide dense layers of VGG-16's classifier, and the
layers of transformers, of which one or two of each width are kept. Needs torch, torchvision and onnx."""

import argparse
import io
import pathlib
import sys
import warnings

import onnx
import torch
import torchvision.models as vision
from onnx import helper
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import torch_nets  # noqa: E402
import zoo_nets  # noqa: E402

FEW = 64  # numbers of a constant that is kept: shapes, scales of a resize
NARROW = 32
SMALLER = {
    "vgg16": lambda: classified(torch_nets.vgg16()),
    "vit-tiny": lambda: torch_nets.ViT(192, 3, depth=2),
    "vit-b16": lambda: torch_nets.ViT(768, 12, depth=2),
    "zoo_vgg16": lambda: classified(zoo_nets.small_vgg()),
    "zoo_vit_b_16": lambda: vision.VisionTransformer(64, 16, 2, 12, 768, 3072, num_classes=100),
    "zoo_swin_t": lambda: vision.SwinTransformer([4, 4], 96, [1, 1, 1, 1], [3, 6, 12, 24], [7, 7],
                                                 num_classes=100),
}


def classified(net):
    """The net with a classifier whose hidden layers are narrow."""
    def width(n, most):
        return NARROW if n == most else n

    for name, layer in list(net.named_modules()):
        if isinstance(layer, nn.Linear):
            parent = net.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2],
                    nn.Linear(width(layer.in_features, 4096), width(layer.out_features, 4096)))
    return net


def nets():
    """name, maker, shape of a sample"""
    for name, (make, shape) in torch_nets.NETS.items():
        yield name, make, shape
    for name, (make, shape, _) in zoo_nets.ZOO.items():
        yield "zoo_" + name, make, shape


def exported(net, shape):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.rand(2, *shape), buffer, dynamo=False, opset_version=17,
                          input_names=["x"], output_names=["logits"],
                          dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}})
    return onnx.load_from_string(buffer.getvalue())


def strip(model):
    """Puts a ConstantOfShape in the place of each weight and of each other large constant."""
    graph, nodes, kept, shapes = model.graph, [], [], set()

    def replaced(tensor, name):
        shape = "shape" + "x".join(map(str, tensor.dims))
        if torch.Size(tensor.dims).numel() <= FEW:
            return False
        if shape not in shapes:
            shapes.add(shape)
            kept.append(helper.make_tensor(shape, onnx.TensorProto.INT64, [len(tensor.dims)],
                                           tensor.dims))
        zero = helper.make_tensor("zero", tensor.data_type, [1], [0])
        nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=zero))
        return True

    for weight in graph.initializer:
        if not replaced(weight, weight.name):
            kept.append(weight)
    for node in graph.node:
        if node.op_type != "Constant" or not replaced(node.attribute[0].t, node.output[0]):
            node.ClearField("doc_string")
            node.ClearField("name")
            nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:], graph.value_info[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "tests/golden/zoo")
    parser.add_argument("--only", type=lambda text: text.split(","))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, make, shape in nets():
        if args.only and name not in args.only:
            continue
        torch.manual_seed(0)
        net = SMALLER.get(name, make)().eval()
        if any(isinstance(layer, nn.modules.conv._ConvNd) for layer in net.modules()):
            path = args.folder / (name.replace("-", "_") + ".onnx")
            path.write_bytes(strip(exported(net, shape)).SerializeToString())
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
