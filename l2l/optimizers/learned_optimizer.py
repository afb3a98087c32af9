"""A trained optimizer in a training of one's own: a `tf.train.Optimizer`."""

from __future__ import annotations

import contextlib
from typing import Any, Iterable, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util, resource_variable_ops, variable_scope

from l2l import checks
from l2l.optimizers.row_functions import RowFunctions
from l2l.optimizers.trained import Trained, load
from l2l.quiet import quietly
from l2l.types import BuildOptimizer, PathLike

CHUNK = 1 << 12  # coordinates that are computed at once: what a step needs beside the slots is of this size
SMALL = 1 << 10  # variables of up to so many share a step; to copy larger ones together takes longer than two steps


class LearnedOptimizer(tf.train.Optimizer):
    """A learned optimizer for the variables of any TensorFlow 1.15 graph.

        train = l2l.LearnedOptimizer.load("small_networks").minimize(loss)

    At each step every coordinate of every variable is moved by `update` of `(gradients, state) -> (update, state)`.
    There is no learning rate. The weights are constants, and nothing trains them here. Each coordinate's
    state is kept in slots, which are initialized, saved and restored as those of other optimizers: two layers of 20
    units need 80 numbers for each coordinate, where Adam needs 2, and what the casting remembers. Variables of
    up to 1,024 coordinates are moved together, 4,096 coordinates at once, and those of more than 4,096 in chunks: what
    a step needs beside the slots does not grow with them.

    Gradients that are `IndexedSlices`, as an embedding has, move the rows that they name. All other rows keep their
    values and their states, as with `tf.train.MomentumOptimizer`, whereas in `l2l.learn` a gradient of zero moves too.

    The step is a TensorFlow function, made in a graph of its own. So no scope around `minimize` reaches the learned
    network: no getter, regularizer, partitioner, device or control dependency. The slots take the name of the variable
    scope and nothing else; each is on the device of its variable.

    The parts of a partitioned variable are variables here, as for other optimizers. Cut along its first axis, the slots
    are saved and restored as one, in any number of parts. Cut along another, each part's slots keep their own names,
    and a checkpoint can be restored in the same parts alone.

    Args:
      trained: a `Trained`, as from `trainer.trained()` or `l2l.load`. Its optimizer must be coordinate-wise, as
        `CoordinatewiseLSTM` is; of several for groups of tensors, give each its own `LearnedOptimizer` and `var_list`.
      horizon: how many steps are planned in total, for an optimizer that asks; None where nobody knows.
      name: of the ops and slots.

    Raises:
      TypeError: `trained` is no `Trained`, or `horizon` no integer.
      ValueError: `horizon` is not positive. The optimizer is not coordinate-wise, or not for any number of coordinates,
        or its weights do not fit. When it is applied: a variable of another dtype than the weights, of unknown shape,
        or given twice; a gradient of another shape or dtype than its variable.
    """

    def __init__(self, trained: Trained, *, horizon: Optional[int] = None, name: str = "LearnedOptimizer") -> None:
        if not isinstance(trained, Trained):
            raise TypeError("trained must be what trainer.trained() or l2l.load returns, got %r" % (trained,))
        super().__init__(use_locking=False, name=name)
        horizon = None if horizon is None else checks.positive_integer("horizon", horizon)
        self._of_rows = RowFunctions(trained, horizon)
        self._pairs = []  # of gradients and variables, while `apply_gradients` runs
        self._moved = {}  # what `_prepare` computed of them

    @classmethod
    def load(
        cls,
        path: PathLike,
        build: Optional[BuildOptimizer] = None,
        *,
        horizon: Optional[int] = None,
        name: str = "LearnedOptimizer",
    ) -> LearnedOptimizer:
        """The optimizer in a file that `l2l.save` wrote, or one that comes with the package, by its name.

        Args:
          path, build: as for `l2l.load`.
          horizon, name: as for the class.
        """
        return cls(load(path, build), horizon=horizon, name=name)

    @quietly()
    def apply_gradients(
        self,
        grads_and_vars: Iterable[Tuple[Any, tf.Variable]],
        global_step: Optional[tf.Variable] = None,
        name: Optional[str] = None,
    ) -> tf.Operation:
        """As that of `tf.train.Optimizer`; variables of up to 1,024 coordinates that share a device move together."""
        grads_and_vars = list(grads_and_vars)
        if not tf.distribute.has_strategy():  # which sums gradients over replicas first
            self._pairs = grads_and_vars
        try:
            return super().apply_gradients(grads_and_vars, global_step, name)
        finally:
            self._pairs, self._moved = [], {}

    def _create_slots(self, var_list):
        for i, variable in enumerate(var_list):
            self._check_variable(variable)
            if any(variable is other for other in var_list[:i]):
                raise ValueError(
                    "grads_and_vars must have one gradient for %r, got several; add them up" % variable.name
                )
        shapes = [
            [[v.shape.num_elements(), *spec.shape.as_list()[1:]] for spec in self._of_rows.state] for v in var_list
        ]
        with tf.device(None):
            row = self._of_rows.first() if self._of_rows.state else []
            # Of a size that the graph knows, TensorFlow would compute all rows before it runs and keep them for good,
            # which is the memory of one slot.
            sizes = {
                shape: tf.placeholder_with_default(np.array(shape, np.int32), [len(shape)], name="size")
                for shape in sorted({tuple(shape) for many in shapes for shape in many})
            }
        with _scope_of_slots():
            for variable, many in zip(var_list, shapes):
                for i, (one, shape) in enumerate(zip(row, many)):
                    name = "state_%d" % i
                    initializer = _repeated(one, sizes[tuple(shape)])
                    slot = self._get_or_make_slot_with_initializer(
                        variable, initializer, tf.TensorShape(shape), one.dtype, name, "%s_%s" % (self._name, name)
                    )
                    _set_slice(slot, variable)

    def _valid_dtypes(self):
        return {tf.float16, tf.bfloat16, tf.float32, tf.float64}  # `_check_variable` says more of what is wrong

    def _check_variable(self, variable):
        what = "LearnedOptimizer cannot move %r: " % variable.name
        if variable.dtype.base_dtype != self._of_rows.dtype:
            raise ValueError(
                what + "it is %s, the weights are %s" % (variable.dtype.base_dtype.name, self._of_rows.dtype.name)
            )
        if not variable.shape.is_fully_defined():
            raise ValueError(what + "its shape must be known, got %s" % variable.shape)

    def _prepare(self):
        """Computes the updates of small variables, as many at once as fit into a chunk."""
        groups = {}
        for grad, var in self._pairs:
            if isinstance(grad, tf.Tensor) and var.shape.num_elements() <= min(SMALL, CHUNK):
                of_device = groups.setdefault(var.device, [[]])
                if sum(other.shape.num_elements() for _, other in [*of_device[-1], (grad, var)]) > CHUNK:
                    of_device.append([])
                of_device[-1].append((grad, var))
        for pairs in [pairs for of_device in groups.values() for pairs in of_device]:
            with ops.colocate_with(pairs[0][1]):
                moved = self._together(pairs)
            self._moved.update({(id(grad), id(var)): one for (grad, var), one in zip(pairs, moved)})

    def _together(self, pairs):
        """For each gradient and variable the pieces of one step, `(all of the step, update, states)`."""
        sizes = [var.shape.num_elements() for _, var in pairs]
        gradients = [self._checked_gradient(grad, var) for grad, var in pairs]
        slots = [self._slots_of(var) for _, var in pairs]
        x = [tf.convert_to_tensor(var) for _, var in pairs] if self._of_rows.takes_x else []
        facts = [self._of_rows.facts(*parts) for parts in zip(gradients, slots, x)]
        before, facts = ([tf.concat(list(many), axis=0) for many in zip(*parts)] for parts in (slots, facts))
        gradients, x = ([tf.reshape(one, [-1]) for one in many] for many in (gradients, x))
        x = [tf.concat(x, axis=0)] if x else []
        updates, states = self._of_rows.step(tf.concat(gradients, axis=0), before, *(x or [None]), facts)
        everything = [*before, *x, updates, *states]
        return [
            (everything, update, states)
            for update, *states in zip(*[tf.split(tensor, sizes, axis=0) for tensor in [updates, *states]])
        ]

    def _apply_dense(self, grad, var):
        if var.shape.num_elements() > CHUNK:
            return self._in_chunks(var, self._checked_gradient(grad, var))
        # Larger variables move alone, and those whose gradient a subclass changed on the way.
        moved = self._moved.get((id(grad), id(var))) or self._together([(grad, var)])[0]
        everything, update, states = moved
        with tf.control_dependencies(everything):  # nothing is written while something is to be read
            writes = [slot.assign(state).op for slot, state in zip(self._slots_of(var), states)]
            return tf.group(tf.assign_add(var, tf.reshape(update, var.shape)).op, *writes)

    _resource_apply_dense = _apply_dense

    def _apply_sparse(self, grad, var):
        return self._move_rows(grad.values, var, grad.indices)

    def _resource_apply_sparse(self, grad, handle, indices):
        return self._move_rows(grad, handle, indices)

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices):
        if not control_flow_util.GraphOrParentsInXlaContext(tf.get_default_graph()):
            return super()._resource_apply_sparse_duplicate_indices(grad, handle, indices)
        return self._resource_apply_sparse(*_without_unique(grad, indices, handle))

    def _move_rows(self, gradients, variable, indices):
        """The op that moves the rows `indices`, which differ, of a variable by gradients `[number of indices, ...]`."""
        gradients = self._checked_gradient(gradients, variable, variable.shape[1:])
        per_row = variable.shape[1:].num_elements()
        places = tf.cast(indices, tf.int64)[:, tf.newaxis] * per_row + tf.range(per_row, dtype=tf.int64)
        return self._in_chunks(variable, gradients, tf.reshape(places, [-1]))

    def _checked_gradient(self, gradient, variable, shape=None):
        expected = variable.shape if shape is None else tf.TensorShape([None]).concatenate(shape)
        if gradient.dtype != self._of_rows.dtype or not gradient.shape.is_compatible_with(expected):
            raise ValueError(
                "The gradient of %r must be %s of shape %s, got %s of shape %s"
                % (variable.name, self._of_rows.dtype.name, expected, gradient.dtype.name, gradient.shape)
            )
        return gradient

    def _slots_of(self, variable):
        return [self.get_slot(variable, "state_%d" % i) for i in range(len(self._of_rows.state))]

    def _in_chunks(self, variable, gradients, places=None):
        """The op that moves coordinates of the variable, all or those at `places` of it flat, by their gradients.

        Each chunk's updates go into the variable at once. Kept until the end, they would lie between what the chunks
        need for a moment, and malloc could not give that the same memory again.

        All chunks have one size, since XLA must know it, as equal as they can be. The last one is filled up with its
        last coordinate: its state is written several times, always the same, and its update is added once.
        """
        graph = tf.get_default_graph()
        if control_flow_util.EnableControlFlowV2(graph) and not resource_variable_ops.is_resource_variable(variable):
            raise ValueError(
                "LearnedOptimizer cannot move %r: it is moved in chunks, which under tf.enable_control_flow_v2 can "
                "write to resource variables alone; create it with use_resource=True" % variable.name
            )
        slots, x, facts = self._slots_of(variable), None, []
        if self._of_rows.takes_x:
            x = tf.reshape(variable, [-1])
            states = slots if places is None else [tf.gather(slot, places) for slot in slots]
            own = x if places is None else tf.gather(x, places)
            facts = self._of_rows.facts(gradients, states, tf.reshape(own, tf.shape(gradients)))
        gradients = tf.reshape(gradients, [-1])
        number = gradients.shape.as_list()[0]
        if number is None:
            number = tf.size(gradients, out_type=tf.int64)
            size = -(-number // tf.maximum(-(-number // CHUNK), 1))
        else:
            size = -(-number // max(-(-number // CHUNK), 1))
        offsets = tf.range(tf.cast(size, tf.int64))

        def body(start):
            rows = tf.minimum(start + offsets, number - 1)
            chunk, whole = tf.gather(gradients, rows), [tf.gather(fact, rows) for fact in facts]
            is_new = start + offsets < number
            rows = rows if places is None else tf.gather(places, rows)
            before, position = [tf.gather(slot, rows) for slot in slots], None if x is None else tf.gather(x, rows)
            updates, states = self._of_rows.step(chunk, before, position, whole)
            with tf.control_dependencies([*before, updates, *states]):
                writes = [tf.scatter_update(slot, rows, state).op for slot, state in zip(slots, states)]
                updates = tf.where(is_new, updates, tf.zeros_like(updates))
                writes.append(tf.scatter_nd_add(variable, _coordinates(rows, variable.shape), updates).op)
            with tf.control_dependencies(writes):
                return start + size

        start = tf.constant(0, tf.int64)
        done = tf.while_loop(lambda start: start < number, body, [start], parallel_iterations=1, name="chunks")
        return done.op


@contextlib.contextmanager
def _scope_of_slots():
    """The caller's variable scope by its name, without its getter, regularizer, partitioner and what else it holds.

    Devices and creators of variables are left out too, except for the creators of a distribution strategy, which make
    slots for each replica.
    """
    graph, store = tf.get_default_graph(), variable_scope.get_variable_scope_store()
    caller = store.current_scope
    store.current_scope = tf.VariableScope(False, caller.name, name_scope=caller.original_name_scope)

    def creator(next_creator, **settings):
        if tf.distribute.has_strategy():
            return next_creator(**settings)
        return variable_scope.default_variable_creator(**settings)

    try:
        # A variable takes the devices that were in force when its graph was last entered.
        with tf.device(None), graph.as_default(), tf.variable_creator_scope(creator):
            yield
    finally:
        store.current_scope = caller


def _repeated(row, size):
    """The initializer of a slot of a size that is known when it runs. Every coordinate begins alike."""

    def initializer(shape, dtype=None, partition_info=None):
        rows = tf.broadcast_to(row, size)
        rows.set_shape(shape)
        return rows

    return initializer


def _set_slice(slot, variable):
    """Says which part of a slot of the whole variable this is, so that `Saver` puts the parts together."""
    part = getattr(variable, "_save_slice_info", None)
    if part is None:
        return
    whole = list(part.full_shape)
    cut = next((axis for axis, size in enumerate(part.var_shape) if size != whole[axis]), 0)
    if np.prod(whole[:cut]) != 1:  # its coordinates do not lie in one piece among those of the whole
        slot._set_save_slice_info(None)
        return
    scope, name = slot.op.name.rsplit(variable.op.name + "/", 1)
    name = "%s%s/%s" % (scope, part.full_name, name)
    number, *rest = slot.shape.as_list()
    shape = [int(np.prod(whole)), *rest]
    offset = [int(part.var_offset[cut] * np.prod(whole[cut + 1 :])), *[0] * len(rest)]
    slot._set_save_slice_info(tf.Variable.SaveSliceInfo(name, shape, offset, [number, *rest]))


def _coordinates(rows, shape):
    """Indices `[N, rank]` of the places `rows` in a flat tensor of this shape; `tf.unravel_index`, for XLA too."""
    sizes, indices = shape.as_list(), []
    for axis in range(len(sizes)):
        step = int(np.prod(sizes[axis + 1 :], dtype=np.int64))
        indices.append(rows // step)
        rows -= indices[-1] * step
    return tf.stack(indices, axis=1)


def _without_unique(gradients, indices, variable):
    """Sums gradients of equal indices, as TensorFlow does elsewhere: `tf.unique` has no form for XLA.

    The first of equal indices gets the sum. The others are sent behind the end, where XLA writes nothing.
    """
    number, places = variable.shape.as_list()[0], tf.range(tf.size(indices))
    first = tf.gather(tf.math.unsorted_segment_min(places, indices, number), indices)
    sums = tf.math.unsorted_segment_sum(gradients, first, tf.size(indices))
    behind = tf.fill(tf.shape(indices), tf.constant(number, indices.dtype))
    return sums, variable, tf.where(tf.equal(first, places), indices, behind)
