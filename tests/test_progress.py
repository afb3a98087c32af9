"""The progress line says what it should, and never stops what it is about."""

import errno
import io
import itertools
import re
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from trainers import small

import l2l
from l2l.progress import FORMAT, _is_terminal, _Line, _Progress, _StandardError, progress, shortened, title, waiting

ERRORS = [OSError(errno.ENOSPC, "no space left"), BrokenPipeError(errno.EPIPE, "broken"), ValueError("closed file")]


class Failing(io.StringIO):
    """Standard error that takes so many pieces of text, and then fails."""

    def __init__(self, pieces, error):
        super().__init__()
        self.left, self.error, self.failed = pieces, error, 0

    def write(self, text):
        if self.left == 0:
            self.failed += 1
            raise self.error
        self.left -= 1
        return super().write(text)


@pytest.fixture(autouse=True)
def impatient_clock(monkeypatch):
    """Every look at the clock is a second later, so that every report is shown."""
    monkeypatch.setattr("tqdm.std.time", itertools.count().__next__)
    monkeypatch.setattr("l2l.progress.perf_counter", itertools.count().__next__)


@pytest.fixture(scope="module")
def trainers():
    """Two, for all tests: each trains on where the last one stopped."""
    return [small(name="one", weights_seed=1), small(name="one", weights_seed=2)]


def evaluate(*names):
    return l2l.evaluate(l2l.Quadratic(2), {name: l2l.sgd() for name in names}, draws=3, steps=4, engine="graph")


def everything(trainers):
    """All that shows progress, and that it came to its end."""
    before = [len(trainer.history) for trainer in trainers]
    trainers[0].run(150)
    l2l.train_together(trainers, 20)
    assert [len(trainer.history) for trainer in trainers] == [before[0] + 170, before[1] + 20]
    assert evaluate("SGD")["SGD"].shape == (3, 4)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("pieces", [0, 1, 2, 4])
def test_a_line_falls_silent_for_good_when_standard_error_fails(pieces, error, monkeypatch):
    """One piece is what is shown at the start; two and four are cut off in the middle and at the end."""
    stream = Failing(pieces, error)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(5, "line") as report:
        for _ in range(3):
            report(1, "text")
    assert stream.failed == 1
    assert stream.getvalue().count("line") == pieces


def test_all_that_is_written_is_flushed_until_a_flush_fails(monkeypatch):
    class Stream:
        encoding, calls = "ascii", []

        def write(self, text):
            self.calls.append(text)

        def flush(self):
            self.calls.append("flush")
            if len(self.calls) > 3:
                raise OSError

    monkeypatch.setattr(sys, "stderr", Stream())
    stream = _StandardError()
    for text in ["one", "two", "three"]:
        stream.write(text)
        stream.flush()
    assert stream.encoding == "ascii" and Stream.calls == ["one", "flush", "two", "flush"]
    assert not _is_terminal()


@pytest.mark.parametrize("stream", [Failing(2, ERRORS[1]), None])
def test_nothing_that_shows_progress_stops_where_standard_error_fails_or_is_missing(stream, trainers, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)  # None, as Python sets it where the descriptor is closed
    everything(trainers)


