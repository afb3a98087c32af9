"""Schedules against TensorFlow's own of the same names."""

import math
import pickle

import numpy as np
import pytest
import tensorflow as tf

import l2l

STEPS = [0, 1, 2, 3, 9, 10, 11, 25, 49, 50, 51, 99, 100, 101, 1000]


def at_steps(schedule, steps=STEPS, dtype=tf.int32):
    value = schedule(tf.placeholder(dtype, []))
    assert value.dtype == tf.float64 and value.shape == []
    return tf.map_fn(schedule, tf.constant(steps, dtype), tf.float64)


def values_of(run, schedule, steps=STEPS, dtype=tf.int32):
    return run(at_steps(schedule, steps, dtype))


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (l2l.cosine_decay(0.2, 50), lambda t: tf.train.cosine_decay(0.2, t, 50)),
        (l2l.cosine_decay(0.2, 50, alpha=0.1), lambda t: tf.train.cosine_decay(0.2, t, 50, alpha=0.1)),
        (l2l.exponential_decay(0.2, 50), lambda t: tf.train.exponential_decay(0.2, t, 50, 0.5)),
        (l2l.exponential_decay(0.2, 7, decay_rate=0.96), lambda t: tf.train.exponential_decay(0.2, t, 7, 0.96)),
        (
            l2l.piecewise_constant([10, 50], [0.2, 0.1, 0.0]),
            lambda t: tf.train.piecewise_constant(t, [10, 50], [0.2, 0.1, 0.0]),
        ),
    ],
    ids=["cosine", "cosine to a tenth", "exponential", "exponential of another base", "steps"],
)
def test_equivalence_with_tensorflow(run, ours, theirs):
    found, expected = run([at_steps(ours), tf.map_fn(theirs, tf.constant(STEPS), tf.float32)])
    # Theirs is computed in float32; the 143rd power of 0.96 has 143 times its rounding error.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_a_decay_is_computed_in_float64(run):
    """A float32 cannot tell 2^24 from 2^24 + 1, nor a rate from the next one."""
    steps = np.array([2**24, 2**24 + 1, 2**24 + 2])
    found = values_of(run, l2l.exponential_decay(0.1, 10**6), steps, tf.int64)
    np.testing.assert_allclose(found, 0.1 * 0.5 ** (steps / 1e6), rtol=1e-14)
    assert len(set(found)) == 3
    found = values_of(run, l2l.cosine_decay(0.1, 2**25), steps, tf.int64)
    np.testing.assert_allclose(found, 0.05 * (1 + np.cos(math.pi * steps / 2**25)), rtol=1e-14)


def test_a_warm_up_rises_to_what_follows(run):
    steps = [0, 1, 5, 9, 10, 11, 60, 110, 500]
    constant = values_of(run, l2l.warmup(10, 0.3), steps)
    np.testing.assert_allclose(constant, 0.3 * np.minimum(np.array(steps) / 10, 1), rtol=1e-14)
    cosine = values_of(run, l2l.warmup(10, l2l.cosine_decay(0.3, 100)), steps)
    np.testing.assert_allclose(cosine[:5], constant[:5], rtol=1e-14)
    np.testing.assert_array_equal(cosine[4:], values_of(run, l2l.cosine_decay(0.3, 100), np.array(steps[4:]) - 10))
    own = values_of(run, l2l.warmup(10, lambda t: 0.3 / (1.0 + tf.cast(t, tf.float32))), steps)
    np.testing.assert_allclose(own[[1, 4, 5]], [0.03, 0.3, 0.15], rtol=1e-6)
    twice = values_of(run, l2l.warmup(10, l2l.warmup(10, 0.3)), [10, 15, 20])
    np.testing.assert_allclose(twice, [0, 0.15, 0.3], rtol=1e-14)


def test_parameters_may_be_tensors_through_which_gradients_flow(run):
    rate, steps = tf.get_variable("rate", initializer=0.2), tf.constant(50)
    pairs = [
        (l2l.cosine_decay(rate, steps, alpha=tf.constant(0.1)), l2l.cosine_decay(0.2, 50, alpha=0.1)),
        (l2l.exponential_decay(rate, steps, decay_rate=rate), l2l.exponential_decay(0.2, 50, decay_rate=0.2)),
        (l2l.piecewise_constant([10, steps], [0.0, rate, 0.1]), l2l.piecewise_constant([10, 50], [0.0, 0.2, 0.1])),
        (l2l.warmup(steps, rate), l2l.warmup(50, 0.2)),
    ]
    assert pairs[-1][0].hyperparameters["then"] is rate
    assert pairs[2][0].description() == {
        **pairs[2][1].description(),
        "boundaries": [10, {"tensor": "int32", "shape": []}],
        "values": [0.0, {"tensor": "float32", "shape": []}, 0.1],
    }
    t = tf.constant(25)
    slopes = [tf.gradients(ours(t), rate)[0] for ours, _ in pairs]
    ours, expected = zip(*[map(at_steps, pair) for pair in pairs])
    ours, expected, slopes = run([ours, expected, slopes])
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-12)
    # All but the power are proportional to the rate; that is rate^(1 + 1/2).
    np.testing.assert_allclose(
        slopes, np.array([1, 1.5, 1, 1]) * [one[STEPS.index(25)] / 0.2 for one in expected], 1e-5
    )


