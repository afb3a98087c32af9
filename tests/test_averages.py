import numpy as np
import pytest

import l2l
from l2l.averages import growing_log_average

pytestmark = pytest.mark.filterwarnings("error")


def naive_rolling_log_average(values, window):
    """The document's definition, a window at a time."""
    values = np.asarray(values, np.float64)
    return np.array([10 ** np.log10(values[: i + 1][-window:] + 1e-38).mean() for i in range(len(values))])


@pytest.mark.parametrize("length, window", [(1, 500), (10, 3), (499, 500), (500, 500), (1700, 500), (20, 1)])
def test_smoothing_is_the_naive_definition(length, window):
    values = 10 ** np.random.RandomState(0).uniform(-30, 2, size=length)
    values[length // 2] = 0
    expected = naive_rolling_log_average(values, window)
    np.testing.assert_allclose(l2l.rolling_log_average(values, window), expected, rtol=1e-9)
    if window == 500:
        np.testing.assert_array_equal(l2l.rolling_log_average(values), l2l.rolling_log_average(values, window))


def test_smoothing_leaves_nan_out_and_shows_the_gap():
    values = np.array([1e-3, np.nan, 1e-5, np.nan, np.nan, 1e-7])
    smooth = l2l.rolling_log_average(values, 2)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(values))
    np.testing.assert_allclose(smooth[[0, 2, 5]], naive_rolling_log_average([1e-3, 1e-5, 1e-7], 2))


def test_smoothing_recovers_after_an_infinite_value():
    smooth = l2l.rolling_log_average([1.0, np.inf, 1e-2, 1e-2, 1e-2], 2)
    np.testing.assert_allclose(smooth, [1, np.inf, np.inf, 1e-2, 1e-2])


@pytest.mark.parametrize("window", [1, 20, 38, 100])
def test_a_window_that_grows_is_the_naive_definition(window):
    """A NaN is left out, and an infinite value spoils what is in its window alone."""
    values = 10 ** np.random.RandomState(0).uniform(-30, 2, size=150)
    values[[3, 4]], values[[0, 70]] = np.nan, np.inf
    kept = values[~np.isnan(values)]
    expected = []
    for i in range(1, kept.size + 1):
        width = min(max(int(np.ceil(window * (1 - np.exp(-i / (2 * window))))), 1 + window // 20), i)
        expected.append(10 ** np.log10(kept[i - width : i] + 1e-38).mean())
    found = growing_log_average(values, window)
    assert found.shape == values.shape and np.isnan(found[[3, 4]]).all()
    np.testing.assert_allclose(found[~np.isnan(values)], expected, rtol=1e-9)


def test_what_cannot_be_averaged_is_refused_or_left_out_in_silence():
    with pytest.raises(ValueError, match=r"^values must have one dimension, got shape \(2, 2\)$"):
        l2l.rolling_log_average(np.ones([2, 2]))
    with pytest.raises(ValueError, match=r"^window must be a positive integer, got 0$"):
        l2l.rolling_log_average([1.0], 0)
    largest = np.finfo(np.float64).max
    np.testing.assert_array_equal(l2l.rolling_log_average([-1.0, -1e-38, 0, largest], 1)[:2], [np.nan, 0])
    assert l2l.rolling_log_average([largest] * 2, 2)[1] > 1e308
    assert l2l.log_average([largest, np.nan]) == np.inf and np.isnan(l2l.log_average([-1, np.nan]))


def test_smoothing_of_nothing():
    assert l2l.rolling_log_average([], 5).shape == (0,)
    assert np.isnan(l2l.rolling_log_average([np.nan], 5)).all()


def test_log_average():
    np.testing.assert_allclose(l2l.log_average([1e-5, 1e-7]), -6)
    assert l2l.log_average([0.0]) == -38
    assert np.isnan(l2l.log_average([]))


@pytest.mark.parametrize("diverged", [np.nan, np.inf])
def test_what_diverged_counts_as_infinite(diverged):
    assert l2l.log_average([[1e-5, 1e-7], [1e-5, diverged]]) == np.inf


def test_a_negative_value_has_no_log_average():
    assert np.isnan(l2l.log_average([1e-5, -1e-7])) and np.isnan(l2l.log_average([1.0, -1e-39]))
