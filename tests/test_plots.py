import warnings

import numpy as np
import pytest

import l2l


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_plot_losses_has_a_panel_a_draw_and_a_line_an_optimizer():
    losses = {"SGD": np.full([4, 20], 0.5), "RNN": np.full([4, 20], 1e-9)}
    figure = l2l.plot_losses(losses, draws=2)
    figure.canvas.draw()
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert [line.get_label() for line in axes.get_lines()] == ["SGD", "RNN"]
        assert axes.get_yscale() == "log" and axes.get_xlabel() == "base iteration"
    assert figure.axes[0].get_ylabel() == "loss" and figure.axes[0].get_legend() is not None
    colors = [line.get_color() for line in figure.axes[0].get_lines()]
    assert len(set(colors)) == 2
    np.testing.assert_allclose(figure.axes[1].get_lines()[1].get_ydata(), losses["RNN"][1])


def test_plot_losses_draws_runs_of_different_length_zeros_and_nan():
    losses = {"long": np.zeros([1, 30]), "short": np.full([1, 5], np.nan)}
    l2l.plot_losses(losses, draws=1).canvas.draw()


def test_plot_convergence_shows_raw_values_and_their_average():
    values = 10 ** np.random.RandomState(0).uniform(-9, 0, size=2000)
    values[700:720] = np.nan
    history = l2l.History()
    history.append(np.stack([values[:900]] * 4, axis=1))
    figure = l2l.plot_convergence({"long": values, "short": history}, {"RMSProp": -18.4}, window=100)
    figure.canvas.draw()
    (axes,) = figure.axes
    raw, smooth, raw_short, smooth_short, target = axes.get_lines()
    assert raw.get_alpha() < 0.5 and smooth.get_alpha() is None and raw.get_color() == smooth.get_color()
    np.testing.assert_array_equal(np.isnan(raw.get_ydata()), np.isnan(values))  # gaps are gaps
    np.testing.assert_array_equal(smooth.get_ydata(), l2l.rolling_log_average(values, 100))
    assert len(raw_short.get_ydata()) == len(smooth_short.get_ydata()) == 900
    np.testing.assert_allclose(target.get_ydata(), 10**-18.4)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["long", "short", "RMSProp"]
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "meta-iteration" and axes.get_ylabel()


def test_several_seeds_show_median_and_range():
    seeds = [np.full(50, 10.0**exponent) for exponent in (-7, -5, -1)]
    seeds[0] = np.append(seeds[0], 1.0)  # one ran on: the shortest counts
    figure = l2l.plot_convergence({"RNN": seeds}, window=5)
    figure.canvas.draw()
    (median,) = figure.axes[0].get_lines()
    np.testing.assert_allclose(median.get_ydata(), np.full(50, 1e-5))
    assert median.get_label() == "RNN (3 seeds)"
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [1e-7, 1e-1])
