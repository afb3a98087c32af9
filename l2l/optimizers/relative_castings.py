"""Castings that see a gradient relative to what they remember of its coordinate: no range has to be set by hand.

Gradients may be as small as float32 goes, and the meta-gradient flows through these formulas. The derivative of `x / y`
divides by `y` twice; XLA multiplies the two first, and in float32 `y^2` is 0 where `y` is below 1e-19: a NaN. So no
small number is divided by here. Quotients are differences of logs, or of numbers that were scaled before.
"""

from collections import namedtuple

import numpy as np
import tensorflow as tf

from l2l import checks
from l2l.optimizers.casting import Casting
from l2l.optimizers.log_castings import FIRST_M, SMALLEST, log_decoded, log_encoded, widened

# Ratios are cut here. Its square is a float32 still, so that a network's products are.
LARGEST_RATIO = 1e18

Moments = namedtuple(
    "Moments",
    [
        "mean",  # [N], of the gradients, weighted
        "root",  # [N], root of the weighted mean of their squares
        "weight",  # [N], the sum of the weights, `1 - beta^t`
    ],
)


def _log_ratio(sizes, others, most):
    """`log(sizes / others)`, at most `log(most)`; sizes and others below `SMALLEST` count as `SMALLEST`."""
    one, other = (tf.log(tf.maximum(each, SMALLEST)) for each in [sizes, others])
    return tf.minimum(one - other, np.log(most))


class _Ratio(Casting):
    """See `ratio_cast`. It remembers `|g|` of the step before, -1 for none."""

    kind, name = "ratio", "ratio"

    def initial_memory(self, gradients):
        return -tf.ones_like(gradients)

    def encode(self, gradients, memory=None, adapted=()):
        return tf.expand_dims(self.ratios(gradients, memory), axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs * self._before(gradients, memory)

    def remember(self, gradients, memory, updates):
        return tf.abs(gradients)

    def ratios(self, gradients, memory):
        logs = _log_ratio(tf.abs(gradients), self._before(gradients, memory), LARGEST_RATIO)
        return tf.sign(gradients) * tf.exp(logs)

    def _before(self, gradients, memory):
        return tf.where(memory < 0, tf.abs(gradients), memory) + SMALLEST


class _LogRatio(_Ratio):
    """See `log_ratio_cast`. `m` is the lower end of the range, None for one that is adapted."""

    kind = "log_ratio"
    name = property(lambda self: "log_ratio" if self._m is None else "log_ratio(%g)" % self._m)

    def __init__(self, m):
        self._m, self.parameters = m, {"min_log_ratio": m}
        self.adapted = (FIRST_M,) if m is None else ()

    def encode(self, gradients, memory=None, adapted=()):
        ratios = self.ratios(gradients, memory)
        return tf.expand_dims(log_encoded(ratios, self._lower_end(adapted), SMALLEST), axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return super().decode(log_decoded(outputs, self._lower_end(adapted)), gradients, memory)

    def adapt(self, gradients, memory, adapted):
        return tuple(widened(m, self.ratios(gradients, memory)) for m in adapted)

    def _lower_end(self, adapted):
        return adapted[0] if self._m is None else self._m


class _Moments(Casting):
    """See `moments_cast`."""

    kind, features = "moments", 2
    name = property(lambda self: "moments(%g)" % self._beta)

    def __init__(self, beta):
        self._beta, self.parameters = beta, {"beta": beta}

    def initial_memory(self, gradients):
        return Moments(*[tf.zeros_like(gradients)] * 3)

    def encode(self, gradients, memory=None, adapted=()):
        after, inverse, root = self._next(gradients, memory)
        weight = tf.sqrt(after.weight)
        return tf.stack([after.mean * inverse / (root * weight), gradients * inverse * weight / root], axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return 0.1 * tf.tanh(outputs)

    def remember(self, gradients, memory, updates):
        return self._next(gradients, memory)[0]

    def _next(self, gradients, memory):
        """The moments with these gradients, the scale in which they were computed, and their root in this scale.

        In the scale of the larger of `|g|` and the root so far, squares are neither too large nor too small for a
        float32. What is computed does not depend on the scale, so no gradient needs to flow through it.
        """
        beta = self._beta
        scale = tf.stop_gradient(tf.clip_by_value(tf.maximum(tf.abs(gradients), memory.root), SMALLEST, 1 / SMALLEST))
        inverse = 1 / scale
        squares = beta * tf.square(memory.root * inverse) + (1 - beta) * tf.square(gradients * inverse)
        moved = squares > 0
        root = tf.sqrt(tf.where(moved, squares, tf.ones_like(squares)))  # at 0 its derivative is infinite
        mean = beta * memory.mean + (1 - beta) * gradients
        weight = beta * memory.weight + (1 - beta)
        return Moments(mean, tf.where(moved, scale * root, tf.zeros_like(root)), weight), inverse, root


def ratio_cast():
    return _Ratio()


def log_ratio_cast(min_log_ratio=None):
    return _LogRatio(min_log_ratio)


def moments_cast(beta=0.95):
    return _Moments(beta)


def secant_cast():
    return None
