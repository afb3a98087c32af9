"""Prodigy, which estimates its own learning rate: a rule that sees all tensors together."""

from __future__ import annotations

from collections import namedtuple

import tensorflow.compat.v1 as tf

from l2l import checks, schedules
from l2l.optimizers.rules import Rule, ScheduledState, adam, for_dtype, root
from l2l.types import Hyperparameter, Nest, State

FIRST_ESTIMATE = 1e-6  # of the distance to the solution; below any real distance

ProdigyState = namedtuple(
    "ProdigyState",
    [
        "mean",  # this and the next three are lists with one entry per tensor of the position
        "mean_square",
        "weighted_sum",  # of the gradients
        "start",  # the position before the first step
        "estimate",  # of the distance to the solution; it never falls
        "numerator",  # of the next estimate
        "beta1_power",
        "beta2_power",
    ],
)


class _OfAllTensors(Rule):
    """A rule with one state for all tensors; its function takes lists of gradients and positions."""

    coordinatewise = False

    def initial_state(self, x: Nest) -> State:
        """Returns the state before the first step at a position like `x`."""
        state = _first_state(tf.nest.flatten(x))
        return ScheduledState(tf.constant(0), state) if self._is_scheduled else state

    def _updates(self, gradients, states, positions, hyperparameters):
        dtypes = sorted({gradient.dtype.name for gradient in gradients})
        if len(dtypes) > 1:
            raise ValueError("gradients must have one dtype for %s, got %s" % (self.name, " and ".join(dtypes)))
        state = _first_state(positions) if states is None else states
        return self._function(gradients, state, positions, **for_dtype(hyperparameters, gradients[0].dtype))


def prodigy(
    learning_rate: Hyperparameter = 1.0,
    *,
    beta1: Hyperparameter = 0.9,
    beta2: Hyperparameter = 0.999,
    epsilon: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Rule:
    """Prodigy: Adam with a learning rate that it estimates itself.

    The rate is multiplied by `d`, an estimate of the distance from the start to a solution:

        r = learning_rate d sqrt(1 - beta2^t) / (1 - beta1^t)
        m = beta1 m + (1 - beta1) d g,  v = beta2 v + (1 - beta2) d^2 g^2
        n = sqrt(beta2) n + r d / d_0 <g, x_0 - x>,  s = sqrt(beta2) s + r d / d_0 g
        d' = max(d, n / |s|_1)
        update = -r (m / (sqrt(v) + d' epsilon) + weight_decay x)

    All sums start from 0, and `d` starts from `d_0 = 1e-6`. While all gradients are 0, `d` stays. The scalar product
    `<,>` and the norm are over all tensors together. So the rule is not coordinate-wise, and all tensors must have one
    dtype. It needs the position: call it with `(gradients, state, x)`.

    Keep the learning rate at 1, or use a schedule that falls from 1:

        prodigy(cosine_decay(1.0, steps))

    Source: Mishchenko & Defazio 2023, arXiv 2306.06101, as in `optax.contrib.prodigy`, with its defaults.

    Raises:
      TypeError, ValueError: `learning_rate` or `epsilon` is not positive, `weight_decay` is negative, or a beta is not
        in [0, 1). ValueError at a call without a position, or with gradients of several dtypes.
    """
    return _OfAllTensors(
        _prodigy,
        **adam(learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon).hyperparameters,
        weight_decay=schedules.checked("weight_decay", weight_decay, checks.number_from_zero),
    )


def _first_state(positions):
    zeros, one = [tf.zeros_like(each) for each in positions], tf.ones([], positions[0].dtype)
    return ProdigyState(zeros, zeros, zeros, positions, one * FIRST_ESTIMATE, tf.zeros_like(one), one, one)


def _prodigy(gradients, state, x, learning_rate, beta1, beta2, epsilon, weight_decay):
    power1, power2, beta3 = beta1 * state.beta1_power, beta2 * state.beta2_power, beta2**0.5
    before = state.estimate
    rate = learning_rate * before * tf.sqrt(1 - power2) / (1 - power1)
    weight = rate * before / FIRST_ESTIMATE  # of this gradient in both sums
    scaled = [before * gradient for gradient in gradients]
    mean = [beta1 * old + (1 - beta1) * new for old, new in zip(state.mean, scaled)]
    mean_square = [beta2 * old + (1 - beta2) * tf.square(new) for old, new in zip(state.mean_square, scaled)]
    weighted_sum = [beta3 * old + weight * new for old, new in zip(state.weighted_sum, gradients)]
    way = [tf.reduce_sum(new * (start - one)) for new, start, one in zip(gradients, state.start, x)]
    numerator = beta3 * state.numerator + weight * tf.add_n(way)
    length = tf.add_n([tf.reduce_sum(tf.abs(one)) for one in weighted_sum])
    estimate = tf.maximum(before, tf.math.divide_no_nan(numerator, length))
    updates = [
        -rate * (first / (root(second) + estimate * epsilon) + weight_decay * one)
        for first, second, one in zip(mean, mean_square, x)
    ]
    return updates, ProdigyState(mean, mean_square, weighted_sum, state.start, estimate, numerator, power1, power2)
