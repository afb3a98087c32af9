"""Which examples a base iteration sees: a hash of key and base iteration, alike in every engine."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.mapping import OverDraws
from l2l.problems import minibatches
from l2l.problems.minibatches import fold, uniform_noise


def mixed(number):
    """MurmurHash3's finalizer as published, on unsigned integers."""
    number = np.asarray(number, np.uint32).copy()
    number ^= number >> np.uint32(16)
    number *= np.uint32(0x85EBCA6B)
    number ^= number >> np.uint32(13)
    number *= np.uint32(0xC2B2AE35)
    number ^= number >> np.uint32(16)
    return number


def unsigned(number):
    return np.asarray(number, np.int64).astype(np.uint32)


def numpy_minibatch(key, t, size, examples):
    number = mixed(mixed(unsigned(key)) + unsigned(t))
    numbers = mixed(number + np.arange(size, dtype=np.uint32))
    return (numbers & np.uint32(0x7FFFFFFF)) % np.uint32(examples)


KEYS = [0, 1, -1, 2**31 - 1, -(2**31), 123456789]


def chi_square(counts):
    expected = counts.sum() / counts.size
    return np.sum((counts - expected) ** 2) / expected


def check_uniform(indices, examples):
    """Within 5 standard deviations of what independent uniform draws give: their number less one, on average."""
    degrees = examples - 1
    assert indices.min() >= 0 and indices.max() < examples
    assert abs(chi_square(np.bincount(indices.ravel(), minlength=examples)) - degrees) < 5 * np.sqrt(2 * degrees)


def test_the_reference_is_the_published_hash():
    # A fixed point, and a value of the reference implementation's fmix32.
    assert mixed(0) == 0
    assert mixed(1) == 0x514E28B7


@pytest.mark.parametrize("size, examples", [(8, 1000), (1, 1), (5, 2**31 - 1)])
def test_against_a_reference_in_numpy(run, size, examples):
    key, t = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    chosen = l2l.minibatch(key, t, batch_size=size, examples=examples)
    assert chosen.shape == [size] and chosen.dtype == tf.int32
    for number in KEYS:
        for when in [0, 1, 19, 2**31 - 1]:
            expected = numpy_minibatch(number, when, size, examples)
            np.testing.assert_array_equal(run(chosen, {key: number, t: when}), expected)


def test_compiled_it_is_the_same():
    key, t = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])

    def chosen(key, t):
        return [l2l.minibatch(key, t, batch_size=50, examples=999)]

    (compiled,), (plain,) = tf.xla.experimental.compile(chosen, [key, t]), chosen(key, t)
    with tf.Session() as session:
        for number in KEYS:
            for when in [0, 3, 2**31 - 1]:
                one, other = session.run([compiled, plain], {key: number, t: when})
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("examples", [2, 17, 1000])
def test_it_is_uniform_over_the_examples(run, examples):
    check_uniform(run(l2l.minibatch(5, 0, batch_size=100000, examples=examples)), examples)


def test_it_is_uniform_over_base_iterations_and_over_draws(run):
    times = OverDraws("it")(lambda t: l2l.minibatch(3, t, batch_size=8, examples=17), tf.range(5000))
    draws = OverDraws("it")(lambda key: l2l.minibatch(key, 3, batch_size=8, examples=17), l2l.keys(5000, 1))
    neighbours = OverDraws("it")(
        lambda key: l2l.minibatch(key, 3, batch_size=8, examples=17), tf.range(5000)
    )  # keys one beside another
    assert times.shape == draws.shape == [5000, 8]
    times, draws, neighbours = run([times, draws, neighbours])
    for indices in [times, draws, neighbours]:
        check_uniform(indices, 17)
        check_uniform(indices[:, 0], 17)
        # One place tells nothing of the next, nor one base iteration or draw of the one after it.
        check_uniform(17 * indices[:, 0] + indices[:, 1], 17**2)
        check_uniform(17 * indices[:-1, 0] + indices[1:, 0], 17**2)


