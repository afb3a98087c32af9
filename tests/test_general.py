"""The recipe of the optimizer `general`, and what the notebook looks at inside it."""

import general
import inside_general
import numpy as np
import tensorflow as tf
import training_problems

import l2l


def test_horizons_grow_for_three_quarters_of_the_training():
    horizons = general.Horizons(1000)
    assert [horizons(number) for number in (0, 375, 750, 1000)] == [(60, 300), (60, 1400), (60, 2500), (60, 2500)]


def test_what_ships_was_trained_by_the_recipe():
    record = l2l.load("general").record
    assert record["meta_iterations"] == general.META_ITERATIONS == record["learning_rate"]["decay_steps"] == 10_000
    assert record["estimator"] == {"class": "EvolutionStrategies", "pairs": 8, "sigma": 0.03, "clip": 0.5}
    rate = record["learning_rate"]
    assert (rate["initial"], rate["decay_rate"]) == (general.LEARNING_RATE, general.FALLS_TO) == (1.5e-2, 0.05)
    # The formula of "late_and_mean_log" was a function of the recipe then.
    assert (record["meta_loss"], record["horizon"], record["meta_optimizer"]) == ("meta_loss", "Horizons", "meta_adam")
    assert record["clip_norm"] == 2.0 and list(record["problem"]) == list(training_problems.training_problems())


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


def test_choices_are_those_of_a_training():
    trained, problem, steps = some_controller(), l2l.MLP(hidden=(), batch_size=8), 4
    controls = inside_general.chosen(trained, problem, steps=steps, seed=2)
    found = l2l.trace(problem, {"it": trained}, draws=1, steps=steps, seed=2)["it"]
    assert controls.rate.shape == (steps, 2)
    sizes = [tensor.shape.num_elements() for tensor in tf.nest.flatten(problem.initial_position(problem.draw(2)))]
    updates = np.split(found.updates[0], np.cumsum(sizes)[:-1], axis=1)
    for i, update in enumerate(updates):
        assert (np.abs(update).max(axis=1) <= 10.001 * controls.rate[:, i]).all()
    unplanned = l2l.trace(problem, {"it": inside_general.Unplanned(trained)}, draws=1, steps=steps, seed=2)["it"]
    assert not np.allclose(found.updates, unplanned.updates)
