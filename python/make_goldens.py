"""Writes the golden nets: tests/golden/NAME.onnx and NAME.npz, from PyTorch in float64.

    python python/make_goldens.py [--out tests/golden] [NAME ...]

Idea: a net gets seeded random weights that float32 holds exactly; ONNX keeps them as float32,
PyTorch computes with the same numbers in float64, on inputs that float32 holds exactly. So the
two sides differ by the rounding of the library under test and by nothing else.

The nets are in golden_nets.py; external.onnx has its tensors in external.onnx.data. Each NAME.npz
holds:
    x (and x2)        float32  the inputs, in [0, 1]
    y                 int64    labels
    logits            float64  (N, classes)
    loss              float64  (N) cross-entropy per sample at the logits, no batch mean
    grad (and grad2)  float64  d(sum of loss)/dx (/dx2)
softmax.npz and logsoftmax.npz also hold, because the net ends there and not at its logits:
    outputs           float64  what the net returns: probabilities, or their logarithms
    loss_at_outputs   float64  cross-entropy that takes the outputs for logits
    grad_at_outputs   float64  d(sum of loss_at_outputs)/dx (for LogSoftmax the same as grad)

Every file is checked before it is written: operators within OPERATORS; logits of the ONNX file,
run in float64 by ONNX's own evaluator, equal to PyTorch's; gradient equal to central differences
of that evaluator; gradient in float32 close to float64, so that no sample sits on a kink.
"""

import argparse
import collections
import io
import pathlib
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional as F

from golden_nets import GOLDENS, Ends, build

OPERATORS = set(
    "Conv Gemm MatMul BatchNormalization LayerNormalization MaxPool AveragePool GlobalAveragePool "
    "ReduceMean ReduceSum Relu LeakyRelu Sigmoid Tanh Gelu Erf Clip Softmax LogSoftmax Add Sub Mul "
    "Div Pow Sqrt Exp Log Neg Abs Max Min Where Reshape Flatten Squeeze Unsqueeze Transpose Concat "
    "Split Slice Gather Expand Pad Identity Dropout Cast Shape ConstantOfShape Constant Range Equal Not "
    "ScatterND ReduceL2 Mod".split())
SLOPES = 8  # finite differences per input of a net


def gradients(net, inputs, y):
    """(outputs, loss per sample, [d(sum of loss)/d(input)]) in the inputs' own precision."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    outputs = net(*inputs)
    loss = F.cross_entropy(outputs, y, reduction="none")
    return outputs.detach(), loss.detach(), torch.autograd.grad(loss.sum(), inputs)


def export(net, inputs, opset, dynamo, fold):
    """The net as one ModelProto with a dynamic batch and nothing about where it was made."""
    names = ["x", "x2"][:len(inputs)]
    buffer = io.BytesIO()
    if dynamo:
        batch = torch.export.Dim("N")
        model = torch.onnx.export(
            net, tuple(inputs), dynamo=True, input_names=names, output_names=["logits"],
            opset_version=opset, dynamic_shapes=tuple({0: batch} for _ in inputs),
            optimize=fold, verbose=False).model_proto
    else:
        torch.onnx.export(
            net, tuple(inputs), buffer, dynamo=False, input_names=names, output_names=["logits"],
            opset_version=opset, do_constant_folding=fold,
            dynamic_axes={n: {0: "N"} for n in [*names, "logits"]},
            training=torch.onnx.TrainingMode.PRESERVE)
        model = onnx.load_model_from_string(buffer.getvalue())
    return tidy(model)


def tidy(model):
    """Drops comments and metadata: they name files of the machine that exported."""
    parts = [model, model.graph, *model.graph.node, *model.graph.initializer,
             *model.graph.value_info, *model.graph.input, *model.graph.output]
    for part in parts:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return model


def export_nhwc(net):
    """The Nhwc net as tf2onnx writes it: a Transpose on each side of every NCHW operator."""
    to_nchw, to_nhwc = [0, 3, 1, 2], [0, 2, 3, 1]

    def node(kind, ins, out, **attributes):
        return helper.make_node(kind, ins, [out], name=out, **attributes)

    nodes = [
        node("Transpose", ["x"], "conv1/in", perm=to_nchw),
        node("Conv", ["conv1/in", "conv1/W", "conv1/b"], "conv1/out", kernel_shape=[3, 3],
             strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Relu", ["conv1/out"], "relu1"),
        node("Transpose", ["relu1"], "relu1/nhwc", perm=to_nhwc),
        node("Transpose", ["relu1/nhwc"], "conv2/in", perm=to_nchw),
        node("Conv", ["conv2/in", "conv2/W", "conv2/b"], "conv2/out", kernel_shape=[3, 3],
             auto_pad="SAME_UPPER"),
        node("Relu", ["conv2/out"], "relu2"),
        node("MaxPool", ["relu2"], "pool/out", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", ["pool/out"], "pool/nhwc", perm=to_nhwc),
        node("Reshape", ["pool/nhwc", "flat/shape"], "flat"),
        node("MatMul", ["flat", "dense/W"], "dense/product"),
        node("Add", ["dense/product", "dense/b"], "dense/out"),
        node("Identity", ["dense/out"], "logits")]
    weights = {"conv1/W": net.conv1.weight, "conv1/b": net.conv1.bias, "conv2/W": net.conv2.weight,
               "conv2/b": net.conv2.bias, "dense/W": net.dense.weight.t(),
               "dense/b": net.dense.bias, "flat/shape": torch.tensor([-1, 144])}
    graph = helper.make_graph(
        nodes, "nhwc",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 12, 12, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(w.detach().contiguous().numpy(), n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def widen(model):
    """A copy of the model that computes in float64 with the same weights."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    del wide.graph.value_info[:]

    def widened(tensor):
        if tensor.data_type != TensorProto.FLOAT:
            return tensor
        array = numpy_helper.to_array(tensor).astype(np.float64)
        return numpy_helper.from_array(array, tensor.name)

    for tensor in wide.graph.initializer:
        tensor.CopyFrom(widened(tensor))
    for value in [*wide.graph.input, *wide.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.CopyFrom(widened(attribute.t))
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            if node.op_type == "Constant" and attribute.name == "value_float":
                raise ValueError("Constant with value_float: store it as a tensor")
    return wide


def erf(x):
    return torch.erf(torch.from_numpy(np.ascontiguousarray(x))).numpy()


class Erf(OpRun):
    """The evaluator's own answers in float32."""

    op_domain = ""

    def _run(self, x):
        return (erf(x),)


class Gelu(OpRun):
    """As Erf."""

    op_domain = ""

    def _run(self, x, approximate=None):
        if approximate == "tanh":
            return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))),)
        return (0.5 * x * (1 + erf(x / np.sqrt(2))),)


