"""The figure of trainings: the last loss of the unroll against meta-iterations."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, Dict, Mapping, Optional

import numpy as np
from matplotlib.figure import Figure

from l2l import checks
from l2l.averages import LOG_FLOOR, growing_log_average
from l2l.figures.axes import (
    FAR_ABOVE,
    LINE_STYLES,
    add_legend,
    closed_figure,
    label_decades,
    legend_width,
    limits_of,
    line_styles,
    remark,
    shown,
    some_markers,
)
from l2l.runs.history import History


def plot_convergence(
    runs: Mapping[str, Any],
    *,
    targets: Optional[Dict[str, float]] = None,
    window: int = 500,
    ax: Optional[Any] = None,
) -> Figure:
    """Plots the last loss of each meta-iteration, smoothed by a rolling log average.

        l2l.plot_convergence({"sum": trainer.history, "end": [first.history, second.history]})

    The window grows to its size: it begins with half of the values so far, so that no line has a kink where it fills.

    A single run shows its raw values, transparent, behind its average. Several runs under one name, for example from
    several seeds, show the median of their averages and a band from the lowest to the highest. NaN is left out of the
    average and shows as a gap. An exact zero is drawn at 1e-38.

    One huge loss, or a run that diverges, must not flatten the others. So the axis goes no higher than 1,000 times the
    usual loss at the start: the median of a run's first losses, a tenth of a window, or 1 if that is more. The run with
    the largest median counts. If twice the highest target is more, the axis may go up to that. The legend says if a
    line diverges, ends in NaN, leaves the figure for a while, or has gaps for negative losses, and how many of the raw
    values lie above the figure.

    Args:
      runs: dict from name to a `History` or an array `[n]`, or to a list of these; at most 28.
        Lengths may differ from name to name; within a list the shortest counts.
      targets: dict from name to a log average, such as -18.4, drawn as a horizontal line; or None.
      window: of the rolling log average, in meta-iterations; a positive integer.
      ax: axes of matplotlib to draw into; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: `window` is not a positive integer, `targets` does not map names to numbers, or `runs` is
        no such dict.
    """
    if not isinstance(runs, Mapping) or not runs:
        raise ValueError("runs must be a non-empty dict from name to History or array [n], got %r" % (runs,))
    checks.positive_integer("window", window)
    targets = checked_targets(targets)
    arrays = {name: _last_losses(name, run) for name, run in runs.items()}
    averages = {name: [growing_log_average(one, window) for one in many] for name, many in arrays.items()}
    styles = line_styles("runs", arrays)
    heights = [10.0**value for value in targets.values()]
    # Of one run its raw values are drawn too.
    drawn = {name: many if len(many) > 1 else [arrays[name][0] + LOG_FLOOR, *many] for name, many in averages.items()}
    starts = [shown([one[: 1 + min(window, len(one)) // 10]]) for many in arrays.values() for one in many]
    usual = max([1.0, *(float(np.median(start)) for start in starts if start.size)])
    most = max([FAR_ABOVE * usual, *(2 * height for height in heights)])
    limits = limits_of([heights, *itertools.chain(*drawn.values())], most)
    labels = []
    for name, several in averages.items():
        seeds = " (%d seeds)" % len(several) if len(several) > 1 else ""
        labels.append(str(name) + seeds + remark(several, drawn[name], limits))
    width = 7.6 + legend_width([*labels, *map(str, targets)])
    figure, ((axes,),) = closed_figure(1, 1, width, 4.8, ax)
    axes.set_yscale("log", nonpositive="mask")
    for i, (name, several) in enumerate(averages.items()):
        color, middle = styles[i]["color"], several[0]
        if len(several) == 1:
            axes.plot(drawn[name][0], color=color, alpha=0.25, linewidth=0.4)
        else:
            with warnings.catch_warnings():  # where every seed has a NaN, NaN is the right answer
                warnings.simplefilter("ignore", RuntimeWarning)
                lowest, middle, highest = (f(several, axis=0) for f in (np.nanmin, np.nanmedian, np.nanmax))
            axes.fill_between(np.arange(len(middle)), lowest, highest, color=color, alpha=0.2, linewidth=0)
        # In front of all pale parts: a solid line must not vanish under the next run's raw values.
        where = some_markers(i, len(middle))
        axes.plot(middle, **styles[i], markevery=where, linewidth=1.8, label=labels[i], zorder=3)
    for i, (name, height) in enumerate(zip(targets, heights)):
        # Gray, since a run may be black and dashed.
        axes.axhline(height, color="0.4", linestyle=LINE_STYLES[1 + i % 3], linewidth=1.4, label=name, zorder=4)
    axes.set_ylim(limits)
    label_decades(axes)
    axes.set_xlabel("meta-iteration")
    axes.set_ylabel("last loss of the unroll")
    axes.set_title("Log average over up to %d meta-iterations" % window, fontsize="medium")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.grid(alpha=0.3)
    add_legend(axes, ax)
    return figure


def checked_targets(targets):
    """Returns the dict of targets of `plot_convergence`.

    Raises:
      TypeError: it does not map names to numbers.
    """
    targets = {} if targets is None else targets
    if not isinstance(targets, Mapping):
        raise TypeError("targets must be a dict from name to log average, got %r" % (targets,))
    for name, value in targets.items():
        if not np.isscalar(value) or isinstance(value, str):
            raise TypeError("targets[%r] must be a number, the log average, got %r" % (name, value))
    return targets


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
