"""A cell of a sweep: one training, with a directory for its checkpoints and its result.

The result is an archive (see `l2l.archives`), `result.npz`, which holds

    config                              JSON: `format`, `settings` of the cell, the trainer's record under `trainer`,
                                        the `row` of the table, measured `figures` but for arrays, versions, date
    history/COLUMN                      the columns of the history
    weights/NUMBER, adapted/NUMBER      the trained optimizer
    figures/NAME                        measured arrays

Beside it, `started.txt` has a line for each time that a process began to compute the cell, and `finished.txt` says how
many meta-iterations are done.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import socket
import time
from collections import namedtuple
from typing import Any, Callable, Dict, List

import numpy as np

from l2l import archives
from l2l.describe import digests_in
from l2l.optimizers.trained import Trained, builder
from l2l.results import measured_with
from l2l.runs import checkpoints
from l2l.runs.history import History, checked_column, columns_of
from l2l.runs.trainer import Trainer
from l2l.runs.training import PROGRESS_WINDOW
from l2l.tracebacks import short_traceback

FORMAT = 2
COLUMNS = ("meta_iterations", "log_average", "skipped", "stalled", "seconds")  # of a row, after the settings

SECONDS_BETWEEN_NOTES = 0.5  # of how many meta-iterations are done

_READABLE = 80  # characters of a cell's name before its hash


class Job(namedtuple("Job", ["settings", "meta_iterations", "directory", "allow_changed_code"])):
    """What a worker computes for a cell.

    `settings` is a dict of JSON types, `meta_iterations` a number, `directory` an absolute path, and
    `allow_changed_code` as for `Trainer.restore`.
    """

    result = property(lambda self: os.path.join(self.directory, "result.npz"))
    _finished = property(lambda self: os.path.join(self.directory, "finished.txt"))

    def note_finished(self, meta_iterations):
        """Writes how many meta-iterations are done, for the progress display."""
        with contextlib.suppress(OSError), open(self._finished, "w") as file:
            file.write("%d" % meta_iterations)

    def finished(self):
        """Returns how many meta-iterations are done, according to the last note; 0 without one."""
        with contextlib.suppress(OSError, ValueError), open(self._finished) as file:
            return max(0, min(int(file.read()), self.meta_iterations - 1))  # the last is told otherwise
        return 0

    def note_start(self):
        """Adds a line to `started.txt`: when, on which machine, in which process."""
        os.makedirs(self.directory, exist_ok=True)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        with open(os.path.join(self.directory, "started.txt"), "a") as file:
            file.write("%s %s process %d\n" % (now, socket.gethostname(), os.getpid()))


def name_of(settings):
    """Returns the name of a cell's directory: its settings, as far as file names allow, and a hash of all of them.

    Args:
      settings: dict of JSON types; their order does not matter.

    Raises:
      TypeError, ValueError: they are no JSON types.
    """
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    readable = ",".join("%s=%s" % item for item in sorted(settings.items()))
    readable = re.sub(r"[^\w.,=+-]+", "_", readable, flags=re.ASCII)[:_READABLE]
    return "%s-%s" % (readable, hashlib.sha256(text.encode()).hexdigest()[:10])


@short_traceback
def compute(job, build_trainer, measure, stop):
    """Computes a cell, from its newest checkpoint if it has one, and writes its result.

    Args:
      job: a `Job`.
      build_trainer, measure: as for `sweep`.
      stop: a `Stop`.

    Returns:
      The log average of the last loss at its end, or None if it was stopped before it was done.

    Raises:
      TypeError, ValueError: as `sweep` says of a cell; and whatever the functions or the training raise.
    """
    config, _ = _read(job)
    if config is not None:  # computed by another worker, which was lost before it could say so
        return config["row"]["log_average"]
    job.note_start()
    trainer = build_trainer(checkpoint_dir=job.directory, **job.settings)
    if not isinstance(trainer, Trainer):
        raise TypeError("build_trainer must return a Trainer, got %r" % (trainer,))
    with trainer:
        if not trainer.has_checkpoints:
            raise ValueError("build_trainer must hand checkpoint_dir on to the Trainer that it returns")
        if checkpoints.latest_checkpoint(job.directory):
            trainer.restore(job.directory, allow_changed_code=job.allow_changed_code)
        left = job.meta_iterations - len(trainer.history)
        if left < 0:
            raise _has_more(job, len(trainer.history))
        noted = time.monotonic()

        def report(finished, text):
            nonlocal noted
            if time.monotonic() - noted > SECONDS_BETWEEN_NOTES:
                noted = time.monotonic()
                job.note_finished(len(trainer.history))

        trainer._work(left, report, stop)
        if len(trainer.history) < job.meta_iterations:
            return None
        return write(job, trainer, {} if measure is None else measure(trainer))


def write(job, trainer, figures):
    """Writes the result of a cell, and returns its log average."""
    if not isinstance(figures, dict) or not all(isinstance(name, str) for name in figures):
        raise TypeError("measure must return a dict from name to figure, got %r" % (figures,))
    taken = sorted(set(figures) & {*COLUMNS, *job.settings})
    if taken:
        raise ValueError("measure must not name a figure like a setting or another column: %s" % ", ".join(taken))
    measured = {name: value for name, value in figures.items() if isinstance(value, np.ndarray)}
    plain = {name: plainly(value) for name, value in figures.items() if name not in measured}
    history, trained = trainer.history, trainer.trained()
    row = {
        **job.settings,
        "meta_iterations": len(history),
        "log_average": history.log_average(PROGRESS_WINDOW),
        "skipped": int(history.skipped.sum()),
        "stalled": bool(history.stalled()),
        "seconds": float(history.seconds.sum()),
        **plain,
    }
    config = {"format": FORMAT, "settings": job.settings, "trainer": history.config, "row": row, "figures": plain}
    arrays = {"history/" + column: getattr(history, column) for column in history.columns}
    arrays.update({"weights/%d" % i: array for i, array in enumerate(trained.weights)})
    arrays.update({"adapted/%d" % i: np.asarray(value) for i, value in enumerate(trained.adapted)})
    arrays.update({"figures/" + name: array for name, array in measured.items()})
    archives.write(job.result, {**config, **measured_with()}, arrays)
    return row["log_average"]


def plainly(value):
    """Returns a NumPy number as a Python number, and everything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _has_more(job, number):
    return ValueError(
        "%r has %d meta-iterations already, more than the %d that are asked for; ask for as many, or name another "
        "directory" % (job.directory, number, job.meta_iterations)
    )


