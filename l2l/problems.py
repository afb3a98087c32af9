"""Problems: what the optimizers optimize (the optimizees).

A problem separates what is drawn at random from what is computed. A draw is a nest of
tensors; position and loss are pure functions of it, so every optimizer compared in one
evaluation can see the same draw.

A problem of your own takes a few lines::

    class Rosenbrock(l2l.Problem):
        def sample(self, num, seed=None):
            return l2l.uniform([num, 2], -1.0, 1.0, seed)

        def initial_position(self, draw):
            return draw

        def loss(self, x, draw):
            return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
"""

from collections import namedtuple

import tensorflow as tf

from l2l import _checks


def uniform(shape, low, high, seed=None, stream=0, dtype=tf.float32):
    """A tensor of uniform random numbers in [low, high).

    Args:
      shape: list of integers.
      low, high: the bounds.
      seed: None, and each `session.run` draws anew; or a scalar integer tensor (or int),
        and the result depends on `seed` and `stream` alone.
      stream: integer that tells apart the tensors drawn with one seed.
      dtype: floating-point type of the result.

    Returns:
      A tensor of that shape.
    """
    if seed is None:
        return tf.random.uniform(shape, low, high, dtype=dtype)
    pair = tf.stack([tf.cast(seed, tf.int64), tf.constant(stream, tf.int64)])
    return tf.random.stateless_uniform(shape, pair, low, high, dtype=dtype)


class Problem:
    """The contract of a problem; subclass it and define the three functions."""

    def sample(self, num, seed=None):
        """`num` independent draws: a nest of tensors, each with a leading axis `num`.

        `seed` is None (each `session.run` draws anew) or a scalar integer tensor (the draws
        depend on it alone). `l2l.uniform` knows both.
        """
        raise NotImplementedError("%s does not define sample" % type(self).__name__)

    def initial_position(self, draw):
        """The start `x_0` for one draw: a tensor or a nest of tensors, floating point."""
        raise NotImplementedError("%s does not define initial_position" % type(self).__name__)

    def loss(self, x, draw):
        """The loss of position `x` for one draw: a scalar.

        Written with reductions over `axis=-1`, it also serves a batch of draws at once: for `x`
        and `draw` with a leading axis `B`, losses `[B]`. Only training with a batch needs that.
        """
        raise NotImplementedError("%s does not define loss" % type(self).__name__)

    def draw(self, seed=None):
        """One draw, without the leading axis of `sample`."""
        return tf.nest.map_structure(lambda many: many[0], sample(self, 1, seed))


def sample(problem, num, seed=None):
    """`problem.sample(num, seed)`, checked.

    Raises:
      ValueError: a tensor of the result has no leading axis of length `num`.
    """
    draws = tf.nest.map_structure(tf.convert_to_tensor, problem.sample(num, seed))
    for many in tf.nest.flatten(draws):
        if many.shape.ndims == 0 or not many.shape[:1].is_compatible_with([num]):
            raise ValueError("sample must return tensors with a leading axis %d, got shape %s" % (num, many.shape))
    return draws


def placeholders_for_one(draws):
    """Placeholders for one of many draws: the same nest, without the leading axis."""
    return tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape[1:]), draws)


QuadraticDraw = namedtuple("QuadraticDraw", ["scale", "start"])  # each [D]


class Quadratic(Problem):
    """The random diagonal quadratic `f(x) = sum_i (scale_i x_i)^2`.

    `scale ~ U[0.5, 1.5]^D`, `x_0 ~ U[-1, 1]^D`. The minimum is 0, at `x = 0`.
    Source: Episode 1, after section 3.1 of arXiv 1606.04474, whose quadratics are not diagonal.

    Args:
      dims: `D`, a positive integer.
      dtype: floating-point type of draw, position and loss.

    Raises:
      TypeError, ValueError: `dims` is not a positive integer.
    """

    def __init__(self, dims=2, dtype=tf.float32):
        self.dims = _checks.positive_integer("dims", dims)
        self.dtype = tf.as_dtype(dtype)

    def sample(self, num, seed=None):
        """`num` draws: scale and start, each `[num, D]`."""
        shape = [_checks.positive_integer("num", num), self.dims]
        return QuadraticDraw(
            scale=uniform(shape, 0.5, 1.5, seed, stream=0, dtype=self.dtype),
            start=uniform(shape, -1.0, 1.0, seed, stream=1, dtype=self.dtype),
        )

    def initial_position(self, draw):
        """`x_0`, `[D]`."""
        return draw.start

    def loss(self, x, draw):
        """`sum_i (scale_i x_i)^2`: a scalar for `x` of shape `[D]`, `[B]` for `[B, D]`."""
        return tf.reduce_sum(tf.square(draw.scale * x), axis=-1)
