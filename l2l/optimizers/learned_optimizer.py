"""A trained optimizer in a training of one's own: a `tf.train.Optimizer`."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Optional, Tuple, Union

import tensorflow.compat.v1 as tf
from tensorflow.python.ops import control_flow_util

from l2l import checks
from l2l.optimizers.moving_rows import MovingRows
from l2l.optimizers.moving_tensors import MovingTensors
from l2l.optimizers.row_functions import RowFunctions, is_coordinatewise
from l2l.optimizers.tensor_functions import TensorFunctions
from l2l.optimizers.trained import Trained, load
from l2l.process import prepare_allocator, set_xla_flags
from l2l.quiet import quietly
from l2l.types import PathLike, Scalar


class LearnedOptimizer(tf.train.Optimizer):
    """A learned optimizer for the variables of any TensorFlow 1.15 graph.

        train = l2l.LearnedOptimizer("small_networks").minimize(loss)

    At each step every variable is moved by `update` of `(gradients, state) -> (update, state)`. The weights are
    constants, and nothing trains them here. The state is kept in slots, which are initialized, saved and restored as
    those of other optimizers.

    **Coordinate-wise optimizers**, as `CoordinatewiseLSTM`, move each coordinate on its own, with a row of state in
    the slots `state_0`, ...: two layers of 20 units need 80 numbers for each coordinate, where Adam needs 2, and what
    the casting remembers. Variables of up to 1,024 coordinates are moved together, 4,096 coordinates at once, and those
    of more than 4,096 in chunks: what a step needs beside the slots does not grow with them. Gradients that are
    `IndexedSlices`, as an embedding has, move the rows that they name. All other rows keep their values and their
    states, as with `tf.train.MomentumOptimizer`, whereas in `l2l.learn` a gradient of zero moves too.

    **All others**, as `AdamController`, move all variables of a call of `apply_gradients` in one step. What the state
    has for each tensor is in slots named after its fields; the rest is in variables of the optimizer, as is the number
    of steps made. Gradients that are `IndexedSlices` become dense, so that all rows move, as with
    `tf.train.AdamOptimizer`. A tensor whose gradient is not finite stays, with its state; `skipped` counts these. XLA
    compiles the step of an `AdamController` for up to 8 variables at its first call; more are moved op by op.

    The step is a TensorFlow function, made in a graph of its own. So no scope around `minimize` reaches the learned
    network: no getter, regularizer, partitioner, device or control dependency. The slots take the name of the variable
    scope and nothing else; each is on the device of its variable.

    The parts of a partitioned variable are variables here, as for other optimizers. Cut along its first axis, slots
    with a number for each coordinate are saved and restored as one, in any number of parts. Other slots keep their own
    names for each part, and a checkpoint can be restored in the same parts alone.

    The constructor sets the environment variable TF_CPU_ALLOCATOR_USE_BFC, unless it is set: TensorFlow then keeps the
    memory that it frees. For an `AdamController` it adds to XLA_FLAGS what `l2l.prepare_xla` does; flags of your own
    come last, and win. Both are read when the first session of the process starts, and hold for all of them.

    Args:
      trained: a `Trained`, as from `trainer.trained()`; or a path or name as for `l2l.load`. One that was trained as
        several for groups of tensors is not served: give each its own `LearnedOptimizer` and `var_list`.
      steps: how many steps are planned in total, for an optimizer that asks; a positive integer, or, unless it is
        coordinate-wise, a scalar tensor, variable, or function without arguments to one. The number of steps made is
        saved: a restored training, a second one and one with other `steps` go on where they are. Where more are made
        than are planned, an optimizer of whole tensors says so on standard error, once in a session for each plan (not
        within `xla.compile`). An `AdamController` goes on with its decay at the end of its cosine, 0.001. A tensor
        below 1 counts as 1. None where nobody knows: it behaves as half way, at every step.
      learning_rate: multiplier of every update: a number from 0, scalar tensor, variable, or a function without
        arguments to one, as `tf.train` has it.
      weight_decay: decoupled weight decay, in units that AdamW has at its usual learning rate: each step adds
        `-0.001 learning_rate c weight_decay x`, with `c` falling from 1.001 to 0.001 along a cosine over the planned
        steps, 0.5 without. For optimizers of whole tensors; a number from 0.
      name: of the ops and slots.

    Attributes:
      skipped: how many tensors were left out, since their gradients were not finite, summed over the steps: a variable
        of the current graph. None before `apply_gradients`, and for coordinate-wise optimizers.

    Raises:
      TypeError: `trained` is neither a `Trained` nor a path; another argument is no number and nothing else allowed.
      ValueError: an argument is out of range, or the weights do not fit. A coordinate-wise optimizer is not for any
        number of coordinates, or has a `weight_decay`. When it is applied: a variable of another dtype than the
        weights, of unknown shape, or given twice; a gradient of another shape or dtype than its variable; an optimizer
        that cannot be called with a list of such tensors.
    """

    def __init__(
        self,
        trained: Union[Trained, PathLike],
        *,
        steps: Union[int, Scalar, Callable[[], Scalar], None] = None,
        learning_rate: Union[Scalar, Callable[[], Scalar]] = 1.0,
        weight_decay: float = 0.0,
        name: str = "LearnedOptimizer",
    ) -> None:
        if isinstance(trained, (str, os.PathLike)):
            trained = load(trained)
        if not isinstance(trained, Trained):
            raise TypeError(
                "trained must be what trainer.trained() or l2l.load returns, or a path, got %r" % (trained,)
            )
        super().__init__(use_locking=False, name=name)
        weight_decay = checks.number_from_zero("weight_decay", weight_decay)
        prepare_allocator()  # in time, where no session has started
        if is_coordinatewise(trained):
            steps = None if steps is None else checks.positive_integer("steps", steps)
            if weight_decay:
                raise ValueError(
                    "weight_decay must be 0 for a coordinate-wise optimizer, got %r; "
                    "tf.contrib.opt.extend_with_decoupled_weight_decay(l2l.LearnedOptimizer) has it" % weight_decay
                )
            self._functions = RowFunctions(trained, steps)
            rate = _scalar("learning_rate", learning_rate, self._functions.dtype, checks.number_from_zero)
            self._moving = MovingRows(self, self._functions, rate)
        else:
            self._functions = TensorFunctions(trained, weight_decay)
            if self._functions.is_compiled:
                set_xla_flags()
            rate = _scalar("learning_rate", learning_rate, self._functions.dtype, checks.number_from_zero)
            steps = None if steps is None else _scalar("steps", steps, tf.float32, checks.positive_integer)
            self._moving = MovingTensors(self, self._functions, rate, steps)

    @property
    def skipped(self) -> Optional[tf.Variable]:
        """How many tensors were left out, since their gradients were not finite."""
        return self._moving.skipped()

    @quietly()
    def apply_gradients(
        self,
        grads_and_vars: Iterable[Tuple[Any, tf.Variable]],
        global_step: Optional[tf.Variable] = None,
        name: Optional[str] = None,
    ) -> tf.Operation:
        """As that of `tf.train.Optimizer`; variables that share a step, see the class, move together."""
        grads_and_vars = list(grads_and_vars)
        # A strategy sums gradients over replicas first.
        self._pairs = [] if tf.distribute.has_strategy() else grads_and_vars
        return super().apply_gradients(grads_and_vars, global_step, name)

    def _create_slots(self, var_list):
        for i, variable in enumerate(var_list):
            self._check_variable(variable)
            if any(variable is other for other in var_list[:i]):
                raise ValueError(
                    "grads_and_vars must have one gradient for %r, got several; add them up" % variable.name
                )
        self._moving.create_slots(var_list)

    def _valid_dtypes(self):
        return {tf.float16, tf.bfloat16, tf.float32, tf.float64}  # `_check_variable` says more of what is wrong

    def _check_variable(self, variable):
        what = "LearnedOptimizer cannot move %r: " % variable.name
        if variable.dtype.base_dtype != self._functions.dtype:
            raise ValueError(
                what + "it is %s, the weights are %s" % (variable.dtype.base_dtype.name, self._functions.dtype.name)
            )
        if not variable.shape.is_fully_defined():
            raise ValueError(what + "its shape must be known, got %s" % variable.shape)

    def _prepare(self):
        dense = [(grad, var) for grad, var in self._pairs if isinstance(grad, tf.Tensor)]
        self._moving.prepare([(self._checked_gradient(grad, var), var) for grad, var in dense])

    def _apply_dense(self, grad, var):
        return self._moving.dense(self._checked_gradient(grad, var), var)

    _resource_apply_dense = _apply_dense

    def _apply_sparse(self, grad, var):
        return self._apply_rows(grad.values, var, grad.indices)

    def _resource_apply_sparse(self, grad, handle, indices):
        return self._apply_rows(grad, handle, indices)

    def _apply_rows(self, grad, handle, indices):
        return self._moving.sparse(self._checked_gradient(grad, handle, handle.shape[1:]), handle, indices)

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices):
        if not control_flow_util.GraphOrParentsInXlaContext(tf.get_default_graph()):
            return super()._resource_apply_sparse_duplicate_indices(grad, handle, indices)
        return self._resource_apply_sparse(*_without_unique(grad, indices, handle))

    def _finish(self, update_ops, name_scope):
        return super()._finish([*update_ops, *self._moving.finish(update_ops)], name_scope)

    def _checked_gradient(self, gradient, variable, shape=None):
        expected = variable.shape if shape is None else tf.TensorShape([None]).concatenate(shape)
        if gradient.dtype != self._functions.dtype or not gradient.shape.is_compatible_with(expected):
            raise ValueError(
                "The gradient of %r must be %s of shape %s, got %s of shape %s"
                % (variable.name, self._functions.dtype.name, expected, gradient.dtype.name, gradient.shape)
            )
        return gradient


def _scalar(name, value, dtype, check):
    """Function without arguments to a scalar tensor: of a number that `check` allows, a tensor, or such a function."""
    if not callable(value) and not isinstance(value, (tf.Tensor, tf.Variable)):
        value = check(name, value)

    def scalar():
        tensor = checks.tensor(name, value() if callable(value) else value)
        if tensor.shape.ndims != 0 or not (tensor.dtype.is_floating or tensor.dtype.is_integer):
            raise ValueError("%s must be a scalar number, got %r" % (name, tensor))
        return tf.cast(tensor, dtype)

    return scalar


def _without_unique(gradients, indices, variable):
    """Sums gradients of equal indices, as TensorFlow does elsewhere: `tf.unique` has no form for XLA.

    The first of equal indices gets the sum. The others are sent behind the end, where XLA writes nothing.
    """
    number, places = variable.shape.as_list()[0], tf.range(tf.size(indices))
    first = tf.gather(tf.math.unsorted_segment_min(places, indices, number), indices)
    sums = tf.math.unsorted_segment_sum(gradients, first, tf.size(indices))
    behind = tf.fill(tf.shape(indices), tf.constant(number, indices.dtype))
    return sums, variable, tf.where(tf.equal(first, places), indices, behind)
