"""A learned optimizer for whole tensors: a small network that turns the knobs of Adam, once a step for each tensor."""

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

# How many steps were made, a float32 scalar, and a list with the `TensorState` of each tensor.
ControllerState = namedtuple("ControllerState", ["t", "tensors"])

Controls = namedtuple(
    "Controls",
    [
        "climb",  # a logarithm, by which the rate has been raised
        "rate",  # the learning rate, with `climb` and the decay
        "s",  # shares, see `AdamController`
        "r",
        "q",
        "c",
    ],
)


class AdamController:
    """A network per tensor that controls Adam, `(gradients, state, x) -> (update, state)`.

    Every coordinate has running means of its gradient, `m` and `M` (0.9 and 0.99), and of its square, `v` and `V`
    (0.95 and 0.999), all without their bias towards zero. Its update is

        -rate clip(((1 - s) ((1 - r) m + r g) + s M) / d, -10, 10)
        d^2 = q v + (1 - q) V,    mixed with its tensor's mean by a share c
        rate = 0.003 exp(2 o_0 + climb) decay^exp(o_2),    climb <- climb + 0.1 tanh(o_1)

    `decay` falls from 1 to 0.001 along a cosine over the planned steps, and stays there after them; `s`, `r`, `q` and
    `c` are sigmoids of the other outputs. The outputs `o`, seven for each tensor, are those of one hidden layer of
    tanh units, `tanh(f W_1 + b_1) W_2 + b_2`. The 19 facts `f` that it sees: the tensor's fan-out, its last axis, and
    fan-in, all other axes, and whether it is a matrix; the size of its position; how much `m` and `M` are signal, and
    `v` against `V`; cosines of the gradient with the last update and both means, and of `m` with the last update, two
    of them averaged over all tensors; steps made, and planned; `climb`, and its mean over the tensors; how many
    tensors there are.

    Where nobody knows how many steps are planned, it behaves as half way, at every step. No fact changes where the loss
    is multiplied by a number, as long as gradients lie between 1e-15 and 1e15. With finite gradients every update is
    finite.

    The weights, 439 with 16 units: a normal distribution of variance 1/19 for `W_1` and zeros for all else. With them
    all outputs are zero, whatever the gradients: a step is close to Adam's with a rate of 0.003 and a cosine decay, but
    `s` is 0.18, `r` 0.08, `q` 0.27 and `c` 0.02.

    Args:
      hidden: units of the hidden layer, a positive integer.

    Attributes:
      variables: `W_1`, `b_1`, `W_2`, `b_2`.

    Raises:
      TypeError, ValueError: `hidden` is no positive integer. When it is called: gradients that are not float32, no
        position, or one of another structure.
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
        """The update, with the structure of `gradients`, and the next state, where nobody knows the number of steps."""
        return self.bind().plain_step(gradients, state, x)

    def initial_state(self, x: Nest, batch: Optional[int] = None) -> ControllerState:
        """The state before the first step at a position like `x`: zeros. With a batch, `x` has an axis of draws."""
        tensors = []
        for one in tf.nest.flatten(x):
            zeros = tf.zeros_like(one)
            per_tensor = [tf.zeros([*([] if batch is None else [batch]), size]) for size in (5, 1)]
            tensors.append(TensorState(zeros, zeros, zeros, zeros, zeros, *per_tensor))
        return ControllerState(tf.zeros([]), tensors)

    def description(self) -> Dict[str, Any]:
        """What the network is, in JSON types; `from_description` builds it again."""
        return {"class": type(self).__name__, "hidden": self._units}

    def bind(
        self,
        weights: Optional[Sequence[tf.Tensor]] = None,
        horizon: Optional[int] = None,
        batch: Optional[int] = None,
    ) -> Bound:
        """The network for one unroll, a `Bound`, with its weights or with these tensors in their place.

        Args:
          weights: tensors like `variables`.
          horizon: how many steps are planned, an integer or a scalar tensor; None where nobody knows.
          batch: how many draws there are along a leading axis; None for one draw.
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
        """What the network chooses at a step from one draw, to look at: `Controls` of tensors `[n]`.

        `n` is how many tensors there are, in the order of `tf.nest.flatten(x)`.

        Args:
          gradients, state, x: those of the step; a state of None is that before the first.
          horizon, weights: as for `bind`.
        """
        network = _network(self.variables if weights is None else weights)
        sheets, *_, controls = _controlled(*self._flat(gradients, state, x, None), network, horizon, 0)
        order = np.argsort(np.concatenate([sheet.members for sheet in sheets]))
        return Controls(*[tf.gather(one, order) for one in controls])

    def _flat(self, gradients, state, x, batch):
        """The tensors of the gradients, a list; the state; and those of the position."""
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
    """Function that builds the network that `AdamController.description` describes.

    Raises:
      ValueError: it is none, or larger than any file; nothing is built to find that out.
    """
    hidden = description.get("hidden")
    if set(description) != {"class", "hidden"} or type(hidden) is not int or not 0 < hidden <= MOST_UNITS:
        raise ValueError("hidden must be a number of units up to %d, got %.200r" % (MOST_UNITS, description))
    return lambda: AdamController(hidden)


