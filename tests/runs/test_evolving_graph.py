"""Trainings with an estimator: exact pairs, one problem or several, resumed anywhere, in both engines."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.learning.evolution import unit_noise

TWO = {"two": l2l.Quadratic(2), "three": l2l.Quadratic(3)}


def trainer(estimator=None, problem=None, engine="graph", **settings):
    settings = {"learning_rate": 1e-2, "draws_seed": 3, **settings}
    estimator = l2l.EvolutionStrategies(2) if estimator is None else estimator
    return l2l.Trainer(problem or TWO, l2l.AdamController, "sum", estimator=estimator, engine=engine, **settings)


def whole(weights, draw, steps, problem):
    """The sum of the losses of a whole horizon of `AdamController`, by `l2l.unroll`."""
    with tf.Graph().as_default(), tf.Session() as session:
        network = l2l.AdamController()
        bound = network.bind([tf.constant(one) for one in weights], steps)
        losses = l2l.unroll(problem, draw(), bound.plain_step, x=None, steps=steps).losses
        return session.run(tf.reduce_sum(losses))


def test_the_meta_gradient_is_that_of_the_pairs():
    """Computed again from the seed: directions, draws, both runs of each pair; the norm is in the history."""
    problem, steps, pairs, sigma = l2l.Quadratic(2), 5, 2, 0.1
    estimator = l2l.EvolutionStrategies(pairs, sigma=sigma, clip=None)
    with trainer(estimator, problem, horizon=steps, weights_seed=1) as training:
        before = training.weights()
        history = training.run(1)
    directions = unit_noise(3, 0, pairs, [one.shape for one in before])

    def at(i, sign):
        def draw():
            draws = problem.sample(pairs, tf.constant(3 << 32, tf.int64))
            return tf.nest.map_structure(lambda many: many[i], draws)

        moved = [value + np.float32(sign * sigma) * one[i] for value, one in zip(before, directions)]
        return whole(moved, draw, steps, problem)

    values = np.array([[at(i, sign) for sign in (1, -1)] for i in range(pairs)], np.float64)
    factors = (values[:, 0] - values[:, 1]) / (2 * sigma * pairs)
    gradients = [np.tensordot(factors, one, axes=1) for one in directions]
    norm = np.sqrt(sum((one**2).sum() for one in gradients))
    np.testing.assert_allclose(history.meta_loss, [values.mean()], rtol=1e-5)
    np.testing.assert_allclose(history.gradient_norm, [norm], rtol=1e-3)
    assert history.horizon == [steps] and history.problem == [0] and history.diverged == [0]


@pytest.mark.parametrize(
    "estimator, settings",
    [
        (l2l.EvolutionStrategies(2), {"horizon": lambda number: (3, 6 + number)}),
        (l2l.PES(2), {"unroll_length": 3, "horizon": (5, 8)}),
    ],
    ids=["whole", "persistent"],
)
def test_it_goes_on_bit_for_bit_with_any_number_of_threads(estimator, settings, tmp_path):
    with trainer(estimator, **settings) as training:
        whole_history, weights = training.run(6), training.weights()
    with trainer(estimator, checkpoint_dir=tmp_path, **settings) as training:
        training.run(3)
    with trainer(estimator, checkpoint_dir=tmp_path, resume=True, threads=2, **settings) as training:
        history = training.run(3)
        assert all(np.array_equal(*pair) for pair in zip(training.weights(), weights))
    for column in set(history.columns) - {"seconds"}:
        np.testing.assert_array_equal(getattr(history, column), getattr(whole_history, column))
    assert set(history.problem) == {0, 1}
    unit = settings.get("unroll_length", 1)
    assert (history.horizon % unit == 0).all() and history.horizon.min() >= 3 and history.horizon.max() <= 12
    history.save(tmp_path / "history.npz")
    np.testing.assert_array_equal(l2l.History.load(tmp_path / "history.npz").horizon, history.horizon)
    assert "diverged" in history.to_frame()


def test_both_engines_compute_the_same():
    histories = []
    for engine in ["graph", "xla"]:
        with trainer(problem=l2l.Quadratic(2), horizon=4, engine=engine) as training:
            histories.append(training.run(2))
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        np.testing.assert_allclose(*[getattr(one, column) for one in histories], rtol=1e-3)


def test_it_learns():
    """From a rate of 0.003 that is far too small for a quadratic problem of this size."""
    with trainer(
        l2l.EvolutionStrategies(4, clip=None), l2l.Quadratic(2), horizon=10, learning_rate=3e-2, clip_norm=None
    ) as training:
        history = training.run(60)
        trained = training.trained()
    fresh = l2l.Trained(l2l.AdamController, [np.zeros_like(one) for one in trained.weights])
    losses = l2l.evaluate(l2l.Quadratic(2), {"fresh": fresh, "trained": trained}, draws=100, steps=10, engine="graph")
    assert losses["trained"].sum(axis=1).mean() < 0.9 * losses["fresh"].sum(axis=1).mean()
    assert not history.skipped.any()


class _Explodes(l2l.Quadratic):
    """A loss that is infinite as soon as anything has moved."""

    def loss(self, x, draw):
        start = self.initial_position(draw)
        return super().loss(x, draw) + 1e38 * 1e38 * tf.reduce_sum(tf.abs(x - start))


def test_members_that_diverge_are_counted_and_a_meta_iteration_of_none_else_changes_nothing():
    with trainer(problem=_Explodes(2), horizon=4) as training:
        before = training.weights()
        with pytest.warns(RuntimeWarning, match="meta-iteration 0 has meta-loss nan"):
            history = training.run(2)
        assert all(np.array_equal(*pair) for pair in zip(before, training.weights()))
    assert history.diverged.tolist() == [4, 4] and history.skipped.all()


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"horizon": (5, 2)}, ValueError, r"horizon must have its least first, got \(5, 2\)"),
        ({"horizon": (5, 2, 3)}, ValueError, r"horizon must be a number or a pair \(least, most\)"),
        ({"horizon": (0, 2)}, ValueError, r"horizon\[0\] must be a positive integer, got 0"),
        ({"batch": 2}, ValueError, "batch and second_derivatives must be left as they are with an estimator"),
        ({"second_derivatives": False}, ValueError, "batch and second_derivatives must be left"),
        ({"on_nonfinite": "raise"}, ValueError, "on_nonfinite must be one of skip, got 'raise'"),
        ({"estimator": "ES"}, TypeError, "estimator must be None, l2l.EvolutionStrategies"),
        ({"problem": {"a": 3}}, TypeError, r"problem\['a'\] must be a Problem"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        trainer(**settings)


def test_a_set_of_problems_needs_an_estimator():
    with pytest.raises(ValueError, match="a non-empty dict of problems where there is an estimator"):
        l2l.Trainer(TWO, l2l.AdamController)
    with pytest.raises(ValueError, match="a non-empty dict of problems"):
        l2l.Trainer({}, l2l.AdamController, estimator=l2l.EvolutionStrategies())


def test_what_adapts_is_refused():
    def build():
        return l2l.CoordinatewiseLSTM((3,), l2l.widening_log_cast())

    with trainer(problem=l2l.Quadratic(2), horizon=3) as training:
        assert training.history.config["optimizer"] is not None
    with pytest.raises(ValueError, match="estimator needs an optimizer that adapts nothing"):
        l2l.Trainer(l2l.Quadratic(2), build, estimator=l2l.EvolutionStrategies(1), engine="graph").run(1)


@pytest.mark.parametrize("dtype", [tf.float64, None], ids=["float64", "none"])
def test_weights_must_be_there_and_of_float32(dtype):
    def build():
        rate = 0.1 if dtype is None else tf.cast(tf.get_variable("rate", [], dtype), tf.float32)
        return lambda gradients, state: (-rate * gradients, state)

    with pytest.raises(ValueError, match="must create trainable variables"):
        l2l.Trainer(l2l.Quadratic(2), build, estimator=l2l.EvolutionStrategies(1), engine="graph")


def test_segments_of_one_base_iteration_are_enough_for_persistent_strategies():
    def last(losses):
        return losses[-1]

    with l2l.Trainer(
        l2l.Quadratic(2),
        l2l.AdamController,
        last,
        estimator=l2l.PES(1),
        unroll_length=1,
        horizon=2,
        engine="graph",
    ) as training:
        assert np.isfinite(training.run(2).meta_loss).all()