def test_it_follows_from_key_and_base_iteration_and_differs_with_each(run):
    one, again, other_key, other_t = run(
        [l2l.minibatch(*pair, batch_size=20, examples=1000) for pair in [(1, 0), (1, 0), (2, 0), (1, 1)]]
    )
    np.testing.assert_array_equal(one, again)
    assert np.mean(one == other_key) < 0.2 and np.mean(one == other_t) < 0.2
    # A small key and a base iteration do not stand for one another.
    assert np.mean(other_key == other_t) < 0.2


def test_other_integers_serve_as_keys_and_base_iterations(run):
    one, other = (
        l2l.minibatch(7, 3, batch_size=5, examples=100),
        l2l.minibatch(tf.constant(7, tf.int64), tf.constant(3, tf.int64), batch_size=5, examples=100),
    )
    np.testing.assert_array_equal(*run([one, other]))


@pytest.mark.parametrize("size, examples, named", [(0, 5, "batch_size"), (5, 0, "examples"), (-1, 5, "batch_size")])
def test_sizes_are_checked(size, examples, named):
    with pytest.raises(ValueError, match="^%s must be a positive integer" % named):
        l2l.minibatch(0, 0, batch_size=size, examples=examples)
    with pytest.raises(TypeError, match=r"^batch_size must be a positive integer, got 2\.5"):
        l2l.minibatch(0, 0, batch_size=2.5, examples=3)


def test_without_a_seed_each_run_has_new_keys():
    keys = l2l.keys(100)
    assert keys.shape == [100] and keys.dtype == tf.int32
    with tf.Session() as session:
        assert not np.any(session.run(keys) == session.run(keys))


def test_with_a_seed_keys_repeat_and_fill_the_integers(run):
    seed = tf.placeholder(tf.int64, [])
    keys = l2l.keys(4000, seed)
    one, again, other = (run(keys, {seed: number}) for number in [7, 7, 8])
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other) and len(set(one)) == 4000
    check_uniform(((one.astype(np.int64) + 2**31) >> 28).astype(np.int64), 16)


def test_keys_without_a_seed_fill_the_integers(run):
    check_uniform(((run(l2l.keys(4000)).astype(np.int64) + 2**31) >> 28).astype(np.int64), 16)


def test_the_keys_and_minibatches_of_a_seed_are_pinned(run):
    """What a seed means does not change; these are keys of block 1 of `draws_seed=2`."""
    keys = l2l.keys(1000, (2 << 32) | 1)
    keys, chosen = run([keys, [l2l.minibatch(keys[0], t, batch_size=5, examples=1000) for t in [0, 1, 19]]])
    assert keys[[0, 1, 2, 999]].tolist() == [-285909389, 1204015184, 82721187, 1141244306]
    assert np.array(chosen).tolist() == [
        [549, 461, 928, 214, 880],
        [593, 636, 995, 505, 533],
        [345, 437, 445, 442, 712],
    ]


def numpy_noise(key, t, count):
    number = mixed(mixed(~unsigned(key)) + unsigned(t))
    numbers = (mixed(number + np.arange(2 * count, dtype=np.uint32)) & np.uint32(0x7FFFFFFF)).astype(np.float64)
    first, second = np.split((numbers + 0.5) / 2.0**31, 2)
    return np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)


def test_noise_against_a_reference_in_numpy(run):
    key, t = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    noise = l2l.noise(key, t, [2, 3])
    assert noise.shape == [2, 3] and noise.dtype == tf.float32
    assert l2l.noise(key, t, [2], dtype=tf.float64).dtype == tf.float64
    for number in KEYS:
        for when in [0, 1, 2**31 - 1]:
            expected = numpy_noise(number, when, 6).reshape([2, 3])
            np.testing.assert_allclose(run(noise, {key: number, t: when}), expected, rtol=1e-4, atol=1e-5)


