"""Checkpoints: all that a training needs to continue as if it had never stopped.

A checkpoint is one archive (see `l2l.archives`) in a directory, `checkpoint-000000012000.npz` after 12,000
meta-iterations. It holds

    config            JSON: `format`, the trainer's record under `trainer`, versions and date
    variables/NAME    the weights, the meta-optimizer's slots and counters, and every other variable, by name
    place             number of the draw that comes next, and how many base iterations it has lived
    carried/NUMBER    position and state of that draw, where a horizon is longer than a segment
    history/COLUMN    the columns of the history
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import warnings
from typing import Optional

import numpy as np

from l2l import archives, checks
from l2l.describe import digests_in, is_digest, same, without_code
from l2l.results import measured_with
from l2l.runs.directory_lock import DirectoryLock
from l2l.runs.history import History, checked_column, columns_of
from l2l.tracebacks import levels_to_the_caller
from l2l.types import PathLike

FORMAT = 3
KEPT = 3  # checkpoints in a directory: the last ones

_NAME = "checkpoint-%012d.npz"
_PATTERN = re.compile(r"checkpoint-\d{12}\.npz")
_UNFINISHED = re.compile(r"(checkpoint|nonfinite)-\d{12}(-\d+)?\.npz\.[0-9a-f]{32}\.unfinished")

# Entries that may differ between the trainer that wrote a checkpoint and the one that reads it. The number of shards,
# `threads`, may differ too if shards carry nothing from one meta-iteration to the next.
_FREE = {"name", "engine", "xla", "built_by", "version", "begun"}


def _free(record):
    stages = [{**record, **stage} for stage in record.get("stages", [{}])]
    in_shards = any(one.get("estimator") is None and one["horizon"] != one["unroll_length"] for one in stages)
    return _FREE | (set() if in_shards else {"threads"})


def _compared(record, free):
    """The part of a record that two trainings are compared by; stages by their number."""
    kept = {key: value for key, value in record.items() if key not in free}
    if isinstance(kept.get("stages"), list):
        stages = enumerate(kept["stages"])
        kept["stages"] = {str(i): _compared(one, free) if isinstance(one, dict) else one for i, one in stages}
    return kept


def latest_checkpoint(directory: PathLike) -> Optional[str]:
    """Returns the path of the newest checkpoint in a directory, or None.

        l2l.latest_checkpoint("checkpoints")  # "checkpoints/checkpoint-000000012000.npz", say

    `Trainer(..., checkpoint_dir=directory, resume=True)` continues from it.

    Raises:
      TypeError: `directory` is no path.
      ValueError: `directory` is the empty string.
    """
    paths = _all(checks.path("directory", directory))
    return paths[-1] if paths else None


def _all(directory):
    """Paths of the checkpoints in a directory, the oldest first."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in sorted(names) if _PATTERN.fullmatch(name)]


def read(path, record, allow_changed_code):
    """Reads the arrays and the history of a checkpoint.

    A `RuntimeWarning` says if XLA computed differently where the checkpoint was written.

    Args:
      path: of the checkpoint.
      record: that of the trainer that is to continue.
      allow_changed_code: as for `check_same_trainer`.

    Returns:
      `(arrays, history)`: a dict from name to array, for `check_snapshot`, and a `History`.

    Raises:
      ValueError: the file is no checkpoint, is damaged or gone, has another format, or is from a trainer
        that was built in another way; the message says which.
    """
    try:
        stored, arrays = archives.read(path)
    except FileNotFoundError:
        raise ValueError("%r is gone, or is a link to a file that is gone" % path) from None
    number = stored.get("format")
    if type(number) is not int or number < 1 or not isinstance(stored.get("trainer"), dict):
        raise ValueError("%r is no checkpoint: its config says format %.100r" % (path, number))
    if number != FORMAT:
        raise ValueError(
            "%r has format %.20r, which %s version of l2l wrote; this one reads format %d"
            % (path, number, "a newer" if number > FORMAT else "an older", FORMAT)
        )
    check_same_trainer(path, stored["trainer"], record, allow_changed_code)
    columns = {column: arrays.pop("history/" + column, None) for column in columns_of(stored["trainer"])}
    if any(column is None for column in columns.values()):
        raise ValueError("%r is no checkpoint: it lacks a column of the history" % path)
    before, now = stored["trainer"].get("xla"), record["xla"]
    if before and now and before != now:
        warnings.warn(
            "%r was written where XLA computed otherwise: %s; from here on the training rounds differently than it "
            "would have without the interruption" % (path, "; ".join(_differences("xla", before, now))),
            RuntimeWarning,
            stacklevel=levels_to_the_caller(),
        )
    rows = np.stack([checked_column(path, columns, column) for column in columns], axis=1)
    if os.path.basename(path) != _NAME % len(rows):
        raise ValueError("%r is not what its name says: it holds %d meta-iterations" % (path, len(rows)))
    ours = {*_free(record), "code", "stages"} - {"begun"}
    history = History({**stored["trainer"], **{key: record[key] for key in ours if key in record}})
    history.append(rows)
    return arrays, history


def check_snapshot(path, arrays, snapshot, record):
    """Refuses arrays that are no snapshot of a training.

    Args:
      path: of the file, for error messages.
      arrays: a dict from name to array.
      snapshot: one of that training, for names, shapes and dtypes.
      record: of that training.

    Raises:
      ValueError: as `check_same_arrays`, or the place of the draw is impossible.
    """
    check_same_arrays(path, arrays, snapshot)
    draw, age = arrays["place"].tolist()
    ages = range(1) if record.get("estimator") else range(0, record["horizon"], record["unroll_length"])
    if draw < 0 or age not in ages:
        raise ValueError("%r is no checkpoint: its place is %r" % (path, [draw, age]))


