import contextlib
import os
import signal
import sys
import time
import warnings

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.evaluation.graph import EvaluationGraph
from l2l.sweeps import tune as function
from l2l.sweeps.tune import FIRST_SEED

module = sys.modules[function.__module__]
PROBLEM = l2l.Quadratic(2)
RATE = {"learning_rate": l2l.log_range(1e-3, 10)}


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def last(losses):
    return np.log10(losses[:, -1] + 1e-38).mean()


def tune(rule=l2l.sgd, ranges=RATE, **changes):
    settings = {"measure": last, "budget": 4, "draws": 3, "steps": 3, "seed": 1, "engine": "graph", **changes}
    return l2l.tune(settings.pop("problem", PROBLEM), rule, ranges, **settings)


def adam_in_numpy(draw, steps, learning_rate, beta1, beta2, epsilon):
    x, mean, mean_square, losses = draw.start, 0.0, 0.0, []
    for t in range(1, steps + 1):
        losses.append(np.square(draw.scale * x).sum(axis=1))
        g = 2 * draw.scale**2 * x
        mean, mean_square = beta1 * mean + (1 - beta1) * g, beta2 * mean_square + (1 - beta2) * g**2
        rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        x = x - rate * mean / (np.sqrt(mean_square) + epsilon)
    return np.stack(losses, axis=1)


def test_each_trial_runs_the_rule_with_its_numbers_in_one_graph(run, monkeypatch):
    built = []
    monkeypatch.setattr(
        module, "EvaluationGraph", lambda *args, **more: built.append(1) or EvaluationGraph(*args, **more)
    )
    ranges = {
        "learning_rate": l2l.log_range(1e-2, 1),
        "beta1": (0.0, 0.9),
        "beta2": l2l.near_one(0.0, 1 - 1e-6),
        "epsilon": [1e-8, 0.5],
    }
    tuned = tune(l2l.adam, ranges, budget=12)
    draw = run(PROBLEM.sample(3, FIRST_SEED - 1))
    draw = draw._replace(scale=draw.scale.astype(np.float64), start=draw.start.astype(np.float64))
    assert len(tuned.trials) == 12 and built == [1] and FIRST_SEED == -(2**41), "of the same draws ever after"
    for trial in tuned.trials:
        values = {name: trial[name] for name in ranges}
        assert trial["figure"] == pytest.approx(last(adam_in_numpy(draw, 3, **values)), rel=1e-4)
    best = min(tuned.trials, key=lambda trial: trial["figure"])
    assert tuned.figure == best["figure"] and tuned.hyperparameters == {name: best[name] for name in ranges}
    assert tuned.optimizer == l2l.adam(**tuned.hyperparameters)


def test_the_rate_of_gradient_descent_is_found_the_same_with_the_same_seed():
    tuned = tune(budget=40, draws=100, steps=20)
    assert 0.25 < tuned.hyperparameters["learning_rate"] < 0.4 and tuned.figure < -8
    few = [tune(budget=3, seed=seed).trials for seed in [1, 1, 2]]
    assert few[0] == few[1] and few[0] != few[2]


def test_the_compiled_engine_gives_the_same_figures(monkeypatch):
    """And into the caller's graph comes nothing but the optimizers that are returned."""
    prepared, before = [], len(tf.get_default_graph().get_operations())
    monkeypatch.setattr(module, "prepare_xla", lambda: prepared.append(len(figures)))
    figures = []
    for engine in ["graph", "xla"]:
        tuned = tune(lambda learning_rate: l2l.sgd(tf.constant(1.0) * learning_rate), engine=engine)
        figures.append([trial["figure"] for trial in tuned.trials])
    assert prepared == [1]
    assert len(tf.get_default_graph().get_operations()) == before + 2 * 3  # a constant, the rate and their product
    assert len(set(figures[0])) == 4
    np.testing.assert_allclose(*figures, rtol=1e-5)


