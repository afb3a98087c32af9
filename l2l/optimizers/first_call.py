"""Creating an optimizer in the current graph, with the variables that it creates at once and at its first call.

Layers of `tf.contrib.rnn`, `tf.layers` and Keras create their variables when they are called first. So an optimizer
that creates any then is called once on zeros when it is created, before anything else in the graph. All its later
calls see the variable scope of that call, with reuse, as those of a `tf.make_template` do.
"""

import contextlib
import functools
import re
from collections import namedtuple

import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from l2l import checks
from l2l.optimizers.networks import CoordinatewiseLSTM
from l2l.optimizers.optimizer import bind, check_pair, initial_state, plain_product

Created = namedtuple(
    "Created",
    [
        "optimizer",
        "variables",  # those that it created and that are trained, in the order of creation
        "position",  # like which it was called first, a nest of `tf.TensorSpec`; None where it needed no first call
    ],
)


class FirstCallError(ValueError):
    """An optimizer that creates its variables at its first call fails there."""


def create(build, position, name, scope):
    """The optimizer that `build` creates in the current graph, a `Created`.

    An optimizer that created all its variables at once is what `build` returned, and nothing is added to the graph.

    Args:
      build: function without arguments that creates the optimizer.
      position: function without arguments to what a position is like, a nest of `tf.TensorSpec`; None where nobody
        knows.
      name: of `build`, for error messages.
      scope: a `tf.variable_scope` that was not entered yet; all variables are created in it.

    Raises:
      TypeError: `build` returns no optimizer.
      FirstCallError: the first call fails.
      ValueError: it cannot be made, since `position` is None; or every call creates variables.
    """
    asked, first = [], len(tf.trainable_variables())

    def noted(next_creator, **settings):
        asked.append(settings.get("name") or "Variable")
        return next_creator(**settings)

    with tf.variable_creator_scope(noted):
        with scope as inside:
            optimizer = checks.function("%s's result" % name, build())
        if isinstance(optimizer, type):
            raise TypeError("%s must create an optimizer, it returned the class %r" % (name, optimizer))
        number = len(asked)
        if not number and position is None:
            raise ValueError("%s created no variables, and of what shape a first call is, no record says" % name)
        like = None
        # Of the library's own network all are there, and nothing is to be found out.
        if position is not None and type(optimizer) is not CoordinatewiseLSTM:
            like = position()
            if not number or _asks_aside(optimizer, like, inside, asked):
                try:
                    _call_first(optimizer, like, inside)
                except Exception as error:
                    raise _failed(name, like, error) from error
        if len(asked) == number:
            return Created(optimizer, tf.trainable_variables()[first:], None)
        optimizer, number = _within(inside, optimizer), len(asked)
        if _asks_aside(optimizer, like, inside, asked) or len(asked) > number:
            raise ValueError(
                "%s must create an optimizer that creates its variables once, this one creates %r at every call; "
                "layers and tf.get_variable create theirs once" % (name, asked[-1])
            )
    return Created(optimizer, tf.trainable_variables()[first:], like)


def _asks_aside(optimizer, like, scope, asked):
    """Calls it in a function that is thrown away; whether it failed, and not before it had asked for a variable.

    The graph, and with it the seeds of all that follows, stays as it is, but for variables, which TensorFlow creates
    outside of functions. It cannot do that where the initial value is a tensor of the function.
    """
    number = len(asked)
    try:
        with FuncGraph("first_call").as_default():
            _call_first(optimizer, like, scope)
    except Exception:  # if it has nothing to do with variables, what follows says so
        return len(asked) > number
    return False


def _call_first(optimizer, like, scope):
    with tf.name_scope("first_call"):
        x = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), like)
        with tf.variable_scope(scope, auxiliary_name_scope=False):
            state = step(optimizer, x, initial_state(optimizer, x))
        # The first step may be one of its own, without what the second one uses.
        with tf.variable_scope(scope, reuse=tf.AUTO_REUSE, auxiliary_name_scope=False):
            step(optimizer, x, state)


