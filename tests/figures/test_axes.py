import warnings
from pathlib import Path

import drawn
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from nbclient import NotebookClient

import l2l
from l2l.averages import growing_log_average
from l2l.figures.axes import label_decades, limits_of, remark, shown, some_markers

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def legend(figure):
    """The texts of the only legend, which is that of the last panel."""
    assert not any(axes.get_legend() for axes in figure.axes[:-1])
    return [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]


def test_plot_losses_draws_runs_of_different_length_zeros_and_nan():
    losses = {"long": np.zeros([1, 30]), "short": np.full([1, 5], np.nan)}
    figure = l2l.plot_losses(losses, draws=1)
    assert legend(figure) == ["long", "short, ends in NaN"]
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < 0.9e-38 and top > 1.1e-38  # the zeros are seen, not hidden by the frame


def test_plot_convergence_shows_raw_values_and_their_average():
    values = 10 ** np.random.RandomState(0).uniform(-9, 0, size=2000)
    values[700:720] = np.nan
    history = l2l.History()
    history.append(np.stack([values[:900]] * 4, axis=1))
    figure = l2l.plot_convergence({"long": values, "short": history}, targets={"RMSProp": -18.4}, window=100)
    (axes,) = figure.axes
    raw, smooth, raw_short, smooth_short, target = axes.get_lines()
    assert raw.get_alpha() < 0.5 and smooth.get_alpha() is None and raw.get_color() == smooth.get_color()
    np.testing.assert_array_equal(np.isnan(raw.get_ydata()), np.isnan(values))  # gaps are gaps
    np.testing.assert_array_equal(smooth.get_ydata(), growing_log_average(values, 100))
    assert len(raw_short.get_ydata()) == len(smooth_short.get_ydata()) == 900
    np.testing.assert_allclose(target.get_ydata(), 10**-18.4)
    assert legend(figure) == ["long", "short", "RMSProp"]
    assert target.get_color() == "0.4" and axes.get_title() == "Log average over up to 100 meta-iterations"
    assert axes.get_ylabel() == "last loss of the unroll" and axes.xaxis.get_major_formatter()(2000) == "2,000"
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "meta-iteration" and axes.get_ylabel()


def test_several_seeds_show_median_and_range():
    seeds = [np.full(50, 10.0**exponent) for exponent in (-7, -5, -1)]
    seeds[0] = np.append(seeds[0], 1.0)  # one ran on: the shortest counts
    figure = l2l.plot_convergence({"RNN": seeds}, window=5)
    (median,) = figure.axes[0].get_lines()
    np.testing.assert_allclose(median.get_ydata(), np.full(50, 1e-5))
    assert median.get_label() == "RNN (3 seeds)"
    (band,) = figure.axes[0].collections
    assert band.get_facecolor()[0, :3].tolist() == list(to_rgb(median.get_color())) and band.get_facecolor()[0, 3] < 0.5
    heights = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [1e-7, 1e-1])


def test_a_diverging_optimizer_does_not_flatten_the_others():
    sound = np.array([[10.0**-t for t in range(8)], [5.0] * 8])
    wild, late, negative = sound.copy(), sound.copy(), sound.copy()
    wild[0] = 10.0 ** np.arange(0, 40, 5)
    late[1, 3], late[0, 6:] = np.inf, np.nan
    negative[1, 4] = -1.0
    losses = {
        "sound": sound,
        "wild": wild,
        "late": late,
        "spike": np.where(late == np.inf, 1e9, sound),
        "neg": negative,
    }
    figure = l2l.plot_losses(losses, draws=2)
    names = ["sound", "wild, diverges in 1 of 2", "late, ends in NaN in 1 of 2", "spike, leaves the figure in 1 of 2"]
    assert legend(figure) == [*names, "neg, with gaps for negative losses"]
    for axes in figure.axes:
        bottom, top = axes.get_ylim()
        assert bottom < 1e-7 and 5 < top <= 5e3
    only = l2l.plot_losses({"wild": wild[:1], "lost": np.array([[1.0, 1e300, np.nan]])}, draws=1)
    assert legend(only) == ["wild, diverges", "lost, diverges"] and only.axes[0].get_ylim()[1] <= 1e3


