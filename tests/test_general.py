"""The recipe of the optimizer `general`, and what the notebook looks at inside it."""

from pathlib import Path

import general
import inside_general
import numpy as np
import pytest
import tensorflow as tf
import training_problems

import l2l

ROOT = Path(__file__).resolve().parent.parent


def test_horizons_grow_for_three_quarters_of_the_training():
    horizons = general.Horizons(1000)
    assert [horizons(number) for number in (0, 375, 750, 1000)] == [(60, 300), (60, 1400), (60, 2500), (60, 2500)]


def test_what_ships_was_trained_by_the_recipe():
    record = l2l.load("general").record
    assert record["meta_iterations"] == general.META_ITERATIONS == record["learning_rate"]["decay_steps"] == 10_000
    assert record["estimator"] == {"class": "EvolutionStrategies", "pairs": 8, "sigma": 0.03, "clip": 0.5}
    rate = record["learning_rate"]
    assert (rate["initial"], rate["decay_rate"]) == (general.LEARNING_RATE, general.FALLS_TO) == (1.5e-2, 0.05)
    named = (record["meta_loss"], record["horizon"], record["meta_optimizer"])
    assert named == ("late_and_mean_log", "Horizons", "meta_adam")
    assert record["clip_norm"] == 2.0 and list(record["problem"]) == list(training_problems.training_problems())


def test_the_recipe_is_what_it_was_when_it_trained_what_ships():
    trained = l2l.load("general")
    some = {"it": l2l.MLP(hidden=(), batch_size=8)}
    with general.trainer(2, problems=some, engine="graph") as trainer:
        config = trainer.history.config
    names = ["meta_loss", "optimizer", "estimator", "horizon", "learning_rate", "meta_optimizer", "clip_norm"]
    for name in [*names, "weights_seed", "draws_seed"]:
        assert config[name] == trained.record[name], name


def test_figures_of_validation_are_negative_where_the_trained_one_is_lower(monkeypatch):
    problems = {"one": "a problem", "other": "another"}
    monkeypatch.setattr(general, "validation_problems", lambda: problems)

    def evaluate(problem, optimizers, draws, steps, seed):
        ends = {"trained": 1e-3 * steps, "Adam": 1e-2 * steps if problem == "a problem" else 1e-3 * steps}
        assert list(optimizers) == list(ends) and (draws, seed) == (3, general.VALIDATION_SEED)
        return {name: np.full([draws, steps], end) for name, end in ends.items()}

    monkeypatch.setattr(l2l, "evaluate", evaluate)
    figures = general.below_adam("trained")
    assert figures == {"one": pytest.approx([-np.log(10)] * 3), "other": pytest.approx([0.0] * 3)}
    assert general.validated("trained") == pytest.approx(-np.log(10) / 2)


def test_validation_is_on_other_kinds_than_the_training_and_the_suite():
    kinds = {"Conv2D", "SimpleRNN", "LayerNormalization", "GaussianDropout"}
    found = general.validation_problems()
    assert len(found) == 4 and not set(found) & set(training_problems.training_problems())
    layers = [{type(layer).__name__ for layer in problem.build_model().layers} for problem in found.values()]
    assert [kinds & names for names in layers] == [
        {"Conv2D"},
        {"SimpleRNN"},
        {"LayerNormalization"},
        {"GaussianDropout"},
    ]


def some_controller():
    random = np.random.RandomState(3)
    shapes = [(19, 16), (16,), (16, 7), (7,)]
    return l2l.Trained(l2l.AdamController, [np.float32(random.normal(0, 0.3, shape)) for shape in shapes])


def test_facts_are_left_out_by_their_numbers():
    every = sorted(number for numbers in inside_general.FACTS.values() for number in numbers)
    assert every == list(range(19))
    trained = some_controller()
    kernel, *others = inside_general.without(trained, [3, 5]).weights
    assert not kernel[[3, 5]].any()
    rest = [number for number in range(19) if number not in (3, 5)]
    np.testing.assert_array_equal(kernel[rest], trained.weights[0][rest])
    assert trained.weights[0][3].any() and all(a is b for a, b in zip(others, trained.weights[1:]))


class Bowls(l2l.Problem):
    """The sum of the squares of two tensors."""

    def sample(self, num, seed=None):
        return [l2l.normal([num, *shape], 1.0, seed=seed, stream=i) for i, shape in enumerate([[3], [2, 3]])]

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.add_n([tf.reduce_sum(one**2) for one in x])


def test_choices_are_those_of_a_training():
    trained, problem, steps = some_controller(), Bowls(), 4
    controls = inside_general.chosen(trained, problem, steps=steps, seed=2)
    found = l2l.trace(problem, {"it": trained}, draws=1, steps=steps, seed=2)["it"]
    assert controls.rate.shape == (steps, 2)
    sizes = [tensor.shape.num_elements() for tensor in tf.nest.flatten(problem.initial_position(problem.draw(2)))]
    updates = np.split(found.updates[0], np.cumsum(sizes)[:-1], axis=1)
    for i, update in enumerate(updates):
        assert (np.abs(update).max(axis=1) <= 10.001 * controls.rate[:, i]).all()
    with tf.Graph().as_default(), tf.Session() as session:
        flat = [found.gradients[0, 0], found.positions[0, 0]]
        gradients, x = [[tf.constant(part) for part in np.split(one, np.cumsum(sizes)[:-1])] for one in flat]
        like = tf.nest.flatten(problem.initial_position(problem.draw(2)))
        gradients, x = [[tf.reshape(part, one.shape) for part, one in zip(many, like)] for many in (gradients, x)]
        controller = l2l.AdamController(16)
        first = session.run(controller.controls(gradients, None, x, horizon=steps, weights=trained.weights))
    np.testing.assert_allclose(controls.rate[0], first.rate, rtol=1e-5)
    unplanned = l2l.trace(problem, {"it": inside_general.Unplanned(trained)}, draws=1, steps=steps, seed=2)["it"]
    assert not np.allclose(found.updates, unplanned.updates)


def test_the_page_says_which_seed_ships_and_how_the_seeds_compare():
    seeds = l2l.pretrained()["general"].seeds
    figures = "%.2f, %.2f and %.2f below Adam's" % tuple(-seeds[seed] for seed in "123")
    text = (ROOT / "docs" / "general.md").read_text()
    assert figures in text and "Seed %s ships as `general`" % min(seeds, key=seeds.get) in text
    assert l2l.load("general").record["name"] == "general, seed %s" % min(seeds, key=seeds.get)
