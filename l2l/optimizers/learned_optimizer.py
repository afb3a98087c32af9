"""A trained optimizer as a `tf.train.Optimizer`, for the variables of any graph."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Optional, Tuple, Union

import numpy as np
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

    Each step adds the learned update, times `learning_rate`, to every variable. The learned weights are constants;
    nothing trains them here. The state lives in slots, which are initialized, saved and restored like those of other
    optimizers.

    **Coordinate-wise optimizers**, such as `CoordinatewiseLSTM`, move each coordinate on its own.

    - *State*: the slots `state_0`, ... have one row per coordinate. Two layers of 20 units need 80 numbers per
      coordinate, plus what the casting remembers; Adam needs 2.
    - *Memory*: variables of up to 1,024 coordinates move together, up to 4,096 coordinates at once. Variables of more
      than 4,096 move in chunks. So the memory of a step, apart from the slots, does not grow with the variables.
    - *Sparse gradients* (`IndexedSlices`, from an embedding) move only the rows that they name. All other rows keep
      their values and states, as with `tf.train.MomentumOptimizer`. In `l2l.learn` a gradient of zero moves too.

    **All other optimizers**, such as `AdamController`, move all variables of one `apply_gradients` call in one step.

    - *State*: what belongs to one tensor is in slots named after the fields of the state. The rest is in variables of
      the optimizer, and so is the number of steps made.
    - *Sparse gradients* become dense, so all rows move, as with `tf.train.AdamOptimizer`.
    - *Non-finite gradients*: a tensor whose gradient is not finite keeps its value and its state; `skipped` counts
      these.
    - *Speed*: XLA compiles the step of an `AdamController` for up to 8 variables at its first call. More variables
      move op by op.

    **Scopes and devices.** The step is a TensorFlow function built in a separate graph. So no scope around `minimize`
    reaches the learned network: no getter, regularizer, partitioner, device or control dependency. The slots take only
    the name of the variable scope. Each slot is on the device of its variable.

    **Partitioned variables.** Each part counts as a variable, as for other optimizers. If the variable is cut along its
    first axis, slots with a number for each coordinate are saved and restored as one, in any number of parts. Other
    slots are saved under the name of each part, so their checkpoint fits only the same parts.

    **Environment.** The constructor sets TF_CPU_ALLOCATOR_USE_BFC unless it is set already: TensorFlow then keeps the
    memory that it frees. For an `AdamController` the constructor also adds the flags of `l2l.prepare_xla` to XLA_FLAGS;
    your own flags come last and win. Both variables are read when the first session of the process starts, and hold
    for all its sessions.

    Args:
      trained: a `Trained`, as from `trainer.trained()`; or a path or name as for `l2l.load`. An optimizer trained for
        several groups of tensors is not supported: give each group its own `LearnedOptimizer` and `var_list`.
      steps: how many steps are planned in total, for an optimizer that asks. A positive integer; for an optimizer that
        is not coordinate-wise also a scalar tensor, a variable, or a function without arguments that returns one. A
        tensor below 1 counts as 1. None if unknown: an `AdamController` then behaves at every step as if half of the
        steps were over. The number of steps made is saved, so a restored training, a second one or one with other
        `steps` continues the count. After the planned steps, an optimizer of whole tensors warns on standard error,
        once per session and plan (not within `xla.compile`), and an `AdamController` keeps the last value of its
        decay, 0.001.
      learning_rate: multiplier of every update. A number from 0, a scalar tensor, a variable, or a function without
        arguments that returns one, as in `tf.train`.
      weight_decay: decoupled weight decay, scaled as in AdamW at its usual learning rate. Each step adds
        `-0.001 learning_rate c weight_decay x`. `c` falls from 1.001 to 0.001 along a cosine over the planned steps;
        it is 0.5 if `steps` is None. A number from 0, and 0 for coordinate-wise optimizers.
      name: prefix of the names of ops and slots.

    Attributes:
      skipped: how many tensors were skipped because their gradients were not finite, summed over all steps; a variable
        of the current graph. None before `apply_gradients`, and for coordinate-wise optimizers.

    Raises:
      TypeError: `trained` is neither a `Trained` nor a path; another argument has a type that is not allowed.
      ValueError: an argument is out of range, or the weights do not fit. A coordinate-wise optimizer does not work for
        every number of coordinates, or is given a `weight_decay`. At `apply_gradients`: a variable has another dtype
        than the weights, an unknown shape, or appears twice; a gradient has another shape or dtype than its variable;
        the optimizer cannot be called with a list of such tensors.
    """

    _plan_more = "Plan more, counted from the first of all, with steps="

    def __init__(
        self,
        trained: Union[Trained, PathLike],
        *,
        steps: Union[int, Scalar, Callable[[], Scalar], None] = None,
        learning_rate: Union[Scalar, Callable[[], Scalar]] = 1.0,
        weight_decay: float = 0.0,
        name: str = "LearnedOptimizer",
    ) -> None:
        given = trained
        if isinstance(trained, (str, os.PathLike)):
            trained = load(trained)
        if not isinstance(trained, Trained):
            raise TypeError(
                "trained must be what trainer.trained() or l2l.load returns, or a path, got %r" % (trained,)
            )
        self._shown = shown(self, given, steps=steps, learning_rate=learning_rate, weight_decay=weight_decay)
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

    def __repr__(self):
        return self._shown

    @property
    def skipped(self) -> Optional[tf.Variable]:
        """How many tensors were skipped because their gradients were not finite."""
        return self._moving.skipped()

    @quietly()
    def apply_gradients(
        self,
        grads_and_vars: Iterable[Tuple[Any, tf.Variable]],
        global_step: Optional[tf.Variable] = None,
        name: Optional[str] = None,
    ) -> tf.Operation:
        """Applies gradients as `tf.train.Optimizer` does, to variables that share a step together."""
        grads_and_vars = list(grads_and_vars)
        # A strategy sums gradients over replicas before it applies them.
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
        return {tf.float16, tf.bfloat16, tf.float32, tf.float64}  # `_check_variable` has a clearer message

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


