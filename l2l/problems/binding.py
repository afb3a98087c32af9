"""A problem bound to its draws in one graph: where it starts, and its loss as a function of position and time."""

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.util import nest

from l2l import checks
from l2l.graphs import data_in_graph, own_graph
from l2l.mapping import OverDraws, first_line
from l2l.problems.problem import Problem, all_observed


class BoundProblem:
    """A problem together with one draw or a batch of draws. Everything that computes with a problem uses it.

    An `OverDraws` maps the problem's methods over a batch. If the problem defines `batch_loss`, that is used instead.

    Args:
      problem: a `Problem`.
      draw: one draw, a nest of tensors; with a batch, many draws along a leading axis.
      batch: None for one draw, or the number of draws.
      draw_by_draw: whether the graph gets a copy of the problem for each draw; `check_batch` finds out.

    Attributes:
      problem, draw, batch: the arguments.
      draw_by_draw: whether the graph gets a copy for each draw, as given or as found since.
    """

    def __init__(self, problem, draw, batch=None, *, draw_by_draw=False):
        self.problem, self.draw, self.batch = problem, draw, batch
        self._over_draws = OverDraws(type(problem).__name__, draw_by_draw)

    draw_by_draw = property(lambda self: self._over_draws.draw_by_draw)

    @property
    def has_own_form(self):
        """Whether the problem defines `batch_loss`."""
        return type(self.problem).batch_loss is not Problem.batch_loss

    def start(self):
        """Returns the initial position `x_0`, a nest of tensors; for a batch `[B, ...]`.

        Raises:
          TypeError: it is not a nest of tensors, or one of them is neither float32 nor float64.
          ValueError: `initial_position` creates variables.
        """
        what = "initial_position of %s" % type(self.problem).__name__
        with tf.name_scope("initial_position"), checks.no_variables("initial_position", self.problem):
            x = self._mapped(self.problem.initial_position, self.draw)
            # New tensors: a loss may compare `x` with the draw, and the gradient must flow into `x` alone.
            x = tf.nest.map_structure(lambda one: tf.identity(checks.tensor(what, one)), x)
        for path, tensor in zip(paths(x), tf.nest.flatten(x)):
            if tensor.dtype not in (tf.float32, tf.float64):  # in float16 Adam's epsilon is 0
                raise TypeError("%s must be float32 or float64, got %s for %s" % (what, tensor.dtype.name, path))
        return x

    def loss(self, x, t):
        """Computes the loss of a position at base iteration `t`, a scalar; for a batch `[B]`.

        Args:
          x: the position, a nest like `start()`.
          t: a scalar int32 tensor.

        Raises:
          ValueError: the loss has another shape, or creates variables.
          TypeError: the loss is not a tensor, or has another dtype than `x`.
        """
        dtype, name = tf.nest.flatten(x)[0].dtype, type(self.problem).__name__
        is_whole = self.batch is not None and self.has_own_form  # `batch_loss`, not a mapped `loss`
        with tf.name_scope("loss"), checks.no_variables("observe and loss", self.problem):
            try:
                observed = self._observed(t)
                if is_whole:
                    value = self.problem.batch_loss(x, observed)
                else:
                    value = self._mapped(self.problem.loss, x, observed)
            except (TypeError, ValueError) as error:
                _name_data_of_other_dtype(self.problem, dtype, error)
                raise
            value = checks.tensor("loss of %s" % name, value)
        if is_whole and not value.shape.is_compatible_with([self.batch]):
            raise ValueError(
                "batch_loss of %s must return a loss for each draw (shape (%d,)), got shape %s"
                % (name, self.batch, value.shape)
            )
        one = value.shape if self.batch is None else value.shape[1:]
        if not one.is_compatible_with([]):
            raise ValueError(
                "loss of %s must be a scalar (shape ()), got shape %s; tf.reduce_mean or tf.reduce_sum makes one"
                % (name, one)
            )
        if value.dtype != dtype:
            raise TypeError("loss of %s must have the dtype of x, %s, got %s" % (name, dtype.name, value.dtype.name))
        return value

    def loss_on_whole_data(self, x):
        """Computes the loss of one draw's position on all the data, a scalar.

        Raises:
          ValueError: the problem overrides `observe` but not `observe_all`, or its loss on all data is not a scalar.
        """
        problem = self.problem
        with tf.name_scope("loss_on_whole_data"), checks.no_variables("observe_all and loss", problem):
            name = "loss of %s" % type(problem).__name__
            value = checks.tensor(name, problem.loss(x, all_observed(problem, self.draw, data_in_graph(problem))))
        if not value.shape.is_compatible_with([]):
            raise ValueError("%s must be a scalar (shape ()) of observe_all too, got shape %s" % (name, value.shape))
        return value

    def active(self):
        """Says which tensors of a position are not idle: a nest of booleans, `[B]` for a batch; None for all.

        See `Problem.active`.
        """
        problem = self.problem
        if getattr(type(problem), "active", Problem.active) is Problem.active:
            return None
        with tf.name_scope("active"):
            one = self.draw if self.batch is None else tf.nest.map_structure(lambda many: many[0], self.draw)
            return None if problem.active(one) is None else self._mapped(problem.active, self.draw)

    def _observed(self, t):
        problem = self.problem
        if type(problem).observe is Problem.observe:
            return self.draw
        data = data_in_graph(problem)
        return self._mapped(lambda draw: problem.observe(draw, t, data), self.draw)

    def _mapped(self, function, *nests):
        return function(*nests) if self.batch is None else self._over_draws(function, *nests)


def position_specs(problem):
    """Finds shapes and dtypes of a problem's positions in a scratch graph: a nest of `tf.TensorSpec`."""
    with own_graph():
        x = BoundProblem(problem, problem.draw()).start()
        return tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), x)


def paths(x):
    """Names the tensors of a position for error messages: `x`, or `x[0]`, `x['bias']`, ..."""
    return ["x" + "".join("[%r]" % key for key in keys) for keys, _ in nest.flatten_with_tuple_paths(x)]


def not_differentiable(error):
    """Returns the error to raise instead of TensorFlow's `LookupError` about an op of a loss."""
    return ValueError("loss must be made of ops that have a gradient: %s" % first_line(error))


def _name_data_of_other_dtype(problem, dtype, error):
    """Raises a `TypeError` if a loss failed and its data have another floating-point dtype than `x`."""
    dtypes = [] if problem.data is None else [np.asarray(leaf).dtype for leaf in tf.nest.flatten(problem.data)]
    others = sorted({one.name for one in dtypes if one.kind == "f" and one != dtype.as_numpy_dtype})
    if others:
        raise TypeError(
            "loss of %s failed, perhaps since its data have dtype %s and x has %s (data.astype makes them alike): %s"
            % (type(problem).__name__, ", ".join(others), dtype.name, first_line(error))
        ) from error
