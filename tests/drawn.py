"""What each public plot draws of small inputs, as text: `make refresh-figures` writes drawn.txt.

A line for each panel, axis, line, band, legend; whatever a reader of the figure could see is in it. Inputs are made up
and computed by NumPy alone, so that another machine draws the same to four digits.
"""

from pathlib import Path
from unittest import mock

import numpy as np
from matplotlib import collections
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import l2l
from l2l.evaluation.evaluation import Evaluation
from l2l.figures import pictures

PATH = Path(__file__).resolve().parent / "drawn.txt"


def falling(steps, rate, draws):
    """Losses `[draws, steps]` that fall by so many decades a step, from 1, 2, ..."""
    return np.arange(1.0, draws + 1)[:, np.newaxis] * 10.0 ** (-rate * np.arange(steps))


def losses(ax=None):
    wild = 10.0 ** np.array([[0, 3.3, 4, 6, 8]] * 3)
    return l2l.plot_losses({"SGD": falling(26, 0.1, 4), "RNN": falling(5, 1.0, 3), 3: wild}, draws=3, ax=ax)


def losses_of_an_evaluation():
    """At every second base iteration, as means of two."""
    evaluation = Evaluation({"it": falling(6, 0.5, 2)}, {}, np.arange(0, 12, 2), l2l.Quadratic(2), [])
    return l2l.plot_losses(evaluation, draws=2, window=2)


def losses_that_begin_below_zero():
    return l2l.plot_losses({"it": np.array([[-1.0, 1e9, 0.0]])}, draws=1)


def curves(ax=None):
    """The legend has the longest remark of all panels, and speaks of medians alone."""
    ones = np.ones([3, 3])
    upper, median, lower, below = ones.copy(), ones.copy(), ones.copy(), ones.copy()
    upper[2, 1:], median[1:, 2], lower[0, 1], below[:, 1] = 1e9, 1e9, -1.0, -1.0
    seeds = [falling(4, 0.5, 3), falling(5, 0.25, 5), falling(4, 1.0, 1)]
    one = {"seeds": seeds, "draws": falling(26, 0.1, 11), "upper": upper, "median": median, "lower": lower}
    one.update(below=below, both=np.array([[1.0, -1.0, 1e9]]), infinite=np.array([[1.0, 1.0], [1.0, np.inf]] * 2))
    two = {"both": np.array([[1.0, 1e9, 5e3]])}
    return l2l.plot_curves({"one": one, "two": two, 3: {"seeds": seeds[:2]}}, ax=ax)


def curves_into_given_axes():
    evaluation = Evaluation({"it": falling(6, 0.5, 2)}, {}, np.arange(0, 12, 2), l2l.Quadratic(2), [])
    return l2l.plot_curves(evaluation, window=4, ax=Figure().add_subplot())


def convergence(ax=None):
    alone = falling(40, 0.25, 1)[0]
    alone[[3, 7]] = np.nan, 0.0
    pair = falling(4, 0.5, 2)
    pair[:, 2] = np.nan
    runs = {"alone": alone, "pair": [*pair], "three": [*falling(5, 1.0, 3)], 4: np.array([0.5, 1e9, 0.5, 0.5])}
    targets = {"high": 5.0, "a": -2, "b": -3.5, "c": -4, "d": -5}
    return l2l.plot_convergence(runs, targets=targets, window=20, ax=ax)


def convergence_into_given_axes():
    return l2l.plot_convergence({"it": [0.5, 0.25]}, window=1, ax=Figure().add_subplot())


def problems():
    estimator = l2l.EvolutionStrategies(2).description()
    names = {"problem %d" % i: "Q" for i in range(6)}
    history = l2l.History({"name": "made up", "problem": names, "estimator": estimator})
    rows = [[(i + 1.0) ** 2, 1.0, 1.0, 0.1, i % 5, 10, 600 * (i % 5 == 1)] for i in range(11)]
    rows[6][0] = np.nan
    history.append(rows)
    return l2l.plot_problems(history, window=2)


def with_traces(plot, arrays, **settings):
    """What a function of a problem and optimizers draws where their traces are these; the loss is `|x|^2 - 0.5`."""
    empty = dict.fromkeys(l2l.Trace._fields)
    traces = {name: l2l.Trace(**{**empty, **some}) for name, some in arrays.items()}
    with mock.patch.multiple(
        pictures,
        trace=lambda *_, **__: traces,
        losses_at=lambda problem, positions, seed: (positions**2).sum(axis=1) - 0.5,
        CONTOURS=5,
    ):
        return plot(None, traces, **settings)


