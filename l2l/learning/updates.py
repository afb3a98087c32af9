"""The update: a meta-gradient, clipped by global norm, moves the learned weights by a step of the meta-optimizer."""

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
        "applied",  # boolean: whether anything was changed, which it is not where a figure is NaN or infinite
    ],
)


class MetaOptimizer:
    """What applies the meta-gradients of a training, from its `Settings`.

    The learning rate is computed, and the optimizer created, where an update is built: within a compiled loop the rate
    is that of each update. The number of updates is a variable, since it has to be right within a call of many
    meta-iterations, and after a checkpoint.
    """

    def __init__(self, settings):
        self._rate, self._create, self._updates = settings.learning_rate, settings.meta_optimizer, None
        if callable(self._rate):
            self._updates = tf.get_variable(
                "meta_optimizer/updates", [], tf.int64, tf.zeros_initializer(), trainable=False, use_resource=True
            )

    def apply_gradients(self, grads_and_vars):
        """As of a `tf.train.Optimizer`; counts the update.

        Raises:
          TypeError: `meta_optimizer` creates no `tf.train.Optimizer`.
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
    """Gradients clipped by global norm: `g / max(1, |g| / clip_norm)`, `|g|` over all of them together.

    Args:
      gradients: list of tensors.
      clip_norm: a positive number of float32; None for gradients as they are.

    Returns:
      `(clipped gradients, |g|)`.

    Raises:
      TypeError, ValueError: `clip_norm` is not such a number.
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
    """Clips a meta-gradient and applies it.

    Where the meta-loss, the last loss or the gradient's norm is NaN or infinite nothing is applied: neither the
    weights nor the meta-optimizer's own state change, nor what the optimizer adapts.

    Args:
      meta: a `MetaGradient`.
      variables: the list of variables that it was made for.
      meta_optimizer: a `tf.train.Optimizer`; in Episode 1 `tf.train.AdamOptimizer(3e-4)`. Or a `MetaOptimizer`.
      clip_norm: as for `clipped`.
      adapted: the optimizer's `adapted` variables, which get the values of `meta.adapted`.

    Returns:
      An `Update`; its `applied` has changed the variables once it is known.

    Raises:
      TypeError, ValueError: `clip_norm` is no positive number of float32; not as many gradients as variables.
    """
    if len(meta.gradients) != len(variables) or len(meta.adapted) != len(adapted):
        raise ValueError(
            "variables and adapted must be as many as the gradients and adapted values, %d and %d, got %d and %d"
            % (len(meta.gradients), len(meta.adapted), len(variables), len(adapted))
        )
    with tf.name_scope("update"):
        gradients, norm = clipped(meta.gradients, clip_norm)
        if meta.adapted:  # of which one that is not finite counts as a bad meta-gradient
            finite = tf.reduce_all([tf.reduce_all(is_finite(value)) for value in meta.adapted])
            norm = tf.where(finite, norm, tf.constant(float("nan"), norm.dtype))
        finite = is_finite(norm) & is_finite(meta.meta_loss) & is_finite(meta.last_loss)

        def apply():
            with tf.name_scope(None):  # so that Adam's variables have the same names with every engine
                changes = [meta_optimizer.apply_gradients(list(zip(gradients, variables)))]
                changes += [variable.assign(value).op for variable, value in zip(adapted, meta.adapted)]
            with tf.control_dependencies(changes):
                return tf.constant(True)

        # Losses are those before the update, even ones that the gradients do not need.
        with tf.control_dependencies([meta.losses, meta.meta_loss, *meta.adapted]):
            return Update(norm, tf.cond(finite, apply, lambda: tf.constant(False)))