def test_tuning_draws_are_those_of_no_evaluation_and_no_training(run):
    seen = []
    tune(measure=lambda losses: seen.append(losses[:, 0]) or 0.0, budget=1)
    assert seen[0].dtype == np.float64
    evaluated = l2l.evaluate(PROBLEM, {"it": l2l.sgd()}, draws=3, steps=1, seed=1, engine="graph")["it"][:, 0]
    trained = PROBLEM.sample(3, 1)
    trained = run(PROBLEM.batch_loss(trained.start, trained))
    assert not set(seen[0]) & {*evaluated.astype(np.float64), *trained.astype(np.float64)}


def spread(given, number=200):
    """What is suggested for a range, an array."""

    def rule(value):
        return lambda gradients, state: (-gradients, ())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trials = tune(rule, {"value": given}, measure=lambda losses: 0.0, budget=number, draws=1, steps=1).trials
    return np.array([trial["value"] for trial in trials])


@pytest.mark.parametrize(
    "given, expected",
    [
        ((-2.0, 6), [-2, 0, 2, 4, 6]),
        (l2l.log_range(1e-3, 10), [1e-3, 1e-2, 0.1, 1, 10]),
        (l2l.near_one(0.5, 0.99995), [0.5, 0.95, 0.995, 0.9995, 0.99995]),
        (range(3, 300), [3, 77, 151, 225, 299]),
        ([4, 2, 9, 1], [4, 2, 9, 1, 1]),
    ],
    ids=["uniform", "logarithmic", "near one", "integers", "choices"],
)
def test_ranges_are_uniform_on_their_scale(given, expected):
    space = module._space("ranges['it']", given)
    np.testing.assert_allclose([space.value(place) for place in [0, 0.25, 0.5, 0.75, 1]], expected, rtol=1e-4)
    assert space.is_number and space.size == (len(given) if isinstance(given, (range, list)) else np.inf)


def test_choices_that_are_no_numbers():
    for given in [[True, False], ["a", "b"], [1, None]]:
        space = module._space("ranges['it']", given)
        assert not space.is_number and [space.value(place) for place in (0, 1)] == given
    assert [module._is_number(one) for one in (1, 0.5, np.float32(1), True, "1")] == [True, True, True, False, False]


def test_a_grid_has_all_combinations_if_the_budget_suffices():
    spaces = [module._space("it", given) for given in ([1, 2], range(3))]
    assert module._grid(spaces, 5) == []
    places = [(a, b) for a in (0.25, 0.75) for b in (1 / 6, 0.5, 5 / 6)]
    np.testing.assert_allclose(module._grid(spaces, 6), places)
    assert module._grid([*spaces, module._space("it", (0.0, 1.0))], 10**9) == []


def test_what_scipy_is_asked(monkeypatch):
    """Populations one after another, of one sequence of random numbers; no gradients, and small figures."""
    asked, seen = [], []

    def minimize(function, bounds, seed, **settings):
        asked.append((bounds, seed.uniform(), settings))
        seen.append([function(place) for place in (0.0, 1.0, 2.0)])

    def figure_at(place):
        if len(asked) == 2:
            raise module._StoppedError
        return {0.0: 1.5, 1.0: np.inf, 2.0: -np.inf}[place]

    monkeypatch.setattr("scipy.optimize.differential_evolution", minimize)
    with pytest.raises(module._StoppedError):
        module._evolve(figure_at, 3, 7)
    settings = {"popsize": 5, "recombination": 0.9, "tol": 1e-3, "polish": False}
    random = np.random.RandomState(7)
    assert asked == [([(0, 1)] * 3, random.uniform(), settings) for _ in range(2)]
    assert seen == [[1.5, module.LARGEST, -module.LARGEST]] and 1e100 < module.LARGEST < 1e154


def test_what_is_suggested_is_a_number_of_float32_or_an_integer():
    values = spread(l2l.near_one(0.0, 1 - 1e-7), 20)
    assert (values == values.astype(np.float32)).all() and values.max() < 1
    assert {type(trial["value"]) for trial in tune(lambda value: l2l.sgd(), {"value": range(9)}, budget=3).trials} == {
        int
    }