def step(optimizer, gradients, state):
    """The state after one step."""
    bound = bind(optimizer)
    pair = bound.step(gradients, state, plain_product(bound))
    check_pair(pair)
    return pair[1]


def _within(scope, optimizer):
    """The optimizer with all that it says of itself; its calls see the variable scope."""

    def inside(function):
        @functools.wraps(function, updated=())
        def called(*arguments):
            with tf.variable_scope(scope, reuse=True, auxiliary_name_scope=False):
                return function(*arguments)

        return called

    within = inside(optimizer)
    for name in ["initial_state", "adapt", "description"]:
        if hasattr(optimizer, name):
            setattr(within, name, inside(getattr(optimizer, name)))
    for name in ["adapted", "coordinatewise", "casting"]:
        if hasattr(optimizer, name):
            setattr(within, name, getattr(optimizer, name))
    if hasattr(optimizer, "bind"):

        def bound():
            result = inside(optimizer.bind)()
            return result._replace(step=inside(result.step))

        within.bind = bound
    return within


def _failed(name, like, error):
    if "from the same graph" in str(error) or "Graph is finalized" in str(error):
        return FirstCallError(
            "%s must create a new network each time, with its cells and layers; this one has variables of another graph"
            % name
        )
    shapes = " and ".join(str(spec.shape) for spec in tf.nest.flatten(like))
    return FirstCallError(
        "%s's optimizer failed when it was called first, with gradients of shape %.200s: %s"
        % (name, shapes, said_by(error))
    )


def said_by(error):
    """What an error says, one line, without the trace that TensorFlow adds to some."""
    text = str(error).split("\n\noriginally defined at:")[0].strip()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1].split("Error: ", 1)[-1] if lines[0] == "in converted code:" else lines[0]


def the_number_for(serves, number, error):
    """The number of coordinates that an optimizer is made for, where it fails with others; None if it is not that.

    Args:
      serves: function of a number of coordinates, which raises an error where the optimizer does not serve so many.
      number: of coordinates, with which it may have failed.
      error: what it said, which names the number that it is made for, among others.
    """
    others = set(map(int, re.findall(r"\b\d{1,6}\b", str(error)))) - {number}
    if _is_served(serves, number):
        return None
    return next((other for other in sorted(others) if _is_served(serves, other)), None)


def _is_served(serves, number):
    with tf.Graph().as_default(), contextlib.suppress(Exception):
        serves(number)
        return True
    return False


def in_json(like):
    """A nest of `tf.TensorSpec` in JSON types, for records; None for one that has other parts than these have names for.

    A tensor is `[dtype, shape]`, all else a dict from what it is to what it has.
    """
    try:
        return _in_json(like)
    except TypeError:
        return None


def _in_json(like):
    if isinstance(like, tf.TensorSpec):
        return [like.dtype.name, like.shape.as_list()]
    if isinstance(like, dict):
        if not all(isinstance(key, (str, int)) for key in like):
            raise TypeError
        return {"dict": [[key, _in_json(like[key])] for key in sorted(like)]}
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return {"namedtuple": [type(like).__name__, list(like._fields), [_in_json(one) for one in like]]}
    if isinstance(like, (list, tuple)):
        return {"list" if isinstance(like, list) else "tuple": [_in_json(one) for one in like]}
    raise TypeError


def from_json(description):
    """The nest that `in_json` described.

    Raises:
      ValueError: it is no such description.
    """
    try:
        return _from_json(description)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("record must say what a position is like, got %.200r" % (description,)) from None


def _from_json(description):
    if isinstance(description, list):
        dtype, shape = description
        dtype = tf.as_dtype(dtype)
        if not dtype.is_floating or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError
        return tf.TensorSpec(shape, dtype)
    ((kind, parts),) = description.items()
    if kind == "dict":
        return {key: _from_json(part) for key, part in parts}
    if kind == "namedtuple":
        name, fields, parts = parts
        return namedtuple(name, fields)(*map(_from_json, parts))
    return {"list": list, "tuple": tuple}[kind](map(_from_json, parts))
