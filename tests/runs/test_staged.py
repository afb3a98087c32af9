"""What goes on around the graphs of a curriculum: which weights are kept, when a stage ends, what interruptions lose.

The graphs compute next to nothing, so that every point can be tried; `test_curriculum.py` has the real ones. What the
page on reliability promises is rehearsed with those too.
"""

import itertools
import os
import shutil
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf
from counting_graphs import CountingEvaluation, CountingGraph, put_in_place
from test_events import scalars, written
from trainers import assert_same_run, learned_momentum, same, small

import l2l
from l2l import archives
from l2l.evaluation.graph import EvaluationGraph
from l2l.learning.engines import CannotCompileError
from l2l.learning.settings import Settings
from l2l.runs import history, training, validation
from l2l.runs.checkpoints import CheckpointDirectory
from l2l.runs.recipe import Recipe
from l2l.runs.record import described_start
from l2l.runs.training_graph import TrainingGraph

SETTINGS = {"unroll_length": 4, "learning_rate": 0.03, "weights_seed": 1, "draws_seed": 2, "engine": "graph"}
VALIDATED = {"validate_every": 3, "patience": 2, "draws": 5}


def curriculum(stages, **changes):
    arguments = {**SETTINGS, **changes}
    problem, build = arguments.pop("problem", l2l.Quadratic(2)), arguments.pop("build", learned_momentum)
    return l2l.Curriculum(problem, build, stages, **arguments)


def two_stages(first=4, second=8, number=6, **changes):
    return curriculum([{"meta_iterations": number, "horizon": horizon} for horizon in (first, second)], **changes)


def figures(one):
    return [(row["stage"], row["meta_iterations"], row["figure"]) for row in one.validations]


def assert_same(one, other):
    """Two curricula have measured and found the same, and would go on alike, bit for bit."""
    assert_same_run(one, other)
    assert one.validations == other.validations
    assert one.history.config["begun"] == other.history.config["begun"]
    assert same(one.trained().weights, other.trained().weights)
    assert same(one.trained().adapted, other.trained().adapted)
    assert one.trained().record["stages"] == other.trained().record["stages"]


@pytest.fixture
def built(monkeypatch):
    """Lists of all training graphs and of all graphs of evaluations."""
    return put_in_place(monkeypatch)


@pytest.fixture(params=["counting", pytest.param("real", marks=pytest.mark.rehearsal)])
def kinds(request, monkeypatch):
    """Classes of training graphs and of evaluations, and a list of the graphs that count."""
    if request.param == "real":
        return TrainingGraph, EvaluationGraph, []
    return CountingGraph, CountingEvaluation, put_in_place(monkeypatch)[0]


graphs = pytest.fixture(lambda built: built[0])
evaluations = pytest.fixture(lambda built: built[1])


def alone(number, start=None, horizon=4, draws_seed=2):
    """A graph of one stage by itself, after so many meta-iterations."""
    settings = {name: value for name, value in SETTINGS.items() if name != "engine"}
    recipe = Recipe(l2l.Quadratic(2), learned_momentum, Settings(**{**settings, "draws_seed": draws_seed}), "graph")
    graph = CountingGraph(recipe._replace(settings=recipe.settings._replace(horizon=horizon), start=start))
    graph.prepare()
    graph.run(number)
    return graph


class DisturbedError(Exception):
    """As from a signal handler of the user's."""


def given(*values):
    """A measure that gives these numbers, one after the other, and then raises."""
    left = list(values)

    def measure(losses):
        if not left:
            raise DisturbedError
        return left.pop(0)

    return measure