def shown(optimizer, trained, **settings):
    """Returns the `repr` of an optimizer: what was trained, and the settings it was made with, numbers or types."""
    trained = os.fspath(trained) if isinstance(trained, os.PathLike) else trained
    settings = [
        "%s=%s" % (name, value if value is None or np.isscalar(value) else type(value).__name__)
        for name, value in settings.items()
    ]
    return "<%s of %r, made with %s>" % (type(optimizer).__name__, trained, ", ".join(settings))


def _scalar(name, value, dtype, check):
    """Returns a function without arguments that returns a scalar tensor.

    `value` is a number that `check` allows, a tensor or variable, or such a function.
    """
    if not callable(value) and not isinstance(value, (tf.Tensor, tf.Variable)):
        value = check(name, value)

    def scalar():
        tensor = checks.tensor(name, value() if callable(value) else value)
        if tensor.shape.ndims != 0 or not (tensor.dtype.is_floating or tensor.dtype.is_integer):
            raise ValueError("%s must be a scalar number, got %r" % (name, tensor))
        return tf.cast(tensor, dtype)

    return scalar


def _without_unique(gradients, indices, variable):
    """Sums gradients of equal indices without `tf.unique`, which XLA does not have.

    The first of equal indices gets the sum. The others become an index beyond the end, where XLA writes nothing.
    """
    number, places = variable.shape.as_list()[0], tf.range(tf.size(indices))
    first = tf.gather(tf.math.unsorted_segment_min(places, indices, number), indices)
    sums = tf.math.unsorted_segment_sum(gradients, first, tf.size(indices))
    behind = tf.fill(tf.shape(indices), tf.constant(number, indices.dtype))
    return sums, variable, tf.where(tf.equal(first, places), indices, behind)
