"""The small problems that the general optimizer is trained on: perceptrons, regressions, a shallow autoencoder.

Convolutions, batch normalization, dropout, attention, embeddings and recurrent networks must stay out of this list:
`ordinary_tasks` measures what the optimizer does on kinds of networks that it never saw.
"""

from collections import OrderedDict

import numpy as np
import tensorflow as tf

import l2l
from l2l.problems.augmented import OfAnother

EXAMPLES = 2000  # of made-up data


class Scaled(OfAnother):
    """A problem whose position is in other units: `f(s x)` from `x_0 / s`, with one `s` for a draw.

    `log s` is uniform between `-log factor` and `log factor`. `l2l.RandomlyScaled` has other scales for each
    coordinate, for which no rate of a whole tensor can be right.

    Args:
      problem: a `Problem`.
      factor: a number above 1.
    """

    shown = ("scale",)

    def __init__(self, problem, factor=30.0):
        super().__init__(problem)
        self.factor = factor

    def sample(self, num, seed=None):
        width = float(np.log(self.factor))
        scales = tf.exp(l2l.uniform([num], -width, width, seed=seed, stream=1000))
        return {"draw": self.problem.sample(num, seed), "scale": scales}

    def initial_position(self, draw):
        start = self.problem.initial_position(draw["draw"])
        return tf.nest.map_structure(lambda one: one / draw["scale"], start)

    def loss(self, x, observed):
        return self.problem.loss(tf.nest.map_structure(lambda one: observed["scale"] * one, x), observed["observed"])


def digits_at(side):
    """The digits with `side^2` inputs, an `Examples`."""
    images, places = l2l.datasets.digits(), np.arange(side) * 8 // side
    inputs = images.inputs[:, places][:, :, places].reshape([-1, side * side])
    return l2l.Examples(inputs, images.labels)


def standardized(inputs, like=None, floor=0.1):
    """Inputs less their mean, over their standard deviation and a floor; with `like`, those of other inputs."""
    like = inputs if like is None else like
    return (inputs - like.mean(axis=0)) / (like.std(axis=0) + np.float32(floor))


def teacher(dims, classes, seed, examples=EXAMPLES, noise=0.3):
    """Normal inputs, and labels that a random network of 32 tanh units gives them, with noise; an `Examples`."""
    random = np.random.RandomState(seed)
    first, second = random.randn(dims, 32) / np.sqrt(dims), random.randn(32, classes) * 2 / np.sqrt(32)
    inputs = random.randn(examples, dims)
    logits = np.tanh(2 * inputs @ first) @ second
    labels = (logits + noise * random.gumbel(size=logits.shape)).argmax(axis=1)
    return l2l.Examples(inputs.astype(np.float32), labels.astype(np.int32))


def linear(dims, condition, noise, seed, examples=EXAMPLES):
    """Inputs and targets `[N, 1]` of variance 1 that are linear in them, with noise.

    `condition` is the largest standard deviation of an input over the smallest, so the curvature's is its square. Each
    input has the same share in the targets.
    """
    random = np.random.RandomState(seed)
    scales = condition ** np.linspace(-0.5, 0.5, dims)
    inputs = random.randn(examples, dims) * scales
    return _with_targets(inputs, inputs @ (random.randn(dims, 1) / scales[:, np.newaxis]), noise, random)


def curved(dims, noise, seed, examples=EXAMPLES):
    """Normal inputs, and targets `[N, 1]` of a random network of 16 tanh units, with noise."""
    random = np.random.RandomState(seed)
    inputs = random.randn(examples, dims)
    hidden = np.tanh(2 * inputs @ random.randn(dims, 16) / np.sqrt(dims))
    return _with_targets(inputs, hidden @ random.randn(16, 1), noise, random)


def _with_targets(inputs, values, noise, random):
    targets = (values - values.mean()) / values.std() + noise * random.randn(*values.shape)
    return inputs.astype(np.float32), targets.astype(np.float32)


def dense(sizes, activation, output=None, start="glorot_uniform"):
    """Function that builds a Keras model of dense layers of these sizes, the last of which is the output."""

    def build_model():
        layers = [
            *[tf.keras.layers.Dense(size, activation, kernel_initializer=start) for size in sizes[:-1]],
            tf.keras.layers.Dense(sizes[-1], output, kernel_initializer=start),
        ]
        return tf.keras.Sequential(layers)

    return build_model


