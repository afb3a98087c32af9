"""Meta-losses: what a learned optimizer is trained on, a number made of the losses of an unroll."""

from typing import Callable, Dict

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.graphs import OwnGraph
from l2l.mapping import OverDraws
from l2l.nests import is_finite


def smallest_loss(dtype):
    """Under a log, a loss counts as no smaller than this: the smallest normal number of its dtype, a float.

    TensorFlow's CPU kernels flush anything smaller to zero, so for float32 1e-38 itself would not keep log(0) away.
    """
    return float(np.finfo(dtype.as_numpy_dtype).tiny)


def floored_log(losses):
    """Natural log. A loss below `smallest_loss` gets that one's log, and no gradient; a negative one gets NaN."""
    smallest = smallest_loss(losses.dtype)

    def filled(value):
        return tf.fill(tf.shape(losses), tf.constant(value, losses.dtype))

    floored = tf.where(losses < smallest, filled(smallest), losses)
    # Compiled with fast math, the floor would take the place of a NaN.
    found = tf.where(is_finite(losses), tf.log(floored), tf.stop_gradient(losses))
    return tf.where(losses < 0, filled(np.nan), found)


# Of the meta-losses of whole horizons: a loss this small has arrived, and is worth no more effort.
_ARRIVED = 1e-7
_LATE = 0.8  # the weight of the end in "late_and_mean_log"


def _late_log(losses):
    """The log of the mean of the last tenth, from base iteration `ceil(0.9 T)` on."""
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
    return META_LOSSES[checks.one_of("meta_loss", meta_loss, META_LOSSES)]


def meta_loss_of(meta_loss, losses, batch=None):
    """The meta-loss of losses `[T]`, a scalar; of a batch's `[T, B]`, its mean over the draws.

    A meta-loss of one's own is a function of the losses of one draw, and is mapped over those of a batch.

    Raises:
      TypeError, ValueError: an unknown meta-loss, or one that does not return a scalar of the losses' dtype.
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
                "meta_loss must be a scalar (shape ()), got shape %s" % (value.shape[0 if batch is None else 1 :],)
            )
        if value.dtype != losses.dtype:
            raise TypeError(
                "meta_loss must have the dtype of the losses, %s, got %s" % (losses.dtype.name, value.dtype.name)
            )
        return value if batch is None else tf.reduce_mean(value)


def check_depends_on_losses(meta_loss, value, losses, steps):
    """Refuses a meta-loss from which nothing can be learned, since no loss that has seen an update changes it.

    A function of the user's is tried in a graph of its own, on losses of many sizes: there a gradient that is always
    zero shows too, as that of `losses[0]` or of `tf.sign`.

    Args:
      meta_loss: a name in `META_LOSSES`, or a function.
      value, losses, steps: what `meta_loss_of` returned, for which losses, and how many a draw has.

    Raises:
      ValueError: it is such a meta-loss.
    """
    if isinstance(meta_loss, str):
        return
    own = OwnGraph()
    with own.building():
        one_draw = tf.placeholder(losses.dtype, [steps])
        try:
            (gradient,) = tf.gradients(meta_loss_of(meta_loss, one_draw), one_draw)
            gradient = gradient if gradient is None else tf.convert_to_tensor(gradient)
        except Exception:  # whatever it was: in the caller's graph it has worked, so it uses something of that graph
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
    """Whether the gradient behind the first of the losses is anything but 0 for some losses, small to large."""
    random = np.random.RandomState(0)
    with own as session:
        for values in _probes(random, steps):
            try:
                found = session.run(gradient, {losses: values})
            except tf.errors.OpError:  # as for a variable of its own: nobody knows
                return True
            if np.any(found[1:] != 0):  # NaN too
                return True
    return False


def _probes(random, steps):
    """Losses that a draw may have, a generator: of many sizes, alike or far apart, falling, rising and neither.

    A meta-loss may look at losses in a narrow range alone, or at a draw whose loss fell by much.
    """
    for spread in [0.3, 3, 30]:
        for exponent in range(-30, 31, 3):
            values = 10.0 ** np.clip(exponent + spread * random.uniform(-1, 1, steps), -37, 37)
            rising = np.sort(values)
            yield from [values, rising, rising[::-1], -values]
    for exponent in np.linspace(-6, 6, 241):  # steps of an eighth
        yield np.full(steps, 10.0**exponent)
