"""Creating an optimizer in the current graph, with the variables that it creates at once and at its first call.

Layers of `tf.contrib.rnn`, `tf.layers` and Keras create their variables when they are called first. So an optimizer
that creates any then is called once on zeros when it is created, before anything else in the graph. All its later
calls see the variable scope of that call, with reuse, as those of a `tf.make_template` do.
"""

import contextlib
import functools
import re
from collections import namedtuple

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.mapping import first_line
from l2l.optimizers.adam_controller import AdamController
from l2l.optimizers.networks import CoordinatewiseLSTM
from l2l.optimizers.optimizer import check_pair, opened
from l2l.tracebacks import without_places

Created = namedtuple(
    "Created",
    [
        "optimizer",  # an `Optimizer`, which knows its variables
        "position",  # like which it was called first, a nest of `tf.TensorSpec`; None where it needed no first call
    ],
)


class FirstCallError(ValueError):
    """An optimizer that creates its variables at its first call fails there."""


def create(build, position, name, scope=None):
    """The optimizer that `build` creates in the current graph, a `Created`.

    An optimizer that created all its variables at once is what `build` returned, and nothing is added to the graph.

    Args:
      build: function without arguments that creates the optimizer.
      position: function without arguments to what a position is like, a nest of `tf.TensorSpec`; None where nobody
        knows.
      name: of `build`, for error messages.
      scope: a `tf.variable_scope` that was not entered yet, in which all variables are created; None for the current
        one, with resource variables, since XLA knows no others.

    Raises:
      TypeError: `build` returns no optimizer.
      FirstCallError: the first call fails.
      ValueError: it cannot be made, since `position` is None; or every call creates variables; or some are in no
        collection, so that nothing would train, initialize or save them.
    """
    before = _variables_in(tf.get_default_graph())
    scope = tf.variable_scope(tf.get_variable_scope(), use_resource=True) if scope is None else scope
    created = _created(build, position, name, scope)
    known = {variable.op.name for variable in tf.global_variables()}
    unknown = sorted(_variables_in(tf.get_default_graph()) - before - known)
    if unknown:
        raise ValueError(
            "%s must create variables that TensorFlow knows as global ones, %r is none: nothing would train, "
            "initialize or save it; an argument collections makes such variables" % (name, unknown[0])
        )
    return created


def _variables_in(graph):
    """The names of all variables, in a collection or in none."""
    return {op.name for op in graph.get_operations() if op.type in ("VarHandleOp", "VariableV2")}


def _created(build, position, name, scope):
    asked, others = [], set(map(id, tf.global_variables()))
    with _noted(asked), scope as inside:
        value = checks.function("%s's result" % name, build())
    if isinstance(value, type):
        raise TypeError("%s must create an optimizer, it returned the class %r" % (name, value))

    def found(like=None):
        variables = _trained(others)
        rebuilt = functools.partial(_with, build, like, getattr(value, "adapted", []))
        optimizer = opened("%s's result" % name, value, variables=variables, rebuilt=rebuilt)
        return Created(optimizer if like is None else _within(inside, optimizer), like)

    if position is None and not asked:
        raise ValueError(
            "%s created no variables when it was built, and the record of the training, which must say of what shape "
            "the gradients of a first call are, says nothing" % name
        )
    if position is None or type(value) in (AdamController, CoordinatewiseLSTM):  # which creates all at once
        return found()
    like = position()
    if asked and not _creates_when_called(build, like):
        return found()
    at_once, asked = found(), []
    try:
        with _noted(asked):
            number = _call_first(at_once.optimizer, like, inside, asked)
    except Exception as error:
        raise _failed(name, like, error) from error
    if not asked:
        return at_once
    if number < len(asked):
        raise ValueError(
            "%s must create an optimizer that creates its variables once, this one creates %r at every call; layers "
            "and tf.get_variable create theirs once" % (name, asked[-1])
        )
    return found(like)


def _with(build, like, adapted, weights):
    return rebuilt(build, None if like is None else lambda: like, weights, adapted)


def rebuilt(build, position, weights, adapted):
    """The optimizer once more in the current graph, an `Optimizer`, with tensors in place of its variables.

    Args:
      build, position: as for `create`.
      weights: tensors or arrays, in the order in which its trained variables are created.
      adapted: the same in place of those that no gradient trains.
    """
    graph, weights, adapted = tf.get_default_graph(), iter(weights), iter(adapted)

    def tensor(next_creator, **settings):
        with graph.as_default():  # not the one of a `tf.function` that creates it, whose next call sees it too
            return tf.convert_to_tensor(next(adapted if settings.get("trainable") is False else weights))

    scope = tf.variable_scope(None, default_name="rebuilt")
    with tf.variable_creator_scope(tensor):
        return create(build, position, "build_optimizer", scope).optimizer


