"""Regression problems against NumPy, and what their draws are."""

import numpy as np
import pytest
import tensorflow as tf

import l2l


def figures(run, problem, x):
    """Draws of float64, and losses and gradients of a batch at `x`, and of its second draw alone."""
    draws = problem.sample(len(x), 1)
    place = tf.constant(x)
    losses = problem.batch_loss(place, draws)
    one = problem.loss(place[1], tf.nest.map_structure(lambda many: many[1], draws))
    draws, losses, gradients, one = run([draws, losses, tf.gradients(losses, place)[0], one])
    np.testing.assert_allclose(one, losses[1])
    return draws, losses, gradients


X = np.random.RandomState(0).normal(size=[3, 4])


def test_least_squares(run):
    (inputs, targets), losses, gradients = figures(run, l2l.LeastSquares(4, 6, dtype=tf.float64), X)
    residuals = np.einsum("bij,bj->bi", inputs, X) - targets
    np.testing.assert_allclose(losses, np.mean(residuals**2, axis=1) / 2)
    np.testing.assert_allclose(gradients, np.einsum("bij,bi->bj", inputs, residuals) / 6)


def test_logistic_regression(run):
    problem = l2l.LogisticRegression(4, 6, penalty=0.3, dtype=tf.float64)
    (inputs, targets), losses, gradients = figures(run, problem, X)
    assert set(np.unique(targets)) == {-1, 1}
    margins = targets * np.einsum("bij,bj->bi", inputs, X)
    np.testing.assert_allclose(losses, np.mean(np.log1p(np.exp(-margins)), axis=1) + 0.15 * np.sum(X**2, axis=1))
    slopes = -targets / (1 + np.exp(margins))
    np.testing.assert_allclose(gradients, np.einsum("bij,bi->bj", inputs, slopes) / 6 + 0.3 * X)


def test_targets_of_least_squares_are_linear_but_for_the_noise(run):
    """Its minimum is 0 without noise, and half of the noise's variance with many examples."""
    for noise in [0.0, 0.5]:
        inputs, targets = run(l2l.LeastSquares(3, 400, noise=noise, dtype=tf.float64).sample(5, 2))
        for one, other in zip(inputs, targets):
            (residual,) = np.linalg.lstsq(one, other, rcond=None)[1]
            np.testing.assert_allclose(residual / 400, noise**2, rtol=0.3, atol=1e-12)


def test_labels_of_logistic_regression_follow_the_weights_by_chance(run):
    """Fitted without a penalty, by Newton's steps, the weights have deviation 1 over the draws; labels are balanced."""
    inputs, targets = run(l2l.LogisticRegression(2, 500, dtype=tf.float64).sample(200, 2))
    assert abs(targets.mean()) < 5 / np.sqrt(targets.size)
    fitted = []
    for one, other in zip(inputs, targets):
        weights = np.zeros(2)
        for _ in range(12):
            chance = 1 / (1 + np.exp(other * (one @ weights)))
            hessian = (one * (chance * (1 - chance))[:, None]).T @ one
            weights += np.linalg.solve(hessian + 1e-6 * np.eye(2), one.T @ (other * chance))
        fitted.append(weights)
    assert np.abs(np.std(fitted, axis=0) - 1).max() < 0.25


def test_the_draws_of_a_seed_are_pinned(run):
    """What a seed means does not change."""
    (((inputs,), (targets,)), labels) = run(
        [
            l2l.LeastSquares(1, 3, noise=0.5, dtype=tf.float64).sample(1, 7),
            l2l.LogisticRegression(1, 20, dtype=tf.float64).sample(1, 7).targets,
        ]
    )
    np.testing.assert_allclose(
        inputs[:, 0], [-1.7322469433970378, -0.44043486286196826, -0.5451413186460774], rtol=1e-14
    )
    np.testing.assert_allclose(targets, [-2.9591463018018254, -1.0238618997650464, -1.411147120615568], rtol=1e-14)
    assert labels.tolist() == [[-1, -1, 1, 1, -1, -1, 1, 1, -1, -1, -1, -1, 1, 1, -1, 1, 1, 1, 1, -1]]


@pytest.mark.parametrize("kind", [l2l.LeastSquares, l2l.LogisticRegression])
def test_inputs_are_normal_and_the_start_is_zero(run, kind):
    problem = kind(3, 5)
    draws = problem.sample(2000, 1)
    start, inputs = run([problem.initial_position(draws), draws.inputs])
    np.testing.assert_array_equal(start, [0, 0, 0])
    assert inputs.shape == (2000, 5, 3) and draws.targets.shape == [2000, 5]
    assert abs(inputs.std() - 1) < 5 / np.sqrt(2 * inputs.size) and abs(inputs.mean()) < 5 / np.sqrt(inputs.size)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: l2l.LeastSquares(0), "dims must be a positive integer, got 0"),
        (lambda: l2l.LeastSquares(2, 0), "examples must be a positive integer, got 0"),
        (lambda: l2l.LeastSquares(noise=-0.1), "noise must be a finite number, 0 or above, got -0.1"),
        (lambda: l2l.LogisticRegression(penalty=-1), "penalty must be a finite number, 0 or above, got -1"),
        (lambda: l2l.LogisticRegression(dtype="int8"), "dtype must be float32 or float64, got 'int8'"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match="^%s$" % message):
        call()


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "problem", [l2l.LeastSquares(3, 7), l2l.LogisticRegression(3, 7)], ids=lambda problem: type(problem).__name__
)
def test_they_keep_the_contract_of_a_problem(problem):
    l2l.testing.check_problem(problem)
