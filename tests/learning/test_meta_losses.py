"""Meta-losses: numbers made of the losses of an unroll."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.learning.engines import compiled
from l2l.learning.meta_losses import _probes, check_depends_on_losses, floored_log, get_meta_loss, meta_loss_of

BY_HAND = {
    "sum": np.sum,
    "end": lambda losses: losses[-1],
    "end_log": lambda losses: np.log(losses[-1]),
    "sum_log": lambda losses: np.log(losses).sum(),
    "late_log": lambda losses: np.log(losses[-max(1, len(losses) // 10) :].mean() + 1e-7),
    "mean_log": lambda losses: np.log(losses + 1e-7).mean(),
    "late_and_mean_log": lambda losses: 0.8 * BY_HAND["late_log"](losses) + 0.2 * BY_HAND["mean_log"](losses),
}


def test_all_are_tested_here():
    assert sorted(l2l.META_LOSSES) == sorted(BY_HAND)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_meta_losses(run, name):
    losses = np.array([3.0, 0.5, 1e-20], np.float32)
    expected = BY_HAND[name](losses)
    value = run([l2l.META_LOSSES[name](tf.constant(losses)), meta_loss_of(name, tf.constant(losses))])
    np.testing.assert_allclose(value, [expected, expected], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_that_of_a_batch_is_the_mean_over_its_draws(run, name):
    losses = np.random.RandomState(0).uniform(0.1, 2, size=[4, 3])
    value = meta_loss_of(name, tf.constant(losses), 3)
    assert value.shape == [] and value.dtype == tf.float64
    np.testing.assert_allclose(run(value), np.mean([BY_HAND[name](one) for one in losses.T]), rtol=1e-12)


@pytest.mark.parametrize("steps, late", [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (99, 9), (300, 30)])
def test_late_losses_are_the_last_tenth(run, steps, late):
    losses = np.random.RandomState(steps).uniform(0.1, 2, size=steps)
    value = run(l2l.META_LOSSES["late_log"](tf.constant(losses)))
    np.testing.assert_allclose(value, np.log(losses[-late:].mean() + 1e-7), rtol=1e-12)


def spread(losses):
    """A meta-loss of one's own that would mix the draws of a batch, were it not mapped."""
    return tf.reduce_max(losses) - tf.reduce_min(losses[1:])


def test_one_of_ones_own_is_mapped_over_the_draws(run):
    losses = np.random.RandomState(0).uniform(0.1, 2, size=[4, 3])
    alone, together = meta_loss_of(spread, tf.constant(losses[:, 0])), meta_loss_of(spread, tf.constant(losses), 3)
    expected = [one.max() - one[1:].min() for one in losses.T]
    alone, together = run([alone, together])
    np.testing.assert_allclose(alone, expected[0], rtol=1e-12)
    np.testing.assert_allclose(together, np.mean(expected), rtol=1e-12)