def updates(ax=None):
    """What two rules with momentum answer, one with a smaller rate."""

    def responses(optimizers, gradients):
        velocity = [gradients[0]]
        for gradient in gradients[1:]:
            velocity.append(0.5 * velocity[-1] + gradient)
        return {name: -rate * np.array(velocity) for name, rate in optimizers.items()}

    with mock.patch.multiple(pictures, responses=responses, GRID=2):
        return l2l.plot_updates({"fast": 0.3, "slow": 1e-3}, smallest=1e-3, largest=10.0, repeats=2, ax=ax)


def learning_rates(ax=None):
    random = np.random.RandomState(0)
    gradients = random.normal(size=[3, 26, 4])
    gradients[1:, 5] = 0.0  # so that it is left out
    up = {"gradients": gradients, "updates": 0.1 * gradients * random.choice([-1, 1], size=gradients.shape)}
    down = {"gradients": gradients, "updates": -(10.0 ** random.normal(size=gradients.shape)) * gradients}
    return with_traces(l2l.plot_learning_rates, {"up": up, "down": down}, draws=3, steps=26, ax=ax)


def states(ax=None):
    random = np.random.RandomState(0)
    whole, broken = random.normal(size=[3, 3, 3, 2]), random.normal(size=[3, 3, 2, 3])
    broken[1, 2, 0, 1] = np.nan
    arrays = {"whole": {"states": whole}, "broken": {"states": broken}}
    return with_traces(l2l.plot_states, arrays, draws=3, steps=3, ax=ax)


def trajectories(ax=None):
    paths = {"wild": [[1, 0.5], [3, -3], [0.5, 0], [0.3, 0]], "calm": [[1, 0.5], [0, 1], [-0.5, 0.5], [0, 0]]}
    arrays = {name: np.array([path], np.float64) for name, path in paths.items()}
    arrays = {name: {"positions": path, "losses": (path**2).sum(axis=2)} for name, path in arrays.items()}
    return with_traces(l2l.plot_trajectories, arrays, steps=3, ax=ax)


FIGURES = {
    function.__name__: function
    for function in [
        losses,
        losses_of_an_evaluation,
        losses_that_begin_below_zero,
        curves,
        curves_into_given_axes,
        convergence,
        convergence_into_given_axes,
        problems,
        updates,
        learning_rates,
        states,
        trajectories,
    ]
}


def text(value):
    """Numbers to five digits; arrays in a line."""
    if isinstance(value, (bool, np.bool_, str)) or value is None:
        return str(value)
    if np.ma.isMaskedArray(value):
        value = value.astype(np.float64).filled(np.nan)
    if np.ndim(value):
        return "[%s]" % " ".join(map(text, value))
    return "%.5g" % value


def words(kind, **facts):
    return "%s: %s" % (kind, ", ".join("%s %s" % (name.replace("_", " "), text(one)) for name, one in facts.items()))


def color(value):
    return to_hex(value, keep_alpha=True)


def looks(artist):
    """What all artists have."""
    return {"alpha": artist.get_alpha(), "layer": artist.get_zorder(), "raster": artist.get_rasterized()}


def lines_of_text(kind, artist):
    return [words(kind, says=artist.get_text(), size=artist.get_fontsize(), color=color(artist.get_color()))]


def lines_of_line(line):
    marker = {"marker": line.get_marker(), "of_size": line.get_markersize(), "every": line.get_markevery()}
    edge = {"edge": color(line.get_markeredgecolor()), "edge_width": line.get_markeredgewidth()}
    facts = {"color": color(line.get_color()), "style": line.get_linestyle(), "width": line.get_linewidth()}
    label = line.get_label().replace("\n", " / ")
    known = {"label": "" if label.startswith("_") else label, **facts, **marker, **edge, **looks(line)}
    return [words("line", **known, x=line.get_xdata(), y=line.get_ydata())]


