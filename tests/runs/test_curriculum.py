"""Training in stages: what it equals, which weights are kept, when a stage ends, and what no interruption loses."""

import itertools
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from test_events import scalars, written
from test_trainer import InPython
from trainers import FIGURES, Listed, assert_same_run, learned_momentum, one_rate, recorded_graphs, same, small

import l2l
from l2l import archives
from l2l.evaluation.graph import EvaluationGraph
from l2l.runs import history, training, training_graph, validation
from l2l.runs.checkpoints import CheckpointDirectory

SETTINGS = {"unroll_length": 4, "learning_rate": 0.03, "weights_seed": 1, "draws_seed": 2, "engine": "graph"}
VALIDATED = {"validate_every": 3, "patience": 2, "draws": 5}


def curriculum(stages, **changes):
    arguments = {**SETTINGS, **changes}
    problem, build = arguments.pop("problem", l2l.Quadratic(2)), arguments.pop("build", learned_momentum)
    return l2l.Curriculum(problem, build, stages, **arguments)


def two_stages(first=4, second=8, number=6, **changes):
    return curriculum([{"meta_iterations": number, "horizon": horizon} for horizon in (first, second)], **changes)


def trainer(start=learned_momentum, problem=None, **changes):
    return l2l.Trainer(problem or l2l.Quadratic(2), start, **{**SETTINGS, **changes})


def by_hand(horizon, numbers, start=learned_momentum, **changes):
    """The figure after each number of meta-iterations, and what was trained, for one stage."""
    one, found = trainer(start, horizon=horizon, **changes), []
    for number in numbers:
        if number:
            one.run(until=number)
        losses = l2l.evaluate(l2l.Quadratic(2), {"it": one.trained()}, draws=5, steps=horizon, seed=1, engine="graph")[
            "it"
        ]
        found.append((l2l.log_average(losses), one.trained()))
    return found


def graph_part(snapshot):
    return {name: array for name, array in snapshot.items() if not name.startswith(("validations/", "best/"))}


def figures(one):
    return [(row["stage"], row["meta_iterations"], row["figure"]) for row in one.validations]


def assert_same(one, other):
    """Two curricula have measured and found the same, and would go on alike, bit for bit."""
    assert_same_run(one, other)
    assert one.validations == other.validations
    assert one.history.config["begun"] == other.history.config["begun"]
    assert same(one.trained().weights, other.trained().weights)
    assert one.trained().record["stages"] == other.trained().record["stages"]


def test_it_equals_trainers_one_after_the_other_bit_for_bit():
    """With a teacher first, then another horizon, rate and meta-loss, over seeds together."""
    problem, imitation = l2l.Quadratic(2), l2l.Imitation(l2l.Quadratic(2), l2l.sgd(0.1))
    teacher = {"problem": imitation, "build_optimizer": imitation.build(learned_momentum), "meta_loss": "sum"}
    stages = [{"meta_iterations": 5, **teacher}, {"meta_iterations": 4, "horizon": 8, "learning_rate": 0.01}]
    several = [curriculum(stages, meta_loss="end_log", weights_seed=seed, draws_seed=10 * seed) for seed in (1, 2)]
    histories = l2l.train_together(several)
    for seed, one, joined in zip([1, 2], several, histories):
        first = trainer(
            imitation.build(learned_momentum), imitation, meta_loss="sum", weights_seed=seed, draws_seed=10 * seed
        )
        first.run(5)
        start = first.trained()._replace(build=learned_momentum)
        changes = {"horizon": 8, "learning_rate": 0.01, "weights_seed": seed, "draws_seed": 10 * seed + 1}
        second = trainer(start, problem, meta_loss="end_log", **changes)
        second.run(4)
        assert same(graph_part(one.snapshot()), second.snapshot())
        for column in FIGURES:
            expected = [*getattr(first.history, column), *getattr(second.history, column)]
            np.testing.assert_array_equal(getattr(joined, column), expected)
        for part, whole in zip(one.histories, [first.history, second.history]):
            assert part.config == whole.config
            np.testing.assert_array_equal(part.meta_loss, whole.meta_loss)
        record = one.trained().record
        assert record.pop("stages")[1] == {"stage": 1, "horizon": 8, "meta_iterations": 4}
        assert {**record, "date": 0} == {**second.trained().record, "date": 0}
        assert one.best is None and one.validations == []