@pytest.mark.parametrize("place", [0, 700])
def test_one_huge_loss_does_not_stretch_the_convergence(place):
    values = 10 ** np.random.RandomState(0).uniform(-9, 0, size=1000)
    values[place] = 1e37
    figure = l2l.plot_convergence({"RNN": values})
    above = "RNN, leaves the figure" if place == 0 else "RNN, 1 of 1,000 above the figure"  # the first is its average
    assert legend(figure) == [above]
    assert 0.5 < figure.axes[0].get_ylim()[1] <= 1e3
    l2l.plot_convergence({"RNN": np.where(values == 1e37, np.inf, values)})


def test_averages_of_sound_and_collapsed_runs_stay_within_the_figure():
    noise = 10 ** np.random.RandomState(0).normal(size=4000)
    falling, collapsed = noise * np.logspace(4, -18, 4000), noise * 1e-20
    collapsed[3000:] = 1.0
    figure = l2l.plot_convergence(
        {"falling": falling, "collapsed": collapsed, "zeros": np.zeros(4000)}, targets={"far": 9.0}
    )
    assert legend(figure) == ["falling", "collapsed", "zeros", "far"]
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < 0.9e-38
    for line in figure.axes[0].get_lines():
        assert np.nanmax(line.get_ydata()) < top
    assert l2l.plot_convergence({"collapsed": collapsed}).axes[0].get_ylim()[1] > 1.1


def test_a_figure_of_nothing_has_limits():
    bottom, top = l2l.plot_convergence({"lost": np.full(5, np.nan)}).axes[0].get_ylim()
    np.testing.assert_allclose(np.log10([bottom, top]), [-1.2, 0.2])
    assert legend(l2l.plot_convergence({"not begun": [], "begun": [0.5]})) == ["not begun", "begun"]


def test_a_diverging_run_does_not_flatten_the_others():
    sound = np.full(100, 1e-3)
    wild = np.logspace(0, 30, 100)
    figure = l2l.plot_convergence({"seeds": [sound, wild], "wild": wild, "cut": np.append(sound, np.nan)}, window=5)
    assert legend(figure) == ["seeds (2 seeds), diverges in 1 of 2", "wild, diverges", "cut, ends in NaN"]
    assert figure.axes[0].get_ylim()[1] <= 1e3


