"""Clusters that are none: a stand-in for Dask's client, which computes in this process; and sweeps with it."""

import contextlib
import os

import numpy as np
from trainers import FIGURES, one_rate, small

from l2l.sweeps import workers


class Future:
    """As Dask's."""

    def __init__(self, key):
        self.key, self.status, self._functions = key, "pending", []

    def add_done_callback(self, function):
        self._functions.append(function)
        self._call()

    def finish(self, value, error=None):
        self.status = "finished" if error is None else "error"
        self.result, self.exception = lambda: value, lambda: error
        self._call()

    def _call(self):
        if self.status != "pending":
            for function in self._functions:
                function(self)


class Client:
    """Computes each job at once, or lets its worker die: where `dies(number)`, for the job of that number."""

    def __init__(self, dies=lambda number: False):
        self.submitted, self.told, self._dies = [], [], dies

    def nthreads(self):
        return {"this process": 1}

    def submit(self, function, pickled, key):
        from distributed.scheduler import KilledWorker

        self.submitted.append(pickled)
        future = Future(key)
        if self._dies(len(self.submitted) - 1):
            future.finish(None, KilledWorker(key, None))
        else:
            future.finish(function(pickled))
        return future

    def gather(self, futures):
        for future in futures:
            if future.exception() is not None:
                raise future.exception()
        return [future.result() for future in futures]

    def run(self, function, *arguments, on_error):
        self.told.append(function(*arguments))

    def cancel(self, futures):
        pass


@contextlib.contextmanager
def no_cluster(monkeypatch, client=None):
    """Within it sweeps use a `Client`, which it yields."""
    client = client or Client()

    @contextlib.contextmanager
    def connected(given, most, log):
        yield client, lambda: None

    with monkeypatch.context() as patch:
        patch.setattr(workers, "connected", connected)
        yield client


def build(checkpoint_dir, **settings):
    """The cheapest trainer, for a cell."""
    return small(**{"build_optimizer": one_rate, "unroll_length": 2, "checkpoint_dir": checkpoint_dir, **settings})


def assert_undisturbed(cell, **settings):
    """The cell has measured, and learned, what a trainer does that nobody disturbs; returns its history."""
    with build(None, **cell.settings, **settings) as trainer:
        history = trainer.run(cell.row["meta_iterations"])
        for column in FIGURES:
            np.testing.assert_array_equal(getattr(cell.history(), column), getattr(history, column))
        for one, other in zip(cell.trained().weights, trainer.weights()):
            np.testing.assert_array_equal(one, other)
    return history


def meta_iterations(checkpoint):
    """Of the path of a checkpoint; 0 for None."""
    return int(os.path.basename(checkpoint)[len("checkpoint-") : -len(".npz")]) if checkpoint else 0


def started(cell):
    """How often a process began to compute the cell."""
    with open(cell.directory + "/started.txt") as lines:
        return len(lines.readlines())
