"""A trained optimizer's steps on whole tensors, as TensorFlow functions built in a separate graph."""

import contextlib
from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue, NameAttrList
from tensorflow.python.ops import control_flow_util, functional_ops

from l2l.graphs import own_graph
from l2l.mapping import first_line
from l2l.nests import is_finite, tensors_of, with_tensors
from l2l.optimizers.adam_controller import AdamController
from l2l.optimizers.first_call import rebuilt
from l2l.optimizers.first_state import check_same_state, with_initial_state
from l2l.optimizers.row_functions import tensorflow_function

# XLA compiles each tensor of a step separately. For more tensors the first step would take longer than many later ones.
MOST_COMPILED = 8
DECAY_UNIT = 1e-3  # `weight_decay` is in units for Adam's usual learning rate
LEAST = 1e-3  # least value of the cosine that `weight_decay` follows

# One tensor of a state: the index of the variable that it belongs to, or None; its name; and its `tf.TensorSpec`.
Leaf = namedtuple("Leaf", ["owner", "name", "spec"])


class TensorFunctions:
    """The first state and the steps of a trained optimizer that is not coordinate-wise, for tensors of given shapes.

    The learned weights are constants of the functions, so no scope around a call reaches the learned network.

    Args:
      trained: a `Trained`.
      weight_decay: a number.

    Attributes:
      dtype: of weights, gradients and updates.

    Raises:
      ValueError: the weights are neither float32 nor float64.
    """

    def __init__(self, trained, weight_decay):
        self._trained, self._weight_decay, self._made = trained, weight_decay, {}
        self.dtype = tf.as_dtype(np.asarray(trained.weights[0]).dtype)
        if self.dtype not in (tf.float32, tf.float64):
            raise ValueError("trained must have weights that are float32 or float64, got %s" % self.dtype.name)

    def leaves(self, shapes):
        """Returns the tensors of a state for tensors of these shapes, a list of `Leaf`.

        The owner of a state's tensor is found by comparing with the state for one more tensor. A list that grows by one
        entry has an entry per tensor.

        Raises:
          ValueError: the optimizer fails for a list of such tensors, or its state has unknown shapes.
        """
        key = ("leaves", *map(tuple, shapes))
        if key not in self._made:
            with _said(shapes), own_graph():
                states = [self._first(many) for many in (shapes, [*shapes, shapes[0]])]
                self._made[key] = _named(_leaves(*states, len(shapes)))
        return self._made[key]

    def first(self, zeros):
        """Returns the tensors of the first state, in the order of `leaves`, for zeros like the tensors to move."""
        shapes = [one.shape.as_list() for one in zeros]
        if not self.leaves(shapes):
            return []

        def first(*zeros):
            return tensors_of(self._bound(shapes, None).initial_state(list(zeros)))

        return functional_ops.partitioned_call(zeros, self._function("first", shapes, first, self._specs(shapes)))

    def step(self, gradients, positions, leaves, counts, rate, steps):
        """Moves tensors by one step. A tensor whose gradient is not finite keeps its position and its state.

        Args:
          gradients, positions: lists of tensors.
          leaves: list of tensors, the state.
          counts: the number of steps made so far and the number of tensors skipped, int64 scalars.
          rate: the multiplier of updates, a scalar.
          steps: how many steps are planned in total, a float32 scalar; None if unknown.

        Returns:
          The next `(positions, leaves, counts)`.
        """
        shapes, number = [one.shape.as_list() for one in positions], len(positions)
        # Inside conditions and functions TensorFlow may not know the shape of a gradient.
        gradients = [
            one if one.shape.is_fully_defined() else tf.reshape(one, shape) for one, shape in zip(gradients, shapes)
        ]
        planned = [] if steps is None else [steps]

        def step(*inputs):
            gradients, positions, inputs = inputs[:number], inputs[number : 2 * number], inputs[2 * number :]
            before, (made, skipped, rate, *planned) = inputs[: len(leaves)], inputs[len(leaves) :]
            return self._stepped(shapes, gradients, positions, before, [made, skipped], rate, *planned)

        specs = [*self._specs(shapes) * 2, *[leaf.spec for leaf in self.leaves(shapes)]]
        specs += [tf.TensorSpec([], one.dtype) for one in (*counts, rate, *planned)]
        function = self._function("step_%d" % len(planned), shapes, step, specs)
        inputs = [*gradients, *positions, *leaves, *counts, rate, *planned]
        graph = tf.get_default_graph()
        inside = control_flow_util.GraphOrParentsInXlaContext(graph)
        if number <= MOST_COMPILED and self.is_compiled and not inside:
            outputs = _compiled_call(function, inputs)
        else:
            # TensorFlow inlines the function, and what waits for the call then waits for none of the inlined ops.
            outputs = [tf.identity(one) for one in functional_ops.partitioned_call(inputs, function)]
        for output, inner in zip(outputs, function.graph.outputs):
            output.set_shape(inner.shape)
        return outputs[:number], outputs[number:-2], outputs[-2:]

    @property
    def is_compiled(self):
        """Tells whether XLA supports all ops of the optimizer: True for `AdamController`, unknown for custom ones."""
        return self._trained.build is AdamController or _class_in(self._trained.record) == AdamController.__name__

    def _stepped(self, shapes, gradients, positions, before, counts, rate, steps=None):
        counts = [counts[0] + 1, counts[1]]
        bound = self._bound(shapes, steps)
        state = with_tensors(bound.initial_state([tf.zeros(shape, self.dtype) for shape in shapes]), before)
        is_ok = [tf.reduce_all(is_finite(one)) for one in gradients]
        gradients = [tf.where_v2(ok, one, tf.zeros_like(one)) for ok, one in zip(is_ok, gradients)]
        updates, after = bound.plain_step(gradients, state, list(positions))
        check_same_state(state, after)
        updates = [rate * tf.convert_to_tensor(update) for update in updates]
        if self._weight_decay:
            made = tf.cast(counts[0], tf.float32)
            share = 0.5 if steps is None else (1 + tf.cos(np.pi * tf.minimum(made / steps, 1.0))) / 2 + LEAST
            share = rate * tf.cast(DECAY_UNIT * self._weight_decay * share, self.dtype)
            updates = [update - share * x for update, x in zip(updates, positions)]
        positions = [tf.where_v2(ok, x + update, x) for ok, x, update in zip(is_ok, positions, updates)]
        owners = [leaf.owner for leaf in self.leaves(shapes)]
        after = [
            new if owner is None else tf.where_v2(is_ok[owner], new, old)
            for owner, new, old in zip(owners, tensors_of(after), before)
        ]
        counts[1] += tf.reduce_sum(tf.cast(tf.logical_not(is_ok), tf.int64))
        return [*positions, *after, *counts]

    def _bound(self, shapes, steps):
        trained, specs = self._trained, self._specs(shapes)
        optimizer = rebuilt(trained.build, lambda: specs, trained.weights, trained.adapted)
        return with_initial_state(optimizer).bind(horizon=steps)

    def _first(self, shapes):
        return self._bound(shapes, None).initial_state([tf.zeros(shape, self.dtype) for shape in shapes])

    def _specs(self, shapes):
        return [tf.TensorSpec(shape, self.dtype) for shape in shapes]

    def _function(self, name, shapes, function, specs):
        key = (name, *map(tuple, shapes))
        if key not in self._made:
            with _said(shapes), own_graph():
                self._made[key] = tensorflow_function(function, specs)
        return self._made[key]


