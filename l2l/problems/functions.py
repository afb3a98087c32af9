"""Test functions of optimization: narrow valleys, and many local minima."""

from __future__ import annotations

import math
from typing import Optional

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.problems.minibatches import noise as noise_numbers
from l2l.problems.problem import Problem
from l2l.problems.random_numbers import keys, uniform
from l2l.quiet import quietly
from l2l.types import Nest, Seed


class _Function(Problem):
    """A fixed function of `D` coordinates, from a random start.

    Args:
      dims: `D`, a positive integer.
      width: `x_0 ~ U[-width, width]^D`, a positive number.
      noise: standard deviation of normal noise that each base iteration adds to each coordinate's gradient; 0 for
        none. The loss stays exact: it gets the term `sum_i noise_i (x_i - c_i)`, where `c` is a copy of `x` that no
        gradient flows into.
      dtype: float32 or float64, the dtype of position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    least_dims = 1

    def __init__(self, dims: int, width: float, noise: float, dtype: tf.DType) -> None:
        self.dims = checks.positive_integer("dims", dims)
        if self.dims < self.least_dims:
            raise ValueError("dims must be %d or more, got %r" % (self.least_dims, dims))
        self.width = checks.positive_number("width", width)
        self.noise = checks.number_from_zero("noise", noise)
        self.dtype = checks.dtype("dtype", dtype)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` draws: `start`, `[num, D]`, and with noise a `key`, `[num]`."""
        start = uniform([num, self.dims], -self.width, self.width, seed=seed, dtype=self.dtype)
        return {"start": start, "key": keys(num, seed)} if self.noise else {"start": start}

    def initial_position(self, draw: Nest) -> Nest:
        """`x_0`, `[D]`."""
        return draw["start"]

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """Returns the noise of base iteration `t`, `[D]`; without noise, the draw."""
        return self.noise * noise_numbers(draw["key"], t, [self.dims], dtype=self.dtype) if self.noise else draw

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """Returns noise of zero, `[D]`; without noise, the draw."""
        return tf.zeros([self.dims], self.dtype) if self.noise else draw

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes `value(x)`, a scalar for `x` of shape `[D]`. Its gradient includes the noise."""
        value = self.value(x)
        if self.noise:
            value += tf.reduce_sum(observed * (x - tf.stop_gradient(x)), axis=-1)
        return value

    def batch_loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The same over the last axis: `[B]` for `x` of shape `[B, D]`."""
        return self.loss(x, observed)

    def value(self, x: Nest) -> tf.Tensor:
        """The function itself, over the last axis of `x`."""
        raise NotImplementedError("%s does not define value" % type(self).__name__)


class Rosenbrock(_Function):
    """The Rosenbrock function, a curved valley.

    The loss is `sum_i 100 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2` over `i = 1 .. D-1`. The minimum is 0, where every
    coordinate is 1.

    Source: H. Rosenbrock, The Computer Journal 3, 1960, for `D = 2`.

    Args:
      dims: `D`, an integer of at least 2.
      width: `x_0 ~ U[-width, width]^D`, a positive number.
      noise: standard deviation of normal noise in each coordinate's gradient, new at each base iteration; 0 for none.
        The loss itself stays exact.
      dtype: float32 or float64, the dtype of position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    least_dims = 2

    def __init__(self, dims: int = 2, *, width: float = 1.0, noise: float = 0.0, dtype: tf.DType = tf.float32) -> None:
        super().__init__(dims, width, noise, dtype)

    def value(self, x: Nest) -> tf.Tensor:
        """The function, over the last axis of `x`."""
        before, after = x[..., :-1], x[..., 1:]
        return tf.reduce_sum(100 * tf.square(after - tf.square(before)) + tf.square(1 - before), axis=-1)


class Rastrigin(_Function):
    """The Rastrigin function, a bowl with a regular grid of local minima.

    The loss is `10 D + sum_i x_i^2 - 10 cos(2 pi x_i)`. The minimum is 0, at the origin.

    Source: L. Rastrigin, Systems of extremal control, 1974.

    Args:
      dims: `D`, an integer of at least 1.
      width: `x_0 ~ U[-width, width]^D`, a positive number.
      noise: standard deviation of normal noise in each coordinate's gradient, new at each base iteration; 0 for none.
        The loss itself stays exact.
      dtype: float32 or float64, the dtype of position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(self, dims: int = 2, *, width: float = 5.12, noise: float = 0.0, dtype: tf.DType = tf.float32) -> None:
        super().__init__(dims, width, noise, dtype)

    def value(self, x: Nest) -> tf.Tensor:
        """The function, over the last axis of `x`."""
        return tf.reduce_sum(10 + tf.square(x) - 10 * tf.cos(2 * math.pi * x), axis=-1)


class Ackley(_Function):
    """The Ackley function, a plain with many local minima and a funnel in the middle.

    The loss is `20 + e - 20 exp(-0.2 sqrt(mean_i x_i^2)) - exp(mean_i cos(2 pi x_i))`. The minimum is 0, at the
    origin. The function has a kink there, and its gradient counts as 0.

    Source: D. Ackley, A connectionist machine for genetic hillclimbing, 1987.

    Args:
      dims: `D`, an integer of at least 1.
      width: `x_0 ~ U[-width, width]^D`, a positive number.
      noise: standard deviation of normal noise in each coordinate's gradient, new at each base iteration; 0 for none.
        The loss itself stays exact.
      dtype: float32 or float64, the dtype of position and loss.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(
        self, dims: int = 2, *, width: float = 32.768, noise: float = 0.0, dtype: tf.DType = tf.float32
    ) -> None:
        super().__init__(dims, width, noise, dtype)

    @quietly()
    def value(self, x: Nest) -> tf.Tensor:
        """The function, over the last axis of `x`."""
        square = tf.reduce_mean(tf.square(x), axis=-1)
        # The square root has no derivative at 0, and a NaN there would outlive a plain `tf.where`.
        is_zero = tf.equal(square, 0)
        root = tf.where(is_zero, square, tf.sqrt(tf.where(is_zero, tf.ones_like(square), square)))
        waves = tf.reduce_mean(tf.cos(2 * math.pi * x), axis=-1)
        return 20 + math.e - 20 * tf.exp(-0.2 * root) - tf.exp(waves)
