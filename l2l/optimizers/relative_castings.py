"""Castings that see a gradient relative to what they remember of its coordinate.

Gradients may be as small as float32 allows, and the meta-gradient flows through these formulas. The derivative of
`x / y` divides by `y` twice. XLA multiplies the two first, and in float32 `y^2` is 0 for `y` below 1e-19: a NaN. So
nothing here divides by a small number. Quotients are differences of logs, or quotients of numbers scaled beforehand.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.optimizers.casting import Casting
from l2l.optimizers.log_castings import FIRST_M, SMALLEST, log_decoded, log_encoded, widened

# Ratios are clipped here. The square of this is finite in float32, and so are a network's products.
LARGEST_RATIO = 1e18

# Finite numbers are clipped here before they are added or multiplied. XLA reorders operations, and near the end of
# float32, 3.4e38, an intermediate sum may be infinite although the result is not.
LARGEST = 1e36

# A step of `secant_cast` is at most this many times as long as the step before.
LARGEST_GROWTH = 10.0

Moments = namedtuple(
    "Moments",
    [
        "mean",  # [N], weighted sum of the gradients
        "root",  # [N], root of the weighted sum of their squares
        "weight",  # [N], the sum of the weights, `1 - beta^t`
    ],
)

Step = namedtuple(
    "Step",
    [
        "gradient",  # [N]
        "update",  # [N], the update made at this gradient
    ],
)


def _cut(values):
    """Clips the sizes of finite values at `LARGEST`. Infinities and NaNs stay, so that they are noticed."""
    sizes = tf.abs(values)
    too_large = tf.logical_and(sizes > LARGEST, sizes < np.inf)
    return tf.where(too_large, tf.sign(values) * LARGEST, values)


def _log_ratio(sizes, others, most):
    """Returns `log(sizes / others)`, at most `log(most)`; sizes and others below `SMALLEST` count as `SMALLEST`."""
    one, other = (tf.log(tf.maximum(each, SMALLEST)) for each in [sizes, others])
    return tf.minimum(one - other, np.log(most))


class _Ratio(Casting):
    """See `ratio_cast`. The memory is `|g|` of the step before, or -1 before the first step."""

    kind, name = "ratio", "ratio"

    def initial_memory(self, gradients):
        return -tf.ones_like(gradients)

    def encode(self, gradients, memory=None, adapted=()):
        return tf.expand_dims(self._ratios(gradients, memory), axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs * self._before(gradients, memory)

    def remember(self, gradients, memory, updates):
        return tf.abs(gradients)

    def _ratios(self, gradients, memory):
        return tf.sign(gradients) * tf.exp(self._logs(gradients, memory))

    def _logs(self, gradients, memory):
        return _log_ratio(tf.abs(gradients), self._before(gradients, memory), LARGEST_RATIO)

    def _before(self, gradients, memory):
        return tf.where(memory < 0, tf.abs(gradients), memory) + SMALLEST


class _LogRatio(_Ratio):
    """See `log_ratio_cast`. `m` is the lower end of the range; None if it is adapted."""

    kind = "log_ratio"
    name = property(lambda self: "log_ratio" if self._m is None else "log_ratio(%g)" % self._m)

    def __init__(self, m):
        self._m, self.parameters = m, {"min_log_ratio": m}
        self.adapted = (FIRST_M,) if m is None else ()

    def encode(self, gradients, memory=None, adapted=()):
        logs = tf.maximum(self._logs(gradients, memory), np.log(SMALLEST))
        return log_encoded(tf.sign(gradients), logs, self._lower_end(adapted))

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return super().decode(log_decoded(outputs, self._lower_end(adapted)), gradients, memory)

    def adapt(self, gradients, memory, adapted):
        return tuple(widened(m, self._ratios(gradients, memory)) for m in adapted)

    def _lower_end(self, adapted):
        return adapted[0] if self._m is None else self._m


class MomentsCasting(Casting):
    """See `moments_cast`."""

    kind = "moments"
    features = property(lambda self: 2 * len(self._betas))

    def __init__(self, betas, smallest):
        self._betas, self._smallest = betas, smallest
        self.parameters = {"beta": betas[0] if len(betas) == 1 else list(betas)}
        if smallest:
            self.parameters["smallest"] = smallest

    @property
    def name(self):
        fades = ["smallest=%g" % self._smallest] if self._smallest else []
        return "moments(%s)" % ", ".join(["%g" % beta for beta in self._betas] + fades)

    def initial_memory(self, gradients):
        return tuple(Moments(*[tf.zeros_like(gradients)] * 3) for _ in self._betas)

    def encode(self, gradients, memory=None, adapted=()):
        inputs, gradients = [], _cut(gradients)
        for after, inverse, root in self._next(gradients, memory):
            weight = tf.sqrt(after.weight)
            inputs += [after.mean * inverse / (root * weight), gradients * inverse * weight / root]
        return tf.stack(inputs, axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        steps = 0.1 * tf.tanh(outputs)
        if not self._smallest:
            return steps
        after, _, _ = self._of_one(self._betas[-1], _cut(gradients), memory[-1])
        sizes = after.root * tf.rsqrt(after.weight)
        # sigmoid(log(a / b)) = a / (a + b)
        return steps * tf.sigmoid(_log_ratio(sizes, tf.ones_like(sizes) * self._smallest, LARGEST_RATIO))

    def remember(self, gradients, memory, updates):
        return tuple(after for after, _, _ in self._next(_cut(gradients), memory))

    def _next(self, gradients, memory):
        """Returns, for each beta, the next moments, the inverse of the scale that was used, and the root in this scale.

        The scale is the larger of `|g|` and the root so far. In units of it, squares neither overflow nor underflow in
        float32. The result does not depend on the scale, so no gradient needs to flow through it.
        """
        return [self._of_one(beta, gradients, one) for beta, one in zip(self._betas, memory)]

    def _of_one(self, beta, gradients, memory):
        scale = tf.stop_gradient(tf.clip_by_value(tf.maximum(tf.abs(gradients), memory.root), SMALLEST, 1 / SMALLEST))
        inverse = 1 / scale
        squares = beta * tf.square(memory.root * inverse) + (1 - beta) * tf.square(gradients * inverse)
        moved = squares > 0
        root = tf.sqrt(tf.where(moved, squares, tf.ones_like(squares)))  # at 0 its derivative is infinite
        mean = beta * memory.mean + (1 - beta) * gradients
        weight = beta * memory.weight + (1 - beta)
        return Moments(mean, tf.where(moved, scale * root, tf.zeros_like(root)), weight), inverse, root


class _Secant(Casting):
    """See `secant_cast`. The memory is the step before, or zeros before the first step."""

    kind, name, features = "secant", "secant", 2

    def initial_memory(self, gradients):
        return Step(tf.zeros_like(gradients), tf.zeros_like(gradients))

    def encode(self, gradients, memory=None, adapted=()):
        signs = tf.sign(gradients) * tf.sign(memory.gradient)
        # sigmoid(log(a / b)) = a / (a + b)
        share = tf.sigmoid(_log_ratio(tf.abs(gradients), tf.abs(memory.gradient), LARGEST_RATIO))
        curvature = tf.sign(gradients - memory.gradient) * tf.sign(memory.update)
        return tf.stack([signs * share, curvature], axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        sizes = tf.abs(gradients)
        growth = tf.exp(_log_ratio(sizes, tf.abs(gradients - memory.gradient), LARGEST_GROWTH))
        sizes = tf.where(tf.equal(memory.update, 0), sizes, tf.abs(memory.update) * growth)
        return -tf.sign(gradients) * _cut(sizes) * outputs

    def remember(self, gradients, memory, updates):
        return Step(gradients, updates)


def ratio_cast() -> Casting:
    """The ratio casting: the network sees each gradient relative to the one before.

        r_t = g_t / (|g_(t-1)| + 1.18e-38),   g_(-1) := g_0
        encode(g_t) = r_t
        decode(o) = o (|g_(t-1)| + 1.18e-38)

    The inputs do not depend on the scale of the gradients. The first is `r_0 = sign(g_0)`. A ratio is clipped at 1e18,
    and a gradient below 1.18e-38 that is not 0 counts as 1.18e-38 in it. 1.18e-38 is the smallest normal float32; both
    engines use it, for float64 too. The source, the sequel to Episode 1, has 1e-38, which TensorFlow flushes to zero.
    """
    return _Ratio()


def log_ratio_cast(min_log_ratio: Optional[float] = None) -> Casting:
    """The log casting applied to the ratios `r_t` of `ratio_cast`.

        encode(g_t) = sign(r_t) (log(max(|r_t|, 1.18e-38)) - m) / -m
        decode(o) = sign(o) exp(-m |o| + m) (|g_(t-1)| + 1.18e-38)

    By default `m` is a variable that no gradient trains. It starts at -5 and widens like that of `widening_log_cast`,
    where `v` are the ratios at the last loss of the segment. The source, the sequel to Episode 1, has `|r_t| + 1e-38`
    under the log.

    Args:
      min_log_ratio: a fixed `m`, -87 <= m < 0; for a smaller `m`, `exp(m)` is no normal float32. None for one that
        widens.

    Raises:
      TypeError, ValueError: `min_log_ratio` is neither None nor such a number.
    """
    if min_log_ratio is None:
        return _LogRatio(None)
    m = checks.negative_number("min_log_ratio", min_log_ratio)
    if m < -87:
        raise ValueError("min_log_ratio must be at least -87, got %r" % min_log_ratio)
    return _LogRatio(m)


def moments_cast(beta: Union[float, Sequence[float]] = 0.95, *, smallest: float = 0.0) -> Casting:
    """RNNProp's casting: normalizes gradients by their running size.

    The network sees each gradient and the running mean of the gradients, both normalized. Steps stay below 0.1.

        m_t = beta m_(t-1) + (1 - beta) g_t,     v_t = beta v_(t-1) + (1 - beta) g_t^2,     w_t = 1 - beta^t
        encode(g_t) = (m_t / w_t, g_t) / sqrt(v_t / w_t),   t = 1, 2, ...
        decode(o) = 0.1 tanh(o)

    The two inputs do not depend on the scale of the gradients. Both are 0 while all gradients are 0. A gradient above
    1e36 counts as 1e36. An infinite or NaN gradient makes the updates of its coordinate NaN from then on, as with Adam.

    Source: arXiv 1703.03633; its network is `CoordinatewiseLSTM((20, 20), moments_cast(), input_activation="elu")`. The
    authors' code adds 1e-8 to the root; this one does not, because that would hide smaller gradients. Two options are
    additions of the library:

    **Several betas** give two inputs each, so the network sees short and long memories side by side.

        moments_cast([0.5, 0.9, 0.99])

    **Fading steps.** The steps above do not depend on the size of the gradients, so they do not stop where the
    gradients vanish. Once a loss has reached the resolution of float32, gradients of random size lead it away again,
    and for gradients of 0 the network's output is a drift. With `smallest`, steps fade out where the running size `r`
    of the gradients, with the last beta, falls below it:

        decode(o) = 0.1 tanh(o) r / (r + smallest),   r = sqrt(v_t / w_t)

    Args:
      beta: the decay of both means, `0 <= beta < 1`; or a sequence of such numbers.
      smallest: a number, not negative; 0 for steps that never fade.

    Raises:
      TypeError, ValueError: an argument is no such number.
    """
    smallest = checks.number_from_zero("smallest", smallest)
    if not isinstance(beta, (list, tuple)):
        return MomentsCasting((checks.fraction("beta", beta),), smallest)
    if not beta:
        raise ValueError("beta must be a number or a sequence of at least one, got %r" % (beta,))
    return MomentsCasting(tuple(checks.fraction("beta[%d]" % i, one) for i, one in enumerate(beta)), smallest)


def secant_cast() -> Casting:
    """A casting whose outputs count secant steps, so it needs no scale and no range.

    For one coordinate, let `u` be the last update and `y = g_t - g_(t-1)` the change of the gradient that it caused.
    The secant method is Newton's method with `y / u` in place of the second derivative. It would go to
    `x_t - g_t u / y`. The casting limits the size `s_t` of that step to 10 times the last one:

        s_t = |u| min(|g_t / y|, 10)   where `u` is not 0
              |g_t|                    elsewhere, as in the first step
        encode(g_t) = (sign(g_(t-1)) g_t / (|g_t| + |g_(t-1)|), sign(y u))
        decode(o) = -sign(g_t) s_t o

    Both inputs lie in [-1, 1], and are 0 in the first step. The first tells whether the gradient shrank and whether it
    changed its sign. The second tells whether the loss is convex there. An output of 1 makes the secant step; an output
    below 0 leads uphill. A function and its mirror image get mirrored steps. Where the gradient is 0, so is the update.
    `s_t` is at most 1e36.
    """
    return _Secant()
