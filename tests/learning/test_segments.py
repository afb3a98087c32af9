"""The meta-gradient of a segment: finite differences, second derivatives, and what is carried to the next one."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Noting, Regression
from segment_helpers import assert_same, meta_gradient, one_of, results, tensors
from trainers import one_rate

import l2l
from l2l.learning.engines import compiled
from l2l.learning.segments import last_loss

LOOPS = ["python", "while"]
STEPS = 4


def float64_lstm(casting="none"):
    return l2l.CoordinatewiseLSTM((4,), casting, dtype=tf.float64)


class Descent:
    """Momentum in float64 with a learned rate and decay, where a network would show no more."""

    coordinatewise = True

    def __init__(self):
        constants = [tf.constant(value, tf.float64) for value in (0.1, 0.3)]
        self.variables = [
            tf.get_variable(name, initializer=one, use_resource=True) for name, one in zip("rd", constants)
        ]

    def initial_state(self, x):
        return 0.5 * tf.ones_like(x)

    def __call__(self, gradients, state):
        rate, decay = self.variables[:2]
        velocity = decay * (0.5 * tf.ones_like(gradients) if state is None else state) + gradients
        return -rate * velocity, velocity


def resource_rate():
    with tf.variable_scope("resource", use_resource=True):
        return one_rate(0.1)


def segment(optimizer, draw, loop="python", meta_loss="sum", unroll_length=STEPS, **more):
    problem = l2l.Quadratic(2, tf.float64)
    return meta_gradient(
        problem,
        draw,
        optimizer,
        optimizer.variables,
        meta_loss=meta_loss,
        unroll_length=unroll_length,
        loop=loop,
        **more,
    )


def directional_derivatives(value, variables, directions, step=1e-6):
    """Central finite differences of a tensor along directions in weight space."""
    differences = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        start = session.run(variables)

        def value_at(factor, direction):
            for variable, weights, change in zip(variables, start, direction):
                variable.load(weights + factor * change, session)
            return session.run(value)

        for direction in directions:
            differences.append((value_at(step, direction) - value_at(-step, direction)) / (2 * step))
        for variable, weights in zip(variables, start):
            variable.load(weights, session)
    return np.array(differences)


def gradients_along(gradients, directions, run):
    gradients = run(gradients)
    return np.array([sum(np.sum(g * d) for g, d in zip(gradients, direction)) for direction in directions])


def random_directions(variables, number=4):
    random = np.random.RandomState(1)
    return [[random.normal(size=variable.shape.as_list()) for variable in variables] for _ in range(number)]


@pytest.mark.parametrize(
    "casting, meta_loss, loop",
    [
        ("none", "end_log", "python"),
        ("log", "sum", "python"),
        ("log_and_sign", "end_log", "python"),
        ("log", "end_log", "while"),  # the others follow: the loops are compared in test_backward.py
        ("log_and_sign", "sum", "while"),
    ],
)
def test_meta_gradient_against_finite_differences(run, fixed_draw, loop, casting, meta_loss):
    optimizer = float64_lstm(casting)
    meta = segment(optimizer, fixed_draw(np.float64), loop, meta_loss)
    directions = random_directions(optimizer.variables)
    expected = directional_derivatives(meta.meta_loss, optimizer.variables, directions)
    np.testing.assert_allclose(gradients_along(meta.gradients, directions, run), expected, rtol=1e-5)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_second_derivatives_it_is_that_of_an_optimizer_fed_with_constants(run, fixed_draw, loop):
    draw = fixed_draw(np.float64)
    optimizer = float64_lstm()
    meta = segment(optimizer, draw, loop, second_derivatives=False)

    # The gradients along the way, recorded as numbers ...
    recorded = []

    def recording(gradients, state):
        recorded.append(gradients)
        return optimizer(gradients, state)

    l2l.learn(l2l.Quadratic(2, tf.float64), draw, recording, steps=STEPS)
    numbers = iter(run(recorded))

    # ... and given to the optimizer in place of those it asks for.
    def replaying(gradients, state):
        return optimizer(tf.constant(next(numbers)), state)

    replayed = tf.reduce_sum(l2l.learn(l2l.Quadratic(2, tf.float64), draw, replaying, steps=STEPS))
    directions = random_directions(optimizer.variables)
    expected = directional_derivatives(replayed, optimizer.variables, directions)
    ours = gradients_along(meta.gradients, directions, run)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)

    with_second = gradients_along(segment(optimizer, draw, loop).gradients, directions, run)
    assert np.all(np.abs(with_second / ours - 1) > 1e-3)


def test_the_losses_are_those_of_learn(run, fixed_draw):
    optimizer, draw = float64_lstm("log"), fixed_draw(np.float64)
    learned = l2l.learn(l2l.Quadratic(2, tf.float64), draw, optimizer, steps=STEPS)
    (losses, value, last, *_), learned = results([segment(optimizer, draw, meta_loss="end")], [learned])
    np.testing.assert_allclose(losses, learned, rtol=1e-12)
    assert value == last == losses[-1]


@pytest.mark.parametrize("loop", LOOPS)
def test_position_and_state_that_are_carried_are_those_of_an_unroll(fixed_draw, loop):
    problem, draw, optimizer = l2l.Quadratic(2, tf.float64), fixed_draw(np.float64), float64_lstm("log_and_sign")
    first = segment(optimizer, draw, loop, unroll_length=2, carry_on=True)
    second = segment(optimizer, draw, loop, unroll_length=2, x=first.x, state=first.state, first=2, carry_on=True)
    whole = l2l.unroll(problem, draw, optimizer, steps=4)
    half = l2l.unroll(problem, draw, optimizer, steps=2)
    tf.nest.assert_same_structure(first.state, half.state)
    pairs = [(first.x, half.x), (second.x, whole.x), *zip(tensors(first.state), tensors(half.state))]
    pairs += zip(tensors(second.state), tensors(whole.state))
    losses, pairs = results([], [[first.losses, second.losses, whole.losses], pairs])
    np.testing.assert_allclose(np.concatenate(losses[:2]), losses[2], rtol=1e-12)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-11)


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_carried_unless_it_is_asked_for(fixed_draw, loop):
    meta = segment(Descent(), fixed_draw(np.float64), loop)
    assert meta.x is None and meta.state is None and meta.adapted == []


@pytest.mark.parametrize("loop", LOOPS)
def test_no_gradient_flows_into_the_given_position_and_state(fixed_draw, loop):
    """A second segment has the meta-gradient that it has from the same numbers as constants."""
    draw, optimizer = fixed_draw(np.float64), Descent()
    first = segment(optimizer, draw, unroll_length=3, carry_on=True)
    places = [tf.placeholder(tensor.dtype, tensor.shape) for tensor in tensors((first.x, first.state))]
    given = dict(zip(["x", "state"], places))
    joined = segment(optimizer, draw, loop, unroll_length=3, x=first.x, state=first.state, first=3)
    cut = segment(optimizer, draw, loop, unroll_length=3, first=3, **given)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run(tensors((first.x, first.state)))
        ours = session.run(tensors(joined))
        expected = session.run(tensors(cut), dict(zip(places, values)))
    assert_same(ours, expected)


@pytest.mark.parametrize("loop", LOOPS)
def test_minibatches_are_those_of_the_base_iterations_life_and_so_is_that_of_the_last_update(loop):
    """The first state of this optimizer is None, so that its first step is outside a loop."""
    problem, rate = Regression(), tf.get_variable("rate", initializer=tf.constant(0.1, tf.float64), use_resource=True)
    draw, optimizer = problem.draw(1), lambda gradients, state: (-rate * gradients, state)
    meta = meta_gradient(problem, draw, optimizer, [rate], unroll_length=3, first=4, carry_on=True, loop=loop)
    expected = l2l.unroll(problem, draw, optimizer, steps=3, first=4)
    wrong = l2l.unroll(problem, draw, optimizer, steps=1)
    ours, expected, wrong = results([], [[meta.losses, meta.x], [expected.losses, expected.x], wrong.losses])
    assert_same(ours, expected, rtol=1e-10)
    assert np.all(ours[0][0] != wrong[0])


def test_a_batch_averages_meta_losses_and_gradients_of_its_draws():
    problem, optimizer = l2l.Quadratic(2, tf.float64), Descent()
    draws = problem.sample(3, 1)
    metas = [
        meta_gradient(problem, draws, optimizer, optimizer.variables, meta_loss="sum_log", unroll_length=4, batch=3),
        *[
            meta_gradient(
                problem, one_of(draws, i), optimizer, optimizer.variables, meta_loss="sum_log", unroll_length=4
            )
            for i in range(3)
        ],
    ]
    together, *alone = results(metas)
    np.testing.assert_allclose(together[0], np.transpose([one[0] for one in alone]), rtol=1e-10)
    np.testing.assert_allclose(together[1], np.mean([one[1] for one in alone]), rtol=1e-10)
    np.testing.assert_allclose(together[2], np.exp(np.mean([np.log(one[2]) for one in alone])), rtol=1e-10)
    for gradient, *gradients in zip(together[3:], *[one[3:] for one in alone]):
        np.testing.assert_allclose(gradient, np.mean(gradients, axis=0), rtol=1e-8, atol=1e-12)


def test_a_meta_loss_of_ones_own(run, fixed_draw):
    meta = segment(Descent(), fixed_draw(np.float64), meta_loss=lambda losses: tf.reduce_max(losses[2:]))
    losses, value = run([meta.losses, meta.meta_loss])
    assert value == losses[2:].max()


def test_a_meta_loss_of_some_losses_alone(fixed_draw):
    optimizer = Descent()

    def some(losses):
        return tf.reduce_prod(tf.gather(losses, [1, 2]))

    assert_same(*results([segment(optimizer, fixed_draw(np.float64), loop, some) for loop in LOOPS]))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_meta_loss_that_weighs_the_variables_too(fixed_draw, loop):
    """With either loop, or with none: what is added for the weights has a gradient as well."""
    optimizer = Descent()

    def decaying(losses):
        return tf.reduce_sum(losses) + 0.1 * tf.add_n([tf.reduce_sum(tf.square(v)) for v in optimizer.variables])

    draw = fixed_draw(np.float64)
    metas = [segment(optimizer, draw, "python"), segment(optimizer, draw, loop, decaying)]
    plain, ours, weights = results(metas, [optimizer.variables])
    for gradient, other, weight in zip(ours[3:], plain[3:], weights):
        np.testing.assert_allclose(gradient, other + 0.2 * weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loop", LOOPS)
def test_variables_that_the_meta_loss_ignores_get_zeros(fixed_draw, loop):
    optimizer = Descent()
    bystander = tf.get_variable("bystander", [2], tf.float64, tf.ones_initializer(), use_resource=True)
    optimizer.variables = [*optimizer.variables, bystander]
    (figures,) = results([segment(optimizer, fixed_draw(np.float64), loop)])
    np.testing.assert_array_equal(figures[-1], [0, 0])


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("steps", [1, 2])
def test_a_meta_loss_that_depends_on_no_variable_is_refused(fixed_draw, loop, steps):
    variable = tf.get_variable("alone", [], tf.float64, use_resource=True)
    with pytest.raises(
        ValueError,
        match=r"meta_loss must depend on the optimizer's variables, it depends on none "
        r"\(with unroll_length=%d the losses have seen %d updates\)" % (steps, steps - 1),
    ):
        meta_gradient(
            l2l.Quadratic(2, tf.float64), fixed_draw(np.float64), l2l.sgd(), [variable], unroll_length=steps, loop=loop
        )


@pytest.mark.parametrize("loop", LOOPS)
def test_the_shortest_segment_has_two_losses(fixed_draw, loop):
    optimizer = Descent()
    for meta_loss in ["sum", tf.reduce_max]:
        with pytest.raises(ValueError, match="with unroll_length=1 the losses have seen 0 updates"):
            segment(optimizer, fixed_draw(np.float64), loop, meta_loss, unroll_length=1)
    (figures,) = results([segment(optimizer, fixed_draw(np.float64), loop, "end", unroll_length=2)])
    assert all(np.any(gradient) for gradient in figures[3:])


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_learned_optimizer_adapts_follows_from_the_end_of_the_segment(run, fixed_draw, loop):
    class Largest(l2l.Casting):
        """Remembers the last gradient, and adapts to the largest that there was at the end."""

        adapted = (0.5,)

        def initial_memory(self, gradients):
            return tf.zeros_like(gradients)

        def encode(self, gradients, memory=None, adapted=()):
            return tf.expand_dims(gradients * adapted[0], axis=1)

        def decode(self, outputs, gradients=None, memory=None, adapted=()):
            return outputs

        def remember(self, gradients, memory, updates):
            return gradients

        def adapt(self, gradients, memory, adapted):
            return (adapted[0] + tf.reduce_max(gradients) + 10 * tf.reduce_max(memory),)

    problem, draw, optimizer = l2l.Quadratic(2, tf.float64), fixed_draw(np.float64), float64_lstm(Largest())
    (adapted,) = segment(optimizer, draw, loop, carry_on=True).adapted
    path = [l2l.unroll(problem, draw, optimizer, steps=steps).x for steps in [STEPS - 2, STEPS - 1]]
    before, last = [tf.gradients(problem.loss(x, draw), x)[0] for x in path]
    adapted, before, last = run([adapted, before, last])
    np.testing.assert_allclose(adapted, 0.5 + last.max() + 10 * before.max(), rtol=1e-10)


class LoopInside(l2l.Quadratic):
    """The square of what comes out of a loop, which TensorFlow differentiates once."""

    def loss(self, x, draw):
        turn = lambda i, total: (i + 1, 2 * total)  # noqa: E731
        return tf.square(tf.while_loop(lambda i, total: i < 1, turn, [0, super().loss(x, draw)])[1])


def test_a_loss_without_second_derivatives_is_refused_where_they_are_asked_for(run, fixed_draw):
    problem, optimizer = LoopInside(2), one_rate(0.1)
    arguments = problem, fixed_draw(), optimizer, tf.trainable_variables()
    meta = l2l.meta_gradient(*arguments, unroll_length=3, second_derivatives=False)
    assert run(meta.losses[0]) == (2 * (0.5**2 + (1.5 * 0.5) ** 2)) ** 2
    with pytest.raises(ValueError, match=r"^second_derivatives must be False for a loss .*: Second-order gradient"):
        l2l.meta_gradient(*arguments, unroll_length=3)


def test_an_error_of_the_users_own_stays_what_it_is(fixed_draw):
    @tf.custom_gradient
    def broken(update):
        def gradient(_):
            raise TypeError("broken")

        return update, gradient

    rule = one_rate(0.1)
    optimizer = lambda gradients, state: (broken(rule(gradients, state)[0]), state)  # noqa: E731
    with pytest.raises(TypeError, match="broken"):
        l2l.meta_gradient(l2l.Quadratic(2), fixed_draw(), optimizer, tf.trainable_variables(), unroll_length=2)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_idle_does_not_move(loop):
    """Neither in the segment nor in the update that is carried on, whatever the optimizer makes of a zero."""
    problem = l2l.Mixture([l2l.Quadratic(1, tf.float64), l2l.Quadratic(1, tf.float64)])
    rate = tf.get_variable("rate", initializer=tf.constant(0.1, tf.float64), use_resource=True)

    def drifting(gradients, state):
        return tf.nest.map_structure(lambda one: 0.01 - rate * one, gradients), state

    draw = problem.draw(1)
    meta = meta_gradient(problem, draw, drifting, [rate], unroll_length=3, carry_on=True, loop=loop)
    x, start, which = results([], [meta.x, problem.initial_position(draw), draw["which"]])
    assert [one != other for one, other in zip(x, start)] == [which == 0, which == 1]


@pytest.mark.parametrize("loop", LOOPS)
def test_arguments_are_checked(fixed_draw, loop):
    optimizer, draw = Descent(), fixed_draw(np.float64)
    problem, variables = l2l.Quadratic(2, tf.float64), optimizer.variables
    with pytest.raises(TypeError, match="problem must be a Problem"):
        meta_gradient("quadratic", draw, optimizer, variables, loop=loop)
    with pytest.raises(TypeError, match="optimizer must be an optimizer, a function"):
        meta_gradient(problem, draw, "lstm", variables, loop=loop)
    with pytest.raises(ValueError, match="unroll_length must be a positive integer, got 0"):
        meta_gradient(problem, draw, optimizer, variables, unroll_length=0, loop=loop)
    with pytest.raises(ValueError, match="meta_loss must be one of"):
        meta_gradient(problem, draw, optimizer, variables, meta_loss="mean", unroll_length=3, loop=loop)


def test_the_kind_of_loop_is_checked(fixed_draw):
    optimizer = Descent()
    with pytest.raises(ValueError, match="loop must be one of python, while, got 'for'"):
        l2l.meta_gradient(
            l2l.Quadratic(2, tf.float64), fixed_draw(np.float64), optimizer, optimizer.variables, loop="for"
        )


@pytest.mark.parametrize("loop", LOOPS)
def test_a_problem_sees_base_iterations_as_tensors(fixed_draw, loop):
    problem, optimizer = Noting(2, tf.float64), Descent()
    meta_gradient(problem, fixed_draw(np.float64), optimizer, optimizer.variables, unroll_length=3, first=1, loop=loop)
    problem.check()


@pytest.mark.parametrize(
    "losses, expected",
    [([1e-2, 1e-6], 1e-4), ([0.0, 1.0], np.sqrt(np.finfo(np.float64).tiny)), ([-3.0, 1.0], -1.0), ([-2.0, 0.0], -1.0)],
)
def test_the_last_loss_of_a_batch_is_its_log_average_or_its_mean_where_one_is_negative(run, losses, expected):
    np.testing.assert_allclose(run(last_loss(tf.constant(losses, tf.float64), 2)), expected, rtol=1e-12)
    assert run(last_loss(tf.constant(-3.0), None)) == -3


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_the_last_loss_of_a_batch_is_not_finite_where_one_is_not(run, engine):
    """Compiled with fast math, the exponential of a NaN is 0, which would look like the best figure of all."""
    losses = [tf.placeholder_with_default(np.array([1.0, one], np.float32), [2]) for one in [np.nan, np.inf]]

    def figures(*losses):
        return [last_loss(each, 2) for each in losses]

    found = run(compiled(figures, losses) if engine == "xla" else figures(*losses))
    np.testing.assert_array_equal(found, [np.nan, np.inf])


USELESS = {
    "first": lambda losses: losses[0],
    "weights": lambda losses: sum(tf.nn.l2_loss(variable) for variable in tf.trainable_variables()),
}


@pytest.mark.parametrize("loop, batch", [("python", None), ("while", 3)])
@pytest.mark.parametrize("meta_loss", USELESS.values(), ids=USELESS)
def test_a_meta_loss_that_no_update_changes_is_refused(loop, batch, meta_loss):
    """Of the shortest segment too; test_meta_losses.py has more of them."""
    problem, optimizer = l2l.Quadratic(2), resource_rate()
    draw, variables = problem.draw(1) if batch is None else problem.sample(batch, 1), tf.trainable_variables()
    words = "^meta_loss must depend on the losses after the first, which alone have seen an update; "
    with pytest.raises(ValueError, match=words):
        meta_gradient(problem, draw, optimizer, variables, meta_loss=meta_loss, unroll_length=2, loop=loop, batch=batch)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("batch", [None, 3])
def test_a_meta_loss_sees_how_many_losses_there_are(loop, batch):
    shapes = []

    def noting(losses):
        shapes.append(losses.shape.as_list())
        return tf.reduce_sum(losses)

    problem, optimizer = l2l.Quadratic(2), resource_rate()
    draw = problem.draw(1) if batch is None else problem.sample(batch, 1)
    meta_gradient(
        problem, draw, optimizer, tf.trainable_variables(), meta_loss=noting, unroll_length=4, loop=loop, batch=batch
    )
    assert shapes and all(shape == [4] for shape in shapes)
