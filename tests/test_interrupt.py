import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from trainers import assert_same_run, recorded_graphs, same, small

import l2l
from l2l.interrupt import delayed_signals, leave
from l2l.runs import training

INT, TERM = signal.SIGINT, signal.SIGTERM


def to_oneself(*signals):
    """Signals that arrive together: Python hears of all of them before it calls the first handler."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for number in signals:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


@pytest.fixture
def handlers():
    """A function that gives the handlers of both signals now; afterwards they are those of before."""
    before = {number: signal.getsignal(number) for number in [INT, TERM]}
    yield lambda: [signal.getsignal(number) for number in [INT, TERM]]
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("engine", ["graph", pytest.param("xla", marks=pytest.mark.rehearsal)])
def test_interrupt_stops_cleanly_keeps_everything_and_run_goes_on(engine):
    trainer = small(engine=engine)
    trainer.run(1)  # compiled
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.run(10**6)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is handler
    stopped_at = len(trainer.history)
    assert stopped_at > 1
    assert str(caught.value) == "stopped after %d of 1000000 meta-iterations, all kept" % (stopped_at - 1)
    trainer.run(5)
    undisturbed = small(engine=engine)
    undisturbed.run(stopped_at + 5)
    np.testing.assert_array_equal(trainer.history.last_loss, undisturbed.history.last_loss)
    assert same(trainer.weights(), undisturbed.weights())


def test_a_signal_is_acknowledged_while_python_is_kept_from_its_handlers(handlers):
    """As while TensorFlow compiles; once for all signals, and whoever else listens still hears of them."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    heard, start = [], time.perf_counter()
    before = signal.set_wakeup_fd(theirs.fileno())
    try:
        with delayed_signals(False, lambda: heard.append(time.perf_counter() - start)) as stop:
            timer = threading.Timer(0.1, os.kill, [os.getpid(), INT])
            timer.start()
            ctypes.CDLL(None).usleep(1_000_000)
        assert len(heard) == 1 and heard[0] < 0.9 and stop.is_set()
        assert signal.set_wakeup_fd(theirs.fileno()) == theirs.fileno()
        assert ours.recv(9) == bytes([INT])
    finally:
        signal.set_wakeup_fd(before)
        ours.close()
        theirs.close()


def test_the_first_of_the_signals_that_wait_is_acknowledged_and_no_other(handlers):
    before, another = set(threading.enumerate()), signal.SIGUSR1

    def acknowledged(*signals):
        heard = []
        with delayed_signals(True, lambda: heard.append(1)):
            (thread,) = set(threading.enumerate()) - before
            assert thread.daemon  # whatever becomes of it, Python can end
            for number in signals:
                os.kill(os.getpid(), number)
        assert set(threading.enumerate()) == before
        return len(heard)

    handler = signal.signal(another, lambda number, frame: None)
    try:
        with warnings.catch_warnings(record=True) as caught:  # of what is not closed
            warnings.simplefilter("always")
            numbers = [acknowledged(*one) for one in [[], [another], [INT], [another, TERM, INT, another]]]
    finally:
        signal.signal(another, handler)
    assert numbers == [0, 0, 1, 1] and not caught


def test_a_listener_that_goes_meanwhile_is_no_error(handlers):
    heard = []
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno())
    try:
        with delayed_signals(False, lambda: heard.append(1)) as stop:
            theirs.close()
            os.kill(os.getpid(), INT)
            assert stop.is_set()
        assert heard == [1]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)
        ours.close()


def test_a_thread_that_cannot_start_leaves_nothing_behind(handlers, monkeypatch):
    def refuses(self):
        raise RuntimeError("can't start new thread")

    before = handlers()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="new thread"):
        patched.setattr(threading.Thread, "start", refuses)
        with delayed_signals(False):
            pytest.fail("it went on")
    assert handlers() == before
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found)
    assert found == -1


@pytest.mark.parametrize("signals", [[INT], [TERM], [INT, TERM], [TERM, INT]], ids=str)
@pytest.mark.parametrize("together", [True, False])
def test_the_first_of_each_kind_waits_and_sigterm_counts_more(signals, together, handlers):
    before, steps = handlers(), []
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        with delayed_signals(terminate=True) as stop:
            assert not stop.is_set()
            if together:
                to_oneself(*signals)
            else:
                for number in signals:
                    os.kill(os.getpid(), number)
            steps.append("waited")
            assert stop.is_set() and handlers() != before
        assert handlers() == before
        leave(stop, "stopped")
    assert steps == ["waited"]
    if TERM in signals:
        assert caught.type is SystemExit and caught.value.code == 128 + TERM
    else:
        assert caught.type is KeyboardInterrupt and str(caught.value) == "stopped"


