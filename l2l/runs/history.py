"""The history of a run: NumPy arrays with one entry for each meta-iteration."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import numpy as np

from l2l import archives, checks
from l2l.averages import any_negative, log_average
from l2l.types import PathLike

_CHECKED_WINDOW = 1000  # meta-iterations, for `History.complaints`
_MANY_SKIPPED = 10  # meta-iterations; fewer are chance
_SHORT = 0.01  # the `output_scale` that is advised
_GROWING = ("ratio", "log_ratio", "secant")  # castings whose updates grow with the gradients


class History:
    """What a trainer measured, one entry for each meta-iteration.

        history = trainer.run(2000)
        history.log_average(500)  # the mean of log10 of the last loss over the last 500
        history.save("history.npz")

    Attributes:
      config: the record of the training, a dict of JSON types: what was trained and how, with the seeds.
      meta_loss: float64 `[n]`, the meta-loss of each meta-iteration, before its update.
      last_loss: float64 `[n]`, the last of the `T` losses; with a batch, `10^mean(log10(loss))` over it.
      gradient_norm: float64 `[n]`, global norm of the meta-gradient before clipping.
      seconds: float64 `[n]`, time of each meta-iteration.
      columns: the names of the columns: these four, and the next three with an estimator.
      problem: with an estimator, float64 `[n]`: the number of the problem that was drawn, in their order, from 0.
      horizon: with an estimator, float64 `[n]`: the horizon, in base iterations.
      diverged: with an estimator, float64 `[n]`: how many members diverged.
    """

    COLUMNS = ("meta_loss", "last_loss", "gradient_norm", "seconds")
    COLUMNS_OF_ESTIMATORS = ("problem", "horizon", "diverged")

    def __init__(self, config: Optional[Dict[str, Any]] = None) -> None:
        self.config = dict(config or {})
        self.columns = columns_of(self.config)
        self._columns = np.zeros([len(self.columns), 0])
        self._length = 0

    meta_loss = property(lambda self: self._columns[0, : self._length])
    last_loss = property(lambda self: self._columns[1, : self._length])
    gradient_norm = property(lambda self: self._columns[2, : self._length])
    seconds = property(lambda self: self._columns[3, : self._length])
    problem = property(lambda self: self._column("problem"))
    horizon = property(lambda self: self._column("horizon"))
    diverged = property(lambda self: self._column("diverged"))

    def _column(self, name):
        if name not in self.columns:
            raise AttributeError("a history has %r only with an estimator" % name)
        return self._columns[self.columns.index(name), : self._length]

    @property
    def skipped(self) -> np.ndarray:
        """Boolean `[n]`: where a figure is NaN or infinite, and no weight was updated."""
        return ~np.isfinite(self._columns[:3, : self._length]).all(axis=0)

    def __len__(self) -> int:
        """Meta-iterations so far."""
        return self._length

    def __repr__(self):
        name = self.config.get("name", "unnamed")
        return "<History of %s: %d meta-iterations, last loss %.2e>" % (
            name,
            len(self),
            self.last_loss[-1] if len(self) else float("nan"),
        )

    def reserve(self, number: int) -> None:
        """Reserves memory for more meta-iterations, 8 bytes for each and each column, so that none is missing later."""
        if self._length + number > self._columns.shape[1]:
            columns = np.empty([len(self.columns), self._length + number])
            columns[:, : self._length] = self._columns[:, : self._length]
            columns[:, self._length :] = np.nan  # memory that was never written is not there yet
            self._columns = columns

    def append(self, rows: np.ndarray) -> None:
        """Adds meta-iterations: array `[n, C]` in the order of `columns`."""
        rows = np.asarray(rows, np.float64).reshape(-1, len(self.columns))
        stop = self._length + len(rows)
        if stop > self._columns.shape[1]:
            self.reserve(max(len(rows), self._length))  # twice as much: appending one by one stays cheap
        self._columns[:, self._length : stop] = rows.T
        self._length = stop

    def part(self, first: int, last: int, config: Dict[str, Any]) -> History:
        """Returns the meta-iterations from `first` to before `last`, a `History`.

        `config` is its configuration."""
        part = History(config)
        part.append(self._columns[:, first:last].T)
        return part

    def log_average(self, window: int, at: Optional[int] = None) -> float:
        """Returns the log average of the last losses over `window` meta-iterations.

        These are the last ones up to meta-iteration number `at`, by default the last of all; see `l2l.log_average`.
        Meta-iterations that were skipped changed nothing and are left out; `skipped` shows them.

        Raises:
          TypeError, ValueError: `window` or `at` is not a positive integer, or there are fewer than
            `at` meta-iterations.
        """
        window = checks.positive_integer("window", window)
        at = len(self) if at is None else checks.positive_integer("at", at)
        if at > len(self):
            raise ValueError("at must not exceed the %d meta-iterations of the history, got %r" % (len(self), at))
        part = slice(max(0, at - window), at)
        return log_average(self.last_loss[part][~self.skipped[part]])

    def complaints(self) -> List[str]:
        """Returns what may be wrong with the run, a list of sentences; empty for a sound one.

        It reports meta-iterations that were skipped for a NaN or an infinity, and what `stalled` finds.
        """
        name = self.config.get("name", "this run")
        skipped = np.flatnonzero(self.skipped)
        if not skipped.size:
            return self.stalled()
        return [
            "%s: %d of %d meta-iterations had a NaN or an infinity and changed nothing, the first was number %d"
            % (name, skipped.size, len(self), skipped[0]),
            *self.stalled(),
        ]

    def stalled(self) -> List[str]:
        """Returns sentences about a run that seems to get nowhere; an empty list for a sound one.

        `Trainer.run` warns of them. There are three cases:

        - More than half of the meta-iterations were skipped, and at least ten. Nothing else is then looked for.
        - The run has collapsed: its log average has risen by more than 3 above its lowest value.
        - The log average has not fallen by 0.1 since the first 1,000 meta-iterations. The run is stuck, or it had
          converged by then: the history cannot tell.

        The last two are looked for from 5,000 meta-iterations on, and use the log average of the last losses over
        windows of 1,000. Losses that may be negative have no log average, so nothing is said of them.
        """
        name, found = self.config.get("name", "this run"), []
        skipped = np.count_nonzero(self.skipped)
        if skipped >= _MANY_SKIPPED and 2 * skipped > len(self):
            return [
                "%s learns little: %d of %d meta-iterations had a NaN or an infinity and changed no weight. Its first "
                "steps may be too long%s" % (name, skipped, len(self), _remedies(self.config.get("optimizer")))
            ]
        windows = len(self) // _CHECKED_WINDOW
        if windows >= 5 and not any_negative(self.last_loss):
            ends = [self.log_average(_CHECKED_WINDOW, (i + 1) * _CHECKED_WINDOW) for i in range(windows)]
            first, last, lowest = ends[0], ends[-1], np.nanmin(ends) if np.isfinite(ends).any() else np.nan
            if last > lowest + 3:
                found.append(
                    "%s has collapsed: the log average of the last loss was down to %.2f at meta-iteration %d, "
                    "and is %.2f now" % (name, lowest, (np.nanargmin(ends) + 1) * _CHECKED_WINDOW, last)
                )
            elif not last < first - 0.1:
                found.append(
                    "%s: the log average of the last loss was %.2f in the first %d meta-iterations and is %.2f in the "
                    "last; it is stuck or had converged by then" % (name, first, _CHECKED_WINDOW, last)
                )
        return found

    def to_frame(self) -> Any:
        """Returns a `pandas.DataFrame` of `columns` and `skipped`.

        The index counts meta-iterations from 1.

        Raises:
          ImportError: pandas is not installed; the extra `l2l[data]` has it.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("History.to_frame needs pandas: pip install 'pandas<1.2'") from error
        columns = {column: getattr(self, column).copy() for column in self.columns}
        index = pandas.RangeIndex(1, len(self) + 1, name="meta_iteration")
        return pandas.DataFrame({**columns, "skipped": self.skipped}, index=index)

    def save(self, path: PathLike) -> None:
        """Writes columns and configuration to a NumPy `.npz` file; nothing is pickled.

        Raises:
          TypeError, ValueError: `path` is no path, or the configuration cannot be stored.
          OSError: it cannot be written. A file of that name is unchanged.
        """
        archives.write(path, self.config, {column: getattr(self, column) for column in self.columns})

    @classmethod
    def load(cls, path: PathLike) -> History:
        """Reads what `save` wrote.

        A file from someone else is safe to read: no code in it runs.

            history = l2l.History.load("history.npz")

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file is damaged or no saved history.
        """
        config, columns = archives.read(path)
        history = cls(config)
        if set(columns) != set(history.columns):
            raise ValueError("%r must hold a history, %s, got %.200s" % (path, history.columns, sorted(columns)))
        history.append(np.stack([checked_column(path, columns, name) for name in history.columns], axis=1))
        return history


