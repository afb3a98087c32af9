"""A problem's own form for many draws at once, compared with the one for a single draw."""

import numpy as np
import tensorflow as tf

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
        elsewhere = tf.nest.map_structure(lambda tensor: 0.5 * tensor + 0.25, x)
        figures = []
        for place in [x, elsewhere]:
            for by_draw in [False, True]:
                losses = loss_function(problem, draws, batch, by_draw)(place, tf.constant(0))
                figures.append([losses, *tf.gradients(losses, tf.nest.flatten(place))])
    number = len(figures[0])
    figures = [tf.zeros([]) if figure is None else tf.convert_to_tensor(figure) for one in figures for figure in one]

    def check(session, feed):
        values = session.run(figures, feed)
        for start in [0, 2 * number]:
            pairs = zip(values[start : start + number], values[start + number : start + 2 * number])
            for what, (ours, expected) in zip(["losses", *["gradients"] * (number - 1)], pairs):
                scale = np.abs(expected).max() if np.isfinite(expected).all() else 1.0
                if not np.allclose(ours, expected, rtol=1e-3, atol=1e-4 * scale + 1e-30, equal_nan=True):
                    raise ValueError(
                        "batch_loss of %s must be loss of each draw; for %d draws it has %s %s, and loss has %s"
                        % (type(problem).__name__, batch, what, _shortened(ours), _shortened(expected))
                    )

    return check


def _shortened(values):
    return np.array2string(np.ravel(values)[:6], precision=6, separator=", ")