class BatchNormalization(OpRun):
    """The evaluator's own computes batch statistics in operator set 13."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, variance, epsilon=None, momentum=None, training_mode=None):
        if training_mode:
            raise ValueError("BatchNormalization in training mode")
        shape = (1, -1) + (1,) * (x.ndim - 2)
        factor = scale / np.sqrt(variance + epsilon)
        return (x * factor.reshape(shape) + (bias - mean * factor).reshape(shape),)


def loss_of(logits, y):
    """Sum of the cross-entropies, in NumPy."""
    z = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).sum()


def check(name, model, net, inputs, y, outputs, grads):
    """Raises unless the file says what the arrays say; prints how far the two are apart."""
    onnx.checker.check_model(model, full_check=True)
    count = collections.Counter(n.op_type for n in model.graph.node)
    foreign = set(count) - OPERATORS
    if foreign:
        raise ValueError(f"{name}: operators outside the set: {sorted(foreign)}")
    feed = {n: x.double().numpy() for n, x in zip(("x", "x2"), inputs)}
    evaluator = ReferenceEvaluator(widen(model), new_ops=[Erf, Gelu, BatchNormalization])
    apart = np.abs(evaluator.run(None, feed)[0] - outputs.numpy()).max()

    random = np.random.default_rng(7)
    worst, step = 0.0, 1e-5
    for n, grad in zip(feed, grads):
        for flat in random.choice(grad.numel(), SLOPES, replace=False):
            sides = []
            for sign in (1, -1):
                moved = dict(feed, **{n: feed[n].copy()})
                moved[n].flat[flat] += sign * step
                sides.append(loss_of(evaluator.run(None, moved)[0], y.numpy()))
            slope = (sides[0] - sides[1]) / (2 * step)
            worst = max(worst, abs(slope - grad.flatten()[flat].item()) / grad.abs().max().item())

    narrow = gradients(net, inputs, y)[2]
    rounding = max(((a.double() - b).abs().max() / b.abs().max()).item()
                   for a, b in zip(narrow, grads))
    smallest = min((g.abs().median() / g.abs().max()).item() for g in grads)
    print("  nodes: " + ", ".join(f"{v} {k}" for k, v in sorted(count.items())))
    print(f"  file - torch {apart:.1e}; slope - grad {worst:.1e}; "
          f"float32 - float64 {rounding:.1e}; median/max |grad| {smallest:.1e}")
    if apart > 1e-6 or worst > 1e-5 or rounding > 2e-5:
        raise ValueError(f"{name}: the file and the arrays disagree, or a sample sits on a kink")


def write(name, folder):
    """Makes, checks and writes NAME.onnx and NAME.npz."""
    golden = GOLDENS[name]
    net, inputs, y = build(name)
    wide, wide_inputs = build(name)[0].double(), [x.double() for x in inputs]
    outputs, loss, grads = gradients(wide, wide_inputs, y)
    print(f"{name}:")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the older exporter's age
        model = export_nhwc(net) if name == "nhwc" else export(
            net, inputs, golden.opset, golden.dynamo, golden.fold)
    check(name, model, net, inputs, y, outputs, grads)
    arrays = {"x": inputs[0].numpy(), "y": y.numpy()}
    if isinstance(net, Ends):
        arrays |= {"outputs": outputs.numpy(), "loss_at_outputs": loss.numpy(),
                   "grad_at_outputs": grads[0].numpy()}
        outputs, loss, grads = gradients(wide.body, wide_inputs, y)
    arrays |= {"logits": outputs.numpy(), "loss": loss.numpy(), "grad": grads[0].numpy()}
    if len(inputs) == 2:
        arrays |= {"x2": inputs[1].numpy(), "grad2": grads[1].numpy()}
    beside = {"save_as_external_data": True, "location": f"{name}.onnx.data"}
    onnx.save(model, folder / f"{name}.onnx", **(beside if name == "external" else {}))
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    sizes = [(folder / f"{name}.{kind}").stat().st_size for kind in ("onnx", "npz")]
    print(f"  {sizes[0]} + {sizes[1]} bytes; loss " + " ".join(f"{v:.3f}" for v in loss.tolist()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GOLDENS))
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden")
    args = parser.parse_args()
    unknown = set(args.names) - set(GOLDENS)
    if unknown:
        parser.error(f"no such net: {', '.join(sorted(unknown))}")
    torch.set_num_threads(2)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or GOLDENS:
        write(name, args.out)


if __name__ == "__main__":
    main()
