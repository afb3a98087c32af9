"""Twelve ordinary trainings, on which optimizers for users' own models are compared; `ordinary_suite` runs them.

Six of them are of kinds that are not among `training_problems`: convolutions, batch normalization, dropout, attention,
embeddings, a recurrent network.
"""

import functools
from collections import OrderedDict, namedtuple

import numpy as np
import tensorflow as tf
from training_problems import dense, digits_at, linear, standardized

import l2l
from l2l.graphs import own_graph

STEPS = (100, 500, 2000)
LONG = (*STEPS, 10_000)

_Task = namedtuple(
    "_Task",
    [
        "name",
        "build_model",  # function without arguments to a Keras model; without its dropout for held-out examples
        "loss",  # name of a Keras loss
        "training",  # examples, (inputs, targets)
        "held_out",  # others
        "batch_size",
        "is_seen_kind",  # whether problems of its kind are in the training set
        "steps",  # base iterations, a tuple
        "build_held_out_model",  # the same weights, without what only a training has
    ],
)


class Task(_Task):
    """A model, examples to train it on, and held-out ones."""

    @property
    def measured(self):
        """What counts on held-out examples: "accuracy" for classes, "error" (the loss) for numbers."""
        return "accuracy" if self.loss.startswith("sparse") else "error"

    def problem(self):
        """The training, a `KerasProblem`."""
        return l2l.KerasProblem(self.build_model, self.loss, self.training, batch_size=self.batch_size)

    def held_out_figures(self, positions):
        """Figures of each final position on the held-out examples: `(losses, accuracies)`, the latter None for numbers.

        All held-out examples are one batch, so batch normalization uses their mean and variance. There is no dropout.

        Args:
          positions: of a training of this task, a list of arrays `[draws, ...]`, as an `Evaluation` has them.
        """
        losses = self._at(positions, self.loss)
        return losses, (1 - self._at(positions, _share_wrong) if self.measured == "accuracy" else None)

    def _at(self, positions, loss):
        problem = l2l.KerasProblem(self.build_held_out_model, loss, self.held_out, batch_size=None)
        with own_graph() as graph:
            draw = problem.draw(0)
            seen = problem.observe_all(draw, tf.nest.map_structure(tf.constant, problem.data))
            places = [tf.placeholder(one.dtype, one.shape[1:]) for one in positions]
            value = problem.loss(places, seen)
            with tf.Session(graph=graph) as session:
                return np.array([session.run(value, dict(zip(places, draw))) for draw in zip(*positions)])


def _share_wrong(labels, probabilities):
    wrong = tf.not_equal(tf.cast(tf.reshape(labels, [-1]), tf.int64), tf.argmax(probabilities, axis=-1))
    return tf.cast(wrong, tf.float32)


# --- models


def _layers(*makers):
    """Function that builds a sequential model; each layer is made by a function, so that a model has its own."""
    return lambda: tf.keras.Sequential([make() for make in makers])


_KERAS = tf.keras.layers


def _layer(name, *arguments, **settings):
    return functools.partial(getattr(_KERAS, name), *arguments, **settings)


def _normalized():
    return [make for _ in range(2) for make in (_layer("Dense", 64), _layer("BatchNormalization"), _layer("ReLU"))]


def _with_dropout(rate):
    return [make for _ in range(2) for make in (_layer("Dense", 64, "relu"), _layer("Dropout", rate))]


def _convolutions():
    return _layers(
        _layer("Conv2D", 8, 3, 2, "same", activation="relu"),
        _layer("Conv2D", 16, 3, 2, "same", activation="relu"),
        _layer("Flatten"),
        _layer("Dense", 10, "softmax"),
    )


def attention():
    """A classifier with one head of self-attention, whose first token asks."""
    tokens = tf.keras.Input([TOKENS, 2 * KEYS])
    query, keys, values = (_KERAS.Dense(16)(one) for one in (_KERAS.Lambda(_first)(tokens), tokens, tokens))
    found = _KERAS.Lambda(_attended)([query, keys, values])
    return tf.keras.Model(tokens, _KERAS.Dense(KEYS, "softmax")(_KERAS.Dense(32, "relu")(found)))


def _first(tokens):
    return tokens[:, :1]


def _attended(inputs):
    query, keys, values = inputs
    weights = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True) / 4.0)
    return tf.squeeze(tf.matmul(weights, values), axis=1)


# --- data that are made up

KEYS, TOKENS = 8, 9
WORDS, TOPICS, LENGTH = 200, 5, 12
TIME = 12