def lines_of_collection(one):
    colors = {"face": list(map(color, one.get_facecolor())), "edge": list(map(color, one.get_edgecolor()))}
    facts = {**colors, "widths": one.get_linewidths(), "dashes": [str(dash) for _, dash in one.get_linestyles()]}
    if one.get_array() is not None:
        shades = one.get_cmap()
        facts.update(values=np.ma.masked_invalid(one.get_array()), colors=shades.name, unknown=color(shades(np.nan)))
        facts.update(range=one.get_clim(), bar=one.colorbar and one.colorbar.extend)
    if isinstance(one, collections.PathCollection):
        facts.update(sizes=one.get_sizes(), at=one.get_offsets())
    elif isinstance(one, collections.QuadMesh):
        facts.update(corners=one._coordinates)
    elif isinstance(one, collections.PolyCollection):
        facts.update(paths=[path.vertices for path in one.get_paths()])
    return [words(type(one).__name__, **facts, **looks(one))]


def lines_of_axis(kind, axis):
    low, high = sorted(axis.get_view_interval())
    with np.errstate(all="ignore"):
        gaps = not np.isfinite(axis.get_transform().transform(np.array([0.0, -1.0]))).any()
    label = axis.get_label()
    facts = {"says": label.get_text(), "of_size": label.get_fontsize(), "scale": axis.get_scale(), "gaps": gaps}
    yield words(kind, **facts, limits=axis.get_view_interval())
    for which, locate, formatter, ticks in [
        ("  ticks", axis.get_majorticklocs, axis.get_major_formatter(), axis.get_major_ticks),
        ("  small ticks", axis.get_minorticklocs, axis.get_minor_formatter(), axis.get_minor_ticks),
    ]:
        places = locate()
        labels = [label.replace("\\mathdefault", "") for label in formatter.format_ticks(places)]
        labels = ["%.5g %s" % (place, label) for place, label in zip(places, labels) if low <= place <= high and label]
        if labels:
            (tick,) = ticks(1)
            facts = {"of_size": tick.label1.get_fontsize(), "shown": tick.label1.get_visible()}
            yield words(which, **facts, grid=tick.gridline.get_visible(), labels="; ".join(labels))


def lines_of_legend(legend):
    anchor = legend.axes.transAxes.inverted().transform(legend.get_bbox_to_anchor().p0)
    facts = {"place": legend._loc, "anchor": anchor, "from_axes": legend.borderaxespad, "columns": legend._ncol}
    facts.update(size=legend._fontsize, handles=legend.handlelength)
    return [words("legend", says=[each.get_text() for each in legend.get_texts()], **facts)]


def lines_of_panel(panel):
    everyone = panel.figure.axes
    shared = [
        [i for i, other in enumerate(everyone) if other is not panel and group.joined(panel, other)]
        for group in [panel.get_shared_x_axes(), panel.get_shared_y_axes()]
    ]
    title = {"title": panel.get_title().replace("\n", " / "), "of_size": panel.title.get_fontsize()}
    facts = {**title, "aspect": panel.get_aspect(), "shares_x": shared[0], "shares_y": shared[1]}
    if hasattr(panel, "_colorbar_info"):
        facts.update(panels=len(panel._colorbar_info["parents"]), shrink=panel._colorbar_info["shrink"])
    else:
        grid = panel.get_gridspec()
        facts.update(place=panel.get_subplotspec().get_geometry(), heights=grid.get_height_ratios())
    yield words("panel", **facts)
    yield from lines_of_axis("x", panel.xaxis)
    yield from lines_of_axis("y", panel.yaxis)
    if not hasattr(panel, "_colorbar_info"):
        for one in panel.lines:
            yield from lines_of_line(one)
        for one in panel.collections:
            yield from lines_of_collection(one)
        for one in [*panel.texts, *panel.artists]:  # those of contours are in the second
            yield from lines_of_text("text", one)
    if panel.get_legend():
        yield from lines_of_legend(panel.get_legend())


def lines_of(figure):
    yield words("figure", inches=figure.get_size_inches(), constrained=figure.get_constrained_layout())
    for one in figure.texts:
        yield from lines_of_text("text", one)
    for panel in figure.axes:
        yield from lines_of_panel(panel)


if __name__ == "__main__":
    texts = ["== %s\n%s" % (name, "\n".join(lines_of(figure()))) for name, figure in FIGURES.items()]
    PATH.write_text("\n".join(texts) + "\n")
