"""Training in stages: what it equals, validates and refuses; test_staged.py has all that needs no real graph."""

import numpy as np
import pytest
import tensorflow as tf
from test_staged import SETTINGS, VALIDATED, curriculum
from trainers import ENGINES, FIGURES, learned_momentum, same

import l2l


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


def test_it_equals_trainers_one_after_the_other_bit_for_bit(tmp_path):
    """With a teacher first, then another horizon, rate and meta-loss; and resumed in the second stage."""
    problem, imitation = l2l.Quadratic(2), l2l.Imitation(l2l.Quadratic(2), l2l.sgd(0.1))
    teacher = {"problem": imitation, "build_optimizer": imitation.build(learned_momentum), "meta_loss": "sum"}
    stages = [{"meta_iterations": 5, **teacher}, {"meta_iterations": 4, "horizon": 8, "learning_rate": 0.01}]
    common = {"clip_norm": 0.5, "meta_optimizer": lambda rate: tf.train.MomentumOptimizer(rate, 0.9)}
    settings = {"meta_loss": "end_log", "checkpoint_dir": tmp_path, **common}
    with curriculum(stages, **settings) as before:
        before.run(6)
    one = curriculum(stages, resume=True, **settings)
    joined = one.run()
    first = trainer(imitation.build(learned_momentum), imitation, meta_loss="sum", **common)
    first.run(5)
    start = first.trained()._replace(build=learned_momentum)
    common.update(learning_rate=0.01, draws_seed=3)
    second = trainer(start, problem, meta_loss="end_log", horizon=8, **common)
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


def test_the_best_weights_on_held_out_draws_are_kept(tmp_path):
    """As a trainer and `evaluate` by hand find them; the last two meta-iterations are fewer than `validate_every`."""
    expected = by_hand(4, [0, 3, 5])
    for engine, tolerance in zip(ENGINES, [1e-4, 1e-6]):
        settings = {"checkpoint_dir": tmp_path / engine, "engine": engine, **VALIDATED}
        if engine == "graph":  # compiled once
            with curriculum([{"meta_iterations": 5}], **settings) as before:
                before.run(4)
        one = curriculum([{"meta_iterations": 5}], resume=True, **settings)
        one.run()
        found = [row["figure"] for row in one.validations]
        np.testing.assert_allclose(found, [figure for figure, _ in expected], rtol=tolerance)
        assert [row["meta_iterations"] for row in one.validations] == [0, 3, 5]
    assert same(one.best.weights, expected[int(np.argmin(found))][1].weights)


def test_a_meta_iteration_that_went_bad_in_a_later_stage_is_replayed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Bad(l2l.Quadratic):
        def loss(self, x, draw):
            return super().loss(x, draw) * np.nan

    stages = [{"meta_iterations": 2}, {"meta_iterations": 2, "problem": Bad(2)}]
    one = curriculum(stages, on_nonfinite="raise")
    with pytest.raises(l2l.NonFiniteError, match="meta-iteration 2 has meta-loss nan") as caught:
        one.run()
    assert np.isnan(one.replay(caught.value.path).losses).any()
    with pytest.raises(ValueError, match="is from another trainer"):  # no stage has that seed
        curriculum(stages[:1]).replay(caught.value.path)


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
        ({"on_nonfinite": "stop"}, ValueError, "on_nonfinite must be one of raise, skip, got 'stop'"),
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
    with pytest.raises(ValueError, match=r"stages\[2\]: build_optimizer"):
        curriculum([{"meta_iterations": 1, "build_optimizer": build} for build in builds])
