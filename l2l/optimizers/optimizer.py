"""The contract of an optimizer, and the function that every optimizer enters by.

An optimizer is a function `(gradients, state) -> (update, state)`. `state` is None at the first step; it holds only
what changes from step to step. A function with a parameter *named* `x` also gets the position,
`(gradients, state, x)`. A hand-designed optimizer needs nothing more.

A learned optimizer is the same kind of function, with trainable variables. It creates them when it is built or at its
first call (see `first_call`). It may also define

    initial_state(x)   returns its state before the first step at a position like `x`. Without it, the first step has
                       `state=None` and is built separately in every graph
    bind(weights, horizon, batch)
                       returns a `Bound`, which computes once per unroll what does not change from step to step. It
                       may name any of the three parameters, and gets those that it names:
                         weights: tensors to use instead of its variables, in the order of their creation; None for
                           the variables themselves
                         horizon: how many base iterations are planned in total; None if unknown
                         batch: how many draws lie along a leading axis; None for one draw
    adapt(gradients, state)
                       returns new values of its `adapted` variables, which no gradient trains, once per
                       meta-iteration. For a batch the library takes the mean over the draws, unless the optimizer
                       sees all draws at once. A third parameter named `active` gets which tensors of the position
                       are not idle (see `Problem.active`), or None for all
    coordinatewise     True if it treats each coordinate on its own, given the facts of its tensor. Then many draws
                       form one batch; the library maps every other optimizer over the draws
    description()      describes it in JSON types, for files and records

`opened` turns whatever a user hands in into an `Optimizer`, which has all of these. The rest of the library reads an
`Optimizer` and never inspects the user's object.
"""

from __future__ import annotations

import inspect
import re
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
            "kernels",  # matrices that a step uses once each, through `product(i, inputs)`, `inputs @ kernels[i]`
            "facts",  # None, or a function `(gradients, state, x)` that returns what all coordinates of a tensor share
            "initial_state",  # function from a position to the state before the first step; None for the optimizer's
        ],
    )
):
    """An optimizer prepared for one unroll, as returned by an optimizer's `bind`.

    If `facts` is given, `step` has a fifth parameter named `facts`. It is None or what the function `facts` returned.

        def bind(self, horizon):  # of an optimizer whose learning rate falls to 0
            def step(gradients, state, x, product):
                t = tf.constant(0.0) if state is None else state
                rate = 0.1 * (1 - t / (horizon or 20))
                return tf.nest.map_structure(lambda g: -rate * g, gradients), t + 1

            return l2l.Bound(step)
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
        """Makes one step, with `tf.matmul` for all products."""
        return self.step(gradients, state, x, lambda i, inputs: tf.matmul(inputs, self.kernels[i]), **facts)


Optimizer = namedtuple(
    "Optimizer",
    [
        "bind",  # function (weights=None, horizon=None, batch=None) that returns a `Bound`
        "initial_state",  # function from a position to the state before the first step; None if it defines none
        "adapted",  # variables that `adapt` changes, a list
        "adapt",  # function (gradients, state, active=None) that returns their next values, a list
        "coordinatewise",  # whether it treats each coordinate on its own, given the facts of its tensor
        "sees_batches",  # whether it accepts many draws along a leading axis
        "takes_x",  # whether it looks at the position
        "variables",  # the trained variables in the order of creation, a list
        "casting",  # the name of its casting, for records; None without one
        "given",  # what the user handed in
    ],
)


def opened(name, value, *, variables=None, rebuilt=None):
    """Turns a user's optimizer into an `Optimizer`.

    Args:
      name: for error messages.
      value: a function, with or without the optional attributes above; an `Optimizer` is returned unchanged.
      variables: list of the trained variables that it created; None for its attribute `variables`.
      rebuilt: function from tensors to the `Optimizer` that uses them in place of these variables.

    Raises:
      TypeError: `value` cannot be called with gradients and a state.
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
        try:
            return value(gradients, state, x=x) if takes_x else value(gradients, state)
        except (AttributeError, TypeError, ValueError) as error:
            if state is None:
                _say_that_it_is_first(error)
            raise

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


def _say_that_it_is_first(error):
    """Ends the message of one of Python's own errors about None, raised at the first step, with where None is from."""
    said = str(error).rstrip()  # that of a `tf.function` ends with a new line
    if type(error).__module__ == "builtins" and len(error.args) == 1 and re.search("NoneType|None values", said):
        error.args = (said + "; the state is None at the first step",)


def _parameters(function):
    """Returns a function's parameters by name; none for built-in functions without a signature."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def described(optimizer):
    """Returns the description of an `Optimizer` in JSON types; None if it has none."""
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
    """Raises `TypeError` unless an optimizer returned a pair of update and state."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError("optimizer must return a pair (update, state), got %r" % (result,))
