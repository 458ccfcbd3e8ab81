"""Writes the goldens of exporters that make_goldens.py does not run: tests/golden/NAME.onnx with
NAME.npz (x, y, logits, loss, grad, as there), from the framework in float64.

    python python/make_exporter_goldens.py [--out tests/golden] [--only NAME]

tf2onnx           a convolution net in NHWC, from TensorFlow
tf_transformer    attention by einsum and normalisation by moments, from TensorFlow by tf2onnx
keras             a Keras model by model.export
keras_attention   Keras's LayerNormalization and MultiHeadAttention, by model.export
cntk              a convolution net in the manner of CNTK's exporter, against PyTorch
skl2onnx_softmax  a StandardScaler and a perceptron of scikit-learn; its second output is named
                  `probabilities`, and logits, loss and grad are those in front of its softmax
"""

import argparse
import pathlib

import keras
import numpy as np
import onnx
import tensorflow as tf
from skl2onnx import to_onnx

import export_zoo_cntk
import export_zoo_sklearn
import export_zoo_tf
from zoo_record import STAKE, deviation


def slope(logits, y):
    """(cross-entropy per sample, its gradient with respect to the logits)."""
    p = export_zoo_sklearn.softmax(logits)
    hot = np.eye(logits.shape[1])[y]
    return -np.log((p * hot).sum(1)), p - hot


def save(out, name, x, y, logits, loss, grad):
    np.savez_compressed(out / f"{name}.npz", x=np.float32(x), y=np.int64(y), logits=logits, loss=loss,
                        grad=grad)
    for path in sorted(out.glob(f"{name}.*")):
        print(f"{path.name}: {path.stat().st_size} bytes")


def by_tensorflow(out, name, narrow, wide, shape):
    """The file is already there; its answers."""
    random = np.random.default_rng(5)
    for _ in range(export_zoo_tf.DRAWS):
        x = random.random((3, *shape), np.float32)
        logits = wide(tf.constant(x, tf.float64)).numpy()
        y = random.integers(0, logits.shape[1], 3)
        loss, seed = slope(logits, y)
        grad = export_zoo_tf.gradient(wide, x.astype(np.float64), seed)[1]
        if deviation(export_zoo_tf.gradient(narrow, x, seed.astype(np.float32))[1], grad) <= STAKE:
            return save(out, name, x, y, logits, loss, grad)
    raise ValueError(f"{name}: no input without kinks was found")


def make_tf2onnx(out, name, kind):
    narrow = kind(tf.float32)
    narrow(tf.zeros((2, *kind.shape)))
    export_zoo_tf.by_tf2onnx(narrow, kind.shape, out, 13)
    (out / "model.onnx").rename(out / f"{name}.onnx")
    by_tensorflow(out, name, narrow, kind(tf.float64, narrow.drawn), kind.shape)


def make_keras(out, name, make):
    keras.utils.set_random_seed(2)
    model = export_zoo_tf.built(make, "float32")
    model.set_weights(export_zoo_tf.stirred(model, np.random.default_rng(2)))
    wide = export_zoo_tf.built(make, "float64", model.get_weights())
    model(np.zeros((1, *model.input_shape[1:]), np.float32))
    model.export(str(out / f"{name}.onnx"), format="onnx", verbose=False)
    by_tensorflow(out, name, lambda x: model(x, training=False),
                  lambda x: wide(x, training=False), model.input_shape[1:])


def make_skl2onnx(out):
    pipeline, pool = export_zoo_sklearn.fit(*export_zoo_sklearn.ZOO["mlp_pipeline"][:3])
    chain, x = export_zoo_sklearn.Chain(pipeline), pool[:3].astype(np.float64)
    y = np.random.default_rng(6).integers(0, chain.width, 3)
    model = to_onnx(pipeline, pool[:1], options={"zipmap": False})
    onnx.save(model, out / "skl2onnx_softmax.onnx")
    logits, through = chain.scores(x)
    loss, seed = slope(logits, y)
    save(out, "skl2onnx_softmax", x, y, logits, loss, through(seed))


def make_cntk(out):
    w, random = export_zoo_cntk.draw(3), np.random.default_rng(7)
    y = random.integers(0, export_zoo_cntk.CLASSES, 3)
    x, said = export_zoo_cntk.choose(w, 3, random, lambda logits: slope(logits, y)[1])
    onnx.save(export_zoo_cntk.model(w, 7), out / "cntk.onnx")
    save(out, "cntk", x, y, said["logits"], slope(said["logits"], y)[0], said["grad"])


MAKERS = {
    "tf2onnx": lambda out: make_tf2onnx(out, "tf2onnx", export_zoo_tf.Cnn),
    "tf_transformer": lambda out: make_tf2onnx(out, "tf_transformer", export_zoo_tf.Transformer),
    "keras": lambda out: make_keras(out, "keras", export_zoo_tf.keras_cnn),
    "keras_attention": lambda out: make_keras(out, "keras_attention", export_zoo_tf.keras_attention),
    "cntk": make_cntk,
    "skl2onnx_softmax": make_skl2onnx,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden")
    parser.add_argument("--only", choices=MAKERS)
    args = parser.parse_args()
    for name in [args.only] if args.only else MAKERS:
        MAKERS[name](args.out)


if __name__ == "__main__":
    main()
