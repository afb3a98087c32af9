"""What is asked of an evaluation: losses by name, a ranking with paired differences, and losses on the whole data."""

import warnings
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Regression

import l2l

DRAWS = 4


def of(losses, problem=None):
    """An evaluation that found these losses, a dict of arrays `[draws, T]`."""
    losses = {name: np.asarray(values, float) for name, values in losses.items()}
    places = np.arange(next(iter(losses.values())).shape[1])
    return l2l.Evaluation(losses, {}, places, problem or l2l.Quadratic(2), [])


def evaluated(problem, steps=3):
    optimizers = {"SGD": l2l.sgd(0.1), "slow": l2l.sgd(0.01)}
    return l2l.evaluate(problem, optimizers, draws=DRAWS, steps=steps, engine="graph")


def test_it_is_a_mapping_from_name_to_losses():
    one = evaluated(l2l.Quadratic(2))
    assert isinstance(one, Mapping) and list(one) == ["SGD", "slow"] and len(one) == 2 and "Adam" not in one
    assert {name: losses.shape for name, losses in one.items()} == {"SGD": (4, 3), "slow": (4, 3)}
    assert one.at.tolist() == [0, 1, 2] and one.positions["slow"].shape == (4, 2)
    with pytest.raises(KeyError):
        one["Adam"]
    assert repr(one) == "<Evaluation, losses [4, 3] of SGD, slow>"
    assert one._repr_html_() == one.ranking()._repr_html_() and "<td" in one._repr_html_()
    assert l2l.plot_losses(one, draws=2).axes


SOME = {
    "one diverged": [[1.0, 1e-8], [1.0, 1e-6], [1.0, np.inf]],
    "steady": [[1.0, 1e-2], [1.0, 1e-4], [1.0, 1e-3]],
    "all diverged": [[1.0, np.nan], [1.0, np.inf], [1.0, np.nan]],
    "best": [[1.0, 1e-7], [1.0, 1e-5], [1.0, 1e-3]],
}


def test_a_ranking_goes_by_the_log_average_of_the_last_place():
    rows = of(SOME).ranking().rows
    assert [row["optimizer"] for row in rows] == ["best", "steady", "one diverged", "all diverged"]
    expected = [(-5, 0, -5, -5), (-3, 0, -3, -3), (np.inf, 1 / 3, -7, -6), (np.inf, 1, np.nan, np.inf)]
    for row, figures in zip(rows, expected):
        found = [row["log_average"], row["diverged"], row["others"], row["median"]]
        np.testing.assert_allclose(found, figures, rtol=1e-12)


