"""Classification of images by neural networks on minibatches, as in the paper's larger experiments."""

from __future__ import annotations

from collections import namedtuple
from typing import Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.problems.datasets import Examples, checked_examples, classes_of, digits
from l2l.problems.minibatches import minibatch
from l2l.problems.problem import Problem
from l2l.problems.random_numbers import keys, normal, uniform
from l2l.types import Nest, Seed

Layer = namedtuple(
    "Layer",
    [
        "kernel",  # [inputs, outputs]; of a convolution [height, width, inputs, outputs]
        "bias",  # [outputs]
    ],
)

ACTIVATIONS = {"sigmoid": tf.sigmoid, "tanh": tf.tanh, "relu": tf.nn.relu, "elu": tf.nn.elu}
_SMALL = 1e-3  # added to a variance before its root is divided by


class Classification(Problem):
    """Base class of classifiers, trained on minibatches.

    The loss is the mean cross-entropy of the softmax. Subclass it and define `shapes`, the shapes of the weights, and
    `logits`, the network:

        class Linear(l2l.Classification):
            def shapes(self):
                return {"kernel": tf.TensorShape([64, 10])}

            def logits(self, x, inputs):
                return tf.matmul(tf.reshape(inputs, [-1, 64]), x["kernel"])

        problem = Linear(None, batch_size=32, stddev=0.01)

    Base iteration `t` of a draw sees `batch_size` examples, drawn uniformly and with replacement. They depend on the
    draw and `t` alone. A draw holds a key for them, and the initial weights.

    Args:
      examples: an `Examples`, as from `l2l.datasets.mnist()`; None for `l2l.datasets.digits()`.
      batch_size: how many examples a minibatch has, a positive integer.
      stddev: a positive number: all initial weights, biases too, are `N(0, stddev^2)`. The authors of arXiv
        1606.04474 use 0.01. Or "glorot", the default of Keras: biases are 0, and kernels are uniform in `[-r, r]` with
        `r = sqrt(6 / (a + b))` for `a` inputs and `b` outputs of a unit (X. Glorot and Y. Bengio, 2010).

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(self, examples: Optional[Examples], *, batch_size: int, stddev: Union[float, str]) -> None:
        self.data = checked_examples("examples", digits() if examples is None else examples)
        if self.data.labels.dtype not in (np.uint8, np.int32, np.int64):  # `tf.one_hot` takes no others
            self.data = self.data._replace(labels=self.data.labels.astype(np.int64))
        self.batch_size = checks.positive_integer("batch_size", batch_size)
        if isinstance(stddev, str) and stddev != "glorot":
            raise ValueError("stddev must be a positive number or 'glorot', got %r" % stddev)
        self.stddev = stddev if stddev == "glorot" else checks.positive_number("stddev", stddev)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` draws: a key, and weights like the position."""
        dtype = tf.as_dtype(self.data.inputs.dtype)
        weights = [
            self._initial(num, shape.as_list(), seed, i, dtype)
            for i, shape in enumerate(tf.nest.flatten(self.shapes()))
        ]
        return {"key": keys(num, seed), "weights": tf.nest.pack_sequence_as(self.shapes(), weights)}

    def _initial(self, num, shape, seed, stream, dtype):
        if self.stddev != "glorot":
            return normal([num, *shape], self.stddev, seed=seed, stream=stream, dtype=dtype)
        if len(shape) == 1:
            return tf.zeros([num, *shape], dtype)
        limit = np.sqrt(6 / (np.prod(shape[:-2]) * (shape[-2] + shape[-1])))
        return uniform([num, *shape], -limit, limit, seed=seed, stream=stream, dtype=dtype)

    def initial_position(self, draw: Nest) -> Nest:
        """Returns the initial weights, a nest of tensors."""
        return draw["weights"]

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """Returns the minibatch of base iteration `t`, an `Examples` of tensors."""
        places = minibatch(draw["key"], t, batch_size=self.batch_size, examples=len(self.data.labels))
        return type(data)(tf.gather(data.inputs, places), tf.gather(data.labels, places))

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """Returns all examples, an `Examples` of tensors."""
        return data

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes the mean cross-entropy, a scalar. It uses `tf.nn.log_softmax`, which has a second derivative."""
        logs = tf.nn.log_softmax(self.logits(x, observed.inputs))
        picked = tf.one_hot(observed.labels, logs.shape[1], dtype=logs.dtype)
        return -tf.reduce_mean(tf.reduce_sum(picked * logs, axis=1))

    def shapes(self) -> Nest:
        """Returns the shapes of the weights: a nest of `tf.TensorShape` like the position."""
        raise NotImplementedError("%s does not define shapes" % type(self).__name__)

    def logits(self, x: Nest, inputs: tf.Tensor) -> tf.Tensor:
        """Computes the inputs of the softmax, `[N, classes]`, for `N` examples.

        Args:
          x: the weights, a nest like `shapes()`.
          inputs: the inputs of `N` examples, a tensor `[N, ...]`.
        """
        raise NotImplementedError("%s does not define logits" % type(self).__name__)


class MLP(Classification):
    """A multilayer perceptron that classifies examples.

    With the inputs `h_0` it computes `h_(i+1) = activation(W_i h_i + b_i)` and `softmax(W_n h_n + b_n)`.

        problem = l2l.MLP(l2l.datasets.digits(), hidden=(32, 16), activation="relu", batch_size=64)

    The position is `{"hidden": (Layer, ...), "output": Layer}`. The defaults are those of the paper on MNIST (arXiv
    1606.04474, section 3.2): one layer of 20 sigmoid units, minibatches of 128. Only the images differ: they are
    scikit-learn's digits, which makes 1,510 weights.

    Args:
      examples: an `Examples`; its inputs are flattened. None for `l2l.datasets.digits()`.
      hidden: units of each hidden layer, a sequence of positive integers; an empty one gives softmax regression.
      activation: "sigmoid", "tanh", "relu" or "elu".
      batch_size, stddev: as for `Classification`.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(
        self,
        examples: Optional[Examples] = None,
        hidden: Sequence[int] = (20,),
        activation: str = "sigmoid",
        *,
        batch_size: int = 128,
        stddev: Union[float, str] = 0.01,
    ) -> None:
        super().__init__(examples, batch_size=batch_size, stddev=stddev)
        self.hidden = checks.positive_integers("hidden", hidden)
        self.activation = checks.one_of("activation", activation, ACTIVATIONS)

    def shapes(self) -> Nest:
        """The shapes of kernels and biases, a nest like the position."""
        inputs = int(np.prod(self.data.inputs.shape[1:]))
        *hidden, output = [_layer([a, b]) for a, b in _pairs([inputs, *self.hidden, classes_of(self.data)])]
        return {"hidden": tuple(hidden), "output": output}

    def logits(self, x: Nest, inputs: tf.Tensor) -> tf.Tensor:
        """`[N, classes]`, for `N` inputs."""
        values = tf.reshape(inputs, [inputs.shape[0], -1])
        for layer in x["hidden"]:
            values = ACTIVATIONS[self.activation](tf.matmul(values, layer.kernel) + layer.bias)
        return tf.matmul(values, x["output"].kernel) + x["output"].bias


