"""How `LearnedOptimizer` moves variables by an optimizer of whole tensors: all of them in one step."""

import tensorflow.compat.v1 as tf
from tensorflow.python.distribute import distribute_lib
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util, resource_variable_ops

from l2l.optimizers.slots import make_slot, scope_of_slots, sizes_of


class MovingTensors:
    """Moves variables of a `tf.train.Optimizer` together, at the end of its `apply_gradients`.

    The variables of one `apply_gradients` call form a set with a separate state. Another call with other variables
    counts its own steps. Skipped tensors are counted for the whole graph.

    Args:
      optimizer: the `LearnedOptimizer`.
      functions: a `TensorFunctions`.
      rate: function without arguments that returns the multiplier of updates, a scalar tensor.
      steps: function without arguments that returns the planned number of steps, a float32 scalar; None if unknown.
    """

    def __init__(self, optimizer, functions, rate, steps):
        self._optimizer, self._functions, self._rate, self._steps = optimizer, functions, rate, steps
        self._sets = {}  # for each graph and set of variables the end of the names of what it has beside its slots
        self._said = {}  # by graph and name of the set: the variable with the plan for which a session was last warned

    def create_slots(self, var_list):
        """Makes the slots of variables, and the rest of their state."""
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
                # It is in no collection, so it is neither saved nor initialized, and starts anew in every session.
                self._said[key] = resource_variable_ops.ResourceVariable(
                    lambda: tf.zeros([]), collections=[], trainable=False, name=named("said")
                )

    def skipped(self):
        """Returns the variable of the current graph that counts skipped tensors; None before `apply_gradients`."""
        return self._optimizer._get_non_slot_variable(self._name("skipped", ""), tf.get_default_graph())

    def prepare(self, pairs):
        """Forgets the gradients of an earlier call. `finish` moves those that `dense` and `sparse` record."""
        self._pairs = []  # gradients and variables that wait to be moved

    def dense(self, grad, var):
        """Records a gradient. The step will wait for whatever a subclass has done to the variable before."""
        self._pairs.append((grad, var))
        return tf.no_op()

    def sparse(self, values, var, indices):
        """Records a sparse gradient. It is 0 for all other rows, which move too, as with `tf.train.AdamOptimizer`."""
        return self.dense(tf.math.unsorted_segment_sum(values, indices, var.shape.as_list()[0]), var)

    def finish(self, update_ops):
        """Returns the ops that move the variables; in a distribution strategy those of the update device's replica."""
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
        # No scope of the caller, such as a caching device, has affected these, so their value needs no second op.
        values, numbers = ([variable.value() for variable in many] for many in (state, counts))
        steps = None if self._steps is None else tf.maximum(self._steps(), 1.0)
        outputs = self._functions.step(list(gradients), positions, values, numbers, self._rate(), steps)
        outputs = [output for many in outputs for output in many]
        # Write only after everything was read.
        with tf.control_dependencies([tf.group(*gradients, *positions, *values, *numbers, *outputs)]):
            moved = zip([*variables, *state, *counts], outputs)
            writes = [one.assign(new, read_value=False) for one, new in moved]
        constraints = [variable for variable in variables if variable.constraint is not None]
        if constraints:
            with tf.control_dependencies(writes):
                writes += [one.assign(one.constraint(one.read_value()), read_value=False) for one in constraints]
        # XLA cannot print. Of several replicas the last one prints.
        if steps is not None and not self._pairs and not control_flow_util.GraphOrParentsInXlaContext(graph):
            said = self._said[variables[0].graph, named("said")]
            *_, made, _ = outputs
            with ops.colocate_with(None, ignore_existing=True), tf.device(None):  # where the session is
                writes.append(_warning(self._optimizer, made, steps, said))
        return writes

    def _name(self, name, end):
        return "%s_%s%s" % (self._optimizer.get_name(), name, end)

    def _named(self, variables):
        """Returns a function that names what belongs to a set of variables as a whole; the first set gets no suffix."""
        of_graph = self._sets.setdefault(variables[0].graph, {})
        key = frozenset(_key(variable) for variable in variables)
        end = of_graph.setdefault(key, "_%d" % len(of_graph) if of_graph else "")
        return lambda name: self._name(name, "" if name == "skipped" else end)


def _key(variable):
    """Returns a name that a variable and its replicas share."""
    container = getattr(variable, "_distributed_container", lambda: None)()
    return (variable if container is None else container).name


def _returning(value):
    return lambda shape, dtype, partition_info: value


def _place(part, slot):
    """Returns which part of the whole variable's slot this one is, see `make_slot`."""
    if slot.shape.as_list() != list(part.var_shape):  # each part has a separate one
        return None
    return part.full_shape[:], part.var_offset[:], part.var_shape[:]


def _warning(optimizer, made, steps, said):
    """Returns the op that warns on standard error after the planned steps: once per session and plan."""

    def nothing():
        return tf.constant(False)

    def warn():
        text = "were planned: further ones may be small. %s" % optimizer._plan_more
        shown = tf.print("%s:" % optimizer.get_name(), made, "steps are made,", steps, text)
        with tf.control_dependencies([shown]), tf.control_dependencies([said.assign(steps, read_value=False)]):
            return nothing()

    def warn_if_new():
        is_new = tf.cond(
            said.is_initialized(), lambda: tf.not_equal(said.read_value(), steps), lambda: tf.constant(True)
        )
        return tf.cond(is_new, warn, nothing)

    return tf.cond(tf.cast(made, tf.float32) > steps, warn_if_new, nothing).op