def test_the_difference_from_the_best_is_paired_and_has_a_standard_error():
    """Draws that are hard for both do not widen it. Of one that diverged in a draw it is infinite, as its average."""
    best, *others = of(SOME).ranking().rows
    assert best["behind"] is None and best["uncertainty"] is None
    expected = [(2, np.std([5, 1, 0], ddof=1) / np.sqrt(3)), (np.inf, np.nan), (np.inf, np.nan)]
    for row, figures in zip(others, expected):
        np.testing.assert_allclose([row["behind"], row["uncertainty"]], figures, rtol=1e-12)
    random = np.random.RandomState(0)
    hard, noise = random.normal(size=[200, 1]), 0.01 * random.normal(size=[200, 1])
    _, row = of({"a": 10**hard, "b": 10 ** (hard + 0.1 + noise)}).ranking().rows
    assert row["behind"] == pytest.approx(0.1, abs=0.003) and row["uncertainty"] == pytest.approx(0.0007, rel=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (_, row) = of({"a": [[1.0]], "b": [[10.0]]}).ranking().rows
    assert row["behind"] == pytest.approx(1) and np.isnan(row["uncertainty"])
    best, row = of({"a": [[1.0], [np.inf], [1.0]], "b": [[10.0], [10.0], [np.inf]]}).ranking().rows
    assert best["optimizer"] == "a" and row["behind"] == np.inf  # of the best one a draw diverged too


def test_a_ranking_as_text():
    """With empty cells for the best one, which is behind nobody."""
    assert str(of({"a": [[0.1], [0.01]], "b": [[10.0], [0.01]]}).ranking()).splitlines() == [
        "optimizer  log_average  behind  uncertainty  median  diverged",
        "a                -1.50                        -1.26        0%",
        "b                -0.50    1.00         1.00    0.70        0%",
    ]


@pytest.mark.parametrize(
    "draws, diverged, share", [(500, 1, "0.2%"), (500, 5, "1%"), (30, 1, "3%"), (2000, 1, "0.05%")]
)
def test_a_ranking_shows_a_single_draw_that_diverged(draws, diverged, share):
    losses = np.full([draws, 1], 0.1)
    losses[:diverged] = np.inf
    assert str(of({"a": losses}).ranking()).endswith(" " + share)


class Noisy(l2l.Rosenbrock):
    """Noise in the gradient makes base iterations differ; `Rosenbrock` has `observe` for it, and none without."""

    def __init__(self):
        super().__init__(noise=0.1)


@pytest.mark.parametrize(
    "problem, window",
    [
        (l2l.Quadratic(2), 1),
        (l2l.Rosenbrock(), 1),
        (l2l.RandomlyScaled(l2l.Quadratic(2)), 1),
        (Noisy(), 20),
        (Regression(), 20),
        (l2l.Mixture([l2l.Quadratic(2, tf.float64), Regression()]), 20),
    ],
    ids=lambda value: type(value).__name__,
)
def test_where_base_iterations_see_minibatches_the_last_twenty_count(problem, window, graph):
    """Of fewer places all; a draw's figure is the logarithm of a mean, not the mean of logarithms."""
    losses = 10 ** np.random.RandomState(0).uniform(-3, 0, size=[5, 30])
    for places in [30, 7]:
        expected = np.log10(losses[:, :places][:, -window:].mean(axis=1)).mean()
        (row,) = of({"a": losses[:, :places]}, problem).ranking().rows
        assert row["log_average"] == pytest.approx(expected, rel=1e-12)
    (row,) = of({"a": losses}, problem).ranking(window=3).rows
    assert row["log_average"] == pytest.approx(np.log10(losses[:, -3:].mean(axis=1)).mean(), rel=1e-12)
    assert not graph.get_operations()  # that is found out elsewhere


def test_of_zeros_a_ranking_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = of({"a": np.zeros([2, 3])}).ranking().rows
    assert row["log_average"] == -38


def test_of_negative_losses_a_ranking_warns():
    with pytest.warns(RuntimeWarning, match=r"losses\['a'\] has negative losses, whose logarithms are NaN"):
        _, row = of({"a": -np.ones([3, 2]), "b": np.ones([3, 2])}).ranking().rows
    assert np.isnan([row["log_average"], row["behind"], row["uncertainty"]]).all()


def cross_entropy(x, inputs, labels):
    """Of a perceptron with one hidden layer of sigmoids, float64."""
    hidden, output = x["hidden"][0], x["output"]
    values = 1 / (1 + np.exp(-(inputs @ hidden.kernel.astype(float) + hidden.bias)))
    logits = values @ output.kernel.astype(float) + output.bias
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


def test_losses_on_the_whole_data_are_those_of_numpy():
    random = np.random.RandomState(0)
    examples = l2l.Examples(random.uniform(size=[30, 2, 3]).astype(np.float32), np.arange(30) % 3)
    one = evaluated(l2l.MLP(examples, (4,), batch_size=2, stddev=1.0))
    inputs = examples.inputs.reshape([30, 6])
    for name, losses in one.losses_on_whole_data().items():
        ends = [tf.nest.map_structure(lambda many, i=i: many[i], one.positions[name]) for i in range(DRAWS)]
        np.testing.assert_allclose(losses, [cross_entropy(x, inputs, examples.labels) for x in ends], rtol=1e-5)
        assert losses.shape == (DRAWS,)


def test_without_minibatches_it_is_the_loss_after_the_last_update():
    whole = evaluated(l2l.Quadratic(2)).losses_on_whole_data()
    longer = evaluated(l2l.Quadratic(2), steps=4)
    assert list(whole) == list(longer)
    for name in longer:
        np.testing.assert_allclose(whole[name], longer[name][:, -1], rtol=1e-6)


@pytest.mark.parametrize(
    "problem", [Regression(), l2l.WithConvexTerm(Regression())], ids=lambda one: type(one).__name__
)
def test_minibatches_without_observe_all_have_no_loss_on_the_whole_data(problem):
    with pytest.raises(ValueError, match=r"^problem Regression must define observe_all for a loss on its whole data$"):
        of({"a": [[1.0]]}, problem).losses_on_whole_data()


def test_an_inherited_observe_all_does_not_stand_for_an_observe_of_its_own():
    class Doubled(l2l.MLP):
        def observe(self, draw, t, data):
            examples = super().observe(draw, t, data)
            return examples._replace(inputs=2 * examples.inputs)

    with pytest.raises(ValueError, match=r"^problem Doubled must define observe_all for a loss on its whole data$"):
        of({"a": [[1.0]]}, Doubled(hidden=(), batch_size=2)).losses_on_whole_data()
