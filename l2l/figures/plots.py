"""Figures, from arrays and histories alone."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, Dict, Mapping, Optional

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from l2l import checks
from l2l.averages import LOG_FLOOR, rolling_log_average
from l2l.runs.history import History

# Okabe and Ito's palette, made to be told apart by colour-blind readers; yellow, too pale
# for a line on white, is left out.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LINE_STYLES = ["-", "--", "-.", ":"]  # the next one after each seven colors
MOST_LINES = len(COLORS) * len(LINE_STYLES)

FAR_ABOVE = 1e3  # times what is usual: what rises higher must not flatten the rest


def plot_losses(losses: Mapping[str, np.ndarray], *, draws: int = 3) -> Figure:
    """Loss against base iteration, one panel for each of the first draws, one line for each optimizer.

    The axis ends at 1,000 times the largest first loss: an optimizer that diverges must not
    flatten the others. The legend says of a line that it diverges, ends in NaN, leaves the figure
    for a while, or has gaps for negative losses. An exact zero is drawn at 1e-38.

    Args:
      losses: an `Evaluation`, or a dict from name to an array `[draws, T]`; at most 28.
      draws: how many panels, a positive integer, at most as many as the arrays have draws.

    Returns:
      The figure. As the last line of a notebook's cell it is shown, elsewhere in a cell by
      `IPython.display.display(figure)`; `figure.savefig("losses.png")` saves it. pyplot does not
      keep it: there is nothing to close, and `plt.show()` does not know of it.

    Raises:
      TypeError, ValueError: `draws` is out of range, or `losses` is no such dict.
    """
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError("losses must be a non-empty dict from name to array [draws, T], got %.200r" % (losses,))
    arrays = {name: np.asarray(values, np.float64) for name, values in losses.items()}
    for name, values in arrays.items():
        if values.ndim != 2 or not values.shape[1]:
            raise ValueError("losses[%r] must have shape [draws, T], got %s" % (name, values.shape))
    fewest = min(len(values) for values in arrays.values())
    if checks.positive_integer("draws", draws) > fewest:
        raise ValueError("draws must be at most the %d draws of losses, got %r" % (fewest, draws))
    styles = line_styles("losses", arrays)
    drawn = {name: values[:draws] + LOG_FLOOR for name, values in arrays.items()}
    first = _shown([values[:, 0] for values in drawn.values()])
    limits = _limits(drawn.values(), FAR_ABOVE * float(first.max()) if first.size else np.inf)
    labels = [str(name) + _remark(values, values, limits) for name, values in drawn.items()]
    figure, panels = _closed_figure(draws, 3.3 * draws + 0.6, 3.6, labels)
    for draw, axes in enumerate(panels):
        for i, values in enumerate(drawn.values()):
            axes.semilogy(
                values[draw],
                **styles[i],
                marker=MARKERS[(i + i // len(COLORS)) % len(MARKERS)],
                markersize=3,
                markevery=1 + values.shape[1] // 40,  # of thousands they would hide the line
                label=labels[i],
                nonpositive="mask",
            )
        axes.set_title("draw %d" % (draw + 1))
        axes.set_xlabel("base iteration")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0].set_ylim(limits)
    panels[0].set_ylabel("loss")
    add_legend(panels[-1])
    return figure


def plot_convergence(
    runs: Mapping[str, Any], *, targets: Optional[Dict[str, float]] = None, window: int = 500
) -> Figure:
    """The last loss of each meta-iteration, smoothed by the rolling log average.

    One run shows its raw values, transparent, behind its average. Several runs under one name,
    from several seeds, show the median of their averages and a band from the lowest to the
    highest. NaN is left out of the average and shows as a gap; an exact zero is drawn at 1e-38.

    The axis ends at 1,000 times the median of a run's first losses, a tenth of a window, or 1 if
    that is more; the run where they are largest counts. One huge loss, or a run that diverges, must not
    flatten the others. The legend says of a line that it diverges, ends in NaN, leaves the figure for
    a while, or has gaps for negative losses, and how many of the raw values lie above the figure.

    Args:
      runs: dict from name to a `History` or an array `[n]`, or to a list of these; at most 28.
        Lengths may differ from name to name; within a list the shortest counts.
      targets: dict from name to a log average, such as -18.4, drawn as a horizontal line; or None.
      window: of the rolling log average, in meta-iterations; a positive integer.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: `window` is not a positive integer, or `runs` is no such dict.
    """
    if not isinstance(runs, Mapping) or not runs:
        raise ValueError("runs must be a non-empty dict from name to History or array [n], got %r" % (runs,))
    targets = {} if targets is None else targets
    if not isinstance(targets, Mapping):
        raise TypeError("targets must be a dict from name to log average, got %r" % (targets,))
    for name, value in targets.items():
        if not np.isscalar(value) or isinstance(value, str):
            raise TypeError("targets[%r] must be a number, the log average, got %r" % (name, value))
    arrays = {name: _last_losses(name, run) for name, run in runs.items()}
    averages = {name: [rolling_log_average(one, window) for one in many] for name, many in arrays.items()}
    styles = line_styles("runs", arrays)
    heights = [10.0**value for value in targets.values()]
    # Of one run its raw values are drawn too.
    drawn = {name: many if len(many) > 1 else [arrays[name][0] + LOG_FLOOR, *many] for name, many in averages.items()}
    starts = [_shown([one[: 1 + min(window, len(one)) // 10]]) for many in arrays.values() for one in many]
    usual = max([1.0, *(float(np.median(start)) for start in starts if start.size)])
    most = max([FAR_ABOVE * usual, *(2 * height for height in heights)])
    limits = _limits([heights, *itertools.chain(*drawn.values())], most)
    labels = []
    for name, several in averages.items():
        seeds = " (%d seeds)" % len(several) if len(several) > 1 else ""
        labels.append(str(name) + seeds + _remark(several, drawn[name], limits))
    figure, (axes,) = _closed_figure(1, 7.6, 4.8, [*labels, *map(str, targets)])
    for i, (name, several) in enumerate(averages.items()):
        color, middle = styles[i]["color"], several[0]
        if len(several) == 1:
            axes.semilogy(drawn[name][0], color=color, alpha=0.25, linewidth=0.4, nonpositive="mask")
        else:
            with warnings.catch_warnings():  # where every seed has a NaN, NaN is the right answer
                warnings.simplefilter("ignore", RuntimeWarning)
                lowest, middle, highest = (f(several, axis=0) for f in (np.nanmin, np.nanmedian, np.nanmax))
            axes.fill_between(np.arange(len(middle)), lowest, highest, color=color, alpha=0.2, linewidth=0)
        # In front of all pale parts: a solid line must not vanish under the next run's raw values.
        axes.semilogy(middle, **styles[i], linewidth=1.8, label=labels[i], zorder=3)
    for i, (name, height) in enumerate(zip(targets, heights)):
        # Gray, since a run may be black and dashed.
        axes.axhline(height, color="0.4", linestyle=LINE_STYLES[1 + i % 3], linewidth=1.4, label=name, zorder=4)
    axes.set_ylim(limits)
    axes.set_xlabel("meta-iteration")
    axes.set_ylabel("last loss of the unroll")
    axes.set_title("Rolling log average over %d meta-iterations" % window, fontsize="medium")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.grid(alpha=0.3)
    add_legend(axes)
    return figure


def _closed_figure(panels, width, height, labels):
    """A figure, and a list of its panels side by side; so many inches, and room for a legend beside them.

    pyplot forgets it: a notebook that is handed the figure shows it, once.
    """
    letters = max(len(label) for label in labels)
    size = width + _legend_columns(len(labels)) * (0.6 + 0.085 * letters), height
    figure, axes = plt.subplots(1, panels, figsize=size, sharey=True, squeeze=False, constrained_layout=True)
    plt.close(figure)
    return figure, list(axes[0])


def line_styles(argument, lines):
    """For each line its color and line style, no two alike."""
    if len(lines) > MOST_LINES:
        raise ValueError(
            "%s must hold at most %d lines, as many as can be told apart, got %d" % (argument, MOST_LINES, len(lines))
        )
    number = len(COLORS)
    return [{"color": COLORS[i % number], "linestyle": LINE_STYLES[i // number]} for i in range(len(lines))]


def _limits(arrays, most):
    """Limits of the y axis: some space around all values up to `most`, but none beyond that."""
    values = _shown(arrays, most)
    low, high = np.log10([values.min(), values.max()]) if values.size else (-1.0, 0.0)
    space = max(0.05 * (high - low), 0.2)
    return 10.0 ** (low - space), min(10.0 ** min(high + space, 300.0), most)


def _shown(arrays, most=np.inf):
    """What a logarithmic axis can show of some arrays, up to `most`: one array `[n]`."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    with np.errstate(invalid="ignore"):
        return values[(values > 0) & (values <= most) & (values < np.inf)]


