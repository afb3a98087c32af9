"""Evaluating: several optimizers, hand-designed and trained, on the same draws of a problem."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Optional, Sequence

import numpy as np

from l2l import checks
from l2l.evaluation.evaluation import Evaluation
from l2l.evaluation.graph import EvaluationGraph, drawn, seeds_of
from l2l.evaluation.optimizers import check_optimizers
from l2l.interrupt import STOPPING, delayed_signals, leave
from l2l.optimizers.trained import Optimizers, Trained
from l2l.problems.problem import Problem
from l2l.progress import progress, shortened, title
from l2l.tracebacks import short_traceback
from l2l.xla import prepare_xla

_STOPPED = "stopped, no losses are kept"


@short_traceback
def evaluate(
    problem: Problem,
    optimizers: Optimizers,
    *,
    draws: int = 1000,
    steps: int = 20,
    seed: int = 0,
    at: Optional[Sequence[int]] = None,
    engine: str = "xla",
) -> Evaluation:
    """Runs optimizers on the same held-out draws of a problem: an `Evaluation`.

        losses = l2l.evaluate(problem, {"SGD": l2l.sgd(), "RNN": trainer.trained()})
        losses["SGD"]  # an array [draws, steps]
        losses.ranking()  # a table
        l2l.plot_losses(losses)  # a figure

    A progress display appears after a second. Ctrl-C stops the evaluation after the current call or compilation.

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer: a function `(gradients, state) -> (update, state)`
        without variables, or a `Trained`, as from `trainer.trained()` or `l2l.load`.
      draws: how many independent problems are drawn, a positive integer.
      steps: `T`, base iterations, a positive integer; it may differ from the training's.
      seed: integer that fixes the draws. No training sees them, whatever its seed.
      at: the base iterations whose losses are kept, a sequence of integers from 0 to `T - 1`, such as
        `range(0, 10_000, 100)`; by default all.
      engine: "xla" compiles the base iterations, which takes a few seconds for each optimizer; "graph" runs them op by
        op.

    Returns:
      An `Evaluation`.

    Raises:
      TypeError, ValueError: an argument is out of range; something is no optimizer, or its weights do not fit what is
        built; the problem cannot be repeated, or its `batch_loss` is not its `loss`, or XLA cannot compile it; and all
        that `unroll` raises.
    """
    checks.problem("problem", problem)
    draws = checks.positive_integer("draws", draws)
    steps = checks.positive_integer("steps", steps)
    seed = checks.seed("seed", seed)
    engine = checks.one_of("engine", engine, ["graph", "xla"])
    at = np.asarray(range(steps) if at is None else _checked_places(at, steps))
    check_optimizers(optimizers)
    if engine == "xla":
        prepare_xla()
    examined = drawn(problem, draws, seeds_of(seed), steps)
    losses, positions, graph = OrderedDict(), OrderedDict(), None
    # Short evaluations need no progress line.
    description = "evaluate " + title([str(name) for name in optimizers], "optimizers")
    line = progress(draws * steps * len(optimizers), description, unit_scale=True, delay=1.0)
    with line as show, delayed_signals(False, lambda: show(0, STOPPING)) as stop:

        def go_on(finished, text):
            leave(stop, _STOPPED)
            show(finished, text)

        try:
            for name, optimizer in optimizers.items():
                path = "optimizers[%r]" % (name,)
                if graph and isinstance(optimizer, Trained) and optimizer.build is graph.build:
                    graph.load(optimizer, path)  # as of another seed: what is compiled serves again
                else:
                    if graph:
                        graph.close()
                    show(0, "building and compiling" if engine == "xla" else "building")
                    graph = EvaluationGraph(problem, optimizer, path, examined, steps, engine)
                    leave(stop, _STOPPED)
                report = functools.partial(go_on, text=shortened(str(name), 24))
                losses[name], positions[name] = graph.losses_and_positions(at, report)
        finally:
            if graph:
                graph.close()
    leave(stop, _STOPPED)
    return Evaluation(losses, positions, at, problem, examined.arrays)


def _checked_places(at, steps):
    try:
        places = [checks.index("at", place, steps) for place in at]
    except TypeError:
        raise TypeError("at must be a sequence of integers from 0 to %d, got %r" % (steps - 1, at)) from None
    if not places:
        raise ValueError("at must name at least one base iteration, got %r" % (at,))
    return places
