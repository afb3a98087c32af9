"""The update: clips a meta-gradient by global norm and applies it with the meta-optimizer."""

from __future__ import annotations

from collections import namedtuple
from typing import List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from l2l import checks, schedules
from l2l.learning.segments import MetaGradient
from l2l.nests import is_finite
from l2l.quiet import quietly

Update = namedtuple(
    "Update",
    [
        "gradient_norm",  # scalar, global norm of the gradients before clipping
        "applied",  # boolean: whether the update was made; it is skipped if a figure is NaN or infinite
    ],
)


class MetaOptimizer:
    """Applies the meta-gradients of a training, as its `Settings` say.

    Building an update computes the learning rate and creates the optimizer. So in a compiled loop every update gets its
    own rate. The number of updates is a variable: it must be right within a call of many meta-iterations, and after
    restoring a checkpoint.
    """

    def __init__(self, settings):
        self._rate, self._create, self._updates = settings.learning_rate, settings.meta_optimizer, None
        if callable(self._rate):
            self._updates = tf.get_variable(
                "meta_optimizer/updates", [], tf.int64, tf.zeros_initializer(), trainable=False, use_resource=True
            )

    def apply_gradients(self, grads_and_vars):
        """Applies gradients like a `tf.train.Optimizer`, and counts the update.

        Raises:
          TypeError: `meta_optimizer` does not return a `tf.train.Optimizer`.
        """
        rate = self._rate
        if self._updates is not None:
            rate = tf.cast(schedules.at("learning_rate", rate, tf.convert_to_tensor(self._updates)), tf.float32)
        if self._create is None:
            optimizer = tf.train.AdamOptimizer(rate)
        else:
            optimizer = self._create(tf.convert_to_tensor(rate, tf.float32))
            if not isinstance(optimizer, tf.train.Optimizer):
                raise TypeError("meta_optimizer must return a tf.train.Optimizer, got %r" % (optimizer,))
        return optimizer.apply_gradients(grads_and_vars, self._updates)


def clipped(gradients: Sequence[tf.Tensor], clip_norm: Optional[float] = 1.0) -> Tuple[List[tf.Tensor], tf.Tensor]:
    """Clips gradients by their global norm: `g / max(1, |g| / clip_norm)`.

    `|g|` is the norm of all gradients together. Unlike `tf.clip_by_global_norm`, it stays finite at zero under XLA.

    Args:
      gradients: list of tensors.
      clip_norm: a positive number of float32; None leaves the gradients unchanged.

    Returns:
      `(clipped gradients, |g|)`.

    Raises:
      TypeError, ValueError: `clip_norm` is not a positive number of float32.
    """
    norm = tf.global_norm(gradients)
    if clip_norm is None:
        return list(gradients), norm
    clip_norm = checks.positive_float32("clip_norm", clip_norm)
    # tf.clip_by_global_norm divides by the norm, and XLA's fast math makes NaN of that where the norm is zero.
    factor = clip_norm / tf.maximum(norm, clip_norm)
    return [factor * gradient for gradient in gradients], norm


@quietly()
def update(
    meta: MetaGradient,
    variables: Sequence[tf.Variable],
    meta_optimizer: Union[tf.train.Optimizer, MetaOptimizer],
    *,
    clip_norm: Optional[float] = 1.0,
    adapted: Sequence[tf.Variable] = (),
) -> Update:
    """Clips a meta-gradient and applies it to the variables.

        meta = l2l.meta_gradient(problem, problem.draw(), optimizer, variables)
        step = l2l.update(meta, variables, tf.train.AdamOptimizer(3e-4))
        session.run(step.applied)

    If the meta-loss, the last loss or the gradient's norm is NaN or infinite, nothing changes: not the weights, not the
    state of the meta-optimizer, not the variables that the optimizer adapts.

    Args:
      meta: a `MetaGradient`.
      variables: the list of variables that `meta` was computed for.
      meta_optimizer: a `tf.train.Optimizer`, such as `tf.train.AdamOptimizer(3e-4)` in Episode 1. The trainer passes a
        `MetaOptimizer`.
      clip_norm: as for `clipped`.
      adapted: the optimizer's `adapted` variables; they get the values of `meta.adapted`.

    Returns:
      An `Update`. Fetching its `applied` makes the update.

    Raises:
      TypeError, ValueError: `clip_norm` is not a positive number of float32, or gradients and variables differ in
        number.
    """
    if len(meta.gradients) != len(variables) or len(meta.adapted) != len(adapted):
        raise ValueError(
            "variables and adapted must be as many as the gradients and adapted values, %d and %d, got %d and %d"
            % (len(meta.gradients), len(meta.adapted), len(variables), len(adapted))
        )
    with tf.name_scope("update"):
        gradients, norm = clipped(meta.gradients, clip_norm)
        if meta.adapted:  # an adapted value that is not finite counts as a bad meta-gradient
            finite = tf.reduce_all([tf.reduce_all(is_finite(value)) for value in meta.adapted])
            norm = tf.where(finite, norm, tf.constant(float("nan"), norm.dtype))
        finite = is_finite(norm) & is_finite(meta.meta_loss) & is_finite(meta.last_loss)

        def apply():
            with tf.name_scope(None):  # so that Adam's variables have the same names with every engine
                changes = [meta_optimizer.apply_gradients(list(zip(gradients, variables)))]
                changes += [variable.assign(value).op for variable, value in zip(adapted, meta.adapted)]
            with tf.control_dependencies(changes):
                return tf.constant(True)

        # All losses must be computed before the update, even those that the gradients do not need.
        with tf.control_dependencies([meta.losses, meta.meta_loss, *meta.adapted]):
            return Update(norm, tf.cond(finite, apply, lambda: tf.constant(False)))
