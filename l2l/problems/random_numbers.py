"""Random numbers for draws: anew each time, or following from a seed and a stream."""

import tensorflow.compat.v1 as tf


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


def normal(shape, deviation=1.0, seed=None, stream=0, dtype=tf.float32):
    """A tensor of normal random numbers of mean 0.

    Args:
      shape, seed, stream, dtype: as for `uniform`. The two do not share their numbers, whatever the stream.
      deviation: the standard deviation.
    """
    if seed is None:
        return tf.random.normal(shape, 0.0, deviation, dtype=dtype)
    pair = tf.stack([tf.cast(seed, tf.int64), tf.constant(2**33 + stream, tf.int64)])
    return tf.random.stateless_normal(shape, pair, 0.0, deviation, dtype=dtype)


def keys(num, seed=None):
    """`num` random int32 keys for `minibatch`, a tensor `[num]`; `seed` as in `Problem.sample`."""
    lowest, above = -(2**31), 2**31 - 1
    if seed is None:
        return tf.random.uniform([num], lowest, above, tf.int32)
    pair = tf.stack([tf.cast(seed, tf.int64), tf.constant(2**32, tf.int64)])  # a stream that no `uniform` has
    return tf.random.stateless_uniform([num], pair, lowest, above, tf.int32)