def test_a_stage_ends_when_nothing_is_gained_and_the_next_begins_with_its_best(graphs, evaluations, capsys):
    with two_stages(number=100, measure=given(9, 5, 3, 4, 3, 8, 8, 9), **VALIDATED) as one:
        assert one._left(None, None) == 200
        one.run()
        first = [(0, 0, 9), (0, 3, 5), (0, 6, 3), (0, 9, 4), (0, 12, 3)]
        assert figures(one) == [*first, (1, 0, 8), (1, 3, 8), (1, 6, 9)]
        assert [row["horizon"] for row in one.validations] == [4] * 5 + [8] * 3
        assert [row["is_best"] for row in one.validations] == [True] * 3 + [False] * 2 + [True] + [False] * 2
        start = alone(6)
        # The second stage found nothing better than it began with.
        assert same(one.best.weights, start.weights()) and same(one.best.adapted, start.adapted())
        assert one.best.build is learned_momentum and one.trained() is one.best
        assert one.best.record["stages"] == [
            {"stage": 0, "horizon": 4, "meta_iterations": 6},
            {"stage": 1, "horizon": 8, "meta_iterations": 0},
        ]
        assert (one.best.record["meta_iterations"], one.best.record["draws_seed"]) == (0, 3)
        begun = one.history.config["begun"]
        assert begun[0] == {"first": 0, "start": None} and begun[1]["first"] == 12 and len(one.history) == 18
        assert begun[1]["start"] == one.best.record["start"] == one.histories[1].config["start"]
        stage = l2l.Trained(None, start.weights(), start.adapted(), {"name": "training", "meta_iterations": 6})
        assert begun[1]["start"] == described_start(stage)
        assert [len(part) for part in one.histories] == [12, 6] and one.histories[0].config["start"] is None
        assert one._left(None, None) == 0
        err = capsys.readouterr().err
        assert "200/200" in err  # meta-iterations that were spared count as done
        assert "stage 2 of 2, validation 9, log average " in err
        assert [graph.is_closed for graph in graphs] == [True, False]
        assert [graph.is_closed for graph in evaluations] == [True, False]
    assert all(graph.is_closed for graph in [*graphs, *evaluations])


def test_a_stage_that_has_just_begun_is_not_over_by_what_was_found_in_the_one_before(built):
    one = two_stages(number=9, measure=given(1, 2, 3), **VALIDATED)
    with pytest.raises(DisturbedError):
        one.run()
    assert (one._training.number, len(one.validations), one._left(None, None)) == (1, 3, 9)


def test_the_starting_weights_are_the_best_if_training_makes_them_worse(built):
    start = l2l.Trained(learned_momentum, [np.array(0.5)], [np.array(2.0)], {"name": "before", "meta_iterations": 5})
    one = curriculum([{"meta_iterations": 6}], build=start, measure=given(-0.643, -0.206, -0.1), validate_every=3)
    one.run()
    assert same(one.trained().weights, [0.5]) and same(one.trained().adapted, [2.0]) and one.trained() is one.best
    assert [row["is_best"] for row in one.validations] == [True, False, False]
    assert one.best.record["start"]["name"] == "before"


@pytest.mark.parametrize(
    "values, is_best",
    [
        ([np.inf, np.inf, 2.0], [True, True, True]),
        ([1.0, -np.inf, -5.0], [True, True, False]),
        ([np.inf, 1.0, 2.0], [True, True, False]),
        ([3.0, 3.0, 2.0], [True, False, True]),
    ],
)
def test_what_counts_as_better(values, is_best, built):
    """Of weights that diverge everywhere later ones are as good; nothing is better than minus infinity."""
    one = curriculum([{"meta_iterations": 6}], measure=given(*values), validate_every=3)
    one.run()
    assert [row["is_best"] for row in one.validations] == is_best


def test_the_measure_sees_the_losses_of_the_horizon(built):
    seen = []
    one = two_stages(4, 12, 3, measure=lambda losses: seen.append(losses.shape) or 1.0, **VALIDATED)
    one.run()
    assert seen == [(5, 4)] * 2 + [(5, 12)] * 2


