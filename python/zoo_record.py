"""What the programs export_zoo*.py leave behind for check_zoo.py: one folder a model, with

    model.onnx (and model.onnx.data)   the exporter's own file
    zoo.npz     x float32; seed float32; logits and grad float64: the framework's answers, grad being
                that of sum(seed * logits) with respect to x
    zoo.json    what the table says of the model; `output` names the output where it is not the first
"""

import importlib.metadata
import json

import numpy as np
import onnx

STAKE = 1e-5  # the most that the framework's own gradient may move


def deviation(got, want):
    """The largest difference, in units of the largest magnitude."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-300))


def describe(path):
    """What the file itself says: operator sets, functions, where its tensors lie."""
    model = onnx.load(path, load_external_data=False)
    sets = {o.domain: o.version for o in model.opset_import}
    standard = sets.get("", sets.get("ai.onnx", 0))
    return {"opset": standard, "ml": any(n.domain == "ai.onnx.ml" for n in model.graph.node),
            "functions": len(model.functions), "nodes": len(model.graph.node),
            "external": any(t.data_location == onnx.TensorProto.EXTERNAL
                            for t in model.graph.initializer)}


def record(folder, packages, x, seed, logits, grad, **info):
    """Writes zoo.npz and zoo.json beside the model in `folder`. info: name, exporter, parameters,
    stake, float32 (by how much the framework's own float32 gradient deviates), reduced, output."""
    if not info["stake"] <= STAKE or not np.abs(grad).max() > 0:
        raise ValueError(f"{info['name']}: the gradient moves by {info['stake']:.0e} under rounding; "
                         "choose another input")
    np.savez(folder / "zoo.npz", x=np.float32(x), seed=np.float32(seed), logits=np.float64(logits),
             grad=np.float64(grad))
    info["shape"] = list(x.shape[1:])
    info["versions"] = {p: importlib.metadata.version(p).split("+")[0] for p in packages}
    info |= describe(folder / "model.onnx")
    (folder / "zoo.json").write_text(json.dumps(info, indent=1) + "\n")
    print(f"{info['name']}: {info['exporter']}, opset {info['opset']}", flush=True)
