"""A problem's own form for many draws at once, compared with the one for a single draw."""

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.nests import tensors_of
from l2l.problems.problem import Problem, initial_position, loss_function


def check_batch_loss(problem, draws, batch):
    """Builds the comparison of `batch_loss` with `loss` on each of some draws, at and near the initial positions.

    Args:
      problem: a `Problem`.
      draws: so many draws, a nest of tensors with a leading axis.
      batch: how many.

    Returns:
      Function of a session and what to feed for the draws, which raises `ValueError` where they differ; None for a
      problem without a form of its own.
    """
    if type(problem).batch_loss is Problem.batch_loss:
        return None
    with tf.name_scope("check_batch_loss"):
        x = initial_position(problem, draws, batch)
        starts = tf.nest.flatten(x)
        places = [tf.placeholder_with_default(start, start.shape) for start in starts]
        figures = []
        for by_draw in [False, True]:
            losses = loss_function(problem, draws, batch, by_draw)(tf.nest.pack_sequence_as(x, places), tf.constant(0))
            gradients = tf.gradients(losses, places, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            figures.append(tensors_of([losses, *gradients]))

    def check(session, feed):
        elsewhere = [0.5 * start + 0.25 for start in session.run(starts, feed)]
        for fed in [feed, {**feed, **dict(zip(places, elsewhere))}]:
            for i, (ours, expected) in enumerate(zip(*session.run(figures, fed))):
                scale = np.abs(expected).max() if np.isfinite(expected).all() else 1.0
                if not np.allclose(ours, expected, rtol=1e-3, atol=1e-4 * scale + 1e-30, equal_nan=True):
                    raise ValueError(
                        "batch_loss of %s must be loss of each draw; for %d draws it has %s %s, and loss has %s"
                        % (
                            type(problem).__name__,
                            batch,
                            "gradients" if i else "losses",
                            _shortened(ours),
                            _shortened(expected),
                        )
                    )

    return check


def _shortened(values):
    return np.array2string(np.ravel(values)[:6], precision=6, separator=", ")
