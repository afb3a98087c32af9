"""Hand-designed optimizers: functions `(gradients, state) -> (update, state)`.

`gradients` is a tensor or a nest of tensors, and `state` is None at the first step. The update has the structure of
the gradients and is *added* to the position. Each function of this module returns such an optimizer, a `Rule`.

Learning rates default to the 0.1 that Episode 1 uses for SGD and RMSProp, unless the paper of the rule names a
default. Every number may also be a scalar tensor or a schedule.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from typing import Any, Dict, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks, schedules
from l2l.quiet import quietly
from l2l.types import Hyperparameter, Nest, State

# The smallest normal number of float32, 1.18e-38. Both engines flush what is smaller to zero.
SMALLEST = float(np.finfo(np.float32).tiny)


ScheduledState = namedtuple(
    "ScheduledState",
    [
        "t",  # base iterations so far, a scalar int32 tensor
        "states",  # what the state is without a schedule, for most rules a list with one state per tensor
    ],
)


class Rule(schedules.Named):
    """A hand-designed optimizer, `(gradients, state) -> (update, state)`, of any nest.

    All rules except `prodigy` treat each tensor on its own.

        rule = l2l.adam(0.01)
        rule.name, rule.hyperparameters["beta1"]  # "adam", 0.9
        update, state = rule(gradients, None)  # the first step

    A hyperparameter is

    - a number;
    - a scalar tensor or variable, which may be trained;
    - or a schedule: a function that maps the base iteration `t`, a scalar int32 tensor that is 0 at the first step, to
      a number or a scalar tensor.

    Rules are values: two rules with the same name and hyperparameters are equal.

    Args:
      function: a function of this module for one tensor:
        `_name(gradient, state, **hyperparameters) -> (update, state)`. If it has a parameter named `x`, it also gets
        the position.
      hyperparameters: by name.
    """

    coordinatewise = True  # so many draws can form one batch; `lamb` and `prodigy` set it to False

    @quietly()
    def __call__(self, gradients: Nest, state: State, x: Optional[Nest] = None) -> Tuple[Nest, State]:
        """Returns the update, with the structure of `gradients`, and the next state.

        The state is a list with one state per tensor. With a schedule it is a `ScheduledState`, which counts the steps.

        Raises:
          TypeError, ValueError: a schedule returns neither a number nor a scalar tensor of numbers.
          ValueError: the rule looks at the position, and `x` is None or has another structure than the gradients.
        """
        flat, t = tf.nest.flatten(gradients), None
        positions = self._positions(gradients, x) if self._sees_x else None
        if self._is_scheduled:
            t, state = (tf.constant(0), None) if state is None else state
        now = {name: schedules.at(name, value, t) for name, value in self.hyperparameters.items()}
        updates, states = self._updates(flat, state, positions, now)
        return tf.nest.pack_sequence_as(gradients, updates), ScheduledState(
            t + 1, states
        ) if self._is_scheduled else states

    @property
    def _is_scheduled(self):
        return any(map(callable, self.hyperparameters.values()))

    def _updates(self, gradients, states, positions, hyperparameters):
        """Returns the updates and the next states of all tensors, two lists; `states` is None at the first step."""
        states = [None] * len(gradients) if states is None else states
        positions = [{"x": one} for one in positions] if positions else [{}] * len(gradients)
        pairs = [
            self._function(gradient, one, **position, **for_dtype(hyperparameters, gradient.dtype))
            for gradient, one, position in zip(gradients, states, positions)
        ]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    @property
    def _sees_x(self):
        return "x" in inspect.signature(self._function).parameters

    def _positions(self, gradients, x):
        """Returns the tensors of the position, in the order of the gradients."""
        if x is None:
            raise ValueError("%s looks at the position: call it with (gradients, state, x), got no x" % self.name)
        try:
            tf.nest.assert_same_structure(gradients, x)
        except (TypeError, ValueError):
            raise ValueError("x must have the structure of the gradients, %r, got %r" % (gradients, x)) from None
        return tf.nest.flatten(x)

    def description(self) -> Dict[str, Any]:
        """Describes the rule in JSON types."""
        return {"rule": self.name, **self._described()}


def for_dtype(hyperparameters, dtype):
    """Casts hyperparameters to a dtype. TensorFlow converts numbers itself, but not tensors."""
    return {
        name: value if isinstance(value, float) else tf.cast(value, dtype) for name, value in hyperparameters.items()
    }


def _positive(name, value):
    return schedules.checked(name, value, checks.positive_number)


def _fraction(name, value):
    return schedules.checked(name, value, checks.fraction)


def root(squares):
    """Square root with a gradient of 0 at 0, where the true derivative is infinite and would become a NaN."""
    is_zero = tf.equal(squares, 0)
    root = tf.sqrt(tf.where(is_zero, tf.ones_like(squares), squares))
    return tf.where(is_zero, tf.zeros_like(root), root)


def sgd(learning_rate: Hyperparameter = 0.1) -> Rule:
    """Gradient descent: `update = -learning_rate g`.

    Raises:
      TypeError, ValueError: `learning_rate` is not a positive finite number.
    """
    return Rule(_sgd, learning_rate=_positive("learning_rate", learning_rate))


def _sgd(gradient, state, learning_rate):
    return -learning_rate * gradient, ()


def momentum(learning_rate: Hyperparameter = 0.1, *, momentum: Hyperparameter = 0.9) -> Rule:
    """Heavy-ball momentum: `v = momentum v + g`; `update = -learning_rate v`.

    `v` starts from 0.

    Source: Polyak 1964, as in `tf.train.MomentumOptimizer`.

    Raises:
      TypeError, ValueError: `learning_rate` is not positive, or `momentum` is not in [0, 1).
    """
    rate = _positive("learning_rate", learning_rate)
    return Rule(_momentum, learning_rate=rate, momentum=_fraction("momentum", momentum))


def _momentum(gradient, velocity, learning_rate, momentum):
    velocity = gradient if velocity is None else momentum * velocity + gradient
    return -learning_rate * velocity, velocity


def nesterov(learning_rate: Hyperparameter = 0.1, *, momentum: Hyperparameter = 0.9) -> Rule:
    """Nesterov's momentum, which looks ahead along the velocity.

        v = momentum v + g, starting from 0
        update = -learning_rate (g + momentum v)

    Source: Sutskever et al. 2013, in the form of `tf.train.MomentumOptimizer`.

    Raises:
      TypeError, ValueError: `learning_rate` is not positive, or `momentum` is not in [0, 1).
    """
    rate = _positive("learning_rate", learning_rate)
    return Rule(_nesterov, learning_rate=rate, momentum=_fraction("momentum", momentum))


def _nesterov(gradient, velocity, learning_rate, momentum):
    velocity = gradient if velocity is None else momentum * velocity + gradient
    return -learning_rate * (gradient + momentum * velocity), velocity


def rmsprop(
    learning_rate: Hyperparameter = 0.1, *, decay: Hyperparameter = 0.99, epsilon: Hyperparameter = 1e-5
) -> Rule:
    """RMSProp: divides each gradient by a running root mean square.

        s = decay s + (1 - decay) g^2, starting from 0
        update = -learning_rate g / (sqrt(s) + epsilon)

    Source: Episode 1, with its defaults. TensorFlow's RMSProp differs: it starts from `s = 1` and adds epsilon under
    the root.

    Raises:
      TypeError, ValueError: `learning_rate` or `epsilon` is not positive, or `decay` is not in [0, 1).
    """
    rate = _positive("learning_rate", learning_rate)
    decay = _fraction("decay", decay)
    return Rule(_rmsprop, learning_rate=rate, decay=decay, epsilon=_positive("epsilon", epsilon))


def _rmsprop(gradient, mean_square, learning_rate, decay, epsilon):
    mean_square = tf.zeros_like(gradient) if mean_square is None else mean_square
    mean_square = decay * mean_square + (1 - decay) * tf.square(gradient)
    return -learning_rate * gradient / (root(mean_square) + epsilon), mean_square


AdamState = namedtuple("AdamState", ["mean", "mean_square", "beta1_power", "beta2_power"])


def adam(
    learning_rate: Hyperparameter = 0.001,
    *,
    beta1: Hyperparameter = 0.9,
    beta2: Hyperparameter = 0.999,
    epsilon: Hyperparameter = 1e-8,
) -> Rule:
    """Adam: a running mean of the gradients over the root of that of their squares.

    At step `t = 1, 2, ...`

        m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2, both starting from 0
        update = -learning_rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon)

    Source: arXiv 1412.6980, in the form at the end of section 2, with the paper's defaults. As in
    `tf.train.AdamOptimizer`, epsilon is added to the uncorrected root.

    Raises:
      TypeError, ValueError: `learning_rate` or `epsilon` is not positive, or a beta is not in [0, 1).
    """
    return Rule(
        _adam,
        learning_rate=_positive("learning_rate", learning_rate),
        beta1=_fraction("beta1", beta1),
        beta2=_fraction("beta2", beta2),
        epsilon=_positive("epsilon", epsilon),
    )


def _adam(gradient, state, learning_rate, beta1, beta2, epsilon):
    if state is None:
        zeros, one = tf.zeros_like(gradient), tf.ones([], gradient.dtype)
        state = AdamState(zeros, zeros, one, one)
    mean = beta1 * state.mean + (1 - beta1) * gradient
    mean_square = beta2 * state.mean_square + (1 - beta2) * tf.square(gradient)
    power1, power2 = beta1 * state.beta1_power, beta2 * state.beta2_power
    corrected_rate = learning_rate * tf.sqrt(1 - power2) / (1 - power1)
    update = -corrected_rate * mean / (root(mean_square) + epsilon)
    return update, AdamState(mean, mean_square, power1, power2)


def adamw(
    learning_rate: Hyperparameter = 0.001,
    *,
    beta1: Hyperparameter = 0.9,
    beta2: Hyperparameter = 0.999,
    epsilon: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.01,
) -> Rule:
    """Adam with decoupled weight decay.

        update = -learning_rate (d + weight_decay x)

    `-learning_rate d` is the update of `adam`, and `x` is the position, so call the rule with `(gradients, state, x)`.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101. As in PyTorch and optax, the learning rate scales the decay. The
    `weight_decay` of `tf.contrib.opt.AdamWOptimizer` is our `learning_rate weight_decay`.

    Raises:
      TypeError, ValueError: `learning_rate` or `epsilon` is not positive, `weight_decay` is negative, or a beta is not
        in [0, 1). ValueError at a call without a position.
    """
    return Rule(_adamw, **_checked_adamw(learning_rate, beta1, beta2, epsilon, weight_decay))


def _checked_adamw(learning_rate, beta1, beta2, epsilon, weight_decay):
    return {
        **adam(learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon).hyperparameters,
        "weight_decay": schedules.checked("weight_decay", weight_decay, checks.number_from_zero),
    }


def _adamw(gradient, state, x, learning_rate, beta1, beta2, epsilon, weight_decay):
    step, state = _adam(gradient, state, 1.0, beta1, beta2, epsilon)
    return learning_rate * (step - weight_decay * x), state


def lamb(
    learning_rate: Hyperparameter = 0.001,
    *,
    beta1: Hyperparameter = 0.9,
    beta2: Hyperparameter = 0.999,
    epsilon: Hyperparameter = 1e-6,
    weight_decay: Hyperparameter = 0.01,
) -> Rule:
    """LAMB: the direction of `adamw`, scaled to the norm of each tensor.

        r = d + weight_decay x,  with Adam's direction d
        update = -learning_rate (|x| / |r|) r

    The norms are over each tensor. If one of them is 0, the quotient is 1. A norm below 1e-19 counts as 0, because its
    square underflows in float32. The rule is not coordinate-wise, and needs the position: `(gradients, state, x)`.

    Source: You et al. 2020, arXiv 1904.00962, algorithm 2, with `phi(z) = z` and the defaults of its experiments.

    Raises:
      TypeError, ValueError: as for `adamw`.
    """
    rule = Rule(_lamb, **_checked_adamw(learning_rate, beta1, beta2, epsilon, weight_decay))
    rule.coordinatewise = False
    return rule


def _lamb(gradient, state, x, learning_rate, beta1, beta2, epsilon, weight_decay):
    step, state = _adamw(gradient, state, x, 1.0, beta1, beta2, epsilon, weight_decay)
    length, own_length = (root(tf.reduce_sum(tf.square(one))) for one in (x, step))
    both = tf.logical_and(length > 0, own_length > 0)
    one = tf.ones_like(length)
    # The quotient that is not selected must be finite too, or its NaN leaks into the gradient.
    ratio = tf.where(both, length / tf.where(both, own_length, one), one)
    return learning_rate * ratio * step, state


VsgdState = namedtuple(
    "VsgdState",
    [
        "gradient",  # of the step before
        "update",  # of the step before: the distance between the two gradients' positions
        "mean",  # running mean of the gradient
        "mean_square",  # running mean of its square
        "curvature",  # running mean of the curvature, 0 until the first one is measured
        "memory",  # how many steps the running means remember
    ],
)

# The first step has seen one gradient and knows no curvature. It moves by this fraction of the gradient: far enough
# for a measurable difference in float32, and too short to do harm.
VSGD_PROBE = 0.01


def vsgd() -> Rule:
    """vSGD, which sets its own learning rate for each coordinate.

        update = -mean(g)^2 / (mean(g^2) mean(h)) g
        tau    = (1 - mean(g)^2 / mean(g^2)) tau + 1

    The means are running means that remember `tau` steps; `h` is the curvature. Until a coordinate has a measured
    curvature, its update is `-0.01 g`. Without noise the rule becomes Newton's method on each coordinate.

    Source: "No More Pesky Learning Rates", arXiv 1206.1106, section 4, with two differences:

    - The curvature is the finite difference `|g_t - g_(t-1)| / |x_t - x_(t-1)|` of two successive steps. The idea is
      from arXiv 1301.3764, section 4. The authors take the second gradient at a shifted position, which the contract of
      an optimizer does not offer.
    - The means start from the first gradient. The paper averages a few gradients before it moves.
    """
    return Rule(_vsgd)


def _vsgd(gradient, state):
    divide = tf.math.divide_no_nan

    def mix(old, new, memory):
        # Not old + (new - old) / memory, which loses a new value far smaller than the old one.
        return (1 - 1 / memory) * old + new / memory

    zeros, ones = tf.zeros_like(gradient), tf.ones_like(gradient)
    if state is None:
        state = VsgdState(gradient, zeros, gradient, tf.square(gradient), zeros, ones)
    mean = mix(state.mean, gradient, state.memory)
    mean_square = mix(state.mean_square, tf.square(gradient), state.memory)
    # A coordinate that did not move gives no new measurement of its curvature.
    seen = tf.abs(divide(gradient - state.gradient, state.update))
    first = tf.equal(state.curvature, 0)
    curvature = tf.where(first, seen, mix(state.curvature, seen, state.memory))
    curvature = tf.where(tf.equal(state.update, 0), state.curvature, curvature)
    certainty = divide(tf.square(mean), mean_square)
    rate = tf.where(tf.equal(curvature, 0), ones * VSGD_PROBE, divide(certainty, curvature))
    update = -rate * gradient
    memory = (1 - certainty) * state.memory + 1
    return update, VsgdState(gradient, update, mean, mean_square, curvature, memory)


SecantState = namedtuple("SecantState", ["gradient", "update"])  # of the step before

LARGEST_SHARE = 1e18


def secant(learning_rate: Hyperparameter = 0.1) -> Rule:
    """The secant method: Newton's, with the curvature measured along the last step.

    Each coordinate is treated on its own:

        y_t = g_t - g_(t-1)
        update_t = -g_t update_(t-1) / y_t   where y_t and update_(t-1) are not 0
                   -learning_rate g_t        elsewhere, as in the first step

    `|y_t|` and `|g_t / y_t|` below 1.18e-38, the smallest normal float32, count as 0. The rule has no other safeguard.
    Where the loss is concave along a coordinate, the step leads uphill. Where two gradients are nearly equal, the step
    is long.

    On a quadratic without mixed terms, such as `Quadratic`, the second update reaches the minimum up to rounding, for
    any learning rate. No rule can be faster unless it knows the curvature beforehand.

    Args:
      learning_rate: of the first step, and of every step without a measured curvature; a positive number.

    Raises:
      TypeError, ValueError: `learning_rate` is not a positive finite number.
    """
    return Rule(_secant, learning_rate=_positive("learning_rate", learning_rate))


def _secant(gradient, state, learning_rate):
    state = SecantState(gradient, tf.zeros_like(gradient)) if state is None else state
    change, ones = gradient - state.gradient, tf.ones_like(gradient)
    unknown = tf.logical_or(tf.abs(change) < SMALLEST, tf.equal(state.update, 0))
    # A difference of two floats is 0 or at least 1e-16 of the larger one, so the bounds never cut. They stop XLA's
    # fast math from multiplying gradient and update first: that product may underflow.
    share = tf.clip_by_value(gradient / tf.where(unknown, ones, change), -LARGEST_SHARE, LARGEST_SHARE)
    update = tf.where(unknown, -learning_rate * gradient, -state.update * share)
    return update, SecantState(gradient, update)
