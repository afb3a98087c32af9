"""Castings that look at whole tensors."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.optimizers.casting import Casting
from l2l.optimizers.relative_castings import LARGEST, MomentsCasting


class _RelativeStep(MomentsCasting):
    """See `relative_step_cast`."""

    kind = "relative_step"

    def __init__(self, beta, floor):
        super().__init__((beta,), 0.0)
        self._floor = floor
        self.parameters = {"beta": beta, "floor": floor}

    name = property(lambda self: "relative_step(%g, floor=%g)" % (self._betas[0], self._floor))

    def facts(self, gradients, memory, x, shape):
        """Returns the size of a tensor for each draw: `max(RMS(x), floor)`, `[B]`."""
        sizes = tf.clip_by_value(tf.abs(x), 0.0, LARGEST)
        # In units of the largest size, because squares of small positions underflow and sums of large ones overflow.
        scale = tf.stop_gradient(tf.maximum(tf.reduce_max(sizes, axis=1, keepdims=True), self._floor))
        square = tf.reduce_mean(tf.square(sizes * (1 / scale)), axis=1)
        is_zero = tf.equal(square, 0)  # where the root's derivative is infinite
        root = tf.sqrt(tf.where(is_zero, tf.ones_like(square), square))
        size = scale[:, 0] * tf.where(is_zero, tf.zeros_like(root), root)
        return tf.maximum(size, self._floor)

    def decode(self, outputs, gradients=None, memory=None, adapted=(), facts=None):
        return facts * super().decode(outputs, gradients, memory, adapted)


def relative_step_cast(beta: float = 0.95, *, floor: float = 1e-3) -> Casting:
    """RNNProp's casting with steps relative to the size of the tensor.

        encode(g) as in `moments_cast(beta)`
        decode(o) = 0.1 tanh(o) max(RMS(x), floor)

    `RMS(x)` is the root of the mean square of the tensor's coordinates before the step. So a tensor of large weights
    takes larger steps than a tensor of small weights. No coordinate moves by more than a tenth of its tensor's size,
    `max(RMS(x), floor)`. For a sparse gradient only the rows that it names count as the tensor.

    Source: the relative step size of Adafactor, N. Shazeer and M. Stern, 2018, arXiv 1804.04235, section 8, with its
    `epsilon_2` as `floor`.

    Args:
      beta: as for `moments_cast`, but a single number.
      floor: the size of a tensor of zeros, a positive number in the range of float32.

    Raises:
      TypeError, ValueError: an argument is no such number.
    """
    floor = checks.positive_float32("floor", floor)
    return _RelativeStep(checks.fraction("beta", beta), floor)
