import numpy as np
import pytest
import tensorflow as tf

import l2l


@pytest.mark.parametrize("dims", [1, 2, 10])
def test_quadratic_draws_have_the_documented_shape_type_and_range(run, dims):
    draws = l2l.Quadratic(dims).sample(500)
    assert draws.scale.shape == draws.start.shape == [500, dims]
    assert draws.scale.dtype == draws.start.dtype == tf.float32
    scale, start = run([draws.scale, draws.start])
    assert 0.5 <= scale.min() < 0.55 and 1.45 < scale.max() < 1.5
    assert -1 <= start.min() < -0.95 and 0.95 < start.max() < 1


def test_quadratic_loss_is_that_of_numpy(run, fixed_draw):
    x = np.array([0.3, -2.0], np.float32)
    loss = l2l.Quadratic(2).loss(tf.constant(x), fixed_draw())
    assert loss.shape == []
    np.testing.assert_allclose(run(loss), (0.5 * 0.3) ** 2 + (1.5 * 2.0) ** 2, rtol=1e-6)


def test_batch_loss_is_loss_of_each_draw(run):
    problem = l2l.Quadratic(3)
    draws, x = problem.sample(4, 1), l2l.uniform([4, 3], -1.0, 1.0, 2)
    losses = problem.batch_loss(x, draws)
    assert losses.shape == [4]
    one_by_one = [problem.loss(x[i], tf.nest.map_structure(lambda many, i=i: many[i], draws)) for i in range(4)]
    np.testing.assert_allclose(*run([losses, one_by_one]), rtol=1e-6)


def test_without_a_seed_each_run_draws_anew():
    draw = l2l.Quadratic(2).draw()
    with tf.Session() as session:
        assert not np.array_equal(session.run(draw.scale), session.run(draw.scale))


def test_with_a_seed_draws_repeat_and_another_seed_gives_others(run):
    problem = l2l.Quadratic(2)
    seed = tf.placeholder(tf.int64, [])
    draws = problem.sample(4, seed)
    first, again, other = run(draws, {seed: 7}), run(draws, {seed: 7}), run(draws, {seed: 8})
    np.testing.assert_array_equal(first.scale, again.scale)
    np.testing.assert_array_equal(first.start, again.start)
    assert not np.any(first.scale == other.scale)
    # Scale and start come from one seed, but not from the same random numbers.
    assert not np.allclose(first.scale - 0.5, (first.start + 1) / 2)


def test_draw_is_sample_without_the_leading_axis(run):
    problem = l2l.Quadratic(3)
    many, one = run([problem.sample(1, 5), problem.draw(5)])
    np.testing.assert_array_equal(many.scale[0], one.scale)


def test_float64_quadratic(run):
    problem = l2l.Quadratic(2, dtype=tf.float64)
    draw = problem.draw()
    assert problem.loss(problem.initial_position(draw), draw).dtype == tf.float64