def _remark(lines, drawn, limits):
    """What the legend must say of some lines `[k, n]`, and of all that is drawn for them, `[m, n]`."""
    lines, drawn, top = np.array(lines), np.array(drawn), limits[1]
    with np.errstate(invalid="ignore"):
        above, leaves, ends_above = drawn > top, (lines > top).any(axis=1), (lines[:, -1:] > top).any(axis=1)
        negative = (drawn < 0).any()
    unknown = np.isnan(lines[:, -1:]).any(axis=1) & (not negative)  # the logarithm of a negative loss is NaN too
    remark = f", {above.sum():,} of {above.shape[1]:,} above the figure" if above.any() else ""
    for words, which in [
        ("leaves the figure", leaves),
        ("ends in NaN", unknown),
        ("diverges", ends_above | (unknown & leaves)),
    ]:
        if which.any():
            remark = ", " + words + ("" if which.all() else " in %d of %d" % (which.sum(), len(which)))
    return remark + (", with gaps for negative losses" if negative else "")


def _legend_columns(entries):
    return 1 + (entries - 1) // 15  # which fit beside a panel


def add_legend(axes):
    """To the right of the panel, where it hides no line."""
    entries = len(axes.get_legend_handles_labels()[0])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, ncol=_legend_columns(entries))


def _last_losses(name, run):
    """A list of arrays of one length."""
    if not isinstance(run, (History, np.ndarray, list, tuple)):
        raise TypeError("runs[%r] must hold histories or arrays [n], got %r" % (name, run))
    several = run if isinstance(run, (list, tuple)) and run and not np.isscalar(run[0]) else [run]
    arrays = [np.asarray(one.last_loss if isinstance(one, History) else one, np.float64) for one in several]
    for array in arrays:
        if array.ndim != 1:
            raise ValueError("runs[%r] must hold histories or arrays [n], got shape %s" % (name, array.shape))
    shortest = min(len(array) for array in arrays)
    return [array[:shortest] for array in arrays]
