"""A trained optimizer in a training of one's own: a `tf.train.Optimizer`."""

import contextlib

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import _EagerDefinedFunction
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import func_graph_from_py_func
from tensorflow.python.ops import control_flow_util, functional_ops, resource_variable_ops, variable_scope

from l2l.mapping import first_line
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_call import FirstCallError, create, the_number_for
from l2l.optimizers.optimizer import bind, plain_product, with_initial_state
from l2l.optimizers.trained import Trained, load
from l2l.process import own_graph
from l2l.quiet import quietly

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
      name: of the ops and slots.

    Raises:
      TypeError: `trained` is no `Trained`.
      ValueError: its optimizer is not coordinate-wise, or not for any number of coordinates, or its weights do not fit.
        When it is applied: a variable of another dtype than the weights, of unknown shape, or given twice; a gradient
        of another shape or dtype than its variable.
    """

    def __init__(self, trained, name="LearnedOptimizer"):
        if not isinstance(trained, Trained):
            raise TypeError("trained must be what trainer.trained() or l2l.load returns, got %r" % (trained,))
        super().__init__(use_locking=False, name=name)
        self._trained = trained
        with own_graph():
            self._dtype, self._state = _checked(trained)
        self._functions = None  # `_traced`, once it is needed
        self._pairs = []  # of gradients and variables, while `apply_gradients` runs
        self._moved = {}  # what `_prepare` computed of them

    @classmethod
    def load(cls, path, build=None, name="LearnedOptimizer"):
        """The optimizer in a file that `l2l.save` wrote, or one that comes with the package, by its name.

        Args:
          path, build: as for `l2l.load`.
          name: of the ops and slots.
        """
        return cls(load(path, build), name)

    @quietly()
    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
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
        shapes = [[[v.shape.num_elements(), *spec.shape.as_list()[1:]] for spec in self._state] for v in var_list]
        with tf.device(None):
            row = self._call("first", []) if self._state else []
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
        if variable.dtype.base_dtype != self._dtype:
            raise ValueError(what + "it is %s, the weights are %s" % (variable.dtype.base_dtype.name, self._dtype.name))
        if not variable.shape.is_fully_defined():
            raise ValueError(what + "its shape must be known, got %s" % variable.shape)

    def _call(self, name, inputs):
        """The outputs of one of the functions of `_traced`, a list."""
        if self._functions is None:
            self._functions = _traced(self._trained, self._dtype, self._state)
        return functional_ops.partitioned_call(inputs, self._functions[name])

    def _step(self, gradients, states):
        """Updates `[N]` and next states, a list, for gradients `[N]`; each coordinate is treated on its own.

        What writes a state must wait for `states` too, not for the outputs alone. TensorFlow optimizes that away, and a
        next state may follow from the gradients alone, as the memory of `ratio_cast` does.
        """
        outputs = self._call("step", [gradients, *states])
        # TensorFlow puts the function's ops in place of the call, and what waits for the call waits for none of them.
        updates, *states = [tf.identity(output) for output in outputs]
        updates.set_shape(gradients.shape)
        for state, spec in zip(states, self._state):
            state.set_shape(gradients.shape.concatenate(spec.shape[1:]))
        return updates, states

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
        gradients = tf.concat([tf.reshape(self._checked_gradient(grad, var), [-1]) for grad, var in pairs], axis=0)
        slots = zip(*[self._slots_of(var) for _, var in pairs])
        before = [tf.concat(list(many), axis=0) for many in slots]
        updates, states = self._step(gradients, before)
        everything = [*before, updates, *states]
        return [
            (everything, update, states)
            for update, *states in zip(*[tf.split(tensor, sizes, axis=0) for tensor in [updates, *states]])
        ]

    def _apply_dense(self, grad, var):
        if var.shape.num_elements() > CHUNK:
            return self._in_chunks(var, tf.reshape(self._checked_gradient(grad, var), [-1]))
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
        return self._in_chunks(variable, tf.reshape(gradients, [-1]), tf.reshape(places, [-1]))

    def _checked_gradient(self, gradient, variable, shape=None):
        expected = variable.shape if shape is None else tf.TensorShape([None]).concatenate(shape)
        if gradient.dtype != self._dtype or not gradient.shape.is_compatible_with(expected):
            raise ValueError(
                "The gradient of %r must be %s of shape %s, got %s of shape %s"
                % (variable.name, self._dtype.name, expected, gradient.dtype.name, gradient.shape)
            )
        return gradient

    def _slots_of(self, variable):
        return [self.get_slot(variable, "state_%d" % i) for i in range(len(self._state))]

    def _in_chunks(self, variable, gradients, places=None):
        """The op that moves coordinates of the flat variable, all or those at `places`, by gradients `[N]`.

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
        slots, number = self._slots_of(variable), gradients.shape.as_list()[0]
        if number is None:
            number = tf.size(gradients, out_type=tf.int64)
            size = -(-number // tf.maximum(-(-number // CHUNK), 1))
        else:
            size = -(-number // max(-(-number // CHUNK), 1))
        offsets = tf.range(tf.cast(size, tf.int64))

        def body(start):
            rows = tf.minimum(start + offsets, number - 1)
            chunk = tf.gather(gradients, rows)
            is_new = start + offsets < number
            rows = rows if places is None else tf.gather(places, rows)
            before = [tf.gather(slot, rows) for slot in slots]
            updates, states = self._step(chunk, before)
            with tf.control_dependencies([*before, updates, *states]):
                writes = [tf.scatter_update(slot, rows, state).op for slot, state in zip(slots, states)]
                updates = tf.where(is_new, updates, tf.zeros_like(updates))
                writes.append(tf.scatter_nd_add(variable, _coordinates(rows, variable.shape), updates).op)
            with tf.control_dependencies(writes):
                return start + size

        start = tf.constant(0, tf.int64)
        done = tf.while_loop(
            lambda start: start < number, body, [start], parallel_iterations=1, back_prop=False, name="chunks"
        )
        return done.op


def _traced(trained, dtype, state):
    """`step`, a function of gradients `[N]` and states that returns updates and states, and `first`, a row of states.

    They are TensorFlow functions with the weights as constants, made in a graph of their own.
    """

    def step(gradients, *states):
        optimizer = _with_constants(trained)
        bound = bind(optimizer)
        like = optimizer.initial_state(tf.zeros([1], dtype))
        updates, state = bound.step(gradients, with_tensors(like, states), plain_product(bound))
        return [updates, *tensors_of(state)]

    def first():
        return tensors_of(_with_constants(trained).initial_state(tf.zeros([1], dtype)))

    with own_graph():
        return {
            "step": _tensorflow_function(step, [tf.TensorSpec([None], dtype), *state]),
            "first": _tensorflow_function(first, []),
        }


def _tensorflow_function(function, specs):
    """A function of tensors that returns a list of tensors, as a function of TensorFlow's.

    `tf.function` makes them too, but registers each for differentiation, which keeps it as long as the process lives.
    """
    graph = func_graph_from_py_func(function.__name__, function, specs, {})
    return _EagerDefinedFunction("l2l_%s_%d" % (graph.name, ops.uid()), graph, graph.inputs, graph.outputs, {})


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


def _with_constants(trained):
    """The optimizer in the current graph, with constants in place of its variables."""
    graph, weights, adapted = tf.get_default_graph(), iter(trained.weights), iter(trained.adapted)

    def constant(next_creator, **settings):
        with graph.as_default():  # not the one of a `tf.function` that creates it, whose next call sees it too
            return tf.constant(next(adapted if settings.get("trainable") is False else weights))

    scope = tf.variable_scope(None, default_name="trained", use_resource=True)
    with tf.variable_creator_scope(constant):
        created = create(trained.build, _one_coordinate(trained), "trained", scope)
    return with_initial_state(created.optimizer, rows=True)


def _one_coordinate(trained):
    """What the position of one coordinate is like, for a first call; the number of coordinates must not matter."""
    return lambda: tf.TensorSpec([1], tf.as_dtype(np.asarray(trained.weights[0]).dtype))


def _checked(trained):
    """The dtype of a trained optimizer's weights, and its state's tensors, as specs `[None, ...]`."""
    dtypes = {np.asarray(array).dtype for array in trained.weights}
    if len(dtypes) != 1:
        raise ValueError("trained must have weights of one dtype, got %s" % sorted(map(str, dtypes)))
    dtype = tf.as_dtype(dtypes.pop())
    try:
        optimizer, _ = trained.create("trained", _one_coordinate(trained))
    except FirstCallError as error:
        raise _serves_no(1, trained, dtype, error) from error
    if not getattr(optimizer, "coordinatewise", False):
        raise ValueError(
            "trained must hold an optimizer that is coordinate-wise, and says so with coordinatewise = True, got %r"
            % optimizer
        )
    optimizer = with_initial_state(optimizer, rows=True)
    # The number of coordinates is not known where gradients are sparse, and of large variables.
    for number in [3, 2, None]:
        try:
            leaves = _stepped(optimizer, number, dtype)
        except (TypeError, ValueError) as error:
            raise _serves_no(number, trained, dtype, error) from error
    return dtype, [tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype) for leaf in leaves]


def _stepped(optimizer, number, dtype):
    """The tensors of the state of so many coordinates, or None for any number; makes a step, for its checks."""
    state = optimizer.initial_state(tf.zeros([number or 1], dtype))
    leaves = tensors_of(state)
    if any(
        leaf.shape.ndims is None or leaf.shape.ndims < 1 or leaf.shape.as_list()[0] != (number or 1) for leaf in leaves
    ):
        raise ValueError("its state must have a row for each coordinate, got %r" % (state,))
    before = with_tensors(state, [tf.placeholder(leaf.dtype, [number, *leaf.shape[1:]]) for leaf in leaves])
    bound = bind(optimizer)
    updates, after = bound.step(tf.placeholder(dtype, [number]), before, plain_product(bound))
    tf.nest.assert_same_structure(before, after)
    if not tf.convert_to_tensor(updates).shape.is_compatible_with([number]):
        raise ValueError("its update must have the shape of the gradients, got %s" % updates.shape)
    return leaves


def _serves_no(number, trained, dtype, error):
    """The error that says that an optimizer does not serve so many coordinates, and which, if there are some."""

    def serves(other):
        optimizer, _ = trained.create("trained", lambda: tf.TensorSpec([other or 1], dtype))
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
