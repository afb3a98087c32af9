"""What the notebooks share: length and seeds of their runs, the mean of the last losses, rows, and tables of figures.

The environment variable `L2L_LENGTH`, a number up to 1, shortens every run of a notebook, for a rehearsal; `L2L_SEEDS`,
such as `1,2,3,4,5`, chooses the seeds.
"""

import itertools
import os

import numpy as np

from l2l import format_table

LAST = 20  # base iterations whose mean loss counts, where losses are of minibatches


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
    return max(1, round(meta_iterations * factor))


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


def log_of_last(losses, steps=None, *, last=LAST, smallest=1e-38):
    """The natural logarithm of each draw's mean loss over the last base iterations, `[draws]`; infinity if it diverged.

    Args:
      losses: array `[draws, T]`.
      steps: up to which base iteration; None for all.
      last: how many are averaged, as far as there are so many.
      smallest: what a smaller mean counts as.
    """
    means = np.asarray(losses, np.float64)[:, :steps][:, -last:].mean(axis=1)
    return np.log(np.where(np.isfinite(means), np.maximum(means, smallest), np.inf))


def training_rows(histories, checkpoints, document, window):
    """Our figures of one experiment, a row for each checkpoint and seed.

    Args:
      histories: list of `History`, one for each seed; the configuration names the experiment.
      checkpoints: the document's numbers of meta-iterations, integers.
      document: dict from name and meta-iterations to the document's figure.
      window: function from a checkpoint to how many meta-iterations before it are averaged.

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
            "document": document.get((config["name"], at)),
            "seed": config["weights_seed"],
            "draws_seed": config["draws_seed"],
            "seconds": float(history.seconds[:at].sum()),
        }
        rows.append(row)
    return rows


def summary(rows):
    """One row for all seeds of an experiment and checkpoint: median, lowest and highest log average.

    Args:
      rows: dicts with the keys experiment, casting, meta_loss, meta_iterations, document, average_log_result, seed.

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
    """Our figures beside the document's, a line for all seeds of an experiment and checkpoint.

    From several seeds there are median, lowest and highest, from one its only figure.

    Args:
      rows: as for `summary`, with the same seeds for all experiments.
    """
    seeds = {row["seed"] for row in rows}
    columns = {"experiment": "", "meta_iterations": ",d", "document": ".2f"}
    if len(seeds) > 1:
        columns.update({"seeds": "d", "median": ".2f", "lowest": ".2f", "highest": ".2f", "difference": "+.2f"})
        return format_table(summary(rows), columns)
    ours = "ours, seed %d" % seeds.pop()
    columns.update({ours: ".2f", "difference": "+.2f"})
    return format_table([{**row, ours: row["median"]} for row in summary(rows)], columns)
