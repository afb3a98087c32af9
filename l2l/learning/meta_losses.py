"""Meta-losses: functions of the losses of an unroll that a learned optimizer minimizes."""

from typing import Callable, Dict

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.graphs import OwnGraph
from l2l.mapping import OverDraws
from l2l.nests import is_finite


def smallest_loss(dtype):
    """Returns the floor of losses under a log, a float.

    It is the smallest normal number of the dtype. TensorFlow's CPU kernels flush anything smaller to zero. For float32
    even a floor of 1e-38 would give log(0).
    """
    return float(np.finfo(dtype.as_numpy_dtype).tiny)


def floored_log(losses):
    """Natural log with a floor.

    A loss below `smallest_loss` gets the log of `smallest_loss`, and no gradient. A negative loss gets NaN.
    """
    smallest = smallest_loss(losses.dtype)

    def filled(value):
        return tf.fill(tf.shape(losses), tf.constant(value, losses.dtype))

    floored = tf.where(losses < smallest, filled(smallest), losses)
    # Compiled with fast math, the floor would take the place of a NaN.
    found = tf.where(is_finite(losses), tf.log(floored), tf.stop_gradient(losses))
    return tf.where(losses < 0, filled(np.nan), found)


# For the meta-losses of whole horizons: a loss this small counts as solved, and lowering it gains almost nothing.
_ARRIVED = 1e-7
_LATE = 0.8  # the weight of the end in "late_and_mean_log"


def _late_log(losses):
    """The log of the mean loss of the last tenth, from base iteration `ceil(0.9 T)` on."""
    steps = tf.shape(losses)[0]
    first = (9 * steps + 9) // 10
    return tf.log(tf.reduce_mean(losses[tf.minimum(first, steps - 1) :], axis=0) + _ARRIVED)


def _mean_log(losses):
    return tf.reduce_mean(tf.log(losses + _ARRIVED), axis=0)


META_LOSSES: Dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "sum": lambda losses: tf.reduce_sum(losses, axis=0),
    "end": lambda losses: losses[-1],
    "end_log": lambda losses: floored_log(losses[-1]),
    "sum_log": lambda losses: tf.reduce_sum(floored_log(losses), axis=0),
    "late_log": _late_log,
    "mean_log": _mean_log,
    "late_and_mean_log": lambda losses: _LATE * _late_log(losses) + (1 - _LATE) * _mean_log(losses),
}


def get_meta_loss(meta_loss):
    """Returns the function of that name in `META_LOSSES`, or the function itself.

    Raises:
      ValueError: the name is unknown.
      TypeError: `meta_loss` is neither a name nor a function of one argument.
    """
    if callable(meta_loss):
        return checks.function_of_one_argument("meta_loss", meta_loss, "the losses")
    if not isinstance(meta_loss, str):
        known = ", ".join(sorted(META_LOSSES))
        raise TypeError("meta_loss must be callable or one of %s, got %r" % (known, meta_loss))
    return META_LOSSES[checks.one_of("meta_loss", meta_loss, META_LOSSES)]


def meta_loss_of(meta_loss, losses, batch=None):
    """Computes the meta-loss of losses `[T]`, a scalar.

    For the losses `[T, B]` of a batch it is the mean over the draws. A custom meta-loss is a function of the losses of
    one draw. It is mapped over the draws of a batch.

    Raises:
      TypeError, ValueError: the meta-loss is unknown, or does not return a scalar of the losses' dtype.
    """
    function = get_meta_loss(meta_loss)
    with tf.name_scope("meta_loss"):
        if batch is None or isinstance(meta_loss, str):  # those of `META_LOSSES` take all draws at once
            value, shape = checks.tensor("meta_loss", function(losses)), losses.shape[1:]
        else:
            of_one = lambda one: checks.tensor("meta_loss", function(one))  # noqa: E731
            value = OverDraws("meta_loss")(of_one, tf.transpose(losses))
            shape = [batch]
        if not value.shape.is_compatible_with(shape):
            raise ValueError(
                "meta_loss must be a scalar (shape ()), got shape %s; tf.reduce_mean or tf.reduce_sum makes one"
                % (value.shape[0 if batch is None else 1 :],)
            )
        if value.dtype != losses.dtype:
            raise TypeError(
                "meta_loss must have the dtype of the losses, %s, got %s" % (losses.dtype.name, value.dtype.name)
            )
        return value if batch is None else tf.reduce_mean(value)


def check_depends_on_losses(meta_loss, value, losses, steps):
    """Refuses a custom meta-loss that nothing can be learned from.

    Such a meta-loss does not depend on any loss after the first. The check tries the function in a scratch graph on
    losses of many magnitudes. This also finds gradients that are always zero, such as those of `losses[0]` or
    `tf.sign`.

    Args:
      meta_loss: a name in `META_LOSSES`, or a function.
      value: what `meta_loss_of` returned for it.
      losses: the losses of that value.
      steps: how many losses one draw has.

    Raises:
      ValueError: nothing can be learned from the meta-loss.
    """
    if isinstance(meta_loss, str):
        return
    own = OwnGraph()
    with own.building():
        one_draw = tf.placeholder(losses.dtype, [steps])
        try:
            (gradient,) = tf.gradients(meta_loss_of(meta_loss, one_draw), one_draw)
            gradient = gradient if gradient is None else tf.convert_to_tensor(gradient)
        except Exception:  # it worked in the caller's graph, so it uses something of that graph
            own = None
    if own is None:
        (gradient,) = tf.gradients(value, losses)
        depends = gradient is not None
    else:
        depends = gradient is not None and _is_ever_nonzero(own, gradient, one_draw, steps)
    if not depends:
        raise ValueError(
            "meta_loss must depend on the losses after the first, which alone have seen an update; the gradient of %r "
            "with respect to them is zero" % (meta_loss,)
        )


def _is_ever_nonzero(own, gradient, losses, steps):
    """Whether the gradient with respect to the losses after the first is ever nonzero, for losses of many sizes."""
    random = np.random.RandomState(0)
    with own as session:
        for values in _probes(random, steps):
            try:
                found = session.run(gradient, {losses: values})
            except tf.errors.OpError:  # for example from an uninitialized variable: assume yes
                return True
            if np.any(found[1:] != 0):  # NaN too
                return True
    return False


def _probes(random, steps):
    """Yields losses that a draw may have: of many sizes, close or far apart, falling, rising and neither.

    They vary because a meta-loss may depend only on losses in a narrow range, or on a loss that fell by much.
    """
    for spread in [0.3, 3, 30]:
        for exponent in range(-30, 31, 3):
            values = 10.0 ** np.clip(exponent + spread * random.uniform(-1, 1, steps), -37, 37)
            rising = np.sort(values)
            yield from [values, rising, rising[::-1], -values]
    for exponent in np.linspace(-6, 6, 241):  # steps of an eighth
        yield np.full(steps, 10.0**exponent)
