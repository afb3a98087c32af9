"""How `LearnedOptimizer` moves variables by an optimizer of whole tensors: all of them in one step."""

import tensorflow.compat.v1 as tf
from tensorflow.python.distribute import distribute_lib
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util, resource_variable_ops

from l2l.optimizers.slots import make_slot, scope_of_slots, sizes_of


class MovingTensors:
    """Moves variables of a `tf.train.Optimizer` together, at the end of its `apply_gradients`.

    What one call of `apply_gradients` moves is a set of tensors with a state of its own: a second call for other
    variables has other steps. How many tensors were left out is counted for the whole graph.

    Args:
      optimizer: the `LearnedOptimizer`.
      functions: a `TensorFunctions`.
      rate: function without arguments to the multiplier of updates, a scalar tensor.
      steps: function without arguments to the planned number of steps, a float32 scalar; None where nobody knows.
    """

    def __init__(self, optimizer, functions, rate, steps):
        self._optimizer, self._functions, self._rate, self._steps = optimizer, functions, rate, steps
        self._sets = {}  # names of what a set of variables has beside its slots
        self._said = {}  # by graph and name of the set: for which plan a session has heard that it is over

    def create_slots(self, var_list):
        """Makes the slots of variables, and what their state has beside these."""
        leaves = self._functions.leaves([variable.shape.as_list() for variable in var_list])
        with tf.device(None):
            sizes = sizes_of([variable.shape.as_list() for variable in var_list])
            zeros = {shape: tf.zeros(size, self._functions.dtype) for shape, size in sizes.items()}
            for shape, one in zeros.items():
                one.set_shape(shape)
            first = self._functions.first([zeros[tuple(variable.shape.as_list())] for variable in var_list])
        optimizer, named = self._optimizer, self._named(var_list)
        with scope_of_slots():
            for leaf, value in zip(leaves, first):
                value.set_shape(leaf.spec.shape)
                if leaf.owner is None:
                    optimizer._create_non_slot_variable(value, named(leaf.name), var_list[0])
                else:
                    variable, spec = var_list[leaf.owner], leaf.spec
                    make_slot(optimizer, variable, leaf.name, _returning(value), spec.shape, spec.dtype, _place)
            for name in ("steps_made", "skipped"):
                zero = tf.zeros([], tf.int64)
                optimizer._create_non_slot_variable(zero, named(name), var_list[0])
            key = (var_list[0].graph, named("said"))
            if key not in self._said:
                # In no collection: neither saved nor initialized, it is new in every session.
                self._said[key] = resource_variable_ops.ResourceVariable(
                    lambda: tf.zeros([]), collections=[], trainable=False, name=named("said")
                )

    def skipped(self):
        """How many tensors were left out so far, a variable of the current graph; None before `apply_gradients`."""
        return self._optimizer._get_non_slot_variable(self._name("skipped", ""), tf.get_default_graph())

    def prepare(self, pairs):
        """Forgets what an earlier call has noted; what is to be moved is known at the end alone."""
        self._pairs = []  # of gradients and variables that wait to be moved

    def dense(self, grad, var):
        """Notes a gradient. What a subclass has done to the variable before, the step waits for."""
        self._pairs.append((grad, var))
        return tf.no_op()

    def sparse(self, values, var, indices):
        """Notes a gradient that names rows; all others have zeros, and move too, as with `tf.train.AdamOptimizer`."""
        return self.dense(tf.math.unsorted_segment_sum(values, indices, var.shape.as_list()[0]), var)

    def finish(self, update_ops):
        """The ops that move what was noted; in a distribution strategy the replica on the device of its update."""
        device, pairs = distribute_lib.get_update_device(), self._pairs
        if device is not None:
            here = tf.DeviceSpec.from_string
            is_here = [
                not hasattr(var, "_distributed_container") or here(var.device) == here(device) for _, var in pairs
            ]
            self._pairs = [pair for pair, own in zip(pairs, is_here) if not own]
            pairs = [pair for pair, own in zip(pairs, is_here) if own]
        else:
            self._pairs = []
        if not pairs:
            return []
        with ops.control_dependencies([tf.group(*update_ops)]), ops.colocate_with(pairs[0][1]):
            return self._moves(*zip(*pairs))

    def _moves(self, gradients, variables):
        graph = tf.get_default_graph()
        leaves = self._functions.leaves([variable.shape.as_list() for variable in variables])
        named = self._named(variables)

        def alone(name):
            return self._optimizer._get_non_slot_variable(named(name), variables[0].graph)

        state = [
            alone(leaf.name) if leaf.owner is None else self._optimizer.get_slot(variables[leaf.owner], leaf.name)
            for leaf in leaves
        ]
        counts = [alone("steps_made"), alone("skipped")]
        positions = [variable.read_value() for variable in variables]
        # No scope of the caller's, such as a caching device, has reached these: their value needs no second op.
        values, numbers = ([variable.value() for variable in many] for many in (state, counts))
        steps = None if self._steps is None else tf.maximum(self._steps(), 1.0)
        outputs = self._functions.step(list(gradients), positions, values, numbers, self._rate(), steps)
        outputs = [output for many in outputs for output in many]
        # Nothing is written while something is to be read.
        with tf.control_dependencies([tf.group(*gradients, *positions, *values, *numbers, *outputs)]):
            moved = zip([*variables, *state, *counts], outputs)
            writes = [one.assign(new, read_value=False) for one, new in moved]
        constraints = [variable for variable in variables if variable.constraint is not None]
        if constraints:
            with tf.control_dependencies(writes):
                writes += [one.assign(one.constraint(one.read_value()), read_value=False) for one in constraints]
        # XLA cannot print; of several replicas the last one does.
        if steps is not None and not self._pairs and not control_flow_util.GraphOrParentsInXlaContext(graph):
            said = self._said[variables[0].graph, named("said")]
            *_, made, _ = outputs
            with ops.colocate_with(None, ignore_existing=True), tf.device(None):  # where the session is
                writes.append(_warning(self._optimizer.get_name(), made, steps, said))
        return writes

    def _name(self, name, end):
        return "%s_%s%s" % (self._optimizer.get_name(), name, end)

    def _named(self, variables):
        """Function to the names of what belongs to a set of variables, not to one of them; the first's have no end."""
        of_graph = self._sets.setdefault(variables[0].graph, {})
        key = frozenset(_key(variable) for variable in variables)
        end = of_graph.setdefault(key, "_%d" % len(of_graph) if of_graph else "")
        return lambda name: self._name(name, "" if name == "skipped" else end)


def _key(variable):
    """A name that a variable and its replicas share."""
    container = getattr(variable, "_distributed_container", lambda: None)()
    return (variable if container is None else container).name


def _returning(value):
    return lambda shape, dtype, partition_info: value


def _place(part, slot):
    """Which part of the slot of the whole variable this one is, see `make_slot`."""
    if slot.shape.as_list() != list(part.var_shape):  # there is one for each part
        return None
    return part.full_shape[:], part.var_offset[:], part.var_shape[:]


def _warning(name, made, steps, said):
    """The op that says on standard error that all planned steps are made: once in a session, and for each plan."""

    def nothing():
        return tf.constant(False)

    def warn():
        text = "were planned: further ones may be small. Plan more, counted from the first of all, with steps="
        shown = tf.print("%s:" % name, made, "steps are made,", steps, text)
        with tf.control_dependencies([shown]), tf.control_dependencies([said.assign(steps, read_value=False)]):
            return nothing()

    def warn_if_new():
        is_new = tf.cond(
            said.is_initialized(), lambda: tf.not_equal(said.read_value(), steps), lambda: tf.constant(True)
        )
        return tf.cond(is_new, warn, nothing)

    return tf.cond(tf.cast(made, tf.float32) > steps, warn_if_new, nothing).op
