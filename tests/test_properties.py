"""Properties that hold for every input, on inputs that are generated."""

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import l2l
from l2l import archives

# The same cases in every run, and no complaint about a slow machine or about a fixture that all of them share.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("repeatable")

losses = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1e30))
anything = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64))
gradients = hnp.arrays(np.float32, 20, elements=st.floats(np.float32(1e-30), np.float32(1e30), width=32))
ranges = st.floats(-82, -1)


def evaluated(function, values):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(function(tf.constant(values)))


@settings(max_examples=20)
@given(ranges, gradients)
def test_log_cast_is_odd_and_finite(m, values):
    casting = l2l.log_cast(m)
    one, other = (evaluated(casting.encode, sign * values) for sign in [1, -1])
    np.testing.assert_array_equal(one, -other)
    assert np.isfinite(one).all()


@settings(max_examples=20)
@given(ranges, gradients)
def test_log_cast_rises_with_the_size_of_the_gradient(m, values):
    encoded = evaluated(l2l.log_cast(m).encode, np.sort(values))[:, 0]
    assert (np.diff(encoded) >= -1e-5).all()


@settings(max_examples=20)
@given(ranges, hnp.arrays(np.float32, 20, elements=st.floats(np.float32(0.25), 1, width=32)))
def test_log_cast_decodes_what_it_encodes(m, fractions):
    """On [exp(m), 1], up to the exp(m - 5) that keeps log(0) away: at most exp(-5) of the value."""
    casting, values = l2l.log_cast(m), np.exp(m * (1 - fractions)).astype(np.float32)
    decoded = evaluated(lambda g: casting.decode(casting.encode(g)[:, 0]), values)
    np.testing.assert_allclose(decoded, values, rtol=np.exp(-5) + 1e-3)


@settings(max_examples=20)
@given(st.floats(0.5, 87), gradients)
def test_log_and_sign_stays_within_its_bounds(k, values):
    for sign in [1, -1]:
        logs, signs = evaluated(l2l.log_and_sign(k).encode, sign * values).T
        assert (logs >= -1).all() and (np.abs(signs) <= 1).all() and (signs * sign > 0).all()


@given(losses, st.integers(1, 70))
def test_smoothing_stays_between_lowest_and_highest(values, window):
    smooth = l2l.rolling_log_average(values, window)
    floored = values + 1e-38
    assert smooth.shape == values.shape
    assert (smooth >= floored.min() * (1 - 1e-9)).all() and (smooth <= floored.max() * (1 + 1e-9)).all()


@given(anything, st.integers(1, 70))
def test_smoothing_of_a_prefix_is_a_prefix_of_the_smoothing(values, window):
    half = len(values) // 2
    one, other = l2l.rolling_log_average(values, window)[:half], l2l.rolling_log_average(values[:half], window)
    np.testing.assert_allclose(one, other, rtol=1e-9)


@given(st.lists(st.integers(0, 9), max_size=8), st.randoms(use_true_random=False))
def test_a_history_is_what_was_appended(lengths, random):
    history, rows = l2l.History(), np.zeros([0, 4])
    for length in lengths:
        more = np.array([[random.uniform(-1, 1) for _ in range(4)] for _ in range(length)]).reshape(length, 4)
        if random.random() < 0.3:
            history.reserve(random.randint(0, 20))
        history.append(more)
        rows = np.concatenate([rows, more])
    assert len(history) == len(rows)
    for i, column in enumerate(l2l.History.COLUMNS):
        np.testing.assert_array_equal(getattr(history, column), rows[:, i])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)
dtypes = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_])
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4), st.lists(arrays, max_size=4))
def test_archives_give_back_what_they_were_given(tmp_path, config, members):
    named = {"group/%d" % i: array for i, array in enumerate(members)}
    archives.write(tmp_path / "x", config, named)
    read_config, read = archives.read(tmp_path / "x", named)
    assert read_config == config
    for name in named:
        assert read[name].dtype == named[name].dtype and read[name].shape == named[name].shape
        assert read[name].tobytes() == named[name].tobytes()


@given(st.lists(st.tuples(*[st.floats(width=64)] * 4), max_size=20))
def test_histories_give_back_what_they_were_given(tmp_path, rows):
    history = l2l.History({"name": "x"})
    history.append(np.array(rows).reshape(-1, 4))
    history.save(tmp_path / "x")
    loaded = l2l.History.load(tmp_path / "x")
    for column in l2l.History.COLUMNS:
        np.testing.assert_array_equal(getattr(loaded, column), getattr(history, column))
