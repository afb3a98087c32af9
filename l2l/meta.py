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
    """Natural log. A loss below `SMALLEST_LOSS` gets that one's log, and no gradient. NaN stays NaN."""
    return tf.log(
        tf.where(losses < SMALLEST_LOSS, tf.fill(tf.shape(losses), tf.cast(SMALLEST_LOSS, losses.dtype)), losses)
    )


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


def clip_and_apply(adam, gradients, variables, clip_norm=1.0, unless=False):
    """Clips by global norm and applies: `g / max(1, |g| / clip_norm)`, `|g|` over all gradients together.

    Where the norm is NaN or infinite nothing is applied: neither variables nor Adam's own state change.

    Args:
      adam: a `tf.train.Optimizer`, in Episode 1 `tf.train.AdamOptimizer(3e-4)`.
      gradients, variables: lists of the same length.
      clip_norm: a positive number.
      unless: a boolean tensor; where it is true nothing is applied either.

    Returns:
      `(applied, norm)`: a boolean tensor, which has updated the variables once it is known, and the norm
      before clipping, a scalar.

    Raises:
      TypeError, ValueError: `clip_norm` is not a positive finite number.
    """
    clip_norm = _checks.positive_number("clip_norm", clip_norm)
    norm = tf.global_norm(gradients)
    # tf.clip_by_global_norm divides by the norm, and XLA's fast math makes NaN of that where the norm is zero.
    factor = clip_norm / tf.maximum(norm, clip_norm)
    clipped = [factor * gradient for gradient in gradients]

    def applied():
        with tf.name_scope(None):  # so that Adam's variables have the same names with every engine
            update = adam.apply_gradients(zip(clipped, variables))
        with tf.control_dependencies([update]):
            return tf.constant(True)

    return tf.cond(tf.is_finite(norm) & ~tf.convert_to_tensor(unless), applied, lambda: tf.constant(False)), norm


MetaStep = namedtuple(
    "MetaStep",
    [
        "losses",  # [T], or [T, B] for a batch of draws; before the update
        "meta_loss",  # scalar, before the update: the mean over the batch
        "last_loss",  # scalar, the last of the losses; of a batch, exp(mean(log(loss)))
        "gradients",  # of the meta-loss, one for each variable, before clipping; zeros where it does not depend on it
        "gradient_norm",  # scalar, their global norm
        "update",  # boolean: whether the variables were updated, which they are not where a figure is NaN or infinite
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
    shards=1,
    call_shard=lambda function, draw: function(*draw),
):
    """Builds one meta-iteration: a pure function of the variables and the draw, then their update.

    Where the meta-loss, the last loss or the gradient's norm is NaN or infinite, nothing is updated.

    Args:
      problem, draw: a `Problem` and one draw of it.
      optimizer: the learned optimizer, `(gradients, state) -> (update, state)`.
      variables: list of the variables to train.
      adam: the meta-optimizer, a `tf.train.Optimizer`.
      meta_loss: a name in `META_LOSSES`, or a function of the losses `[T]` to a scalar; with a
        batch, of the losses `[T, B]` to `[B]`.
      steps, second_derivatives, loop, batch: as for `learn`.
      clip_norm: as for `clip_and_apply`.
      shards: the batch is cut into so many equal parts, and their gradients are averaged. Parts depend on the
        variables and on nothing else, so a session with as many threads computes them side by side.
      call_shard: how a part is computed: a function of the part's function and of the flat list of its arguments.

    Returns:
      A `MetaStep`.

    Raises:
      TypeError, ValueError: as `learn` and `clip_and_apply`; an unknown meta-loss, one that is
        not a scalar, or one that depends on none of the variables; shards that do not divide the batch.
    """
    shards = _checks.positive_integer("shards", shards)
    if (batch or 1) % shards:
        raise ValueError("shards must divide the batch, %r, got %r" % (batch or 1, shards))
    function = get_meta_loss(meta_loss)
    size = batch and batch // shards

    def losses_and_gradients(*flat_draw):
        losses = learn(
            problem, tf.nest.pack_sequence_as(draw, flat_draw), optimizer, steps, loop, second_derivatives, size
        )
        value = _scalar_meta_loss(function(losses), size)
        gradients = tf.gradients(value, variables)
        if not any(gradient is not None for gradient in gradients):
            raise ValueError(
                "meta_loss must depend on the optimizer's variables, it depends on none "
                "(with steps=%r the losses have seen %d updates)" % (steps, steps - 1)
            )
        return [losses, value, *[_dense(*pair) for pair in zip(gradients, variables)]]

    flat = tf.nest.flatten(draw)
    if shards == 1:
        losses, value, *gradients = losses_and_gradients(*flat)
    else:
        parts = zip(*[tf.split(tensor, shards) for tensor in flat])
        losses, values, *gradients = zip(*[call_shard(losses_and_gradients, part) for part in parts])
        losses, value = tf.concat(losses, axis=1), tf.add_n(values) / shards
        gradients = [tf.add_n(pieces) / shards for pieces in gradients]
    last = losses[-1] if batch is None else tf.exp(tf.reduce_mean(floored_log(losses[-1])))
    # Losses are those before the update, even ones that the gradients do not need.
    with tf.control_dependencies([losses, value]):
        unless = ~tf.is_finite(value) | ~tf.is_finite(last)
        update, norm = clip_and_apply(adam, gradients, variables, clip_norm, unless)
    return MetaStep(losses, value, last, gradients, norm, update)


def _scalar_meta_loss(value, batch):
    """The meta-loss as a scalar tensor, checked: that of one draw, or the mean of a batch."""
    value = _checks.tensor("meta_loss", value)
    if batch is None and not value.shape.is_compatible_with([]):
        raise ValueError("meta_loss must be a scalar (shape ()), got shape %s" % (value.shape,))
    if batch is not None and not value.shape.is_compatible_with([batch]):
        raise ValueError(
            "meta_loss must keep the last axis of a batch of draws (shape (%d,)), so reduce with axis=0, "
            "got shape %s" % (batch, value.shape)
        )
    return value if batch is None else tf.reduce_mean(value)


def _dense(gradient, variable):
    return tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
