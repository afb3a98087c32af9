import numpy as np
import pytest

import l2l


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


def test_smoothing_leaves_nan_out_and_shows_the_gap():
    values = np.array([1e-3, np.nan, 1e-5, np.nan, np.nan, 1e-7])
    smooth = l2l.rolling_log_average(values, 2)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(values))
    np.testing.assert_allclose(smooth[[0, 2, 5]], naive_rolling_log_average([1e-3, 1e-5, 1e-7], 2))


def test_smoothing_recovers_after_an_infinite_value():
    smooth = l2l.rolling_log_average([1.0, np.inf, 1e-2, 1e-2, 1e-2], 2)
    np.testing.assert_allclose(smooth, [1, np.inf, np.inf, 1e-2, 1e-2])


def test_smoothing_of_nothing():
    assert l2l.rolling_log_average([], 5).shape == (0,)
    assert np.isnan(l2l.rolling_log_average([np.nan], 5)).all()


@pytest.mark.filterwarnings("error")
def test_log_average():
    np.testing.assert_allclose(l2l.log_average([1e-5, 1e-7]), -6)
    assert l2l.log_average([0.0]) == -38
    assert np.isnan(l2l.log_average([]))


@pytest.mark.parametrize("diverged", [np.nan, np.inf])
def test_what_diverged_counts_as_infinite(diverged):
    assert l2l.log_average([[1e-5, 1e-7], [1e-5, diverged]]) == np.inf


def test_a_negative_value_has_no_log_average():
    assert np.isnan(l2l.log_average([1e-5, -1e-7])) and np.isnan(l2l.log_average([1.0, -1e-39]))