def test_integers_are_integers_in_the_graph_and_floats_have_the_dtype_of_the_position():
    seen = []

    def rule(steps, rate, mixed):
        seen.extend([steps, rate, mixed])
        return lambda gradients, state: (-rate * gradients, ())

    ranges = {"steps": range(1, 3), "rate": (0.1, 0.2), "mixed": [1, 0.5]}
    tune(rule, ranges, problem=l2l.Quadratic(2, dtype=tf.float64))
    ends = [(1, 0.1, 1.0), (2, 0.2, 0.5)]  # whose optimizers are checked first
    np.testing.assert_allclose(seen[:6], np.ravel(ends))
    assert {value.dtype for value in seen if isinstance(value, tf.Tensor)} == {tf.int32, tf.float64}
    assert [type(value) for value in seen[-3:]] == [int, float, float]


def test_of_lists_each_combination_is_tried_once():
    ranges = {"learning_rate": [0.1, 0.2, 0.3], "momentum": [0.0, np.float32(0.5)]}
    tuned = tune(l2l.momentum, ranges, budget=6)
    tried = [(trial["learning_rate"], trial["momentum"]) for trial in tuned.trials]
    assert tried == [(rate, decay) for rate in [0.1, 0.2, 0.3] for decay in [0.0, 0.5]]
    assert len(tune(l2l.momentum, ranges, budget=5).trials) == 5


def test_a_choice_that_is_no_number_has_a_graph(monkeypatch):
    built = []
    monkeypatch.setattr(
        module, "EvaluationGraph", lambda *args, **more: built.append(1) or EvaluationGraph(*args, **more)
    )
    tuned = tune(lambda make, rate: make(rate), {"make": [l2l.sgd, l2l.adam], "rate": [0.1, 0.2]})
    assert len(tuned.trials) == 4 and built == [1, 1]
    assert tuned.optimizer == tuned.hyperparameters["make"](tuned.hyperparameters["rate"])
    assert "sgd" in str(tuned.table()) and "adam" in tuned._repr_html_()


def test_a_schedule_is_tuned():
    """Gradient descent whose rate ends at 0, by NumPy."""
    tuned = tune(
        lambda learning_rate, steps: l2l.sgd(l2l.cosine_decay(learning_rate, steps)),
        {"learning_rate": (0.1, 0.4), "steps": range(2, 5)},
        measure=lambda losses: (losses[:, 2] / losses[:, 0]).mean(),
        problem=Flat(),
    )
    for trial in tuned.trials:
        left = 1.0
        for t in range(2):
            left *= 1 - trial["learning_rate"] * (1 + np.cos(np.pi * min(t / trial["steps"], 1)))
        assert trial["figure"] == pytest.approx(left**2, rel=1e-4)
    assert isinstance(tuned.optimizer.hyperparameters["learning_rate"], l2l.schedules.Schedule)


class Flat(l2l.Quadratic):
    """All scales are 1."""

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x), axis=-1)


def test_what_diverges_is_the_worst_and_never_nan():
    seen = []

    def mean(losses):
        seen.append(losses)
        return losses[:, -1].mean() - losses[:, -2].mean()  # NaN where both are infinite

    rates = [10.0**power for power in range(0, 22, 3)]
    tuned = tune(ranges={"learning_rate": rates}, measure=mean, budget=10, steps=8)
    figures = [trial["figure"] for trial in tuned.trials]
    assert not np.isnan(figures).any() and figures[-1] == np.inf and tuned.figure == min(figures) < np.inf
    assert not any(np.isnan(losses).any() for losses in seen) and np.isinf(seen[-1]).any()
    assert [trial["figure"] for trial in tune(budget=3, measure=lambda losses: -np.inf).trials] == [-np.inf] * 3
    with pytest.warns(RuntimeWarning, match="measure is NaN or infinite in all 4 trials"):
        assert tune(measure=lambda losses: np.nan).figure == np.inf