def test_the_best_weights_on_held_out_draws_are_kept():
    """As a trainer and `evaluate` by hand find them; the last two meta-iterations are fewer than `validate_every`."""
    one = curriculum([{"meta_iterations": 11}], **{**VALIDATED, "patience": None})
    one.run()
    expected = by_hand(4, [0, 3, 6, 9, 11])
    found = [row["figure"] for row in one.validations]
    np.testing.assert_allclose(found, [figure for figure, _ in expected], rtol=1e-6)
    assert [row["meta_iterations"] for row in one.validations] == [0, 3, 6, 9, 11]
    assert same(one.best.weights, expected[int(np.argmin(found))][1].weights)
    least = np.minimum.accumulate(found)
    assert [row["is_best"] for row in one.validations] == [True, *(np.diff(least) < 0)]


def test_a_stage_ends_when_nothing_is_gained_and_the_next_begins_with_its_best(capsys):
    """A measure that is given as a list says which validations are better."""
    given = iter([9, 5, 3, 4, 3, 8, 8, 9, 7, 7, 7])
    one = two_stages(number=100, measure=lambda losses: next(given), **VALIDATED)
    one.run()
    first = [(0, 0, 9), (0, 3, 5), (0, 6, 3), (0, 9, 4), (0, 12, 3)]
    assert figures(one) == [*first, (1, 0, 8), (1, 3, 8), (1, 6, 9)]
    _, start = by_hand(4, [6])[0]
    assert same(one.best.weights, start.weights)  # the second stage found nothing better than it began with
    stages = [(row["stage"], row["horizon"], row["meta_iterations"]) for row in one.best.record["stages"]]
    assert stages == [(0, 4, 6), (1, 8, 0)]
    assert one.history.config["begun"][1]["first"] == 12 and len(one.history) == 18
    assert "200/200" in capsys.readouterr().err  # meta-iterations that were spared count as done


def test_the_starting_weights_are_the_best_if_training_makes_them_worse():
    given = iter([-0.643, -0.206, -0.1])
    start = by_hand(4, [5])[0][1]
    one = curriculum([{"meta_iterations": 6}], build=start, measure=lambda losses: next(given), validate_every=3)
    one.run()
    assert same(one.trained().weights, start.weights) and one.trained() is one.best
    assert [row["is_best"] for row in one.validations] == [True, False, False]


@pytest.mark.parametrize(
    "given, is_best",
    [
        ([np.inf, np.inf, 2.0], [True, True, True]),
        ([1.0, -np.inf, -5.0], [True, True, False]),
        ([np.inf, 1.0, 2.0], [True, True, False]),
    ],
)
def test_infinite_figures(given, is_best):
    """Of weights that diverge everywhere later ones are as good; nothing is better than minus infinity."""
    left = iter(given)
    one = curriculum([{"meta_iterations": 6}], measure=lambda losses: next(left), validate_every=3)
    one.run()
    assert [row["is_best"] for row in one.validations] == is_best


def test_the_measure_sees_the_losses_of_the_horizon(monkeypatch):
    """And what evaluated them is closed: that of a stage with the stage."""
    seen, closed, close = [], [], EvaluationGraph.close
    monkeypatch.setattr(EvaluationGraph, "close", lambda graph: closed.append(graph) or close(graph))

    def measure(losses):
        seen.append(losses.shape)
        return losses[:, -1].mean()

    with two_stages(4, 12, 3, measure=measure, **VALIDATED) as one:
        one.run()
        assert seen == [(5, 4)] * 2 + [(5, 12)] * 2 and len(closed) == 1
    assert len(set(map(id, closed))) == 2


def test_run_until_counts_all_stages():
    one = two_stages(**VALIDATED)
    assert len(one.run(until=4)) == 4 and len(one.run(4)) == 8 and len(one.run(until=6)) == 8
    assert len(one.run()) == len(one.run(100)) == 12 and "stage 2 of 2" in repr(one)


class DisturbedError(Exception):
    """As from a signal handler of the user's."""


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


