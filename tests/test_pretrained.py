"""How the optimizers that come with the package are trained and measured."""

import collections
import json
from pathlib import Path

import numpy as np
import ordinary_report
import pretrained
import pytest
import small_networks
import tensorflow as tf

import l2l

ROOT = Path(__file__).resolve().parent.parent
TUNED = ["Adam, tuned", "Adam, tuned, cosine"]


@pytest.mark.parametrize("problem, last", [(l2l.Quadratic(2), 1), (l2l.MLP(hidden=(), batch_size=2), 20)])
def test_minibatches_are_averaged_and_functions_are_not(problem, last, monkeypatch):
    monkeypatch.setattr(pretrained.paper, "ENGINE", "graph")
    place = pretrained.Place(lambda: problem, [20, 24])
    found = pretrained.measured(place, {"SGD": l2l.sgd(0.01)}, seed=5, draws=2)
    losses = l2l.evaluate(problem, {"SGD": l2l.sgd(0.01)}, draws=2, steps=24, seed=5, engine="graph")["SGD"].astype(
        np.float64
    )
    for steps in [20, 24]:
        ends = np.log(losses[:, steps - last : steps].mean(axis=1))
        assert found[steps]["SGD"] == pytest.approx([np.median(ends), np.max(ends)])


def test_adam_is_tuned_for_each_length_over_all_rates(monkeypatch):
    monkeypatch.setattr(pretrained.paper, "ENGINE", "graph")
    monkeypatch.setattr(pretrained, "RATES", [1e-5, 0.3, 0.5])
    monkeypatch.setattr(pretrained, "PLACES", {"it": pretrained.Place(lambda: l2l.Quadratic(2), [20, 40])})
    pretrained.adams.cache_clear()
    best = pretrained.adams("it")
    pretrained.adams.cache_clear()
    tuned = pretrained.tuned(l2l.Quadratic(2), {"learning_rate": [1e-5, 0.3, 0.5]}, 40)
    assert set(best) == {20, 40} and best[40] == tuned.hyperparameters["learning_rate"] > 1e-5
    assert [trial["learning_rate"] for trial in tuned.trials] == [1e-5, 0.3, 0.5]


def test_the_best_on_validation_draws_is_taken_and_the_card_has_all_seeds(tmp_path, monkeypatch):
    found = {seed: l2l.Trained(None, [np.float32([seed])]) for seed in [1, 2, 3]}
    figures, seen = {"seed 1": (0.5, 0.6), "seed 2": (-3.0, 9.0), "seed 3": (np.inf, np.inf)}, []
    recipe = pretrained.Recipe(lambda seeds: found, [1, 2, 3], ("Rosenbrock, 2-D", 500), "this", "here", "there")
    monkeypatch.setattr(pretrained, "RECIPES", {"it": recipe})
    monkeypatch.setattr(
        pretrained, "measured", lambda place, optimizers, seed, draws: seen.append(seed) or {500: figures}
    )
    monkeypatch.setattr(pretrained, "figures_of", lambda trained: [{"of": float(trained.weights[0][0])}])
    monkeypatch.setattr(pretrained, "OUTPUT", tmp_path)
    pretrained.make("it")
    card = json.loads((tmp_path / "it.json").read_text())
    assert card["figures"] == [{"of": 2.0}] and card["seeds"] == {"1": 0.5, "2": -3.0, "3": None}

    def build():
        weight = tf.get_variable("x", [1])
        return lambda gradients, state: (weight * gradients, state)

    assert l2l.load(tmp_path / "it.npz", build).weights == [2.0]
    assert seen == [pretrained.VALIDATION_SEED]
    monkeypatch.setattr(pretrained, "figures_of", lambda trained: [{"of": float(trained.weights[0][0]) + 1}])
    monkeypatch.setattr(l2l, "load", lambda name: found[3])
    monkeypatch.setattr(l2l, "pretrained", lambda: {"it": collections.namedtuple("Card", ["seeds"])({"3": 0.25})})
    pretrained.measure("it")  # again, without training
    again = json.loads((tmp_path / "it.json").read_text())
    assert again["figures"] == [{"of": 4.0}] and again["seeds"] == {"3": 0.25} and again["works"] == card["works"]