@pytest.mark.rehearsal
def test_a_training_ends_well_with_standard_error_on_a_full_disk(tmp_path):
    script = (
        "import warnings, l2l\n"
        "build = lambda: l2l.CoordinatewiseLSTM((5,))\n"
        "trainer = l2l.Trainer(l2l.Quadratic(2), build, unroll_length=4, engine='graph')\n"
        "trainer.run(250)\n"
        "warnings.warn('which Python itself keeps from failing')\n"
        "print(len(l2l.train_together([trainer], 10)[0]))\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0 and done.stdout == b"260\n"


def test_a_wrong_setting_of_tqdms_stops_nothing(capsys):
    with progress(5, "line", ascii="x") as report:  # as from the environment variable TQDM_ASCII
        report(1, "text")
    assert "100%" not in capsys.readouterr().err


def test_an_interrupt_while_a_line_is_written_leaves_no_lock_for_others_to_wait_for(monkeypatch):
    stream = Failing(1, KeyboardInterrupt())
    monkeypatch.setattr(sys, "stderr", stream)
    caught = []

    def work():
        try:
            with progress(5, "line") as report:
                report(1, "text")
        except KeyboardInterrupt as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught
    lock = _Line.get_lock().th_lock
    assert lock.acquire(timeout=1)
    lock.release()


def test_one_thread_keeps_a_line_going_and_stops_no_program(capsys):
    before = set(threading.enumerate())
    with progress(5, "line"):
        assert _Line.monitor is None
        (thread,) = set(threading.enumerate()) - before
        assert thread.daemon
    assert not thread.is_alive()


def test_threads_take_turns(clock, capsys, monkeypatch):
    class Lock:
        taken = 0

        def __enter__(self):
            self.taken += 1

        def __exit__(self, *error):
            pass

    line, lock = ticks(), Lock()
    line._lock = lock
    for number, use in enumerate([lambda: line.report(1, ""), line.tick, line.close], start=1):
        use()
        assert lock.taken == number
    line = ticks()
    with monkeypatch.context() as patched:
        patched.setattr(_Line, "_lock", lock)
        line._line.refresh()
        assert lock.taken == 4
    line.close()


def lines_of(captured):
    return [line for line in captured.err.replace("\r", "\n").split("\n") if line.strip()]


def test_a_run_shows_meta_iterations_time_left_and_log_average(trainers, capsys):
    history = trainers[0].run(200)
    first, *_, last = lines_of(capsys.readouterr())
    assert first.startswith("one:   0%") and "0/200" in first
    assert last.startswith("one: 100%") and "200/200" in last and "<00:00, " in last
    assert "log average %.2f" % np.log10(history.last_loss[-2000:]).mean() in last


def test_many_trainings_have_a_short_line(trainers, capsys, monkeypatch):
    for i, trainer in enumerate(trainers):
        monkeypatch.setitem(trainer.history.config, "name", "an experiment with a long name, the %dth of them" % i)
    l2l.train_together(trainers, 10, workers=1)
    lines = lines_of(capsys.readouterr())
    assert all(line.startswith("2 trainings: ") for line in lines)
    assert max(map(len, lines)) < 120
    assert "an experiment with a ..., seed 2 log average -" in lines[-1]


def test_seeds_of_one_experiment_name_it_once(trainers, capsys):
    l2l.train_together(trainers, 10, workers=1)
    last = lines_of(capsys.readouterr())[-1]
    assert last.startswith("one: ") and ", seed 2 log average -" in last


def test_an_evaluation_names_its_optimizers(capsys):
    evaluate("SGD", "one more with a long name, which is cut")
    last = lines_of(capsys.readouterr())[-1]
    assert last.startswith("evaluate 2 optimizers: 100%") and "24.0/24.0" in last
    assert ", one more with a long ..., " in last


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        for name in ["tqdm.std.time", "l2l.progress.perf_counter"]:
            monkeypatch.setattr(name, lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def ticks(delay=0.0, **options):
    """A line whose ticks come when the test says so."""
    return _Progress(delay, {"total": 10, "desc": "it", "bar_format": FORMAT, **options})


def test_what_is_waited_for_has_a_clock_and_is_no_part_of_the_time_left(clock, capsys):
    line = ticks(mininterval=0)
    line.report(0, "compiling")
    assert "compiling, ?it/s" in lines_of(capsys.readouterr())[-1]
    for _ in range(6):
        clock.now += 1
        line.tick()
    last = lines_of(capsys.readouterr())[-1]
    assert "compiling, 6 s" in last and "00:00<?" in last
    clock.now += 1
    line.report(0, "linking")
    clock.now += 3
    line.tick()
    assert "linking, 3 s" in lines_of(capsys.readouterr())[-1]
    clock.now += 1
    line.report(1, "")
    clock.now += 2
    line.report(4, "log average 1")
    assert "5/10 [00:02<00:02, log average 1,  2.00it/s]" in lines_of(capsys.readouterr())[-1]
    line.tick()
    assert not lines_of(capsys.readouterr()), "no clock runs, and a file gets news only"
    line.close()


def test_in_a_terminal_its_time_goes_on_while_nothing_is_reported(clock, capsys, monkeypatch):
    monkeypatch.setattr("l2l.progress._is_terminal", lambda: True)
    line = ticks()
    line.report(1, "")
    clock.now += 5
    line.tick()
    assert "[00:05<" in lines_of(capsys.readouterr())[-1]
    line.close()


def test_what_is_soon_over_shows_nothing(clock, capsys):
    line = ticks(delay=2.0)
    line.report(0, "building")
    clock.now += 1.5
    line.tick()
    line.close()
    assert not lines_of(capsys.readouterr())
    line = ticks(delay=2.0)
    clock.now += 1
    line.report(3, "")
    clock.now += 4
    line.report(3, "")
    assert "6/10 [00:05<00:03,  1.20it/s]" in lines_of(capsys.readouterr())[-1]
    line.close()
    line = ticks(delay=2.0, mininterval=0)
    line.report(0, "building")
    clock.now += 3
    line.report(1, "")
    assert "1/10 [00:00<" in lines_of(capsys.readouterr())[-1], "what was waited for counts no more than later"
    line.close()


def test_a_clock_runs_by_itself(capsys, monkeypatch):
    monkeypatch.setattr("l2l.progress.TICK", 0.01)
    with waiting("it", "building"):
        pass
    assert capsys.readouterr().err == "", "a file is told nothing"
    monkeypatch.setattr("l2l.progress._is_terminal", lambda: True)
    begun = itertools.count()
    with waiting("it", "building"):
        while "it: building, " not in capsys.readouterr().err:
            assert next(begun) < 10**6
    assert lines_of(capsys.readouterr()) == [], "nothing is left of it"


@pytest.fixture
def shown(monkeypatch):
    """In a notebook: what was displayed."""
    found = []
    monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace(kernel=True))
    monkeypatch.setattr("tqdm.notebook.display", found.append)
    return found


def test_a_notebook_shows_a_widget(shown, capsys):
    with progress(10, "it") as report:
        report(0, "compiling")
        report(7, "log average 1")
        report(3, "log average 2")
    (container,) = shown
    left, bar, right = container.children
    assert bar.value == 10 and "it: 100%" in left.value.replace("\u2007", " ")
    assert "10/10" in right.value and "log average 2" in right.value.replace("\u2007", " ")
    assert capsys.readouterr().err == ""


def test_a_widgets_time_goes_on_while_nothing_is_reported(shown, clock):
    line = ticks()
    line.report(1, "")
    clock.now += 5
    line.tick()
    assert "[00:05&lt;" in shown[0].children[-1].value
    line.close()
    assert shown[0].children[1].bar_style == "danger", "it is not at its end"


def test_a_notebook_shows_what_is_waited_for_as_text_and_nothing_afterwards(shown, monkeypatch):
    texts = []
    handle = types.SimpleNamespace(update=lambda data, raw: texts.append((data, raw)))

    def display(data, *, raw, display_id):
        texts.append((data, raw, display_id))
        return handle

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("l2l.progress.TICK", 0.001)
    with waiting("it", "building"):
        while len(texts) < 4:
            pass
    first, second, *clock, last = texts
    assert first == ({"text/plain": "it: building"}, True, True) and last == ({"text/plain": ""}, True)
    assert second == ({"text/plain": "it: building, "}, True)
    for data, raw in clock:
        assert re.fullmatch(r"it: building, \d+ s", data.pop("text/plain")) and not data and raw is True


def test_a_notebook_without_widgets_shows_text(shown, capsys, monkeypatch):
    monkeypatch.setattr("tqdm.notebook.IProgress", None)
    with progress(10, "it"):
        pass
    monkeypatch.undo()
    assert not shown and "it:   0%" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["asked", "failing"])
