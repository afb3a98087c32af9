"""Figures, from arrays and histories alone."""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from l2l import checks
from l2l.runs.history import LOG_FLOOR, History, rolling_log_average

# Okabe and Ito's palette, made to be told apart by colour-blind readers; yellow, too pale
# for a line on white, is left out.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]


def plot_losses(losses, draws=3):
    """Loss against base iteration, one panel for each of the first draws, one line for each optimizer.

    Args:
      losses: dict from name to an array `[num, T]`, as `evaluate` returns.
      draws: how many panels, a positive integer, at most `num`.

    Returns:
      The figure.

    Raises:
      TypeError, ValueError: `draws` is out of range, or `losses` is no such dict.
    """
    if not isinstance(losses, dict) or not losses:
        raise ValueError("losses must be a non-empty dict from name to array [num, T], got %r" % (losses,))
    arrays = {name: np.asarray(values, np.float64) for name, values in losses.items()}
    for name, values in arrays.items():
        if values.ndim != 2:
            raise ValueError("losses[%r] must have shape [num, T], got %s" % (name, values.shape))
    fewest = min(len(values) for values in arrays.values())
    if checks.positive_integer("draws", draws) > fewest:
        raise ValueError("draws must be at most the %d draws of losses, got %r" % (fewest, draws))
    figure, panels = plt.subplots(
        1, draws, figsize=(3.6 * draws + 0.8, 3.6), sharey=True, squeeze=False, constrained_layout=True
    )
    for draw, axes in enumerate(panels[0]):
        for i, (name, values) in enumerate(arrays.items()):
            axes.semilogy(
                values[draw] + LOG_FLOOR,
                color=COLORS[i % len(COLORS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=3,
                label=name,
            )
        axes.set_title("draw %d" % (draw + 1))
        axes.set_xlabel("base iteration")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("loss")
    panels[0][0].legend()
    return figure


def plot_convergence(runs, targets=None, window=500):
    """The last loss of each meta-iteration, smoothed by the rolling log average.

    One run shows its raw values, transparent, behind its average. Several runs under one name,
    from several seeds, show the median of their averages and a band from the lowest to the
    highest. NaN is left out of the average and shows as a gap; an exact zero is drawn at 1e-38.

    Args:
      runs: dict from name to a `History` or an array `[n]`, or to a list of these. Lengths may
        differ from name to name; within a list the shortest counts.
      targets: dict from name to a log average, such as -18.4, drawn as a horizontal line; or None.
      window: of the rolling log average, in meta-iterations; a positive integer.

    Returns:
      The figure.

    Raises:
      TypeError, ValueError: `window` is not a positive integer, or `runs` is no such dict.
    """
    if not isinstance(runs, dict) or not runs:
        raise ValueError("runs must be a non-empty dict from name to History or array [n], got %r" % (runs,))
    targets = {} if targets is None else targets
    if not isinstance(targets, dict):
        raise TypeError("targets must be a dict from name to log average, got %r" % (targets,))
    for name, value in targets.items():
        if not np.isscalar(value) or isinstance(value, str):
            raise TypeError("targets[%r] must be a number, the log average, got %r" % (name, value))
    arrays = {name: _last_losses(name, run) for name, run in runs.items()}
    averages = {name: [rolling_log_average(one, window) for one in many] for name, many in arrays.items()}
    figure, axes = plt.subplots(figsize=(10, 4.8), constrained_layout=True)
    for i, (name, several) in enumerate(averages.items()):
        color, middle = COLORS[i % len(COLORS)], several[0]
        if len(several) == 1:
            axes.semilogy(arrays[name][0] + LOG_FLOOR, color=color, alpha=0.25, linewidth=0.4)
        else:
            with warnings.catch_warnings():  # where every seed has a NaN, NaN is the right answer
                warnings.simplefilter("ignore", RuntimeWarning)
                lowest, middle, highest = (f(several, axis=0) for f in (np.nanmin, np.nanmedian, np.nanmax))
            axes.fill_between(np.arange(len(middle)), lowest, highest, color=color, alpha=0.2, linewidth=0)
            name = "%s (%d seeds)" % (name, len(several))
        # In front of all pale parts: a solid line must not vanish under the next run's raw values.
        axes.semilogy(middle, color=color, linewidth=1.8, label=name, zorder=3)
    for i, (name, value) in enumerate(targets.items()):
        style = ["--", ":", "-."][i % 3]
        axes.axhline(10.0**value, color="black", linestyle=style, linewidth=1.4, label=name, zorder=4)
    axes.set_xlabel("meta-iteration")
    axes.set_ylabel("last loss of the unroll")
    axes.set_title("Rolling log average over %d meta-iterations" % window, fontsize="medium")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


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
