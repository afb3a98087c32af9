import ast
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from trainers import Listed, one_rate

import l2l
from l2l.figures import pictures


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "sample of Listed does not use its seed")
        yield


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    monkeypatch.setattr(pictures, "GRID", 3)
    monkeypatch.setattr(pictures, "CONTOURS", 9)


def panels_of(figure):
    """The figure's panels; pyplot has no part of it."""
    assert plt.get_fignums() == []
    return figure.axes


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


PICTURES = {
    "updates": lambda _, names, number: l2l.plot_updates(dict.fromkeys(names)),
    "learning_rates": lambda *arrays: l2l.plot_learning_rates(*arrays[:2], steps=3, coordinates=range(arrays[2])),
    "states": lambda *arrays: l2l.plot_states(*arrays[:2], draws=2, steps=3),
    "trajectories": lambda *arrays: l2l.plot_trajectories(*arrays[:2], steps=2),
}
# Width and height of the first panel, in inches.
ROOM = {"updates": (2.0, 2.0), "learning_rates": (3.3, 2.7), "states": (3.0, 3.1), "trajectories": (4.9, 4.1)}


def names_of_ticks(bar):
    return bar.yaxis.get_major_formatter().format_ticks(bar.get_yticks())


def colors_of(panel):
    """What a panel of `plot_updates` shows, `[before, current]`."""
    (mesh,) = panel.collections
    return mesh.get_array().reshape(6, 6)


def test_plot_updates_shows_rates_over_both_gradients():
    figure = l2l.plot_updates(
        {"momentum": l2l.momentum(0.1, momentum=0.9), "SGD": l2l.sgd(0.01)}, smallest=1e-2, largest=1
    )
    momentum, sgd, below, below_sgd, bar = panels_of(figure)
    axis = np.array([-1, -0.1, -0.01, 0.01, 0.1, 1])
    before, current = axis[:, np.newaxis], axis[np.newaxis]
    rates = 0.1 * (0.9 * before + current) / current
    with np.errstate(divide="ignore"):
        secant = -0.1 * before / (current - before)
    # The rates of both go from 0.01 to 9.1, and to -8.9: three decades of color.
    for panel, expected in [(momentum, rates), (sgd, np.full([6, 6], 0.01)), (below, secant), (below_sgd, secant / 10)]:
        known = np.isfinite(expected)
        logs = np.sign(expected) * np.clip(np.log10(np.abs(expected)) + 2, 0, 3)
        np.testing.assert_allclose(colors_of(panel)[known], logs[known], atol=1e-5)
        np.testing.assert_array_equal(np.ma.getmaskarray(colors_of(panel)), ~known)
    assert [panel.get_title() for panel in [momentum, sgd, below]] == ["momentum", "SGD", "secant, after its step"]
    assert below.get_xlabel() == "gradient" and momentum.get_ylabel() == below.get_ylabel() == "gradient before"
    assert bar.get_ylabel() == "effective learning rate, -update / gradient"
    assert list(below.get_xticks()) == list(momentum.get_yticks()) == [-3, -1.5, 0, 1.5, 3]
    ticks = [text.get_text() for text in below.get_xticklabels()]
    assert ticks == ["$-10^{0}$", "$-10^{-1}$", r"$\pm 10^{-2}$", "$10^{-1}$", "$10^{0}$"]
    ticks = names_of_ticks(bar)
    assert ticks[0] == "$-10^{1}$" and ticks[3] == r"$\pm 10^{-2}$" and ticks[-1] == "$10^{1}$"
    assert list(bar.get_yticks()) == [-3, -2, -1, 0, 1, 2, 3]


@pytest.fixture
def known_answers(monkeypatch):
    """Lets `plot_updates` show what gradient descent answers, without a graph."""
    monkeypatch.setattr(pictures, "responses", lambda rules, gradients: dict.fromkeys(rules, -0.1 * gradients))


