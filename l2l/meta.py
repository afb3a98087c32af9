"""The meta-step: one update of a learned optimizer's weights.

Losses of an unroll, a meta-loss of them, its gradient with respect to the weights, clipping
by global norm, Adam.
"""

from collections import namedtuple

import numpy as np
import tensorflow as tf

from l2l import _checks
from l2l.unroll import learn

# Under a log, a loss counts as no smaller than this: the smallest normal float32. TensorFlow's
# CPU kernels flush anything smaller to zero, so 1e-38 itself would not keep log(0) away.
SMALLEST_LOSS = float(np.finfo(np.float32).tiny)


def floored_log(losses):
    """Natural log. A loss below `SMALLEST_LOSS` gets that one's log, and no gradient."""
    return tf.log(tf.maximum(losses, SMALLEST_LOSS))


META_LOSSES = {
    "sum": lambda losses: tf.reduce_sum(losses, axis=0),
    "end": lambda losses: losses[-1],
    "end_log": lambda losses: floored_log(losses[-1]),
    "sum_log": lambda losses: tf.reduce_sum(floored_log(losses), axis=0),
}


def get_meta_loss(meta_loss):
    """The function of that name in `META_LOSSES`, or the function itself.

    Raises:
      ValueError: an unknown name.
      TypeError: neither a name nor callable.
    """
    if callable(meta_loss):
        return meta_loss
    if not isinstance(meta_loss, str):
        known = ", ".join(sorted(META_LOSSES))
        raise TypeError("meta_loss must be callable or one of %s, got %r" % (known, meta_loss))
    return META_LOSSES[_checks.one_of("meta_loss", meta_loss, META_LOSSES)]


def clip_and_apply(adam, gradients, variables, clip_norm=1.0):
    """Clips by global norm and applies: `g / max(1, |g| / clip_norm)`, `|g|` over all gradients together.

    Args:
      adam: a `tf.train.Optimizer`, in Episode 1 `tf.train.AdamOptimizer(3e-4)`.
      gradients, variables: lists of the same length.
      clip_norm: a positive number.

    Returns:
      `(op, norm)`: the op that updates the variables, and the norm before clipping, a scalar.

    Raises:
      TypeError, ValueError: `clip_norm` is not a positive finite number.
    """
    clip_norm = _checks.positive_number("clip_norm", clip_norm)
    clipped, norm = tf.clip_by_global_norm(gradients, clip_norm)
    return adam.apply_gradients(zip(clipped, variables)), norm


MetaStep = namedtuple(
    "MetaStep",
    [
        "losses",  # [T], or [T, B] for a batch of draws; before the update
        "meta_loss",  # scalar, before the update: the mean over the batch
        "gradients",  # of the meta-loss, one for each variable, before clipping
        "gradient_norm",  # scalar, their global norm
        "update",  # the op that changes the variables
    ],
)


def meta_step(
    problem,
    draw,
    optimizer,
    variables,
    adam,
    meta_loss="sum",
    steps=20,
    clip_norm=1.0,
    second_derivatives=True,
    loop="python",
    batch=None,
):
    """Builds one meta-iteration: a pure function of the variables and the draw, then their update.

    Args:
      problem, draw: a `Problem` and one draw of it.
      optimizer: the learned optimizer, `(gradients, state) -> (update, state)`.
      variables: list of the variables to train.
      adam: the meta-optimizer, a `tf.train.Optimizer`.
      meta_loss: a name in `META_LOSSES`, or a function of the losses `[T]` to a scalar; with a
        batch, of the losses `[T, B]` to `[B]`.
      steps, second_derivatives, loop, batch: as for `learn`.
      clip_norm: as for `clip_and_apply`.

    Returns:
      A `MetaStep`.

    Raises:
      TypeError, ValueError: as `learn` and `clip_and_apply`; an unknown meta-loss, one that is
        not a scalar, or one that depends on none of the variables.
    """
    function = get_meta_loss(meta_loss)
    losses = learn(problem, draw, optimizer, steps, loop, second_derivatives, batch)
    value = _checks.tensor("meta_loss", function(losses))
    if batch is None and not value.shape.is_compatible_with([]):
        raise ValueError("meta_loss must be a scalar (shape ()), got shape %s" % (value.shape,))
    if batch is not None:
        if not value.shape.is_compatible_with([batch]):
            raise ValueError(
                "meta_loss must keep the last axis of a batch of draws (shape (%d,)), so reduce with axis=0, "
                "got shape %s" % (batch, value.shape)
            )
        value = tf.reduce_mean(value)
    gradients = tf.gradients(value, variables)
    trained = [pair for pair in zip(gradients, variables) if pair[0] is not None]
    if not trained:
        raise ValueError(
            "meta_loss must depend on the optimizer's variables, it depends on none "
            "(with steps=%r the losses have seen %d updates)" % (steps, steps - 1)
        )
    gradients, variables = zip(*trained)
    # Losses are those before the update, even ones that the gradients do not need.
    with tf.control_dependencies([losses, value]):
        update, norm = clip_and_apply(adam, gradients, variables, clip_norm)
    return MetaStep(losses, value, gradients, norm, update)
