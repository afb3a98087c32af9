"""Evaluation: several optimizers, hand-designed and trained, on the same draws of a problem."""

import contextlib
import functools
import warnings
from collections import OrderedDict

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import defun

from l2l import checks
from l2l.learning.engines import placeholders_like, refusals_named, zeros_for
from l2l.learning.unrolling import unroll_bound
from l2l.mapping import MOST_DRAW_BY_DRAW
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_call import is_of_another_graph
from l2l.optimizers.optimizer import check_optimizer, for_batch, initial_state, is_vectorized, with_initial_state
from l2l.optimizers.trained import Trained
from l2l.problems.binding import BoundProblem, position_specs
from l2l.problems.examining import examined
from l2l.problems.problem import data_as_variables
from l2l.process import own_graph, prepare_xla, session_with_threads
from l2l.progress import progress, shortened, title
from l2l.runs.history import log_average

# Draws are evaluated together up to so many coordinates, and base iterations up to so many losses to a call: memory
# does not grow with their number, and a call is short.
MOST_COORDINATES = 8192
MOST_LOSSES = 200_000


def evaluate(problem, optimizers, num=1000, steps=20, seed=0, record=None, engine="xla", positions=False):
    """The losses of each optimizer on `num` draws, the same for all.

    `ranking` makes a table of them, and `plot_losses` a figure.

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer: a function `(gradients, state) -> (update, state)`
        without variables, or a `Trained`, as from `trainer.trained()` or `l2l.load`.
      num: how many problems are drawn, a positive integer.
      steps: `T`, a positive integer; it may differ from the one of the training.
      seed: integer that fixes the draws. The draws of a training are others, whatever its seed.
      record: the base iterations whose losses are returned, a sequence of integers from 0 to `T - 1`, such as
        `range(0, 10_000, 100)`; by default all.
      engine: "xla" compiles the base iterations, a few seconds for each optimizer; "graph" runs them op by op.
      positions: whether to return the positions after the `T` updates too, from which an accuracy can be computed.

    Returns:
      An ordered dict from name to an array `[num, T]`, or `[num, len(record)]`: at place `t` the loss before update
      `t`. With `positions`, a pair of that and a dict from name to positions: a nest like the problem's, of arrays with
      a leading axis `num`.

    Raises:
      TypeError, ValueError: an argument out of range, no optimizer, weights of other shapes than those that are
        built, a problem that cannot be repeated or whose `batch_loss` is not its `loss`, or that XLA cannot compile,
        and all that `unroll` raises.
    """
    checks.problem("problem", problem)
    num = checks.positive_integer("num", num)
    steps = checks.positive_integer("steps", steps)
    seed = checks.seed("seed", seed)
    engine = checks.one_of("engine", engine, ["graph", "xla"])
    checks.boolean("positions", positions)
    record = range(steps) if record is None else _checked_record(record, steps)
    check_optimizers(optimizers)
    if engine == "xla":
        prepare_xla()
    draws = drawn(problem, num, seed, steps)
    losses, ends, evaluation = OrderedDict(), OrderedDict(), None
    # Short evaluations need no progress line.
    description = "evaluate " + title([str(name) for name in optimizers], "optimizers")
    with progress(num * steps * len(optimizers), description, unit_scale=True, delay=1.0) as show:
        try:
            for name, optimizer in optimizers.items():
                path = "optimizers[%r]" % (name,)
                if evaluation and isinstance(optimizer, Trained) and optimizer.build is evaluation.build:
                    evaluation.load(optimizer, path)  # as of another seed: what is compiled serves again
                else:
                    if evaluation:
                        evaluation.close()
                    evaluation = Evaluation(problem, optimizer, path, draws, steps, engine)
                report = functools.partial(show, text=shortened(str(name), 24))
                losses[name], ends[name] = evaluation.losses_and_positions(np.asarray(record), report)
        finally:
            if evaluation:
                evaluation.close()
    return (losses, ends) if positions else losses