def test_noise_is_normal_and_independent_from_base_iteration_to_base_iteration(run):
    numbers = run(OverDraws("it")(lambda key: tf.stack([l2l.noise(key, t, [4]) for t in range(3)]), l2l.keys(5000, 1)))
    numbers = numbers.reshape([5000, 12])
    assert np.abs(numbers.mean(axis=0)).max() < 5 / np.sqrt(5000)
    assert np.abs(np.corrcoef(numbers, rowvar=False) - np.eye(12)).max() < 5 / np.sqrt(5000)
    assert np.abs(numbers.std(axis=0) - 1).max() < 5 / np.sqrt(10_000)
    assert abs(np.mean(np.abs(numbers) > 2) - 0.0455) < 5 * np.sqrt(0.0455 / 60_000)


def test_noise_has_other_numbers_than_a_minibatch(run):
    """The uniform number behind the first one is no index of the same key and base iteration."""
    noise = OverDraws("it")(lambda key: l2l.noise(key, 0, [8]), l2l.keys(5000, 1))
    indices = OverDraws("it")(lambda key: l2l.minibatch(key, 0, batch_size=8, examples=1000), l2l.keys(5000, 1))
    noise, indices = run([noise, indices])
    assert np.abs(np.corrcoef(noise.T**2, indices.T)[:8, 8:]).max() < 5 / np.sqrt(5000)


def test_noise_needs_an_integer_as_key():
    with pytest.raises(TypeError, match=r"^key must be an integer, as from l2l\.keys, got dtype float32$"):
        l2l.noise(tf.constant(1.0), 0, [2])


def test_uniform_noise_against_a_reference_in_numpy(run):
    key, t = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    numbers = uniform_noise(key, t, [2, 500])
    assert numbers.shape == [2, 500] and uniform_noise(key, t, [], dtype=tf.float64).dtype == tf.float64
    for number in KEYS:
        for when in [0, 1, 2**31 - 1]:
            hashed = mixed(mixed(mixed(unsigned(number)) + unsigned(when)) + np.arange(1000, dtype=np.uint32))
            expected = ((hashed & np.uint32(0x7FFFFFFF)) >> np.uint32(7)) / 2.0**24
            np.testing.assert_array_equal(run(numbers, {key: number, t: when}).ravel(), expected)


def test_noise_of_the_largest_and_the_smallest_number_of_the_hash(run, monkeypatch):
    """Uniform numbers are below 1; normal ones are made of numbers between 0 and 1, neither of which they are."""
    monkeypatch.setattr(minibatches, "_positive_integers", lambda *_: tf.constant([2**31 - 1, 0]))
    (largest, smallest), normal = run([uniform_noise(0, 0, [2]), l2l.noise(0, 0, [1], dtype=tf.float64)])
    assert largest == 1 - 2.0**-24 and smallest == 0
    np.testing.assert_allclose(normal, np.sqrt(-2 * np.log1p(-(2.0**-32))), rtol=1e-6)


def test_folded_keys_have_independent_numbers(run):
    """Of each other, of the key's own, of neighbouring keys, and at the next base iteration."""
    keys = [tf.constant(3), fold(3, 0), fold(3, 1), fold(4, 0), fold(fold(3, 0), 0)]
    numbers = [uniform_noise(key, t, [5000]) for key in keys for t in range(2)]
    correlations = np.corrcoef(run(numbers)) - np.eye(len(numbers))
    assert np.abs(correlations).max() < 5 / np.sqrt(5000)


def test_folded_keys_against_a_reference_in_numpy(run):
    numbers = [0, 1, 7]
    ours = run([[fold(tf.constant(key, tf.int64), number) for number in numbers] for key in KEYS])
    expected = [[mixed(mixed(unsigned(key)) + unsigned(0x9E3779B9 * (i + 1))) for i in numbers] for key in KEYS]
    np.testing.assert_array_equal(np.array(ours).astype(np.uint32), expected)
    assert fold(3, 1).dtype == tf.int32