@pytest.mark.parametrize("name", ["end_log", "sum_log"])
def test_the_log_of_an_exact_zero_is_finite_and_has_no_gradient(run, name):
    losses = tf.constant([1.0, 0.0])
    value = l2l.META_LOSSES[name](losses)
    value, gradient = run([value, tf.gradients(value, losses)[0]])
    np.testing.assert_allclose(value, np.log(np.finfo(np.float32).tiny), rtol=1e-6)
    assert gradient[1] == 0 and np.isfinite(gradient).all()


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_what_is_not_finite_has_no_log_that_is(run, engine):
    """Compiled with fast math, the floor would take the place of a NaN, and a single number is not what many are."""
    values = np.array([np.nan, np.inf, -np.inf, -1.0, 1.0], np.float32)
    tensors = [tf.placeholder_with_default(value, value.shape) for value in [values, *values]]

    def logs(*losses):
        return [floored_log(each) for each in losses]

    found = run(compiled(logs, tensors) if engine == "xla" else logs(*tensors))
    np.testing.assert_array_equal(found[0], [np.nan, np.inf, np.nan, np.nan, 0.0])
    np.testing.assert_array_equal(found[1:], found[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_floored_log_is_the_log_above_the_smallest_number_of_its_dtype(run, dtype):
    smallest = np.finfo(dtype).tiny
    values = np.array([0.0, smallest / 2, smallest, 2 * smallest, 1e-30, 1.0, np.inf], dtype)
    losses = tf.constant(values)
    logs = floored_log(losses)
    logs, gradients = run([logs, tf.gradients(logs, losses)[0]])
    np.testing.assert_allclose(logs, np.log(np.maximum(values, smallest)), rtol=1e-6)
    np.testing.assert_allclose(gradients, [0, 0, *1 / values[2:]], rtol=1e-6)


@pytest.mark.parametrize("name", ["end_log", "sum_log"])
@pytest.mark.parametrize("negative", [-1.0, -1e-30])
def test_a_negative_loss_has_no_logarithm(run, name, negative):
    assert np.isnan(run(l2l.META_LOSSES[name](tf.constant([1.0, negative]))))


@pytest.mark.parametrize("batch", [None, 3])
def test_another_dtype_than_that_of_the_losses_is_refused(batch):
    losses = tf.zeros([4] if batch is None else [4, 3])
    with pytest.raises(TypeError, match="meta_loss must have the dtype of the losses, float32, got float64"):
        meta_loss_of(lambda losses: tf.cast(losses[0], tf.float64), losses, batch)


@pytest.mark.parametrize("batch", [None, 3])
def test_what_is_no_scalar_is_refused(batch):
    losses = tf.zeros([4] if batch is None else [4, 3])
    with pytest.raises(ValueError, match=r"meta_loss must be a scalar \(shape \(\)\), got shape \(2,\)"):
        meta_loss_of(lambda losses: losses[:2], losses, batch)
    with pytest.raises(TypeError, match=r"meta_loss must be a tensor, got None"):
        meta_loss_of(lambda losses: None, losses, batch)


def test_by_name_or_as_a_function():
    assert get_meta_loss("end") is l2l.META_LOSSES["end"] and get_meta_loss(spread) is spread
    with pytest.raises(
        ValueError,
        match=r"meta_loss must be one of end, end_log, .*sum, sum_log, got 'last'",
    ):
        get_meta_loss("last")
    with pytest.raises(
        TypeError,
        match=r"meta_loss must be callable or one of end, end_log, .*sum, sum_log, got 3",
    ):
        get_meta_loss(3)


def within(low, high):
    """Looks at losses alone that are nearly alike and lie between two numbers."""

    def meta_loss(losses):
        smallest, largest = tf.reduce_min(losses), tf.reduce_max(losses)
        is_seen = (smallest > low) & (largest < high) & (largest < 1.001 * smallest)
        return tf.where(is_seen, losses[-1], 0 * losses[-1])

    return meta_loss


SELDOM = {
    "rising": lambda losses: tf.nn.relu(tf.reduce_min(losses[1:] - losses[:-1])),
    "falling": lambda losses: tf.nn.relu(tf.reduce_min(losses[:-1] - losses[1:])),
    "negative": lambda losses: tf.nn.relu(-losses[-1]),
    "tiny": lambda losses: tf.where(tf.abs(losses[-1]) < 1e-29, losses[-1], 0 * losses[-1]),
    "huge": lambda losses: tf.nn.relu(losses[-1] - 1e29),
    "all tiny": lambda losses: tf.where(tf.reduce_max(losses) < 1e-29, losses[-1], 0 * losses[-1]),
    "all huge": lambda losses: tf.nn.relu(tf.reduce_min(losses) - 1e29),
    "far apart": lambda losses: tf.nn.relu(tf.reduce_max(losses) - 1e40 * tf.reduce_min(tf.abs(losses))),
    "near a millionth": within(0.99e-6, 1.01e-6),
    "near one": within(1.05, 1.15),
    "near a million": within(0.99e6, 1.01e6),
    "second": lambda losses: losses[1],
    "worse than a large bound": lambda losses: tf.nn.relu(losses[-1] - 1e9),
    "rises": lambda losses: tf.reduce_sum(tf.nn.relu(losses[1:] - losses[:-1])),
    "least": lambda losses: tf.reduce_min(losses),
    "relative": lambda losses: losses[-1] / tf.stop_gradient(losses[0]),
    "in a narrow range": lambda losses: tf.where((losses[-1] > 0.25) & (losses[-1] < 0.3), losses[-1], 0 * losses[0]),
    "fell by much": lambda losses: tf.nn.relu(losses[0] - 1e5 * losses[-1]),
    "gathered": lambda losses: tf.reduce_sum(tf.gather(losses, [0, 1])),
}


@pytest.mark.parametrize("meta_loss", SELDOM.values(), ids=SELDOM)
def test_one_that_seldom_depends_on_the_losses_is_found_to(meta_loss):
    check_depends_on_losses(meta_loss, None, tf.zeros([12], tf.float64), 12)


USELESS = {
    "constant": lambda losses: tf.constant(1.0),
    "stopped": lambda losses: tf.stop_gradient(losses[-1]),
    "first": lambda losses: losses[0],
    "first of all": lambda losses: tf.reduce_sum(losses * tf.one_hot(0, 4)) + 0.0 * losses[-1],
    "first, gathered": lambda losses: tf.gather(losses, 0),
    "rounded": lambda losses: tf.round(losses[-1]),
    "sign": lambda losses: tf.reduce_sum(tf.sign(losses - 1.0)),
    "place": lambda losses: tf.cast(tf.argmin(losses), tf.float32),
}


@pytest.mark.parametrize("meta_loss", USELESS.values(), ids=USELESS)
def test_one_that_no_update_changes_is_refused(meta_loss):
    words = "^meta_loss must depend on the losses after the first, which alone have seen an update; "
    with pytest.raises(ValueError, match=words):
        check_depends_on_losses(meta_loss, None, tf.zeros([4]), 4)


def test_the_losses_it_is_tried_on_are_of_many_sizes():
    """Far apart and alike: for each of three spreads and 21 sizes some and the same sorted; then 241 that are equal."""
    tried = np.stack(list(_probes(np.random.RandomState(1), 2000)))
    several = tried[:-241].reshape([3, 21, 4, 2000])
    for spread, of_spread in zip([0.3, 3, 30], several):
        for size, (losses, rising, falling, negative) in zip(range(-30, 31, 3), of_spread):
            lowest, highest = max(size - spread, -37), min(size + spread, 37)
            logs = np.log10(losses)
            assert lowest <= logs.min() < lowest + 0.02 * spread and highest - 0.02 * spread < logs.max() <= highest
            assert abs(np.median(logs) - size) < 0.1 * spread
            np.testing.assert_array_equal(rising, np.sort(losses))
            np.testing.assert_array_equal(falling, rising[::-1])
            np.testing.assert_array_equal(negative, -losses)
    alike = 10.0 ** np.linspace(-6, 6, 241)
    np.testing.assert_allclose(tried[-241:], np.repeat(alike[:, np.newaxis], 2000, axis=1), rtol=1e-12)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_one_that_uses_the_callers_graph_is_judged_there(factor):
    losses, weight = tf.placeholder(tf.float32, [3]), tf.constant(2.0)
    meta_loss = lambda one: weight * (one[-1] if factor else tf.stop_gradient(one[-1]))  # noqa: E731
    if factor:
        check_depends_on_losses(meta_loss, meta_loss(losses), losses, 3)
        return
    with pytest.raises(ValueError, match=r"^meta_loss must depend on the losses "):
        check_depends_on_losses(meta_loss, meta_loss(losses), losses, 3)


def test_what_cannot_run_elsewhere_is_taken():
    """Nobody feeds the placeholder there."""
    check_depends_on_losses(lambda one: tf.placeholder(tf.float32, []) * one[-1], None, tf.zeros([3]), 3)