def test_as_many_lines_as_are_allowed_are_told_apart_and_more_are_refused():
    many = {"number %d" % i: np.full([1, 4], 0.5) for i in range(28)}
    (axes,) = l2l.plot_losses(many, draws=1).axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    marks = {(line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}  # in gray
    assert len(looks) == len(marks) == 28
    figure = l2l.plot_convergence(
        {name: [one[0], one[0]] for name, one in many.items()}, targets={"target": -1.0}, window=2
    )
    curves = {(to_rgb(line.get_color()), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    marks = {(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].get_lines()}
    assert len(curves) == len(marks) == 29 and len(legend(figure)) == 29
    figure.canvas.draw()
    panel, box = figure.axes[0].get_window_extent(), figure.axes[0].get_legend().get_window_extent()
    assert panel.width > 400 and box.y0 > 0 and box.x1 <= figure.bbox.x1 + 1  # neither squeezed nor cut off
    many["one more"] = many["number 0"]
    with pytest.raises(ValueError, match="losses must hold at most 28 lines"):
        l2l.plot_losses(many, draws=1)
    with pytest.raises(ValueError, match="runs must hold at most 28 lines"):
        l2l.plot_convergence({name: one[0] for name, one in many.items()})


def test_losses_without_base_iterations_are_refused():
    with pytest.raises(ValueError, match=r"losses\['a'\] must have shape \[draws, steps\], got \(2, 0\)"):
        l2l.plot_losses({"a": np.zeros([2, 0])})


def test_base_iterations_are_whole_numbers():
    for axes in l2l.plot_losses({"a": np.ones([3, 3])}).axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_pyplot_keeps_no_figure(tmp_path):
    figures = [l2l.plot_losses({"a": np.ones([1, 4])}, draws=1), l2l.plot_convergence({"a": np.ones(4)})]
    assert plt.get_fignums() == []
    for figure in figures:
        figure.savefig(str(tmp_path / "figure.png"))
        assert (tmp_path / "figure.png").stat().st_size > 1000


@pytest.mark.rehearsal
def test_a_notebook_shows_each_figure_once():
    cells = [
        "import numpy as np, l2l\nfrom IPython.display import display",
        "l2l.plot_losses({'a': np.ones([3, 4])})",
        "l2l.plot_convergence({'a': np.ones(4)})",
        "figure = l2l.plot_losses({'a': np.ones([3, 4])})\ndisplay(figure)\nprint('after')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(ROOT)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the notebook client are not ours
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    shown = [["image/png" in output.get("data", {}) for output in cell.outputs] for cell in notebook.cells]
    assert shown == [[], [True], [True], [True, False]]


def test_a_list_of_one_run_is_that_run_and_a_list_of_numbers_is_a_run():
    history = l2l.History()
    history.append(np.full([30, 4], 0.5))
    for run in [[history], history, [history.last_loss], [0.5] * 30]:
        figure = l2l.plot_convergence({"it": run}, window=5)
        (axes,) = figure.axes
        raw, average = axes.lines
        assert len(raw.get_ydata()) == len(average.get_ydata()) == 30


def test_targets_are_told_apart_by_their_lines():
    figure = l2l.plot_convergence({"RNN": np.full(50, 0.1)}, targets={"a": -2, "b": -3, "c": -4}, window=5)
    styles = [line.get_linestyle() for line in figure.axes[0].get_lines()]
    assert len(set(styles[-3:])) == 3 and "-" not in styles[-3:]


@pytest.mark.parametrize("lines, columns", [(15, 1), (16, 2), (28, 2)])
def test_a_legend_takes_as_many_columns_as_it_needs(lines, columns):
    figure = l2l.plot_losses({"RNN %d" % i: np.full([1, 3], 0.1) for i in range(lines)}, draws=1)
    assert figure.axes[0].get_legend()._ncol == columns and len(legend(figure)) == lines


ONES = np.ones([4, 5])


@pytest.mark.parametrize(
    "figure, width, height",
    [
        (lambda number: l2l.plot_losses({"RNN": ONES}, draws=number), 3.2, 2.8),
        (lambda number: l2l.plot_curves({"panel %d" % i: {"RNN": ONES} for i in range(number)}), 4.7, 3.3),
        (lambda number: l2l.plot_convergence({"run %d" % i: ONES[0] for i in range(number)}), 6.7, 4.1),
    ],
    ids=["losses", "curves", "convergence"],
)
def test_panels_have_room_and_a_legend_at_their_upper_edge(figure, width, height):
    for one in map(figure, [1, 3]):
        names = legend(one)
        one.canvas.draw()
        extents = [panel.get_window_extent() for panel in one.axes]
        sizes = [(extent.width / one.dpi, extent.height / one.dpi) for extent in extents]
        assert np.allclose(sizes, (width, height), rtol=0.1), (names, sizes)
        box = one.axes[-1].get_legend().get_window_extent()
        assert 0 <= extents[-1].y1 - box.y1 < 5 and 0 < box.x0 - extents[-1].x1 < 0.03 * extents[-1].width


def test_a_run_of_negative_losses_does_not_end_in_nan():
    figure = l2l.plot_convergence({"below": np.linspace(1.0, -1.0, 20), "bad": np.full(20, np.nan)}, window=3)
    assert legend(figure) == ["below, with gaps for negative losses", "bad, ends in NaN"]


def test_a_line_has_no_kink_where_its_window_fills():
    """Of losses that fall exponentially a rolling window makes a bend: what falls less and less falls more again."""
    values = 10.0 ** (-6 * (1 - np.exp(-np.arange(2000) / 300)))
    (axes,) = l2l.plot_convergence({"it": values}, window=500).axes
    for line, bends in [(axes.get_lines()[1].get_ydata(), False), (l2l.rolling_log_average(values, 500), True)]:
        slopes = np.diff(np.log10(line)[::50])
        steeper = np.diff(slopes[3:]) < -0.01
        assert steeper.any() == bends
    np.testing.assert_allclose(line[-1], axes.get_lines()[1].get_ydata()[-1], rtol=0.05)  # the same at the end


def test_a_growing_window_holds_half_of_the_values_first_and_leaves_out_what_is_no_number():
    values = 10.0 ** np.random.RandomState(0).normal(size=4000)
    values[[7, 300]] = np.nan, np.inf
    smooth = growing_log_average(values, 100)
    logs = np.delete(np.log10(values), 7)
    np.testing.assert_allclose(np.log10(smooth[:5]), [logs[: i + 1].mean() for i in range(5)])
    for number, width in [(20, 10), (60, 26), (3999, 100)]:  # so many values: how many of them count
        np.testing.assert_allclose(np.log10(smooth[number]), logs[number - width : number].mean())
    assert np.isnan(smooth[7]) and np.isinf(smooth[300]) and np.isinf(smooth[360])
    assert np.isfinite(np.delete(smooth, [7, *range(300, 400)])).all()


def test_every_line_of_minibatches_is_smooth_before_its_pale_losses():
    losses = 10.0 ** np.random.RandomState(0).normal(size=[2, 50])
    axes = l2l.plot_losses({"it": losses}, draws=2, window=5).axes[1]
    raw, line = axes.get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), losses[1])
    assert raw.get_alpha() < 0.5 and axes.figure.axes[0].get_ylabel() == "loss, mean of 5 neighbours"
    np.testing.assert_allclose(line.get_ydata(), np.convolve(losses[1], np.full(5, 0.2), "valid"))
    np.testing.assert_allclose(line.get_xdata(), np.arange(2, 48))
    with pytest.raises(ValueError, match="window must be a positive integer, got 0"):
        l2l.plot_losses({"it": losses}, draws=2, window=0)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("losses", (1, 3)),
        ("curves", (1, 3)),
        ("convergence", (1, 1)),
        ("updates", (2, 2)),
        ("learning_rates", (2, 3)),
        ("states", (1, 2)),
        ("trajectories", (1, 1)),
    ],
)
def test_every_figure_can_be_drawn_into_axes_that_are_there(name, shape):
    figure, axes = plt.subplots(*shape)
    assert drawn.FIGURES[name](ax=axes) is figure
    assert all(one.has_data() and one.get_figure() is figure for one in np.ravel(axes))
    assert plt.get_fignums() == [figure.number], "it is the user's to close"
    number = np.ravel(axes).size
    words = "%d axes" % number if shape[0] == 1 else "%d x %d axes" % shape
    with pytest.raises(ValueError, match="^ax must be %s for this figure, got %d$" % (words, number + 1)):
        drawn.FIGURES[name](ax=[*np.ravel(axes), np.ravel(axes)[0]])
    with pytest.raises(TypeError, match=r"^ax must be axes of matplotlib, or a list of them, got \[1"):
        drawn.FIGURES[name](ax=[1] * number)
    plt.close(figure)


