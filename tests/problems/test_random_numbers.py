"""Random numbers for draws: their ranges, and what they follow from."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.problems.random_numbers import keys, moved, sampling


def test_uniform_fills_its_range_and_depends_on_seed_and_stream_alone(run):
    tensors = [
        l2l.uniform([1000], 2.0, 4.0, seed=3),
        l2l.uniform([1000], 2.0, 4.0, seed=tf.constant(3, tf.int64)),
        l2l.uniform([1000], 2.0, 4.0, seed=3, stream=1),
        l2l.uniform([1000], 2.0, 4.0, seed=4),
        l2l.uniform([1000], 2.0, 4.0),
    ]
    one, again, *others = run(tensors)
    assert 2 <= one.min() < 2.02 and 3.98 < one.max() < 4
    np.testing.assert_array_equal(one, again)
    assert all(not np.any(one == other) for other in others)
    assert l2l.uniform([1], 0.0, 1.0, seed=3, dtype=tf.float64).dtype == tf.float64


@pytest.mark.parametrize("seed", [None, 3])
def test_normal_numbers_have_mean_and_deviation_and_the_tails_of_a_normal(run, seed):
    numbers = run(l2l.normal([40_000], 2.0, seed=seed)) / 2
    assert abs(numbers.mean()) < 5 / 200 and abs(numbers.std() - 1) < 5 / np.sqrt(80_000)
    assert abs(np.mean(np.abs(numbers) > 2) - 0.0455) < 5 * np.sqrt(0.0455 / 40_000)


def test_normal_depends_on_seed_and_stream_alone_and_shares_no_numbers_with_uniform(run):
    tensors = [
        l2l.normal([1000], 1.0, seed=3),
        l2l.normal([1000], 1.0, seed=tf.constant(3, tf.int64)),
        l2l.normal([1000], 1.0, seed=3, stream=1),
        l2l.normal([1000], 1.0, seed=4),
        l2l.normal([1000]),
        l2l.uniform([1000], -1.0, 1.0, seed=3),
        l2l.uniform([1000], -1.0, 1.0, seed=3, stream=1),
    ]
    one, again, *others = run(tensors)
    np.testing.assert_array_equal(one, again)
    assert all(abs(np.corrcoef(one, other)[0, 1]) < 0.16 for other in others)
    assert l2l.normal([1], 1.0, seed=3, dtype=tf.float64).dtype == tf.float64


def test_the_normal_numbers_of_a_seed_are_pinned(run):
    np.testing.assert_allclose(
        run(l2l.normal([3], 2.0, seed=2 << 32, stream=1)), [-0.566696, 2.005337, -0.233739], rtol=1e-5
    )


def test_without_a_seed_every_run_draws_anew():
    with tf.Session() as session:
        for tensor in [l2l.uniform([9], 0.0, 1.0), l2l.normal([9]), keys(9)]:
            assert not np.any(session.run(tensor) == session.run(tensor))
    assert l2l.uniform([1], 0.0, 1.0, dtype=tf.float64).dtype == l2l.normal([1], dtype=tf.float64).dtype == tf.float64
    assert keys(1).dtype == tf.int32


def test_the_deviation_is_1_unless_it_is_given(run):
    np.testing.assert_array_equal(*run([l2l.normal([9], seed=3), l2l.normal([9], 1.0, seed=3)]))


@pytest.mark.parametrize("seed", [None, 3])
def test_keys_are_any_int32_and_depend_on_the_seed_alone(run, seed):
    numbers = run(keys(40_000, seed)) / 2.0**31
    assert -1 <= numbers.min() < -0.999 and 0.999 < numbers.max() < 1
    assert abs(numbers.mean()) < 5 / np.sqrt(3) / 200 and abs(np.abs(numbers).mean() - 0.5) < 5 / np.sqrt(12) / 200


def test_the_keys_of_a_seed_are_pinned(run):
    ours = run([keys(3, 2 << 32), keys(3, tf.constant(2 << 32, tf.int64)), keys(3, 3)])
    np.testing.assert_array_equal(ours[0], ours[1])
    assert not np.any(ours[0] == ours[2])
    np.testing.assert_array_equal(ours[0], [-1975630429, 341311246, -1129001781])


def test_the_streams_of_problems_within_others_are_pinned():
    """What a seed means does not change; the number is a hash of the place, 2^40 and the problem's own stream."""
    with sampling("outer"):
        assert moved(3) == 3
        with sampling("first"):
            first = moved(3)
        with sampling("second"), sampling("inmost"):
            inmost = moved(0)
    assert [first, inmost] == [1285219803165192550, 2542324315862339316]


def streams_within():
    """What stream 0 is at eight places: in the outermost problem, and in those that it asks, and these."""
    found = []
    with sampling("outer"):
        found.append(moved(0))
        for first, second, third in ["abc", "def"]:
            with sampling(first):
                found.append(moved(0))
                with sampling(first):  # as a `super().sample` is
                    assert moved(0) == found[-1]
                for inmost in [second, third]:
                    with sampling(inmost):
                        found.append(moved(0))
        with sampling("g"):
            found.append(moved(0))
    return found


def test_each_place_has_streams_of_its_own_the_same_each_time():
    found = streams_within()
    assert len(set(found)) == 8 and found[0] == 0 and found == streams_within() and moved(7) == 7
    assert all(2**40 <= stream < 2**63 for stream in found[1:])


@pytest.mark.parametrize(
    "first, second, warns",
    [
        ((3, 0), (3, 0), True),
        ((3, 0), (3, 1), False),
        ((3, 0), (4, 0), False),
        ((3, 1), (4, 2), False),
        (("tensor", 0), ("tensor", 0), True),
        (("tensor", 0), ("another", 0), False),
        (("tensor", 0), (3, 0), False),
        ((3, 0), ("tensor", 0), False),
    ],
)
def test_the_same_numbers_twice_in_one_problem_are_said(first, second, warns, recwarn):
    seeds = {"tensor": tf.constant(3000, tf.int64), "another": tf.constant(3000, tf.int64)}

    def draw(seed, stream):
        seed = seeds[seed] if isinstance(seed, str) else int("%d000" % seed)  # another object each time
        l2l.uniform([1], 0.0, 1.0, seed=seed, stream=stream)

    with sampling("outer"):
        draw(*first)
        with sampling("inner"):  # whose streams are others
            draw(*first)
        draw(*second)
    messages = [str(one.message) for one in recwarn if "draws the same random numbers twice" in str(one.message)]
    assert (
        messages
        == [
            "sample of str draws the same random numbers twice, those of one seed and one stream; "
            "another stream gives others"
        ]
        * warns
    )
    draw(3, 0)
    draw(3, 0)  # outside of a problem nobody minds
    assert len(recwarn.list) == len(messages)
