"""A learned optimizer for whole tensors: a network sets Adam's hyperparameters."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.optimizers.controller_facts import (
    FACTS,
    LARGEST,
    RELATIVE_FLOOR,
    SMALLEST,
    TensorState,
    facts_of,
    noted,
    packed,
    unbiased,
    unpacked,
)
from l2l.optimizers.optimizer import Bound
from l2l.optimizers.sheets import sheets_of
from l2l.quiet import quietly
from l2l.types import Nest, State

CONTROLS = 7
MOST_UNITS = 8192  # of a network in a file

FIRST_RATE = 3e-3
LARGEST_CLIMB = 6.0  # of the logarithm of the rate
LARGEST_MOVE = 10.0  # of a coordinate, in units of the rate
LEAST_DECAY = 1e-3  # of the learning rate, after the planned steps

# `t` is the number of steps made, a float32 scalar; `tensors` is a list with the `TensorState` of each tensor.
ControllerState = namedtuple("ControllerState", ["t", "tensors"])

Controls = namedtuple(
    "Controls",
    [
        "climb",  # the logarithm of the factor by which the learning rate has been raised
        "rate",  # the learning rate, including `climb` and the decay
        "s",  # the share of the long mean `M` in the direction, see `AdamController`
        "r",  # the share of the raw gradient in the rest of the direction
        "q",  # the share of the short mean square `v` in the denominator
        "c",  # the share of the tensor's mean in the denominator
    ],
)


class AdamController:
    """A small network that sets Adam's hyperparameters for each tensor and step.

    It is an optimizer `(gradients, state, x) -> (update, state)`.

        trainer = l2l.Trainer(problem, l2l.AdamController, estimator=l2l.EvolutionStrategies(), horizon=200)

    Every coordinate has two running means of its gradient `g`, `m` (decay 0.9) and `M` (0.99), and two of its square,
    `v` (0.95) and `V` (0.999). All four are corrected for their bias towards zero. The update is

        -rate clip(((1 - s) ((1 - r) m + r g) + s M) / d, -10, 10)
        d^2 = q v + (1 - q) V,    d mixed with its tensor's mean by a share c
        rate = 0.003 exp(2 o_0 + climb) decay^exp(o_2),    climb <- climb + 0.1 tanh(o_1)

    `decay` falls from 1 to 0.001 along a cosine over the planned steps, and stays at 0.001 afterwards. If the number of
    planned steps is unknown, the network behaves at every step as if half of them were over.

    The network has one hidden layer: `o = tanh(f W_1 + b_1) W_2 + b_2`. It gives seven outputs `o` per tensor; `s`,
    `r`, `q` and `c` are sigmoids of the last four. Its inputs are 19 facts `f` of the tensor:

    - its shape: fan-in (the product of all axes but the last), fan-out (the last axis), and whether it is a matrix;
    - the size of its position;
    - how much of `m` and of `M` is signal, and how `v` compares with `V`;
    - running means of four cosines: of the gradient, divided by the root of `V`, with the last update; of the gradient
      with `m` and with `M`; and of `m` with the last update;
    - the first two of these, averaged over all tensors;
    - the number of steps made, the number planned, and their quotient;
    - `climb`, its mean over all tensors, and the number of tensors.

    Scaling the loss by a number changes no fact, as long as gradients lie between 1e-15 and 1e15. With finite gradients
    every update is finite.

    There are 439 weights with 16 units. `W_1` starts from a normal distribution of variance 1/19, everything else from
    zero. So all outputs start at zero, whatever the gradients. A step is then close to Adam's with a learning rate of
    0.003 and a cosine decay, with `s` = 0.18, `r` = 0.08, `q` = 0.27 and `c` = 0.02.

    Args:
      hidden: units of the hidden layer, a positive integer.

    Attributes:
      variables: `W_1`, `b_1`, `W_2`, `b_2`.

    Raises:
      TypeError, ValueError: `hidden` is no positive integer. When it is called: gradients are not float32, or the
        position is missing or has another structure.
    """

    takes_x = True

    @quietly()
    def __init__(self, hidden: int = 16) -> None:
        self._units = checks.positive_integer("hidden", hidden)
        normal, zeros = tf.random_normal_initializer(stddev=1 / np.sqrt(FACTS)), tf.zeros_initializer()
        with tf.variable_scope(None, default_name="adam_controller", use_resource=True, dtype=tf.float32):
            self.variables = [
                tf.get_variable("facts/kernel", [FACTS, self._units], initializer=normal),
                tf.get_variable("facts/bias", [self._units], initializer=zeros),
                tf.get_variable("controls/kernel", [self._units, CONTROLS], initializer=zeros),
                tf.get_variable("controls/bias", [CONTROLS], initializer=zeros),
            ]

    def __repr__(self):
        number = sum(variable.shape.num_elements() for variable in self.variables)
        return "<AdamController of %d hidden units: %s weights>" % (self._units, f"{number:,}")

    def __call__(self, gradients: Nest, state: State, x: Optional[Nest] = None) -> Tuple[Nest, State]:
        """Returns the update, with the structure of `gradients`, and the next state, for an unknown number of steps."""
        return self.bind().plain_step(gradients, state, x)

    def initial_state(self, x: Nest, batch: Optional[int] = None) -> ControllerState:
        """Returns the state before the first step at a position like `x`: zeros.

        With a `batch`, the tensors of `x` have a leading axis of draws.
        """
        tensors = []
        for one in tf.nest.flatten(x):
            zeros = tf.zeros_like(one)
            per_tensor = [tf.zeros([*([] if batch is None else [batch]), size]) for size in (5, 1)]
            tensors.append(TensorState(zeros, zeros, zeros, zeros, zeros, *per_tensor))
        return ControllerState(tf.zeros([]), tensors)

    def description(self) -> Dict[str, Any]:
        """Describes the network in JSON types; `from_description` builds it again."""
        return {"class": type(self).__name__, "hidden": self._units}

    def bind(
        self,
        weights: Optional[Sequence[tf.Tensor]] = None,
        horizon: Optional[int] = None,
        batch: Optional[int] = None,
    ) -> Bound:
        """Prepares the network for one unroll, as a `Bound`.

        Args:
          weights: tensors to use in place of `variables`; None for the variables.
          horizon: how many steps are planned, an integer or a scalar tensor; None if unknown.
          batch: how many draws lie along a leading axis; None for one draw.
        """
        network = _network(self.variables if weights is None else weights)

        def step(gradients, state, x, product):
            draws = 0 if batch is None else 1
            updates, state = _step(*self._flat(gradients, state, x, batch), network, horizon, draws)
            return tf.nest.pack_sequence_as(gradients, updates), state

        return Bound(step, initial_state=lambda x: self.initial_state(x, batch))

    def controls(
        self,
        gradients: Nest,
        state: State,
        x: Nest,
        *,
        horizon: Optional[int] = None,
        weights: Optional[Sequence[tf.Tensor]] = None,
    ) -> Controls:
        """Returns what the network chooses at one step of one draw, for inspection.

        Args:
          gradients, state, x: those of the step; `state=None` stands for the state before the first step.
          horizon, weights: as for `bind`.

        Returns:
          `Controls` of tensors `[n]` for the `n` tensors of the position, in the order of `tf.nest.flatten(x)`.
        """
        network = _network(self.variables if weights is None else weights)
        sheets, *_, controls = _controlled(*self._flat(gradients, state, x, None), network, horizon, 0)
        order = np.argsort(np.concatenate([sheet.members for sheet in sheets]))
        return Controls(*[tf.gather(one, order) for one in controls])

    def _flat(self, gradients, state, x, batch):
        """Returns the tensors of the gradients, the state, and the tensors of the position."""
        if x is None:
            raise ValueError("AdamController looks at the position: call it with (gradients, state, x), got no x")
        flat = tf.nest.flatten(gradients)
        for gradient in flat:
            if gradient.dtype != tf.float32:
                raise TypeError("gradients must be float32 for an AdamController, got %s" % gradient.dtype.name)
        try:
            tf.nest.assert_same_structure(gradients, x)
        except (TypeError, ValueError):
            raise ValueError("x must have the structure of the gradients, %r, got %r" % (gradients, x)) from None
        state = self.initial_state(x, batch) if state is None else state
        return flat, state, tf.nest.flatten(x)


def from_description(description):
    """Returns a function that builds the network that `AdamController.description` describes.

    Raises:
      ValueError: the description is malformed, or its network is larger than any file; nothing is built to check this.
    """
    hidden = description.get("hidden")
    if set(description) != {"class", "hidden"} or type(hidden) is not int or not 0 < hidden <= MOST_UNITS:
        raise ValueError("hidden must be a number of units up to %d, got %.200r" % (MOST_UNITS, description))
    return lambda: AdamController(hidden)


def _network(weights):
    """Returns a function from facts `[..., 19]` to seven outputs, each `[...]`, with these weights."""
    kernel, bias, out_kernel, out_bias = map(tf.convert_to_tensor, weights)

    def outputs(facts):
        rows = tf.reshape(facts, [-1, FACTS])
        found = tf.matmul(tf.tanh(tf.matmul(rows, kernel) + bias), out_kernel) + out_bias
        return tf.unstack(tf.reshape(found, [*facts.shape.as_list()[:-1], CONTROLS]), axis=-1)

    return outputs


@quietly()
def _step(gradients, state, positions, network, horizon, draws):
    """Returns the updates, a list with one per tensor, and the next state."""
    sheets, gradients, after, means, controls = _controlled(gradients, state, positions, network, horizon, draws)
    numbers = [len(sheet.members) for sheet in sheets]
    parts = zip(*[tf.split(one, numbers, axis=draws) for one in controls])  # [B, k] for each sheet
    updates, tensors = [[None] * sum(numbers) for _ in range(2)]
    for gradient, mean, tensor, sheet, (climb, *own) in zip(gradients, means, after, sheets, parts):
        update = _update(gradient, *mean, *[sheet.spread(one, gradient) for one in own], sheet)
        for i, one in zip(sheet.members, unpacked(tensor._replace(last=update, climb=climb[..., tf.newaxis]), sheet)):
            updates[i], tensors[i] = one.last, one
    return updates, ControllerState(state.t + 1, tensors)


def _controlled(gradients, state, positions, network, horizon, draws):
    """Computes everything but the updates.

    The first `draws` axes of each tensor, 0 or 1, are axes of draws; `B` is their shape. The `k` tensors of a sheet lie
    along the axis after those. All sheets together have `n` tensors.

    Returns:
      `(sheets, gradients, tensors, means, controls)`: for each sheet its packed gradients, its `TensorState` before the
      update is known, and its unbiased means; and the `Controls` of all tensors, `[B, n]`.
    """
    sheets, t = sheets_of([one.shape.as_list()[draws:] for one in gradients], draws), state.t + 1
    gradients = [tf.clip_by_value(sheet.pack(gradients), -LARGEST, LARGEST) for sheet in sheets]
    steps = 2 * t if horizon is None else tf.cast(horizon, tf.float32)
    fraction = tf.minimum(t / steps, 1.0)
    positions = [sheet.pack(positions) for sheet in sheets]
    before = [packed(state.tensors, sheet) for sheet in sheets]
    tensors = [noted(gradient, tensor, t, sheet) for gradient, tensor, sheet in zip(gradients, before, sheets)]
    means = [unbiased(tensor, t) for tensor in tensors]
    climbs = tf.concat([tensor.climb for tensor in tensors], axis=draws)[..., 0]  # [B, n]
    outputs = network(facts_of(tensors, means, positions, climbs, (t, steps, fraction), sheets))  # seven [B, n]
    rate, climb, exponent = outputs[:3]
    climb = tf.clip_by_value(climbs + 0.1 * tf.tanh(climb), -LARGEST_CLIMB, LARGEST_CLIMB)
    decay = (0.5 * (1 + tf.cos(np.pi * fraction)) + LEAST_DECAY) ** tf.exp(tf.clip_by_value(exponent, -3.0, 2.0))
    rate = FIRST_RATE * tf.exp(tf.clip_by_value(2 * rate, -8.0, 8.0) + climb) * decay
    shares = [tf.sigmoid(one - offset) for one, offset in zip(outputs[3:], [1.5, 2.5, 1.0, 4.0])]
    return sheets, gradients, tensors, means, Controls(climb, rate, *shares)


def _update(gradient, short, long, short_square, long_square, rate, slow, raw, fresh, common, sheet):
    """Returns the update of a sheet; the controls have shapes that broadcast over its coordinates."""
    direction = (1 - slow) * ((1 - raw) * short + raw * gradient) + slow * long
    spread = tf.sqrt(fresh * short_square + (1 - fresh) * long_square)
    whole = [sheet.spread(sheet.mean(one), one) for one in (short_square, long_square)]
    whole = tf.sqrt(fresh * whole[0] + (1 - fresh) * whole[1])
    spread = (1 - common) * spread + (common + RELATIVE_FLOOR) * whole + SMALLEST
    return -rate * tf.clip_by_value(direction / spread, -LARGEST_MOVE, LARGEST_MOVE)