@pytest.mark.parametrize(
    "values, most, expected",
    [
        ([], 10.0, (10**-1.2, 10**0.2)),
        ([1e-20, 1.0], np.inf, (1e-21, 10.0)),  # a twentieth of all decades on each side
        ([1e-3, 1e-3], np.inf, (10**-3.2, 10**-2.8)),  # a fifth of one at least
        ([1.0, 1e6], 1.5e6, (10**-0.3, 1.5e6)),  # nothing above
        ([1e-10, 1e299], np.inf, (10**-25.45, 1e300)),
        ([2.0, 8.0], np.inf, (2 / 10**0.2, 8 * 10**0.2)),  # 10 lies within
        ([0.77, 1.82], np.inf, (0.77 / 10**0.2, 1.82 * 10**0.2)),
        ([20.0, 30.0], np.inf, (10.0, 30 * 10**0.2)),  # the power of ten below is nearer
        ([40.0, 60.0], np.inf, (40 / 10**0.2, 100.0)),
        ([40.0, 60.0], 150.0, (40 / 10**0.2, 100.0)),
        ([40.0, 60.0], 100.0, (40 / 10**0.2, 100.0)),
        ([40.0, 60.0], 90.0, (10.0, 90.0)),  # that above is too far
    ],
)
def test_limits_have_space_and_a_power_of_ten(values, most, expected):
    np.testing.assert_allclose(limits_of([np.array(values)], most), expected, rtol=1e-12)


def test_what_a_logarithmic_axis_can_show():
    values = [np.array([[0.0, -1.0], [np.nan, np.inf]]), [0.5, 10.0, 11.0]]
    assert shown(values, 10.0).tolist() == [0.5, 10.0] and shown(values).tolist() == [0.5, 10.0, 11.0]


