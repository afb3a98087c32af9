import numpy as np
import pytest
import tensorflow as tf

import l2l

LOG_CASTS = [-1.0, -15.0, -30.0]


def encode(run, casting, gradients):
    return run(casting.encode(tf.constant(np.array(gradients, np.float32))))


def decode(run, casting, outputs):
    return run(casting.decode(tf.constant(np.array(outputs, np.float32))))


def test_no_casting_changes_nothing(run):
    values = np.array([-2.0, 0.0, 1e-38, 3.0], np.float32)
    np.testing.assert_array_equal(encode(run, l2l.no_casting(), values), values[:, None])
    np.testing.assert_array_equal(decode(run, l2l.no_casting(), values), values)


@pytest.mark.parametrize("m", LOG_CASTS)
def test_log_cast_is_its_formula(run, m):
    gradients = np.array([-3.0, -1e-3, 2e-7, 0.5, 1.0], np.float32)
    expected = np.sign(gradients) * (np.log(np.abs(gradients) + np.exp(m - 5)) - m) / -m
    np.testing.assert_allclose(encode(run, l2l.log_cast(m), gradients)[:, 0], expected, rtol=1e-5, atol=1e-6)
    outputs = np.array([-1.0, -0.25, 0.0, 0.5, 1.0], np.float32)
    expected = np.sign(outputs) * np.exp(np.abs(outputs) * -m + m)
    np.testing.assert_allclose(decode(run, l2l.log_cast(m), outputs), expected, rtol=1e-5)


@pytest.mark.parametrize("m", LOG_CASTS)
def test_log_cast_maps_its_range_onto_0_to_1(run, m):
    ends = encode(run, l2l.log_cast(m), [np.exp(m), 1.0])[:, 0]
    # exp(m - 5) under the log moves the ends by log(1 + exp(-5)) / -m and less.
    np.testing.assert_allclose(ends, [0, 1], atol=1.01 * np.log1p(np.exp(-5)) / -m)


@pytest.mark.parametrize("m", LOG_CASTS)
def test_log_cast_round_trip(run, m):
    gradients = np.exp(np.linspace(m, 0, 50)).astype(np.float32)
    gradients = np.concatenate([gradients, -gradients])
    there = encode(run, l2l.log_cast(m), gradients)[:, 0]
    # What comes back is |g| + exp(m - 5). A float32 near 1 has 6e-8 of error, exp(-m) times as much after decoding.
    np.testing.assert_allclose(
        decode(run, l2l.log_cast(m), there), gradients + np.sign(gradients) * np.exp(m - 5), rtol=1e-5
    )


@pytest.mark.parametrize("casting", [l2l.log_cast(-15), l2l.log_cast(-30)], ids=lambda c: c.name)
def test_encode_is_odd(run, casting):
    gradients = np.array([1e-38, 1e-20, 1e-3, 1.0, 50.0, 1e30], np.float32)
    np.testing.assert_array_equal(encode(run, casting, gradients), -encode(run, casting, -gradients))
    np.testing.assert_array_equal(decode(run, casting, gradients[:4]), -decode(run, casting, -gradients[:4]))


@pytest.mark.parametrize(
    "casting", [l2l.log_cast(-15), l2l.log_cast(-82), l2l.log_and_sign(), l2l.log_and_sign(87)], ids=lambda c: c.name
)
def test_encode_and_its_derivative_are_finite_everywhere(run, casting):
    gradients = tf.constant([0.0, 1e-38, -1e-38, 1e-30, 1.0, 1e38, -1e38])
    encoded = casting.encode(gradients)
    values, slopes = run([encoded, tf.gradients(encoded, gradients)[0]])
    assert np.isfinite(values).all() and np.isfinite(slopes).all()


def test_log_cast_of_zero_is_zero(run):
    assert encode(run, l2l.log_cast(-15), [0.0]) == 0
    assert decode(run, l2l.log_cast(-15), [0.0]) == 0


def test_log_cast_below_its_range_goes_on_to_5_over_m(run):
    np.testing.assert_allclose(encode(run, l2l.log_cast(-15), [1e-30]), [[5 / -15]], rtol=1e-5)


@pytest.mark.parametrize("k", [5.0, 10.0])
def test_log_and_sign_is_the_papers_formula(run, k):
    gradients = np.array([-1e6, -1.0, -np.exp(-k) * 0.9, -1e-38, 0, 1e-9, np.exp(-k) * 1.1, 0.3], np.float32)
    large = np.abs(gradients) >= np.exp(-k)
    with np.errstate(divide="ignore"):
        first = np.where(large, np.log(np.abs(gradients)) / k, -1)
    second = np.where(large, np.sign(gradients), np.exp(k) * gradients)
    encoded = encode(run, l2l.log_and_sign(k), gradients)
    np.testing.assert_allclose(encoded, np.stack([first, second], axis=1), rtol=1e-5, atol=1e-6)


def test_log_and_sign_returns_the_raw_output(run):
    np.testing.assert_array_equal(decode(run, l2l.log_and_sign(), [-0.5, 2.0]), [-0.5, 2.0])


def test_castings_by_name():
    assert l2l.casting.get("none").name == "none"
    assert l2l.casting.get("log").name == "log(-15)"
    assert l2l.casting.get("log_and_sign").features == 2
    own = l2l.log_cast(-20)
    assert l2l.casting.get(own) is own
