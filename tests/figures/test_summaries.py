import warnings

import numpy as np
import pytest

from l2l.figures import summaries


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_learning_rates_are_the_updates_share_of_the_gradient_downhill():
    gradients = np.float32([2.0, -1e-38, 4.0, 0.0, np.nan, 1.0, np.inf])
    rates = summaries.learning_rates(gradients, np.float32([-1.0, 1e-38, 2, 1, 1, 3, np.inf]))
    np.testing.assert_allclose(rates, [0.5, 1, -0.5, np.nan, np.nan, -3, np.nan], rtol=1e-6)
    assert summaries.learning_rates([1.0, 0.0], [1.0, 1.0])[0] == -1  # lists are arrays


def test_components_of_known_rows():
    """Points of variance 9 along (3, 4, 0) / 5, of 1 along (0, 0, -1), and none along the third direction."""
    one, other = np.array([3, 4, 0]) / 5, np.array([0, 0, -1.0])
    places = np.array([[3, 1], [-3, 1], [3, -1], [-3, -1.0]])
    points, shares = summaries.principal_components(places @ np.stack([one, other]) + [10, 20, 30])
    np.testing.assert_allclose(points, places * [1, -1], atol=1e-12)  # the largest weight is positive
    np.testing.assert_allclose(shares, [0.9, 0.1], rtol=1e-12)


def test_components_are_those_of_the_covariance():
    for seed in range(6):
        rows = np.random.RandomState(seed).normal(size=[20, 4]) * [1, 2, 3, 4]
        centred = rows - rows.mean(axis=0)
        variances, directions = np.linalg.eigh(centred.T @ centred)
        variances, directions = variances[::-1], directions.T[::-1]
        expected = [each if max(each) > -min(each) else -each for each in directions[:2]]
        points, shares = summaries.principal_components(rows)
        np.testing.assert_allclose(points, centred @ np.transpose(expected), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(shares, variances[:2] / variances.sum())


def test_components_of_rows_that_do_not_differ():
    for rows in [np.ones([1, 2]), np.ones([5, 3])]:
        points, shares = summaries.principal_components(rows)
        assert points.shape == (len(rows), 2) and not points.any() and not shares.any()


def test_contour_levels_are_half_a_decade_apart_within_the_losses():
    levels = summaries.contour_levels(np.array([0.02, 0.0, 1.5, np.inf, np.nan]))
    np.testing.assert_allclose(levels, 10.0 ** np.array([-1.5, -1, -0.5, 0]))
    levels = summaries.contour_levels(np.array([1e-20, 100.0]))
    np.testing.assert_allclose(levels, 10.0 ** np.arange(-4, 2.1, 0.5))  # six decades
    levels = summaries.contour_levels(np.array([-1.0, 0.2, 20.0]))
    np.testing.assert_allclose(levels, [-1, -(10**-0.5), 10**-0.5, 1, 10**0.5, 10])
    for nothing in [np.zeros(3), np.full(3, np.nan), np.full(3, 0.5)]:
        assert not summaries.contour_levels(nothing).size


def test_what_is_said_over_draws():
    rates = np.stack([np.arange(101.0), np.full(101, np.nan), np.full(101, -2.0)], axis=1)
    rates[:51, 2] = np.nan  # fewer than half are known
    rates[1:26, 0] *= -1
    found = summaries.over_draws(rates)
    np.testing.assert_allclose(found[:, 0], [10, 50, 90, 25 / 101])
    assert np.isnan(found[:, 1:]).all()
    rates[50, 2] = -3.0
    np.testing.assert_allclose(summaries.over_draws(rates)[:, 2], [2, 2, 2, 1])
    assert np.isnan(summaries.over_draws(np.array([[1.0], [np.nan]]))).all()  # half


def test_colors_span_the_middle_of_the_rates():
    assert summaries.decades(np.array([0.02] * 50 + [-300.0] * 50)) == (-2, 3)
    assert summaries.decades(np.array([1e-9] * 6 + [0.5] * 90 + [1e9] * 4)) == (-8, 0)  # eight of nine at most
    assert summaries.decades(np.array([1e-9] * 5 + [0.5] * 91 + [1e9] * 5)) == (-2, 0)
    assert summaries.decades(np.array([1e-9] * 6 + [0.5] * 89 + [1e3] * 6)) == (-5, 3)
    assert summaries.decades(np.float32([1e-3] * 50 + [1.0] * 50)) == (-3, 0)
    assert summaries.decades(np.full(4, 0.5)) == (-2, 0)
    assert summaries.decades(np.array([0.0, np.nan, np.inf])) == (-1, 0)


def test_signed_decades():
    signed = summaries.signed_log(np.array([10.0, -0.1, 1e-9, 0.0, -1e9, np.nan, np.inf]), -2, 1)
    np.testing.assert_allclose(signed, [3, -1, 0, 0, -3, np.nan, 3])