@pytest.mark.parametrize("most", [1, 1000])
def test_it_is_validated_at_the_start_after_every_so_many_and_at_the_end(most, graphs):
    """Whatever the calls of the engine do, and whatever was asked for: no call goes past it."""
    one = curriculum([{"meta_iterations": 11}], **{**VALIDATED, "patience": None})
    graphs[0].most = most
    one.run(4)
    assert [row["meta_iterations"] for row in one.validations] == [0, 3]
    one.run(1)
    one.run()
    assert [row["meta_iterations"] for row in one.validations] == [0, 3, 6, 9, 11]
    expected = [l2l.log_average(np.exp([alone(number)._weight])) for number in [0, 3, 6, 9, 11]]
    np.testing.assert_allclose([row["figure"] for row in one.validations], expected, rtol=1e-12)
    best = [0, 3, 6, 9, 11][int(np.argmin(expected))]
    assert same(one.best.weights, alone(best).weights()) and one.best.record["meta_iterations"] == best


def test_all_settings_reach_each_stage(graphs):
    settings = {
        "meta_loss": "end",
        "unroll_length": 3,
        "horizon": 9,
        "learning_rate": 0.5,
        "meta_optimizer": lambda rate: tf.train.MomentumOptimizer(rate, 0.9),
        "clip_norm": 7.0,
        "second_derivatives": False,
        "batch": 4,
        "threads": 2,
        "weights_seed": 5,
    }
    curriculum([{"meta_iterations": 1}] * 2, draws_seed=6, engine="xla_or_graph", **settings)
    for i, graph in enumerate(graphs):
        assert graph.recipe.settings == Settings(**settings, draws_seed=6 + i)
        assert graph.recipe.engine == "xla" and graph.recipe.problem.dims == 2


def test_run_until_counts_all_stages(graphs):
    one = two_stages(**VALIDATED)
    assert len(one.run(until=4)) == 4 and len(one.run(4)) == 8 and len(one.run(until=6)) == 8
    assert len(one.run()) == len(one.run(100)) == 12 and "stage 2 of 2" in repr(one)


def test_what_is_left_is_what_the_stages_have_left(graphs):
    """Also where an engine does many meta-iterations to a call: none goes past the end of its stage."""
    one = curriculum([{"meta_iterations": number} for number in (3, 50, 7)])
    left = []
    for number in [2, 1, 4, 45, 1, 1, 6]:
        left.append(one._left(None, None))
        one.run(number)
    assert left == [60, 58, 57, 53, 8, 7, 6] and one._left(None, None) == 0
    assert one._left(5, None) == one._left(None, 100) == 0
    assert [len(part) for part in one.histories] == [3, 50, 7] and len(graphs) == 3
    assert [graph.is_closed for graph in graphs] == [True, True, False]
    stages = [{"stage": i, "horizon": 4, "meta_iterations": n} for i, n in enumerate([3, 50, 7])]
    assert one.trained().record["stages"] == stages and one.best is None


def test_the_progress_line_averages_over_the_stage_alone(built):
    reports = []
    one = curriculum([{"meta_iterations": 5}, {"meta_iterations": 2}])
    for number in [5, 1, 1]:
        one._work(number, lambda finished, text: reports.append((finished, text)), threading.Event())
    losses = one.history.last_loss
    averages = [np.log10(part).mean() for part in (losses[:5], losses[5:6], losses[5:7])]
    assert reports == [
        (0, "starting"),
        (5, "stage 1 of 2, log average %.2f" % averages[0]),
        (0, "starting"),
        (1, "stage 2 of 2, log average %.2f" % averages[1]),
        (1, "stage 2 of 2, log average %.2f" % averages[2]),
    ]


def test_what_takes_time_is_said_before(built):
    reports = []
    one = curriculum([{"meta_iterations": 3}], engine="xla", measure=given(0.25, 0.125), validate_every=3)
    one._work(3, lambda finished, text: reports.append((finished, text)), threading.Event())
    last = "stage 1 of 1, validation 0.25, log average %.2f" % np.log10(one.history.last_loss).mean()
    # Once more where there was something to compile, with the question whether to stop.
    assert reports == [(0, "validating"), (0, "compiling"), (3, last), (0, "validating")]


