"""Minibatches that follow from a draw and a base iteration, in the same way in every engine."""

import tensorflow as tf

from l2l import checks


def minibatch(key, t, size, examples):
    """Which examples base iteration `t` of a draw sees: `size` indices, uniform, with replacement.

    They follow from `key` and `t` alone. TensorFlow's stateless random numbers will not do: XLA's differ from
    those of the CPU's kernels. So this is a hash in integers (the finalizer of MurmurHash3, by A. Appleby, over
    key, base iteration and place), which every engine computes alike.

    Args:
      key: a scalar int32 tensor that the draw holds, as from `keys`.
      t: a scalar int32 tensor.
      size: how many indices, a positive integer.
      examples: how many there are to choose from, a positive integer.

    Returns:
      An int32 tensor `[size]` of indices from 0 to `examples - 1`.

    Raises:
      TypeError, ValueError: `size` or `examples` is not a positive integer, or `key` is no integer.
    """
    key = checks.tensor("key", key)
    if not key.dtype.is_integer:
        raise TypeError("key must be an integer, as from l2l.keys, got dtype %s" % key.dtype.name)
    size = checks.positive_integer("size", size)
    examples = checks.positive_integer("examples", examples)
    with tf.name_scope("minibatch"):
        number = _mixed(_mixed(tf.cast(key, tf.int32)) + tf.cast(t, tf.int32))
        numbers = _mixed(number + tf.range(size, dtype=tf.int32))
        # The sign bit goes, so that the remainder is not negative. It prefers no index by more than examples / 2^31.
        return tf.math.floormod(tf.bitwise.bitwise_and(numbers, 2**31 - 1), examples)


def keys(num, seed=None):
    """`num` random int32 keys for `minibatch`, a tensor `[num]`; `seed` as in `Problem.sample`."""
    lowest, above = -(2**31), 2**31 - 1
    if seed is None:
        return tf.random.uniform([num], lowest, above, tf.int32)
    pair = tf.stack([tf.cast(seed, tf.int64), tf.constant(2**32, tf.int64)])  # a stream that no `uniform` has
    return tf.random.stateless_uniform([num], pair, lowest, above, tf.int32)


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
