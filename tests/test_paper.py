"""What the notebook on the paper and the training of the optimizer for small networks stand on."""

import functools
import json
from pathlib import Path

import digits
import numpy as np
import paper
import pytest
import tensorflow as tf

import l2l

RESULTS = Path(__file__).resolve().parent.parent / "results"


def test_each_rule_is_tuned_on_draws_of_their_own(monkeypatch):
    monkeypatch.setattr(paper, "TRIALS", 3)
    problem = l2l.Quadratic(2)
    rules, rows = paper.tuned(problem, 3, paper.mean_last, draws=20)
    assert list(rules) == [row["rule"] for row in rows] == ["SGD", "momentum", "Nesterov", "RMSProp", "Adam"]
    assert rules["SGD"] == l2l.sgd(rows[0]["learning_rate"]) and set(rows[4]) == {
        *["rule", "learning_rate", "beta1", "beta2", "tuning figure"]
    }
    losses = paper.tested(problem, {"it": rules["SGD"]}, 20, 3, engine="graph")["it"]
    assert 0 < paper.mean_last(losses) != rows[0]["tuning figure"]


def test_several_seeds_are_tested_as_a_list():
    problem = l2l.Quadratic(2)
    losses = paper.tested(problem, {"two": {1: l2l.sgd(0.1), 2: l2l.sgd(0.2)}, "one": l2l.sgd(0.2)}, 3, 2, "graph")
    assert len(losses["two"]) == 2 and np.array_equal(losses["two"][1], losses["one"])


def test_learned_ones_are_medians_and_ranges_over_seeds_the_best_first():
    losses = {"learned": [np.full([2, 3], value) for value in (5.0, 1.0, 3.0)], "Adam": np.full([2, 3], 2.0)}
    losses["lost"] = np.full([2, 3], np.nan)
    rows = [tuple(row.values()) for row in paper.compared(losses, paper.mean_last)]
    assert rows == [("Adam", 1, 2.0, 2.0, 2.0), ("learned", 3, 3.0, 1.0, 5.0), ("lost", 1, np.inf, np.inf, np.inf)]


def test_the_measure_of_networks_is_the_log_of_a_mean_over_twenty():
    losses = np.concatenate([np.full([1, 30], 9.0), np.full([1, 20], np.e**2)], axis=1)
    losses = np.concatenate([losses, losses / np.e**2])
    np.testing.assert_allclose(paper.mean_of_last_twenty(losses), 1.0)
    np.testing.assert_allclose(paper.mean_of_last_twenty(losses, 30), np.log(9.0) - 1)


def test_a_training_of_several_stages_goes_on_with_its_weights():
    problem, network = l2l.DenseQuadratic(2), functools.partial(l2l.CoordinatewiseLSTM, (2,))
    settings = {"engine": "graph", "unroll_length": 2, "horizon": 2, "seeds": [1]}
    both, rows = paper.train("it", problem, network, [(2, 1e-3), (3, 1e-4)], **settings)
    first, _ = paper.train("it", problem, network, [(2, 1e-3)], **settings)
    assert rows[0]["meta_iterations"] == 5 and rows[0]["experiment"] == "it"
    assert both[1].record["start"]["meta_iterations"] == 2 and both[1].record["meta_iterations"] == 3
    trainer = l2l.Trainer(
        problem,
        first[1],
        unroll_length=2,
        engine="graph",
        second_derivatives=False,
        learning_rate=1e-4,
        weights_seed=1,
        draws_seed=101,
    )
    trainer.run(3)
    assert all(map(np.array_equal, trainer.trained().weights, both[1].weights))


@pytest.mark.parametrize("name, is_deep", [("sigmoid", False), ("relu", False), ("tanh", True), ("relu", True)])
def test_networks_to_train_on_are_those_that_they_say(run, name, is_deep):
    """With one hidden layer the loss is that of a perceptron of one, and the second layer has no gradient."""
    problem, draw = digits.SomeMLP([(name, is_deep, 1.0)]), digits.SomeMLP().draw(1)
    draw = {**draw, "kind": tf.constant(0)}
    data = l2l.Examples(*map(tf.constant, problem.data))
    x = tf.nest.map_structure(lambda one: 30 * one, problem.initial_position(draw))
    examples, kind = problem.observe(draw, 3, data)
    loss = problem.loss(x, (examples, kind))
    same = l2l.MLP(hidden=(20, 20) if is_deep else (20,), activation=name)
    expected = same.loss({**x, "hidden": x["hidden"][: 1 + is_deep]}, examples)
    gradients = tf.gradients(loss, x["hidden"][1].kernel)[0]
    loss, expected, gradients = run([loss, expected, gradients])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert np.any(gradients != 0) == is_deep


