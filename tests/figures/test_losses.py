"""Learning curves; what they share with the other figures is tested in `test_axes`."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from test_axes import legend

import l2l
from l2l.evaluation.evaluation import Evaluation


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def band(axes, i=0):
    """The lower and the upper end of a band, from left to right."""
    vertices = axes.collections[i].get_paths()[0].vertices
    at = sorted(set(vertices[:, 0]))
    return np.array([[f(vertices[vertices[:, 0] == x, 1]) for x in at] for f in (np.min, np.max)])


def test_a_curve_is_the_median_over_draws_with_a_band_of_nine_tenths():
    losses = np.arange(1.0, 102.0)[:, np.newaxis] * np.ones([101, 4])
    (axes,) = l2l.plot_curves({"Adam": losses, "SGD": 2 * losses}).axes
    one, other = axes.get_lines()
    np.testing.assert_allclose([one.get_ydata(), other.get_ydata()], [[51.0] * 4, [102.0] * 4])
    assert one.get_xdata().tolist() == [0, 1, 2, 3] and one.get_color() != other.get_color()
    np.testing.assert_allclose(band(axes), [[11.0] * 4, [91.0] * 4])
    for line, area in zip([one, other], axes.collections):
        color = area.get_facecolor()[0]
        assert color[:3].tolist() == list(to_rgb(line.get_color())) and color[3] < 0.5 and line.get_alpha() is None
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "base iteration" and axes.get_ylabel().startswith("loss")
    assert legend(axes.figure) == ["Adam", "SGD"]


def test_losses_are_averaged_over_a_window_before_the_median():
    losses = 10.0 ** np.random.RandomState(0).normal(size=[5, 30])
    (axes,) = l2l.plot_curves({"it": losses}, window=4).axes
    means = np.mean([losses[:, i : i + 27] for i in range(4)], axis=0)
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_ydata(), np.median(means, axis=0))
    np.testing.assert_allclose(line.get_xdata(), np.arange(27) + 1.5)
    assert axes.get_ylabel() == "loss, mean of 4 neighbours, median over draws"
    (axes,) = l2l.plot_curves({"it": losses}, window=100).axes
    assert axes.get_ylabel() == "loss, mean of 30 neighbours, median over draws"
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [np.median(losses.mean(axis=1))])


def test_seeds_show_the_median_of_their_medians_and_the_range_of_these():
    seeds = [np.full([3, 5], value) for value in (1.0, 0.1, 0.01)]
    seeds[1] = np.full([3, 9], 0.1)  # the shortest counts
    (axes,) = l2l.plot_curves({"learned": seeds}).axes
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.1] * 5)
    np.testing.assert_allclose(band(axes), [[0.01] * 5, [1.0] * 5])


def test_an_evaluation_has_its_places_and_its_window():
    losses = {"SGD": np.ones([2, 25])}
    evaluation = Evaluation(losses, {}, np.arange(0, 50, 2), l2l.MLP(hidden=(), batch_size=2), [])
    (line,) = l2l.plot_curves(evaluation).axes[0].get_lines()
    assert line.get_xdata().tolist() == [19.0, 21.0, 23.0, 25.0, 27.0, 29.0]
    assert len(l2l.plot_losses(evaluation, draws=2).axes) == 2
    assert l2l.plot_losses(evaluation, draws=1, window=99).axes[0].get_ylabel() == "loss, mean of 25 neighbours"
    both = l2l.plot_curves({"minibatches": evaluation, "again": evaluation, "all": {"SGD": np.ones([2, 25])}})
    words = ["loss, mean of up to 20 neighbours, median over draws", "", ""]
    assert [axes.get_ylabel() for axes in both.axes] == words
    evaluation = Evaluation(losses, {}, np.arange(25), l2l.Quadratic(2), [])
    assert l2l.plot_curves(evaluation).axes[0].get_lines()[0].get_xdata().tolist() == list(range(25))


def test_a_name_looks_the_same_in_all_panels():
    ones = np.ones([2, 3])
    figure = l2l.plot_curves({"one": {"Adam": ones, "SGD": ones}, "two": {"SGD": ones}})
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"] and legend(figure) == ["Adam", "SGD"]
    first, second = ({line.get_label(): line.get_color() for line in axes.get_lines()} for axes in figure.axes)
    assert first == second
    assert all(float(tick).is_integer() for axes in figure.axes for tick in axes.get_xticks())


def test_what_diverges_leaves_a_curve_and_flattens_no_other():
    rising = np.array([[1.0, 1e5, np.inf, np.nan], [1.0, 1e5, 1e30, np.inf], [1.0, 1.0, 1.0, 1.0]])
    figure = l2l.plot_curves({"wild": rising, "sound": np.full([1, 4], 0.5), "rare": np.roll(rising, 0, 0)[[0, 2, 2]]})
    assert legend(figure) == ["wild, diverges", "sound", "rare"]
    assert figure.axes[0].get_ylim()[1] <= 1e3
    np.testing.assert_array_equal(figure.axes[0].get_lines()[0].get_ydata()[2:], [1e30, np.inf])


def test_lists_are_arrays():
    for figure in [l2l.plot_losses({"it": [[1, 2]]}, draws=1), l2l.plot_curves({"it": [[[1, 2]], [[1, 2]]]})]:
        assert figure.axes[0].get_lines()[0].get_ydata().tolist() == [1, 2]


def test_zeros_are_drawn_at_the_floor():
    figure = l2l.plot_curves({"it": np.array([[1.0, 0.0]])})
    assert figure.axes[0].get_lines()[0].get_ydata()[1] == 1e-38 and figure.axes[0].get_ylim()[0] < 1e-38


@pytest.mark.parametrize(
    "losses, window, words",
    [
        ({}, None, "losses must be an Evaluation, or a non-empty dict"),
        ([1.0], None, "losses must be an Evaluation, or a non-empty dict"),
        ({"one": {}}, None, r"losses\['one'\] must be an Evaluation, or a non-empty dict"),
        ({"a": np.ones(3)}, None, r"losses\['a'\] must have shape \[draws, steps\], got \(3,\)"),
        ({"a": []}, None, r"losses\['a'\] must have the losses of at least one seed"),
        ({"p": {"a": [np.ones([1, 2]), np.ones(2)]}}, None, r"losses\['p'\]\['a'\] must have shape"),
        ({"a": np.ones([1, 2])}, 0, "window must be a positive integer, got 0"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(losses, window, words):
    with pytest.raises(ValueError, match=words):
        l2l.plot_curves(losses, window=window)
