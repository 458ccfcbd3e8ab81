"""Exports scikit-learn's multi-layer perceptrons and the pipelines around them through skl2onnx, each
with an input and its probabilities (or predictions) and input gradient in float64.

    python export_zoo_sklearn.py FOLDER

scikit-learn has no gradients: `Chain` here computes them, in float64, from the fitted coefficients,
forward as scikit-learn does (which is checked) and backward by the chain rule (which is checked
against central differences of scikit-learn itself). As everywhere in the zoo, inputs are drawn until
no unit lies near a kink.
"""

import argparse
import pathlib
import warnings

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import make_classification, make_regression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, RobustScaler, StandardScaler

from zoo_record import STAKE, deviation, record

PACKAGES = ("scikit-learn", "skl2onnx", "onnx")
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z, h: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z, h: 1 - h * h),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), lambda z, h: h * (1 - h)),
    "identity": (lambda z: z, lambda z, h: np.ones_like(z)),
}


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class Chain:
    """A fitted pipeline as float64 arithmetic: affine steps, a Normalizer, a perceptron."""

    def __init__(self, pipeline):
        *self.steps, self.net = [step for _, step in pipeline.steps]
        self.weights = list(zip(self.net.coefs_, self.net.intercepts_))
        self.single = self.net.n_outputs_ == 1 and hasattr(self.net, "classes_")
        self.width = 2 if self.single else self.net.n_outputs_

    def perturbed(self, random):
        other = object.__new__(Chain)
        other.__dict__ = dict(self.__dict__)
        other.weights = [[a * (1 + 1e-7 * random.standard_normal(a.shape)) for a in layer]
                         for layer in self.weights]
        return other

    def front(self, x):
        """(the perceptron's input, a function from its gradient to x's)."""
        backs = []
        for step in self.steps:
            if isinstance(step, Normalizer):
                size = np.linalg.norm(x, axis=1, keepdims=True)
                y = x / size
                backs.append(lambda d, y=y, size=size: (d - y * (d * y).sum(1, keepdims=True)) / size)
                x = y
            else:
                factor = step.scale_ if isinstance(step, MinMaxScaler) else 1 / step.scale_
                backs.append(lambda d, factor=factor: d * factor)
                x = step.transform(x)
        return x, lambda d: backward(backs, d)

    def scores(self, x):
        """(what goes into the last activation, a function from its gradient to x's)."""
        h, back = self.front(x)
        act, slope = ACTIVATIONS[self.net.activation]
        trail = []
        for w, b in self.weights[:-1]:
            z = h @ w + b
            h = act(z)
            trail.append((w, slope(z, h)))
        w, b = self.weights[-1]

        def through(d):
            d = d @ w.T
            for inner, s in reversed(trail):
                d = (d * s) @ inner.T
            return back(d)

        return h @ w + b, through

    def answers(self, x, seed):
        """(outputs, gradient of sum(seed * outputs))."""
        z, through = self.scores(x)
        if self.net.out_activation_ == "softmax":
            y = softmax(z)
            return y, through(y * (seed - (seed * y).sum(1, keepdims=True)))
        act, slope = ACTIVATIONS[self.net.out_activation_]
        y = act(z)
        if self.single:
            seed = seed[:, 1:] - seed[:, :1]
        grad = through(seed * slope(z, y))
        return np.hstack([1 - y, y]) if self.single else y, grad


def backward(backs, d):
    for back in reversed(backs):
        d = back(d)
    return d


def fit(task, steps, net):
    """A fitted pipeline on float32 features, and features to attack."""
    if task == "regression":
        x, y = make_regression(300, 12, random_state=1)
        y = y / y.std()
    else:
        x, y = make_classification(300, 12, n_informative=8, n_classes=2 if task == "two" else 4,
                                   random_state=1)
        y = np.array(["ant", "bee", "cat", "dog"])[y] if task == "words" else y
        y = np.eye(4, dtype=int)[y] if task == "many" else y
    x = (x * np.linspace(0.5, 4, 12) + np.linspace(-2, 3, 12)).astype(np.float32)
    return make_pipeline(*steps, net).fit(x.astype(np.float64), y), x


def classifier(*layers, activation="relu"):
    return MLPClassifier(layers, activation=activation, max_iter=60, random_state=1)


def regressor(*layers, activation="relu"):
    return MLPRegressor(hidden_layer_sizes=layers, activation=activation, max_iter=60, random_state=1)


# name -> (task, steps, net, what the table says)
ZOO = {
    "mlp_classifier": ("four", [], classifier(32, 32), ""),
    "mlp_pipeline": ("four", [StandardScaler()], classifier(64, 32), "StandardScaler"),
    "mlp_words": ("words", [RobustScaler()], classifier(32, activation="tanh"),
                  "RobustScaler, labels are words"),
    "mlp_two_classes": ("two", [StandardScaler()], classifier(32), "StandardScaler, one sigmoid"),
    "mlp_many_labels": ("many", [MinMaxScaler()], classifier(32, activation="logistic"),
                        "MinMaxScaler, a sigmoid each"),
    "mlp_regressor": ("regression", [StandardScaler(), Normalizer()], regressor(48, 24),
                      "StandardScaler, Normalizer"),
}


def outputs(pipeline, x):
    """Probabilities, or predictions as a column."""
    return (pipeline.predict_proba(x) if hasattr(pipeline[-1], "classes_")
            else pipeline.predict(x).reshape(-1, 1))


def check(name, pipeline, x, seed, got, grad):
    """Against scikit-learn itself, in float64."""
    step, wide = 1e-6, x.astype(np.float64)
    if deviation(got, outputs(pipeline, wide)) > 1e-12:
        raise ValueError(f"{name}: the chain is not what scikit-learn computes")
    for flat in range(0, wide.size, 5):
        ends = []
        for sign in (1, -1):
            moved = wide.copy()
            moved.flat[flat] += sign * step
            ends.append((outputs(pipeline, moved) * seed).sum())
        if abs((ends[0] - ends[1]) / (2 * step) - grad.flat[flat]) > 1e-6 * np.abs(grad).max():
            raise ValueError(f"{name}: the gradient is not scikit-learn's slope")


def choose(chain, pool, random):
    for start in range(0, len(pool) - 2, 2):
        x = pool[start:start + 2].astype(np.float64)
        seed = random.standard_normal((2, chain.width)).astype(np.float32).astype(np.float64)
        got, grad = chain.answers(x, seed)
        stake = max(deviation(chain.perturbed(random).answers(x, seed)[1], grad) for _ in range(4))
        if stake <= STAKE:
            return x, seed, got, grad, stake
    raise ValueError("no input without kinks was found")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    random = np.random.default_rng(1)
    for name, (task, steps, net, reduced) in ZOO.items():
        pipeline, pool = fit(task, steps, net)
        chain = Chain(pipeline)
        x, seed, got, grad, stake = choose(chain, pool, random)
        check(name, pipeline, x, seed, got, grad)
        folder = args.folder / f"{name}.skl2onnx"
        folder.mkdir(parents=True, exist_ok=True)
        options = {"zipmap": False} if hasattr(net, "classes_") else None
        model = to_onnx(pipeline, pool[:1], options=options)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        info = {"output": "probabilities"} if options else {}
        record(folder, PACKAGES, x, seed, got, grad, name=name, exporter="skl2onnx", reduced=reduced,
               parameters=sum(w.size + b.size for w, b in chain.weights), stake=stake, **info)


if __name__ == "__main__":
    main()
