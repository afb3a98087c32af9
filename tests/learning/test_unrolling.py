import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.unroll import step

LOOPS = ["python", "while"]


class Nested(l2l.Problem):
    """A position of two tensors of different rank."""

    def sample(self, num, seed=None):
        return l2l.uniform([num], 1.0, 2.0, seed)

    def initial_position(self, draw):
        return {"matrix": tf.ones([2, 2]) * draw, "scalar": draw}

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x["matrix"])) + tf.square(x["scalar"] - draw)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_losses_are_recorded_before_each_update(run, fixed_draw, loop, steps):
    losses = l2l.learn(l2l.Quadratic(2), fixed_draw(), lambda g, state: (-0.1 * g, state), steps, loop)
    assert losses.shape == [steps] and losses.dtype == tf.float32
    shrink = (1 - 0.2 * np.array([0.25, 2.25])) ** (2 * np.arange(steps)[:, None])
    np.testing.assert_allclose(run(losses), shrink @ np.array([0.25, 2.25 * 0.25]), rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [l2l.sgd(), l2l.rmsprop(), l2l.adam(0.1), l2l.vsgd(), lambda g, state: (-0.1 * g, None)],
    ids=["sgd", "rmsprop", "adam", "vsgd", "no state"],
)
def test_both_loops_agree(run, fixed_draw, optimizer):
    losses = [l2l.learn(l2l.Quadratic(2), fixed_draw(), optimizer, 8, loop) for loop in LOOPS]
    np.testing.assert_allclose(*run(losses), rtol=1e-5, atol=1e-20)


@pytest.mark.parametrize("optimizer", [l2l.rmsprop(), l2l.CoordinatewiseLSTM], ids=["rmsprop", "lstm"])
def test_both_loops_agree_on_a_nest(run, optimizer):
    optimizer = optimizer() if optimizer is l2l.CoordinatewiseLSTM else optimizer
    problem = Nested()
    draw = problem.draw(1)
    losses = run([l2l.learn(problem, draw, optimizer, 6, loop) for loop in LOOPS])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_state_that_mixes_none_and_numbers_goes_round_the_while_loop(run, fixed_draw):
    def counting(gradients, state):
        count = 0 if state is None else state["nested"][1]
        return -0.01 * tf.cast(count, tf.float32) * gradients, {"nested": (None, count + 1)}

    losses = run([l2l.learn(l2l.Quadratic(2), fixed_draw(), counting, 6, loop) for loop in LOOPS])
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert losses[0][0] == losses[0][1] > losses[0][2]


def number_of_ops(steps, loop):
    with tf.Graph().as_default() as graph:
        problem = l2l.Quadratic(2)
        l2l.learn(problem, problem.draw(), l2l.rmsprop(), steps, loop)
        return len(graph.get_operations())


def test_the_python_loop_grows_with_the_steps_and_the_while_loop_does_not():
    assert number_of_ops(30, "while") == number_of_ops(10, "while")
    one_step = number_of_ops(11, "python") - number_of_ops(10, "python")
    assert number_of_ops(30, "python") - number_of_ops(10, "python") == 20 * one_step


def test_the_optimizer_is_called_once_for_each_update_or_twice_for_any_number(fixed_draw):
    calls = []

    def optimizer(gradients, state):
        calls.append(state)
        return -gradients, tf.zeros([]) if state is None else state

    l2l.learn(l2l.Quadratic(2), fixed_draw(), optimizer, 10, "python")
    assert len(calls) == 9 and calls[0] is None and all(state is not None for state in calls[1:])
    calls.clear()
    l2l.learn(l2l.Quadratic(2), fixed_draw(), optimizer, 10, "while")
    assert len(calls) == 2 and calls[0] is None


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loss_of_gathered_coordinates(run, fixed_draw, loop):
    class Gathered(l2l.Quadratic):
        def loss(self, x, draw):
            return tf.reduce_sum(tf.square(tf.gather(x, [1, 0, 1])))

    losses = run(l2l.learn(Gathered(2), fixed_draw(), l2l.sgd(), 3, loop))
    np.testing.assert_allclose(losses, 0.8 ** (2 * np.arange(3)) + 0.5 * 0.6 ** (2 * np.arange(3)), rtol=1e-5)


@pytest.mark.parametrize("second_derivatives, factor", [(True, 1 - 0.2 * 2.25), (False, 1.0)])
def test_second_derivatives_flow_or_do_not(run, second_derivatives, factor):
    # x1 = x0 - 0.1 g(x0): its derivative is 1 - 0.2 scale^2 through the gradient, 1 around it.
    draw = l2l.problems.QuadraticDraw(tf.constant([1.5]), tf.constant([2.0]))
    x0 = draw.start
    _, x1, _ = step(l2l.Quadratic(1), draw, l2l.sgd(), x0, None, second_derivatives)
    np.testing.assert_allclose(run(tf.gradients(x1, x0)[0]), [factor], rtol=1e-6)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_second_derivatives_the_losses_are_the_same(run, fixed_draw, loop):
    losses = [l2l.learn(l2l.Quadratic(2), fixed_draw(), l2l.rmsprop(), 6, loop, second) for second in (True, False)]
    np.testing.assert_array_equal(*run(losses))
