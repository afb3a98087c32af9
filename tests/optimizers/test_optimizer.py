"""What the library makes of an optimizer: a batch of draws, and a first state for one that knows none."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested

import l2l
from l2l.nests import tensors_of
from l2l.optimizers.optimizer import check_optimizer, for_batch, initial_state, with_initial_state


def normalized(gradients, state):
    """Momentum of gradients divided by their global norm: each coordinate depends on all of a draw."""
    flat = [gradient / (tf.global_norm(tf.nest.flatten(gradients)) + 1e-6) for gradient in tf.nest.flatten(gradients)]
    state = flat if state is None else [0.5 * old + new for old, new in zip(state, flat)]
    return tf.nest.pack_sequence_as(gradients, [-0.1 * tensor for tensor in state]), state


class Saying:
    """The same with an initial state of its own, and a count of the steps that is an integer."""

    def __call__(self, gradients, state):
        count, own, hole = self.initial_state(gradients) if state is None else state
        update, own = normalized(gradients, own)
        factor = 1 / tf.cast(count + 1, tf.float32)
        return tf.nest.map_structure(lambda tensor: factor * tensor, update), (count + 1, own, hole)

    def initial_state(self, x):
        return tf.constant(0), [0.3 * tensor for tensor in tf.nest.flatten(x)], None


def one_of(draws, i):
    return tf.nest.map_structure(lambda many: many[i], draws)


@pytest.mark.parametrize("problem", [l2l.Quadratic(3), Nested()], ids=["quadratic", "nested"])
@pytest.mark.parametrize("optimizer", [normalized, Saying()], ids=["normalized", "saying"])
@pytest.mark.parametrize("loop", ["python", "while"])
def test_one_that_mixes_coordinates_is_mapped_over_the_draws(run, problem, optimizer, loop):
    draws = problem.sample(3, 1)
    together = l2l.unroll(problem, draws, optimizer, steps=4, loop=loop, batch=3)
    alone = [l2l.unroll(problem, one_of(draws, i), optimizer, steps=4) for i in range(3)]
    expected, positions = [one.losses for one in alone], [one.x for one in alone]
    losses, x, expected, positions = run([together.losses, together.x, expected, positions])
    np.testing.assert_allclose(losses, np.transpose(expected), rtol=1e-5)
    for i, position in enumerate(positions):
        for ours, theirs in zip(tf.nest.flatten(x), tf.nest.flatten(position)):
            np.testing.assert_allclose(ours[i], theirs, rtol=1e-5)


def test_unmapped_its_draws_would_see_each_other(run):
    """So that the test above could fail."""
    gradients = tf.constant([[1.0, 2.0], [30.0, 40.0]])
    mapped, unmapped = run([for_batch(normalized, 2)(gradients, None)[0], normalized(gradients, None)[0]])
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), [0.1, 0.1], rtol=1e-5)
    assert np.linalg.norm(unmapped[0]) < 0.01


def test_a_coordinatewise_one_is_left_as_it_is():
    rule, network = l2l.rmsprop(), l2l.CoordinatewiseLSTM((3,))
    assert for_batch(rule, 3) is rule and for_batch(network, 3) is network
    assert for_batch(normalized, None) is normalized
    mapped = for_batch(normalized, 3)
    assert mapped is not normalized and for_batch(mapped, 3) is mapped


def test_the_initial_states_of_a_batch_are_those_of_its_draws(run):
    mapped, x = for_batch(Saying(), 3), tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    count, (own,), hole = mapped.initial_state(x)
    assert hole is None and count.shape == [3] and own.shape == [3, 2]
    np.testing.assert_allclose(run(own), 0.3 * np.array([[1, 2], [3, 4], [5, 6]]), rtol=1e-6)
    assert not hasattr(for_batch(normalized, 3), "initial_state")


def test_an_optimizer_may_say_nothing_of_its_initial_state():
    assert initial_state(l2l.sgd(), tf.zeros([2])) is None
    assert initial_state(Saying(), tf.zeros([2]))[2] is None


def holes(gradients, state):
    """A state that mixes integers, None and tensors."""
    count, mean = (tf.constant(1), gradients) if state is None else (state[0] + 1, 0.9 * state[2] + gradients)
    return -0.1 * mean / tf.cast(count, gradients.dtype), [count, None, mean]


def no_state(gradients, state):
    return -0.1 * gradients, None


RULES = [l2l.sgd(), l2l.rmsprop(), l2l.adam(0.1), l2l.vsgd(), normalized, holes, no_state]
NAMES = ["sgd", "rmsprop", "adam", "vsgd", "normalized", "holes", "no state"]


@pytest.mark.parametrize("optimizer", RULES, ids=NAMES)
def test_with_an_initial_state_each_step_is_what_it_was(run, optimizer):
    able = with_initial_state(optimizer)
    x = tf.constant([0.5, -2.0, 1.0])
    state, able_state = None, able.initial_state(x)
    for gradients in [[1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.3, -1e-3, 5.0], [0.1, 2.0, 5.0]]:
        update, state = optimizer(tf.constant(gradients), state)
        able_update, next_state = able(tf.constant(gradients), able_state)
        tf.nest.assert_same_structure(able_state, next_state)
        able_state = next_state
        np.testing.assert_array_equal(*run([update, able_update]))
        for ours, theirs in zip(*run([tensors_of(state), tensors_of(able_state[1])])):
            np.testing.assert_array_equal(ours, theirs)


def test_each_coordinate_has_a_first_step_of_its_own(run):
    """Of an embedding's rows some are met later than others."""

    def counting(gradients, state):
        number = tf.ones_like(gradients) if state is None else state + 1
        return gradients / number, number

    able = with_initial_state(counting, rows=True)
    flags, counts = able.initial_state(tf.zeros([3]))
    assert able.initial_state(tf.zeros([1]))[0].shape == [1]
    update, (flags, _) = able(tf.ones([3]), (flags * [1, 0, 0], counts * [7, 1, 4]))
    np.testing.assert_allclose(run(update), [1, 1 / 2, 1 / 5])
    np.testing.assert_array_equal(run(flags), np.zeros(3))