def interrupting(monkeypatch, owner, name):
    """Of three calls of a method one raises at once, and one when it is done."""
    method, count = getattr(owner, name), itertools.count()

    def disturbed(*arguments, **more):
        number = next(count) % 3
        if number == 0:
            raise DisturbedError
        result = method(*arguments, **more)
        if number == 1:
            raise DisturbedError
        return result

    monkeypatch.setattr(owner, name, disturbed)


def test_whatever_interrupts_it_it_goes_on_bit_for_bit(tmp_path, monkeypatch, kinds):
    """Before and after each call of the engine, each validation, and each start of a stage."""
    training_graph, evaluation, _ = kinds
    whole = two_stages(**VALIDATED)
    whole.run()
    one = two_stages(checkpoint_dir=tmp_path / "run", checkpoint_every=1e-9, **VALIDATED)
    CheckpointDirectory(str(tmp_path / "start"), 60).write(one.snapshot(), one.history)
    with monkeypatch.context() as patched:
        for owner, name in [
            (training_graph, "run"),
            (training_graph, "loader"),
            (evaluation, "losses_and_positions"),
            (validation.Validation, "graph"),
        ]:
            interrupting(patched, owner, name)
        interruptions = 0
        while interruptions < 100:
            try:
                one.run()
                break
            except DisturbedError:
                interruptions += 1
            try:
                one._check_ready()
            except ValueError:  # in the middle of a call of the engine
                one.restore(tmp_path / ("run" if l2l.latest_checkpoint(tmp_path / "run") else "start"))
                one._training.checkpoints.newest = l2l.latest_checkpoint(tmp_path / "run")
    assert 15 < interruptions < 100
    assert_same(one, whole)


def test_in_the_middle_of_going_over_to_a_stage_nobody_knows_whose_weights_these_are(tmp_path, monkeypatch, built):
    with two_stages(number=2, checkpoint_dir=tmp_path) as before:
        before.run(2)
    one, whole = two_stages(number=2), two_stages(number=2)
    whole.run()
    one.restore(tmp_path)
    for go_on in [one.run, lambda: one.restore(tmp_path)]:  # to the next stage, and back from it
        with monkeypatch.context() as patched:
            interrupting(patched, type(one._training), "_take")
            with pytest.raises(DisturbedError):
                go_on()
        with pytest.raises(ValueError, match="stopped in the middle of a call"):
            one.run()
        one.restore(tmp_path)
        one.run()
    assert_same(one, whole)


def test_after_a_kill_it_goes_on_bit_for_bit_from_every_checkpoint(tmp_path, monkeypatch, kinds):
    """Checkpoints at every point where one may be written, in the middle of stages and where one ends and begins."""
    places, write = [], archives.write

    def copied(path, *arguments):
        write(path, *arguments)
        shutil.copytree(os.path.dirname(path), str(tmp_path / ("%d" % len(places))))
        places.append((one._training.number, len(one.history), len(one.validations)))

    settings = {"number": 4, "validate_every": 2, "draws": 2}
    with monkeypatch.context() as patched:
        patched.setattr(archives, "write", copied)
        one = two_stages(checkpoint_dir=tmp_path / "run", checkpoint_every=1e-9, **settings)
        for until in [2, 4, 8]:
            one.run(until=until)
    assert (0, 4, 2) in places and (0, 4, 3) in places and (1, 5, 4) in places  # before the validation, after, later
    shutil.copytree(str(tmp_path / "1"), str(tmp_path / "resumed"))
    with two_stages(checkpoint_dir=tmp_path / "resumed", resume=True, **settings) as other:
        assert len(other.history) == places[1][1] > 0
        other.run()
        assert_same(other, one)
    with two_stages(**settings) as other:
        for i in [*range(len(places)), *reversed(range(len(places)))]:  # at last back to a stage that was over
            other.restore(tmp_path / ("%d" % i))
            assert (other._training.number, len(other.history), len(other.validations)) == places[i]
            assert (other.best is None) == (places[i][2] == 0)
            other.run()
            assert_same(other, one)
    *_, graphs = kinds
    assert all(graph.is_closed for graph in graphs if graph is not one._training.graph)


