"""Several trainings side by side."""

from __future__ import annotations

import concurrent.futures
import os
from typing import List, Optional, Sequence, Union

from l2l import checks
from l2l.progress import progress, shortened, title
from l2l.runs.history import History
from l2l.runs.interrupt import delayed_signals, leave
from l2l.runs.trainer import Trainer


def train_together(
    trainers: Sequence[Trainer], meta_iterations: Union[int, Sequence[int]], *, workers: Optional[int] = None
) -> List[History]:
    """Trains several trainers side by side, each on a core of its own, with one progress display.

    Each history is what `Trainer.run` alone would have given, whatever the order. Ctrl-C stops
    all of them as it stops `Trainer.run`; if one fails, the others stop and keep what they have.

    Args:
      trainers: list of different trainers.
      meta_iterations: a positive integer for all, or a list of one for each.
      workers: how many run at a time; by default as many as the machine has cores.

    Returns:
      Their histories, a list in the same order.

    Raises:
      TypeError, ValueError: no trainers, the same one twice, one that is closed or runs in another thread, numbers
        that are not positive integers, or not as many of them as trainers.
    """
    if not isinstance(trainers, (list, tuple)) or not trainers:
        raise ValueError("trainers must be a non-empty list of trainers, got %r" % (trainers,))
    for i, trainer in enumerate(trainers):
        if not isinstance(trainer, Trainer):
            raise TypeError("trainers[%d] must be a Trainer, got %r" % (i, trainer))
        trainer.check_ready()
    if len(set(trainers)) < len(trainers):
        raise ValueError("trainers must be different ones, got %r" % (trainers,))
    if not isinstance(meta_iterations, (list, tuple)):
        meta_iterations = [meta_iterations] * len(trainers)
    if len(meta_iterations) != len(trainers):
        raise ValueError(
            "meta_iterations must be one number, or one for each of %d trainers, got %r"
            % (len(trainers), meta_iterations)
        )
    numbers = [checks.positive_integer("meta_iterations", number) for number in meta_iterations]
    workers = checks.positive_integer("workers", os.cpu_count() if workers is None else workers)
    experiments = [trainer.history.config["name"] for trainer in trainers]
    names = ["seed %d" % trainer.history.config["weights_seed"] for trainer in trainers]
    if len(set(experiments)) > 1:
        names = ["%s, %s" % (shortened(experiment, 24), seed) for experiment, seed in zip(experiments, names)]

    line = progress(sum(numbers), title(experiments, "trainings"))
    with line as show, delayed_signals(any(trainer.has_checkpoints for trainer in trainers)) as stop:

        def train(trainer, number, name):
            def report(finished, average):
                show(finished, "%s log average %.2f" % (name, average))

            try:
                trainer.work(number, report, stop)
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
