import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from counting_graphs import put_in_place
from test_staged import two_stages
from trainers import recorded_graphs, same, small

import l2l
from l2l.interrupt import Stop
from l2l.runs import run, together


@pytest.mark.parametrize("engine, workers", [("graph", 1), ("xla", 2)])
def test_together_each_trains_as_it_does_alone(engine, workers, capsys):
    numbers = [30, 10, 20] if engine == "graph" else [30, 20]
    together = [small(weights_seed=seed, engine=engine, name="a name") for seed in range(len(numbers))]
    starts = [trainer.snapshot() for trainer in together]
    histories = l2l.train_together(together, numbers, workers=workers)
    errors = capsys.readouterr().err
    for trainer, history, start, number in zip(together, histories, starts, numbers):
        assert history is trainer.history and len(history) == number
        weights = trainer.weights()
        trainer._training.graph.load(start)
        trainer.run(number)  # alone
        np.testing.assert_array_equal(history.last_loss[:number], trainer.history.last_loss[number:])
        assert same(trainer.weights(), weights)
    assert "a name: " in errors and "{0}/{0}".format(sum(numbers)) in errors and ", seed " in errors
    assert ", a name" not in errors


def test_together_each_trains_until_it_has_as_many_as_it_shall(capsys):
    trainers = [small(name="one"), small(weights_seed=2, name="other", checkpoint_dir=None), small(weights_seed=3)]
    trainers[0].run(5)
    trainers[1].run(2)
    capsys.readouterr()
    assert [len(history) for history in l2l.train_together(trainers, until=[4, 4, 3])] == [5, 4, 3]
    errors = capsys.readouterr().err
    assert ", other, seed 2 log average" in errors or ", training, seed 3 log average" in errors
    assert [len(history) for history in l2l.train_together(trainers[:2], until=6)] == [6, 6]
    errors = capsys.readouterr().err
    assert ", one, seed 1 log average" in errors or ", other, seed 2 log average" in errors
    trainers[2].close()
    with pytest.raises(ValueError, match="trainer 'training' is closed"):
        l2l.train_together(trainers, 1)  # before any of them trains
    assert [len(trainer.history) for trainer in trainers] == [6, 6, 3]


def test_interrupt_stops_all_that_train_together():
    trainers = [small(weights_seed=seed) for seed in range(3)]
    timer = threading.Timer(0.7, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt, match="all that was computed is kept"):
        l2l.train_together(trainers, 10**6, workers=2)
    timer.join()
    assert len(trainers[0].history) > 0 and len(trainers[1].history) > 0
    l2l.train_together(trainers, 5)


@pytest.mark.parametrize("which", [0, 1])
def test_if_one_fails_the_others_stop_and_keep_what_they_have(which, monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    trainers = [small(), small()]
    trainers[which].run(1)
    other = trainers[1 - which]

    def failing(_):
        while not len(other.history):
            time.sleep(0.001)
        raise RuntimeError("no more")

    monkeypatch.setattr(graphs[which], "run", failing)
    with pytest.raises(RuntimeError, match="no more"):
        l2l.train_together(trainers, 3000, workers=2)
    assert len(trainers[which].history) == 1
    assert 0 < len(other.history) < 3000
    other.run(1)


def test_an_exception_from_outside_stops_all(monkeypatch):
    """As a signal handler raises it, in the thread that waits."""
    trainers = [small(), small()]

    def raising(number, frame):
        raise TimeoutError("too late")

    before = signal.signal(signal.SIGALRM, raising)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(TimeoutError, match="too late"):
            l2l.train_together(trainers, 10**5, workers=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(0 < len(trainer.history) < 10**5 for trainer in trainers)
    l2l.train_together(trainers, 1)


@pytest.mark.parametrize("module", [run, together])
def test_a_signal_is_acknowledged_and_counts_nothing(module, monkeypatch):
    put_in_place(monkeypatch)
    shown = []

    @contextlib.contextmanager
    def progress(total, description):
        yield lambda *report: shown.append(report)

    @contextlib.contextmanager
    def delayed_signals(terminate, acknowledge):
        assert not terminate
        acknowledge()
        yield Stop()

    monkeypatch.setattr(module, "progress", progress)
    monkeypatch.setattr(module, "delayed_signals", delayed_signals)
    one = two_stages(number=1)
    one.run() if module is run else l2l.train_together([one])
    assert shown[0] == (0, "stopping") and sum(finished for finished, _ in shown) == 2
