"""Several trainings side by side."""

from __future__ import annotations

import concurrent.futures
import os
from typing import List, Optional, Sequence, Union

from l2l import checks
from l2l.interrupt import STOPPING, delayed_signals, leave
from l2l.progress import progress, shortened, title
from l2l.runs.history import History
from l2l.runs.run import Run
from l2l.tracebacks import short_traceback


@short_traceback
def train_together(
    trainers: Sequence[Run],
    meta_iterations: Union[int, Sequence[int], None] = None,
    *,
    until: Union[int, Sequence[int], None] = None,
    workers: Optional[int] = None,
) -> List[History]:
    """Trains several trainers and curricula in parallel, each on its own core.

        trainers = [l2l.Trainer(problem, l2l.CoordinatewiseLSTM, weights_seed=seed) for seed in range(4)]
        histories = l2l.train_together(trainers, 2000)

    Each history is the one that `Trainer.run` alone would have given, whatever the order. One progress display shows
    all of them. Ctrl-C stops all of them as it stops `Trainer.run`. If one fails, the others stop and keep what they
    have.

    Args:
      trainers: list of different trainers and curricula.
      meta_iterations: how many more, a positive integer for all, or a list with one for each.
      until: how many in all, given in the same way, instead of `meta_iterations`. A curriculum for which neither is
        given runs to its end.
      workers: how many run at a time; by default as many as the machine has cores.

    Returns:
      Their histories, a list in the same order.

    Raises:
      TypeError, ValueError: no trainers, the same one twice, one that is closed or runs in another thread, numbers
        that are not positive integers, or not one for each trainer.
    """
    if not isinstance(trainers, (list, tuple)) or not trainers:
        raise ValueError("trainers must be a non-empty list of trainers, got %r" % (trainers,))
    for i, trainer in enumerate(trainers):
        if not isinstance(trainer, Run):
            raise TypeError("trainers[%d] must be a Trainer or a Curriculum, got %r" % (i, trainer))
        trainer._check_ready()
    if len(set(trainers)) < len(trainers):
        raise ValueError("trainers must be different ones, got %r" % (trainers,))
    more = _one_for_each("meta_iterations", meta_iterations, trainers)
    wholes = _one_for_each("until", until, trainers)
    numbers = [trainer._left(*pair) for trainer, *pair in zip(trainers, more, wholes)]
    workers = checks.positive_integer("workers", os.cpu_count() if workers is None else workers)
    experiments = [trainer.history.config["name"] for trainer in trainers]
    names = ["seed %d" % trainer.history.config["weights_seed"] for trainer in trainers]
    if len(set(experiments)) > 1:
        names = ["%s, %s" % (shortened(experiment, 24), seed) for experiment, seed in zip(experiments, names)]

    any_checkpoints = any(trainer.has_checkpoints for trainer in trainers)
    line = progress(sum(numbers), title(experiments, "trainings"))
    with line as show, delayed_signals(any_checkpoints, lambda: show(0, STOPPING)) as stop:

        def train(trainer, number, name):
            def report(finished, text):
                show(finished, "%s %s" % (name, text))

            try:
                trainer._work(number, report, stop)
            except BaseException:
                stop.set()  # here, since it may not be the first that is waited for
                raise

        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            try:
                futures = [pool.submit(train, *job) for job in zip(trainers, numbers, names)]
                for future in futures:
                    future.result()
            except BaseException:  # such as a second Ctrl-C, which reaches this thread alone
                stop.set()
                raise
    leave(stop, "stopped, all that was computed is kept")
    return [trainer.history for trainer in trainers]


def _one_for_each(name, values, trainers):
    values = values if isinstance(values, (list, tuple)) else [values] * len(trainers)
    if len(values) != len(trainers):
        raise ValueError(
            "%s must be one number, or one for each of %d trainers, got %r" % (name, len(trainers), values)
        )
    return values
