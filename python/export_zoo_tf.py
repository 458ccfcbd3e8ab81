"""Exports TensorFlow functions through tf2onnx and Keras models through both ways that their users
have (model.export, and tf2onnx), each with an input and what TensorFlow says in float64.

    python export_zoo_tf.py FOLDER [--only NAME,...]

A net is written once, for any float type: a class whose weights are drawn in float32 and which
computes in the type it is given, or a function that builds a Keras model, of which two are made that
share their weights. Inputs are drawn until TensorFlow's own gradient is sure (see export_zoo.py).
"""

import argparse
import os
import pathlib
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

from zoo_record import STAKE, deviation, record

PACKAGES = ("tensorflow-cpu", "keras", "tf2onnx", "onnx")
DRAWS = 30


class Net(tf.Module):
    """Weights by name, drawn when first used; computes in `kind`."""

    def __init__(self, kind, weights=None):
        super().__init__()
        self.kind, self.drawn = kind, {} if weights is None else weights
        self.random = np.random.default_rng(3)

    def weight(self, name, *shape, scale=None):
        if name not in self.drawn:
            fan = np.prod(shape[:-1]) if len(shape) > 1 else 10
            self.drawn[name] = self.random.standard_normal(shape).astype(np.float32) * np.float32(
                scale or 1.4 / fan ** 0.5)
        return tf.constant(self.drawn[name], self.kind)

    def conv(self, name, x, window, wide, stride=1, padding="SAME"):
        w = self.weight(name + ".w", window, window, x.shape[-1], wide)
        return tf.nn.bias_add(tf.nn.conv2d(x, w, stride, padding), self.weight(name + ".b", wide))

    def depthwise(self, name, x, window, stride=1):
        w = self.weight(name + ".w", window, window, x.shape[-1], 1, scale=0.4)
        return tf.nn.depthwise_conv2d(x, w, [1, stride, stride, 1], "SAME")

    def norm(self, name, x):
        wide = x.shape[-1]
        return tf.nn.batch_normalization(
            x, self.weight(name + ".mean", wide), tf.exp(self.weight(name + ".var", wide)),
            self.weight(name + ".b", wide), 1 + self.weight(name + ".g", wide), 1e-3)

    def dense(self, name, x, wide):
        return tf.matmul(x, self.weight(name + ".w", x.shape[-1], wide)) + self.weight(name + ".b", wide)

    def layer_norm(self, name, x):
        mean, var = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, var, self.weight(name + ".b", x.shape[-1]),
                                         1 + self.weight(name + ".g", x.shape[-1]), 1e-5)


class Cnn(Net):
    """NHWC, with what tf2onnx wraps in transposes: convolutions, pools, padding, resizing; and a
    transpose of the net's own."""

    shape = (16, 16, 3)

    def __call__(self, x):
        x = tf.nn.relu(self.norm("n1", self.conv("c1", x, 3, 16, 2)))
        x = tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], mode="REFLECT")
        x = tf.nn.relu(self.conv("c2", x, 3, 24, 1, "VALID"))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        x = tf.transpose(tf.transpose(x, [0, 3, 1, 2]) * self.weight("row", 24, 1, 1), [0, 2, 3, 1])
        x = tf.concat([x, tf.nn.avg_pool2d(x, 2, 1, "SAME")], -1)
        x = tf.nn.leaky_relu(self.conv("c3", x, 1, 12), 0.1)
        return self.dense("head", tf.reshape(x, [-1, np.prod(x.shape[1:])]), 10)


class Separable(Net):
    """Depthwise-separable blocks with squeeze and excitation, and space to depth in front."""

    shape = (32, 32, 3)

    def block(self, name, x, wide, stride):
        y = tf.nn.relu6(self.norm(name + ".n1", self.depthwise(name + ".d", x, 3, stride)))
        share = tf.reduce_mean(y, [1, 2], keepdims=True)
        y = y * tf.sigmoid(self.conv(name + ".e", tf.nn.swish(self.conv(name + ".s", share, 1, 4)), 1,
                                     y.shape[-1]))
        y = self.norm(name + ".n2", self.conv(name + ".p", y, 1, wide))
        return x + y if stride == 1 and x.shape[-1] == wide else y

    def __call__(self, x):
        x = self.conv("stem", tf.nn.space_to_depth(x, 2), 3, 16)
        x = self.block("b1", x, 16, 1)
        x = self.block("b2", x, 24, 2)
        x = self.block("b3", x, 24, 1)
        return self.dense("head", tf.reduce_mean(x, [1, 2]), 10)


