"""Quadratic problems."""

from collections import namedtuple

import tensorflow as tf

from l2l import checks
from l2l.problems.problem import Problem, uniform

QuadraticDraw = namedtuple("QuadraticDraw", ["scale", "start"])  # each [D]


class Quadratic(Problem):
    """The random diagonal quadratic `f(x) = sum_i (scale_i x_i)^2`.

    `scale ~ U[0.5, 1.5]^D`, `x_0 ~ U[-1, 1]^D`. The minimum is 0, at `x = 0`.
    Source: Episode 1, after section 3.1 of arXiv 1606.04474, whose quadratics are not diagonal.

    Args:
      dims: `D`, a positive integer.
      dtype: of draw, position and loss, float32 or float64.

    Raises:
      TypeError, ValueError: `dims` is not a positive integer, or `dtype` another one.
    """

    def __init__(self, dims=2, dtype=tf.float32):
        self.dims = checks.positive_integer("dims", dims)
        self.dtype = checks.dtype("dtype", dtype)

    def sample(self, num, seed=None):
        """`num` draws: scale and start, each `[num, D]`."""
        shape = [checks.positive_integer("num", num), self.dims]
        return QuadraticDraw(
            scale=uniform(shape, 0.5, 1.5, seed, stream=0, dtype=self.dtype),
            start=uniform(shape, -1.0, 1.0, seed, stream=1, dtype=self.dtype),
        )

    def initial_position(self, draw):
        """`x_0`, `[D]`."""
        return draw.start

    def loss(self, x, draw):
        """`sum_i (scale_i x_i)^2`, a scalar, for `x` of shape `[D]`."""
        return tf.reduce_sum(tf.square(draw.scale * x), axis=-1)

    def batch_loss(self, x, draw):
        """The same over the last axis: `[B]` for `x` of shape `[B, D]`."""
        return self.loss(x, draw)
