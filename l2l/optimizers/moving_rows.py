"""How `LearnedOptimizer` moves variables by a coordinate-wise optimizer: small ones together, large ones in chunks."""

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util, resource_variable_ops

from l2l.optimizers.slots import make_slot, scope_of_slots, sizes_of

CHUNK = 4096  # coordinates that are computed at once; the memory of a step, apart from the slots, is of this size
SMALL = 1024  # variables of up to this size share a step; copying larger ones together takes longer than two steps


class MovingRows:
    """Moves each coordinate of the variables of a `tf.train.Optimizer` on its own.

    Args:
      optimizer: the `LearnedOptimizer`.
      of_rows: a `RowFunctions`.
      rate: function without arguments that returns the multiplier of updates, a scalar tensor.
    """

    def __init__(self, optimizer, of_rows, rate):
        self._optimizer, self._of_rows, self._rate = optimizer, of_rows, rate

    def create_slots(self, var_list):
        """Makes the slots of variables, `[coordinates, ...]`."""
        shapes = [
            [[v.shape.num_elements(), *spec.shape.as_list()[1:]] for spec in self._of_rows.state] for v in var_list
        ]
        with tf.device(None):
            row = self._of_rows.first() if self._of_rows.state else []
            sizes = sizes_of([shape for many in shapes for shape in many])
        with scope_of_slots():
            for variable, many in zip(var_list, shapes):
                for i, (one, shape) in enumerate(zip(row, many)):
                    first = _repeated(one, sizes[tuple(shape)])
                    make_slot(self._optimizer, variable, "state_%d" % i, first, shape, one.dtype, _place)

    def prepare(self, pairs):
        """Computes the updates of small variables, as many per step as fit into a chunk.

        Args:
          pairs: list of pairs of gradient and variable.
        """
        self._moved, groups = {}, {}  # results that `dense` will apply, and pairs by device
        for grad, var in pairs:
            if var.shape.num_elements() <= min(SMALL, CHUNK):
                of_device = groups.setdefault(var.device, [[]])
                if sum(other.shape.num_elements() for _, other in [*of_device[-1], (grad, var)]) > CHUNK:
                    of_device.append([])
                of_device[-1].append((grad, var))
        for pairs in [pairs for of_device in groups.values() for pairs in of_device]:
            with ops.colocate_with(pairs[0][1]):
                moved = self._together(pairs)
            self._moved.update({(id(grad), id(var)): one for (grad, var), one in zip(pairs, moved)})

    def _together(self, pairs):
        """Makes one step for all pairs; returns `(all tensors of the step, update, states)` for each pair."""
        sizes = [var.shape.num_elements() for _, var in pairs]
        gradients = [grad for grad, var in pairs]
        slots = [self._slots_of(var) for _, var in pairs]
        x = [tf.convert_to_tensor(var) for _, var in pairs] if self._of_rows.takes_x else []
        facts = [self._of_rows.facts(*parts) for parts in zip(gradients, slots, x)]
        before, facts = ([tf.concat(list(many), axis=0) for many in zip(*parts)] for parts in (slots, facts))
        gradients, x = ([tf.reshape(one, [-1]) for one in many] for many in (gradients, x))
        x = [tf.concat(x, axis=0)] if x else []
        updates, states = self._step(tf.concat(gradients, axis=0), before, *(x or [None]), facts)
        everything = [*before, *x, updates, *states]
        return [
            (everything, update, states)
            for update, *states in zip(*[tf.split(tensor, sizes) for tensor in [updates, *states]])
        ]

    def _step(self, gradients, states, x, facts):
        updates, states = self._of_rows.step(gradients, states, x, facts)
        return self._rate() * updates, states

    def dense(self, grad, var):
        """Returns the op that moves a variable."""
        if var.shape.num_elements() > CHUNK:
            return self._in_chunks(var, grad)
        # Larger variables move alone, and those whose gradient a subclass changed on the way.
        moved = self._moved.get((id(grad), id(var))) or self._together([(grad, var)])[0]
        everything, update, states = moved
        with tf.control_dependencies(everything):  # write only after everything was read
            writes = [slot.assign(state).op for slot, state in zip(self._slots_of(var), states)]
            return tf.group(tf.assign_add(var, tf.reshape(update, var.shape)).op, *writes)

    def sparse(self, gradients, variable, indices):
        """Returns the op that moves some rows of a variable.

        Args:
          gradients: `[number of indices, ...]`.
          variable: the variable.
          indices: the rows to move, all different.
        """
        per_row = variable.shape[1:].num_elements()
        places = tf.cast(indices, tf.int64)[:, tf.newaxis] * per_row + tf.range(per_row, dtype=tf.int64)
        return self._in_chunks(variable, gradients, tf.reshape(places, [-1]))

    def _slots_of(self, variable):
        return [self._optimizer.get_slot(variable, "state_%d" % i) for i in range(len(self._of_rows.state))]

    def _in_chunks(self, variable, gradients, places=None):
        """Returns the op that moves coordinates of a variable chunk by chunk: all, or those at flat indices `places`.

        The updates of each chunk go into the variable immediately. If they were kept until the end, they would fragment
        the memory, and malloc could not reuse what the chunks need for a moment.

        XLA must know the size of a chunk, so all chunks have the same size, as small as their number allows. The last
        chunk is padded with its last coordinate. The state of this coordinate is written several times with the same
        value; its update is added once.
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
        number = tf.size(gradients, out_type=tf.int64)
        size = -(-number // tf.maximum(-(-number // CHUNK), 1))
        offsets = tf.range(size)

        def body(start):
            rows = tf.minimum(start + offsets, number - 1)
            chunk, whole = tf.gather(gradients, rows), [tf.gather(fact, rows) for fact in facts]
            is_new = start + offsets < number
            rows = rows if places is None else tf.gather(places, rows)
            before, position = [tf.gather(slot, rows) for slot in slots], None if x is None else tf.gather(x, rows)
            updates, states = self._step(chunk, before, position, whole)
            with tf.control_dependencies([*before, updates, *states]):
                writes = [tf.scatter_update(slot, rows, state).op for slot, state in zip(slots, states)]
                updates = tf.where(is_new, updates, tf.zeros_like(updates))
                writes.append(tf.scatter_nd_add(variable, _coordinates(rows, variable.shape), updates).op)
            with tf.control_dependencies(writes):
                return start + size

        start = tf.constant(0, tf.int64)
        done = tf.while_loop(lambda start: start < number, body, [start], parallel_iterations=1, name="chunks")
        return done.op

    def skipped(self):
        """Returns None: a coordinate-wise optimizer skips nothing."""

    def finish(self, update_ops):
        """Returns no further ops: everything has been moved."""
        return []


def _repeated(row, size):
    """Returns the initializer of a slot whose size is known only when it runs. All coordinates start alike."""

    def initializer(shape, dtype, partition_info):
        rows = tf.broadcast_to(row, size)
        rows.set_shape(shape)
        return rows

    return initializer


def _place(part, slot):
    """Returns which rows of the whole variable's slot belong to this part, see `make_slot`."""
    whole = list(part.full_shape)
    cut = next((axis for axis, size in enumerate(part.var_shape) if size != whole[axis]), 0)
    if np.prod(whole[:cut]) != 1:  # its coordinates are not contiguous in the whole variable
        return None
    number, *rest = slot.shape.as_list()
    shape = [int(np.prod(whole)), *rest]
    offset = [int(part.var_offset[cut] * np.prod(whole[cut + 1 :])), *[0] * len(rest)]
    return shape, offset, [number, *rest]


def _coordinates(rows, shape):
    """Returns indices `[N, rank]` of flat indices `rows` in a tensor of this shape: `tf.unravel_index`, for XLA too."""
    sizes, indices = shape.as_list(), []
    for axis in range(len(sizes)):
        step = int(np.prod(sizes[axis + 1 :]))
        indices.append(rows // step)
        rows -= indices[-1] * step
    return tf.stack(indices, axis=1)
