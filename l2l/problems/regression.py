"""Regression on random examples: least squares and logistic."""

from __future__ import annotations

from collections import namedtuple

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.problems.problem import Problem
from l2l.problems.random_numbers import normal, uniform
from l2l.quiet import quietly
from l2l.types import Nest, Seed

RegressionDraw = namedtuple("RegressionDraw", ["inputs", "targets"])  # [M, D], [M]


class _Regression(Problem):
    """Linear models of random examples.

    Inputs `A` and true weights `w` are `N(0, 1)`. The start is `x_0 = 0`.

    Args:
      dims: `D`, how many inputs an example has, a positive integer.
      examples: `M`, a positive integer. Every base iteration sees all of them.
      dtype: float32 or float64, the dtype of draw, position and loss.
    """

    def __init__(self, dims: int, examples: int, dtype: tf.DType) -> None:
        self.dims = checks.positive_integer("dims", dims)
        self.examples = checks.positive_integer("examples", examples)
        self.dtype = checks.dtype("dtype", dtype)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` draws: inputs `[num, M, D]` and targets `[num, M]`."""
        inputs = normal([num, self.examples, self.dims], seed=seed, dtype=self.dtype)
        weights = normal([num, self.dims], seed=seed, stream=1, dtype=self.dtype)
        return RegressionDraw(inputs, self._targets(tf.linalg.matvec(inputs, weights), seed))

    def initial_position(self, draw: Nest) -> Nest:
        """Zeros, `[D]`."""
        return tf.zeros([self.dims], self.dtype)

    def batch_loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """The loss over the last axes: `[B]` for `x` of shape `[B, D]`."""
        return self.loss(x, draw)


class LeastSquares(_Regression):
    """Least squares on random examples.

        f(x) = mean_m (a_m . x - b_m)^2 / 2   with   b = A w + noise N(0, 1)

    Each draw has new inputs `A`, `[M, D]`, with rows `a_m`, and new true weights `w`, `[D]`. All their entries are
    `N(0, 1)`. The start is `x_0 = 0`.

    Args:
      dims: `D`, a positive integer.
      examples: `M`, a positive integer. Every base iteration sees all of them.
      noise: standard deviation of the targets' noise, not negative. With noise the minimum is not 0.
      dtype: float32 or float64, the dtype of draw, position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(self, dims: int = 10, examples: int = 50, *, noise: float = 0.1, dtype: tf.DType = tf.float32) -> None:
        super().__init__(dims, examples, dtype)
        self.noise = checks.number_from_zero("noise", noise)

    def _targets(self, products, seed):
        return products + self.noise * normal(products.shape.as_list(), seed=seed, stream=2, dtype=self.dtype)

    def loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """A scalar, for `x` of shape `[D]`."""
        return tf.reduce_mean(tf.square(tf.linalg.matvec(draw.inputs, x) - draw.targets), axis=-1) / 2


class LogisticRegression(_Regression):
    """Logistic regression on random examples.

        f(x) = mean_m log(1 + exp(-b_m a_m . x)) + penalty |x|^2 / 2

    The label `b_m` is 1 with probability `1 / (1 + exp(-a_m . w))`, otherwise -1. Each draw has new inputs `a_m` and
    new true weights `w`, with all entries `N(0, 1)`. The start is `x_0 = 0`.

    Args:
      dims: `D`, a positive integer.
      examples: `M`, a positive integer. Every base iteration sees all of them.
      penalty: weight of the L2 penalty, not negative. Without it the minimum is at infinity if a plane separates the
        examples.
      dtype: float32 or float64, the dtype of draw, position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(
        self, dims: int = 10, examples: int = 50, *, penalty: float = 0.01, dtype: tf.DType = tf.float32
    ) -> None:
        super().__init__(dims, examples, dtype)
        self.penalty = checks.number_from_zero("penalty", penalty)

    @quietly()
    def _targets(self, products, seed):
        chance = uniform(products.shape.as_list(), 0.0, 1.0, seed=seed, stream=2, dtype=self.dtype)
        return tf.where(chance < tf.sigmoid(products), tf.ones_like(products), -tf.ones_like(products))

    def loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """A scalar, for `x` of shape `[D]`."""
        losses = tf.nn.softplus(-draw.targets * tf.linalg.matvec(draw.inputs, x))
        return tf.reduce_mean(losses, axis=-1) + self.penalty * tf.reduce_sum(tf.square(x), axis=-1) / 2
