"""Random numbers for draws: anew each time, or following from a seed and a stream.

Streams tell apart what one problem draws. Problems within problems need not think of each other's: `sampling` knows
which problem's `sample` runs within which, and each gets streams that no other has.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import warnings
from typing import Sequence

import tensorflow.compat.v1 as tf

from l2l.types import Seed

_running = threading.local()  # `levels`: a `_Level` for each `sample` that runs in this thread, the outermost first


class _Level:
    """A running `sample`: of which problem, its place (that of each problem on the way in), how many ran within it, and
    the seeds and streams that were drawn.
    """

    def __init__(self, problem, place):
        self.problem, self.place, self.within, self.drawn = problem, place, 0, []

    def draws(self, seed, stream):
        """Warns where the same is drawn once more: by a `super().sample`, or by an object that is no `Problem`."""
        for other, again in self.drawn:
            is_same = seed is other or (isinstance(seed, int) and seed == other)
            if is_same and stream == again:
                warnings.warn(
                    "sample of %s draws the same random numbers twice, those of one seed and one stream; "
                    "another stream gives others" % type(self.problem).__name__,
                    RuntimeWarning,
                    stacklevel=4,
                )
        self.drawn.append((seed, stream))


@contextlib.contextmanager
def sampling(problem):
    """While this runs, `uniform`, `normal` and `keys` draw for that problem.

    A problem's place is the number of each call of `sample` on the way to it: `(2, 0)` is the first problem within the
    third that the outermost one asked. A call of its own, as `super().sample` is, leaves it where it is.
    """
    levels = _running.__dict__.setdefault("levels", [])
    if levels and levels[-1].problem is problem:
        yield
        return
    place = ()
    if levels:
        place = (*levels[-1].place, levels[-1].within)
        levels[-1].within += 1
    levels.append(_Level(problem, place))
    try:
        yield
    finally:
        levels.pop()


def moved(stream):
    """A stream of the problem that draws, an integer, as no other problem has it.

    The outermost problem has the streams that it names. One within others has them moved by a hash of its place, 2^40
    or more, where nobody's own are; two places among a million have the same with a chance below 1e-6.
    """
    levels = getattr(_running, "levels", None)
    if not levels or not levels[-1].place:
        return stream
    hashed = hashlib.sha256(repr(levels[-1].place).encode()).digest()
    return stream + 2**40 + int.from_bytes(hashed[:8], "big") % 2**62


def _pair(seed, stream):
    """What TensorFlow's stateless random numbers follow from: the seed, and the stream of the problem that draws."""
    levels = getattr(_running, "levels", None)
    if levels:
        levels[-1].draws(seed, stream)
    return tf.stack([tf.cast(seed, tf.int64), tf.constant(moved(stream), tf.int64)])


def uniform(
    shape: Sequence[int], low: float, high: float, *, seed: Seed = None, stream: int = 0, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """A tensor of uniform random numbers in [low, high).

    Args:
      shape: list of integers.
      low, high: the bounds.
      seed: None, and each `session.run` draws anew; or a scalar integer tensor (or int),
        and the result depends on `seed` and `stream` alone; within `sample` of a problem that another one asks
        for draws, on its place too.
      stream: integer that tells apart the tensors that one problem draws with one seed.
      dtype: floating-point type of the result.

    Returns:
      A tensor of that shape.
    """
    if seed is None:
        return tf.random.uniform(shape, low, high, dtype=dtype)
    return tf.random.stateless_uniform(shape, _pair(seed, stream), low, high, dtype=dtype)


def normal(
    shape: Sequence[int], stddev: float = 1.0, *, seed: Seed = None, stream: int = 0, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """A tensor of normal random numbers of mean 0.

    Args:
      shape, seed, stream, dtype: as for `uniform`. The two do not share their numbers, whatever the stream.
      stddev: the standard deviation.
    """
    if seed is None:
        return tf.random.normal(shape, 0.0, stddev, dtype=dtype)
    return tf.random.stateless_normal(shape, _pair(seed, 2**33 + stream), 0.0, stddev, dtype=dtype)


def keys(num: int, seed: Seed = None) -> tf.Tensor:
    """`num` random int32 keys for `minibatch`, a tensor `[num]`; `seed` as in `Problem.sample`."""
    lowest, above = -(2**31), 2**31 - 1
    if seed is None:
        return tf.random.uniform([num], lowest, above, tf.int32)
    return tf.random.stateless_uniform([num], _pair(seed, 2**32), lowest, above, tf.int32)