def test_kinds_are_drawn_with_their_shares(run):
    kinds = run(digits.SomeMLP().sample(1000, 1)["kind"])
    shares = [share for _, _, share in digits.KINDS]
    assert sum(shares) == pytest.approx(1)
    assert np.abs(np.bincount(kinds, minlength=len(shares)) / 1000 - shares).max() < 5 * np.sqrt(0.25 / 1000)


@pytest.mark.rehearsal
def test_a_training_that_was_stopped_goes_on_and_one_that_is_done_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "SomeMLP", lambda: l2l.Quadratic(2))
    monkeypatch.setattr(digits, "STEPS", 2)
    monkeypatch.setattr(l2l, "Curriculum", functools.partial(l2l.Curriculum, engine="graph"))
    monkeypatch.setattr(digits, "STAGES", [(2, 2, 1e-3), (4, 2, 1e-3)])
    whole, rows = digits.trained([1], output=tmp_path / "whole")
    assert [(row["stage"], row["horizon"], row["meta_iterations"]) for row in rows] == [(0, 2, 2), (1, 4, 2)]
    assert whole[1].record["start"]["meta_iterations"] == 2
    assert whole[1].record["draws_seed"] == 1001  # another one than that of the stage before
    together = l2l.train_together
    with monkeypatch.context() as patched:
        patched.setattr(l2l, "train_together", lambda curricula: together(curricula, until=3))
        digits.trained([1], output=tmp_path / "stopped")
    again, _ = digits.trained([1], output=tmp_path / "stopped")
    assert all(map(np.array_equal, again[1].weights, whole[1].weights))
    done, more = digits.trained([1], output=tmp_path / "whole")
    assert more == rows and all(map(np.array_equal, done[1].weights, whole[1].weights))


def test_a_curve_counts_zero_as_the_smallest_mean_there_is():
    losses = np.full([2, 100], np.exp(-2.0))
    losses[1] = 0.0
    losses[:, : 100 - digits.LAST] = 5.0  # which do not count
    (figure,) = digits.curve(losses)
    np.testing.assert_allclose(figure, (-2 + np.log(2.0**-24 / 2560)) / 2)


def test_what_is_missing_is_measured_where_it_is_most():
    assert digits.missing(digits.GOALS) == 0
    assert digits.missing([-3.0, -3.0, -9.0, -9.0, -9.0, -18.0, -20.0]) == 0.5
    assert len(digits.GOALS) == len(digits.LENGTHS)


def test_the_committed_optimizer_reaches_the_goals_on_fresh_draws():
    """Up to 500 base iterations here; results/digits.json has all lengths, of test draws of the run that trained it."""
    optimizers = {"it": l2l.load("paper_mlp")}
    losses = l2l.evaluate(l2l.MLP(), optimizers, draws=3, steps=500, seed=11, engine="graph")["it"]
    assert all(figure < goal for figure, goal in zip(digits.curve(losses), digits.GOALS))


def test_every_seed_of_the_committed_run_reaches_the_goals_at_all_lengths():
    rows = json.loads((RESULTS / "digits.json").read_text())["rows"]
    measured = [row for row in rows if row.get("draws") == "test"]
    curves = {row["optimizer"]: row["curve"] for row in measured if row["network"] == "home"}
    assert len(curves) >= 2 and all(digits.missing(curve) < 0 for curve in curves.values())
    assert {row["network"] for row in measured} == {"home", *digits.TRANSFERS}
    assert "seed %d" % rows[-1]["best"] in curves
    trained, last = l2l.load("paper_mlp"), digits.STAGES[-1]
    assert trained.record["weights_seed"] == rows[-1]["best"] and trained.record["horizon"] == last[0]
    stages = [row for row in rows if row.get("seed") == rows[-1]["best"]]
    assert [(row["horizon"], row["meta_iterations"], row["learning_rate"]) for row in stages] == digits.STAGES


def test_a_full_run_is_the_papers():
    assert paper.SEGMENTS == {"unroll_length": 20, "horizon": 100} and paper.ENGINE == "xla"
    assert paper.SEEDS == [1, 2, 3] and paper.TRIALS == 100
    network = paper.paper_network().description()
    assert network["hidden"] == [20, 20] and not network["input_layer"] and network["output_scale"] == 0.01
    assert network["casting"]["kind"] == "log_and_sign" and network["casting"]["parameters"] == {"k": 10}
