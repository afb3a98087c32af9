"""One trainer and several threads."""

import threading

import pytest
from trainers import assert_same_run, recorded_graphs, same, small

import l2l
from l2l.runs.turn import Turn


def in_thread(function):
    """Runs a function in another thread, and returns what it raised."""
    raised = []

    def target():
        try:
            function()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_a_trainer_that_runs_is_refused_to_every_other_thread(tmp_path, monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    trainer = small(name="x", checkpoint_dir=tmp_path)
    trainer.run(1)
    run, is_in_call, may_go_on = graphs[0].run, threading.Event(), threading.Event()

    def waiting(most):
        is_in_call.set()
        assert may_go_on.wait(60)
        return run(most)

    monkeypatch.setattr(graphs[0], "run", waiting)
    thread = threading.Thread(target=trainer.run, args=[20])
    thread.start()
    try:
        assert is_in_call.wait(60)
        for call in [
            lambda: trainer.run(20),
            lambda: l2l.train_together([trainer], 20),
            lambda: trainer.restore(tmp_path),
            trainer.close,
            trainer.weights,
            trainer.trained,
            trainer.snapshot,
        ]:
            with pytest.raises(ValueError, match="trainer 'x' is running in another thread; wait until that run ends"):
                call()
        assert len(trainer.history) == 1 and "1 meta-iterations" in repr(trainer)
    finally:
        may_go_on.set()
        thread.join()
    assert len(trainer.history) == 21
    undisturbed = small()
    undisturbed.run(21)
    assert_same_run(trainer, undisturbed)
    trainer.run(1)
    trainer.close()


def test_several_threads_may_ask_for_the_weights_at_once():
    trainer, raised = small(), []
    expected = trainer.weights()

    def ask():
        try:
            assert all(same(trainer.weights(), expected) for _ in range(20))
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised


def test_a_turn_ends_with_its_block_whatever_ends_it():
    turn = Turn("x")
    with pytest.raises(KeyError), turn.run():
        assert "'x' is running in another thread" in str(in_thread(turn.run().__enter__))
        assert "'x' is running in another thread" in str(in_thread(turn.moment().__enter__))
        with turn.moment():  # as in a signal handler
            pass
        raise KeyError
    with turn.moment():
        pass
    assert in_thread(turn.run().__enter__) is None


def test_a_turn_that_was_never_given_back_ends_with_its_thread():
    """Where a signal came between two steps of Python: the same thread may go on, and others when it has ended."""
    turn = Turn("x")
    left = turn.run()
    left.__enter__()
    with turn.moment():
        pass
    other = Turn("x")
    left_by_thread = other.run()
    assert in_thread(left_by_thread.__enter__) is None
    with other.run():
        pass


def test_moments_and_runs_wait_for_the_moment_before_them():
    turn, order = Turn("x"), []

    def other(within):
        with within():
            order.append("other")

    threads = [threading.Thread(target=other, args=[within]) for within in (turn.moment, Turn.run.__get__(turn))]
    with turn.moment():
        for thread in threads:
            thread.start()
            thread.join(0.05)
        order.append("first")
    for thread in threads:
        thread.join()
    assert order == ["first", "other", "other"]
