"""Random numbers for draws: new ones each time, or determined by a seed and a stream.

Streams tell apart the tensors that one problem draws. Nested problems need not avoid each other's streams: `sampling`
tracks which problem's `sample` runs within which, and gives each problem streams that no other has.
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
    """A running `sample`: its problem, its place, how many ran within it, and the seeds and streams that it drew."""

    def __init__(self, problem, place):
        self.problem, self.place, self.within, self.drawn = problem, place, 0, []

    def draws(self, seed, stream):
        """Warns of a seed and stream drawn twice: by `super().sample`, or by an object that is no `Problem`."""
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
    """Makes `uniform`, `normal` and `keys` draw for this problem while the context is active.

    A problem's place lists the number of each `sample` call on the way to it: `(2, 0)` is the first problem called by
    the third problem that the outermost one called. If a problem calls itself, as by `super().sample`, its place stays.
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
    """Maps a stream of the problem that draws to an integer that no other problem uses.

    The outermost problem keeps its streams. For a nested problem they move by 2^40 plus a hash of its place, above all
    streams that problems name. Among a million places, two share a hash with probability below 1e-6.
    """
    levels = getattr(_running, "levels", None)
    if not levels or not levels[-1].place:
        return stream
    hashed = hashlib.sha256(repr(levels[-1].place).encode()).digest()
    return stream + 2**40 + int.from_bytes(hashed[:8], "big") % 2**62


def _pair(seed, stream):
    """The seed of TensorFlow's stateless random numbers: the seed, and the stream of the problem that draws."""
    levels = getattr(_running, "levels", None)
    if levels:
        levels[-1].draws(seed, stream)
    return tf.stack([tf.cast(seed, tf.int64), tf.constant(moved(stream), tf.int64)])


def uniform(
    shape: Sequence[int], low: float, high: float, *, seed: Seed = None, stream: int = 0, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Draws a tensor of uniform random numbers in [low, high).

    Give each tensor of a problem its own stream:

        def sample(self, num, seed=None):
            scale = l2l.uniform([num, 2], 0.5, 1.5, seed=seed)
            start = l2l.uniform([num, 2], -1.0, 1.0, seed=seed, stream=1)
            return {"scale": scale, "start": start}

    Args:
      shape: list of integers.
      low, high: the bounds.
      seed: None, or a scalar integer tensor or an int. With None each `session.run` draws anew; otherwise the result
        depends on `seed` and `stream` alone. If another problem calls the `sample` of this one, the result also
        depends on the place of that call.
      stream: an integer that tells apart the tensors that one problem draws with one seed.
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
    """Draws a tensor of normal random numbers of mean 0.

    Args:
      shape, seed, stream, dtype: as for `uniform`. `normal` and `uniform` share no random numbers, even in one stream.
      stddev: the standard deviation.

    Returns:
      A tensor of that shape.
    """
    if seed is None:
        return tf.random.normal(shape, 0.0, stddev, dtype=dtype)
    return tf.random.stateless_normal(shape, _pair(seed, 2**33 + stream), 0.0, stddev, dtype=dtype)


def keys(num: int, seed: Seed = None) -> tf.Tensor:
    """Draws random keys for `minibatch` and `noise`, one for each draw.

    Args:
      num: how many keys.
      seed: as for `Problem.sample`.

    Returns:
      An int32 tensor `[num]`.
    """
    lowest, above = -(2**31), 2**31 - 1
    if seed is None:
        return tf.random.uniform([num], lowest, above, tf.int32)
    return tf.random.stateless_uniform([num], _pair(seed, 2**32), lowest, above, tf.int32)