def test_the_networks_of_general_use_are_drawn_as_stated(run):
    problem = small_networks.SomeNetwork()
    draws = run(problem.sample(4000, 3))
    shares = np.bincount(draws["activation"]) / 4000
    np.testing.assert_allclose(shares, small_networks.SHARES, atol=0.03)
    np.testing.assert_allclose(np.bincount(draws["layers"]) / 4000, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.03)
    low, high = small_networks.SCALES
    assert low <= draws["scale"].min() < 1.05 * low and 0.95 * high < draws["scale"].max() <= high
    assert np.log(draws["scale"]).mean() == pytest.approx(np.log(low * high) / 2, abs=0.05)
    deviations = draws["weights"]["hidden"][0].kernel.std(axis=(1, 2))
    small = deviations < 0.02
    assert small.mean() == pytest.approx(small_networks.SMALL, abs=0.03)
    assert deviations[small].mean() == pytest.approx(0.01, rel=0.01)
    assert deviations[~small].mean() == pytest.approx(np.sqrt(2 / 84), rel=0.01)
    assert (draws["weights"]["output"].bias.any(axis=1) == small).all()
    chances = np.stack([draws["activation"], draws["layers"], np.log(draws["scale"]), small])
    assert np.abs(np.corrcoef(chances) - np.eye(4)).max() < 0.06


@pytest.mark.parametrize("layers, activation", [(1, 0), (2, 1), (3, 2), (2, 3), (1, 2)])
def test_a_drawn_network_is_a_perceptron_of_its_layers_and_activation(run, activation, layers):
    problem = small_networks.SomeNetwork()
    draw = {**problem.draw(1), "activation": tf.constant(activation), "layers": tf.constant(layers)}
    draw["scale"] = tf.constant(2.0)
    x, data = problem.initial_position(draw), l2l.Examples(*map(tf.constant, problem.data))
    minibatch, _ = observed = problem.observe(draw, 0, data)
    plain = l2l.MLP(hidden=(20,) * layers, activation=small_networks.ACTIVATIONS[activation], batch_size=64)
    expected = plain.loss(
        {"hidden": x["hidden"][:layers], "output": x["output"]}, minibatch._replace(inputs=2 * minibatch.inputs)
    )
    loss = problem.loss(x, observed)
    gradients = tf.gradients(loss, tf.nest.flatten(x["hidden"][layers:])) if layers < 3 else []
    one, other, *unused = run([loss, expected, *gradients])
    assert one == pytest.approx(other, rel=1e-5)
    assert not any(np.any(gradient) for gradient in unused)


def test_the_cards_say_what_the_recipes_do():
    assert sorted(pretrained.RECIPES) == list(l2l.pretrained())
    for name, card in l2l.pretrained().items():
        recipe = pretrained.RECIPES[name]
        assert (card.trained_on, card.works, card.fails) == (recipe.trained_on, recipe.works, recipe.fails)
        assert card.measure == pretrained.MEASURE and list(card.seeds) == list(map(str, recipe.seeds))
        places = [(place, steps) for place, (_, several) in pretrained.PLACES.items() for steps in several]
        own = card.figures[len(places) :]
        assert [(row["place"], row["steps"]) for row in card.figures[: len(places)]] == places
        assert own == (pretrained.ordinary_figures() if name == "general" else [])
        assert {row["rate"] for row in card.figures} <= set(pretrained.RATES)