def _read(job):
    """Reads config and arrays of a cell's result; `(None, None)` without a result, or with one of fewer
    meta-iterations.

    Raises:
      ValueError: it is damaged, of another cell or another format, or has more meta-iterations.
    """
    try:
        config, arrays = archives.read(job.result)
    except FileNotFoundError:
        return None, None
    number, row = config.get("format"), config.get("row")
    groups = [config.get(name) for name in ("settings", "trainer", "figures")]
    if type(number) is not int or not all(isinstance(group, dict) for group in [row, *groups]):
        raise ValueError("%r is no result of a cell" % job.result)
    if number != FORMAT:
        raise ValueError(
            "%r has format %.20r, which %s version of l2l wrote; this one reads format %d"
            % (job.result, number, "a newer" if number > FORMAT else "an older", FORMAT)
        )
    if groups[0] != json.loads(json.dumps(job.settings)):
        raise ValueError(
            "%r is of a cell with other settings, %.200r, not %.200r" % (job.result, groups[0], job.settings)
        )
    history, weights = _group(arrays, "history/"), _group(arrays, "weights/")
    adapted = _group(arrays, "adapted/")
    if set(history) != set(columns_of(config["trainer"])) or not isinstance(row.get("meta_iterations"), int):
        raise ValueError("%r is no result of a cell: its history is not whole" % job.result)
    lengths = {len(checked_column(job.result, history, column)) for column in history}
    if lengths != {row["meta_iterations"]}:
        raise ValueError("%r is no result of a cell: its history is not whole" % job.result)
    if not weights or any(set(group) != set(map(str, range(len(group)))) for group in [weights, adapted]):
        raise ValueError("%r is no result of a cell: its weights are not whole" % job.result)
    if not all(isinstance(row.get(name), (int, float)) for name in COLUMNS):
        raise ValueError("%r is no result of a cell: its row lacks some of %s" % (job.result, ", ".join(COLUMNS)))
    if not {*measured_with()} <= set(config):
        raise ValueError("%r is no result of a cell: it does not say what it was measured with" % job.result)
    if row["meta_iterations"] > job.meta_iterations:
        raise _has_more(job, row["meta_iterations"])
    return (config, arrays) if row["meta_iterations"] == job.meta_iterations else (None, None)