def test_five_hyperparameters_of_all_kinds_are_found_together():
    """The minimum of a squared distance on the scales of the ranges; random places do not come as near."""
    ranges = {
        "rate": l2l.log_range(1e-4, 1.0),
        "decay": l2l.near_one(0.0, 1 - 1e-6),
        "mean": (-1.0, 2.0),
        "whole": range(3, 100),
        "word": ["a", "b", "c"],
    }
    spaces, figures = module._spaces(ranges), []

    def figure_at(places):
        if len(figures) == 1500:
            raise module._StoppedError
        rate, decay, mean, whole, word = (space.value(place) for space, place in zip(spaces.values(), places))
        apart = [
            np.log10(rate / 0.02),
            np.log10((1 - decay) / 1e-3),
            mean + 0.7,
            (whole - 41) / 30,
            "abc".index(word) - 1,
        ]
        figures.append(np.square(apart).sum())
        return figures[-1]

    with pytest.raises(module._StoppedError):
        module._evolve(figure_at, len(ranges), 1)
    assert min(figures) < 1e-3 < min(figures[:25])


def test_trials_go_down():
    tuned = tune(l2l.momentum, {**RATE, "momentum": (0.0, 0.9)}, budget=60, steps=10)
    figures = [trial["figure"] for trial in tuned.trials]
    assert np.median(figures[-20:]) < np.median(figures[:20]) - 1


def test_another_population_begins_where_the_figures_of_one_agree():
    rates = [trial["learning_rate"] for trial in tune(budget=30, steps=2, measure=lambda losses: 1.0).trials]
    assert len(set(rates)) == 30
    for first in range(0, 30, 10):  # five of a Latin hypercube, one in each fifth, and one generation
        fifths = np.floor((np.log10(rates[first : first + 5]) + 3) / 4 * 5)
        assert sorted(fifths) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error, number", [(TypeError, 1), (ValueError, 9), (RuntimeError, 9), (KeyError, 1)])
def test_what_a_measure_raises_comes_out_as_it_is(error, number):
    seen = []

    def measure(losses):
        seen.append(1)
        if len(seen) == number:
            raise error("of the measure")
        return losses.sum()

    with pytest.raises(error, match="of the measure") as raised:
        tune(budget=20, measure=measure)
    assert type(raised.value) is error and len(seen) == number


def test_ctrl_c_keeps_what_was_found(monkeypatch):
    seen = []

    def measure(losses):
        seen.append(last(losses))
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return seen[-1]

    with pytest.warns(RuntimeWarning, match="stopped after 2 of 50 trials"):
        tuned = tune(measure=measure, budget=50)
    assert [trial["figure"] for trial in tuned.trials] == seen and tuned.figure == min(seen)

    def rule(learning_rate):
        if isinstance(learning_rate, tf.Tensor):
            os.kill(os.getpid(), signal.SIGINT)
        return l2l.sgd(learning_rate)

    monkeypatch.setattr(EvaluationGraph, "losses_and_positions", None)  # nothing is compiled
    with pytest.raises(KeyboardInterrupt, match="before the first trial"):
        tune(rule)


def test_progress_and_tables_show_the_best(capsys):
    tuned = tune(l2l.momentum, {"learning_rate": (0.1, 0.3), "momentum": (0.0, 0.5)}, budget=12)
    assert "tune learning_rate + momentum: 100%" in capsys.readouterr().err
    lines = str(tuned.table()).splitlines()
    assert lines[0].split() == ["learning_rate", "momentum", "figure"] and len(lines) == 11
    assert lines[1].split()[-1] == "%.6g" % tuned.figure and len(str(tuned.table(1)).splitlines()) == 2
    assert repr(tuned).startswith("<Tuned, momentum(learning_rate=") and "after 12 trials" in repr(tuned)