@pytest.mark.parametrize(
    "limits, decades, between",
    [
        ((0.9, 1100.0), [1, 10, 100, 1000], ""),
        ((0.9, 150.0), [1, 10, 100], ""),
        ((0.5, 20.0), [1, 10], "0.5 2 5 20"),
        ((1.0, 10.0), [1, 10], "2 3 4 5 6 8"),
        ((1.5, 12.0), [10], "2 3 4 5 6 8"),
        ((1.5, 16.0), [10], "2 5"),
        ((1e-9, 1e9), [10.0**i for i in range(-9, 10, 2)], ""),  # ten at most
        ((1e-10, 1e10), [10.0**i for i in range(-10, 10, 3)], ""),
    ],
)
def test_decades_are_labelled_and_what_lies_between_few_of_them(limits, decades, between):
    axes = Figure().add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(limits)
    label_decades(axes)
    low, high = np.array(limits) * [1 - 1e-9, 1 + 1e-9]
    ticks = [axes.yaxis.get_majorticklocs(), axes.yaxis.get_minorticklocs()]
    places, small = ([place for place in several if low <= place <= high] for several in ticks)
    np.testing.assert_allclose(places, decades, rtol=1e-9)
    assert " ".join(axes.yaxis.get_minor_formatter().format_ticks(small)).strip() == between
    sizes = [ticks(1)[0].label1.get_fontsize() for ticks in (axes.yaxis.get_major_ticks, axes.yaxis.get_minor_ticks)]
    assert (sizes[1] < sizes[0]) == bool(between)
    assert axes.xaxis.get_minor_ticks(1)[0].label1.get_fontsize() == sizes[0]


@pytest.mark.parametrize(
    "lines, all_drawn, words",
    [
        ([[1, 0.5, 10], [0, 4, 5]], None, ""),
        ([[1, 20, 1], [1, 1, 1]], None, ", leaves the figure in 1 of 2"),
        ([[1, 20, 1], [20, 1, 1]], None, ", leaves the figure"),
        ([[1, 1, 20], [1, 1, 1]], None, ", diverges in 1 of 2"),
        ([[1, np.nan, 1], [1, 1, 1]], None, ""),
        ([[1, 1, np.nan], [1, 1, 1]], None, ", ends in NaN in 1 of 2"),
        ([[1, 20, np.nan], [1, 1, 1]], None, ", diverges in 1 of 2"),
        ([[1, 1, np.nan]], [[1, 1, -1], [1, 1, 1]], ", with gaps for negative losses"),
        ([[1, 1, 1]], [[20, 1, 1], [1, 1, 1]], ", 1 of 3 above the figure"),
        ([[1, 1, 20]], [[20, 1, -1]], ", diverges, with gaps for negative losses"),
        (np.zeros([1, 0]), None, ""),
    ],
)
def test_the_legend_says_what_a_figure_cannot_show(lines, all_drawn, words):
    assert remark(lines, lines if all_drawn is None else all_drawn, (1e-3, 10.0)) == words


@pytest.mark.parametrize(
    "line, number, expected",
    [(0, 5, (0, 1)), (6, 23, (0, 1)), (6, 24, (1, 2)), (3, 143, (4, 11)), (10, 143, (4, 11)), (9, 1200, (28, 100))],
)
def test_a_line_has_a_dozen_markers_at_places_of_its_own(line, number, expected):
    assert some_markers(line, number) == expected


@pytest.mark.parametrize("window, values", [(100, 105), (105, 100)])
def test_the_figure_ends_at_a_thousand_times_the_usual_first_loss(window, values):
    """The median of a tenth of a window, the eleventh among them."""
    losses = np.geomspace(10.0, 1e12, values)
    top = l2l.plot_convergence({"it": losses}, window=window).axes[0].get_ylim()[1]
    np.testing.assert_allclose(top, 1e3 * losses[5], rtol=1e-9)
    top = l2l.plot_convergence({"it": losses / 1e3}, window=window).axes[0].get_ylim()[1]
    np.testing.assert_allclose(top, 1e3, rtol=1e-9)


@pytest.mark.parametrize("low, high", [(2.0, 8.0), (0.77, 1.82), (0.3, 0.9), (1e-38, 1e3), (1e-9, 5.0), (0.5, 0.5)])
def test_whatever_is_shown_has_labelled_decades(low, high):
    axes = Figure().add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(limits_of([np.linspace(low, high, 12)], np.inf))
    label_decades(axes)
    bottom, top = axes.get_ylim()
    kinds = [(axes.yaxis.get_majorticklocs(), axes.yaxis.get_major_formatter())]
    kinds.append((axes.yaxis.get_minorticklocs(), axes.yaxis.get_minor_formatter()))
    labels = [
        label
        for places, formatter in kinds
        for place, label in zip(places, formatter.format_ticks(places))
        if bottom <= place <= top and label
    ]
    assert any("10^" in label for label in labels) and len(labels) >= 3, labels