@pytest.mark.parametrize("low, ticks", [(-4, [-4, -3, -2, -1, 0, 1, 2, 3, 4]), (-5, [-5, -3, -1, 0, 1, 3, 5])])
def test_the_color_bar_has_a_tick_for_each_decade_or_for_every_other(monkeypatch, known_answers, low, ticks):
    monkeypatch.setattr(pictures, "decades", lambda rates: (low, 0))
    _, lower, bar = panels_of(l2l.plot_updates({"SGD": None}, smallest=0.1, largest=1))
    assert list(bar.get_yticks()) == ticks and lower.collections[0].colorbar.extend == "both"
    names = names_of_ticks(bar)
    assert names[0] == "$-10^{0}$" and names[-1] == "$10^{0}$"


def test_plot_updates_repeats_the_gradient_before():
    figure = l2l.plot_updates({"it": l2l.momentum(0.1, momentum=0.5)}, smallest=0.1, largest=1, repeats=3)
    upper, lower, bar = panels_of(figure)
    (low,) = [int(re.findall(r"{(.*)}", name)[0]) for name in names_of_ticks(bar) if "pm" in name]
    # A gradient of 1 after three of 0.1, so `v = 1 + (0.5 + 0.25 + 0.125) 0.1`, and before it `1.75 * 0.1`.
    np.testing.assert_allclose(colors_of(upper)[3, 5], np.log10(0.10875) - low, atol=1e-5)
    np.testing.assert_allclose(colors_of(lower)[3, 5], -max(np.log10(0.0175 / 0.9) - low, 0), atol=1e-5)


def test_a_secant_is_its_own_reference():
    upper, lower, _ = panels_of(l2l.plot_updates({"secant": l2l.secant()}))
    ticks = [text.get_text() for text in lower.get_xticklabels()]  # of the range that it has by itself
    assert ticks == ["$-10^{2}$", "$-10^{-3}$", r"$\pm 10^{-8}$", "$10^{-3}$", "$10^{2}$"]
    apart = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(colors_of(upper)[apart], colors_of(lower)[apart], atol=1e-4)
    # Where both are alike the first step's 0.1 remains, seven decades below the largest color.
    np.testing.assert_allclose(colors_of(upper)[~apart], upper.collections[0].norm.vmax - 1, atol=1e-5)


def test_plot_learning_rates_shows_the_rate_of_sgd():
    figure = l2l.plot_learning_rates(
        l2l.Quadratic(4), {"SGD": l2l.sgd(0.25), "up": l2l.Trained(one_rate, [np.float32(-2)])}, draws=5, steps=4
    )
    first, second, third, strip, *_ = axes = panels_of(figure)
    assert len(axes) == 6  # the first three coordinates, unless some are named
    for panel in [first, second, third]:
        sgd, up = panel.get_lines()
        np.testing.assert_allclose(sgd.get_ydata(), 0.25, rtol=1e-5)
        np.testing.assert_allclose(up.get_ydata(), 2, rtol=1e-5)
        assert panel.get_yscale() == "log" and len(panel.collections) == 2
    assert [list(line.get_ydata()) for line in strip.get_lines()] == [[0] * 4, [1] * 4]
    assert first.get_title() == "coordinate 1" and legend(third) == ["SGD", "up"]


@pytest.fixture
def with_traces(monkeypatch):
    """Lets the pictures show these arrays: `with_traces(name=Trace's arguments, ...)`; the loss is `|x|^2`."""

    def with_traces(**arrays):
        empty = dict.fromkeys(l2l.Trace._fields)
        traces = {name: l2l.Trace(**{**empty, **some}) for name, some in arrays.items()}
        monkeypatch.setattr(pictures, "trace", lambda *_, **asked: with_traces.asked.append(asked) or traces)
        monkeypatch.setattr(pictures, "losses_at", lambda problem, positions, seed: (positions**2).sum(axis=1))
        return None, traces  # as if it were a problem, and optimizers

    with_traces.asked = []  # the keyword arguments of each call of `trace`
    return with_traces


