"""Episode 1 as data: what the document reports, and our figures beside it.

Used by the notebook of that name. The environment variable `L2L_LENGTH`, a number up to 1,
shortens every run of the notebook, for a rehearsal; `L2L_SEEDS`, such as `1,2,3,4,5`, chooses the seeds.
"""

import itertools
import os

import numpy as np

from l2l import checks
from l2l.runs.history import log_average
from l2l.runs.results import format_table

# Average log results the document prints, by experiment and meta-iterations. RMSProp's is read
# off a plot.
DOCUMENT = {
    ("RNN_simple_sum_res", 20000): -6.05,
    ("RNN_simple_end_res", 20000): -7.33,
    ("RNN_simple_end_res", 50000): -8.17,
    ("RNN_simple_end_log_res", 50000): -7.89,
    ("RNN_log15_end_res", 50000): -8.24,
    ("RNN_log15_end_log_res", 50000): -12.27,
    ("RNN_log30_end_log_res", 50000): -16.02,
    ("RNN_log30_end_log_res", 100000): -22.77,
    ("RMSProp", 0): -18.4,
}

# How far, in powers of ten, a row may be from the document before something is wrong. Single runs scatter by
# about 0.5; these three depend on luck.
TOLERANCE = 1.0
WIDER_TOLERANCES = {
    ("RNN_log15_end_res", 50000): 2.0,
    ("RNN_log30_end_log_res", 50000): 6.0,
    ("RNN_log30_end_log_res", 100000): 2.0,
}

# The first trial: mean summed loss of each 1,000 meta-iterations.
DOCUMENT_SUMMED_LOSS = {1000: 1.327, 2000: 0.797, 3000: 0.776, 4000: 0.777}


def length(meta_iterations):
    """How many meta-iterations to run for those of the document: the same, or fewer under `L2L_LENGTH`.

    Raises:
      ValueError: `L2L_LENGTH` is not a number above 0 and up to 1.
    """
    text = os.environ.get("L2L_LENGTH", "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 1:
        raise ValueError("L2L_LENGTH must be a number above 0 and up to 1, got %r" % text)
    return max(1, round(checks.positive_integer("meta_iterations", meta_iterations) * factor))


def seeds():
    """The seeds of the runs: `L2L_SEEDS`, integers with commas between them, or 1 alone.

    Raises:
      ValueError: `L2L_SEEDS` is no such list of different integers from 0 to 2**31 - 1.
    """
    text = os.environ.get("L2L_SEEDS", "1")
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) < 2**31 for part in parts) or len(set(parts)) < len(parts):
        raise ValueError("L2L_SEEDS must be different integers from 0 to 2**31 - 1, such as 1,2,3, got %r" % text)
    return [int(part) for part in parts]


def window(meta_iterations):
    """Meta-iterations averaged at a checkpoint: 2,000 up to 20,000 meta-iterations, else 5,000, as in the document."""
    return length(2000 if meta_iterations <= 20000 else 5000)


def training_rows(histories, checkpoints):
    """Our figures of one experiment, a row for each checkpoint and seed.

    Args:
      histories: list of `History`, one for each seed; the configuration names the experiment.
      checkpoints: the document's numbers of meta-iterations, integers.

    Returns:
      A list of dicts with the keys experiment, casting, meta_loss, meta_iterations,
      average_log_result (mean log10 of the last loss over the `window` before), document (None
      where it gives none, or where the run was shortened), seed, draws_seed, seconds.
    """
    rows = []
    for checkpoint, history in itertools.product(checkpoints, histories):
        config, at = history.config, length(checkpoint)
        row = {
            "experiment": config["name"],
            "casting": config["casting"],
            "meta_loss": config["meta_loss"],
            "meta_iterations": at,
            "average_log_result": history.log_average(window(checkpoint), at),
            "document": DOCUMENT.get((config["name"], at)),
            "seed": config["weights_seed"],
            "draws_seed": config["draws_seed"],
            "seconds": float(history.seconds[:at].sum()),
        }
        rows.append(row)
    return rows


def trial_rows(losses, seed, seconds):
    """Our figures of the first trial: as `training_rows`, over each 1,000 meta-iterations.

    The keys mean_summed_loss and document_summed_loss are added: the document gives no log
    average here.

    Args:
      losses: array `[n, T]`, the losses of each meta-iteration.
      seed: of the graph, which fixes weights and draws alike.
      seconds: how long the trial took.
    """
    rows = []
    for checkpoint, document in DOCUMENT_SUMMED_LOSS.items():
        at = length(checkpoint)
        part = losses[at - length(1000) : at]
        row = {
            "experiment": "RNN_simple_sum_res, first trial",
            "casting": "none",
            "meta_loss": "sum",
            "meta_iterations": at,
            "average_log_result": log_average(part[:, -1]),
            "document": None,
            "mean_summed_loss": float(part.sum(axis=1).mean()),
            "document_summed_loss": document if at == checkpoint else None,
            "seed": seed,
            "draws_seed": seed,
            "seconds": seconds * at / len(losses),
        }
        rows.append(row)
    return rows