@contextlib.contextmanager
def _said(shapes):
    """Turns errors into one that says that the optimizer fails for tensors of these shapes."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(
            "trained must hold an optimizer for a list of tensors of the variables' shapes, %.300s, or one that is "
            "coordinate-wise, and says so with coordinatewise = True: %s" % (shapes, first_line(error))
        ) from error


def _class_in(record):
    described = record.get("optimizer")
    return described.get("class") if isinstance(described, dict) else None


def _leaves(one, more, number, path=(), owner=None):
    """Yields `(owner, path, tensor)` for each tensor of a state, in the order of `tf.nest`.

    `more` is the state for one more tensor.
    """
    if isinstance(one, dict):
        parts = [(str(key), one[key], more[key]) for key in sorted(one)]
    elif isinstance(one, (list, tuple)):
        if (len(one), len(more)) == (number, number + 1):
            for i, part in enumerate(one):  # `part` in place of `more`, so that no list inside counts as per-tensor
                yield from _leaves(part, part, number, path + ("",), i)
            return
        names = getattr(one, "_fields", map(str, range(len(one))))
        parts = list(zip(names, one, more))
    else:
        if one is not None:
            yield owner, path, tf.convert_to_tensor(one)
        return
    for name, part, other in parts:
        yield from _leaves(part, other, number, path + (name,), owner)


def _named(found):
    """Returns the list of `Leaf`. The name of one that belongs to a tensor is its path inside the tensor's entry."""
    leaves, taken = [], set()
    for owner, path, tensor in found:
        if not tensor.shape.is_fully_defined():
            raise ValueError("trained must hold an optimizer whose state has known shapes, got %r" % (tensor,))
        inside = path[path.index("") + 1 :] if "" in path else path
        name = "_".join(inside or [part for part in path if part])
        name = name if name.isidentifier() else ("state_%s" % name).rstrip("_")
        while (owner, name) in taken:
            name += "_"
        taken.add((owner, name))
        leaves.append(Leaf(owner, name, tf.TensorSpec(tensor.shape, tensor.dtype)))
    return leaves


def _compiled_call(function, inputs):
    """Returns the outputs of a function that XLA compiles at its first call, like `tf.xla.experimental.compile`.

    `tf.xla.experimental.compile` works only at the outermost level of a graph. This op also works in functions and
    conditions.
    """
    graph = tf.get_default_graph()
    function.add_to_graph(graph)

    def types(tensors):
        return AttrValue(list=AttrValue.ListValue(type=[tensor.dtype.as_datatype_enum for tensor in tensors]))

    attributes = {
        "Tconstants": AttrValue(list=AttrValue.ListValue()),
        "Targs": types(inputs),
        "Nresources": AttrValue(i=0),
        "Tresults": types(function.graph.outputs),
        "function": AttrValue(func=NameAttrList(name=tf.compat.as_str(function.name))),
    }
    dtypes = [tensor.dtype for tensor in function.graph.outputs]
    return graph.create_op("XlaLaunch", inputs, dtypes, name="compiled", attrs=attributes).outputs