def test_its_state_keeps_shapes_and_dtypes_and_goes_round_a_loop(run, fixed_draw):
    for optimizer in [l2l.adam(0.1), normalized, holes, no_state]:
        able = with_initial_state(optimizer)
        losses = [
            l2l.learn(l2l.Quadratic(2), fixed_draw(), each, steps=5, loop=loop)
            for each, loop in [(optimizer, "python"), (able, "python"), (able, "while")]
        ]
        plain, *others = run(losses)
        for other in others:
            np.testing.assert_allclose(other, plain, rtol=1e-6)


def test_derivatives_of_the_first_step_are_finite_and_the_same(run, fixed_draw):
    """Both branches are computed and one is picked; the other must not send a NaN backwards."""
    draw, gradients = fixed_draw(), []
    for optimizer in [l2l.rmsprop(), l2l.vsgd(), normalized, holes]:
        for each in [optimizer, with_initial_state(optimizer)]:
            losses = l2l.learn(l2l.Quadratic(2), draw, each, steps=3)
            gradients.append(tf.gradients(losses, draw.start)[0])
    gradients = run(gradients)
    assert np.isfinite(gradients).all()
    np.testing.assert_allclose(gradients[1::2], gradients[::2], rtol=1e-5)


def test_one_that_says_so_itself_is_left_as_it_is():
    network, saying = l2l.CoordinatewiseLSTM((3,)), Saying()
    assert with_initial_state(network) is network and with_initial_state(saying) is saying


def test_whether_it_is_coordinatewise_is_kept():
    assert with_initial_state(l2l.sgd()).coordinatewise is True
    assert with_initial_state(normalized).coordinatewise is False
    assert with_initial_state(for_batch(normalized, 3)).coordinatewise is True


def test_with_an_initial_state_a_batch_is_still_mapped(run):
    problem = l2l.Quadratic(2)
    draws = problem.sample(3, 1)
    orders = [with_initial_state(normalized), with_initial_state(for_batch(normalized, 3)), normalized]
    *losses, expected = run([l2l.learn(problem, draws, each, steps=4, batch=3) for each in orders])
    for each in losses:
        np.testing.assert_allclose(each, expected, rtol=1e-6)


@pytest.mark.parametrize("maker", [l2l.sgd, l2l.adam, l2l.vsgd, l2l.CoordinatewiseLSTM])
def test_what_makes_an_optimizer_is_not_taken_for_one(maker):
    with pytest.raises(TypeError, match=r"^it must be an optimizer, not what makes one: call it first"):
        check_optimizer("it", maker)


def test_what_can_be_called_with_gradients_and_a_state_is_an_optimizer():
    def typed(gradients, state=None, rate=0.1):
        return -rate * gradients, state

    for optimizer in [l2l.sgd(), typed, max]:
        assert check_optimizer("it", optimizer) is optimizer
    for wrong in [lambda gradients: gradients, lambda gradients, state, more: gradients]:
        with pytest.raises(TypeError, match=r"^it must take two arguments, gradients and state"):
            check_optimizer("it", wrong)
    with pytest.raises(TypeError, match=r"^it must be an optimizer, a function"):
        check_optimizer("it", 3)


@pytest.mark.parametrize("changed", [lambda a, b: [a, b], lambda a, b: ((a,), b), lambda a, b: (a, b, None)])
def test_a_state_of_another_structure_is_refused_in_a_loop(changed):
    """The same tensors in other places, so that each would be taken for another."""

    def optimizer(gradients, state):
        parts = (gradients, gradients) if state is None else tf.nest.flatten(state)[:2]
        return -0.1 * gradients, tuple(parts) if state is None else changed(*parts)

    problem = l2l.Quadratic(2)
    with pytest.raises(ValueError, match="optimizer's state must keep its structure, shapes and dtypes"):
        l2l.unroll(problem, problem.draw(1), optimizer, steps=4, loop="while")


def test_what_an_optimizer_adapts_is_the_mean_over_draws_number_by_number():
    def optimizer(gradients, state):
        return -0.1 * gradients / tf.norm(gradients), state

    optimizer.adapted = [tf.get_variable("sizes", [2], initializer=tf.zeros_initializer(), trainable=False)]
    optimizer.adapt = lambda gradients, state: [tf.abs(gradients)]
    gradients = tf.constant([[1.0, -2.0], [3.0, 6.0]])
    (adapted,) = for_batch(optimizer, 2).adapt(gradients, None)
    with tf.Session() as session:
        np.testing.assert_allclose(session.run(adapted), [2, 4])
