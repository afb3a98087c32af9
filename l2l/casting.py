"""Castings: what the learned optimizer's network sees of a gradient, and how its output becomes an update.

The field calls the input half *preprocessing*. Gradients shrink by many orders of
magnitude while an optimizer works; a network wants inputs near 1.
"""

from collections import namedtuple

import numpy as np
import tensorflow as tf

from l2l import _checks

Casting = namedtuple(
    "Casting",
    [
        "name",  # for the record of a run
        "features",  # F, inputs the network gets for each coordinate
        "encode",  # gradients [N] -> network inputs [N, F]
        "decode",  # network outputs [N] -> updates [N]
    ],
)


def no_casting():
    """The raw gradient in, the raw output out: what Episode 1 calls "simple"."""
    return Casting(
        name="none",
        features=1,
        encode=lambda gradients: tf.expand_dims(gradients, axis=1),
        decode=lambda outputs: outputs,
    )


def log_cast(min_log_gradient=-15.0):
    """The log/sign casting of Episode 1. With `m = min_log_gradient`:

        encode(g) = sign(g) (log(|g| + exp(m - 5)) - m) / -m
        decode(o) = sign(o) exp(-m |o| + m)

    `encode` maps `[exp(m), 1]` onto `[0, 1]` and is odd in `g`; below `exp(m)` it goes on to
    `sign(g) * 5/m`. `decode` is its inverse but for the `exp(m - 5)`, which keeps log(0) away.

    Args:
      min_log_gradient: `m`, natural log of the smallest gradient told from its sign alone,
        -82 <= m < 0: below, `exp(m - 5)` is no normal float32, and TensorFlow takes it for 0.

    Raises:
      TypeError, ValueError: `min_log_gradient` is not such a number.
    """
    m = _checks.negative_number("min_log_gradient", min_log_gradient)
    if m < -82:
        raise ValueError("min_log_gradient must be at least -82, got %r" % min_log_gradient)

    def encode(gradients):
        logs = tf.log(tf.abs(gradients) + np.exp(m - 5))
        return tf.expand_dims(tf.sign(gradients) * (logs - m) / -m, axis=1)

    def decode(outputs):
        return tf.sign(outputs) * tf.exp(tf.abs(outputs) * -m + m)

    return Casting("log(%g)" % m, 1, encode, decode)


def log_and_sign(k=5.0):
    """DeepMind's preprocessing: two inputs for each gradient, and the raw output out.

        encode(g) = (log|g| / k, sign(g))   where |g| >= exp(-k)
                    (-1, exp(k) g)          elsewhere

    As in the authors' code the first is cut at -1 and the second at -1 and 1, which is the same.
    Source: arXiv 1606.04474, appendix A.

    Args:
      k: 0 < k <= 87, the paper's `p`, which is 10 there and 5 in the authors' code. Above 87
        `exp(-k)` is no normal float32.

    Raises:
      TypeError, ValueError: `k` is not such a number.
    """
    k = _checks.positive_number("k", k)
    if k > 87:
        raise ValueError("k must be at most 87, got %r" % k)

    def encode(gradients):
        # Small gradients are raised to exp(-k) before the log: its derivative stays finite at 0,
        # and a branch that is not taken cannot send a NaN backwards.
        logs = tf.log(tf.maximum(tf.abs(gradients), np.exp(-k))) / k
        signs = tf.clip_by_value(gradients * np.exp(k), -1.0, 1.0)
        return tf.stack([logs, signs], axis=1)

    return Casting("log_and_sign(%g)" % k, 2, encode, lambda outputs: outputs)


CASTINGS = {"none": no_casting, "log": log_cast, "log_and_sign": log_and_sign}


def get(casting):
    """The casting itself, or the one of that name with its default parameters.

    Raises:
      ValueError: a name that is not in `CASTINGS`.
      TypeError: neither a name nor a `Casting`.
    """
    if isinstance(casting, Casting):
        return casting
    if not isinstance(casting, str):
        raise TypeError("casting must be a Casting or one of %s, got %r" % (", ".join(sorted(CASTINGS)), casting))
    return CASTINGS[_checks.one_of("casting", casting, CASTINGS)]()