def test_what_the_cards_claim_is_in_their_figures():
    cards = {
        name: {(row["place"], row["steps"]): row for row in card.figures} for name, card in l2l.pretrained().items()
    }
    for name in ["episode_1", "zero", "paper_quadratic", "paper_mlp"]:  # each works at home
        home = cards[name][pretrained.RECIPES[name].home]
        assert home["learned"] < home["Adam, best rate"]
    assert cards["zero"][pretrained.RECIPES["zero"].home]["learned"] == pytest.approx(np.log(1e-38))  # a loss of 0
    assert 51.5 < max(row["learned"] for row in cards["episode_1"].values()) < 52.5
    networks = [key for key in cards["zero"] if key[0].startswith(("digits", "MNIST"))]
    for key in networks:
        assert cards["zero"][key]["learned"] > cards["zero"][key]["Adam, best rate"] - 0.05
        assert cards["paper_quadratic"][key]["learned"] > cards["paper_quadratic"][key]["Adam, best rate"] + 0.2

    general = cards["small_networks"]
    perceptrons = [key for key in networks if key[0].startswith("digits") and "convolutions" not in key[0]]
    assert all(general[key]["learned"] < general[key]["Adam, 0.001"] for key in perceptrons)
    behind = [key for key in perceptrons if general[key]["learned"] > general[key]["Adam, best rate"]]
    assert {place for place, _ in behind} == {"digits, 20 ReLU units, N(0, 0.01^2)"}
    row = general["MNIST, 20 ReLU units, as Keras", 500]
    assert row["learned"] > row["Adam, 0.001"]
    functions = [row for (place, _), row in general.items() if not place.startswith(("digits", "MNIST"))]
    assert len(functions) == 3 and all(row["learned"] > row["Adam, best rate"] for row in functions)

    general = cards["general"]
    for place in ["Rosenbrock, 2-D", "quadratics of the paper, 10-D"]:
        assert all(row["learned"] > row["Adam, best rate"] for (where, _), row in general.items() if where == place)
    cells = ordinary_report.cells(json.loads((ROOT / "results" / "ordinary_tasks.json").read_text())["rows"])
    level = {key for key, cell in cells.items() if all(ordinary_report.is_level(cell, name) for name in TUNED)}
    assert len(cells) == 38 and set(cells) - level == {
        *[("MNIST conv net", 100), ("embeddings", 100), ("GRU, adding", 100), ("attention", 500)],
        *[("linear, condition 1e6", 500), ("batch normalization, digits", 2000), ("GRU, adding", 10_000)],
    }
    for card in cards.values():
        assert all(row["worst"] is None or row["worst"] >= row["learned"] for row in card.values())
    paper = cards["paper_mlp"]
    for place in ["digits, 20 sigmoid units, N(0, 0.01^2)", "digits, 20 ReLU units, N(0, 0.01^2)"]:
        assert all(row["learned"] < row["Adam, best rate"] for (where, _), row in paper.items() if where == place)
    for place in ["digits, 32 and 32 ReLU, as Keras", "MNIST, 20 ReLU units, as Keras"]:
        assert all(row["learned"] > row["Adam, best rate"] for (where, _), row in paper.items() if where == place)


@pytest.mark.rehearsal
def test_the_smallest_is_trained_again_and_meets_its_figures(tmp_path, monkeypatch):
    """Where it was trained, from its own seed of several; its card has other places and the other seeds too."""
    card, recipe = l2l.pretrained()["zero"], pretrained.RECIPES["zero"]
    (place, steps), (seed, best) = recipe.home, min(card.seeds.items(), key=lambda pair: pair[1])
    assert str(l2l.load("zero").record["weights_seed"]) == seed
    monkeypatch.setattr(pretrained, "OUTPUT", tmp_path)
    monkeypatch.setitem(pretrained.RECIPES, "zero", recipe._replace(seeds=[int(seed)]))
    monkeypatch.setattr(pretrained, "PLACES", collections.OrderedDict([(place, pretrained.PLACES[place])]))
    pretrained.make("zero")
    again = json.loads((tmp_path / "zero.json").read_text())
    (expected,) = [row for row in card.figures if (row["place"], row["steps"]) == (place, steps)]
    (found,) = again["figures"]
    assert found["learned"] == pytest.approx(expected["learned"], abs=1.0)
    assert found["learned"] < found["Adam, best rate"] - 10 and found["rate"] == expected["rate"]
    assert again["seeds"] == {seed: pytest.approx(best, abs=1.0)}
    assert l2l.load(tmp_path / "zero.npz").record["optimizer"] == l2l.load("zero").record["optimizer"]