def test_the_pictures_ask_for_what_they_show(with_traces):
    ones = np.ones([4, 30, 2, 2])
    one = {"gradients": ones[..., 0], "updates": ones[..., 0], "states": ones}
    arrays = with_traces(it={**one, "positions": ones[..., 0], "losses": ones[..., 0, 0]})
    settings = {"draws": 4, "steps": 30, "seed": 7}
    figure = l2l.plot_learning_rates(*arrays, **settings)
    l2l.plot_states(*arrays, **settings)
    l2l.plot_trajectories(*arrays, steps=29, seed=7)
    assert with_traces.asked == [settings, {**settings, "states": True}, {**settings, "draws": 1}]
    assert figure.axes[0].get_lines()[0].get_markevery() == (0, 2)


@pytest.mark.parametrize("picture", ["updates", "learning_rates", "states", "trajectories"])
def test_panels_and_what_is_beside_them_have_room(with_traces, known_answers, picture):
    """A panel is about as large alone as beside others."""
    ones = np.random.RandomState(0).normal(size=[2, 3, 3, 2])
    one = {"gradients": ones[..., 0], "updates": ones[..., 0], "states": ones}
    one.update(positions=ones[..., 0, :], losses=np.ones([2, 3]))
    sizes = []
    for number in [1, 2]:
        arrays = with_traces(**{"optimizer %d" % i: one for i in range(number)})
        figure = PICTURES[picture](*arrays, number)
        figure.canvas.draw()
        panels = [panel for panel in panels_of(figure) if panel.get_label() != "<colorbar>"]
        extents = [panel.get_window_extent() for panel in panels]
        assert np.ptp([extent.width for extent in extents]) < 0.1 * extents[0].width
        sizes.append((extents[0].width / figure.dpi, extents[0].height / figure.dpi))
    assert np.allclose(*sizes, rtol=0.1) and np.allclose(sizes, ROOM[picture], rtol=0.1)


def test_plot_learning_rates_of_some_coordinates_and_of_one_that_has_arrived(with_traces):
    gradients = np.float32([[1, 2, 0], [0, 0, 3], [2, 4, 0]])[:, :, np.newaxis] * [1, 2]  # [3, 3, 2]
    arrays = with_traces(it={"gradients": gradients, "updates": -0.5 * gradients})
    panel, strip = panels_of(l2l.plot_learning_rates(*arrays, steps=3, coordinates=[1]))
    assert panel.get_title() == "coordinate 2"
    for line, value in [(panel.get_lines()[0], 0.5), (strip.get_lines()[0], 0)]:
        np.testing.assert_allclose(line.get_ydata(), [value, value, np.nan])
    assert strip.get_ylim() == (-0.05, 1.05)  # of shares, whatever they are
    with pytest.raises(ValueError, match=r"^coordinates must hold integers from 0 to 1, got 2"):
        l2l.plot_learning_rates(*arrays, steps=3, coordinates=[0, 2])


def test_plot_states_shows_components_along_the_run(with_traces):
    """Four draws of three coordinates, five steps; the first optimizer's state goes along (1, 2, 0)."""
    along = np.arange(5.0)[:, np.newaxis, np.newaxis] * [1, 2, 0] + np.zeros([4, 5, 3, 3])
    other = np.random.RandomState(0).normal(size=[4, 5, 3, 2])
    other[2, 3, 1] = np.nan
    with plt.rc_context({"image.cmap": "gray"}):
        figure = l2l.plot_states(*with_traces(a={"states": along}, b={"states": other}), draws=4, steps=5)
    a, b, bar = panels_of(figure)
    assert a.get_xlabel() == "component 1, 100% of variance" and a.get_ylabel() == "component 2, 0% of variance"
    assert bar.get_ylabel() == "base iteration" and all(tick == round(tick) for tick in bar.get_yticks())
    assert (a.get_title(), b.get_title()) == ("a", "b, without 1 of 4 draws")
    paths = [line.get_xydata() for line in a.get_lines()]
    assert len(paths) == len(b.get_lines()) == 6
    for path in paths:
        np.testing.assert_allclose(path[:, 0], np.sqrt(5) * np.arange(-2, 3), atol=1e-12)
    points, shares = l2l.figures.summaries.principal_components(np.moveaxis(other[[0, 1, 3]], 2, 1).reshape(-1, 2))
    cloud, *dots = b.collections
    np.testing.assert_allclose(cloud.get_offsets(), points)
    assert len(dots) == 6 and dots[0].get_array().tolist() == [0, 1, 2, 3, 4]
    assert dots[0].get_cmap().name == "viridis", "whatever the user has set"
    np.testing.assert_allclose(b.get_lines()[1].get_xydata(), points[5:10])
    assert b.get_xlabel() == "component 1, %.0f%% of variance" % (100 * shares[0])


