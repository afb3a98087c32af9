"""Figures of losses against base iterations."""

from __future__ import annotations

from typing import Any, Mapping, Optional

import numpy as np
from matplotlib.figure import Figure

from l2l import checks
from l2l.averages import LOG_FLOOR
from l2l.evaluation.evaluation import Evaluation
from l2l.figures.axes import (
    FAR_ABOVE,
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


def plot_losses(
    losses: Mapping[str, np.ndarray], *, draws: int = 3, window: Optional[int] = None, ax: Optional[Any] = None
) -> Figure:
    """Plots loss against base iteration, a panel for each of the first draws.

    Each optimizer has a line.

        figure = l2l.plot_losses(l2l.evaluate(problem, {"SGD": l2l.sgd(), "Adam": l2l.adam()}))
        figure.savefig("losses.png")

    An optimizer that diverges must not flatten the others, so the axis ends at 1,000 times the largest first loss. The
    legend says if a line diverges, ends in NaN, leaves the figure for a while, or has gaps for negative losses. An
    exact zero is drawn at 1e-38.

    Args:
      losses: an `Evaluation`, or a dict from name to an array `[draws, steps]`; at most 28 of them.
      draws: how many panels, a positive integer, at most as many as there are draws.
      window: how many neighboring losses are averaged, as for `plot_curves`. The raw ones are pale behind the line. A
        mean lies in the middle of its window, so the line begins half a window late and ends half a window early.
      ax: axes of matplotlib to draw into, one for each draw; by default those of a new figure.

    Returns:
      The figure. A notebook shows it as the last line of a cell; elsewhere in a cell use
      `IPython.display.display(figure)`. pyplot does not keep it: you need not close it, and `plt.show()` does not show
      it.

    Raises:
      TypeError, ValueError: `draws` or `window` is out of range, `losses` is no such dict, or `ax` does not fit.
    """
    _check_mapping("losses", losses)
    arrays = {name: _array("losses[%r]" % (name,), values) for name, values in losses.items()}
    fewest = min(len(values) for values in arrays.values())
    if checks.positive_integer("draws", draws) > fewest:
        raise ValueError("draws must be at most the %d draws of losses, got %r" % (fewest, draws))
    window = _window(losses, window)
    styles = line_styles("losses", arrays)
    drawn = {name: values[:draws] + LOG_FLOOR for name, values in arrays.items()}
    first = shown([values[:, 0] for values in drawn.values()])
    limits = limits_of(drawn.values(), FAR_ABOVE * float(first.max()) if first.size else np.inf)
    labels = [str(name) + remark(values, values, limits) for name, values in drawn.items()]
    width = 3.3 * draws + 0.6 + legend_width(labels)
    figure, (panels,) = closed_figure(1, draws, width, 3.6, ax, sharey=True)
    for draw, axes in enumerate(panels):
        axes.set_yscale("log", nonpositive="mask")
        for i, values in enumerate(drawn.values()):
            at = losses.at if isinstance(losses, Evaluation) else np.arange(values.shape[1])
            if window > 1:
                axes.plot(at, values[draw], color=styles[i]["color"], alpha=0.3, linewidth=0.5)
                at, values = (_smooth(one, min(window, at.size)) for one in [at[np.newaxis], values])
                at = at[0]
            axes.plot(at, values[draw], **styles[i], markevery=some_markers(i, at.size), label=labels[i])
        axes.set_ylim(limits)
        label_decades(axes)
        axes.set_title("draw %d" % (draw + 1))
        axes.set_xlabel("base iteration")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("loss" + _averaged([min(window, values.shape[1]) for values in drawn.values()]))
    add_legend(panels[-1], ax)
    return figure


def plot_curves(losses: Mapping[str, Any], *, window: Optional[int] = None, ax: Optional[Any] = None) -> Figure:
    """Plots learning curves: the median loss over the draws, and a band.

        l2l.plot_curves({"learned": [losses["seed 1"], losses["seed 2"]], "Adam": losses["Adam"]}, window=20)

    The band spans the 10th to the 90th percentile of the draws. With several seeds, the line is the median of each
    seed's median, and the band goes from the lowest to the highest seed. A draw whose loss is NaN or infinite has
    diverged and lies above all others. The axis and the remarks in the legend are as in `plot_losses`.

    Args:
      losses: an `Evaluation`; or a dict from name to an array `[draws, steps]`, or to a list of arrays, one for each
        seed; at most 28 names. For several panels, a dict from title to such losses: a name looks the same in all.
      window: how many neighboring losses of a draw are averaged first, a positive integer; if there are fewer, all. By
        default 20 for an `Evaluation` in which each base iteration sees another minibatch, else 1. A mean lies in the
        middle of its window, so the line begins half a window late and ends half a window early.
      ax: axes of matplotlib to draw into, one for each panel; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: `window` is not a positive integer, `losses` is none of these, or `ax` does not fit.
    """
    _check_mapping("losses", losses)
    has_panels = all(isinstance(one, Mapping) for one in losses.values())
    panels = {}
    for title, several in losses.items() if has_panels else [("", losses)]:
        path = "losses[%r]" % (title,) if has_panels else "losses"
        _check_mapping(path, several)
        size = _window(several, window)
        panels[title] = {name: _curve("%s[%r]" % (path, name), several, name, size) for name in several}
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    styles = dict(zip(names, line_styles("losses", names)))
    everything = [curve for curves in panels.values() for curve in curves.values()]
    first = shown([values[:, 0] for _, values, _ in everything])
    limits = limits_of(
        [values for _, values, _ in everything], FAR_ABOVE * float(first.max()) if first.size else np.inf
    )
    labels = {}
    for name in names:
        remarks = [
            remark(curves[name][1][1:2], curves[name][1][1:2], limits) for curves in panels.values() if name in curves
        ]
        labels[name] = str(name) + max(remarks, key=len)
    width = 4.6 * len(panels) + 1.1 + legend_width(labels.values())
    figure, (all_axes,) = closed_figure(1, len(panels), width, 4.0, ax, sharey=True)
    for axes, (title, curves) in zip(all_axes, panels.items()):
        axes.set_yscale("log", nonpositive="mask")
        for name in names:  # also where it has no line: the last panel has the legend
            at, (lowest, middle, highest), _ = curves.get(name, ([], np.empty([3, 0]), 1))
            where = some_markers(names.index(name), len(at))
            axes.plot(at, middle, **styles[name], markevery=where, label=labels[name], zorder=3)
            axes.fill_between(at, lowest, highest, color=styles[name]["color"], alpha=0.2, linewidth=0)
        axes.set_ylim(limits)
        label_decades(axes)
        axes.set_title(str(title), fontsize="medium")
        axes.set_xlabel("base iteration")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("loss%s, median over draws" % _averaged([window for _, _, window in everything]))
    add_legend(all_axes[-1], ax)
    return figure


def _window(losses, window):
    if window is None:
        return losses.window if isinstance(losses, Evaluation) else 1
    return checks.positive_integer("window", window)


def _curve(path, losses, name, window):
    """The places of a curve, `[n]`; the lower end of its band, its middle and the upper end, `[3, n]`; its window."""
    seeds = losses[name] if isinstance(losses[name], (list, tuple)) else [losses[name]]
    if not len(seeds):
        raise ValueError("%s must have the losses of at least one seed, got %r" % (path, seeds))
    arrays = [_array(path, values) for values in seeds]
    steps = min(values.shape[1] for values in arrays)
    at = losses.at if isinstance(losses, Evaluation) else np.arange(steps)
    window = min(steps, window)
    smooth = [_smooth(np.where(np.isfinite(values), values, np.inf)[:, :steps], window) for values in arrays]
    if len(smooth) == 1:
        # Between infinities lies a NaN.
        lowest, highest = np.percentile(smooth[0], [10, 90], axis=0, interpolation="nearest")
        band = np.array([lowest, np.median(smooth[0], axis=0), highest])
    else:
        medians = [np.median(one, axis=0) for one in smooth]
        band = np.array([function(medians, axis=0) for function in (np.min, np.median, np.max)])
    return _smooth(at[np.newaxis], window)[0], band + LOG_FLOOR, window


def _averaged(windows):
    """What a label says of averaged losses."""
    most = max(windows)
    return "" if most == 1 else ", mean of %s%d neighbours" % ("up to " if min(windows) < most else "", most)


def _smooth(rows, window):
    """Means of `window` neighbors, `[k, n - window + 1]`.

    The first and the last places are not among the results: a mean of fewer losses would be noisier than its neighbors.
    """
    return np.array([np.convolve(row, np.full(window, 1 / window), "valid") for row in rows])


def _check_mapping(path, losses):
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(
            "%s must be an Evaluation, or a non-empty dict from name to array [draws, steps], got %.200r"
            % (path, losses)
        )


def _array(path, values):
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError("%s must have shape [draws, steps], got %s" % (path, values.shape))
    return values