class Transformer(Net):
    """Patches, a class token, two blocks of attention written with einsum, GELU by its tanh."""

    shape = (16, 16, 3)

    def attend(self, name, x):
        q, k, v = (tf.einsum("btw,whd->bthd", x, self.weight(f"{name}.{n}", 32, 4, 8, scale=0.2))
                   for n in "qkv")
        share = tf.nn.softmax(tf.einsum("bqhd,bkhd->bhqk", q, k) / 8 ** 0.5)
        y = tf.einsum("bhqk,bkhd->bqhd", share, v)
        return tf.einsum("bqhd,hdw->bqw", y, self.weight(name + ".o", 4, 8, 32, scale=0.2))

    def __call__(self, x):
        x = tf.reshape(self.conv("patch", x, 4, 32, 4, "VALID"), [-1, 16, 32])
        token = tf.tile(self.weight("token", 1, 1, 32), [tf.shape(x)[0], 1, 1])
        x = tf.concat([token, x], 1) + self.weight("where", 17, 32)
        for i in range(2):
            x = x + self.attend(f"a{i}", self.layer_norm(f"n{i}", x))
            h = self.layer_norm(f"m{i}", x)
            h = tf.nn.gelu(self.dense3(f"u{i}", h, 64), approximate=True)
            x = x + self.dense3(f"d{i}", h, 32)
        return self.dense("head", self.layer_norm("end", x)[:, 0], 10)

    def dense3(self, name, x, wide):
        w = self.weight(name + ".w", x.shape[-1], wide)
        return tf.tensordot(x, w, 1) + self.weight(name + ".b", wide)


class Mlp(Net):
    """One of each activation that TensorFlow has and a net of images rarely shows."""

    shape = (20,)

    def __call__(self, x):
        kinds = [tf.nn.selu, tf.nn.elu, tf.nn.softplus, tf.nn.softsign, tf.tanh, tf.sigmoid,
                 lambda z: tf.nn.gelu(z, approximate=True),
                 lambda z: tf.clip_by_value(z, -1.0, 1.0)]
        for i, kind in enumerate(kinds):
            x = kind(self.dense(f"l{i}", x, 24))
        return self.dense("head", x / tf.norm(x, axis=1, keepdims=True), 10)


def gelu(x):
    """By its tanh: tf2onnx has no Erfc, which the exact form is in TensorFlow."""
    return keras.activations.gelu(x, approximate=True)


def keras_cnn():
    return keras.Sequential([
        layers.Input((24, 24, 3)), layers.Rescaling(2.0, -1.0),
        layers.Conv2D(16, 3, 2, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(6.0), layers.DepthwiseConv2D(3, padding="same"), layers.LeakyReLU(0.1),
        layers.SeparableConv2D(24, 3, padding="same", activation="silu"), layers.MaxPooling2D(),
        layers.UpSampling2D(2, interpolation="bilinear"), layers.AveragePooling2D(3, padding="same"),
        layers.Conv2DTranspose(8, 3, 2, padding="same", activation="elu"), layers.ZeroPadding2D(1),
        layers.Flatten(), layers.Dropout(0.5), layers.Dense(10)])


def keras_softmax():
    return keras.Sequential([
        layers.Input((12,)), layers.Rescaling(3.0, -1.2),
        layers.Dense(32, activation=gelu), layers.Dense(32, activation="selu"),
        layers.Dense(6, activation="softmax")])


def keras_attention():
    x = inputs = layers.Input((10, 24))
    x = x + layers.MultiHeadAttention(4, 6)(*[layers.LayerNormalization()(x)] * 2)
    x = x + layers.Dense(24)(layers.Dense(48, activation=gelu)(layers.LayerNormalization()(x)))
    return keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))


def keras_conv1d():
    return keras.Sequential([
        layers.Input((40, 3)), layers.Conv1D(16, 5, padding="causal", activation="tanh"),
        layers.MaxPooling1D(2), layers.Conv1D(24, 3, dilation_rate=2, activation="relu"),
        layers.GroupNormalization(4), layers.GlobalMaxPooling1D(), layers.Dense(5)])


def keras_lstm():
    return keras.Sequential([
        layers.Input((7, 12)), layers.LSTM(16, return_sequences=True),
        layers.Bidirectional(layers.GRU(16)), layers.Dense(4)])


def keras_mobilenet():
    return keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=10,
                                          classifier_activation=None)


def keras_resnet():
    return keras.applications.ResNet50V2(input_shape=(32, 32, 3), weights=None, classes=10,
                                         classifier_activation=None)


