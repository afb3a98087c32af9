"""A trained optimizer's steps on rows of coordinates, as TensorFlow functions, made in a graph of their own."""

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import _EagerDefinedFunction
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import func_graph_from_py_func
from tensorflow.python.ops import functional_ops

from l2l.graphs import own_graph
from l2l.mapping import first_line
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_call import FirstCallError, rebuilt, the_number_for
from l2l.optimizers.first_state import with_initial_state


class RowFunctions:
    """The first state, the facts and the steps of a trained optimizer, for any number of coordinates.

    No scope around a call reaches the learned network: its weights are constants of the functions.

    Args:
      trained: a `Trained` whose optimizer is coordinate-wise.
      horizon: how many steps are planned in total; None where nobody knows.

    Attributes:
      dtype: of weights, gradients and updates.
      state: what is remembered of the coordinates, a list of `tf.TensorSpec` `[None, ...]`.
      takes_x: whether a step looks at the position.

    Raises:
      ValueError: the optimizer is not coordinate-wise, or not for any number of coordinates, or its weights do not fit.
    """

    def __init__(self, trained, horizon):
        self._trained, self._horizon, self._functions = trained, horizon, {}
        with own_graph():
            self.dtype, self.state, self.takes_x, self._facts = _checked(trained)

    def first(self):
        """The state of one coordinate before its first step, a list of tensors `[1, ...]`."""
        return self._call("first", [], [], lambda bound: tensors_of(self._first_state(bound)))

    def facts(self, gradients, states, x):
        """What a step gets of one tensor as a whole, for each of its coordinates: a list of tensors `[n]`.

        Args:
          gradients, x: of the shape of the tensor, of which the first axis may be unknown.
          states: list of tensors `[n, ...]`.
        """
        if self._facts is None:
            return []

        def facts(bound, gradients, x, *states):
            return tensors_of(bound.facts(gradients, self._like(bound, states), x))

        specs = [tf.TensorSpec(gradients.shape, self.dtype)] * 2 + self.state
        return self._call(("facts", tuple(gradients.shape.as_list())), [gradients, x, *states], specs, facts)

    def step(self, gradients, states, x, facts):
        """Updates `[N]` and next states, a list, for gradients `[N]`; each coordinate is treated on its own.

        What writes a state must wait for `states` too, not for the outputs alone. TensorFlow optimizes that away, and a
        next state may follow from the gradients alone, as the memory of `ratio_cast` does.

        Args:
          gradients: `[N]`.
          states, facts: lists of tensors `[N, ...]`.
          x: `[N]`; None where `takes_x` is False.
        """
        number, x = len(self.state), [] if x is None else [x]

        def step(bound, gradients, *others):
            before, position, rest = others[:number], others[number:][: len(x)], others[number + len(x) :]
            more = {} if self._facts is None else {"facts": with_tensors(self._facts, rest)}
            pair = bound.plain_step(gradients, self._like(bound, before), *(position or [None]), **more)
            return [pair[0], *tensors_of(pair[1])]

        rows = tf.TensorSpec([None], self.dtype)
        specs = [rows, *self.state, *[rows for _ in x], *[tf.TensorSpec([None], one.dtype) for one in facts]]
        outputs = self._call("step", [gradients, *states, *x, *facts], specs, step)
        # TensorFlow puts the function's ops in place of the call, and what waits for the call waits for none of them.
        updates, *states = [tf.identity(output) for output in outputs]
        updates.set_shape(gradients.shape)
        for state, spec in zip(states, self.state):
            state.set_shape(gradients.shape.concatenate(spec.shape[1:]))
        return updates, states

    def _like(self, bound, states):
        return with_tensors(self._first_state(bound), states)

    def _first_state(self, bound):
        return bound.initial_state(tf.zeros([1], self.dtype))

    def _call(self, name, inputs, specs, function):
        """The outputs of a function of a `Bound` and of tensors, a list; it is made once for each name."""
        if name not in self._functions:

            def with_weights(*tensors):
                trained = self._trained
                optimizer = rebuilt(trained.build, _one_coordinate(self.dtype), trained.weights, trained.adapted)
                return function(with_initial_state(optimizer, rows=True).bind(horizon=self._horizon), *tensors)

            with own_graph():
                self._functions[name] = tensorflow_function(with_weights, specs)
        return functional_ops.partitioned_call(inputs, self._functions[name])


