"""Test functions against NumPy and finite differences; what noise does to a gradient."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.mapping import OverDraws
from l2l.problems import functions
from l2l.problems.binding import BoundProblem

FUNCTIONS = [l2l.Rosenbrock, l2l.Rastrigin, l2l.Ackley]


def rosenbrock(x):
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def rastrigin(x):
    return 10 * len(x) + sum(one**2 - 10 * np.cos(2 * np.pi * one) for one in x)


def ackley(x):
    x = np.asarray(x)
    return 20 + np.e - 20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) - np.exp(np.mean(np.cos(2 * np.pi * x)))


IN_NUMPY = dict(zip(FUNCTIONS, [rosenbrock, rastrigin, ackley]))


def differences(function, x, step=1e-6):
    steps = step * np.eye(len(x))
    return np.array([(function(x + one) - function(x - one)) / (2 * step) for one in steps])


@pytest.mark.parametrize("kind, dims", [*itertools.product(FUNCTIONS, [2, 5]), (l2l.Rastrigin, 1), (l2l.Ackley, 1)])
def test_values_and_gradients_are_those_of_numpy(run, kind, dims):
    problem, function = kind(dims, dtype=tf.float64), IN_NUMPY[kind]
    draws = problem.sample(3, 1)
    x = problem.initial_position(draws)
    losses = problem.batch_loss(x, draws)
    one = problem.loss(x[1], draws)
    x, losses, gradients, one = run([x, losses, tf.gradients(losses, x)[0], one])
    np.testing.assert_allclose(losses, [function(row) for row in x])
    np.testing.assert_allclose(gradients, [differences(function, row) for row in x], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one, losses[1])


@pytest.mark.parametrize("kind, at", [(l2l.Rosenbrock, 1.0), (l2l.Rastrigin, 0.0), (l2l.Ackley, 0.0)])
def test_the_minimum_is_zero_with_a_gradient_of_zero(run, kind, at):
    """Ackley's function has a kink there: without care its gradient is NaN."""
    x = tf.fill([3], tf.constant(at, tf.float64))
    loss = kind(3, dtype=tf.float64).value(x)
    gradients = tf.gradients(loss, x)[0]
    for figure in run([loss, gradients, tf.gradients(gradients, x)[0][0] * 0]):
        np.testing.assert_allclose(figure, 0, atol=1e-12)


@pytest.mark.parametrize("kind, width", [(l2l.Rosenbrock, 1.0), (l2l.Rastrigin, 5.12), (l2l.Ackley, 32.768)])
def test_starts_fill_the_width(run, kind, width):
    for problem, most in [(kind(), width), (kind(width=0.3), 0.3)]:
        start = run(problem.sample(2000, 1))["start"]
        assert start.shape == (2000, 2)
        assert -most <= start.min() < -0.99 * most and 0.99 * most < start.max() <= most


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_noise_is_in_the_gradient_and_not_in_the_loss(run, kind):
    """It has the deviation that was asked for, and is new for each draw and base iteration."""
    exact, noisy = kind(2, dtype=tf.float64), kind(2, noise=0.5, dtype=tf.float64)
    x = tf.constant([0.3, -0.7], tf.float64)
    draws = noisy.sample(4000, 1)

    def gradients(draw, t):
        noise = noisy.observe(draw, t, None)
        loss = noisy.loss(x, noise)
        return loss, tf.gradients(loss, x)[0], noise

    bound = BoundProblem(noisy, noisy.draw(1))
    assert not np.any(run(tf.gradients(bound.loss_on_whole_data(x) - noisy.value(x), x)[0]))
    value = exact.value(x)
    here = [OverDraws("it")(lambda draw, t=t: gradients(draw, t), draws) for t in range(2)]
    (losses, first, added), (_, second, _), value, exact_gradient = run([*here, value, tf.gradients(value, x)[0]])
    np.testing.assert_allclose(losses, value)
    np.testing.assert_allclose(first - exact_gradient, added, atol=1e-9)
    noise = np.concatenate([first - exact_gradient, second - exact_gradient], axis=1)
    assert np.abs(noise.mean(axis=0)).max() < 5 * 0.5 / np.sqrt(4000)
    assert np.abs(noise.std(axis=0) / 0.5 - 1).max() < 5 / np.sqrt(8000)
    assert np.abs(np.corrcoef(noise, rowvar=False) - np.eye(4)).max() < 5 / np.sqrt(4000)


def test_noise_takes_part_in_a_batch_and_changes_an_optimization(run):
    """The losses of gradient descent differ from those without noise from the second on, draw by draw."""
    exact, optimizer = l2l.Rosenbrock(), l2l.sgd(1e-3)
    noisy = l2l.evaluate(l2l.Rosenbrock(noise=5.0), {"SGD": optimizer}, draws=5, steps=3, engine="graph")["SGD"]
    exact = run(l2l.learn(exact, exact.sample(5, -1), optimizer, steps=3, batch=5)).T  # the draws of seed 0
    np.testing.assert_allclose(noisy[:, 0], exact[:, 0], rtol=1e-6)
    assert np.all(noisy[:, 1:] != exact[:, 1:])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: l2l.Rosenbrock(1), "dims must be 2 or more, got 1"),
        (lambda: l2l.Rastrigin(0), "dims must be a positive integer, got 0"),
        (lambda: l2l.Ackley(width=0), "width must be a positive finite number, got 0"),
        (lambda: l2l.Ackley(noise=-1.0), "noise must be a finite number, 0 or above, got -1.0"),
        (lambda: l2l.Rastrigin(noise=float("nan")), "noise must be a finite number, 0 or above, got nan"),
        (lambda: l2l.Rosenbrock(dtype="int32"), "dtype must be float32 or float64, got 'int32'"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match="^%s$" % message):
        call()


def test_each_kind_says_how_many_coordinates_it_needs_and_has_a_value():
    assert [kind.least_dims for kind in FUNCTIONS] == [2, 1, 1]
    with pytest.raises(NotImplementedError, match=r"^_Function does not define value$"):
        functions._Function(1, 1.0, 0.0, tf.float32).loss(None, None)


def test_the_draws_of_a_seed_are_pinned(run):
    """What a seed means does not change."""
    draws = run(l2l.Rosenbrock(noise=1.0, dtype=tf.float64).sample(1, 7))
    assert draws["key"].tolist() == [743002944]
    np.testing.assert_allclose(draws["start"], [[0.953260524839834, -0.0755262015602991]], rtol=1e-14)


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "problem",
    [l2l.Rosenbrock(3), l2l.Rastrigin(2, noise=0.3), l2l.Ackley(2)],
    ids=lambda problem: type(problem).__name__,
)
def test_they_keep_the_contract_of_a_problem(problem):
    l2l.testing.check_problem(problem)