def test_a_graph_that_is_not_used_is_kept_for_its_stage(graphs, tmp_path):
    """And built again only where it was used up."""
    with two_stages(number=2, checkpoint_dir=tmp_path) as one:
        one.run(3)
        CheckpointDirectory(str(tmp_path / "first"), 60).write(one.snapshot(), one.history)
    del graphs[:]
    other = two_stages(number=2)
    other.restore(tmp_path)
    assert len(graphs) == 2 and [graph.is_closed for graph in graphs] == [True, False]
    with two_stages(number=2) as first:
        first.run(1)
        start = CheckpointDirectory(str(tmp_path / "start"), 60)
        start.write(first.snapshot(), first.history)
    del graphs[:]
    other.restore(tmp_path / "start")
    assert len(graphs) == 1
    other.run(2)
    assert len(graphs) == 2 and [graph.is_closed for graph in graphs] == [True, False]


def test_a_stage_begins_with_a_graph_in_which_nothing_was_trained(tmp_path, monkeypatch, graphs):
    """Though a checkpoint of that stage was being restored, and then one of the stage before."""
    for number in (1, 3):
        with two_stages(number=2, checkpoint_dir=tmp_path / str(number)) as one:
            one.run(number)
    other = two_stages(number=2)
    with monkeypatch.context() as patched, pytest.raises(DisturbedError):
        load = CountingGraph.load
        patched.setattr(CountingGraph, "load", lambda *arguments: load(*arguments) or given()(0))
        other.restore(tmp_path / "3")
    with pytest.raises(ValueError, match="stopped in the middle of a call"):
        other.run()
    other.restore(tmp_path / "1")
    other.run()
    with two_stages(number=2) as whole:
        whole.run()
        assert_same(other, whole)


def test_ctrl_c_in_the_last_call_of_an_interval_loses_no_validation(monkeypatch, graphs):
    one, whole = two_stages(**VALIDATED), two_stages(**VALIDATED)
    graphs[0].most = 1
    run = graphs[0].run

    def interrupted(most):
        rows = run(most)
        if len(one.history) + len(rows) in (3, 6):
            os.kill(os.getpid(), signal.SIGINT)
        return rows

    monkeypatch.setattr(graphs[0], "run", interrupted)
    for number in (3, 6):
        with pytest.raises(KeyboardInterrupt, match="all kept"):
            one.run(until=6)
        assert len(one.history) == number
    one.run(until=6)  # no meta-iteration is left, a validation is
    assert [row["meta_iterations"] for row in one.validations] == [0, 3, 6]
    one.run()
    whole.run()
    assert_same(one, whole)