def tensorflow_function(function, specs):
    """A function of tensors that returns a list of tensors, as a function of TensorFlow's.

    `tf.function` makes them too, but registers each for differentiation, which keeps it as long as the process lives.
    """
    graph = func_graph_from_py_func(function.__name__, function, specs, {})
    return _EagerDefinedFunction("l2l_%s_%d" % (graph.name, ops.uid()), graph, graph.inputs, graph.outputs, {})


def _one_coordinate(dtype):
    """What the position of one coordinate is like, for a first call; the number of coordinates must not matter."""
    return lambda: tf.TensorSpec([1], dtype)


def is_coordinatewise(trained):
    """Whether a `Trained` says so.

    Raises:
      ValueError: its weights have several dtypes, or do not fit, or its first call fails for one coordinate and for a
        list of tensors.
    """
    dtype = _dtype(trained)
    with own_graph():
        try:
            return trained.create("trained", _one_coordinate(dtype))[0].coordinatewise
        except FirstCallError as error:
            failed = error
    with own_graph():
        try:
            optimizer, _ = trained.create("trained", lambda: [tf.TensorSpec([1], dtype)])
        except FirstCallError:
            raise _serves_no(1, trained, dtype, failed) from failed
    return optimizer.coordinatewise


def _dtype(trained):
    dtypes = {np.asarray(array).dtype for array in trained.weights}
    if len(dtypes) != 1:
        raise ValueError("trained must have weights of one dtype, got %s" % sorted(map(str, dtypes)))
    return tf.as_dtype(dtypes.pop())


def _checked(trained):
    """The dtype of a trained optimizer's weights, its state's tensors as specs `[None, ...]`, whether it looks at the
    position, and what its facts are like, None without.
    """
    dtype = _dtype(trained)
    optimizer, _ = trained.create("trained", _one_coordinate(dtype))
    optimizer = with_initial_state(optimizer, rows=True)
    # The number of coordinates is not known where gradients are sparse, and of large variables.
    for number in [3, 2, None]:
        try:
            leaves, facts = _stepped(optimizer, number, dtype)
        except (TypeError, ValueError) as error:
            raise _serves_no(number, trained, dtype, error) from error
    state = [tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype) for leaf in leaves]
    return dtype, state, optimizer.takes_x, facts


def _stepped(optimizer, number, dtype):
    """The state's tensors of so many coordinates, or None for any number, and the facts; makes a step, for checks."""
    bound, rows = optimizer.bind(), number or 1
    state = bound.initial_state(tf.zeros([rows], dtype))
    leaves = tensors_of(state)
    if any(not leaf.shape.ndims or leaf.shape.as_list()[0] != rows for leaf in leaves):
        raise ValueError("its state must have a row for each coordinate, got %r" % (state,))
    before = with_tensors(state, [tf.placeholder(leaf.dtype, [number, *leaf.shape[1:]]) for leaf in leaves])
    gradients, x = (tf.placeholder(dtype, [number]) for _ in range(2))
    facts = None if bound.facts is None else bound.facts(gradients, before, x)
    updates, after = bound.plain_step(gradients, before, x, **({} if facts is None else {"facts": facts}))
    tf.nest.assert_same_structure(before, after)
    if not tf.convert_to_tensor(updates).shape.is_compatible_with([number]):
        raise ValueError("its update must have the shape of the gradients, got %s" % updates.shape)
    return leaves, facts


def _serves_no(number, trained, dtype, error):
    """The error that says that an optimizer does not serve so many coordinates, and which, if there are some."""

    def serves(other):
        optimizer, _ = trained.create("trained", lambda: tf.TensorSpec([other], dtype))
        _stepped(with_initial_state(optimizer, rows=True), other, dtype)

    only = the_number_for(serves, number, error)
    if only is not None:
        return ValueError(
            "trained must hold an optimizer for any number of coordinates, its state has a fixed size, for %d of them; "
            "tf.shape(gradients)[0] is the number of those it gets" % only
        )
    return ValueError(
        "trained must hold an optimizer for positions that are one tensor, of any number of coordinates%s: %s"
        % (", also where the graph does not know it" * (number is None), first_line(error))
    )