def _remedies(optimizer):
    """What would shorten the first steps of an optimizer with this description, but for what it does already."""
    scales = [scale for scale in _values(optimizer, "output_scale") if isinstance(scale, (int, float))]
    kinds = [casting.get("kind") for casting in _values(optimizer, "casting") if isinstance(casting, dict)]
    remedies = []
    if max(scales, default=0) > _SHORT:
        remedies.append("build the network with output_scale=%g" % _SHORT)
    if any(kind in _GROWING for kind in kinds):
        remedies.append("take a casting whose updates do not grow with the gradients, such as moments or log_and_sign")
    return ": " * bool(remedies) + ", or ".join(remedies)


def _values(described, key):
    """All values of a key in a description, which may be that of a dict of networks; a list."""
    if not isinstance(described, dict):
        return []
    if key in described:
        return [described[key]]
    return [found for one in described.values() for found in _values(one, key)]


def columns_of(config):
    """The names of the columns of a history with this configuration, a tuple."""
    return History.COLUMNS + (History.COLUMNS_OF_ESTIMATORS if config.get("estimator") else ())


def checked_column(path, columns, name):
    """A column of a history from a file: float64 `[n]`, as many as the meta-losses.

    Raises:
      ValueError: it is something else.
    """
    column, length = columns[name], columns["meta_loss"].shape
    if column.dtype != np.float64 or column.ndim != 1 or column.shape != length:
        raise ValueError(
            "%r must hold float64 columns [n] of one length, %s has dtype %s and shape %.100s"
            % (str(path), name, column.dtype, str(column.shape))
        )
    return column
