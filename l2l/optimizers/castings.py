"""Castings: what the learned optimizer's network sees of a gradient, and how its output becomes an update.

The field calls the input half *preprocessing*. Gradients shrink by many orders of
magnitude while an optimizer works; a network wants inputs near 1.
"""

import inspect

import numpy as np
import tensorflow as tf

from l2l import checks


class Casting:
    """The contract of a casting; subclass it and define `encode` and `decode`.

    A casting is a description without variables or state of its own, so one can serve many networks. What it
    remembers of each coordinate and what it adapts are handed to it. All functions are pure.

    Attributes:
      name: for the record of a run; parameters included, so that it tells two castings apart.
      features: `F`, inputs the network gets for each coordinate.
      adapted: the first values of the variables that `adapt` changes, a tuple of numbers; empty for none.
      kind: the key in `CASTINGS`, for those of the library; None for others.
      parameters: dict of the arguments it was made with, JSON types.
    """

    features = 1
    adapted = ()
    kind = None
    parameters = {}
    name = property(lambda self: type(self).__name__)

    def initial_memory(self, gradients):
        """What is remembered before the first step: a nest of tensors `[N, ...]`, for gradients `[N]`, or None."""
        return None

    def encode(self, gradients, memory=None, adapted=()):
        """The network's inputs `[N, F]` from gradients `[N]`, the memory before this step, and the adapted values."""
        raise NotImplementedError("%s does not define encode" % type(self).__name__)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        """The updates `[N]` from the network's outputs `[N]`; the other arguments are those of `encode`."""
        raise NotImplementedError("%s does not define decode" % type(self).__name__)

    def remember(self, gradients, memory):
        """The memory after a step with these gradients: structure, shapes and dtypes as before it."""
        return memory

    def adapt(self, gradients, memory, adapted):
        """The next values of the adapted variables, a tuple of scalars, once a meta-iteration.

        Args:
          gradients: `[N]`, those at the last loss of the segment.
          memory: what was remembered when they came.
          adapted: the values so far.
        """
        return adapted

    def __repr__(self):
        return "<casting %s>" % self.name


class _Raw(Casting):
    """The raw gradient in, the raw output out."""

    kind, name = "none", "none"

    def encode(self, gradients, memory=None, adapted=()):
        return tf.expand_dims(gradients, axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs


class _Log(Casting):
    """See `log_cast`."""

    kind = "log"
    name = property(lambda self: "log(%g)" % self._m)

    def __init__(self, m):
        self._m, self.parameters = m, {"min_log_gradient": m}

    def encode(self, gradients, memory=None, adapted=()):
        logs = tf.log(tf.abs(gradients) + np.exp(self._m - 5))
        return tf.expand_dims(tf.sign(gradients) * (logs - self._m) / -self._m, axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return tf.sign(outputs) * tf.exp(tf.abs(outputs) * -self._m + self._m)


class _LogAndSign(Casting):
    """See `log_and_sign`."""

    kind, features = "log_and_sign", 2
    name = property(lambda self: "log_and_sign(%g)" % self._k)

    def __init__(self, k):
        self._k, self.parameters = k, {"k": k}

    def encode(self, gradients, memory=None, adapted=()):
        # Small gradients are raised to exp(-k) before the log: its derivative stays finite at 0,
        # and a branch that is not taken cannot send a NaN backwards.
        logs = tf.log(tf.maximum(tf.abs(gradients), np.exp(-self._k))) / self._k
        signs = tf.clip_by_value(gradients * np.exp(self._k), -1.0, 1.0)
        return tf.stack([logs, signs], axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs


def no_casting():
    """The raw gradient in, the raw output out: what Episode 1 calls "simple"."""
    return _Raw()


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
    m = checks.negative_number("min_log_gradient", min_log_gradient)
    if m < -82:
        raise ValueError("min_log_gradient must be at least -82, got %r" % min_log_gradient)
    return _Log(m)


def log_and_sign(k=5.0):
    """DeepMind's preprocessing: two inputs for each gradient, and the raw output out.

        encode(g) = (log|g| / k, sign(g))   where |g| >= exp(-k)
                    (-1, exp(k) g)          elsewhere

    As in the authors' code the first is cut at -1 and the second at -1 and 1, which is the same; their float32 epsilon,
    1.2e-7, inside the log is left out: it raises the first input by `log(1 + 1.2e-7 / |g|) / k`, at `|g| = exp(-k)` by
    3.5e-6 for k = 5 and by 2.6e-4 for k = 10. Source: arXiv 1606.04474, appendix A.

    Args:
      k: 0 < k <= 87, the paper's `p`, which is 10 there and 5 in the authors' code. Above 87
        `exp(-k)` is no normal float32.

    Raises:
      TypeError, ValueError: `k` is not such a number.
    """
    k = checks.positive_number("k", k)
    if k > 87:
        raise ValueError("k must be at most 87, got %r" % k)
    return _LogAndSign(k)


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
    return CASTINGS[checks.one_of("casting", casting, CASTINGS)]()


def described(casting):
    """A casting in JSON types, from which `from_description` makes it again if it is one of the library's."""
    return {"kind": casting.kind, "name": casting.name, "parameters": dict(casting.parameters)}


def from_description(description):
    """The casting that `described` describes.

    Raises:
      ValueError: it is none of the library's, or its parameters are not that one's.
    """
    parts = description if isinstance(description, dict) else {}
    kind, parameters = parts.get("kind"), parts.get("parameters")
    if not isinstance(kind, str) or kind not in CASTINGS or not isinstance(parameters, dict):
        raise ValueError("casting %.100r is none of the library's own" % (description,))
    unknown = sorted(set(parameters) - set(inspect.signature(CASTINGS[kind]).parameters))
    if unknown:
        raise ValueError("casting %r has no parameters %s" % (kind, ", ".join(map(repr, unknown))))
    return CASTINGS[kind](**parameters)
