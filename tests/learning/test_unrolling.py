"""The unroll: base iterations in both kinds of loop, of one draw and of many, and continued."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested, Noting, Regression

import l2l
from l2l.learning.engines import compiled
from l2l.learning.unrolling import base_iteration
from l2l.problems.binding import BoundProblem

LOOPS = ["python", "while"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_losses_are_recorded_before_each_update(run, fixed_draw, loop, steps):
    losses = l2l.learn(l2l.Quadratic(2), fixed_draw(), lambda g, state: (-0.1 * g, state), steps=steps, loop=loop)
    assert losses.shape == [steps] and losses.dtype == tf.float32
    shrink = (1 - 0.2 * np.array([0.25, 2.25])) ** (2 * np.arange(steps)[:, None])
    np.testing.assert_allclose(run(losses), shrink @ np.array([0.25, 2.25 * 0.25]), rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [l2l.sgd(), l2l.rmsprop(), l2l.adam(0.1), l2l.vsgd(), lambda g, state: (-0.1 * g, None)],
    ids=["sgd", "rmsprop", "adam", "vsgd", "no state"],
)
def test_both_loops_agree(run, fixed_draw, optimizer):
    losses = [l2l.learn(l2l.Quadratic(2), fixed_draw(), optimizer, steps=8, loop=loop) for loop in LOOPS]
    np.testing.assert_allclose(*run(losses), rtol=1e-5, atol=1e-20)


@pytest.mark.parametrize("optimizer", [l2l.rmsprop(), l2l.CoordinatewiseLSTM], ids=["rmsprop", "lstm"])
def test_both_loops_agree_on_a_nest(run, optimizer):
    optimizer = optimizer() if optimizer is l2l.CoordinatewiseLSTM else optimizer
    problem = Nested()
    draw = problem.draw(1)
    losses = run([l2l.learn(problem, draw, optimizer, steps=6, loop=loop) for loop in LOOPS])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_state_that_mixes_none_and_numbers_goes_round_the_while_loop(run, fixed_draw):
    def counting(gradients, state):
        count = 0 if state is None else state["nested"][1]
        return -0.01 * tf.cast(count, tf.float32) * gradients, {"nested": (None, count + 1)}

    losses = run([l2l.learn(l2l.Quadratic(2), fixed_draw(), counting, steps=6, loop=loop) for loop in LOOPS])
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert losses[0][0] == losses[0][1] > losses[0][2]


def number_of_ops(steps, loop):
    with tf.Graph().as_default() as graph:
        problem = l2l.Quadratic(2)
        l2l.learn(problem, problem.draw(), l2l.rmsprop(), steps=steps, loop=loop)
        return len(graph.get_operations())


def test_the_python_loop_grows_with_the_steps_and_the_while_loop_does_not():
    assert number_of_ops(10, "while") == number_of_ops(4, "while")
    one_step = number_of_ops(5, "python") - number_of_ops(4, "python")
    assert number_of_ops(10, "python") - number_of_ops(4, "python") == 6 * one_step


def test_the_optimizer_is_called_once_for_each_update_or_twice_for_any_number(fixed_draw):
    calls = []

    def optimizer(gradients, state):
        calls.append(state)
        return -gradients, tf.zeros([]) if state is None else state

    l2l.learn(l2l.Quadratic(2), fixed_draw(), optimizer, steps=10, loop="python")
    assert len(calls) == 9 and calls[0] is None and all(state is not None for state in calls[1:])
    calls.clear()
    l2l.learn(l2l.Quadratic(2), fixed_draw(), optimizer, steps=10, loop="while")
    assert len(calls) == 2 and calls[0] is None


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loss_of_gathered_coordinates(run, fixed_draw, loop):
    class Gathered(l2l.Quadratic):
        def loss(self, x, draw):
            return tf.reduce_sum(tf.square(tf.gather(x, [1, 0, 1])))

    losses = run(l2l.learn(Gathered(2), fixed_draw(), l2l.sgd(), steps=3, loop=loop))
    np.testing.assert_allclose(losses, 0.8 ** (2 * np.arange(3)) + 0.5 * 0.6 ** (2 * np.arange(3)), rtol=1e-5)


@pytest.mark.parametrize("chosen, factor", [([], 1 - 0.2 * 2.25), ([True], 1 - 0.2 * 2.25), ([False], 1.0)])
def test_second_derivatives_flow_or_do_not(run, chosen, factor):
    # x1 = x0 - 0.1 g(x0): its derivative is 1 - 0.2 scale^2 through the gradient, 1 around it.
    draw = l2l.problems.QuadraticDraw(tf.constant([1.5]), tf.constant([2.0]))
    x0 = draw.start
    loss = BoundProblem(l2l.Quadratic(1), draw).loss
    _, x1, _ = base_iteration(loss, l2l.sgd(), x0, None, tf.constant(0), *chosen)
    np.testing.assert_allclose(run(tf.gradients(x1, x0)[0]), [factor], rtol=1e-6)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_second_derivatives_the_losses_are_the_same(run, fixed_draw, loop):
    losses = [
        l2l.learn(l2l.Quadratic(2), fixed_draw(), l2l.rmsprop(), steps=6, loop=loop, second_derivatives=second)
        for second in (True, False)
    ]
    np.testing.assert_array_equal(*run(losses))


class Shifted(l2l.Problem):
    """A position that is the draw itself, which the loss sees too."""

    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], 1.0, 2.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x - 3 * draw))


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("optimizer", ["sgd", "lstm"])
def test_gradients_are_those_of_the_position_and_not_of_the_draw(run, loop, optimizer, batch):
    """A position may be the very tensor that the draw is: no gradient goes on through what the loss knows of it."""
    optimizer = l2l.sgd(0.1) if optimizer == "sgd" else DescentThatSaysItsState()
    problem = Shifted()
    draw = problem.draw(1) if batch is None else problem.sample(batch, 1)
    losses, start = run([l2l.learn(problem, draw, optimizer, steps=3, loop=loop, batch=batch), draw])
    expected = [np.sum((2 * 0.8**t * start) ** 2, axis=-1) for t in range(3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("loop", LOOPS)
def test_gradients_of_a_nest_are_those_of_each_tensor_alone(run, loop):
    """One tensor of a position may be computed from another."""
    problem = Nested()
    draw = problem.draw(1)
    losses, start = run([l2l.learn(problem, draw, l2l.sgd(0.1), steps=3, loop=loop), draw])
    np.testing.assert_allclose(losses, [4 * (0.8**t * start) ** 2 for t in range(3)], rtol=1e-5)


class DescentThatSaysItsState:
    """Gradient descent with a state of its own, so that a loop holds every step."""

    coordinatewise = True

    def __call__(self, gradients, state):
        return tf.nest.map_structure(lambda gradient: -0.1 * gradient, gradients), state

    def initial_state(self, x):
        return tf.constant(0)


def lstm():
    return l2l.CoordinatewiseLSTM((3,), "log_and_sign")


BUILDS = {"sgd": l2l.sgd, "rmsprop": l2l.rmsprop, "adam": lambda: l2l.adam(0.1), "lstm": lstm}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", sorted(BUILDS))
def test_an_unroll_continued_is_one_unroll(run, fixed_draw, loop, name):
    problem, draw, optimizer = l2l.Quadratic(2), fixed_draw(), BUILDS[name]()
    whole = l2l.unroll(problem, draw, optimizer, steps=10, loop=loop)
    half = l2l.unroll(problem, draw, optimizer, steps=5, loop=loop)
    rest = l2l.unroll(problem, draw, optimizer, x=half.x, state=half.state, steps=5, first=5, loop=loop)
    tf.nest.assert_same_structure(rest.state, whole.state)
    whole, half, rest = run([(each.losses, each.x, _tensors(each.state)) for each in [whole, half, rest]])
    np.testing.assert_allclose(np.concatenate([half[0], rest[0]]), whole[0], rtol=1e-5)
    np.testing.assert_allclose(rest[1], whole[1], rtol=1e-5, atol=1e-7)
    for one, other in zip(rest[2], whole[2]):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def _tensors(state):
    return [leaf for leaf in tf.nest.flatten(state) if leaf is not None]


@pytest.mark.parametrize("loop, batch", [("python", None), ("while", 3)])
def test_it_is_continued_with_the_minibatches_of_its_own_base_iterations(run, loop, batch):
    """`first` says which base iteration it is, on which the minibatches depend."""
    problem, optimizer = Regression(), l2l.rmsprop()
    draws = problem.draw(1) if batch is None else problem.sample(batch, 1)
    more = {"loop": loop, "batch": batch}
    whole = l2l.unroll(problem, draws, optimizer, steps=3, **more)
    half = l2l.unroll(problem, draws, optimizer, steps=1, **more)
    rest = l2l.unroll(problem, draws, optimizer, x=half.x, state=half.state, steps=2, first=tf.constant(1), **more)
    wrong = l2l.unroll(problem, draws, optimizer, x=half.x, state=half.state, steps=1, **more)
    whole, half, rest, wrong = run([each.losses for each in [whole, half, rest, wrong]])
    np.testing.assert_allclose(np.concatenate([half, rest]), whole, rtol=1e-10)
    assert np.all(wrong[0] != rest[0])


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("optimizer", ["sgd", "lstm"])
def test_learn_records_what_an_unroll_does_with_one_update_less(run, fixed_draw, loop, optimizer):
    """`learn` of `T` losses has made `T - 1` updates, an unroll of `T` steps `T`, with the same losses."""
    problem, draw, optimizer = l2l.Quadratic(2), fixed_draw(), BUILDS[optimizer]()
    losses = l2l.learn(problem, draw, optimizer, steps=4, loop=loop)
    same = l2l.unroll(problem, draw, optimizer, steps=4, loop=loop)
    before = l2l.unroll(problem, draw, optimizer, steps=3, loop=loop)
    losses, same, last = run([losses, same.losses, problem.loss(before.x, draw)])
    np.testing.assert_allclose(losses, same, rtol=1e-6)
    np.testing.assert_allclose(losses[-1], last, rtol=1e-6)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_unroll_of_a_single_step(run, fixed_draw, loop):
    for optimizer in [l2l.sgd(), l2l.adam(0.1), lstm()]:
        done = l2l.unroll(l2l.Quadratic(2), fixed_draw(), optimizer, steps=1, loop=loop)
        losses, x = run([done.losses, done.x])
        assert losses.shape == (1,) and np.all(x != [1.0, -0.5])


def test_an_unroll_starts_where_it_is_told(run, fixed_draw):
    x = np.array([2.0, 3.0], np.float32)
    done = l2l.unroll(l2l.Quadratic(2), fixed_draw(), l2l.sgd(), x=x, steps=2)
    losses, x = run([done.losses, done.x])
    np.testing.assert_allclose(losses[0], (0.5 * 2) ** 2 + (1.5 * 3) ** 2, rtol=1e-6)
    np.testing.assert_allclose(x, [2 * 0.95**2, 3 * 0.55**2], rtol=1e-5)


def test_an_optimizer_binds_once_an_unroll(fixed_draw):
    network, calls = lstm(), []

    class Counting:
        initial_state, coordinatewise = staticmethod(network.initial_state), True

        def __call__(self, gradients, state):
            raise AssertionError("an optimizer that binds is not called")

        def bind(self):
            calls.append(1)
            return network.bind()

    l2l.unroll(l2l.Quadratic(2), fixed_draw(), Counting(), steps=5)
    assert len(calls) == 1


@pytest.mark.parametrize("first", [0, 3, np.int32(2)], ids=repr)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_problem_sees_base_iterations_as_tensors(fixed_draw, loop, first):
    problem = Noting(2)
    l2l.unroll(problem, fixed_draw(), l2l.adam(), steps=3, first=first, loop=loop)
    l2l.learn(problem, fixed_draw(), l2l.adam(), steps=3, loop=loop)
    problem.check()


def test_an_unroll_that_is_written_out_has_all_its_turns(fixed_draw):
    with pytest.raises(ValueError, match="most must be None with loop='python', got 2"):
        l2l.unroll(l2l.Quadratic(2), fixed_draw(), l2l.sgd(), steps=3, most=2)
    without_state = lambda gradients, state: (-gradients, state)  # noqa: E731
    with pytest.raises(ValueError, match="most must be None where the first step is one of its own, got 2"):
        l2l.unroll(l2l.Quadratic(2), fixed_draw(), without_state, steps=3, most=2, loop="while")


def test_a_loop_may_make_fewer_turns_and_makes_no_more_than_it_has(run, fixed_draw):
    most, optimizer = tf.placeholder(tf.int32, []), DescentThatSaysItsState()
    done = l2l.unroll(l2l.Quadratic(2), fixed_draw(), optimizer, steps=3, most=most, loop="while")
    shrink = 1 - 0.2 * np.array([0.25, 2.25])
    whole = np.array([np.sum([0.25, 2.25 * 0.25] * shrink ** (2 * t)) for t in range(3)])
    for number in [0, 2, 3, 4]:
        losses, x = run([done.losses, done.x], {most: number})
        np.testing.assert_allclose(losses, [*whole[:number], 0, 0, 0][:3], rtol=1e-5)
        np.testing.assert_allclose(x, [1.0, -0.5] * shrink ** min(number, 3), rtol=1e-5)


def test_a_loop_that_is_compiled_can_be_differentiated(run):
    """XLA has to know how many turns it makes at most."""
    rate, draw = tf.get_variable("rate", initializer=0.1, use_resource=True), l2l.Quadratic(2).draw(1)

    def program(loop, *tensors):
        one = tf.nest.pack_sequence_as(draw, tensors)
        losses = l2l.unroll(l2l.Quadratic(2), one, l2l.momentum(rate), steps=3, loop=loop).losses
        return [losses, *tf.gradients(losses, [rate])]

    plain = program("python", *tf.nest.flatten(draw))
    for one, other in zip(*run([plain, compiled(functools.partial(program, "while"), tf.nest.flatten(draw))])):
        np.testing.assert_allclose(one, other, rtol=1e-5)


class Contrast(l2l.Problem):
    """Its loss has an op for which TensorFlow knows no gradient."""

    def sample(self, num, seed=None):
        return l2l.uniform([num, 2, 2, 1], 0.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.reduce_sum(tf.image.adjust_contrast(x, 2.0))


@pytest.mark.parametrize(
    "call",
    [
        lambda problem: l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=3),
        lambda problem: l2l.evaluate(problem, {"it": l2l.sgd()}, draws=1, steps=3),
        lambda problem: l2l.evaluate(problem, {"it": l2l.sgd()}, draws=3, steps=3),
        lambda problem: l2l.Trainer(problem, l2l.CoordinatewiseLSTM, engine="graph", batch=2),
        lambda problem: l2l.Trainer(problem, l2l.CoordinatewiseLSTM, engine="graph", second_derivatives=False),
        l2l.testing.check_problem,
    ],
)
def test_a_loss_with_an_op_without_a_gradient_is_refused(call):
    with pytest.raises(ValueError, match=r"loss must be made of ops that have a gradient: .*AdjustContrast"):
        call(Contrast())


def test_the_only_loss_of_one_step_is_that_of_the_first_base_iteration(run):
    problem = Regression(np.float32)
    draw = problem.draw(1)
    one, two = run([l2l.learn(problem, draw, l2l.sgd(), steps=number) for number in (1, 2)])
    np.testing.assert_array_equal(one, two[:1])


def test_a_single_loss_must_depend_on_the_position_too(fixed_draw):
    class Flat(l2l.Quadratic):
        def loss(self, x, draw):
            return tf.reduce_sum(draw.start)

    with pytest.raises(ValueError, match="loss must depend on every tensor of x"):
        l2l.learn(Flat(2), fixed_draw(), l2l.sgd(), steps=1)
