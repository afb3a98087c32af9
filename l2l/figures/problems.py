"""A figure of a training over a set of problems: a small panel for each."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from l2l import checks
from l2l.averages import rolling_mean
from l2l.figures.axes import COLORS
from l2l.runs.history import History

_COLUMNS = 4


def plot_problems(history: History, *, window: int = 20) -> Figure:
    """Plots the meta-loss of each problem of a training against meta-iterations.

        l2l.plot_problems(trainer.history)

    Each problem has a panel with a separate scale. Points are the meta-iterations that drew it; the line is the mean of
    the last `window` of them. The title says how often it was drawn, and how many of its members diverged.
    Meta-iterations whose meta-loss is NaN or infinite have no point.

    Args:
      history: a `History` of a training with an estimator.
      window: a positive integer.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: `history` is no such history, or `window` is no positive integer.
    """
    if not isinstance(history, History):
        raise TypeError("history must be a History, got %r" % (history,))
    if "problem" not in history.columns:
        raise ValueError("history must be that of a training with an estimator, got %r" % (history,))
    window = checks.positive_integer("window", window)
    problems = history.config["problem"]
    names = list(problems) if isinstance(problems, dict) else [problems]
    columns = min(len(names), _COLUMNS)
    rows = -(-len(names) // columns)
    figure = plt.figure(figsize=(2.7 * columns + 0.4, 1.9 * rows + 0.5), constrained_layout=True)
    plt.close(figure)
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        drawn = np.flatnonzero(history.problem == i)
        values, diverged = history.meta_loss[drawn], int(history.diverged[drawn].sum())
        is_finite = np.isfinite(values)
        at, values = drawn[is_finite], values[is_finite]
        axes.plot(at, values, ".", color=COLORS[0], markersize=3, alpha=0.3, markeredgewidth=0)
        axes.plot(at, rolling_mean(values, window), color=COLORS[0])
        remark = f", {diverged:,} diverged" if diverged else ""
        axes.set_title("%s\n%s drawn%s" % (name, format(len(drawn), ","), remark), fontsize="small")
        axes.set_xlim(0, max(len(history), 1))
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
        axes.tick_params(labelsize="small", labelbottom=i + columns >= len(names))
        axes.grid(alpha=0.3)
    figure.supxlabel("meta-iteration", fontsize="medium")
    figure.supylabel("meta-loss", fontsize="medium")
    return figure
