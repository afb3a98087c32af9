"""A training at work, around a graph that computes nothing: calls, reports, checkpoints, events, what goes wrong."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.learning.engines import CannotCompileError
from l2l.runs import nonfinite, training

RECORD = {"name": "mine", "weights_seed": 1, "draws_seed": 2, "meta_loss": "sum", "engine": "xla", "xla": {"a": 1}}


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(training.time, "perf_counter", lambda: self.now)


class Graph:
    """In place of a `TrainingGraph`; `calls` has all that was asked of it, but for numbers of rows."""

    def __init__(self, word=None, most=1, columns=3, cannot=None, clock=None, seconds=0.0):
        self.word, self.most, self.columns, self.cannot = word, most, columns, cannot
        self.clock, self.seconds, self.calls, self.asked, self.number = clock, seconds, [], [], 0
        self.bad = {}  # number of a meta-iteration to its figures

    def to_prepare(self):
        return self.word

    def prepare(self):
        self.calls.append("prepare")
        if self.cannot:
            raise self.cannot
        self.word = None

    def run(self, most):
        self.asked.append(most)
        if self.clock:
            self.clock.now += self.seconds
        numbers = range(self.number, self.number + min(most, self.most))
        self.number = numbers[-1] + 1
        rows = np.array([[n, 10.0 ** -(n % 5), 1, 7, 8, 9][: self.columns] for n in numbers])
        for number, figures in self.bad.items():
            if number in numbers:
                rows[number - numbers[0], : len(figures)] = figures
        return rows

    def failure(self):
        return {"age": np.array(3)}

    def snapshot(self):
        return {"number": self.number}

    def load(self, arrays):
        self.calls.append(("load", arrays))

    def weights(self):
        return ["weights"]

    def close(self):
        self.calls.append("close")


class Recorded:
    """Calls of any method, as tuples of its name and arguments; `due` has what `is_due` says."""

    def __init__(self):
        self.calls, self.due, self.path = [], [], "the path"

    def is_due(self):
        return self.due.pop(0)

    def __getattr__(self, name):
        return lambda *arguments, **more: self.calls.append((name, *arguments, *more.items()))


def made(graph, checkpoints=None, events=None, on_nonfinite="skip", fall_back=None):
    return training.Training(graph, l2l.History(RECORD), checkpoints, events, on_nonfinite, fall_back)


def worked(one, number, stop=None, between_calls=lambda: None):
    """What was reported."""
    reports = []
    done = one.work(number, lambda *report: reports.append(report), stop or threading.Event(), between_calls)
    assert done == sum(finished for finished, _ in reports)
    return reports


def average(numbers):
    return "log average %.2f" % -np.mean([n % 5 for n in numbers])


def test_progress_and_events_come_every_hundred_meta_iterations_and_at_the_end(monkeypatch):
    clock, events, asked = Clock(monkeypatch), Recorded(), []
    one = made(Graph("starting"), events=events)
    reports = worked(one, 250, between_calls=lambda: asked.append(len(one.history)))
    averages = [average(range(n)) for n in (100, 200, 250)]
    assert reports == [(0, "starting"), *zip([100, 100, 50], averages)] and clock.now == 0
    assert asked == [*range(1, 251), 250]  # and once more at the end
    assert events.calls[0] == ("begin", one.history)
    for (name, written, log_average, weights, is_last), text, last in zip(events.calls[1:], averages, [0, 0, 1]):
        assert (name, written, is_last) == ("write", one.history, ("is_last", bool(last)))
        assert "log average %.2f" % log_average == text and weights() == ["weights"]
    assert len(events.calls) == 4


def test_meta_iterations_that_are_spared_count_as_done(monkeypatch):
    """Where a stage ends before its time, see `StagedTraining`."""
    one, reports = made(Graph()), []
    monkeypatch.setattr(one, "_before_call", lambda left: 0 if left == 7 else left)
    assert one.work(10, lambda *report: reports.append(report), threading.Event(), lambda: None) == 3
    assert reports == [(10, average(range(3)))]


def test_the_average_is_over_the_last_two_thousand():
    one = made(Graph(most=3000))
    one.history.append([[0.0, 1e-3, 0.0, 0.0]] * 2500)
    assert worked(one, 1)[-1] == (1, "log average %.2f" % (-3 * 1999 / 2000))


@pytest.mark.parametrize(
    "seconds, expected", [(0.1, [3, 2]), (0.15, [2, 2, 1]), (0.21, [1] * 5), (0.199, [2, 2, 1]), (0.01, [5])]
)
def test_progress_of_slow_meta_iterations_comes_after_a_fifth_of_a_second(seconds, expected, monkeypatch):
    one = made(Graph(clock=Clock(monkeypatch), seconds=seconds))
    assert [finished for finished, _ in worked(one, 5)] == expected


def test_a_call_of_the_engine_takes_less_than_half_a_second(monkeypatch):
    """So that Ctrl-C need not wait: twice as much after less than 0.2 s of work, half after more than 0.4."""
    graph = Graph(most=99, clock=Clock(monkeypatch))
    one = made(graph)
    calls = [(0.25, 9), (0.25, 9), (0.5, 9), (1.0, 9), (0.25, 3), (0.4, 9), (0.75, 9), (1.5, 9), (4.0, 9), (4.0, 9)]
    for unit, most in [*calls, (4.0, 9), (4.0, 9), (0.75, 9)]:
        graph.seconds = 0.4 * unit
        one._call_engine(most)
    assert graph.asked == [1, 2, 4, 4, 3, 4, 8, 8, 4, 2, 1, 1, 1]
    assert one.history.seconds.sum() == pytest.approx(graph.clock.now) and len(one.history) == sum(graph.asked)
    seconds = [0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.1]
    np.testing.assert_allclose(one.history.seconds[:8], seconds)


@pytest.mark.parametrize("columns", [3, 6])
def test_what_the_engine_measures_is_in_the_history(columns, monkeypatch):
    """With an estimator there are three columns more, and the seconds are always the fourth."""
    one = made(Graph(most=2, columns=columns, clock=Clock(monkeypatch), seconds=0.125))
    one.history = l2l.History({**RECORD, "estimator": {} if columns == 3 else {"class": "PES"}})
    worked(one, 3)
    expected = np.array([[0, 1, 1, 0.125, 7, 8, 9], [1, 0.1, 1, 0.0625, 7, 8, 9], [2, 0.01, 1, 0.0625, 7, 8, 9]])
    for name, column in zip(one.history.columns, expected.T):
        np.testing.assert_array_equal(getattr(one.history, name), column)
    assert len(one.history.columns) == columns + 1


def test_checkpoints_are_written_where_they_are_due_and_at_the_end():
    checkpoints = Recorded()
    checkpoints.due = [False, True, False, True]
    one = made(Graph(), checkpoints)
    worked(one, 4)
    assert checkpoints.calls == [
        ("write_or_warn", {"number": 2}, one.history, OSError),
        ("write_or_warn", {"number": 4}, one.history, OSError),
        ("write", {"number": 4}, one.history),
    ]


def test_what_fails_is_raised_and_a_checkpoint_written_of_what_is_known(monkeypatch):
    for is_known in (True, False):
        checkpoints = Recorded()
        one = made(Graph(), checkpoints)
        for failing in (one, made(Graph())):
            failing.is_known = is_known
            monkeypatch.setattr(failing, "_before_call", lambda left: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                worked(failing, 1)
        written = [("write_or_warn", {"number": 0}, one.history, (OSError, ValueError))]
        assert checkpoints.calls == written * is_known


@pytest.mark.parametrize(
    "error, is_known", [(tf.errors.InternalError(None, None, "no more"), True), (TimeoutError("too late"), False)]
)
def test_after_an_error_of_the_engine_the_weights_are_known_and_after_any_other_they_are_not(error, is_known):
    graph, heard = Graph(), []
    one = made(graph)
    worked(one, 2)

    def fails(most):
        heard.append(one.is_known)
        raise error

    graph.run = fails
    with pytest.raises(type(error)):
        worked(one, 1)
    assert heard == [False] and one.is_known == is_known and len(one.history) == 2


def test_a_stop_is_noticed_before_each_call():
    """Also after what was prepared, which takes long."""
    stop = threading.Event()
    one = made(Graph("compiling"))
    reports = []
    assert one.work(10, lambda *report: reports.append(report) or stop.set(), stop, lambda: None) == 0
    assert reports == [(0, "compiling")]
    stop.clear()
    assert one.work(10, lambda *_: None, stop, lambda: len(one.history) == 3 and stop.set()) == 3


def test_where_xla_cannot_compile_another_graph_goes_on_if_that_is_allowed():
    compiled, other = Graph("compiling", cannot=CannotCompileError("XLA cannot")), Graph("starting")
    compiled.number = 7
    one = made(compiled, fall_back=lambda: other)
    with pytest.warns(RuntimeWarning, match=r"^XLA cannot\. Going on with engine='graph'\.$"):
        reports = worked(one, 2)
    assert reports == [(0, "compiling"), (0, "starting"), (2, average(range(2)))]
    assert one.graph is other and other.calls == [("load", {"number": 7}), "prepare"]
    assert compiled.calls == ["prepare", "close"] and not compiled.asked
    assert one.history.config == {**RECORD, "engine": "graph", "xla": None}
    with pytest.raises(CannotCompileError, match=r"^XLA cannot$"):
        worked(made(compiled), 2)


def test_the_first_meta_iteration_that_goes_bad_is_warned_of(recwarn):
    graph = Graph()
    graph.bad = {1: [1.0, np.nan, 1.0], 3: [np.inf, 1.0, 1.0]}
    worked(made(graph), 5)
    (said,) = [str(warning.message) for warning in recwarn if warning.category is RuntimeWarning]
    described = nonfinite.described(RECORD, 1, [1.0, np.nan, 1.0])
    assert said == described + "; like all others of its kind it changes no weight"
    assert [warning.filename for warning in recwarn if warning.category is RuntimeWarning] == [__file__]


@pytest.mark.parametrize("most, columns", [(1, 3), (3, 3), (1, 6)])
def test_what_a_meta_iteration_that_went_bad_began_with_is_saved(most, columns, tmp_path, monkeypatch):
    """The last row of a call alone can be bad; what the figures of an estimator say beside it does not count."""
    monkeypatch.chdir(tmp_path)
    checkpoints = Recorded()
    checkpoints.path, checkpoints.due = str(tmp_path / "kept"), [False] * 9
    (tmp_path / "kept").mkdir()
    for directory, place in [(None, "nonfinite-000000000002.npz"), (checkpoints, "kept/nonfinite-000000000002.npz")]:
        graph = Graph(most=most, columns=columns)
        graph.bad = {0: [1, 1, 1, np.inf], 2: [1, 2, np.inf]} if columns == 6 else {2: [1, 2, np.inf]}
        one = made(graph, directory, on_nonfinite="raise")
        one._most_per_call = most
        one.history = l2l.History({**RECORD, "estimator": {"class": "PES"} if columns == 6 else {}})
        with pytest.raises(l2l.NonFiniteError, match=r"^mine .*meta-iteration 2 has .* gradient norm inf; ") as caught:
            worked(one, 9)
        assert (tmp_path / caught.value.path).samefile(tmp_path / place)
        assert nonfinite.read(caught.value.path) == (one.history.config, {"age": 3})
    assert checkpoints.calls[0] == ("check_held",)


def test_restored_it_goes_on_from_there_and_a_failure_leaves_it_unknown(monkeypatch):
    graph, history, checked = Graph(), l2l.History(RECORD), []
    one = made(graph)
    before, there = one.history, SimpleNamespace(config={"begun": 1})
    monkeypatch.setattr(
        training.checkpoints, "read", lambda *arguments: checked.append(arguments) or ({"a": 1}, history)
    )
    monkeypatch.setattr(training.checkpoints, "check_snapshot", lambda *arguments: checked.append(arguments))
    one.restore("path", "allowed")
    assert checked == [("path", before.config, "allowed"), ("path", {"a": 1}, {"number": 0}, before.config)]
    assert one.history is history and one.is_known and graph.calls == [("load", {"a": 1})]
    one.history = there

    def fails(arrays):
        assert not one.is_known
        raise KeyboardInterrupt

    monkeypatch.setattr(graph, "load", fails)
    with pytest.raises(KeyboardInterrupt):
        one.restore("path", False)
    assert not one.is_known and one.history is there


def test_closed_it_frees_all_that_it_has():
    graph, checkpoints, events = Graph(), Recorded(), Recorded()
    made(graph, checkpoints, events).close()
    made(graph).close()
    assert graph.calls == ["close"] * 2 and checkpoints.calls == events.calls == [("close",)]


def test_a_run_that_is_stuck_is_not_finished_in_silence():
    one = made(Graph(most=9999))
    one._most_per_call = 5000
    with pytest.warns(RuntimeWarning, match=r"^mine: .* was -2\.00 in .* it is stuck or had converged by then$"):
        worked(one, 5000)