class Cell:
    """A finished cell of a sweep.

    It reads history and weights from its directory on demand.

        for cell in sweep.cells:
            print(cell.settings, cell.history().log_average(2000))

    Attributes:
      settings: the dict of settings that `build_trainer` got.
      directory: where its checkpoints and its `result.npz` are.
      figures: dict of what `measure` returned: JSON types and arrays.
      row: dict of JSON types for the table.
      version: the version of l2l that computed it.
    """

    def __init__(
        self, job: Job, build_trainer: Callable[..., Trainer], config: Dict[str, Any], arrays: Dict[str, np.ndarray]
    ) -> None:
        self.settings, self.directory = job.settings, job.directory
        self.row = config["row"]
        self.figures = {**config["figures"], **_group(arrays, "figures/")}
        self._job, self._build_trainer, self._record = job, build_trainer, config["trainer"]
        self.version = self._record.get("version")

    def __repr__(self):
        return "<Cell %s: %d meta-iterations, log average %.2f>" % (
            ", ".join("%s=%r" % item for item in self.settings.items()),
            self._job.meta_iterations,
            self.row["log_average"],
        )

    def history(self) -> History:
        """Reads the `History` of the cell."""
        config, arrays = self._result()
        history, columns = History(config["trainer"]), _group(arrays, "history/")
        rows = [checked_column(self._job.result, columns, column) for column in history.columns]
        history.append(np.stack(rows, axis=1))
        return history

    def trained(self) -> Trained:
        """Reads the trained optimizer, a `Trained`.

        If the optimizer is not one of the library's, this calls `build_trainer` again.
        """
        config, arrays = self._result()
        measured = {name: config[name] for name in ("versions", "machine", "date")}
        record = {**config["trainer"], "meta_iterations": self._job.meta_iterations, **measured}
        groups = _group(arrays, "weights/"), _group(arrays, "adapted/")
        weights, adapted = ([group[str(i)] for i in range(len(group))] for group in groups)
        try:
            build = builder(self._job.result, record)
        except ValueError:
            with self._rebuilt() as trainer:
                build = trainer.trained().build
        return Trained(build, weights, adapted, record)

    @property
    def code(self) -> List[str]:
        """Digests of the user's problem, builder and meta-loss, not the optimizer's, which may depend on settings."""
        code = self._record.get("code")
        parts = {key: part for key, part in code.items() if key != "optimizer"} if isinstance(code, dict) else code
        return digests_in([parts, self._record.get("problem_parameters")])

    def check_trainer(self) -> None:
        """Builds the trainer again, and refuses a result that came from another one.

        Raises:
          ValueError: it did, and what differs.
        """
        with self._rebuilt() as trainer:
            record = trainer.history.config
            checkpoints.check_same_trainer(self._job.result, self._record, record, self._job.allow_changed_code)

    def _result(self):
        config, arrays = _read(self._job)
        if config is None:
            raise ValueError("%r is gone" % self._job.result)
        return config, arrays

    def _rebuilt(self):
        return self._build_trainer(checkpoint_dir=None, **self.settings)


def _group(arrays, prefix):
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def finished(job, build_trainer):
    """Returns the `Cell` of a job, or None if it is not done.

    Raises:
      ValueError: as `_read`.
    """
    config, arrays = _read(job)
    return None if config is None else Cell(job, build_trainer, config, arrays)
