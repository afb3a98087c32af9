"""Members of a meta-iteration on the workers of a cluster: the same numbers, whatever happens to a worker."""

import os
import signal
import threading
import types
import warnings

import distributed
import numpy as np
import pytest
import tensorflow as tf
from sweeping import Client
from trainers import learned_momentum

import l2l
from l2l import clusters
from l2l.learning.engines import CannotCompileError
from l2l.runs import pair_workers
from l2l.runs.members import Members
from l2l.runs.pair_workers import WorkersError
from l2l.xla import xla_in_force

TWO = {"two": l2l.Quadratic(2), "three": l2l.Quadratic(3)}
ESTIMATORS = pytest.mark.parametrize(
    "estimator, settings",
    [
        (l2l.EvolutionStrategies(2), {"horizon": (3, 8)}),
        (l2l.PES(2), {"unroll_length": 3, "horizon": (4, 9)}),
    ],
    ids=["whole", "persistent"],
)


def trainer(estimator=None, engine="graph", build=learned_momentum, **settings):
    estimator = l2l.EvolutionStrategies(2) if estimator is None else estimator
    return l2l.Trainer(TWO, build, "sum", estimator=estimator, engine=engine, learning_rate=1e-2, **settings)


def assert_same(training, other):
    for column in set(training.history.columns) - {"seconds"}:
        np.testing.assert_array_equal(getattr(training.history, column), getattr(other.history, column))
    one, another = training.snapshot(), other.snapshot()
    assert set(one) == set(another) and all(np.array_equal(one[name], another[name]) for name in one)


@pytest.fixture(autouse=True)
def this_process_is_a_worker(monkeypatch):
    """For the stand-in of a client."""
    monkeypatch.setattr(distributed, "get_worker", lambda: types.SimpleNamespace(nthreads=1))
    monkeypatch.setattr(clusters, "check_client", lambda client: None)


class Careful(Client):
    """Warns of each job, as of one that is large, and knows each key once."""

    def __init__(self, **how):
        super().__init__(**how)
        self.keys, self.cancelled = set(), []

    def submit(self, function, pickled, key):
        warnings.warn("Large object of size 12.3 MB detected in task graph", stacklevel=2)
        assert key not in self.keys
        self.keys.add(key)
        return super().submit(function, pickled, key)

    def cancel(self, futures):
        self.cancelled += futures
        raise OSError("the scheduler is gone")


@ESTIMATORS
def test_the_numbers_are_those_of_this_process_also_where_workers_are_lost(estimator, settings, recwarn):
    client, filters = Careful(), list(warnings.filters)
    with trainer(estimator, **settings) as alone, trainer(estimator, client=client, **settings) as training:
        alone.run(6)
        training.run(2)
        pair_workers._kept.clear()  # as another process in its place, which knows nothing
        training.run(4)
        assert_same(training, alone)
        assert len(pair_workers._kept) == 1 and len(client.told) == 2  # once, and once more
    assert not pair_workers._kept and not client.cancelled
    assert not [one for one in recwarn if "Large object" in str(one.message)] and warnings.filters == filters


def test_it_goes_on_in_this_process_and_back(tmp_path, monkeypatch):
    """Here with the address of a scheduler, which is a client of its own."""
    settings, clients = {"estimator": l2l.PES(2), "unroll_length": 2, "horizon": 6}, []

    class Ours(Client):
        def __init__(self, address, set_as_default):
            super().__init__()
            clients.append((address, set_as_default))

        def close(self):
            clients.append("closed")

    monkeypatch.setattr(distributed, "Client", Ours)
    with trainer(client="tcp://127.0.0.1:1", checkpoint_dir=tmp_path, **settings) as training:
        training.run(3)
    assert clients == [("tcp://127.0.0.1:1", False), "closed"]
    with trainer(checkpoint_dir=tmp_path, resume=True, **settings) as training, trainer(**settings) as alone:
        training.run(3)
        alone.run(6)
        assert_same(training, alone)


