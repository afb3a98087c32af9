"""The numbers behind the pictures: rates, components, levels. NumPy alone."""

import numpy as np

MOST_DECADES = 8  # of a range of colors


def learning_rates(gradients, updates):
    """`-updates / gradients`, float64, NaN where the gradient is 0."""
    gradients = np.asarray(gradients, np.float64)
    with np.errstate(invalid="ignore"):
        return -np.asarray(updates, np.float64) / np.where(gradients == 0, np.nan, gradients)


def principal_components(rows):
    """Returns the first two principal components of rows `[n, S]`, and their shares of the variance.

    They are taken about the mean, `[n, 2]`. The sign of a component is the one that makes its largest weight positive.
    """
    centred = rows - rows.mean(axis=0)
    # A row of zeros changes nothing, and a single row has two components too.
    _, sizes, directions = np.linalg.svd(np.vstack([centred, np.zeros(rows.shape[1])]), full_matrices=False)
    directions = directions[:2] * np.sign(directions[[0, 1], np.abs(directions[:2]).argmax(axis=1)])[:, np.newaxis]
    return centred @ directions.T, sizes[:2] ** 2 / max(np.sum(sizes**2), np.finfo(np.float64).tiny)


def contour_levels(losses):
    """Losses half a decade apart, of both signs, over at most six decades below the largest size; a sorted array."""
    losses = losses[np.isfinite(losses)]
    sizes = np.abs(losses[losses != 0])
    if not sizes.size:
        return np.zeros(0)
    top = np.log10(sizes.max())
    bottom = max(np.log10(sizes.min()), top - 6)
    levels = 10 ** (0.5 * (np.ceil(2 * bottom) + np.arange(13)))
    levels = np.concatenate([-levels[::-1], levels])
    return levels[(levels >= losses.min()) & (levels <= losses.max())]


def over_draws(rates):
    """Percentiles 10, 50 and 90 of the sizes of rates `[draws, T]`, and the share below 0, each `[T]`.

    NaN where half of the rates or more are unknown.
    """
    known = np.isfinite(rates)
    few = known.sum(axis=0) * 2 <= len(rates)
    results = np.full([4, rates.shape[1]], np.nan)
    for t in np.flatnonzero(~few):
        here = rates[known[:, t], t]
        results[:, t] = [*np.percentile(np.abs(here), [10, 50, 90]), np.mean(here < 0)]
    return results


def decades(rates):
    """The range of the colors: powers of ten around the middle nine tenths of all rates, at most eight."""
    sizes = np.abs(rates[np.isfinite(rates) & (rates != 0)])
    if not sizes.size:
        return -1, 0
    low, high = np.log10(np.percentile(sizes, [5, 95]))
    low, high = int(np.floor(low + 1e-6)), int(np.ceil(high - 1e-6))  # 0.1 is a power of ten, in float32 too
    return max(min(low, high - 2), high - MOST_DECADES), high


def signed_log(rates, low, high):
    """Decades above `10^low`, with the sign of the rate, from `low - high` to `high - low`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sign(rates) * np.clip(np.log10(np.abs(rates)) - low, 0, high - low)
