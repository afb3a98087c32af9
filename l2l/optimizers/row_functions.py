"""A trained optimizer's steps on rows of coordinates, as TensorFlow functions built in a separate graph."""

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

    The learned weights are constants of the functions, so no scope around a call reaches the learned network.

    Args:
      trained: a `Trained` whose optimizer is coordinate-wise.
      horizon: how many steps are planned in total; None if unknown.

    Attributes:
      dtype: of weights, gradients and updates.
      state: what the optimizer remembers of the coordinates, a list of `tf.TensorSpec` `[None, ...]`.
      takes_x: whether a step looks at the position.

    Raises:
      ValueError: the optimizer's state does not have a row for each coordinate, it fails for some number of
        coordinates, or its weights do not fit.
    """

    def __init__(self, trained, horizon):
        self._trained, self._horizon, self._functions = trained, horizon, {}
        with own_graph():
            self.dtype, self.state, self.takes_x, self._facts = _checked(trained)

    def first(self):
        """Returns the state of one coordinate before its first step, a list of tensors `[1, ...]`."""
        return self._call("first", [], [], lambda bound: tensors_of(self._first_state(bound)))

    def facts(self, gradients, states, x):
        """Returns the facts of one tensor, repeated for each of its coordinates: a list of tensors `[n]`.

        Args:
          gradients, x: have the shape of the tensor; the size of the first axis may be unknown.
          states: list of tensors `[n, ...]`.
        """
        if self._facts is None:
            return []

        def facts(bound, gradients, x, *states):
            return tensors_of(bound.facts(gradients, self._like(bound, states), x))

        specs = [tf.TensorSpec(gradients.shape, self.dtype)] * 2 + self.state
        return self._call(("facts", tuple(gradients.shape.as_list())), [gradients, x, *states], specs, facts)

    def step(self, gradients, states, x, facts):
        """Makes one step of each coordinate on its own; returns updates `[N]` and next states, a list.

        Whatever writes a state must wait for `states` too, not only for the outputs. TensorFlow optimizes the call
        away, so an output waits only for what it is computed from. The next memory of `ratio_cast` is computed from the
        gradients alone.

        Args:
          gradients: `[N]`.
          states, facts: lists of tensors `[N, ...]`.
          x: `[N]`; None if `takes_x` is False.
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
        # TensorFlow inlines the function, and what waits for the call then waits for none of the inlined ops.
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
        """Calls a function of a `Bound` and tensors, built once per name; returns the list of outputs."""
        if name not in self._functions:

            def with_weights(*tensors):
                trained = self._trained
                optimizer = rebuilt(trained.build, _one_coordinate(self.dtype), trained.weights, trained.adapted)
                return function(with_initial_state(optimizer, rows=True).bind(horizon=self._horizon), *tensors)

            with own_graph():
                self._functions[name] = tensorflow_function(with_weights, specs)
        return functional_ops.partitioned_call(inputs, self._functions[name])


def tensorflow_function(function, specs):
    """Turns a Python function that returns a list of tensors into a TensorFlow function.

    `tf.function` would register it for differentiation, which keeps it in memory for the life of the process.
    """
    graph = func_graph_from_py_func(function.__name__, function, specs, {})
    return _EagerDefinedFunction("l2l_%s_%d" % (graph.name, ops.uid()), graph, graph.inputs, graph.outputs, {})


def _one_coordinate(dtype):
    """Returns the `position` argument of a first call with one coordinate; the number must not matter."""
    return lambda: tf.TensorSpec([1], dtype)


def is_coordinatewise(trained):
    """Tells whether the optimizer of a `Trained` declares itself coordinate-wise.

    Raises:
      ValueError: its weights have several dtypes or do not fit; or its first call fails both for one coordinate and for
        a list of tensors.
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
    """Checks a trained optimizer for several numbers of coordinates.

    Returns:
      `(dtype, state, takes_x, facts)`: the dtype of the weights, specs `[None, ...]` of the state's tensors, whether it
      looks at the position, and an example of its facts, or None.
    """
    dtype = _dtype(trained)
    optimizer, _ = trained.create("trained", _one_coordinate(dtype))
    optimizer = with_initial_state(optimizer, rows=True)
    # The number of coordinates is unknown for sparse gradients and for large variables.
    for number in [3, 2, None]:
        try:
            leaves, facts = _stepped(optimizer, number, dtype)
        except (TypeError, ValueError) as error:
            raise _serves_no(number, trained, dtype, error) from error
    state = [tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype) for leaf in leaves]
    return dtype, state, optimizer.takes_x, facts


def _stepped(optimizer, number, dtype):
    """Makes a step, to check it; returns the state's tensors and the facts. `number` is None for an unknown number."""
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
    """Returns the error for an optimizer that fails for this number of coordinates; it names one that works, if any."""

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
