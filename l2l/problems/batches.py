"""Compares what a problem computes for many draws at once with what it computes for each draw alone."""

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.mapping import control_flow_kept, first_line, warn_of_fallback
from l2l.nests import tensors_of
from l2l.problems.binding import BoundProblem, not_differentiable


def check_batch(problem, draws, batch, *, second_derivatives=False):
    """Builds the comparison of a batch with single draws.

    It is needed because TensorFlow vectorizes some ops wrongly, other ops fail when they run, and a `batch_loss` may
    differ from `loss`. It compares up to three draws: the first, a middle one, the last. For each it compares the
    start, and losses and gradients at and near the start. The cost is to build and run the loss and its gradients four
    times, in a graph that serves nothing else.

    Args:
      problem: a `Problem`.
      draws: the draws, a nest of tensors with a leading axis of length `batch`.
      batch: how many draws, at least 2.
      second_derivatives: whether to compare derivatives of the gradients too, if the problem has them.

    Returns:
      A function of a session and of the feed for the draws. Call it while their graph is the default graph and not
      finalized. It returns whether the problem must be computed draw by draw, and warns if so.

    Raises, on calling that function:
      ValueError: a single draw cannot be computed, or the problem's `batch_loss` differs from its `loss`.
    """
    name, places = type(problem).__name__, sorted({0, batch // 2, batch - 1})
    with tf.name_scope("check_batch"):
        alone = [BoundProblem(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws)) for i in places]
        starts = [one.start() for one in alone]
        xs = [_placeholders_like(start) for start in starts]
        with_second = [second_derivatives and _has_second_derivatives(one, x) for one, x in zip(alone, xs)]
        second_derivatives = all(with_second)
        singles = [_figures(one, x, second_derivatives) for one, x in zip(alone, xs)]

    def expected(session, feed):
        """Computes starts of the compared draws, and figures at and near them: lists of arrays `[3, ...]`."""
        try:
            values = session.run([tensors_of(start) for start in starts], feed)
            found = [_stacked(values)]
            for x in [values, [_elsewhere(value) for value in values]]:
                fed = {place: value for nest, each in zip(xs, x) for place, value in zip(tf.nest.flatten(nest), each)}
                found.append(_stacked(session.run(singles, {**feed, **fed})))
            return found
        except tf.errors.OpError as error:
            raise ValueError("loss of %s cannot be computed: %s" % (name, first_line(error))) from None

    def difference(session, feed, right, together):
        """Finds how a batch differs: `(what differs, its values, the right values)`, or None."""
        with tf.name_scope("check_batch"):
            start = together.start()
            x = _placeholders_like(start)
            figures = _figures(together, x, second_derivatives)
        values = session.run(tensors_of(start), feed)
        found = [values]
        for each in [values, _elsewhere(values)]:
            found.append(session.run(figures, {**feed, **dict(zip(tf.nest.flatten(x), each))}))
        kinds = ["losses", *["gradients"] * len(values), *["second derivatives"] * len(values)]
        for names, ours, theirs in zip([["initial positions"] * len(values), kinds, kinds], found, right):
            for what, one, other in zip(names, ours, theirs):
                scale = np.abs(other).max(initial=0.0) if np.isfinite(other).all() else 1.0
                if not np.allclose(one[places], other, rtol=1e-3, atol=1e-4 * scale + 1e-30, equal_nan=True):
                    return what, one[places], other
        return None

    def check(session, feed):
        right = expected(session, feed)
        together = BoundProblem(problem, draws, batch)
        try:
            found = difference(session, feed, right, together)
            reason = found and "vectorized, its %s would be %s, not %s" % (found[0], *map(_shortened, found[1:]))
        except Exception as error:  # of any kind: single draws can be computed
            reason = "vectorized, the op %s fails: %s" % (_op_of(error), first_line(error))
        if not reason:
            return together.draw_by_draw
        if together.has_own_form:
            found = difference(session, feed, right, BoundProblem(problem, draws, batch, draw_by_draw=True))
            if found:
                raise ValueError(
                    "batch_loss of %s must be loss of each draw; for %d draws it has %s %s, and loss has %s"
                    % (name, batch, found[0], *map(_shortened, found[1:]))
                )
        warn_of_fallback(name, reason)
        return True

    return check


def _placeholders_like(x):
    return tf.nest.map_structure(lambda one: tf.placeholder(one.dtype, one.shape), x)


def _figures(bound, x, second_derivatives):
    """Returns the loss, its gradients, and if asked for the gradients of their sum: a flat list of tensors."""
    loss = bound.loss(x, tf.constant(0))
    try:
        gradients = _gradients(loss, x)
    except LookupError as error:
        raise not_differentiable(error) from error
    try:
        return [loss, *gradients, *(_gradients(gradients, x) if second_derivatives else [])]
    except (LookupError, TypeError) as error:  # a loop raises TypeError
        raise ValueError(
            "second_derivatives must be False for a loss with an op that has none: %s" % first_line(error)
        ) from error


def _gradients(of, x):
    return tensors_of(tf.gradients(of, tf.nest.flatten(x), unconnected_gradients=tf.UnconnectedGradients.ZERO))


def _has_second_derivatives(bound, x):
    try:
        with control_flow_kept():
            _figures(bound, x, True)
    except ValueError:  # a training reports it itself
        return False
    return True


def _elsewhere(values):
    return [0.5 * value + 0.25 for value in values]


def _stacked(draws):
    return [np.stack(many) for many in zip(*draws)]


def _op_of(error):
    """Returns type and name of the op that an error came from, if the error tells."""
    op = getattr(error, "op", None)
    return "%s (%r)" % (op.type, op.name) if op is not None else "behind a %s" % type(error).__name__


def _shortened(values):
    return np.array2string(np.ravel(values)[:6], precision=6, separator=", ")
