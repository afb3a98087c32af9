"""Averages of losses that span decades."""

from __future__ import annotations

import numpy as np

from l2l import checks

# Added to losses under a decimal log, as in Episode 1, so that an exact zero counts as 1e-38.
LOG_FLOOR = 1e-38


def log10(values):
    """`log10(value + 1e-38)`, float64."""
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log10(values + LOG_FLOOR)


def any_negative(values):
    """Whether one is below 0. NaN is not."""
    with np.errstate(invalid="ignore"):
        return bool((values < 0).any())


def log_average(values: np.ndarray) -> float:
    """Returns the mean of `log10(value + 1e-38)`.

    A log average of -6 means that the values lie around 1e-6.

        l2l.log_average([1e-4, 1e-8])  # -6.0

    NaN counts as infinity, because losses that became NaN diverged. So one diverged value makes the average infinite.

    Args:
      values: array of any shape.

    Returns:
      A float; NaN if the array is empty or has a negative value, which has no logarithm.
    """
    values = np.asarray(values, np.float64)
    if not values.size or any_negative(values):
        return float("nan")
    return float(log10(np.where(np.isnan(values), np.inf, values)).mean())


def growing_log_average(values, window):
    """As `rolling_log_average`, but the window grows to its size little by little: for figures.

    At the `i`-th value it holds the last `window * (1 - exp(-i / (2 * window)))` values. That is half of all at first,
    and at least a twentieth of `window` if there are so many. A plain rolling window loses the start when it is full,
    which gives the line a kink that the values do not have.
    """
    logs = log10(values)
    known = ~np.isnan(logs)
    kept, result = logs[known], np.full(logs.shape, np.nan)
    ends = np.arange(1, kept.size + 1)
    widths = np.maximum(np.ceil(window * -np.expm1(-ends / (2.0 * window))).astype(int), 1 + window // 20)
    widths = np.minimum(widths, ends)
    is_infinite = np.isinf(kept)  # one must not spoil what follows it
    sums, infinite = (np.append(0, np.cumsum(one)) for one in [np.where(is_infinite, 0, kept), is_infinite])
    means = (sums[ends] - sums[ends - widths]) / widths
    means[infinite[ends] > infinite[ends - widths]] = np.inf
    result[known] = 10**means
    return result


def rolling_log_average(values: np.ndarray, window: int = 500) -> np.ndarray:
    """Returns the log average of the last `window` values at each place, as a value.

        10^mean(log10(value + 1e-38))

    At the start the window holds the values so far. NaN is left out: a window holds the last `window` values that are
    not NaN, and the result is NaN where the value is.

    Args:
      values: array `[n]`.
      window: a positive integer.

    Returns:
      float64 array `[n]`.

    Raises:
      TypeError, ValueError: `window` is not a positive integer, or `values` is not one-dimensional.
    """
    window = checks.positive_integer("window", window)
    logs = log10(values)
    if logs.ndim != 1:
        raise ValueError("values must have one dimension, got shape %s" % (logs.shape,))
    known = ~np.isnan(logs)
    result = np.full(logs.shape, np.nan)
    with np.errstate(over="ignore"):
        result[known] = 10 ** rolling_mean(logs[known], window)
    return result


def rolling_mean(values, window):
    """The mean of each value of an array `[n]` and those before it, up to `window` in all: float64 `[n]`."""
    if not values.size:
        return values
    # A convolution adds each window afresh. Differences of one running sum would be quicker, but a large value would
    # spoil all that follow it.
    sums = np.convolve(values, np.ones(min(window, values.size)))[: values.size]
    return sums / np.minimum(np.arange(1, values.size + 1), window)
