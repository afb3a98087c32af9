"""Creating an optimizer in the current graph, with the variables that it creates at once and at its first call.

Layers of `tf.contrib.rnn`, `tf.layers` and Keras create their variables at their first call. An optimizer with such
layers is therefore called on zeros when it is created, before anything else is in the graph. All its later calls run in
the variable scope of that call, with reuse, as for `tf.make_template`.
"""

import contextlib
import functools
import re
from collections import namedtuple

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.mapping import first_line
from l2l.optimizers.adam_controller import AdamController
from l2l.optimizers.first_state import shown
from l2l.optimizers.networks import CoordinatewiseLSTM
from l2l.optimizers.optimizer import check_pair, opened
from l2l.tracebacks import without_places

Created = namedtuple(
    "Created",
    [
        "optimizer",  # an `Optimizer`, which knows its variables
        "position",  # a nest of `tf.TensorSpec` with which it was first called; None if it needed no first call
    ],
)


class FirstCallError(ValueError):
    """An optimizer failed at its first call, where it should create its variables."""


def create(build, position, name, scope=None):
    """Creates an optimizer in the current graph, and calls it once if it creates variables when it is called.

    If `build` creates all variables at once, nothing else is added to the graph.

    Args:
      build: function without arguments that creates the optimizer.
      position: function without arguments that returns the structure, shapes and dtypes of a position, a nest of
        `tf.TensorSpec`; None if unknown.
      name: the name of `build`, for error messages.
      scope: a `tf.variable_scope` that was not entered yet, in which all variables are created. None for the current
        one, with resource variables, because XLA supports no others.

    Returns:
      A `Created`.

    Raises:
      TypeError: `build` returns no optimizer.
      FirstCallError: the first call fails.
      ValueError: a first call is needed and `position` is None; or every call creates variables; or some variables are
        in no collection, so that nothing would train, initialize or save them.
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
    """Returns the names of all variables of a graph, whether or not they are in a collection."""
    return {op.name for op in graph.get_operations() if op.type in ("VarHandleOp", "VariableV2")}


def _created(build, position, name, scope):
    asked, others = [], set(map(id, tf.global_variables()))
    with _noted(asked), scope as inside:
        value = checks.function("%s's result" % name, build())
    if isinstance(value, type):
        raise TypeError("%s must create an optimizer, it returned the class %r" % (name, value))

    def found(like=None):
        variables = _trained(others)
        rebuilt = functools.partial(_with, build, like, getattr(value, "adapted", []), name)
        optimizer = opened("%s's result" % name, value, variables=variables, rebuilt=rebuilt)
        return Created(optimizer if like is None else _within(inside, optimizer), like)

    if position is None and not asked:
        raise ValueError(
            "%s created no variables when it was built, and the record of the training, which must say of what shape "
            "the gradients of a first call are, says nothing" % name
        )
    if position is None or type(value) in (AdamController, CoordinatewiseLSTM):  # these create all variables at once
        return found()
    like = position()
    if asked and not _creates_when_called(build, like):
        return found()
    at_once, asked = found(), []
    states = []  # those before the steps of the first call
    try:
        with _noted(asked):
            number = _call_first(at_once.optimizer, like, inside, asked, states)
    except Exception as error:
        raise _failed(name, like, states, error) from error
    if not asked:
        return at_once
    if number < len(asked):
        raise ValueError(
            "%s must create an optimizer that creates its variables once, this one creates %r at every call; layers "
            "and tf.get_variable create theirs once" % (name, asked[-1])
        )
    return found(like)


def _with(build, like, adapted, name, weights):
    return rebuilt(build, None if like is None else lambda: like, weights, adapted, name)


def rebuilt(build, position, weights, adapted, name="build"):
    """Builds an optimizer again in the current graph, with tensors in place of its variables; returns an `Optimizer`.

    Args:
      build, position, name: as for `create`; the name is by default that of `l2l.load`.
      weights: tensors or arrays for the trained variables, in the order in which these are created.
      adapted: tensors or arrays for the variables that no gradient trains, in the same order.
    """
    graph, weights, adapted = tf.get_default_graph(), iter(weights), iter(adapted)

    def tensor(next_creator, **settings):
        # In this graph even if a `tf.function` creates the variable, because the next call of the function sees it too.
        with graph.as_default():
            return tf.convert_to_tensor(next(adapted if settings.get("trainable") is False else weights))

    scope = tf.variable_scope(None, default_name="rebuilt")
    with tf.variable_creator_scope(tensor):
        return create(build, position, name, scope).optimizer


def _trained(others):
    """Returns all trained variables except `others`, given by `id`, in the order of creation.

    `tf.function` does not add its variables to the collection of trained ones, so they are added here.
    """
    known = {*others, *map(id, tf.trainable_variables())}
    for variable in tf.global_variables():
        if variable.trainable and id(variable) not in known:
            tf.add_to_collection(tf.GraphKeys.TRAINABLE_VARIABLES, variable)
    return [variable for variable in tf.trainable_variables() if id(variable) not in others]


@contextlib.contextmanager
def _noted(asked):
    """Records in `asked` the name of each variable that is requested."""

    def noted(next_creator, **settings):
        asked.append(settings.get("name") or "Variable")
        return next_creator(**settings)

    with tf.variable_creator_scope(noted):
        yield


def _creates_when_called(build, like):
    """Tells whether an optimizer that creates variables at once creates more when it is called.

    The test runs in another graph, because a call in this one would leave needless ops behind.
    """
    with tf.Graph().as_default() as graph:
        with tf.variable_scope("aside", use_resource=True) as scope:
            value = build()
        before = _variables_in(graph)
        with contextlib.suppress(Exception):
            _call_first(opened("build_optimizer's result", value), like, scope, [], [])
    return _variables_in(graph) != before


def _call_first(optimizer, like, scope, asked, states):
    """Makes three steps on zeros; returns how many variables were requested before the last step.

    `states`, an empty list, gets the state before each step.
    """
    with tf.name_scope("first_call"):
        x = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), like)
        state = None
        # The first step may differ from the second and use fewer variables. By the third step all must exist.
        for reuse in [None, tf.AUTO_REUSE, tf.AUTO_REUSE]:
            number = len(asked)
            with tf.variable_scope(scope, reuse=reuse, auxiliary_name_scope=False):
                bound = optimizer.bind()
                if reuse is None and bound.initial_state is not None:
                    state = bound.initial_state(x)
                states.append(state)
                state = stepped(bound, x, state)
    return number


def stepped(bound, x, state):
    """Returns the state after a step at the position `x`, with gradients equal to `x`."""
    pair = bound.plain_step(x, state, x)
    check_pair(pair)
    return pair[1]


def _within(scope, optimizer):
    """Returns the `Optimizer` with functions that run inside the variable scope."""

    def inside(function):
        def called(like, *more, **named):
            with tf.variable_scope(scope, reuse=True, auxiliary_name_scope=False):
                try:
                    return function(like, *more, **named)
                except (TypeError, ValueError) as error:
                    if type(error) not in (TypeError, ValueError):  # leave custom errors as they are
                        raise
                    words = "the optimizer failed with gradients of shape %.200s: %s"
                    raise type(error)(words % (_shapes(like), first_line(error))) from error

        return called

    def bind(weights=None, **settings):
        bound = optimizer.bind(weights, **settings)
        if weights is not None:  # it was rebuilt in another scope
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


def _failed(name, like, states, error):
    if is_of_another_graph(error):
        return FirstCallError(
            "%s must create a new network each time, with its cells and layers; this one uses some of another graph"
            % name
        )
    before = [shown(state) for state in states if state is not None]
    if len(set(before[-2:])) == 2:
        given = ", after its state changed from %.200s to %.200s" % tuple(before[-2:])
    else:
        given = " and the state %.200s" % before[-1] if before else ""
    when = "at its %s step" % ["second", "third"][len(states) - 2] if len(states) > 1 else "when it was called first"
    return FirstCallError(
        "the optimizer of %s failed %s, with gradients of shape %.200s%s: %s"
        % (name, when, _shapes(like), given, first_line(error))
    )


def _shapes(nest):
    return " and ".join(str(one.shape) for one in tf.nest.flatten(nest))


def is_of_another_graph(error):
    """Tells whether an optimizer failed because it uses variables of another graph, such as that of an earlier call."""
    return "from the same graph" in str(error) or "Graph is finalized" in str(error)


def the_number_for(serves, number, error):
    """Returns the only number of coordinates for which an optimizer works; None if it failed for another reason.

    Args:
      serves: function of a number of coordinates that raises an error if the optimizer does not work for it.
      number: the number of coordinates with which the optimizer failed.
      error: the error it raised; the message contains the number that works, among others.
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
    """Describes a nest of `tf.TensorSpec` in JSON types, for records: tensors as `[dtype, shape]`, containers by kind.

    Returns None for a nest that JSON cannot hold, such as a dict with tuples as keys.
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
    """Makes the nest that `in_json` described.

    Raises:
      ValueError: `description` is no such description.
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