def _trained(others):
    """All variables that are trained but `others`, given by `id`, in the order of creation.

    `tf.function` leaves its own out of the collection, into which they are put here.
    """
    known = {*others, *map(id, tf.trainable_variables())}
    for variable in tf.global_variables():
        if variable.trainable and id(variable) not in known:
            tf.add_to_collection(tf.GraphKeys.TRAINABLE_VARIABLES, variable)
    return [variable for variable in tf.trainable_variables() if id(variable) not in others]


@contextlib.contextmanager
def _noted(asked):
    """Notes the name of each variable that is asked for."""

    def noted(next_creator, **settings):
        asked.append(settings.get("name") or "Variable")
        return next_creator(**settings)

    with tf.variable_creator_scope(noted):
        yield


def _creates_when_called(build, like):
    """Whether an optimizer that creates variables at once creates others when it is called.

    That is found out aside, in another graph: a call in this one would be in the way where it does not.
    """
    with tf.Graph().as_default() as graph:
        with tf.variable_scope("aside", use_resource=True) as scope:
            value = build()
        before = _variables_in(graph)
        with contextlib.suppress(Exception):
            _call_first(opened("build_optimizer's result", value), like, scope, [])
    return _variables_in(graph) != before


def _call_first(optimizer, like, scope, asked):
    """Three steps on zeros; returns how many variables were asked for before the last one."""
    with tf.name_scope("first_call"):
        x = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), like)
        state = None
        # The first step may be one of its own, without what the second one uses. The third has all.
        for reuse in [None, tf.AUTO_REUSE, tf.AUTO_REUSE]:
            number = len(asked)
            with tf.variable_scope(scope, reuse=reuse, auxiliary_name_scope=False):
                bound = optimizer.bind()
                if reuse is None and bound.initial_state is not None:
                    state = bound.initial_state(x)
                state = stepped(bound, x, state)
    return number


def stepped(bound, x, state):
    """The state after a step with gradients like the position `x`."""
    pair = bound.plain_step(x, state, x)
    check_pair(pair)
    return pair[1]


def _within(scope, optimizer):
    """The `Optimizer` whose functions see the variable scope."""

    def inside(function):
        def called(like, *more, **named):
            with tf.variable_scope(scope, reuse=True, auxiliary_name_scope=False):
                try:
                    return function(like, *more, **named)
                except (TypeError, ValueError) as error:
                    if type(error) not in (TypeError, ValueError):  # whoever defines errors knows what is in them
                        raise
                    words = "the optimizer failed with gradients of shape %.200s: %s"
                    raise type(error)(words % (_shapes(like), first_line(error))) from error

        return called

    def bind(weights=None, **settings):
        bound = optimizer.bind(weights, **settings)
        if weights is not None:  # built anew, in a scope of its own
            return bound
        own_state = bound.initial_state
        return bound._replace(
            step=inside(bound.step), initial_state=own_state if own_state is None else inside(own_state)
        )

    own_state = optimizer.initial_state
    return optimizer._replace(
        bind=bind,
        initial_state=own_state if own_state is None else inside(own_state),
        adapt=inside(optimizer.adapt),
    )


def _failed(name, like, error):
    if is_of_another_graph(error):
        return FirstCallError(
            "%s must create a new network each time, with its cells and layers; this one uses some of another graph"
            % name
        )
    return FirstCallError(
        "the optimizer of %s failed when it was called first, with gradients of shape %.200s: %s"
        % (name, _shapes(like), first_line(error))
    )


def _shapes(nest):
    return " and ".join(str(one.shape) for one in tf.nest.flatten(nest))


def is_of_another_graph(error):
    """Whether an optimizer failed since it uses variables of another graph, as that of an earlier call."""
    return "from the same graph" in str(error) or "Graph is finalized" in str(error)


def the_number_for(serves, number, error):
    """The number of coordinates that an optimizer is made for, where it fails with others; None if it is not that.

    Args:
      serves: function of a number of coordinates, which raises an error where the optimizer does not serve so many.
      number: of coordinates, with which it may have failed.
      error: what it said, which names the number that it is made for, among others.
    """
    others = set(map(int, re.findall(r"\b\d{1,6}\b", without_places(str(error))))) - {number}
    if _is_served(serves, number):
        return None
    return next((other for other in sorted(others) if _is_served(serves, other)), None)


def _is_served(serves, number):
    with tf.Graph().as_default(), contextlib.suppress(Exception):
        serves(number)
        return True
    return False


def in_json(like):
    """A nest of `tf.TensorSpec` in JSON types, for records: a tensor as `[dtype, shape]`, all else by what it is.

    None for a nest that JSON has no place for, such as one with keys that are tuples.
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
    if hasattr(like, "_fields"):
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
        if not dtype.is_floating or not all(type(size) is int for size in shape):
            raise ValueError
        return tf.TensorSpec(shape, dtype)
    ((kind, parts),) = description.items()
    if kind == "dict":
        return {key: _from_json(part) for key, part in parts}
    if kind == "namedtuple":
        name, fields, parts = parts
        return namedtuple(name, fields)(*map(_from_json, parts))
    return {"list": list, "tuple": tuple}[kind](map(_from_json, parts))
