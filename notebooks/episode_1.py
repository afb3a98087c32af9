"""Episode 1 as data: what the document reports, and our figures beside it. Used by the notebook of that name."""

import episodes
from episodes import length, seeds, summary  # noqa: F401, the notebook has them from here

from l2l import format_table, log_average

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


def window(meta_iterations):
    """Meta-iterations averaged at a checkpoint: 2,000 up to 20,000 meta-iterations, else 5,000, as in the document."""
    return length(2000 if meta_iterations <= 20000 else 5000)


def training_rows(histories, checkpoints):
    """Our figures of one experiment, as `episodes.training_rows` over each checkpoint's `window`."""
    return episodes.training_rows(histories, checkpoints, DOCUMENT, window)


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
      losses: dict from name to an array `[draws, T]`, as from `evaluate`.
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


def table(rows):
    """Our figures beside the document's, as `episodes.table`; the first trial is left out."""
    return episodes.table([row for row in rows if "mean_summed_loss" not in row])


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