def test_a_meta_iteration_that_workers_cannot_compute_changes_nothing():
    """The job of number 5 kills each worker that tries it. What was sent with it is called back, if that can be."""
    client = Careful(dies=lambda number: number == 5)
    with trainer(horizon=4) as alone, trainer(horizon=4, client=client) as training:
        with pytest.raises(WorkersError, match=r"could not compute a meta-iteration, .*KilledWorker"):
            training.run(3)
        assert client.cancelled
        training.run(until=3)
        alone.run(3)
        assert_same(training, alone)


def test_a_cluster_that_cannot_be_told_ends_the_run_in_words(monkeypatch):
    """Otherwise it would ask for ever."""
    client = Client()

    def gone(*arguments, **named):
        raise OSError("the scheduler is gone")

    monkeypatch.setattr(client, "run", gone)
    with trainer(client=client) as training, pytest.raises(WorkersError, match=r"OSError.*the scheduler is gone"):
        training.run(1)


def test_a_worker_that_computes_otherwise_is_refused(monkeypatch):
    with trainer(client=Client()) as training:
        monkeypatch.setattr(pair_workers, "_versions", lambda engine: {"l2l": "0.1"})
        with pytest.raises(
            WorkersError, match=r"(?s)a worker must compute as the caller does, .* got \{'l2l': '0.1'\}"
        ):
            training.run(1)


def test_what_must_be_the_same_on_a_worker():
    """XLA with its flags where it is used."""
    in_both = {"l2l": l2l.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}
    for engine, xla in [("graph", None), ("xla", xla_in_force())]:
        assert pair_workers._versions(engine) == {**in_both, "xla": xla}


def test_where_workers_cannot_compile_it_goes_on_op_by_op(monkeypatch):
    prepare = Members.prepare

    def refuses(self):
        if self._engine == "xla":
            (training,) = pair_workers._kept.values()
            assert training._lock.locked()  # several jobs prepare nothing twice
            raise CannotCompileError("XLA cannot compile this problem")
        prepare(self)

    monkeypatch.setattr(Members, "prepare", refuses)
    with trainer(client=Client(), engine="xla_or_graph", horizon=4) as training, trainer(horizon=4) as alone:
        with pytest.warns(RuntimeWarning, match="XLA cannot compile this problem. Going on with engine='graph'"):
            training.run(2)
        alone.run(2)
        assert_same(training, alone)


def test_what_is_refused(monkeypatch):
    lock = threading.Lock()
    with pytest.raises(TypeError, match="problem and build_optimizer must be such that they can be sent"):
        trainer(client=Client(), build=lambda: [learned_momentum(), lock][0])
    with pytest.raises(ValueError, match="client must be None where there is no estimator"):
        l2l.Trainer(l2l.Quadratic(2), learned_momentum, client=Client())
    monkeypatch.undo()
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client that is not asynchronous"):
        trainer(client=3)


@pytest.mark.rehearsal
def test_of_two_processes_one_is_killed_and_the_numbers_are_the_same(monkeypatch, tmp_path):
    """Another one takes its place, which has to be told all."""
    monkeypatch.undo()
    options = {"processes": True, "dashboard_address": None, "memory_limit": 0, "local_directory": str(tmp_path)}
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, silence_logs=50, **options)
    settings = {"unroll_length": 50, "horizon": (100, 2000)}
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        for estimator, given in [(l2l.EvolutionStrategies(3), client), (l2l.PES(3), cluster.scheduler_address)]:
            with trainer(estimator, "xla", **settings) as alone:
                alone.run(12)
                with trainer(estimator, "xla", client=given, **settings) as training:
                    training.run(4)
                    process = next(iter(client.run(os.getpid).values()))
                    threading.Timer(0.1, os.kill, (process, signal.SIGKILL)).start()
                    training.run(8)
                    assert_same(training, alone)
                    assert process not in client.run(os.getpid).values()
            assert set(client.run(lambda: len(pair_workers._kept)).values()) == {0}