def ranking(losses, at=-1):
    """The optimizers of an evaluation, the best first: a table of their losses at one place.

    A loss that is NaN or infinite has diverged, and counts as infinite: an optimizer with one such draw has an infinite
    average, however good the others are.

    Args:
      losses: dict from name to an array `[num, T]`, as `evaluate` returns.
      at: which place of `T`; by default the last.

    Returns:
      A list of dicts, for `format_table`: `optimizer`; `log_average` over all draws; `diverged`, the share of draws
      that did; `others`, the log average of those that did not; `median` of log10 of the loss.

    Raises:
      TypeError, ValueError: `losses` is no such dict, or has no place `at`.
    """
    if not isinstance(losses, dict) or not losses:
        raise ValueError("losses must be a non-empty dict from name to array [num, T], got %.200r" % (losses,))
    rows = []
    for name, values in losses.items():
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or not values.size:
            raise ValueError("losses[%r] must have shape [num, T], got %s" % (name, values.shape))
        length = values.shape[1]
        if isinstance(at, bool) or not isinstance(at, (int, np.integer)) or not -length <= at < length:
            raise ValueError("at must be an integer from %d to %d, got %r" % (-length, length - 1, at))
        values = values[:, at]
        if (values < 0).any():
            warnings.warn("losses[%r] has negative losses, whose logarithms are NaN" % (name,), RuntimeWarning, 2)
        finite = np.isfinite(values)
        row = {
            "optimizer": name,
            "log_average": log_average(values),
            "diverged": float(1 - finite.mean()),
            "others": log_average(values[finite]),
            "median": log_average([np.median(np.where(finite, values, np.inf))]),
        }
        rows.append(row)

    def order(row):
        key = [row["log_average"], row["diverged"], row["others"]]
        return [np.inf if np.isnan(value) else value for value in key]

    return sorted(rows, key=order)


def check_optimizers(optimizers):
    """Refuses what is no optimizer, or one without its weights; warns of weights that were never trained."""
    if not isinstance(optimizers, dict) or not optimizers:
        raise ValueError("optimizers must be a non-empty dict from name to optimizer, got %r" % (optimizers,))
    for name, optimizer in optimizers.items():
        path = "optimizers[%r]" % (name,)
        if isinstance(optimizer, Trained):
            if optimizer.record.get("meta_iterations") == 0:
                words = "%s was never trained: its weights are the initial ones" % path
                warnings.warn(words, RuntimeWarning, stacklevel=3)
            continue
        check_optimizer(path, optimizer)
        if hasattr(optimizer, "variables"):
            raise _has_variables(path, optimizer)


def _has_variables(path, optimizer):
    return TypeError(
        "%s must be a function (gradients, state) -> (update, state) without variables, or what "
        "trainer.trained() returns, got %r" % (path, optimizer)
    )


@contextlib.contextmanager
def without_variables(path, optimizer):
    """Refuses an optimizer whose first call, within the block, creates variables, or has those of another graph."""
    number = len(tf.trainable_variables())
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if is_of_another_graph(error):
            raise _has_variables(path, optimizer) from error
        raise
    if len(tf.trainable_variables()) > number:
        raise _has_variables(path, optimizer)


def _checked_record(record, steps):
    try:
        places = [checks.index("record", place, steps) for place in record]
    except TypeError:
        raise TypeError("record must be a sequence of integers from 0 to %d, got %r" % (steps - 1, record)) from None
    if not places:
        raise ValueError("record must name at least one base iteration, got %r" % (record,))
    return places


