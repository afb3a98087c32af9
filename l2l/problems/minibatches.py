"""Minibatches and noise that depend on draw and base iteration alone, in every engine."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks


def minibatch(key: tf.Tensor, t: tf.Tensor, *, batch_size: int, examples: int) -> tf.Tensor:
    """Picks the examples that base iteration `t` of a draw sees.

    It returns `batch_size` indices, uniform and with replacement. Use it in the `observe` of a problem whose draws hold
    a key:

        def observe(self, draw, t, data):
            places = l2l.minibatch(draw["key"], t, batch_size=32, examples=len(self.data))
            return tf.gather(data, places)

    The indices depend on `key` and `t` alone, and are the same in every engine. TensorFlow's stateless random numbers
    are not: those of XLA differ from those of the CPU kernels. This function hashes integers instead: key, base
    iteration and place, by the finalizer of MurmurHash3 (A. Appleby).

    Args:
      key: a scalar int32 tensor that the draw holds, as from `keys`.
      t: the base iteration, a scalar int32 tensor.
      batch_size: how many indices, a positive integer.
      examples: how many examples there are to choose from, a positive integer.

    Returns:
      An int32 tensor `[batch_size]` of indices from 0 to `examples - 1`.

    Raises:
      TypeError, ValueError: `batch_size` or `examples` is not a positive integer, or `key` is not an integer.
    """
    batch_size = checks.positive_integer("batch_size", batch_size)
    examples = checks.positive_integer("examples", examples)
    with tf.name_scope("minibatch"):
        # The remainder prefers no index by more than examples / 2^31.
        return tf.math.floormod(_positive_integers(key, t, batch_size), examples)


def noise(key: tf.Tensor, t: tf.Tensor, shape: Sequence[int], *, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Computes normal random numbers for base iteration `t` of a draw.

    They have mean 0 and standard deviation 1. They depend on `key` and `t` alone, by the same hash as `minibatch`, and
    are independent of its indices. Each is made of two uniform numbers, `sqrt(-2 log u) cos(2 pi v)` (G. Box and M.
    Muller, 1958). None is larger than 6.6.

    Args:
      key, t: as for `minibatch`.
      shape: list of positive integers.
      dtype: floating-point type of the result.

    Returns:
      A tensor of that shape.

    Raises:
      TypeError: `key` is not an integer.
    """
    count = int(np.prod(shape))
    with tf.name_scope("noise"):
        key = tf.bitwise.invert(_checked_key(key))  # other numbers than those of a minibatch
        numbers = tf.cast(_positive_integers(key, t, 2 * count), dtype)
        first, second = tf.split((numbers + 0.5) / 2**31, 2)
        return tf.reshape(tf.sqrt(-2 * tf.math.log(first)) * tf.cos(2 * math.pi * second), shape)


def uniform_noise(key, t, shape, *, dtype=tf.float32):
    """Computes uniform random numbers in [0, 1) for base iteration `t` of a draw.

    They are made by the hash of `minibatch`, as multiples of 2^-24. They are not independent of the minibatch of the
    same key; `fold` gives other keys.

    Args:
      key, t, shape, dtype: as for `noise`.

    Returns:
      A tensor of that shape.
    """
    with tf.name_scope("uniform_noise"):
        numbers = _positive_integers(key, t, int(np.prod(shape)))
        # 24 bits are what a float32 holds: with more, rounding would give 1.
        return tf.reshape(tf.cast(tf.bitwise.right_shift(numbers, 7), dtype) / 2**24, shape)


def fold(key, number):
    """Derives another key for each `number`, a Python integer from 0 on, for more random numbers beside `key`'s."""
    return _mixed(_mixed(_checked_key(key)) + _wrapped(0x9E3779B9) * (number + 1))


def _checked_key(key):
    key = checks.tensor("key", key)
    if not key.dtype.is_integer:
        raise TypeError("key must be an integer, as from l2l.keys, got dtype %s" % key.dtype.name)
    return tf.cast(key, tf.int32)


def _positive_integers(key, t, count):
    """`count` int32 numbers from 0 to 2^31 - 1."""
    number = _mixed(_mixed(_checked_key(key)) + tf.cast(t, tf.int32))
    return tf.bitwise.bitwise_and(_mixed(number + tf.range(count)), 2**31 - 1)


def _mixed(number):
    """MurmurHash3's 32-bit finalizer. Products wrap around."""

    def shifted(number, places):
        # int32 shifts carry the sign along; a mask makes the shift logical.
        return tf.bitwise.bitwise_and(tf.bitwise.right_shift(number, places), 2 ** (32 - places) - 1)

    number = tf.bitwise.bitwise_xor(number, shifted(number, 16)) * _wrapped(0x85EBCA6B)
    number = tf.bitwise.bitwise_xor(number, shifted(number, 13)) * _wrapped(0xC2B2AE35)
    return tf.bitwise.bitwise_xor(number, shifted(number, 16))


def _wrapped(number):
    """An unsigned 32-bit number whose highest bit is 1 as the int32 of the same bits."""
    return number - 2**32