def test_a_notebook_shows_text_where_it_is_asked_to_or_its_widgets_fail(how, shown, clock, capsys, monkeypatch):
    if how == "asked":
        monkeypatch.setenv("L2L_PROGRESS", "text")
    else:
        monkeypatch.setattr("tqdm.notebook.display", None)
    with progress(10, "it"):
        pass
    assert not shown and "it:   0%" in capsys.readouterr().err


def test_title():
    assert title(["one"] * 5, "trainings") == "one"
    assert title(["one", "other", "one"], "trainings") == "one + other"
    assert title(["RNN_log30_end_log_res_%d" % i for i in range(18)], "trainings") == "18 trainings"
    assert title(["x" * 100], "trainings") == "x" * 37 + "..."
    assert title(["x" * 40], "trainings") == "x" * 40
    assert title(["x" * 18, "y" * 19], "trainings") == "x" * 18 + " + " + "y" * 19
    assert title(["x" * 19, "y" * 19, "x" * 19], "trainings") == "3 trainings"
    assert shortened("two\nlines", 10) == "two lines"


def test_two_lines_at_a_time_take_turns_on_one(capsys):
    with progress(10, "one") as one, progress(10, "other") as other:
        one(5, "")
        other(5, "")
    shown = capsys.readouterr().err
    assert "one" in shown and "other" in shown and "\x1b" not in shown and "\n\n" not in shown
