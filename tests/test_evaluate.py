import numpy as np
import pytest
import tensorflow as tf

import l2l


def test_all_optimizers_see_the_same_draws():
    losses = l2l.evaluate(l2l.Quadratic(2), {"slow": l2l.sgd(0.01), "fast": l2l.sgd(0.1)}, num=50, steps=3)
    assert list(losses) == ["slow", "fast"]
    assert losses["slow"].shape == (50, 3)
    np.testing.assert_array_equal(losses["slow"][:, 0], losses["fast"][:, 0])
    assert len(set(losses["slow"][:, 0])) == 50
    assert np.all(losses["fast"][:, -1] < losses["slow"][:, -1])


def test_the_same_seed_gives_the_same_draws_and_another_gives_others():
    def first_losses(seed):
        return l2l.evaluate(l2l.Quadratic(2), {"SGD": l2l.sgd()}, num=10, steps=2, seed=seed)["SGD"][:, 0]

    np.testing.assert_array_equal(first_losses(4), first_losses(4))
    assert not np.any(first_losses(4) == first_losses(5))


def test_sgd_on_many_draws_is_sgd_in_numpy():
    losses = l2l.evaluate(l2l.Quadratic(1), {"SGD": l2l.sgd()}, num=20, steps=4)["SGD"].astype(np.float64)
    # In one dimension each step multiplies the loss by (1 - 0.2 scale^2)^2, and scale^2 is in [0.25, 2.25].
    ratios = losses[:, 1:] / losses[:, :-1]
    np.testing.assert_allclose(ratios, ratios[:, :1] * np.ones([1, 3]), rtol=1e-3)
    assert np.all((ratios > 0.55**2 * 0.99) & (ratios < 0.95**2 * 1.01))


def test_trained_optimizers_come_with_their_weights():
    problem = l2l.Quadratic(2)
    trainer = l2l.Trainer(problem, lambda: l2l.CoordinatewiseLSTM((5,)), steps=4, meta_loss="end")
    untrained = trainer.trained()
    trainer.run(300)
    losses = l2l.evaluate(problem, {"before": untrained, "after": trainer.trained()}, num=100, steps=4)
    assert losses["after"][:, -1].mean() < 0.5 * losses["before"][:, -1].mean()


def test_an_evaluated_loss_is_the_trainers(graph):
    """The weights arrive in the right places: the evaluated optimizer does what the trainer's does."""
    problem = l2l.Quadratic(2)
    trainer = l2l.Trainer(problem, lambda: l2l.CoordinatewiseLSTM((5, 3)), steps=4)
    losses = l2l.evaluate(problem, {"RNN": trainer.trained()}, num=5, steps=4, seed=3)["RNN"]
    optimizer = l2l.CoordinatewiseLSTM((5, 3))
    draws = problem.sample(5, -1 - 3)
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables, trainer.weights()):
            variable.load(value, session)
        for i in range(5):
            draw = l2l.problems.QuadraticDraw(draws.scale[i], draws.start[i])
            np.testing.assert_allclose(losses[i], session.run(l2l.learn(problem, draw, optimizer, 4)), rtol=1e-5)


def test_held_out_draws_are_not_those_of_a_training_with_the_same_seed():
    first = l2l.evaluate(l2l.Quadratic(2), {"SGD": l2l.sgd()}, num=30, steps=2, seed=0)["SGD"][:, 0]
    trainer = l2l.Trainer(
        l2l.Quadratic(2), l2l.CoordinatewiseLSTM, meta_loss=lambda losses: losses[0] + 0 * losses[-1], steps=2
    )
    assert not set(first) & set(trainer.run(30).meta_loss.astype(np.float32))


def test_optimizers_whose_variables_have_the_same_names():
    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1))
        return lambda gradients, state: (-rate * gradients, state)

    one, other = l2l.Trained(build, [np.float32(0.1)]), l2l.Trained(build, [np.float32(0.2)])
    losses = l2l.evaluate(l2l.Quadratic(2), {"0.1": one, "0.2": other, "SGD": l2l.sgd(0.2)}, num=4, steps=3)
    np.testing.assert_allclose(losses["0.2"], losses["SGD"], rtol=1e-5)
    assert np.all(losses["0.1"][:, 1:] > 1.01 * losses["0.2"][:, 1:])


@pytest.mark.parametrize("steps", [1, 40])
def test_steps_may_differ_from_those_of_the_training(steps):
    trainer = l2l.Trainer(l2l.Quadratic(2), lambda: l2l.CoordinatewiseLSTM((5,)), steps=4)
    assert l2l.evaluate(l2l.Quadratic(7), {"RNN": trainer.trained()}, num=2, steps=steps)["RNN"].shape == (2, steps)