ALL = [
    l2l.cosine_decay(0.1, 100),
    l2l.exponential_decay(0.1, 100, decay_rate=0.9),
    l2l.piecewise_constant([10, 20], [0.1, 0.01, 0.0]),
    l2l.warmup(10, l2l.cosine_decay(0.1, 100)),
    l2l.warmup(10, 0.1),
]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_a_schedule_is_a_value(run, schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule and hash(again) == hash(schedule) and len({again, *ALL}) == len(ALL)
    assert eval(repr(schedule), vars(l2l)) == schedule
    assert again.description() == schedule.description() != l2l.cosine_decay(0.1, 99).description()
    assert l2l.sgd(again) == l2l.sgd(schedule) != l2l.sgd(0.1)
    found, expected = run([again(5), schedule(5)])
    assert found == expected


def test_what_schedules_say_of_themselves():
    assert repr(ALL[0]) == "cosine_decay(initial=0.1, decay_steps=100, alpha=0.0)"
    cosine = {"schedule": "cosine_decay", "initial": 0.1, "decay_steps": 100, "alpha": 0.0}
    assert ALL[3].description() == {"schedule": "warmup", "steps": 10, "then": cosine}
    assert ALL[2].description()["values"] == [0.1, 0.01, 0.0]
    assert l2l.sgd(ALL[0]).description() == {"rule": "sgd", "learning_rate": cosine}
    described = l2l.cosine_decay(tf.constant(0.1), 100).description()
    assert described == {**cosine, "initial": {"tensor": "float32", "shape": []}}
    assert ALL[0] != 0.1 and ALL[0] != l2l.exponential_decay(0.1, 100) and l2l.sgd(0.1) != ALL[0]


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (lambda: l2l.cosine_decay(0, 10), ValueError, "initial must be a positive finite number, got 0"),
        (lambda: l2l.cosine_decay(0.1, 0), ValueError, "decay_steps must be a positive integer, got 0"),
        (lambda: l2l.cosine_decay(0.1, 10, alpha=-1), ValueError, "alpha must be a finite number, 0 or above, got -1"),
        (lambda: l2l.cosine_decay(ALL[0], 10), TypeError, "initial must be a positive finite number, got cosine"),
        (lambda: l2l.exponential_decay("1", 10), TypeError, "initial must be a positive finite number, got '1'"),
        (lambda: l2l.exponential_decay(0.1, 1.5), TypeError, "decay_steps must be a positive integer, got 1.5"),
        (lambda: l2l.exponential_decay(0.1, 10, decay_rate=0), ValueError, "decay_rate must be a positive finite"),
        (lambda: l2l.piecewise_constant(10, [1, 2]), TypeError, "boundaries must be a list or a tuple, got 10"),
        (lambda: l2l.piecewise_constant([10], 0.1), TypeError, "values must be a list or a tuple, got 0.1"),
        (lambda: l2l.piecewise_constant([10], [0.1]), ValueError, "values must be one more than the 1 boundaries"),
        (lambda: l2l.piecewise_constant([10, 10], [1, 2, 3]), ValueError, "boundaries must increase, got .10, 10."),
        (lambda: l2l.piecewise_constant([-1], [1, 2]), ValueError, r"boundaries\[0\] must be a positive integer"),
        (lambda: l2l.piecewise_constant([1], [1, -2]), ValueError, r"values\[1\] must be a finite number, 0 or above"),
        (lambda: l2l.warmup(0, 0.1), ValueError, "steps must be a positive integer, got 0"),
        (lambda: l2l.warmup(10, 0), ValueError, "then must be a positive finite number, got 0"),
        (lambda: l2l.warmup(10, lambda: 1), TypeError, "then must be a function of one argument, t"),
        (lambda: l2l.warmup(tf.constant([1]), 0.1), ValueError, r"steps must be a scalar tensor, got shape \(1,\)"),
        (
            lambda: l2l.warmup(10, tf.constant(True)),
            TypeError,
            "then must be a scalar tensor of numbers, got dtype bool",
        ),
        (
            lambda: l2l.warmup(10, lambda t: True)(1),
            TypeError,
            "the result of the schedule then must be a scalar tensor of numbers, got dtype bool",
        ),
        (
            lambda: l2l.warmup(10, lambda t: 0.5 * t)(1),
            TypeError,
            r"the schedule then failed for t, a scalar int32 tensor \(tf.cast",
        ),
        (lambda: l2l.sgd(l2l.cosine_decay), TypeError, "learning_rate must be a function of one argument, t"),
    ],
)
def test_bad_parameters_are_refused(bad, error, message):
    with pytest.raises(error, match="^" + message):
        bad()


@pytest.mark.parametrize("maker", [l2l.cosine_decay, l2l.exponential_decay])
def test_parameters_after_the_second_are_named(maker):
    with pytest.raises(TypeError, match="positional argument"):
        maker(0.1, 10, 0.5)
