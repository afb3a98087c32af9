"""Checkpoints: all that a training needs to go on as if it had never stopped.

A checkpoint is one archive (see `l2l.archives`) in a directory, `checkpoint-000000012000.npz` after 12,000
meta-iterations. It holds

    config            JSON: `format`, the trainer's record under `trainer`, versions and date
    variables/NAME    the weights, Adam's moments and powers, and every other variable, by name
    place             number of the draw that comes next, and how many base iterations it has lived
    carried/NUMBER    position and state of that draw, where a horizon is longer than a segment
    history/COLUMN    the columns of the history
"""

import fcntl
import os
import re
import time
import warnings

import numpy as np

from l2l import archives, checks
from l2l.runs.history import History, checked_column
from l2l.runs.results import measured_with

FORMAT = 2
KEPT = 3  # checkpoints in a directory: the last ones

_NAME = "checkpoint-%012d.npz"
_PATTERN = re.compile(r"checkpoint-\d{12}\.npz")

# What may differ between the trainer that wrote a checkpoint and the one that reads it; and, where nothing is
# carried from one meta-iteration to the next in shards, the number of these.
_FREE = {"name", "engine", "built_by"}


def _free(record):
    return _FREE | ({"threads"} if record["horizon"] == record["steps"] else set())


def latest_checkpoint(directory):
    """Path of the newest checkpoint in a directory, or None where there is none.

    So that a script can be started again after it was killed::

        trainer = l2l.Trainer(problem, build, checkpoint_dir="run")
        if l2l.latest_checkpoint("run"):
            trainer.restore("run")
    """
    paths = _all(checks.path("directory", directory))
    return paths[-1] if paths else None


def _all(directory):
    """Paths of the checkpoints in a directory, the oldest first."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in sorted(names) if _PATTERN.fullmatch(name)]


def read(path, record, snapshot):
    """The snapshot and the history of a checkpoint.

    Args:
      path: of the checkpoint.
      record: that of the trainer that is to go on.
      snapshot: a snapshot of its own, a dict from name to array, for names, shapes and dtypes.

    Returns:
      `(snapshot, history)`: a dict from name to array and a `History`.

    Raises:
      ValueError: the file is no checkpoint, is damaged, has another format, or is from a trainer
        that was built in another way; the message says which.
    """
    stored, arrays = archives.read(path)
    number = stored.get("format")
    if type(number) is not int or number < 1 or not isinstance(stored.get("trainer"), dict):
        raise ValueError("%r is no checkpoint: its config says format %.100r" % (path, number))
    if number != FORMAT:
        raise ValueError(
            "%r has format %d, which %s version of l2l wrote; this one reads format %d"
            % (path, number, "a newer" if number > FORMAT else "an older", FORMAT)
        )
    check_same_trainer(path, stored["trainer"], record)
    columns = {column: arrays.pop("history/" + column, None) for column in History.COLUMNS}
    _check_arrays(path, arrays, snapshot)
    if any(column is None for column in columns.values()):
        raise ValueError("%r is no checkpoint: it lacks a column of the history" % path)
    if (arrays["place"] < 0).any():
        raise ValueError("%r is no checkpoint: its place is %r" % (path, arrays["place"].tolist()))
    history = History({**stored["trainer"], **{key: record[key] for key in _free(record) if key in record}})
    rows = [checked_column(path, columns, column) for column in History.COLUMNS]
    history.reserve(len(rows[0]))
    history.append(np.stack(rows, axis=1))
    return arrays, history


def check_same_trainer(path, stored, record):
    """Refuses a file whose trainer was built with other arguments.

    Raises:
      ValueError: and which arguments, with both values.
    """
    differences = [
        "%s=%.200r there, %.200r here" % (key, stored.get(key), record.get(key))
        for key in sorted({*stored, *record} - _free(record))
        if stored.get(key) != record.get(key)
    ]
    if differences:
        raise ValueError("%r is from another trainer: %.2000s" % (path, "; ".join(differences)))


def _check_arrays(path, stored, snapshot):
    """Names, shapes and dtypes must be those of the trainer."""
    for name in sorted({*stored, *snapshot}):
        described = [
            "absent" if name not in group else "%s of shape %r" % (group[name].dtype.name, group[name].shape)
            for group in (stored, snapshot)
        ]
        if described[0] != described[1]:
            raise ValueError("%r is from another optimizer: %.200r is %s there, %s here" % (path, name, *described))


class CheckpointDirectory:
    """The directory of one trainer, made where it is missing: its lock, and what was written when.

    The lock ends with the process, however that ends. What a killed writer left unfinished is deleted.

    Args:
      path: of the directory.
      every: seconds between checkpoints.

    Raises:
      ValueError: another trainer, of this process or another, has the directory.
    """

    def __init__(self, path, every):
        self.path, self._every = os.path.abspath(path), every  # the current directory may change
        self.newest = None  # path of the last checkpoint that the trainer wrote or restored
        self._written = time.monotonic()
        os.makedirs(path, exist_ok=True)
        self._lock = open(os.path.join(path, "lock"), "a+")  # noqa: SIM115, it stays open
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read(100).strip()
            self._lock.close()
            raise ValueError(
                "checkpoint_dir %r is in use by a trainer of %s; close() that one, or name another directory"
                % (path, owner or "another process")
            ) from None
        self._lock.truncate(0)
        self._lock.write("process %d" % os.getpid())
        self._lock.flush()
        for name in os.listdir(path):
            if name.endswith(".unfinished") and _PATTERN.match(name):
                os.unlink(os.path.join(path, name))

    def check_ours(self):
        """Refuses to go on where there are checkpoints of another training, since they would be mixed or lost.

        Raises:
          ValueError: the newest checkpoint is not the last one that was written or restored.
        """
        newest = latest_checkpoint(self.path)
        if newest is not None and (self.newest is None or os.path.realpath(newest) != os.path.realpath(self.newest)):
            raise ValueError(
                "checkpoint_dir %r holds another training, up to %s; restore() it to go on with it, or name an "
                "empty directory" % (self.path, os.path.basename(newest))
            )

    def is_due(self):
        return time.monotonic() - self._written > self._every

    def write(self, snapshot, history):
        """Writes a checkpoint in one step, then deletes all but the last `KEPT`.

        Raises:
          OSError: it cannot be written. The checkpoints before it are as they were.
        """
        self._written = time.monotonic()  # a disk that is full is not tried again at once
        path = os.path.join(self.path, _NAME % len(history))
        config = {"format": FORMAT, "trainer": history.config, **measured_with()}
        columns = {"history/" + column: getattr(history, column) for column in History.COLUMNS}
        archives.write(path, config, {**snapshot, **columns})
        self.newest = path
        for old in _all(self.path)[:-KEPT]:
            os.unlink(old)

    def write_or_warn(self, snapshot, history):
        """The same where a full disk is no reason to stop, since the last checkpoint is still there."""
        try:
            self.write(snapshot, history)
        except OSError as error:
            warnings.warn(
                "checkpoint of %s could not be written (%s); the last one, %s, stays"
                % (history.config["name"], error, self.newest),
                RuntimeWarning,
                stacklevel=5,
            )

    def close(self):
        """Frees the directory for another trainer."""
        self._lock.close()