def _network(weights):
    """Function of facts `[..., 19]` to seven outputs `[...]`, with these weights."""
    kernel, bias, out_kernel, out_bias = map(tf.convert_to_tensor, weights)

    def outputs(facts):
        rows = tf.reshape(facts, [-1, FACTS])
        found = tf.matmul(tf.tanh(tf.matmul(rows, kernel) + bias), out_kernel) + out_bias
        return tf.unstack(tf.reshape(found, [*facts.shape.as_list()[:-1], CONTROLS]), axis=-1)

    return outputs


@quietly()
def _step(gradients, state, positions, network, horizon, draws):
    """Updates and next state, lists of all tensors."""
    sheets, gradients, after, means, controls = _controlled(gradients, state, positions, network, horizon, draws)
    numbers = [len(sheet.members) for sheet in sheets]
    parts = zip(*[tf.split(one, numbers, axis=draws) for one in controls])  # for each sheet [B, k]
    updates, tensors = [[None] * sum(numbers) for _ in range(2)]
    for gradient, mean, tensor, sheet, (climb, *own) in zip(gradients, means, after, sheets, parts):
        update = _update(gradient, *mean, *[sheet.spread(one, gradient) for one in own], sheet)
        for i, one in zip(sheet.members, unpacked(tensor._replace(last=update, climb=climb[..., tf.newaxis]), sheet)):
            updates[i], tensors[i] = one.last, one
    return updates, ControllerState(state.t + 1, tensors)


def _controlled(gradients, state, positions, network, horizon, draws):
    """All but the updates: `(sheets, gradients, tensors, means, controls)`.

    Of each tensor the first `draws` axes, 0 or 1, are of draws; `B` is their shape. The tensors of a sheet, `k` of
    them, lie along an axis after those; all sheets together have `n`. There is one of the gradients, of the
    `TensorState` without the update, and of its unbiased means for each sheet; the `Controls` are `[B, n]`.
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
    """The update of a sheet, with the controls in shapes that broadcast over its coordinates."""
    direction = (1 - slow) * ((1 - raw) * short + raw * gradient) + slow * long
    spread = tf.sqrt(fresh * short_square + (1 - fresh) * long_square)
    whole = [sheet.spread(sheet.mean(one), one) for one in (short_square, long_square)]
    whole = tf.sqrt(fresh * whole[0] + (1 - fresh) * whole[1])
    spread = (1 - common) * spread + (common + RELATIVE_FLOOR) * whole + SMALLEST
    return -rate * tf.clip_by_value(direction / spread, -LARGEST_MOVE, LARGEST_MOVE)