def drawn(problem, num, seed, steps):
    """So many draws of an evaluation, `Examined`."""

    def batch(coordinates):
        return int(min(num, max(1, MOST_COORDINATES // max(1, coordinates))))

    return examined(problem, num, seeds_of(seed), steps, batch)


def seeds_of(seed):
    """The seed of an evaluation's draws, and another one. Trainings have seeds from 0 on, so this one is negative."""
    return -1 - seed, 0


class Evaluation:
    """One optimizer on some draws: a graph that runs so many base iterations on so many draws to a call.

    Args:
      problem, optimizer, steps, engine: as for `evaluate`.
      path: the optimizer's name in error messages.
      draws: as from `drawn`.

    Attributes:
      build: the function that built the optimizer, of a `Trained`; None of another.
    """

    def __init__(self, problem, optimizer, path, draws, steps, engine):
        self._steps = steps
        with own_graph() as graph:
            set_data = data_as_variables(problem)
            load, self.build, given = None, None, optimizer
            if isinstance(optimizer, Trained):
                self.build = optimizer.build
                optimizer, load = optimizer.create(path, functools.partial(position_specs, problem))
                self._learned = optimizer, tf.trainable_variables()
            one = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape[1:]), draws.draws)
            with without_variables(path, given):
                is_slow = draws.batch > MOST_DRAW_BY_DRAW and not is_vectorized(
                    optimizer, BoundProblem(problem, one).start()
                )
            if is_slow:
                draws = draws._replace(batch=MOST_DRAW_BY_DRAW)
            self._draws, batch = draws, draws.batch
            self._turns = _even_part(steps, max(1, MOST_LOSSES // batch))
            draw = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, [batch, *many.shape[1:]]), draws.draws)
            bind_draw = functools.partial(BoundProblem, problem, batch=batch, draw_by_draw=draws.draw_by_draw)
            optimizer = with_initial_state(for_batch(optimizer, batch))
            x = bind_draw(draw).start()
            with without_variables(path, given):
                start = x, initial_state(optimizer, x)
            self._x = x
            carried, first, most = placeholders_like(tensors_of(start)), *placeholders_like([tf.constant(0)] * 2)

            def turns(first, most, *tensors):
                number = len(tf.nest.flatten(draw))
                part = tf.nest.pack_sequence_as(draw, tensors[:number])
                x, state = with_tensors(start, tensors[number:])
                done = unroll_bound(bind_draw(part), optimizer, x, state, self._turns, first, "while", most=most)
                return [done.losses, *tensors_of((done.x, done.state))]

            feeds = [first, most, *tf.nest.flatten(draw), *carried]
            with without_variables(path, given):
                if engine == "xla":
                    function = defun(turns, autograph=False)  # loops as functions, as XLA needs them
                    fetches = tf.xla.experimental.compile(lambda *tensors: function(*tensors), feeds)
                else:
                    fetches = turns(*feeds)
            initialize = tf.global_variables_initializer()
        graph.finalize()
        self._session = session_with_threads(graph)
        try:
            self._session.run(initialize)
            set_data(self._session)
            if load is not None:
                load(self._session)
            self._start = self._session.make_callable(tensors_of(start), feed_list=tf.nest.flatten(draw))
            self._call = self._session.make_callable(fetches, feed_list=feeds)
            if engine == "xla":
                with refusals_named("this problem or optimizer"):
                    self._call(*zeros_for(feeds))
        except BaseException:
            self._session.close()
            raise

    def load(self, trained, path):
        """Goes on with the weights of another `Trained` of the same kind.

        Raises:
          ValueError: it is of another kind.
        """
        trained.loader(*self._learned, path)(self._session)

    def close(self):
        """Frees the session."""
        self._session.close()

    def losses_and_positions(self, record, report):
        """The losses `[num, len(record)]` and the positions at the end, a nest of arrays `[num, ...]`.

        `report` is called with the number of base iterations done, now and then.
        """
        losses, positions = None, []
        num = self._draws.num
        for start, draws in zip(range(0, num, self._draws.batch), self._draws.parts()):
            draws_here = min(self._draws.batch, num - start)
            carried = self._start(*draws)
            for first in range(0, self._steps, self._turns):
                most = min(self._turns, self._steps - first)
                some, *carried = self._call(first, most, *draws, *carried)
                if losses is None:
                    losses = np.empty([num, len(record)], some.dtype)
                here = (record >= first) & (record < first + most)
                losses[start : start + draws_here, here] = some[record[here] - first, :draws_here].T
                report(most * draws_here)
            positions.append([array[:draws_here] for array in carried[: len(tensors_of(self._x))]])
        return losses, tf.nest.pack_sequence_as(self._x, [np.concatenate(parts) for parts in zip(*positions)])


def _even_part(whole, most):
    """The length of the parts when the whole is cut into as few as possible of at most so much, all nearly alike."""
    number = -(-whole // most)
    return -(-whole // number)
