"""Evaluation: several optimizers, hand-designed and trained, on the same draws of a problem."""

import functools
from collections import OrderedDict

import numpy as np
import tensorflow as tf

from l2l import checks
from l2l.learning.engines import placeholders_like, refusals_named, zeros_for
from l2l.learning.unrolling import unroll
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.optimizer import for_batch, initial_state, with_initial_state
from l2l.optimizers.trained import Trained
from l2l.problems.batches import check_batch_loss
from l2l.problems.problem import data_as_variables, initial_position, sample
from l2l.process import prepare_xla, session_with_threads
from l2l.progress import progress, shortened, title

# Draws are evaluated together up to so many coordinates, and base iterations up to so many losses to a call: memory
# does not grow with their number, and a call is short.
MOST_COORDINATES = 8192
MOST_LOSSES = 200_000


def evaluate(problem, optimizers, num=1000, steps=20, seed=0, record=None, engine="xla"):
    """The losses of each optimizer on `num` draws, the same for all.

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

    Returns:
      An ordered dict from name to an array `[num, T]`, or `[num, len(record)]`.

    Raises:
      TypeError, ValueError: an argument out of range, no optimizer, weights of other shapes than those that are
        built, a problem whose `batch_loss` is not its `loss`, or that XLA cannot compile, and all that `unroll` raises.
    """
    checks.problem("problem", problem)
    num = checks.positive_integer("num", num)
    steps = checks.positive_integer("steps", steps)
    seed = checks.seed("seed", seed)
    engine = checks.one_of("engine", engine, ["graph", "xla"])
    record = range(steps) if record is None else _checked_record(record, steps)
    if not isinstance(optimizers, dict) or not optimizers:
        raise ValueError("optimizers must be a non-empty dict from name to optimizer, got %r" % (optimizers,))
    for name, optimizer in optimizers.items():
        if isinstance(optimizer, Trained):
            continue
        if hasattr(optimizer, "variables") or not callable(optimizer):
            raise TypeError(
                "optimizers[%r] must be a function (gradients, state) -> (update, state) without variables, or what "
                "trainer.trained() returns, got %r" % (name, optimizer)
            )
    if engine == "xla":
        prepare_xla()
    results = OrderedDict()
    # Short evaluations need no progress line.
    description = "evaluate " + title([str(name) for name in optimizers], "optimizers")
    with progress(num * steps * len(optimizers), description, unit_scale=True, delay=1.0) as show:
        for name, optimizer in optimizers.items():
            report = functools.partial(show, text=shortened(str(name), 24))
            run = _Evaluation(problem, optimizer, "optimizers[%r]" % (name,), num, steps, seed, engine)
            results[name] = run.losses(np.asarray(record), report)
    return results


def _checked_record(record, steps):
    try:
        places = [checks.index("record", place, steps) for place in record]
    except TypeError:
        raise TypeError("record must be a sequence of integers from 0 to %d, got %r" % (steps - 1, record)) from None
    if not places:
        raise ValueError("record must name at least one base iteration, got %r" % (record,))
    return places


class _Evaluation:
    """One optimizer on `num` draws: a graph that runs so many base iterations on so many draws to a call."""

    def __init__(self, problem, optimizer, path, num, steps, seed, engine):
        self._num, self._steps = num, steps
        with tf.Graph().as_default() as graph:
            set_data = data_as_variables(problem)
            load = None
            if isinstance(optimizer, Trained):
                optimizer, load = optimizer.create(path)
            # Negative seeds are no training's: a trainer's are 0 and above.
            draws = sample(problem, num, -1 - seed)
            one = tf.nest.map_structure(lambda many: many[0], draws)
            coordinates = sum(t.shape.num_elements() for t in tensors_of(initial_position(problem, one)))
            batch = self._batch = int(min(num, max(1, MOST_COORDINATES // coordinates)))
            self._turns = _even_part(steps, max(1, MOST_LOSSES // batch))
            draw = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, [batch, *many.shape[1:]]), draws)
            optimizer = with_initial_state(for_batch(checks.function(path, optimizer), batch))
            x = initial_position(problem, draw, batch)
            start = x, initial_state(optimizer, x)
            carried, first = placeholders_like(tensors_of(start)), tf.placeholder(tf.int32, [])

            def turns(first, *tensors):
                number = len(tf.nest.flatten(draw))
                part = tf.nest.pack_sequence_as(draw, tensors[:number])
                x, state = with_tensors(start, tensors[number:])
                done = unroll(problem, part, optimizer, x, state, self._turns, first, "while", batch=batch)
                return [done.losses, *tensors_of((done.x, done.state))]

            feeds = [first, *tf.nest.flatten(draw), *carried]
            if engine == "xla":
                function = tf.function(turns, autograph=False)  # loops as functions, as XLA needs them
                fetches = tf.xla.experimental.compile(lambda *tensors: function(*tensors), feeds)
            else:
                fetches = turns(*feeds)
            agreement = check_batch_loss(problem, draw, batch)
            initialize = tf.global_variables_initializer()
        graph.finalize()
        self._session = session_with_threads(graph)
        self._session.run(initialize)
        set_data(self._session)
        if load is not None:
            load(self._session)
        self._draws = self._session.run(tf.nest.flatten(draws))
        self._start = self._session.make_callable(tensors_of(start), feed_list=tf.nest.flatten(draw))
        self._call = self._session.make_callable(fetches, feed_list=feeds)
        if agreement:
            agreement(self._session, dict(zip(tf.nest.flatten(draw), self._part(0))))
        if engine == "xla":
            with refusals_named("this problem or optimizer"):
                self._call(*zeros_for(feeds))

    def _part(self, start):
        """So many draws from there on; at the end the last one again and again."""
        places = np.minimum(np.arange(start, start + self._batch), self._num - 1)
        return [array[places] for array in self._draws]

    def losses(self, record, report):
        """The losses `[num, len(record)]`; `report` is called with the number of base iterations done, now and then."""
        results = None
        with self._session:
            for start in range(0, self._num, self._batch):
                draws, draws_here = self._part(start), min(self._batch, self._num - start)
                carried = self._start(*draws)
                for first in range(0, self._steps, self._turns):
                    losses, *carried = self._call(first, *draws, *carried)
                    if results is None:
                        results = np.empty([self._num, len(record)], losses.dtype)
                    here = (record >= first) & (record < first + self._turns)
                    results[start : start + draws_here, here] = losses[record[here] - first, :draws_here].T
                    report(min(self._turns, self._steps - first) * draws_here)
        return results


def _even_part(whole, most):
    """The length of the parts when the whole is cut into as few as possible of at most so much, all nearly alike."""
    number = -(-whole // most)
    return -(-whole // number)
