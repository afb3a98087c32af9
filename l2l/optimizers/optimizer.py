"""The contract of an optimizer, and the one door through which optimizers come in.

An optimizer is a function `(gradients, state) -> (update, state)`; `state` is None at the first step. State
is what changes from step to step and nothing else. A function with a parameter *named* `x` gets the position too,
`(gradients, state, x)`. A hand-designed optimizer needs nothing more.

A learned optimizer is the same kind of function, with trainable variables. It creates them when it is built or at its
first call (see `first_call`). It may also define

    initial_state(x)   its state before the first step at a position like `x`. Without it, the first step has
                       `state=None` and is built separately in every graph
    bind(weights, horizon, batch)
                       a `Bound`: it computes once for each unroll what does not change from step to step. It gets
                       those of the three that it names: `weights`, tensors in place of its variables in the order of
                       their creation, or None for the variables themselves; `horizon`, how many base iterations are
                       planned in total, or None where nobody knows; `batch`, how many draws there are along a leading
                       axis, or None for one draw
    adapt(gradients, state)
                       new values of its `adapted` variables, which no gradient trains, once a meta-iteration.
                       From a batch it is the mean over the draws, unless the optimizer sees all draws at once.
                       A third parameter named `active` gets which tensors of the position are not idle, see
                       `Problem.active`, or None for all
    coordinatewise     True where each coordinate is treated on its own, given the facts of its tensor. Then many draws
                       can be one batch; the library maps every other optimizer over the draws
    description()      what it is, in JSON types, for files and records

`opened` turns whatever a user hands in into an `Optimizer`, in which each of these is there. Behind it, nobody asks
what a user's object has.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from typing import Any, Callable, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from l2l.describe import description_of
from l2l.optimizers import prodigy, rules
from l2l.types import Nest, State


class Bound(
    namedtuple(
        "Bound",
        [
            "step",  # function `(gradients, state, x, product) -> (update, state)`
            "kernels",  # matrices, of which a step uses each once: `product(i, inputs)` is `inputs @ kernels[i]`
            "facts",  # None, or a function `(gradients, state, x)` to what is the same for all coordinates of a tensor
            "initial_state",  # function of a position to the state before the first step; None: as the optimizer says
        ],
    )
):
    """An optimizer for one unroll.

    A `Bound` with `facts` has steps with a fifth parameter of that name: None, or what `facts` gave.
    """

    def __new__(
        cls,
        step: Callable[..., Tuple[Nest, State]],
        kernels: Sequence[tf.Tensor] = (),
        facts: Optional[Callable[..., Nest]] = None,
        initial_state: Optional[Callable[[Nest], State]] = None,
    ) -> Bound:
        return super().__new__(cls, step, list(kernels), facts, initial_state)

    def plain_step(self, gradients: Nest, state: State, x: Nest, **facts: Any) -> Tuple[Nest, State]:
        """A step whose products are `tf.matmul`, without anything else."""
        return self.step(gradients, state, x, lambda i, inputs: tf.matmul(inputs, self.kernels[i]), **facts)


Optimizer = namedtuple(
    "Optimizer",
    [
        "bind",  # function (weights=None, horizon=None, batch=None) to a `Bound` that has an `initial_state`
        "initial_state",  # function of a position to the state before the first step; None where it cannot be said
        "adapted",  # variables that `adapt` changes, a list
        "adapt",  # function (gradients, state, active=None) to their next values, a list
        "coordinatewise",  # whether each coordinate is treated on its own, given the facts of its tensor
        "sees_batches",  # whether it takes many draws along a leading axis as they are
        "takes_x",  # whether it looks at the position
        "variables",  # that are trained, in the order of creation, a list
        "casting",  # the name of its casting, for records; None without
        "given",  # what the user handed in
    ],
)


def opened(name, value, *, variables=None, rebuilt=None):
    """The `Optimizer` that a user's function is.

    Args:
      name: for error messages.
      value: a function, with or without more; or an `Optimizer`, which is returned.
      variables: list of what it created and is trained; None for those that it says it has.
      rebuilt: function from tensors to the `Optimizer` that has them in place of these variables.

    Raises:
      TypeError: it cannot be called with gradients and a state.
    """
    if isinstance(value, Optimizer):
        return value
    check_optimizer(name, value)
    own_bind, own_state, adapt = (getattr(value, part, None) for part in ["bind", "initial_state", "adapt"])
    takes_x = getattr(value, "takes_x", None)
    takes_x = "x" in _parameters(value) if takes_x is None else takes_x
    asked = _parameters(own_bind) if own_bind else {}

    def bind(weights=None, horizon=None, batch=None):
        if weights is not None and "weights" not in asked:
            return rebuilt(weights).bind(horizon=horizon, batch=batch)
        if own_bind is None:
            return Bound(lambda gradients, state, x, product: call(gradients, state, x), initial_state=own_state)
        given = {"weights": weights, "horizon": horizon, "batch": batch}
        bound = own_bind(**{key: one for key, one in given.items() if key in asked})
        return bound if bound.initial_state is not None else bound._replace(initial_state=own_state)

    def call(gradients, state, x):
        return value(gradients, state, x=x) if takes_x else value(gradients, state)

    def next_values(gradients, state, active=None):
        return adapt(gradients, state, active) if "active" in _parameters(adapt) else adapt(gradients, state)

    coordinatewise = bool(getattr(value, "coordinatewise", False))
    return Optimizer(
        bind=bind,
        initial_state=own_state,
        adapted=list(getattr(value, "adapted", [])),
        adapt=next_values,
        coordinatewise=coordinatewise,
        sees_batches=coordinatewise or "batch" in asked,
        takes_x=takes_x,
        variables=list(getattr(value, "variables", [])) if variables is None else list(variables),
        casting=getattr(getattr(value, "casting", None), "name", None),
        given=value,
    )


def _parameters(function):
    """The parameters of a function by name; none for some built-in functions, which have no signature."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def described(optimizer):
    """What an `Optimizer` says of itself, in JSON types; None for one that says nothing."""
    return description_of(optimizer.given)


def check_optimizer(name, value):
    """Returns `value`; `TypeError` unless it can be called with gradients and a state."""
    if not callable(value):
        raise TypeError(
            "%s must be an optimizer, a function (gradients, state) -> (update, state), got %r" % (name, value)
        )
    name_of_value = getattr(value, "__name__", "")
    if isinstance(value, type) or any(getattr(room, name_of_value, None) is value for room in (rules, prodigy)):
        raise TypeError("%s must be an optimizer, not what makes one: call it first, got %r" % (name, value))
    position = {"x": None} if "x" in _parameters(value) else {}
    try:
        inspect.signature(value).bind(None, None, **position)
    except TypeError:
        raise TypeError("%s must take two arguments, gradients and state, got %r" % (name, value)) from None
    except ValueError:  # some built-in functions have no signature
        pass
    return value


def check_pair(result):
    """Raises `TypeError` where what an optimizer returned is no pair of update and state."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError("optimizer must return a pair (update, state), got %r" % (result,))