def questions(examples, seed):
    """Tokens `[N, TOKENS, 2 KEYS]`, and labels: the value of the token with the key that the first token asks for.

    Key and value of a token are one-hot, with noise; the first one has no value.
    """
    random, one_hot = np.random.RandomState(seed), np.eye(KEYS)
    keys = np.array([random.permutation(KEYS) for _ in range(examples)])
    values = random.randint(KEYS, size=[examples, KEYS])
    asked = random.randint(KEYS, size=examples)
    rows = np.arange(examples)
    first = np.concatenate([one_hot[keys[rows, asked]], np.zeros([examples, KEYS])], axis=1)
    tokens = np.concatenate([first[:, np.newaxis], np.concatenate([one_hot[keys], one_hot[values]], axis=2)], axis=1)
    tokens += 0.1 * random.randn(*tokens.shape)
    return tokens.astype(np.float32), values[rows, asked].astype(np.int32)


def sentences(examples, seed):
    """Word numbers `[N, LENGTH]`, and labels: the topic that the words have most of."""
    random = np.random.RandomState(seed)
    topics = 1.5 * random.randn(WORDS, TOPICS)
    words = random.randint(WORDS, size=[examples, LENGTH])
    return words.astype(np.int32), topics[words].sum(axis=1).argmax(axis=1).astype(np.int32)


def sums(examples, seed):
    """The adding problem (Hochreiter and Schmidhuber 1997): the target is the sum of the two marked numbers."""
    random = np.random.RandomState(seed)
    numbers, marks = random.uniform(size=[examples, TIME]), np.zeros([examples, TIME])
    for row in marks:
        row[random.choice(TIME, 2, replace=False)] = 1
    inputs = np.stack([numbers, marks], axis=2)
    return inputs.astype(np.float32), (numbers * marks).sum(axis=1, keepdims=True).astype(np.float32)


def _cancer():
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    return table.data.astype(np.float32), table.target.astype(np.int32)


def split(examples, held_out=0.2, seed=0):
    """Examples in two parts of an order that the seed draws: for training, and held-out ones."""
    inputs, targets = examples
    order = np.random.RandomState(seed).permutation(len(targets))
    number = len(targets) - int(round(held_out * len(targets)))
    return [(inputs[places], targets[places]) for places in (order[:number], order[number:])]


# --- the suite

CLASSES = "sparse_categorical_crossentropy"


def tasks():
    """The tasks by name, an ordered dict of `Task`."""
    images = l2l.datasets.mnist_5000()
    flat, planes = images.inputs.reshape([-1, 784]), images.inputs[..., np.newaxis]
    digits, labels = digits_at(8)
    output = _layer("Dense", 10, "softmax")
    recurrent = _layers(_layer("GRU", 24), _layer("Dense", 1))
    embedding = _layers(
        _layer("Embedding", WORDS, 16),
        _layer("GlobalAveragePooling1D"),
        _layer("Dense", 32, "relu"),
        _layer("Dense", TOPICS, "softmax"),
    )
    deep = dense([48, 24, 8, 24, 48, 64], "relu", "sigmoid")
    found = [
        _task("MNIST 784-128-10 ReLU", dense([128, 10], "relu", "softmax"), CLASSES, (flat, images.labels), True),
        _task(
            "MNIST 784-32-32-10 ReLU",
            dense([32, 32, 10], "relu", "softmax"),
            CLASSES,
            (flat, images.labels),
            True,
            steps=LONG,
        ),
        _task("MNIST conv net", _convolutions(), CLASSES, (planes, images.labels), False),
        _task("digits 64-64-10 ReLU", dense([64, 10], "relu", "softmax"), CLASSES, (digits, labels), True),
        _task("batch normalization, digits", _layers(*_normalized(), output), CLASSES, (digits, labels), False),
        _task(
            "dropout, digits",
            _layers(*_with_dropout(0.4), output),
            CLASSES,
            (digits, labels),
            False,
            floor=0.1,
            held_out_model=_layers(*_with_dropout(0.0), output),
        ),
        _task("cancer table", dense([32, 32, 2], "relu", "softmax"), CLASSES, _cancer(), True, floor=0.0),
        _task("attention", attention, CLASSES, questions(5000, 1), False),
        _task("embeddings", embedding, CLASSES, sentences(3000, 2), False),
        _task("GRU, adding", recurrent, "mse", sums(3000, 3), False, steps=LONG),
        _task("deep autoencoder, digits", deep, "mse", (digits, digits), True),
        # Of the curvature; the hardest linear one of the training set has the same, with other inputs and targets.
        _task("linear, condition 1e6", dense([1], None), "mse", linear(24, 1e3, 0.01, 4), True),
    ]
    return OrderedDict((task.name, task) for task in found)


def _task(name, build_model, loss, examples, is_seen_kind, *, steps=STEPS, floor=None, held_out_model=None):
    training, held_out = split(examples)
    if floor is not None:
        training, held_out = [(standardized(one[0], training[0], floor), one[1]) for one in (training, held_out)]
    held_out_model = held_out_model or build_model
    return Task(name, build_model, loss, training, held_out, 32, is_seen_kind, steps, held_out_model)
