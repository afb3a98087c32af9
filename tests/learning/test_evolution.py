"""Evolution strategies: what their estimates are on average, and what a member that diverges counts."""

import numpy as np
import pytest

import l2l
from l2l.learning.evolution import choices, differences, estimated, unit_noise


def test_directions_are_normal_and_follow_from_seed_and_meta_iteration():
    shapes = [[30, 20], [7]]
    directions = unit_noise(3, 5, 40, shapes)
    assert [one.shape for one in directions] == [(40, 30, 20), (40, 7)]
    assert {one.dtype.name for one in directions} == {"float32"}
    assert abs(directions[0].mean()) < 0.02 and abs(directions[0].std() - 1) < 0.02
    again = unit_noise(3, 5, 40, shapes)
    assert all(np.array_equal(one, other) for one, other in zip(directions, again))
    for other in [(4, 5), (3, 6), (5, 3)]:
        assert not np.array_equal(unit_noise(*other, 40, shapes)[1], directions[1])
    assert choices(3, 5).uniform() == choices(3, 5).uniform() != choices(3, 6).uniform()
    assert choices(3, 5).standard_normal() != directions[0].flat[0]


def test_streams_of_random_numbers_stay_what_they_are():
    """A training that is restored goes on with them. Seed and number go in as words of 32 bits."""
    seed, number = (7 << 32) + 3, (2 << 32) + 2**32 - 1
    words = [3, 7, 2**32 - 1, 2]
    (directions,) = unit_noise(seed, number, 2, [[4]])
    expected = np.random.RandomState([0, *words]).standard_normal([2, 4])
    np.testing.assert_array_equal(directions, expected.astype(np.float32))
    assert choices(seed, number).uniform() == np.random.RandomState([1, *words]).uniform()
    (last,) = unit_noise(2**64 - 1, 0, 1, [[]])
    assert last[0] == np.float32(np.random.RandomState([0, 2**32 - 1, 2**32 - 1, 0, 0]).standard_normal())


@pytest.mark.parametrize(
    "plus, minus, clip, expected, diverged",
    [
        (1.0, 0.8, 0.5, 0.2, 0),
        (1.0, 9.0, 0.5, -0.5, 0),
        (1.0, 9.0, None, -8.0, 0),
        (np.nan, 9.0, 0.5, 0.5, 1),
        (9.0, np.inf, 0.5, -0.5, 1),
        (np.nan, -np.inf, 0.5, 0.0, 2),
        (np.nan, 9.0, None, 0.0, 1),
    ],
)
def test_differences_are_clipped_and_one_that_diverges_counts_as_the_clip(plus, minus, clip, expected, diverged):
    found, number = differences(np.array([[plus, 3.25], [minus, 3.0]]), clip)
    np.testing.assert_allclose(found, [expected, 0.25], rtol=1e-12)
    assert number == diverged


def test_the_mean_of_many_estimates_is_the_gradient_of_the_smoothed_loss():
    """Of a quadratic form smoothing adds a constant, so it is the gradient itself; of a cubic it is not."""
    random = np.random.RandomState(0)
    matrix, weights, sigma = random.randn(4, 4), random.randn(4), 0.3

    def loss(w):
        return np.einsum("...i,ij,...j", w, matrix, w) + (w**3).sum(axis=-1)

    (directions,) = unit_noise(1, 0, 200_000, [[4]])
    found, _ = differences(np.stack([loss(weights + sigma * directions), loss(weights - sigma * directions)]), None)
    (gradient,) = estimated(found, [directions], sigma)
    right = (matrix + matrix.T) @ weights + 3 * weights**2 + 3 * sigma**2
    np.testing.assert_allclose(gradient, right, atol=0.1)
    assert gradient.dtype == np.float32


def test_persistent_estimates_add_up_to_the_gradient_of_the_whole_and_truncated_ones_do_not():
    """Losses of segments that depend on what the weight was in earlier ones: `x <- x + w`, `L = x^2`, four segments.

    With one weight for all, the sum of the losses is `w^2 (1 + 4 + 9 + 16)`, whose derivative is `60 w`.
    """
    weight, sigma, segments, pairs = 0.7, 0.1, 4, 200_000
    x, total = np.zeros([2, pairs]), 0.0
    sums, truncated = np.zeros(pairs), 0.0
    for number in range(segments):
        (direction,) = unit_noise(2, number, pairs, [[]])
        sums = sums + direction
        x = x + weight + sigma * np.stack([direction, -direction])
        found, _ = differences(x**2, None)
        total += estimated(found, [sums], sigma)[0]
        truncated += estimated(found, [direction], sigma)[0]
    assert abs(total - 60 * weight) < 1.5
    assert abs(truncated - 20 * weight) < 1.5  # what each segment's own step does to it: 2 x, summed


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"pairs": 0}, ValueError, "pairs must be a positive integer, got 0"),
        ({"pairs": 2.0}, TypeError, "pairs must be a positive integer, got 2.0"),
        ({"sigma": 0}, ValueError, "sigma must be a positive number of float32"),
        ({"clip": -1}, ValueError, "clip must be a positive number of float32"),
        ({"clip": "1"}, TypeError, "clip must be a positive number of float32"),
    ],
)
@pytest.mark.parametrize("kind", [l2l.EvolutionStrategies, l2l.PES])
def test_estimators_are_checked(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


def test_what_an_estimator_says_of_itself():
    assert l2l.PES.persistent and not l2l.EvolutionStrategies.persistent
    assert l2l.PES(3).description() == {"class": "PES", "pairs": 3, "sigma": 0.03, "clip": 0.5}
    assert l2l.EvolutionStrategies().description() == {
        "class": "EvolutionStrategies",
        "pairs": 8,
        "sigma": 0.03,
        "clip": 0.5,
    }
