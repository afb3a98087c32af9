"""What a run produced: NumPy arrays, one entry for each meta-iteration."""

import json

import numpy as np

from l2l import _checks

# Added to losses under a decimal log, as in Episode 1, so that an exact zero counts as 1e-38.
LOG_FLOOR = 1e-38


def _log10(values):
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log10(values + LOG_FLOOR)


def log_average(values):
    """The mean of `log10(value + 1e-38)`, NaN left out: -6 says that the values lie around 1e-6.

    Args:
      values: array of any shape.

    Returns:
      A float, NaN where there is no value.
    """
    logs = _log10(values)
    logs = logs[~np.isnan(logs)]
    return float(logs.mean()) if logs.size else float("nan")


def rolling_log_average(values, window=500):
    """The log average of the last `window` values at each place, as a value: `10^mean(log10(value + 1e-38))`.

    At the start the window holds what there is. NaN is left out: a window holds the last
    `window` numbers that are none, and the result is NaN where the value is.

    Args:
      values: array `[n]`.
      window: a positive integer.

    Returns:
      float64 array `[n]`.

    Raises:
      TypeError, ValueError: `window` is not a positive integer, or `values` is not one-dimensional.
    """
    window = _checks.positive_integer("window", window)
    logs = _log10(values)
    if logs.ndim != 1:
        raise ValueError("values must have one dimension, got shape %s" % (logs.shape,))
    known = ~np.isnan(logs)
    kept = logs[known]
    result = np.full(logs.shape, np.nan)
    if kept.size:
        # A convolution adds each window afresh. Differences of one running sum would be quicker, but
        # an infinite value would spoil all that follows it.
        sums = np.convolve(kept, np.ones(min(window, kept.size)))[: kept.size]
        counts = np.minimum(np.arange(1, kept.size + 1), window)
        with np.errstate(over="ignore"):
            result[known] = 10 ** (sums / counts)
    return result


class History:
    """What a trainer measured.

    Attributes:
      config: dict of what was trained and how, with the seeds; JSON types only.
      meta_loss: float64 `[n]`, the meta-loss of each meta-iteration, before its update.
      last_loss: float64 `[n]`, the last of the `T` losses; with a batch, `10^mean(log10(loss))` over it.
      gradient_norm: float64 `[n]`, global norm of the meta-gradient before clipping.
      seconds: float64 `[n]`, time of each meta-iteration.
    """

    COLUMNS = ("meta_loss", "last_loss", "gradient_norm", "seconds")

    def __init__(self, config=None):
        self.config = dict(config or {})
        for column in self.COLUMNS:
            setattr(self, column, np.zeros(0))

    def __len__(self):
        """Meta-iterations so far."""
        return len(self.last_loss)

    def __repr__(self):
        name = self.config.get("name", "unnamed")
        return "<History of %s: %d meta-iterations, last loss %.2e>" % (
            name,
            len(self),
            self.last_loss[-1] if len(self) else float("nan"),
        )

    def append(self, rows):
        """Adds meta-iterations: array `[n, 4]` in the order of `COLUMNS`."""
        for column, values in zip(self.COLUMNS, np.asarray(rows, np.float64).reshape(-1, len(self.COLUMNS)).T):
            setattr(self, column, np.concatenate([getattr(self, column), values]))

    def log_average(self, window, at=None):
        """The log average of the last losses over the `window` meta-iterations up to `at` (default: the last).

        Raises:
          TypeError, ValueError: `window` or `at` is not a positive integer, or there are fewer than
            `at` meta-iterations.
        """
        window = _checks.positive_integer("window", window)
        at = len(self) if at is None else _checks.positive_integer("at", at)
        if at > len(self):
            raise ValueError("at must not exceed the %d meta-iterations of the history, got %r" % (len(self), at))
        return log_average(self.last_loss[max(0, at - window) : at])

    def save(self, path):
        """Writes columns and configuration to a NumPy `.npz` file; nothing in it is pickled."""
        columns = {column: getattr(self, column) for column in self.COLUMNS}
        with open(str(path), "wb") as file:  # given a name alone, NumPy would add its own suffix
            np.savez_compressed(file, config=np.array(json.dumps(self.config)), **columns)

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote.

        Raises:
          ValueError: a file that lacks a column, or holds pickled objects.
        """
        with np.load(path, allow_pickle=False) as stored:
            missing = [name for name in ("config",) + cls.COLUMNS if name not in stored]
            if missing:
                raise ValueError("path must name a saved history, %r lacks %s" % (str(path), ", ".join(missing)))
            history = cls(json.loads(str(stored["config"])))
            history.append(np.stack([stored[column] for column in cls.COLUMNS], axis=1))
        return history
