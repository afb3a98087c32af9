"""Episode 2 as data: what the sequel reports, and our figures beside it. Used by the notebook of that name."""

import episodes
import numpy as np
from episodes import length, seeds  # noqa: F401, the notebook has them from here

from l2l import format_table, rolling_log_average

# Log averages that the sequel reports, by run and meta-iterations. Each is of a single run.
DOCUMENT = {
    ("log15", 50000): -12.27,
    ("log30", 50000): -20.22,
    ("log30", 100000): -22.57,
    ("log43", 50000): -0.33,
    ("logv_end", 50000): -21.21,
    ("logv_sum", 100000): -26.11,
    ("div_end", 40000): -9.15,
    ("div_end", 50000): -8.47,
    ("div_sum", 100000): -32.38,
    ("logdiv_sum", 10000): -15.72,
    ("logdiv_sum", 20000): -26.11,
    ("logdiv_sum", 30000): -33.07,
    ("logdiv_sum", 40000): -36.61,
    ("logdiv_sum", 90000): -37.72,
    ("logdiv_sum", 100000): -37.58,
}

# Where it reports how far the range of a run had widened at its end: m.
DOCUMENT_M = {"logv_end": -42.03, "logv_sum": -49.15, "logdiv_sum": -9.46}

# Runs whose figures are means over the last 5,000 meta-iterations; those of the others are over 10,000.
OVER_5000 = ["log15", "log30", "log43", "div_end"]

# Levels of the rolling log average. An untrained network stays above the first; below the second, the fall has begun.
MOVES, FALLS = -0.8, -3.0

# Adam's defaults as the meta-optimizer: a gradient well below its epsilon is divided by the epsilon alone.
ADAM_RATE, ADAM_EPSILON = 3e-4, 1e-8


def part(values):
    """The first of some values, a list: all of them, or as small a part as `L2L_LENGTH` says, which may be none."""
    return list(values)[: length(1000 * len(values)) // 1000]


def window(name):
    """Meta-iterations averaged at the checkpoints of a run: 5,000 or 10,000, as in the sequel."""
    return length(5000 if name in OVER_5000 else 10000)


def first_below(history, level, over=500):
    """The first meta-iteration at which the rolling log average is below `level`, an integer; None if there is none.

    The first `over` meta-iterations are left out, where the average is of a few.
    """
    over = min(over, max(1, len(history) // 2))
    below = np.flatnonzero(np.log10(rolling_log_average(history.last_loss, over)[over:]) < level)
    return int(below[0]) + over if below.size else None


def training_rows(histories, checkpoints, averaged=None):
    """Our figures of one run, a row for each checkpoint and seed.

    Args:
      histories: list of `History`, one for each seed; the configuration names the run.
      checkpoints: the sequel's numbers of meta-iterations, integers.
      averaged: over how many meta-iterations to average; by default as the sequel does for this run.

    Returns:
      As from `episodes.training_rows`; and the key falls_at, the first meta-iteration at which the rolling log average
      is below `FALLS`, None where there was none up to the checkpoint.
    """

    def over(checkpoint):
        return length(averaged) if averaged else window(histories[0].config["name"])

    rows = episodes.training_rows(histories, checkpoints, DOCUMENT, over)
    falls = {history.config["weights_seed"]: first_below(history, FALLS) for history in histories}
    for row in rows:
        at = falls[row["seed"]]
        row["falls_at"] = at if at is not None and at < row["meta_iterations"] else None
    return rows


def summary(rows):
    """As `episodes.summary`, with the key never_falls: the share of runs that never started.

    Args:
      rows: as from `training_rows`.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["experiment"], row["meta_iterations"]), []).append(row["falls_at"] is None)
    return [
        {**row, "never_falls": float(np.mean(groups[row["experiment"], row["meta_iterations"]]))}
        for row in episodes.summary(rows)
    ]


def table(rows):
    """Our figures beside the sequel's: median, lowest, highest, and the share of runs that never started.

    Args:
      rows: as from `training_rows`, with the same seeds for all runs.
    """
    columns = {
        "run": "",
        "casting": "",
        "meta_loss": "",
        "meta_iterations": ",d",
        "document": ".2f",
        "seeds": "d",
        "median": ".2f",
        "lowest": ".2f",
        "highest": ".2f",
        "never start": ".0%",
    }
    lines = [{**row, "run": row["experiment"], "never start": row["never_falls"]} for row in summary(rows)]
    if all(line["document"] is None for line in lines):
        del columns["document"]
    return format_table(lines, columns)


def floor(m):
    """`log10((e^m / 2)^2)`: the loss `x^2` where the distance from the minimum is half an update of `e^m`."""
    return 2 * (m - np.log(2)) / np.log(10)


def waiting_time(m, gradient_norm):
    """Meta-iterations until an untrained network moves, where its meta-gradient is small beside Adam's epsilon.

    Adam then changes the weights by `rate * gradient / epsilon`, the output by about `rate * norm / epsilon`, and
    the logarithm of the meta-gradient by `|m|` times that. What grows at a rate that is proportional to itself is
    infinite after the inverse of the first rate; the output's derivative by the weights is taken for 1.

    Args:
      m: the casting's.
      gradient_norm: of the untrained network.
    """
    return ADAM_EPSILON / (ADAM_RATE * abs(m) * gradient_norm)