class ConvNet(Classification):
    """A small convolutional network that classifies images.

        problem = l2l.ConvNet(l2l.datasets.digits(), channels=(8, 8), dense=(16,))

    Convolutions of 5 x 5 come first, then dense layers, then the softmax. Each convolution pads with zeros, so it keeps
    the size of the image. Batch normalization, ReLU and max pooling over 2 x 2 pixels follow it. Batch normalization
    and ReLU follow each dense layer but the output. The defaults are those of arXiv 1606.04474, section 3.3, and of its
    authors' code.

    The position is `{"conv": (Layer, ...), "dense": (Layer, ...)}`; the last dense layer is the output. The paper
    trains one learned optimizer for the convolutions and another for the dense layers.

    **Batch normalization** always uses mean and variance of the minibatch:
    `(z - mean) / sqrt(variance + 0.001) + bias`. As in the authors' code it has an offset (the layer's bias) and no
    scale. It keeps no running means, because no optimizer would move them. So every loss is the training loss, in
    evaluations too.

    Args:
      examples: an `Examples` with inputs `[N, height, width]` or `[N, height, width, channels]`; None for
        `l2l.datasets.digits()`.
      channels: output channels of each convolution, a non-empty sequence of positive integers.
      dense: units of each dense layer before the output, a sequence of positive integers; it may be empty.
      normalized: whether to use batch normalization.
      batch_size, stddev: as for `Classification`.

    Raises:
      TypeError, ValueError: an argument is out of range, or the inputs are not images.
    """

    def __init__(
        self,
        examples: Optional[Examples] = None,
        channels: Sequence[int] = (16, 16, 16),
        *,
        dense: Sequence[int] = (32,),
        normalized: bool = True,
        batch_size: int = 128,
        stddev: Union[float, str] = 0.01,
    ) -> None:
        super().__init__(examples, batch_size=batch_size, stddev=stddev)
        if self.data.inputs.ndim not in (3, 4):
            raise ValueError(
                "examples must have inputs of shape [N, height, width] or [N, height, width, channels], got %s"
                % (list(self.data.inputs.shape),)
            )
        self.channels = checks.positive_integers("channels", channels)
        if not self.channels:
            raise ValueError("channels must have at least one convolution, got %r" % (channels,))
        self.dense = checks.positive_integers("dense", dense)
        self.normalized = checks.boolean("normalized", normalized)

    def shapes(self) -> Nest:
        """The shapes of kernels and biases, a nest like the position."""
        height, width, *depth = self.data.inputs.shape[1:]
        for _ in self.channels:
            height, width = -(-height // 2), -(-width // 2)
        conv = [_layer([5, 5, a, b]) for a, b in _pairs([*(depth or [1]), *self.channels])]
        sizes = [height * width * self.channels[-1], *self.dense, classes_of(self.data)]
        return {"conv": tuple(conv), "dense": tuple(_layer([a, b]) for a, b in _pairs(sizes))}

    def logits(self, x: Nest, inputs: tf.Tensor) -> tf.Tensor:
        """`[N, classes]`, for `N` images."""
        values = inputs[..., tf.newaxis] if len(inputs.shape) == 3 else inputs
        for layer in x["conv"]:
            values = tf.nn.relu(self._normalized(tf.nn.conv2d(values, layer.kernel, 1, "SAME"), layer.bias))
            values = tf.nn.max_pool(values, 2, 2, "SAME")
        values = tf.reshape(values, [inputs.shape[0], -1])
        *hidden, output = x["dense"]
        for layer in hidden:
            values = tf.nn.relu(self._normalized(tf.matmul(values, layer.kernel), layer.bias))
        return tf.matmul(values, output.kernel) + output.bias

    def _normalized(self, values, bias):
        if self.normalized:
            mean, variance = tf.nn.moments(values, list(range(values.shape.ndims - 1)), keep_dims=True)
            # TensorFlow's variance passes no gradient through its mean. That gradient is 0, but its derivative is not,
            # so second derivatives would be wrong. The square below is 0, its first derivative too; its second
            # derivative adds the missing part.
            variance -= tf.square(mean - tf.stop_gradient(mean))
            values = (values - mean) * tf.rsqrt(variance + _SMALL)
        return values + bias


def _pairs(sizes):
    return zip(sizes, sizes[1:])


def _layer(shape):
    return Layer(tf.TensorShape(shape), tf.TensorShape(shape[-1:]))