def _classifier(examples, hidden, activation="relu", batch_size=32, start="glorot"):
    """A perceptron that starts as Keras's do, from `N(0, start^2)`, or by He's rule for ReLU units, "he"."""
    if start != "he":
        return l2l.MLP(examples, hidden, activation, batch_size=batch_size, stddev=start)
    sizes = [*hidden, int(examples.labels.max()) + 1]
    build_model = dense(sizes, activation, "softmax", start="he_normal")
    return l2l.KerasProblem(build_model, "sparse_categorical_crossentropy", tuple(examples), batch_size=batch_size)


def _regression(examples, hidden, activation="relu", batch_size=32, output=None):
    build_model = dense([*hidden, examples[1].shape[1]], activation, output)
    return l2l.KerasProblem(build_model, "mse", examples, batch_size=batch_size)


def training_problems():
    """The problems by name, an ordered dict: 17 of the prototype, and ten with what it was weak at."""
    small, plain = digits_at(4), digits_at(8)
    standard = plain._replace(inputs=standardized(plain.inputs))
    random = np.random.RandomState(5)
    factors = (10.0 ** random.uniform(-1.5, 1, size=[64])).astype(np.float32)
    noise = (0.75 + 0.25 * random.randn(len(plain.labels), 192)).astype(np.float32)
    wrong = np.where(random.rand(len(plain.labels)) < 0.1, random.randint(10, size=len(plain.labels)), plain.labels)
    pixels = digits_at(16).inputs
    problems = [
        ("digits, 20 sigmoid, N(0, 0.01^2)", _classifier(plain, [20], "sigmoid", 64, 0.01)),
        ("digits, 32 ReLU", _classifier(plain, [32])),
        ("digits, 32 and 32 ReLU", _classifier(plain, [32, 32])),
        ("digits at 256 inputs, 24 ReLU", _classifier(digits_at(16), [24])),
        ("digits at 784 inputs, 16 ReLU", _classifier(digits_at(28), [16])),
        ("standardized digits, 32 ReLU, He", _classifier(standard, [32], batch_size=16, start="he")),
        ("standardized digits, three of 24 tanh", _classifier(standard, [24] * 3, "tanh")),
        ("teacher of 4 inputs, 16 tanh", _classifier(teacher(4, 5, 4), [16], "tanh", 16)),
        ("teacher of 16 inputs, 32 ReLU", _classifier(teacher(16, 5, 16), [32], batch_size=16)),
        ("teacher of 100 inputs, 32 ReLU, He", _classifier(teacher(100, 5, 100), [32], start="he")),
        ("digits, softmax", _classifier(plain, [])),
        ("teacher of 16 inputs, four of 16 ReLU, He", _classifier(teacher(16, 5, 16), [16] * 4, "relu", 16, "he")),
        ("linear, scales 1e2", _regression(linear(10, 1e2, 0.05, 1), [])),
        ("linear, scales 1e3", _regression(linear(20, 1e3, 0.01, 2), [], batch_size=16)),
        ("curved, 32 ReLU", _regression(curved(8, 0.1, 3), [32])),
        ("curved, 16 and 16 tanh", _regression(curved(16, 0.3, 4), [16, 16], "tanh", 16)),
        ("shallow autoencoder, 16 tanh", _regression((pixels, pixels), [16], "tanh", output="sigmoid")),
        # And beyond the prototype's.
        ("digits at 16 inputs, 16 ReLU", _classifier(small, [16], batch_size=16)),
        ("digits times 10, 32 ReLU", _classifier(plain._replace(inputs=10 * plain.inputs), [32])),
        ("digits of many scales, 32 ReLU", _classifier(plain._replace(inputs=factors * plain.inputs), [32])),
        ("digits among noise", _classifier(plain._replace(inputs=np.hstack([plain.inputs, noise])), [24])),
        ("digits, a tenth mislabelled", _classifier(plain._replace(labels=wrong.astype(np.int32)), [32])),
        ("standardized digits, two of 24 ELU", _classifier(standard, [24, 24], "elu")),
        ("curved, many scales", _regression(_of_many_scales(*curved(12, 0.1, 6)), [24], "tanh")),
        # Without noise, so that the loss can fall for as long as the training lasts.
        ("curved, exact, 32 tanh", _regression(curved(4, 0.0, 7), [32], "tanh")),
        ("curved, exact, two of 24 tanh", _regression(curved(8, 0.0, 8), [24, 24], "tanh")),
        ("linear, exact, scales 30", _regression(linear(12, 30.0, 0.0, 9), [])),
    ]
    return OrderedDict(problems)


def _of_many_scales(inputs, targets):
    return inputs * np.logspace(-1.5, 1, inputs.shape[1]).astype(np.float32), targets