def test_whatever_interrupts_it_it_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """Before and after each call of the engine, each validation, and each start of a stage."""
    whole = two_stages(**VALIDATED)
    whole.run()
    one = two_stages(checkpoint_dir=tmp_path / "run", checkpoint_every=1e-9, **VALIDATED)
    CheckpointDirectory(str(tmp_path / "start"), 60).write(one.snapshot(), one.history)
    with monkeypatch.context() as patched:
        for owner, name in [
            (training_graph.TrainingGraph, "run"),
            (training_graph.TrainingGraph, "loader"),
            (EvaluationGraph, "losses_and_positions"),
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
                one.check_ready()
            except ValueError:  # in the middle of a call of the engine
                one.restore(tmp_path / ("run" if l2l.latest_checkpoint(tmp_path / "run") else "start"))
                one._training.checkpoints.newest = l2l.latest_checkpoint(tmp_path / "run")
    assert 15 < interruptions < 100
    assert_same(one, whole)


def test_in_the_middle_of_going_over_to_a_stage_nobody_knows_whose_weights_these_are(tmp_path, monkeypatch):
    with two_stages(number=2, checkpoint_dir=tmp_path) as before:
        before.run(2)
    one = two_stages(number=2)
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


def test_after_a_kill_it_goes_on_bit_for_bit_from_every_checkpoint(tmp_path, monkeypatch):
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
    last = places.index((0, 4, 3))
    assert (0, 4, 2) in places and (1, 5, 4) in places  # before the validation, and in the next stage
    with two_stages(checkpoint_dir=tmp_path / "1", resume=True, **settings) as other:
        assert len(other.history) == places[1][1] > 0
        other.run()
        assert_same(other, one)
    with two_stages(**settings) as other:
        for i in [places.index((0, 4, 2)), last, len(places) - 2, 0]:  # at last back to a stage that was over
            other.restore(tmp_path / ("%d" % i))
            assert (other._training.number, len(other.history), len(other.validations)) == places[i]
            other.run()
            assert_same(other, one)


def test_ctrl_c_in_the_last_call_of_an_interval_loses_no_validation(monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    one, whole = two_stages(**VALIDATED), two_stages(**VALIDATED)
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


@pytest.mark.rehearsal
def test_what_does_not_fit_is_not_resumed(tmp_path):
    with two_stages(number=2, checkpoint_dir=tmp_path, validate_every=1, measure=lambda losses: 1.0) as one:
        one.run()
    settings = {"number": 2, "checkpoint_dir": tmp_path, "validate_every": 1, "measure": lambda losses: 1.0}
    for changes, message in [
        ({"second": 12}, r"stages\.1\.horizon=8 there, 12 here"),
        ({"validate_every": 2}, r"validation\.every=1 there, 2 here"),
        ({"measure": lambda losses: 2.0}, r"code of measure differs; allow_changed_code=True goes on"),
    ]:
        with pytest.raises(ValueError, match="is from another trainer: .*" + message):
            two_stages(**{**settings, **changes}, resume=True)
    with pytest.raises(ValueError, match="is from another trainer: "):
        trainer(checkpoint_dir=tmp_path, resume=True)
    with two_stages(**settings, resume=True, name="another name") as one:
        assert len(one.history) == 4 and len(one.validations) == 6
    path = l2l.latest_checkpoint(tmp_path)
    config, arrays = archives.read(path)
    other = two_stages(number=2, validate_every=1, measure=lambda losses: 1.0)
    for wrong, message in [
        ({"validations/figure": np.zeros(5)}, "its validations are no columns of one length"),
        ({"validations/figure": np.zeros(6, np.float32)}, "it lacks a column of the validations"),
        ({"best/weights/0": np.zeros(3, np.float32)}, "'best/weights/0' is float32 of shape"),
        ({"best/weights/2": np.zeros([], np.float32)}, "'best/weights/2' is float32 of shape"),
    ]:
        archives.write(path, config, {**arrays, **wrong})
        with pytest.raises(ValueError, match=message):
            other.restore(tmp_path)
    start = {"first": 0, "start": None}
    for begun, message in [
        (None, "its stages that have begun are None"),
        ([], "its stages that have begun are"),
        ([{"first": 0}], "its stages that have begun are"),
        ([{"first": 1, "start": None}], "its stages that have begun are"),
        ([start] * 3, "its stages that have begun are"),
        ([start, {"first": 3, "start": None}], r"its stages have \[3, 1\] meta-iterations"),
    ]:
        archives.write(path, {**config, "trainer": {**config["trainer"], "begun": begun}}, arrays)
        with pytest.raises(ValueError, match=message):
            other.restore(tmp_path)
    assert len(other.history) == 0 and other.run() is other.history


def test_tensorboard_has_one_axis_for_all_stages(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PROGRESS_EVERY", 3)
    monkeypatch.setattr(training, "SECONDS_PER_CALL", 0.0)  # one meta-iteration to a call
    with two_stages(logdir=str(tmp_path), **VALIDATED) as one:
        one.run()
    found = written(tmp_path)
    means = {stop: one.history.meta_loss[stop - 3 : stop].mean() for stop in (3, 6, 9, 12)}
    assert scalars(found, "meta_loss") == pytest.approx(means, rel=1e-5)
    at = {6 * row["stage"] + row["meta_iterations"]: row["figure"] for row in one.validations}
    assert scalars(found, "validation") == pytest.approx(at, rel=1e-5)


def test_a_validation_that_cannot_be_compiled_goes_over_to_graph():
    one, whole = (
        curriculum([{"meta_iterations": 12}], problem=InPython(2), engine=engine, **{**VALIDATED, "patience": 9})
        for engine in ("xla_or_graph", "graph")
    )
    with pytest.warns(RuntimeWarning, match="Validating with engine='graph'"):
        one.run()
    whole.run()
    assert_same(one, whole)
    assert one.history.config["engine"] == one.trained().record["engine"] == "graph"


def test_a_compiled_training_is_validated_compiled():
    one = curriculum([{"meta_iterations": 3}], engine="xla", **VALIDATED)
    one.run()
    np.testing.assert_allclose(
        [row["figure"] for row in one.validations], [one for one, _ in by_hand(4, [0, 3])], rtol=1e-4
    )


def test_a_curriculum_and_a_trainer_train_together(capsys):
    several = [two_stages(**VALIDATED), small(name="alone")]
    histories = l2l.train_together(several, until=[None, 7])
    assert [len(each) for each in histories] == [12, 7] and histories[0] is several[0].history
    whole = two_stages(**VALIDATED)
    whole.run()
    assert_same(several[0], whole)
    assert "19/19" in capsys.readouterr().err
    l2l.train_together(several[:1])  # nothing is left


def test_a_meta_iteration_that_went_bad_in_a_later_stage_is_replayed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Bad(l2l.Quadratic):
        def loss(self, x, draw):
            return super().loss(x, draw) * np.nan

    stages = [{"meta_iterations": 2}, {"meta_iterations": 2, "problem": Bad(2)}]
    one = curriculum(stages, on_nonfinite="raise")
    with pytest.raises(l2l.NonFiniteError, match="meta-iteration 2 has meta-loss nan") as caught:
        one.run()
    replay = curriculum(stages).replay(caught.value.path)
    assert np.isnan(replay.losses).any()
    for fewer, seed in [(stages[:1], 2), (stages, 7)]:  # no stage has that seed
        with pytest.raises(ValueError, match="is from another trainer"):
            curriculum(fewer, draws_seed=seed).replay(caught.value.path)


def test_a_measure_that_gives_no_number_is_refused_and_nothing_is_lost():
    given = iter([1.0, np.nan, "many", 0.5])
    one = curriculum([{"meta_iterations": 3}], measure=lambda losses: next(given), validate_every=3)
    with pytest.raises(ValueError, match=r"^measure must give a number, it gave NaN for losses from"):
        one.run()
    with pytest.raises(TypeError, match=r"^measure must give a number, it gave 'many'"):
        one.run()
    assert len(one.validations) == 1 and one.best.record["meta_iterations"] == 0
    one.run()
    assert figures(one) == [(0, 0, 1.0), (0, 3, 0.5)]


def test_a_stage_that_gets_nowhere_is_named(recwarn, monkeypatch):
    monkeypatch.setattr(history, "_CHECKED_WINDOW", 20)
    stages = [{"meta_iterations": 100, "learning_rate": 1e-30}, {"meta_iterations": 5}]
    curriculum(stages, build=one_rate, unroll_length=2, problem=Listed([[1.0, 2.0]])).run()
    (said,) = [str(one.message) for one in recwarn if "is stuck" in str(one.message)]
    assert said.startswith("training, stage 1 is stuck")


def test_closed_it_is_refused_and_its_directory_is_free(tmp_path):
    with curriculum([{"meta_iterations": 12}], checkpoint_dir=tmp_path, **VALIDATED) as one:
        one.run(2)
        best = one.best
    with pytest.raises(ValueError, match="curriculum 'training' is closed"):
        one.run()
    with curriculum([{"meta_iterations": 12}], checkpoint_dir=tmp_path, **VALIDATED, resume=True) as again:
        assert same(again.best.weights, best.weights)
    assert one.best is best


def rate_and_decay():
    tf.get_variable("another", [2])
    return learned_momentum()


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"stages": 100}, TypeError, "stages must be a list of dicts, such as [{'meta_iterations': 1000}], got 100"),
        ({"stages": []}, ValueError, "stages must have at least one stage, got []"),
        ({"stages": [3]}, TypeError, "stages[0] must be a dict, such as {'meta_iterations': 1000}, got 3"),
        ({"stages": [{}]}, TypeError, "stages[0]: meta_iterations is missing, got {}"),
        ({"horizon": 6}, ValueError, "horizon must be a multiple of unroll_length, 4, got 6"),
        ({"second": {"horizon": 6}}, ValueError, "stages[1]: horizon must be a multiple of unroll_length, 4, got 6"),
        (
            {"second": {"meta_iterations": 0}},
            ValueError,
            "stages[1]: meta_iterations must be a positive integer, got 0",
        ),
        (
            {"second": {"weights_seed": 3}},
            TypeError,
            "stages[1]: a stage has no setting 'weights_seed'; there are meta_it",
        ),
        (
            {"second": {"build_optimizer": l2l.Trained(learned_momentum, [np.float32(0.1)] * 2)}},
            TypeError,
            "stages[1]: build_optimizer must be a function, since stages go on with the weights",
        ),
        ({"second": {"problem": 3}}, TypeError, "stages[1]: problem must be a Problem, such as Quadratic(2), got 3"),
        (
            {"second": {"build_optimizer": rate_and_decay}},
            ValueError,
            "stages[1]: build_optimizer was trained with vari",
        ),
        (
            {"second": {"meta_loss": lambda losses: losses}},
            ValueError,
            "stages[1]: meta_loss must be a scalar (shape ())",
        ),
        ({"validate_every": 0}, ValueError, "validate_every must be a positive integer, got 0"),
        ({"validate_every": 3, "patience": 1.5}, TypeError, "patience must be a positive integer, got 1.5"),
        ({"patience": 2}, ValueError, "patience needs validate_every, which is None, got 2"),
        ({"draws": 0}, ValueError, "draws must be a positive integer, got 0"),
        ({"validate_every": 3, "measure": 3}, TypeError, "measure must be callable, got 3"),
        ({"validation_seed": -1}, ValueError, "validation_seed must be an integer from 0 to 2**31 - 1, got -1"),
        (
            {"draws_seed": 2**31 - 1},
            ValueError,
            "stages[1]: draws_seed must be an integer from 0 to 2**31 - 1, got 214",
        ),
        ({"resume": True}, ValueError, "resume=True needs a checkpoint_dir to go on from, got None"),
        ({"step": 3}, TypeError, "__init__() got an unexpected keyword argument 'step'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments(changes, error, message, tmp_path):
    """All before anything is trained, or a directory is taken."""
    second = changes.pop("second", {})
    stages = changes.pop("stages", [{"meta_iterations": 1}, {"meta_iterations": 1, **second}])
    with pytest.raises(error) as caught:
        curriculum(stages, **{"checkpoint_dir": None if "resume" in changes else tmp_path / "run", **changes})
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_stage_whose_network_is_another_is_refused():
    def rates(number):
        def build():
            rates = tf.get_variable("rates", [number], initializer=tf.constant_initializer(0.01))
            return lambda gradients, state: (-tf.reduce_sum(rates) * gradients, state)

        return build

    builds = [rates(2), rates(2), rates(3)]
    for some, last in [(builds, 2), (builds[1:], 1)]:
        with pytest.raises(ValueError, match=r"stages\[%d\]: build_optimizer" % last):
            curriculum([{"meta_iterations": 1, "build_optimizer": build} for build in some])