@pytest.mark.parametrize(
    "states, message",
    [
        (np.zeros([2, 3, 2, 1]), "must remember at least 2 numbers of each coordinate, it has 1"),
        (np.zeros([2, 3, 2, 0]), "must remember at least 2 numbers of each coordinate, it has 0"),
        (np.full([2, 3, 2, 2], np.inf), "must have a finite state in one draw at least, of 2"),
    ],
)
def test_states_without_two_components_are_refused(with_traces, states, message):
    with pytest.raises(ValueError, match=r"^optimizers\['it'\] " + message):
        l2l.plot_states(*with_traces(it={"states": states}), draws=2, steps=3)


def test_plot_trajectories_shows_positions_over_the_losses():
    problem = Listed([[1.0, -0.5]])
    optimizers = {"SGD": l2l.sgd(0.25), "wild": l2l.sgd(50.0), "secant": l2l.secant()}
    (axes,) = panels_of(l2l.plot_trajectories(problem, optimizers, steps=3))
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    expected = np.array([1.0, -0.5]) * 0.5 ** np.arange(4)[:, np.newaxis]
    np.testing.assert_allclose(lines["SGD"], expected, rtol=1e-5)
    np.testing.assert_allclose(lines["secant"], np.array([[1, -0.5], [0.8, -0.4], [0, 0], [0, 0]]), atol=1e-6)
    np.testing.assert_allclose(lines["start"], [[1.0, -0.5]])
    assert legend(axes) == ["SGD", "wild, leaves the figure", "secant", "start", "end"]
    # What is near: from (0, -0.5) to (1, 0), and a margin of 0.15 of it.
    np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [-0.15, 1.15, -0.575, 0.075], atol=1e-6)
    stars = [line for line in axes.get_lines() if line.get_marker() == "*" and len(line.get_xydata())]
    np.testing.assert_allclose(stars[0].get_xydata()[0], expected[-1], rtol=1e-5)
    assert axes.get_xlabel() == "x, coordinate 1" and axes.get_ylabel() == "y, coordinate 2"


def test_contours_lie_where_the_loss_has_their_value(with_traces, monkeypatch):
    monkeypatch.setattr(pictures, "CONTOURS", 41)
    positions = np.float32([[[1, -0.5], [0, 0]]])
    arrays = with_traces(it={"positions": positions, "losses": (positions**2).sum(axis=2)})
    (axes,) = panels_of(l2l.plot_trajectories(*arrays, steps=1))
    levels = set()
    for path in [path for collection in axes.collections for path in collection.get_paths()]:
        losses = (path.vertices**2).sum(axis=1)
        np.testing.assert_allclose(losses, np.median(losses), atol=2e-3)
        levels.add(round(np.log10(np.median(losses)), 1))
    assert {-1.5, -1, -0.5, 0} <= levels and max(levels) == 0


def test_trajectories_of_what_does_not_move_and_of_a_start_that_is_no_number(with_traces):
    still = np.float32([[[1, -0.5], [1, -0.5]]])
    for loss in [1.25, np.nan]:
        (axes,) = panels_of(
            l2l.plot_trajectories(*with_traces(it={"positions": still, "losses": np.full([1, 2], loss)}))
        )
        assert legend(axes) == ["it", "start", "end"]