@pytest.mark.parametrize("signals", [[INT, INT], [INT, TERM, INT], [TERM, INT, INT]], ids=str)
def test_a_second_ctrl_c_does_not_wait(signals, handlers):
    before = handlers()
    with pytest.raises(KeyboardInterrupt), delayed_signals(terminate=True):
        for number in signals:
            os.kill(os.getpid(), number)
        pytest.fail("it waited")
    assert handlers() == before


def test_a_second_signal_reaches_the_handler_that_was_there(handlers):
    heard = []
    for number in [INT, TERM]:
        signal.signal(number, lambda number, frame: heard.append((number, frame is not None)))
    before = handlers()
    with delayed_signals(terminate=True):
        for number in [INT, TERM, TERM, INT, INT]:
            os.kill(os.getpid(), number)
    assert heard == [(TERM, True), (INT, True), (INT, True)] and handlers() == before


@pytest.mark.parametrize("signals", [[TERM, TERM], [INT, TERM, TERM]], ids=str)
def test_a_second_sigterm_ends_the_process(signals, handlers):
    signal.signal(TERM, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        try:
            with delayed_signals(terminate=True):
                for number in signals:
                    os.kill(os.getpid(), number)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == TERM


@pytest.mark.parametrize("terminate", [True, False])
def test_what_is_ignored_stays_ignored_and_sigterm_is_touched_only_if_asked(terminate, handlers):
    signal.signal(INT, signal.SIG_IGN)
    before = handlers()
    with delayed_signals(terminate) as stop:
        assert signal.getsignal(INT) is signal.SIG_IGN and (handlers()[1] != before[1]) == terminate
        os.kill(os.getpid(), INT)
        assert not stop.is_set()
    assert handlers() == before


def test_signals_while_the_handlers_return_leave_none_behind(handlers, monkeypatch):
    before, put = handlers(), signal.signal

    def disturbed(number, handler):
        if number == INT:
            os.kill(os.getpid(), INT)
        return put(number, handler)

    with delayed_signals(terminate=True) as stop:
        os.kill(os.getpid(), INT)
        monkeypatch.setattr(signal, "signal", disturbed)  # the second one comes before Ctrl-C's own handler is back
    monkeypatch.undo()
    assert handlers() == before and stop.signal == INT


def test_outside_the_main_thread_no_handler_is_touched(handlers):
    before, inside = handlers(), []

    def target():
        with delayed_signals(terminate=True) as stop:
            inside.extend([handlers(), stop.is_set()])

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert inside == [before, False]


@pytest.mark.parametrize("signals, error", [([TERM, INT], SystemExit), ([INT, INT], KeyboardInterrupt)], ids=str)
def test_signals_within_one_call_of_the_engine(signals, error, tmp_path, monkeypatch, handlers):
    """Whatever comes, afterwards the checkpoint is one of the training, and the handlers are those that were there."""
    graphs, before = recorded_graphs(monkeypatch), handlers()
    trainer = small(checkpoint_dir=tmp_path)
    trainer.run(3)
    assert handlers() == before
    run = graphs[0].run

    def disturbed(most):
        rows = run(most)
        for number in signals:
            os.kill(os.getpid(), number)
        return rows

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(graphs[0], "run", disturbed)
        trainer.run(20)
    assert handlers() == before
    # The second Ctrl-C came when the weights were ahead of the history already.
    kept = 4 if error is SystemExit else 3
    assert l2l.latest_checkpoint(tmp_path).endswith("%012d.npz" % kept)
    assert len(trainer.restore(tmp_path)) == kept
    trainer.run(2)
    undisturbed = small()
    undisturbed.run(kept + 2)
    assert_same_run(trainer, undisturbed)


def test_an_interrupt_between_any_two_steps_of_python_leaves_no_wrong_checkpoint(tmp_path):
    """At each bytecode of `_call_engine` in turn comes a Ctrl-C."""
    trainer = small(checkpoint_dir=tmp_path)
    trainer.run(2)
    places, refusals = 0, 0

    def interrupted_at(number):
        """Whether there was such a bytecode."""
        count = 0

        def inside(frame, event, _):
            nonlocal count
            count += event == "opcode"
            if event == "opcode" and count == number:
                raise KeyboardInterrupt
            return inside

        def trace(frame, *_):
            if frame.f_code.co_name != "_call_engine":
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return inside

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            trainer.run(1)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    while interrupted_at(places + 1):
        places += 1
        _, arrays = l2l.archives.read(l2l.latest_checkpoint(tmp_path))
        assert arrays["place"][0] == len(arrays["history/meta_loss"]), places
        try:
            trainer._check_ready()
            assert trainer.snapshot()["place"][0] == len(trainer.history)
        except ValueError:
            refusals += 1
        trainer.restore(tmp_path)
    assert places > 50 and 0 < refusals < places
    undisturbed = small()
    undisturbed.run(len(trainer.history))
    assert_same_run(trainer, undisturbed)


def test_a_third_ctrl_c_while_the_second_is_dealt_with_leaves_no_wrong_checkpoint(tmp_path, monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    trainer = small(checkpoint_dir=tmp_path)
    trainer.run(3)
    checkpoint, run = Path(l2l.latest_checkpoint(tmp_path)), graphs[0].run
    content = checkpoint.read_bytes()

    class Interrupted:
        @property
        def errors(self):
            raise KeyboardInterrupt("the third")

    def interrupted(most):
        run(most)
        raise KeyboardInterrupt("the second")

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt, match="the third"):
        patched.setattr(graphs[0], "run", interrupted)
        patched.setattr(training, "tf", Interrupted())  # asked for what kind of error it was
        trainer.run(5)
    assert l2l.latest_checkpoint(tmp_path) == str(checkpoint) and checkpoint.read_bytes() == content
    with pytest.raises(ValueError, match="stopped in the middle of a call"):
        trainer.run(5)


def test_within_another_block_signals_are_left_to_the_outer_one(handlers):
    """As in an evaluation that a callback of a training calls."""
    before, heard = handlers(), []
    with pytest.raises(KeyboardInterrupt), delayed_signals(False, lambda: heard.append("outer")) as outer:
        ours = handlers()
        with delayed_signals(False, lambda: heard.append("inner")) as inner:
            assert handlers() == ours
            os.kill(os.getpid(), INT)
            assert outer.is_set() and not inner.is_set()
        assert handlers() == ours
        os.kill(os.getpid(), INT)  # the second acts as usual
        pytest.fail("it waited")
    assert handlers() == before and heard == ["outer"]


def test_an_interrupt_at_the_end_of_an_evaluation_counts(monkeypatch, handlers):
    module, before = sys.modules["l2l.evaluation.evaluate"], handlers()
    close = module.EvaluationGraph.close
    monkeypatch.setattr(module.EvaluationGraph, "close", lambda self: (close(self), os.kill(os.getpid(), INT)))
    with pytest.raises(KeyboardInterrupt, match="stopped, no losses are kept"):
        l2l.evaluate(l2l.Quadratic(), {"a": l2l.sgd()}, draws=2, steps=2, engine="graph")
    assert handlers() == before


@pytest.mark.parametrize("when", ["building", "running"])
def test_an_evaluation_is_acknowledged_at_once_and_ends_before_the_next_optimizer(when, monkeypatch, handlers):
    before, shown, closed = handlers(), [], []

    @contextlib.contextmanager
    def line(total, description, **options):
        yield lambda finished, text: shown.append((finished, text))

    class Graph:
        build = None

        def __init__(self, *arguments):
            if when == "building":
                self.interrupt()

        def losses_and_positions(self, at, report):
            assert when == "running"
            report(3)
            self.interrupt()
            report(4)
            pytest.fail("it went on")

        def interrupt(self):
            os.kill(os.getpid(), INT)
            time.sleep(0.3)  # the thread that acknowledges is another one
            shown.append("still inside")

        def close(self):
            closed.append(self)

    module = sys.modules["l2l.evaluation.evaluate"]
    monkeypatch.setattr(module, "progress", line)
    monkeypatch.setattr(module, "EvaluationGraph", Graph)
    with pytest.raises(KeyboardInterrupt, match="stopped, no losses are kept"):
        l2l.evaluate(l2l.Quadratic(), {"a": l2l.sgd(), "b": l2l.sgd()}, engine="graph")
    running = [(3, "a")] if when == "running" else []
    assert shown == [(0, "building"), *running, (0, "stopping"), "still inside"]
    assert len(closed) == 1 and handlers() == before
