"""What the ordinary tasks show: a table of cells, shares of cells, and a figure. Rows are those of `ordinary_suite`."""

from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np

import l2l
from l2l.figures.axes import COLORS, MARKERS

LEARNED = "learned"
BASELINES = ["Adam, 0.001", "Adam, tuned", "Adam, tuned, cosine", "Adam, 0.01, cosine", "Prodigy, cosine"]
REFERENCE = "Adam, tuned, cosine"
LEVEL = np.log(1.02)  # within 2% is level
FAR = np.log(3.0)  # times the loss of the reference
SOLVED = np.log(0.01)  # of the first loss, below which being far from the reference does not count
HELD_OUT_STEPS, POINTS = 2000, 0.005  # of accuracy


def median(row):
    """The median of a row; infinity where it is none."""
    return np.inf if row["median"] is None else row["median"]


def cells(rows):
    """`{(task, steps): {optimizer: row}}`, an ordered dict."""
    found = OrderedDict()
    for row in rows:
        found.setdefault((row["task"], row["steps"]), {})[row["optimizer"]] = row
    return found


def table(rows):
    """A line for each task and number of steps: ln of the last losses, median; the learned one's worst and held-out."""
    lines = []
    for (task, steps), cell in cells(rows).items():
        learned = cell[LEARNED]
        line = {"task": task if learned["is_seen_kind"] else task + " *", "steps": steps}
        line.update((name, cell[name]["median"]) for name in [LEARNED, *BASELINES])
        line.update(worst=learned["worst"], failures=learned["failures"])
        line.update(zip(["held out", "reference"], map(held_out, [learned, cell[REFERENCE]])))
        times = [cell[name]["ms_per_step"] for name in (LEARNED, "Adam, 0.001")]
        lines.append({**line, "time, x Adam": times[0] / times[1]})
    formats = {"task": "", "steps": ",d", **dict.fromkeys([LEARNED, *BASELINES, "worst"], ".2f")}
    formats.update({"failures": "d", "held out": ".4f", "reference": ".4f", "time, x Adam": ".1f"})
    return l2l.format_table(lines, formats)


def held_out(row):
    """Accuracy for classes, loss for numbers."""
    return row["held_out_loss"] if row["held_out_accuracy"] is None else row["held_out_accuracy"]


def shares(rows):
    """In how many cells the learned one is level with or below each baseline, and all; a line for all and unseen kinds.

    `far` counts cells above three times the reference's loss, unless both are below 1% of the first loss; `failed` the
    runs that failed; `held out` the tasks at 2,000 steps whose accuracy is within half a point of the reference's or
    better, or whose error is within 2%.
    """
    lines = []
    for kind, is_counted in [("all tasks", lambda row: True), ("unseen kinds", lambda row: not row["is_seen_kind"])]:
        found = [cell for cell in cells(rows).values() if is_counted(cell[LEARNED])]
        if not found:
            continue
        ends = [cell for cell in found if cell[LEARNED]["steps"] == HELD_OUT_STEPS]
        line = {"": kind, "cells": len(found)}
        line.update((name, np.mean([is_level(cell, name) for cell in found])) for name in BASELINES)
        line["all at once"] = np.mean([all(is_level(cell, name) for name in BASELINES) for cell in found])
        line["far"] = sum(map(is_far, found))
        line["failed"] = sum(cell[LEARNED]["failures"] for cell in found)
        line["held out"] = "%d of %d" % (sum(map(_holds, ends)), len(ends))
        lines.append(line)
    formats = {"": "", "cells": "d", **dict.fromkeys([*BASELINES, "all at once"], ".0%"), "far": "d", "failed": "d"}
    return l2l.format_table(lines, {**formats, "held out": ""})


def is_level(cell, name):
    ours, theirs = median(cell[LEARNED]), median(cell[name])
    return bool(ours <= theirs + LEVEL and np.isfinite(ours))


def is_far(cell):
    """Whether the learned one's loss is more than three times the reference's, and one of them not small."""
    ours, theirs = median(cell[LEARNED]), median(cell[REFERENCE])
    solved = SOLVED + np.log(cell[REFERENCE]["first_loss"])
    return bool(ours > theirs + FAR and max(ours, theirs) >= solved)


def _holds(cell):
    ours, theirs = (held_out(cell[name]) for name in (LEARNED, REFERENCE))
    if ours is None or theirs is None:  # it was no number
        return theirs is None and ours is not None
    if cell[LEARNED]["held_out_accuracy"] is None:
        return ours <= 1.02 * theirs
    return ours >= theirs - POINTS


def plot_suite(rows):
    """The loss of each optimizer relative to rate-tuned Adam with cosine: a panel for each number of steps.

    A line for each task, unseen kinds with a star. Left of the vertical line is below the reference. What is beyond the
    axis, or failed, lies at its end.

    Args:
      rows: as from `ordinary_suite.rows_of`.

    Returns:
      The figure, which pyplot forgets.
    """
    found = cells(rows)
    budgets = sorted({steps for _, steps in found})
    tasks = list(OrderedDict.fromkeys(task for task, _ in found))
    seen = {row["task"]: row["is_seen_kind"] for row in rows}
    names = [name for name in [LEARNED, *BASELINES] if name != REFERENCE]
    styles = dict(zip(names, zip([COLORS[1], COLORS[0], COLORS[5], COLORS[2], COLORS[3]], MARKERS)))
    most = 3.0  # decades
    figure, panels = plt.subplots(
        1, len(budgets), figsize=(2.2 + 2.6 * len(budgets), 2.0 + 0.36 * len(tasks)), sharey=True, squeeze=False
    )
    plt.close(figure)
    for axes, steps in zip(panels[0], budgets):
        for name in names:
            places = [(i, found[task, steps]) for i, task in enumerate(tasks) if (task, steps) in found]
            color, marker = styles[name]
            values = [_decades(cell, name, most) for _, cell in places]
            is_learned = name == LEARNED
            axes.scatter(
                [10.0**value for value in values],
                [i for i, _ in places],
                label=name,
                color=color,
                marker=marker,
                s=70 if is_learned else 24,
                alpha=1.0 if is_learned else 0.8,
                zorder=3 if is_learned else 2,
                edgecolors="black" if is_learned else "none",
            )
        axes.axvline(1.0, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlim(10 ** -(most + 0.3), 10 ** (most + 0.3))
        axes.set_title(f"{steps:,} steps")
        axes.set_xlabel("ratio of losses")
        axes.grid(alpha=0.3)
    panels[0][0].set_yticks(range(len(tasks)))
    panels[0][0].set_yticklabels([task if seen[task] else task + " *" for task in tasks])
    panels[0][0].set_ylim(len(tasks) - 0.5, -0.5)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False)
    title = "Training loss divided by that of %s: left is better\n" % REFERENCE
    title += "* kinds never trained on; what is beyond %g times, or failed, lies at the edge" % 10**most
    figure.suptitle(title, fontsize=11)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    return figure


def _decades(cell, name, most):
    """The decimal logarithm of a loss over the reference's, within the axis."""
    ours, theirs = median(cell[name]), median(cell[REFERENCE])
    if not np.isfinite(ours):
        return most
    return float(np.clip((ours - theirs) / np.log(10), -most, most))