def test_what_does_not_fit_is_not_resumed(tmp_path, built):
    settings = {"number": 2, "checkpoint_dir": tmp_path, "validate_every": 1, "measure": lambda losses: 1.0}
    with two_stages(**settings) as one:
        one.run()
    for changes, message in [
        ({"second": 12}, r"stages\.1\.horizon=8 there, 12 here"),
        ({"validate_every": 2}, r"validation\.every=1 there, 2 here"),
        ({"measure": lambda losses: 2.0}, r"code of measure differs; allow_changed_code=True goes on"),
    ]:
        with pytest.raises(ValueError, match="is from another trainer: .*" + message):
            two_stages(**{**settings, **changes}, resume=True)
    with pytest.raises(ValueError, match="is from another trainer: "):
        small(checkpoint_dir=tmp_path, resume=True)
    with two_stages(**settings, resume=True, name="another name") as one:
        assert len(one.history) == 4 and len(one.validations) == 6
    path = l2l.latest_checkpoint(tmp_path)
    config, arrays = archives.read(path)
    other = two_stages(number=2, validate_every=1, measure=settings["measure"])
    for wrong, message in [
        ({"validations/figure": np.zeros(5)}, "its validations are no columns of one length"),
        ({"validations/stage": np.array([0, 0, 0, 1, 1, 2])}, "its validations are no columns"),  # there is none
        ({"validations/figure": np.zeros(6, np.float32)}, "it lacks a column of the validations"),
        ({"best/weights/0": np.zeros(3)}, r"'best/weights/0' is float64 of shape \(3,\)"),
        ({"best/weights/1": np.zeros([])}, "'best/weights/1' is float64 of shape"),
        ({"best/adapted/0": np.zeros(2)}, r"'best/adapted/0' is float64 of shape \(2,\)"),
        ({"place": np.array([1, 2])}, r"is no checkpoint: its place is \[1, 2\]"),
        ({"variables/w": np.zeros(2)}, "'variables/w' is float64 of shape"),
    ]:
        archives.write(path, config, {**arrays, **wrong})
        with pytest.raises(ValueError, match=message):
            other.restore(tmp_path)
    with two_stages(**{**settings, "checkpoint_dir": tmp_path / "first"}) as one:
        one.run(1)
    first = l2l.latest_checkpoint(tmp_path / "first")
    said, found = archives.read(first)
    archives.write(first, said, {**found, "validations/stage": np.array([0, 1])})  # which has not begun
    with pytest.raises(ValueError, match="its validations are no columns"):
        other.restore(tmp_path / "first")
    start = {"first": 0, "start": None}
    archives.write(path, {**config, "trainer": {**config["trainer"], "begun": [start] * 3}}, arrays)
    with pytest.raises(ValueError, match="its stages that have begun are"):
        other.restore(tmp_path)
    assert len(other.history) == 0 and other.run() is other.history


def test_tensorboard_has_one_axis_for_all_stages(tmp_path, monkeypatch, built):
    monkeypatch.setattr(training, "PROGRESS_EVERY", 3)
    monkeypatch.setattr(training, "SECONDS_PER_CALL", 0.0)  # one meta-iteration to a call
    monkeypatch.setattr(CountingGraph, "graph", tf.Graph(), raising=False)
    with two_stages(logdir=str(tmp_path), **VALIDATED) as one:
        one.run()
    found = written(tmp_path)
    means = {stop: one.history.meta_loss[stop - 3 : stop].mean() for stop in (3, 6, 9, 12)}
    assert scalars(found, "meta_loss") == pytest.approx(means, rel=1e-5)
    at = {6 * row["stage"] + row["meta_iterations"]: row["figure"] for row in one.validations}
    assert scalars(found, "validation") == pytest.approx(at, rel=1e-5)


@pytest.mark.parametrize("engine", ["xla", "graph", "xla_or_graph"])
def test_what_cannot_be_compiled_goes_over_to_graph_where_that_is_allowed(engine, built, monkeypatch):
    """Training and validation each in their turn, and each stage again."""
    graphs, evaluations = built
    refused = CannotCompileError("XLA cannot")

    def prepare(graph):
        if graph.recipe.engine == "xla":
            raise refused
        graph._word = None

    monkeypatch.setattr(CountingGraph, "prepare", prepare)
    monkeypatch.setattr(CountingEvaluation, "cannot_compile", refused)
    one, whole = (two_stages(engine=name, **VALIDATED) for name in (engine, "graph"))
    if engine == "xla":
        with pytest.raises(CannotCompileError, match="XLA cannot"):
            one.run()
        assert not one.validations and not evaluations
        return
    with pytest.warns(None) as caught:
        one.run()
    whole.run()
    assert_same(one, whole)
    assert one.history.config["engine"] == "graph"
    assert [part.config["engine"] for part in one.histories] == ["graph"] * 2
    said = [str(warning.message) for warning in caught if warning.filename == __file__]
    validating, going_on = ("XLA cannot. %s with engine='graph'." % how for how in ("Validating", "Going on"))
    assert said == ([] if engine == "graph" else [validating, going_on] * 2)
    assert len(graphs) == (4 if engine == "graph" else 6) and {graph.engine for graph in evaluations} == {"graph"}
    used = [one._training.graph, whole._training.graph]
    assert all(graph.is_closed != (graph in used) for graph in graphs)


