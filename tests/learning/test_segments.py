import numpy as np
import pytest
import tensorflow as tf

import l2l

LOOPS = ["python", "while"]
STEPS = 5


def float64_lstm(casting="none"):
    return l2l.CoordinatewiseLSTM((4,), casting, dtype=tf.float64)


def meta_step(optimizer, draw, loop="python", meta_loss="sum", second_derivatives=True, dtype=tf.float64):
    adam = tf.train.AdamOptimizer(3e-4)
    return l2l.meta_step(
        l2l.Quadratic(2, dtype),
        draw,
        optimizer,
        optimizer.variables,
        adam,
        meta_loss,
        STEPS,
        second_derivatives=second_derivatives,
        loop=loop,
    )


@pytest.mark.parametrize(
    "name, function",
    [
        ("sum", np.sum),
        ("end", lambda losses: losses[-1]),
        ("end_log", lambda losses: np.log(losses[-1])),
        ("sum_log", lambda losses: np.log(losses).sum()),
    ],
)
def test_meta_losses(run, name, function):
    losses = np.array([3.0, 0.5, 1e-20], np.float32)
    np.testing.assert_allclose(run(l2l.META_LOSSES[name](tf.constant(losses))), function(losses), rtol=1e-6)


@pytest.mark.parametrize("name", ["end_log", "sum_log"])
def test_the_log_of_an_exact_zero_is_finite_and_has_no_gradient(run, name):
    losses = tf.constant([1.0, 0.0])
    value = l2l.META_LOSSES[name](losses)
    value, gradient = run([value, tf.gradients(value, losses)[0]])
    np.testing.assert_allclose(value, np.log(np.finfo(np.float32).tiny), rtol=1e-6)
    assert gradient[1] == 0 and np.isfinite(gradient).all()


def directional_derivatives(value, variables, directions, step=1e-6):
    """Central finite differences of a tensor along directions in weight space."""
    results = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        start = session.run(variables)

        def value_at(factor, direction):
            for variable, weights, change in zip(variables, start, direction):
                variable.load(weights + factor * change, session)
            return session.run(value)

        for direction in directions:
            results.append((value_at(step, direction) - value_at(-step, direction)) / (2 * step))
        for variable, weights in zip(variables, start):
            variable.load(weights, session)
    return np.array(results)


def gradients_along(gradients, directions, run):
    gradients = run(gradients)
    return np.array([sum(np.sum(g * d) for g, d in zip(gradients, direction)) for direction in directions])


def random_directions(variables, number=4):
    random = np.random.RandomState(1)
    return [[random.normal(size=variable.shape.as_list()) for variable in variables] for _ in range(number)]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("casting", ["none", "log", "log_and_sign"])
@pytest.mark.parametrize("meta_loss", ["sum", "end_log"])
def test_meta_gradient_against_finite_differences(run, fixed_draw, loop, casting, meta_loss):
    optimizer = float64_lstm(casting)
    meta = meta_step(optimizer, fixed_draw(np.float64), loop, meta_loss)
    directions = random_directions(optimizer.variables)
    expected = directional_derivatives(meta.meta_loss, optimizer.variables, directions)
    np.testing.assert_allclose(gradients_along(meta.gradients, directions, run), expected, rtol=1e-5)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_second_derivatives_it_is_that_of_an_optimizer_fed_with_constants(run, fixed_draw, loop):
    draw = fixed_draw(np.float64)
    optimizer = float64_lstm()
    meta = meta_step(optimizer, draw, loop, second_derivatives=False)

    # The gradients along the way, recorded as numbers ...
    recorded = []

    def recording(gradients, state):
        recorded.append(gradients)
        return optimizer(gradients, state)

    l2l.learn(l2l.Quadratic(2, tf.float64), draw, recording, STEPS)
    numbers = iter(run(recorded))

    # ... and given to the optimizer in place of those it asks for.
    def replaying(gradients, state):
        return optimizer(tf.constant(next(numbers)), state)

    replayed = tf.reduce_sum(l2l.learn(l2l.Quadratic(2, tf.float64), draw, replaying, STEPS))
    directions = random_directions(optimizer.variables)
    expected = directional_derivatives(replayed, optimizer.variables, directions)
    ours = gradients_along(meta.gradients, directions, run)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)

    with_second = gradients_along(meta_step(optimizer, draw, loop).gradients, directions, run)
    assert np.all(np.abs(with_second / ours - 1) > 1e-3)


