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
    draws, x = problem.sample(4, 1), l2l.uniform([4, 3], -1.0, 1.0, seed=2)
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
    many, one = run([problem.sample(1, -(2**40) - 5), problem.draw(5)])
    np.testing.assert_array_equal(many.scale[0], one.scale)


def test_float64_quadratic(run):
    problem = l2l.Quadratic(2, dtype=tf.float64)
    draw = problem.draw()
    assert problem.loss(problem.initial_position(draw), draw).dtype == tf.float64


@pytest.mark.parametrize("seed", [None, 7])
def test_scale_and_start_do_not_follow_from_one_another(run, seed):
    """Nor one coordinate from the other. Correlations of 4000 independent pairs lie below 5 / sqrt(4000)."""
    draws = run(l2l.Quadratic(2).sample(4000, seed))
    correlations = np.corrcoef(np.concatenate([draws.scale, draws.start], axis=1), rowvar=False)
    assert np.abs(correlations - np.eye(4)).max() < 0.08


# Draws 0, 1 and 999 of the block of 1000 that `draws_seed=2` begins with.
SCALES = [[1.3685944, 0.8306055], [0.88412786, 0.89851844], [0.83842266, 0.61784697]]
STARTS = [[-0.38228226, 0.7374778], [0.7874129, 0.50144506], [0.9122627, 0.16707778]]
SCALES_64 = [
    [1.4487554642010583, 0.5730230070622981],
    [0.9543679652695423, 1.0763831218246702],
    [0.5463934134013497, 0.7215097290752706],
]
STARTS_64 = [
    [-0.058256544661749565, -0.7006951728808786],
    [0.8135414300300807, -0.006472063995631938],
    [-0.7033987369489965, 0.047673021858607],
]


@pytest.mark.parametrize("dtype, scales, starts", [(tf.float32, SCALES, STARTS), (tf.float64, SCALES_64, STARTS_64)])
def test_the_draws_of_a_seed_are_pinned(run, dtype, scales, starts):
    """TensorFlow's stateless random numbers (Philox) are the same everywhere, and so is what a seed means."""
    draws = run(l2l.Quadratic(2, dtype).sample(1000, 2 << 32))
    np.testing.assert_array_equal(draws.scale[[0, 1, 999]], np.array(scales, dtype.as_numpy_dtype))
    np.testing.assert_array_equal(draws.start[[0, 1, 999]], np.array(starts, dtype.as_numpy_dtype))


def test_the_papers_quadratic_is_that_of_numpy_and_so_are_its_gradients(run):
    problem = l2l.DenseQuadratic(3, dtype=tf.float64)
    draws = problem.sample(4, 1)
    x = l2l.normal([4, 3], 1.0, seed=2, dtype=tf.float64)
    losses = problem.batch_loss(x, draws)
    one = problem.loss(x[1], tf.nest.map_structure(lambda many: many[1], draws))
    values, (matrix, target, _), losses, one, gradients = run([x, draws, losses, one, tf.gradients(losses, x)[0]])
    residuals = np.einsum("bij,bj->bi", matrix, values) - target
    np.testing.assert_allclose(losses, np.sum(residuals**2, axis=1))
    np.testing.assert_allclose(one, losses[1])
    np.testing.assert_allclose(gradients, 2 * np.einsum("bij,bi->bj", matrix, residuals))


@pytest.mark.parametrize(
    "distribution, matrix, target",
    [("normal", -1.7322469433970378, 1.4836562488120792), ("uniform", 0.976630262419917, 0.32096601937403335)],
)
def test_the_draws_of_the_papers_quadratic_of_a_seed_are_pinned(run, distribution, matrix, target):
    draws = run(l2l.DenseQuadratic(1, distribution, dtype=tf.float64).sample(1, 7))
    assert draws.start.dtype == draws.target.dtype == np.float64
    expected = [matrix, target, -0.007781745994903718]
    np.testing.assert_allclose([one.item() for one in draws], expected, rtol=1e-14)


@pytest.mark.parametrize("distribution, mean, square", [("normal", 0.0, 1.0), ("uniform", 0.5, 1 / 3)])
def test_the_papers_quadratic_draws_what_it_says(run, distribution, mean, square):
    """Moments within five standard errors; the start is small; matrix and target are not the same numbers."""
    draws = run(l2l.DenseQuadratic(2, distribution).sample(5000, 3))
    for values in [draws.matrix, draws.target]:
        assert abs(values.mean() - mean) < 5 / np.sqrt(values.size)
        assert abs((values**2).mean() - square) < 5 * np.sqrt(2 / values.size)
        assert values.min() < -3 if distribution == "normal" else values.min() >= 0 and values.max() < 1
    assert abs(draws.start.std() / 0.01 - 1) < 5 / np.sqrt(20_000)
    together = np.concatenate([draws.matrix.reshape([-1, 4]), draws.target, draws.start], axis=1)
    assert np.abs(np.corrcoef(together, rowvar=False) - np.eye(8)).max() < 5 / np.sqrt(5000)


def test_uniform_entries_give_one_large_eigenvalue(run):
    """What the docstring says of the difference between the paper and its code, for ten dimensions."""
    for distribution, start in [("normal", 10), ("uniform", 10 / 3)]:
        draws = run(l2l.DenseQuadratic(10, distribution).sample(300, 3))
        assert abs(np.mean(np.sum(draws.target**2, axis=1)) / start - 1) < 0.1
        eigenvalues = np.mean([np.linalg.svd(matrix, compute_uv=False) ** 2 for matrix in draws.matrix], axis=0)[::-1]
        if distribution == "uniform":
            assert abs(eigenvalues[-1] - 25) < 2 and eigenvalues[-2] < 10 / 3


def test_the_papers_quadratic_starts_at_its_start(run):
    problem = l2l.DenseQuadratic(2)
    draw = problem.draw(1)
    assert problem.loss(problem.initial_position(draw), draw).shape == []
    np.testing.assert_array_equal(*run([draw.start, problem.initial_position(draw)]))