def test_validations_are_compiled_where_the_training_is(built):
    for engine in ("xla", "graph"):
        curriculum([{"meta_iterations": 1}], engine=engine, validate_every=1).run()
    assert [graph.engine for graph in built[1]] == ["xla", "graph"]


def test_a_curriculum_and_a_trainer_train_together(capsys, built):
    several = [two_stages(**VALIDATED), small(name="alone")]
    histories = l2l.train_together(several, until=[None, 7])
    assert [len(each) for each in histories] == [12, 7] and histories[0] is several[0].history
    whole = two_stages(**VALIDATED)
    whole.run()
    assert_same(several[0], whole)
    assert "19/19" in capsys.readouterr().err
    l2l.train_together(several[:1])  # nothing is left


def test_a_meta_iteration_that_went_bad_belongs_to_its_stage(graphs, tmp_path):
    one = two_stages(number=2, on_nonfinite="raise", checkpoint_dir=tmp_path)
    graphs[1].rows = [np.array([[np.nan, 1.0, 1.0]])]
    with pytest.raises(l2l.NonFiniteError, match=r"draws_seed=3\): meta-iteration 2 has meta-loss nan") as caught:
        one.run()
    config, arrays = archives.read(caught.value.path)
    assert config["trainer"] == one.histories[1].config and list(arrays) == ["age"]


def test_a_measure_that_gives_no_number_is_refused_and_nothing_is_lost(built):
    one = curriculum([{"meta_iterations": 3}], measure=given(1.0, np.nan, "many", 0.5), validate_every=3)
    with pytest.raises(ValueError, match=r"^measure must give a number, it gave NaN for losses from"):
        one.run()
    with pytest.raises(TypeError, match=r"^measure must give a number, it gave 'many'"):
        one.run()
    assert len(one.validations) == 1 and one.best.record["meta_iterations"] == 0
    one.run()
    assert figures(one) == [(0, 0, 1.0), (0, 3, 0.5)]


def test_a_stage_that_gets_nowhere_is_named_once(recwarn, monkeypatch, built):
    monkeypatch.setattr(history, "_CHECKED_WINDOW", 20)
    stages = [{"meta_iterations": 100, "learning_rate": 1e-30}, {"meta_iterations": 5}]
    one = curriculum(stages)
    one.run(100)
    assert ["is stuck" in str(warning.message) for warning in recwarn].count(True) == 1
    one.run()
    (said,) = [str(warning.message) for warning in recwarn if "is stuck" in str(warning.message)]
    assert said.startswith("training, stage 1: the log average") and one.histories[0].config["name"] == "training"


def test_what_is_refused_leaves_no_session_behind(graphs, tmp_path):
    with pytest.raises(ValueError, match="logdir must be a directory"):
        two_stages(logdir="/dev/null/log", checkpoint_dir=tmp_path)
    assert [graph.is_closed for graph in graphs] == [True, True]


def test_closed_it_is_refused_and_its_directory_is_free(tmp_path, built):
    with curriculum([{"meta_iterations": 12}], checkpoint_dir=tmp_path, **VALIDATED) as one:
        one.run(2)
        best = one.best
    with pytest.raises(ValueError, match="curriculum 'training' is closed"):
        one.run()
    with curriculum([{"meta_iterations": 12}], checkpoint_dir=tmp_path, **VALIDATED, resume=True) as again:
        assert same(again.best.weights, best.weights)
    assert one.best is best