def baseline_rows(losses, seed):
    """Rows for optimizers that were not trained: log average of the last loss over all draws.

    Args:
      losses: dict from name to an array `[num, T]`, as `evaluate` returns.
      seed: the one that `evaluate` was called with.
    """
    return [
        {
            "experiment": name,
            "casting": None,
            "meta_loss": None,
            "meta_iterations": 0,
            "average_log_result": log_average(values[:, -1]),
            "document": DOCUMENT.get((name, 0)) if length(1000) == 1000 else None,
            "seed": seed,
            "draws_seed": seed,
            "seconds": None,
        }
        for name, values in losses.items()
    ]


def summary(rows):
    """One row for all seeds of an experiment and checkpoint: median, lowest and highest log average.

    Args:
      rows: as from `training_rows` and `baseline_rows`.

    Returns:
      A list of dicts with the keys experiment, casting, meta_loss, meta_iterations, seeds (how
      many), document, median, lowest, highest, difference (median less document, or None).
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["experiment"], row["meta_iterations"]), []).append(row)
    summaries = []
    for group in groups.values():
        figures = [row["average_log_result"] for row in group]
        first, median = group[0], float(np.median(figures))
        summaries.append(
            {
                "experiment": first["experiment"],
                "casting": first["casting"],
                "meta_loss": first["meta_loss"],
                "meta_iterations": first["meta_iterations"],
                "seeds": len(group),
                "document": first["document"],
                "median": median,
                "lowest": min(figures),
                "highest": max(figures),
                "difference": None if first["document"] is None else median - first["document"],
            }
        )
    return summaries


def table(rows):
    """Our figures beside the document's, a line for all seeds of an experiment; the first trial is left out.

    From several seeds there are median, lowest and highest, from one its only figure.

    Args:
      rows: as from `training_rows` and `baseline_rows`, with the same seeds for all experiments.
    """
    rows = [row for row in rows if "mean_summed_loss" not in row]
    seeds = {row["seed"] for row in rows}
    columns = {"experiment": "", "meta_iterations": ",d", "document": ".2f"}
    if len(seeds) > 1:
        columns.update({"seeds": "d", "median": ".2f", "lowest": ".2f", "highest": ".2f", "difference": "+.2f"})
        return format_table(summary(rows), columns)
    ours = "ours, seed %d" % seeds.pop()
    columns.update({ours: ".2f", "difference": "+.2f"})
    return format_table([{**row, ours: row["median"]} for row in summary(rows)], columns)


def trial_table(rows):
    """The first trial's mean summed loss over each 1,000 meta-iterations, beside the document's; of its rows alone."""
    rows = [row for row in rows if "mean_summed_loss" in row]
    ours = "ours, seed %d" % rows[0]["seed"]
    lines = [{**row, "document": row["document_summed_loss"], ours: row["mean_summed_loss"]} for row in rows]
    return format_table(lines, {"experiment": "", "meta_iterations": ",d", "document": ".3f", ours: ".3f"})


def complaints(rows):
    """What is wrong with the rows of a run of full length, a list of sentences; empty if it is near the document.

    Medians over seeds have to lie within `TOLERANCE` or `WIDER_TOLERANCES` of the document's figures, RMSProp
    between -18.6 and -18.0, and RNN_log30_end_log_res below RMSProp at 100,000.
    """
    figures = {(row["experiment"], row["meta_iterations"]): row["median"] for row in summary(rows)}
    found = []
    for key, document in DOCUMENT.items():
        tolerance = WIDER_TOLERANCES.get(key, TOLERANCE)
        if key not in figures:
            found.append("%s at %d is missing" % key)
        elif not abs(figures[key] - document) <= tolerance:
            found.append("%s at %d is %.2f, not within %.1f of %.2f" % (*key, figures[key], tolerance, document))
    if not found and not -18.6 <= figures["RMSProp", 0] <= -18.0:
        found.append("RMSProp is %.2f, not within -18.6 and -18.0" % figures["RMSProp", 0])
    if not found and not figures["RNN_log30_end_log_res", 100000] < figures["RMSProp", 0]:
        found.append("RNN_log30_end_log_res at 100000 is not below RMSProp")
    return found