def test_progress_says_what_is_best_so_far(monkeypatch):
    shown, figures = [], iter([3.0, 1.0, 2.0, 4.0])

    @contextlib.contextmanager
    def progress(total, description):
        shown.append((total, description))
        yield lambda finished, text: shown.append((finished, text))

    def measure(losses):
        if len(shown) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            while len(shown) == 4:  # another thread says it
                time.sleep(0.001)
        return next(figures)

    monkeypatch.setattr(module, "progress", progress)
    with pytest.warns(RuntimeWarning, match=r"^stopped after 3 of 4 trials$"):
        tuned = tune(ranges={"learning_rate": [0.1, 0.2, 0.3, 0.4]}, measure=measure, budget=9)
    assert tuned.hyperparameters == {"learning_rate": 0.2} and tuned.figure == 1.0
    assert shown == [
        (4, "tune learning_rate"),
        (0, "building and compiling"),
        (1, "best 3"),
        (1, "best 1"),
        (0, "stopping"),
        (1, "best 1"),
    ]


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"tune needs SciPy .*: pip install l2l\[tune\]"):
        tune()
    assert len(tune(ranges={"learning_rate": [0.1, 0.2]}).trials) == 2  # each of a few combinations needs none


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: tune(rule=3), TypeError, "rule must be callable, got 3"),
        (lambda: tune(rule=lambda: l2l.sgd()), TypeError, "rule must take learning_rate by name, it takes nothing: "),
        (
            lambda: tune(ranges={"lr": (0.1, 1.0)}),
            TypeError,
            "rule must take lr by name, it takes learning_rate: got an",
        ),
        (lambda: tune(l2l.sgd()), TypeError, "such as l2l.sgd, not what it returns, got sgd"),
        (lambda: tune(rule=lambda learning_rate: 3), TypeError, "what rule returns must be an optimizer"),
        (
            lambda: tune(rule=lambda learning_rate: l2l.CoordinatewiseLSTM((1,))),
            TypeError,
            "what rule returns must be an optimizer without variables, got <CoordinatewiseLSTM of",
        ),
        (lambda: tune(l2l.momentum, {"momentum": (0.0, 1.0)}), ValueError, r"momentum must be a number in \[0, 1\)"),
        (lambda: tune(ranges={}), ValueError, "ranges must be a non-empty dict"),
        (lambda: tune(ranges=[(0.1, 1.0)]), ValueError, "ranges must be a non-empty dict"),
        (lambda: tune(ranges={"learning_rate": (2.0, 1.0)}), ValueError, "must have its lower end first"),
        (lambda: tune(ranges={"learning_rate": ("a", 1.0)}), TypeError, "must be a finite number, got 'a'"),
        (lambda: tune(ranges={"learning_rate": (0.1, np.inf)}), ValueError, "must be a finite number, got inf"),
        (lambda: tune(ranges={"learning_rate": 0.1}), TypeError, r"ranges\['learning_rate'\] must be \(low, high\), "),
        (lambda: tune(ranges={"learning_rate": []}), TypeError, "a list of choices, got"),
        (lambda: tune(ranges={"learning_rate": (1.0, 2.0, 3.0)}), TypeError, "a list of choices, got"),
        (lambda: tune(measure=None), TypeError, "measure must be callable"),
        (
            lambda: tune(measure=lambda losses: losses),
            TypeError,
            r"measure must map a NumPy array \[draws, steps\] to a number, got",
        ),
        (lambda: tune(measure=tf.reduce_mean), TypeError, "to a number, got <tf.Tensor 'Mean"),
        (
            lambda: tune(measure=lambda losses: "low"),
            TypeError,
            r"measure must map a NumPy array \[draws, steps\] to a number, got 'low'",
        ),
        (
            lambda: tune(measure=lambda losses: None),
            TypeError,
            r"measure must map a NumPy array \[draws, steps\] to a number, got None",
        ),
        (lambda: tune(budget=0), ValueError, "budget must be a positive integer"),
        (lambda: tune(draws=0), ValueError, "draws must be a positive integer"),
        (lambda: tune(steps=1.5), TypeError, "steps must be a positive integer"),
        (lambda: tune(seed=-1), ValueError, "seed must be an integer from 0"),
        (lambda: tune(engine="fast"), ValueError, "engine must be one of graph, xla"),
        (lambda: tune(problem=3), TypeError, "problem must be a Problem"),
        (lambda: l2l.log_range(0.0, 1.0), ValueError, "low must be a positive number of float32"),
        (lambda: l2l.log_range(1.0, 1.0), ValueError, "low must be below high, got 1.0 and 1.0"),
        (lambda: l2l.near_one(0.5, 1.0), ValueError, r"high must be a number in \[0, 1\)"),
        (lambda: l2l.near_one(0.5, 1 - 1e-9), ValueError, "high must be below 1 as a float32"),
        (lambda: l2l.near_one(0.9, 0.5), ValueError, "low must be below high"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()
