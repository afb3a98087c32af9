"""A trained optimizer in a training of one's own: a `tf.train.Optimizer`."""

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import control_flow_util, resource_variable_ops

from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_call import FirstCallError, create, said_by, the_number_for
from l2l.optimizers.optimizer import bind, plain_product, with_initial_state
from l2l.optimizers.trained import Trained, load
from l2l.process import own_graph
from l2l.quiet import quietly

CHUNK = 1 << 12  # coordinates that are computed at once: what a step needs beside the slots is of this size


class LearnedOptimizer(tf.train.Optimizer):
    """A learned optimizer for the variables of any TensorFlow 1.15 graph.

        train = l2l.LearnedOptimizer.load("small_networks").minimize(loss)

    At each step every coordinate of every variable is moved by `update` of `(gradients, state) -> (update, state)`.
    There is no learning rate. The weights are constants of the graph, and nothing trains them here. Each coordinate's
    state is kept in slots, which are initialized, saved and restored as those of other optimizers: two layers of 20
    units need 80 numbers for each coordinate, where Adam needs 2, and what the casting remembers. Variables of more
    than 4,096 coordinates are moved in chunks of that many: what a step needs beside the slots does not grow with them.

    Gradients that are `IndexedSlices`, as an embedding has, move the rows that they name. All other rows keep their
    values and their states, as with `tf.train.MomentumOptimizer`, whereas in `l2l.learn` a gradient of zero moves too.

    Args:
      trained: a `Trained`, as from `trainer.trained()` or `l2l.load`. Its optimizer must be coordinate-wise, as
        `CoordinatewiseLSTM` is; of several for groups of tensors, give each its own `LearnedOptimizer` and `var_list`.
      name: of the ops and slots.

    Raises:
      TypeError: `trained` is no `Trained`.
      ValueError: its optimizer is not coordinate-wise, or not for any number of coordinates, or its weights do not fit.
        When it is applied: a variable of
        another dtype than the weights, of unknown shape, or cut by a partitioner.
    """

    def __init__(self, trained, name="LearnedOptimizer"):
        if not isinstance(trained, Trained):
            raise TypeError("trained must be what trainer.trained() or l2l.load returns, got %r" % (trained,))
        super().__init__(use_locking=False, name=name)
        self._trained = trained
        with own_graph():
            self._dtype, self._state_names = _checked(trained)
        self._in_graph = None  # the graph of the last use, with the optimizer and its bound form there

    @classmethod
    def load(cls, path, build=None, name="LearnedOptimizer"):
        """The optimizer in a file that `l2l.save` wrote, or one that comes with the package, by its name.

        Args:
          path, build: as for `l2l.load`.
          name: of the ops and slots.
        """
        return cls(load(path, build), name)

    @quietly()
    def _create_slots(self, var_list):
        optimizer, _ = self._built()
        row = tensors_of(optimizer.initial_state(tf.zeros([1], self._dtype)))
        for variable in var_list:
            self._check_variable(variable)
            number = variable.shape.num_elements()
            # Every coordinate begins alike. Of a number that the graph knows, TensorFlow would compute all rows before
            # it runs and keep them for good, which is the memory of one slot.
            rows = tf.placeholder_with_default(number, [], name="rows")
            for slot, one in zip(self._state_names, row):
                value = tf.tile(one, [rows] + [1] * (one.shape.ndims - 1))
                value.set_shape([number, *one.shape[1:]])
                self._get_or_make_slot(variable, value, slot, "%s_%s" % (self._name, slot))

    def _valid_dtypes(self):
        return {tf.float16, tf.bfloat16, tf.float32, tf.float64}  # `_check_variable` says more of what is wrong

    def _check_variable(self, variable):
        what = "LearnedOptimizer cannot move %r: " % variable.name
        if variable.dtype.base_dtype != self._dtype:
            raise ValueError(what + "it is %s, the weights are %s" % (variable.dtype.base_dtype.name, self._dtype.name))
        if not variable.shape.is_fully_defined():
            raise ValueError(what + "its shape must be known, got %s" % variable.shape)
        if getattr(variable, "_save_slice_info", None) is not None:
            raise ValueError(what + "it is a part of a variable that a partitioner cut; create it whole")

    @quietly()
    def _built(self):
        """The optimizer and its bound form in the current graph, whose constants are made once."""
        with tf.init_scope():
            graph = tf.get_default_graph()
            if self._in_graph is None or self._in_graph[0] is not graph:
                with tf.name_scope(self._name + "_weights"):
                    optimizer = _with_constants(self._trained)
                    self._in_graph = graph, optimizer, bind(optimizer)
        return self._in_graph[1:]

    def _apply_dense(self, grad, var):
        number = var.shape.num_elements()
        flat = tf.reshape(grad, [number])
        if number > CHUNK:
            return self._in_chunks(var, flat)
        slots = self._states(var)
        updates, states = self._step(flat, [tf.identity(slot) for slot in slots])
        with tf.control_dependencies([updates, *states]):  # nothing is written while something is to be read
            writes = [slot.assign(state).op for slot, state in zip(slots, states)]
            return tf.group(tf.assign_add(var, tf.reshape(updates, var.shape)).op, *writes)

    _resource_apply_dense = _apply_dense

    def _apply_sparse(self, grad, var):
        return self._resource_apply_sparse(grad.values, var, grad.indices)

    def _resource_apply_sparse(self, grad, handle, indices):
        per_row = handle.shape[1:].num_elements()
        places = tf.cast(indices, tf.int64)[:, tf.newaxis] * per_row + tf.range(per_row, dtype=tf.int64)
        return self._in_chunks(handle, tf.reshape(grad, [-1]), tf.reshape(places, [-1]))

    def _states(self, variable):
        return [self.get_slot(variable, name) for name in self._state_names]

    @quietly()
    def _step(self, gradients, states):
        """Updates `[N]` and next states for gradients `[N]` of one variable; the states are a flat list."""
        optimizer, bound = self._built()
        like = optimizer.initial_state(tf.zeros([1], self._dtype))
        updates, state = bound.step(gradients, with_tensors(like, states), plain_product(bound))
        return updates, tensors_of(state)

    def _in_chunks(self, variable, gradients, places=None):
        """The op that moves coordinates of the flat variable, all or those at `places`, by gradients `[N]`.

        Each chunk's updates go into the variable at once. Kept until the end, they would lie between what the chunks
        need for a moment, and malloc could not give that the same memory again.
        """
        graph = tf.get_default_graph()
        if control_flow_util.EnableControlFlowV2(graph) and not resource_variable_ops.is_resource_variable(variable):
            raise ValueError(
                "LearnedOptimizer cannot move %r: it is moved in chunks, which under tf.enable_control_flow_v2 can "
                "write to resource variables alone; create it with use_resource=True" % variable.name
            )
        slots, number = self._states(variable), tf.shape(gradients)[0]
        shape = tf.constant(variable.shape.as_list(), tf.int64)

        def body(start):
            stop = tf.minimum(start + CHUNK, number)
            part = slice(start, stop)
            rows = tf.range(tf.cast(start, tf.int64), tf.cast(stop, tf.int64)) if places is None else places[part]
            updates, states = self._step(gradients[part], [tf.gather(slot, rows) for slot in slots])
            coordinates = tf.transpose(tf.unravel_index(rows, shape))
            with tf.control_dependencies([updates, *states]):
                writes = [tf.scatter_update(slot, rows, state).op for slot, state in zip(slots, states)]
                writes.append(tf.scatter_nd_add(variable, coordinates, updates).op)
            with tf.control_dependencies(writes):
                return start + CHUNK

        done = tf.while_loop(lambda start: start < number, body, [0], parallel_iterations=1, name="chunks")
        return done.op


def _with_constants(trained):
    """The optimizer in the current graph, with constants in place of its variables."""
    weights, adapted = iter(trained.weights), iter(trained.adapted)

    def constant(next_creator, **settings):
        return tf.constant(next(adapted if settings.get("trainable") is False else weights))

    scope = tf.variable_scope(None, default_name="trained", use_resource=True)
    with tf.variable_creator_scope(constant):
        created = create(trained.build, _one_coordinate(trained), "trained", scope)
    return with_initial_state(created.optimizer, rows=True)


def _one_coordinate(trained):
    """What the position of one coordinate is like, for a first call; the number of coordinates must not matter."""
    return lambda: tf.TensorSpec([1], tf.as_dtype(np.asarray(trained.weights[0]).dtype))


def _checked(trained):
    """The dtype of a trained optimizer's weights, and names for the tensors of its state; in a graph of its own."""
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
    return dtype, ["state_%d" % i for i in range(len(leaves))]


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
        % (", also where the graph does not know it" * (number is None), said_by(error))
    )
