"""Quadratic problems."""

from __future__ import annotations

from collections import namedtuple

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.problems.problem import Problem
from l2l.problems.random_numbers import normal, uniform
from l2l.types import Nest, Seed

QuadraticDraw = namedtuple("QuadraticDraw", ["scale", "start"])  # each [D]
DenseQuadraticDraw = namedtuple("DenseQuadraticDraw", ["matrix", "target", "start"])  # [D, D], [D], [D]


class Quadratic(Problem):
    """The random diagonal quadratic `f(x) = sum_i (scale_i x_i)^2`.

    Each draw has `scale ~ U[0.5, 1.5]^D` and starts at `x_0 ~ U[-1, 1]^D`. The minimum is 0, at `x = 0`.

    Source: Episode 1. It follows arXiv 1606.04474, section 3.1, but the quadratics of the paper are not diagonal; see
    `DenseQuadratic`.

    Args:
      dims: `D`, a positive integer.
      dtype: float32 or float64, the dtype of draw, position and loss.

    Raises:
      TypeError, ValueError: `dims` is not a positive integer, or `dtype` is neither float32 nor float64.
    """

    def __init__(self, dims: int = 2, dtype: tf.DType = tf.float32) -> None:
        self.dims = checks.positive_integer("dims", dims)
        self.dtype = checks.dtype("dtype", dtype)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` draws: scale and start, each `[num, D]`."""
        shape = [num, self.dims]
        return QuadraticDraw(
            scale=uniform(shape, 0.5, 1.5, seed=seed, dtype=self.dtype),
            start=uniform(shape, -1.0, 1.0, seed=seed, stream=1, dtype=self.dtype),
        )

    def initial_position(self, draw: Nest) -> Nest:
        """`x_0`, `[D]`."""
        return draw.start

    def loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """`sum_i (scale_i x_i)^2`, a scalar, for `x` of shape `[D]`."""
        return tf.reduce_sum(tf.square(draw.scale * x), axis=-1)

    def batch_loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """The same over the last axis: `[B]` for `x` of shape `[B, D]`."""
        return self.loss(x, draw)


class DenseQuadratic(Problem):
    """The paper's random quadratic `f(x) = |W x - y|^2`, with dependent coordinates.

    `W` is `[D, D]` and `y` is `[D]`. The start is `x_0 ~ N(0, 0.01^2)^D`, as in the authors' code. The minimum is 0.

    Source: arXiv 1606.04474, section 3.1.

    **Distribution.** The paper and its code draw differently, so losses of the two distributions are not comparable:

    - "normal", as in the paper: entries are `N(0, 1)`, and `f(0) = |y|^2` is `D` on average.
    - "uniform", as in the code: entries are `U[0, 1)`, and `f(0)` is `D / 3` on average.

    The two differ even more in shape. Uniform entries have a positive mean, which gives `W^T W` one eigenvalue of
    about `D^2 / 4`; all others are below `D / 3`. Every optimizer descends along the large one in a few steps, and
    then needs many small steps.

    Args:
      dims: `D`, a positive integer.
      distribution: "normal" or "uniform", the distribution of the entries of `W` and `y`.
      dtype: float32 or float64, the dtype of draw, position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(self, dims: int = 10, distribution: str = "normal", *, dtype: tf.DType = tf.float32) -> None:
        self.dims = checks.positive_integer("dims", dims)
        self.distribution = checks.one_of("distribution", distribution, ["normal", "uniform"])
        self.dtype = checks.dtype("dtype", dtype)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` draws: matrix `[num, D, D]`, target and start, each `[num, D]`."""

        def entries(shape, stream):
            if self.distribution == "normal":
                return normal(shape, 1.0, seed=seed, stream=stream, dtype=self.dtype)
            return uniform(shape, 0.0, 1.0, seed=seed, stream=stream, dtype=self.dtype)

        return DenseQuadraticDraw(
            matrix=entries([num, self.dims, self.dims], 0),
            target=entries([num, self.dims], 1),
            start=normal([num, self.dims], 0.01, seed=seed, stream=2, dtype=self.dtype),
        )

    def initial_position(self, draw: Nest) -> Nest:
        """`x_0`, `[D]`."""
        return draw.start

    def loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """`|W x - y|^2`, a scalar, for `x` of shape `[D]`."""
        return tf.reduce_sum(tf.square(tf.linalg.matvec(draw.matrix, x) - draw.target), axis=-1)

    def batch_loss(self, x: Nest, draw: Nest) -> tf.Tensor:
        """The same over the last axis: `[B]` for `x` of shape `[B, D]`."""
        return self.loss(x, draw)