def check_same_trainer(path, stored, record, allow_changed_code=None):
    """Refuses a file whose trainer was built with other arguments, or by other code.

    Args:
      path: of the file, for error messages.
      stored: the record of a trainer in the file.
      record: that of the trainer at hand.
      allow_changed_code: whether the code of the user's own functions and classes may differ. None: it may not, and the
        error does not suggest `allow_changed_code`.

    Raises:
      ValueError: names the arguments that differ, with both values, or whose code differs.
    """
    free = _free(record)
    stored, record = _compared(stored, free), _compared(record, free)
    if allow_changed_code:
        stored, record = without_code(stored), without_code(record)
    code = [one.pop("code", {}) for one in (stored, record)]
    values, digests = _differences("", stored, record), _differences("", *code)
    if values or digests:
        differences = values + digests
        is_code = all(one.startswith("code of ") for one in differences)
        helps = "; allow_changed_code=True goes on" * (is_code and allow_changed_code is not None)
        raise ValueError("%r is from another trainer: %.300s%s" % (path, "; ".join(differences), helps))


def _differences(name, there, here):
    """How two values of JSON types differ, a list of texts: parts of dicts by their names."""
    if same(there, here):
        return []
    if all(isinstance(one, list) and digests_in(one) for one in (there, here)) and len(there) == len(here):
        there, here = (dict(enumerate(one)) for one in (there, here))
    if not (isinstance(there, dict) and isinstance(here, dict)):
        if any(is_digest(one, "code") for one in (there, here)):
            return ["code of %.100s differs" % name]
        return ["%.100s=%.100r there, %.100r here" % (name, there, here)]
    have_code = all(is_digest(one, "code") for one in (there, here))
    differences = []
    for key in sorted({*there, *here}):
        one, other = there.get(key), here.get(key)
        if have_code and key == "code":
            differences += ["code of %.100s differs" % name] * (one != other)
        elif not (have_code and key == "function"):  # the same function may have two names
            differences += _differences("%s.%s" % (name, key) if name else str(key), one, other)
    return differences


def check_same_arrays(path, stored, expected):
    """Refuses a file whose arrays differ from the expected ones in name, shape or dtype.

    Raises:
      ValueError: names the first array that differs, and both forms.
    """
    for name in sorted({*stored, *expected}):
        there, here = (
            "absent" if name not in group else "%s of shape %r" % (group[name].dtype.name, group[name].shape)
            for group in (stored, expected)
        )
        if there != here:
            raise ValueError(
                "%r is from another trainer: %.100r is %.100s there, %.100s here" % (path, name, there, here)
            )


class CheckpointDirectory:
    """The checkpoint directory of one trainer, created if missing.

    It belongs to the trainer until `close`, see `DirectoryLock`. Files that a killed writer left unfinished are
    deleted.

    Args:
      path: of the directory.
      every: seconds between checkpoints.

    Raises:
      ValueError: as `DirectoryLock`, or a directory has the name of an unfinished file.
    """

    def __init__(self, path, every):
        self.path, self._every = os.path.abspath(path), every  # the current directory may change
        self.newest = None  # path of the last checkpoint that the trainer wrote or restored
        self._written = time.monotonic()
        self._lock = DirectoryLock(self.path)
        self.check_held, self.close = self._lock.check, self._lock.close
        for name in filter(_UNFINISHED.fullmatch, os.listdir(self.path)):
            unfinished = os.path.join(self.path, name)
            if os.path.isdir(unfinished):
                self.close()
                raise ValueError("checkpoint_dir must hold no directory of the name %r" % unfinished)
            os.unlink(unfinished)

    def check_ours(self):
        """Refuses to continue beside checkpoints of another training, since the two would be mixed or lost.

        Raises:
          ValueError: the newest checkpoint is not the last one that was written or restored; or as `check_held`.
        """
        self.check_held()
        newest = latest_checkpoint(self.path)
        if newest is not None and (self.newest is None or os.path.realpath(newest) != os.path.realpath(self.newest)):
            raise ValueError(
                "checkpoint_dir %r holds another training, up to %s; restore() it, or resume=True, to go on with it, "
                "or name an empty directory" % (self.path, os.path.basename(newest))
            )

    def is_due(self):
        return time.monotonic() - self._written > self._every

    def write(self, snapshot, history):
        """Writes a checkpoint in one step, then deletes all but the last `KEPT`.

        Raises:
          OSError: it cannot be written. Earlier checkpoints are unchanged.
          ValueError: it would be too large, with the same outcome; or as `check_held`.
        """
        self._written = time.monotonic()  # a disk that is full is not tried again at once
        self.check_held()
        path = os.path.join(self.path, _NAME % len(history))
        config = {"format": FORMAT, "trainer": history.config, **measured_with()}
        columns = {"history/" + column: getattr(history, column) for column in history.columns}
        archives.write(path, config, {**snapshot, **columns})
        self.newest = path
        self.check_held()
        for old in _all(self.path)[:-KEPT]:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # neither is a checkpoint to delete
                os.unlink(old)

    def write_or_warn(self, snapshot, history, errors):
        """Writes a checkpoint, but only warns of some errors, such as a full disk: the last checkpoint is still there.

        Args:
          snapshot, history: as for `write`.
          errors: class of an exception, or a tuple of them.
        """
        try:
            self.write(snapshot, history)
        except errors as error:
            warnings.warn(
                "checkpoint of %s could not be written (%s); the last one, %s, stays"
                % (history.config["name"], error, self.newest),
                RuntimeWarning,
                stacklevel=levels_to_the_caller(),
            )