# name -> (net, what was reduced)
FUNCTIONS = {"tf_cnn": Cnn, "tf_separable": Separable, "tf_transformer": Transformer, "tf_mlp": Mlp}
MODELS = {
    "keras_cnn": (keras_cnn, ""),
    "keras_softmax": (keras_softmax, "ends in a softmax"),
    "keras_attention": (keras_attention, ""),
    "keras_conv1d": (keras_conv1d, ""),
    "keras_lstm": (keras_lstm, ""),
    "keras_mobilenet_v2": (keras_mobilenet, "64 x 64, width 0.35"),
    "keras_resnet50_v2": (keras_resnet, "32 x 32"),
}


def gradient(net, x, seed):
    x, seed = tf.constant(x), tf.constant(seed)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = net(x)
        total = tf.reduce_sum(y * seed)
    return y.numpy(), tape.gradient(total, x).numpy()


def choose(narrow, wide, moved, shape, random):
    """An input on which TensorFlow is sure. narrow, wide: the net in float32 and float64; moved():
    the wide one with its weights changed by 1e-7."""
    for _ in range(DRAWS):
        x = random.random((2, *shape), np.float32)
        seed = random.standard_normal(narrow(tf.constant(x)).shape).astype(np.float32)
        doubles = x.astype(np.float64), seed.astype(np.float64)
        logits, grad = gradient(wide, *doubles)
        stake = max(deviation(gradient(moved(), *doubles)[1], grad) for _ in range(2))
        single = deviation(gradient(narrow, x, seed)[1], grad)
        if max(stake, single) <= STAKE:
            return x, {"seed": seed, "logits": logits, "grad": grad, "stake": stake, "float32": single}
        print(f"  moves by {stake:.0e}, float32 {single:.0e}: another", flush=True)
    raise ValueError("no input without kinks was found")


def by_tf2onnx(call, shape, folder, opset):
    """call as tf2onnx sees it, with an open batch."""
    signature = [tf.TensorSpec((None, *shape), tf.float32, name="x")]
    tf2onnx.convert.from_function(tf.function(call, input_signature=signature),
                                  input_signature=signature, opset=opset,
                                  output_path=str(folder / "model.onnx"))


def do_function(name, folder, random):
    kind = FUNCTIONS[name]
    narrow = kind(tf.float32)
    narrow(tf.zeros((2, *kind.shape)))
    weights = narrow.drawn

    def moved():
        return kind(tf.float64, {n: w * (1 + 1e-7 * random.standard_normal(w.shape))
                                 for n, w in weights.items()})

    x, said = choose(narrow, kind(tf.float64, weights), moved, kind.shape, random)
    for opset in (13, 18) if kind is Transformer else (9, 13, 18):
        place = folder / f"{name}.tf2onnx{opset}"
        place.mkdir(parents=True, exist_ok=True)
        by_tf2onnx(narrow, kind.shape, place, opset)
        record(place, PACKAGES, x, name=name, exporter="tf2onnx", reduced="",
               parameters=sum(w.size for w in weights.values()), **said)


def built(make, policy, weights=None):
    keras.config.set_dtype_policy(policy)
    model = make()
    if weights is not None:
        model.set_weights(weights)
    keras.config.set_dtype_policy("float32")
    return model


def stirred(model, random):
    """The model's weights, where what starts as zeros or ones has got values."""
    return [w if w.dtype.kind != "f" or np.std(w) > 0 or w.ndim == 0 else
            (w + 0.1 * np.abs(random.standard_normal(w.shape))).astype(np.float32)
            for w in model.get_weights()]


def do_model(name, folder, random):
    make, reduced = MODELS[name]
    model = built(make, "float32")
    weights = stirred(model, random)
    model.set_weights(weights)
    wide = built(make, "float64", weights)
    shift = built(make, "float64", weights)

    def moved():
        shift.set_weights([w * (1 + 1e-7 * random.standard_normal(w.shape)) if w.dtype.kind == "f" else w
                           for w in weights])
        return lambda x: shift(x, training=False)

    def call(x):
        return model(x, training=False)

    shape = model.input_shape[1:]
    x, said = choose(call, lambda x: wide(x, training=False), moved, shape, random)
    for exporter in ("keras", "tf2onnx"):
        place = folder / f"{name}.{exporter}"
        place.mkdir(parents=True, exist_ok=True)
        if exporter == "keras":
            model.export(str(place / "model.onnx"), format="onnx", verbose=False)
        else:
            by_tf2onnx(call, shape, place, 15)
        record(place, PACKAGES, x, name=name, exporter=exporter, reduced=reduced,
               parameters=model.count_params(), **said)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    for name in [n for n in args.only.split(",") if n] or [*FUNCTIONS, *MODELS]:
        keras.utils.set_random_seed(1)
        random = np.random.default_rng(1)
        (do_function if name in FUNCTIONS else do_model)(name, args.folder, random)


if __name__ == "__main__":
    main()