@pytest.mark.parametrize("loss", [1.25, -1.25])
def test_a_step_to_the_edge_does_not_leave_the_trajectories(with_traces, loss):
    """Beside what does not move there is a margin of a ten millionth, so that the axes have a length."""
    edge = 0.15 * 1e-6
    wild = {"positions": np.array([[[0, 0], [edge, -edge]]]), "losses": np.array([[loss, 2e6]])}
    (axes,) = panels_of(l2l.plot_trajectories(*with_traces(wild=wild)))
    assert [*axes.get_xlim(), *axes.get_ylim()] == [-edge, edge, -edge, edge]
    assert legend(axes) == ["wild", "start", "end"]


@pytest.mark.parametrize("first, far", [(1.25, [1e3, 1e3]), (1.25, [-1e3, -0.5]), (np.nan, [1, 1e3])])
def test_a_step_far_away_does_not_stretch_the_trajectories(with_traces, first, far):
    wild = {"positions": np.float32([[[1, -0.5], far]]), "losses": np.array([[first, 2e6]])}
    (axes,) = panels_of(l2l.plot_trajectories(*with_traces(wild=wild)))
    assert legend(axes) == ["wild, leaves the figure", "start", "end"]
    np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [1, 1, -0.5, -0.5], atol=1e-6)


def test_ten_times_the_first_loss_is_still_near(with_traces):
    """And the shorter side of the figure is a fifth of the longer one at least, before the margin."""
    arrays = {"positions": np.array([[[1, -0.5], [5, -0.5]]]), "losses": np.array([[1.0, 10.0]])}
    (axes,) = panels_of(l2l.plot_trajectories(*with_traces(it=arrays)))
    assert legend(axes) == ["it", "start", "end"]
    space = 0.15 * (0.2 * 4 + 1e-6)
    np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [0.4, 5.6, -0.5 - space, -0.5 + space], rtol=1e-12)


def test_other_problems_than_two_dimensional_ones_have_no_contours(with_traces):
    arrays = with_traces(it={"positions": np.zeros([1, 2, 3]), "losses": np.ones([1, 2])})
    with pytest.raises(ValueError, match=r"^problem must have two coordinates, NoneType has 3$"):
        l2l.plot_trajectories(*arrays)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: l2l.plot_updates({}), ValueError, "optimizers must be a non-empty dict"),
        (lambda: l2l.plot_updates({"a": l2l.sgd()}, smallest=0), ValueError, "smallest must be a positive number"),
        (lambda: l2l.plot_updates({"a": l2l.sgd()}, largest=1e39), ValueError, "largest must be a positive number"),
        (
            lambda: l2l.plot_updates({"a": l2l.sgd()}, smallest=1.0, largest=1.0),
            ValueError,
            "largest must be more than smallest, 1.0, got",
        ),
        (
            lambda: l2l.plot_updates({"a": l2l.sgd()}, repeats=0),
            ValueError,
            "repeats must be a positive integer, got 0",
        ),
        (lambda: l2l.plot_learning_rates(3, {"a": l2l.sgd()}), TypeError, "problem must be a Problem"),
        (lambda: l2l.plot_states(l2l.Quadratic(2), []), ValueError, "optimizers must be a non-empty dict"),
        (
            lambda: l2l.plot_trajectories(l2l.Quadratic(2), {"a": 1}),
            TypeError,
            r"optimizers\['a'\] must be an optimizer",
        ),
    ],
)
def test_arguments_are_checked(call, error, message):
    with pytest.raises(error, match="^" + message):
        call()


@pytest.mark.parametrize(
    "coordinates, error, message",
    [
        ([2], ValueError, "coordinates must hold integers from 0 to 1, got 2"),
        (3, TypeError, "coordinates must be a sequence of integers from 0 to 1, got 3"),
        ([], ValueError, r"coordinates must name at least one, got \[\]"),
    ],
)
def test_coordinates_are_checked(coordinates, error, message):
    with pytest.raises(error, match="^" + message):
        pictures._checked_coordinates(coordinates, 2)


def test_what_draws_knows_nothing_of_tensorflow():
    paths = list((Path(l2l.__file__).parent / "figures").glob("*.py"))
    for path in paths:
        tree = ast.parse(path.read_text())
        modules = [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)]
        assert len(paths) > 4 and not [module for module in modules if module.startswith("tensorflow")], path
