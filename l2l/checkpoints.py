"""Checkpoints: all that a training needs to go on as if it had never stopped.

A checkpoint is one archive (see `l2l.archives`) in a directory, `checkpoint-000000012000.npz` after 12,000
meta-iterations. It holds

    config            JSON: `format`, the trainer's configuration under `trainer`, versions and date
    variables/NAME    the weights, Adam's moments and powers, and every other variable, by name
    history/COLUMN    the columns of the history

How many meta-iterations there are says which draws come next, so nothing more is needed for the seeds.
"""

import fcntl
import os
import re
import time
import warnings

import numpy as np

from l2l import _checks, archives
from l2l.history import History, checked_column
from l2l.results import measured_with

FORMAT = 1
KEPT = 3  # checkpoints in a directory: the last ones

_NAME = "checkpoint-%012d.npz"
_PATTERN = re.compile(r"checkpoint-\d{12}\.npz")

# What may differ between the trainer that wrote a checkpoint and the one that reads it.
_FREE = {"name", "engine", "threads"}


def latest_checkpoint(directory):
    """Path of the newest checkpoint in a directory, or None where there is none.

    So that a script can be started again after it was killed::

        trainer = l2l.Trainer(problem, build, checkpoint_dir="run")
        if l2l.latest_checkpoint("run"):
            trainer.restore("run")
    """
    paths = _all(_checks.path("directory", directory))
    return paths[-1] if paths else None


def _all(directory):
    """Paths of the checkpoints in a directory, the oldest first."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in sorted(names) if _PATTERN.fullmatch(name)]


def read(path, config, variables):
    """The variables and the history of a checkpoint.

    Args:
      path: of the checkpoint.
      config: the configuration of the trainer that is to go on.
      variables: its variables, a dict from name to array, for their shapes and dtypes.

    Returns:
      `(variables, history)`: a dict from name to array and a `History`.

    Raises:
      ValueError: the file is no checkpoint, is damaged, has a newer format, or is from a trainer
        that was built in another way; the message says which.
    """
    stored, arrays = archives.read(path)
    number = stored.get("format")
    if type(number) is not int or number < 1 or not isinstance(stored.get("trainer"), dict):
        raise ValueError("%r is no checkpoint: its config says format %.100r" % (path, number))
    if number > FORMAT:
        raise ValueError(
            "%r has format %d, which a newer version of l2l wrote; this one reads up to %d" % (path, number, FORMAT)
        )
    check_same_trainer(path, stored["trainer"], config)
    columns = {column: arrays.pop("history/" + column, None) for column in History.COLUMNS}
    _check_variables(path, arrays, {"variables/" + name: value for name, value in variables.items()})
    if any(column is None for column in columns.values()):
        raise ValueError("%r is no checkpoint: it lacks a column of the history" % path)
    history = History({**stored["trainer"], **{key: config[key] for key in _FREE if key in config}})
    rows = [checked_column(path, columns, column) for column in History.COLUMNS]
    history.reserve(len(rows[0]))
    history.append(np.stack(rows, axis=1))
    return {name: arrays["variables/" + name] for name in variables}, history


def check_same_trainer(path, stored, config):
    """Refuses a file whose trainer was built with other arguments.

    Raises:
      ValueError: and which arguments, with both values.
    """
    differences = [
        "%s=%.200r there, %.200r here" % (key, stored.get(key), config.get(key))
        for key in sorted({*stored, *config} - _FREE)
        if stored.get(key) != config.get(key)
    ]
    if differences:
        raise ValueError("%r is from another trainer: %.2000s" % (path, "; ".join(differences)))


def _check_variables(path, stored, variables):
    """Names, shapes and dtypes must be those of the trainer."""
    for name in sorted({*stored, *variables}):
        there, here = (None if group.get(name) is None else group[name] for group in (stored, variables))
        described = [
            "absent" if array is None else "%s of shape %r" % (array.dtype.name, array.shape) for array in (there, here)
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

    def write(self, variables, history):
        """Writes a checkpoint in one step, then deletes all but the last `KEPT`.

        Raises:
          OSError: it cannot be written. The checkpoints before it are as they were.
        """
        self._written = time.monotonic()  # a disk that is full is not tried again at once
        path = os.path.join(self.path, _NAME % len(history))
        config = {"format": FORMAT, "trainer": history.config, **measured_with()}
        arrays = {"variables/" + name: value for name, value in variables.items()}
        arrays.update({"history/" + column: getattr(history, column) for column in History.COLUMNS})
        archives.write(path, config, arrays)
        self.newest = path
        for old in _all(self.path)[:-KEPT]:
            os.unlink(old)

    def write_or_warn(self, variables, history):
        """The same where a full disk is no reason to stop, since the last checkpoint is still there."""
        try:
            self.write(variables, history)
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