def test_both_loops_give_the_same_meta_gradient(run, fixed_draw):
    optimizer = float64_lstm("log")
    python, loop = (meta_step(optimizer, fixed_draw(np.float64), loop) for loop in LOOPS)
    (losses, gradients), (other_losses, other_gradients) = run(
        [(python.losses, python.gradients), (loop.losses, loop.gradients)]
    )
    np.testing.assert_allclose(losses, other_losses, rtol=1e-12)
    for gradient, other in zip(gradients, other_gradients):
        np.testing.assert_allclose(gradient, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("clip_norm, expected", [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_clipping_by_global_norm(run, clip_norm, expected):
    variables = [tf.get_variable(name, [], initializer=tf.zeros_initializer()) for name in "ab"]
    descent = tf.train.GradientDescentOptimizer(1.0)
    update, norm = l2l.clip_and_apply(descent, [tf.constant(3.0), tf.constant(4.0)], variables, clip_norm)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run([norm, update])[0] == 5.0
        np.testing.assert_allclose(session.run(variables), -np.array(expected), rtol=1e-6)


@pytest.mark.parametrize("gradient, unless", [(np.nan, False), (np.inf, False), (1.0, True)])
def test_nothing_is_applied_where_the_norm_is_not_finite(run, gradient, unless):
    variable = tf.get_variable("a", [], initializer=tf.constant_initializer(2.0))
    update, _ = l2l.clip_and_apply(tf.train.AdamOptimizer(), [tf.constant(gradient)], [variable], unless=unless)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(tf.global_variables())
        assert not session.run(update)
        assert session.run(tf.global_variables()) == before


def test_the_log_of_nan_is_nan(run):
    assert np.isnan(run(l2l.META_LOSSES["end_log"](tf.constant([1.0, np.nan]))))


def test_shards_average_their_gradients(run):
    problem, optimizer = l2l.Quadratic(2, tf.float64), float64_lstm()
    draw = problem.sample(6, 3)
    steps = [
        l2l.meta_step(
            problem, draw, optimizer, optimizer.variables, tf.train.AdamOptimizer(), steps=4, batch=6, shards=shards
        )
        for shards in [1, 3]
    ]
    one, three = run([(s.losses, s.meta_loss, s.last_loss, s.gradient_norm, *s.gradients) for s in steps])
    for whole, parts in zip(one, three):
        np.testing.assert_allclose(parts, whole, rtol=1e-10, atol=1e-14)
    with pytest.raises(ValueError, match="shards must divide the batch, 6, got 4"):
        l2l.meta_step(problem, draw, optimizer, optimizer.variables, None, batch=6, shards=4)


def test_one_meta_step_is_one_step_of_adam_on_clipped_gradients(fixed_draw):
    optimizer = l2l.CoordinatewiseLSTM()
    meta = meta_step(optimizer, fixed_draw(), dtype=tf.float32)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(optimizer.variables)
        gradients, norm, _ = session.run([meta.gradients, meta.gradient_norm, meta.update])
        after = session.run(optimizer.variables)
    flat = np.concatenate([gradient.ravel() for gradient in gradients])
    np.testing.assert_allclose(norm, np.linalg.norm(flat), rtol=1e-5)
    for old, new, gradient in zip(before, after, gradients):
        g = gradient / max(1.0, norm)
        # Adam's first step: mean and mean square are the gradient's, each corrected in full.
        np.testing.assert_allclose(new - old, -3e-4 * g / (np.abs(g) + 1e-8 / np.sqrt(1e-3)), atol=1e-7)


def test_a_meta_loss_of_ones_own(run, fixed_draw):
    optimizer = l2l.CoordinatewiseLSTM()
    meta = meta_step(optimizer, fixed_draw(), meta_loss=lambda losses: tf.reduce_max(losses[2:]), dtype=tf.float32)
    losses, value = run([meta.losses, meta.meta_loss])
    assert value == losses[2:].max()


def test_variables_that_the_meta_loss_ignores_stay_as_they_are(fixed_draw):
    optimizer = l2l.CoordinatewiseLSTM()
    bystander = tf.get_variable("bystander", [], initializer=tf.ones_initializer())
    optimizer.variables = [*optimizer.variables, bystander]
    meta = meta_step(optimizer, fixed_draw(), dtype=tf.float32)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(meta.update)
        assert session.run(bystander) == 1
