"""Castings that see each gradient alone: as it is, or its logarithm."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.optimizers.casting import Casting

# The smallest normal number of float32, 1.18e-38. TensorFlow's CPU kernels and XLA's code flush anything smaller to
# zero, so log(0 + 1e-38) would be -infinity. float64 uses the same number, so that a network gets the same inputs.
SMALLEST = float(np.finfo(np.float32).tiny)

# The first value of the lower end of a range that widens.
FIRST_M = -5.0


def log_encoded(signs, logs, m):
    """Returns inputs `[N, 1]`: `s (l - m) / -m` from signs `s` and logs `l`, each `[N]`."""
    return tf.expand_dims(signs * (logs - m) / -m, axis=1)


def log_decoded(outputs, m):
    """Returns `sign(o) exp(-m |o| + m)` for outputs `o`, `[N]`."""
    return tf.sign(outputs) * tf.exp(tf.abs(outputs) * -m + m)


def widened(m, values):
    """Returns `min(m, 0.99 m + 0.01 min_i log(|v_i| + SMALLEST))`, a scalar, for values `v`, `[N]`."""
    return tf.minimum(m, 0.99 * m + 0.01 * tf.reduce_min(tf.log(tf.abs(values) + SMALLEST)))


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
        return log_encoded(tf.sign(gradients), logs, self._m)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return log_decoded(outputs, self._m)


class _WideningLog(Casting):
    """See `widening_log_cast`."""

    kind, name, adapted = "widening", "widening", (FIRST_M,)

    def encode(self, gradients, memory=None, adapted=()):
        logs = tf.log(tf.abs(gradients) + SMALLEST)
        return log_encoded(tf.sign(gradients), logs, *adapted)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return log_decoded(outputs, *adapted)

    def adapt(self, gradients, memory, adapted):
        return (widened(*adapted, gradients),)


class _LogAndSign(Casting):
    """See `log_and_sign`."""

    kind, features = "log_and_sign", 2
    name = property(lambda self: "log_and_sign(%g)" % self._k)

    def __init__(self, k):
        self._k, self.parameters = k, {"k": k}

    def encode(self, gradients, memory=None, adapted=()):
        # Small gradients are raised to exp(-k) before the log. So its derivative stays finite at 0, and the branch that
        # is not selected sends no NaN backwards.
        logs = tf.log(tf.maximum(tf.abs(gradients), np.exp(-self._k))) / self._k
        signs = tf.clip_by_value(gradients * np.exp(self._k), -1.0, 1.0)
        return tf.stack([logs, signs], axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs


def no_casting() -> Casting:
    """No preprocessing: the raw gradient in, the raw output out.

    Episode 1 calls it "simple".
    """
    return _Raw()


def log_cast(min_log_gradient: float = -15.0) -> Casting:
    """The log/sign casting of Episode 1: the network works with logarithms.

    With `m = min_log_gradient`

        encode(g) = sign(g) (log(|g| + exp(m - 5)) - m) / -m
        decode(o) = sign(o) exp(-m |o| + m)

    `encode` maps `[exp(m), 1]` onto `[0, 1]` and is odd in `g`. Below `exp(m)` it continues to `sign(g) * 5/m`.
    `decode` is its inverse, except for the `exp(m - 5)`, which avoids log(0).

        l2l.CoordinatewiseLSTM(casting=l2l.log_cast(-30))

    Args:
      min_log_gradient: `m`, the natural log of the smallest size that is encoded between 0 and 1; -82 <= m < 0. For a
        smaller `m`, `exp(m - 5)` is no normal float32, and TensorFlow takes it for 0.

    Raises:
      TypeError, ValueError: `min_log_gradient` is not such a number.
    """
    m = checks.negative_number("min_log_gradient", min_log_gradient)
    if m < -82:
        raise ValueError("min_log_gradient must be at least -82, got %r" % min_log_gradient)
    return _Log(m)


def widening_log_cast() -> Casting:
    """A log casting whose range widens during training; from the sequel to Episode 1.

        encode(g) = sign(g) (log(|g| + 1.18e-38) - m) / -m
        decode(o) = sign(o) exp(-m |o| + m)

    `m` is a variable that no gradient trains. It starts at -5. Every meta-iteration that changes the weights sets

        m <- min(m, 0.99 m + 0.01 min_i log(|v_i| + 1.18e-38))

    where `v` are the gradients at the last loss of the segment, over all coordinates and draws.

    `encode` maps `[exp(m), 1]` onto `[0, 1]`. Below `exp(m)` it changes its sign, and it maps 0 to 0. 1.18e-38 is the
    smallest normal float32; both engines use it, for float64 too. The source has 1e-38, which TensorFlow flushes to
    zero.
    """
    return _WideningLog()


def log_and_sign(k: float = 5.0) -> Casting:
    """DeepMind's preprocessing: the logarithm and the sign of each gradient.

        encode(g) = (log|g| / k, sign(g))   where |g| >= exp(-k)
                    (-1, exp(k) g)          elsewhere
        decode(o) = o

    Source: arXiv 1606.04474, appendix A. As in the authors' code, the first input is clipped at -1 and the second at -1
    and 1, which is the same. Their code also adds the float32 epsilon, 1.2e-7, inside the log; this one does not. The
    epsilon would raise the first input by `log(1 + 1.2e-7 / |g|) / k`: at `|g| = exp(-k)` by 3.5e-6 for k = 5, and by
    2.6e-4 for k = 10.

    Args:
      k: 0 < k <= 87. It is the paper's `p`: 10 in the paper, 5 in the authors' code. For k above 87, `exp(-k)` is no
        normal float32.

    Raises:
      TypeError, ValueError: `k` is not such a number.
    """
    k = checks.positive_number("k", k)
    if k > 87:
        raise ValueError("k must be at most 87, got %r" % k)
    return _LogAndSign(k)
