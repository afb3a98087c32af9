"""What the trainer's tests do not reach: an engine on its own. How the two agree is in test_train.py."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.engines import ENGINES


def _in_calls(run, arrays, start, stop):
    """As many calls as it takes: an engine may stop early."""
    rows = np.zeros([0, 3])
    while start + len(rows) < stop:
        rows = np.concatenate([rows, run(arrays, start + len(rows), stop)])
    return rows


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_runs_the_places_it_is_given(engine):
    problem = l2l.Quadratic(2)
    with tf.variable_scope("optimizer", use_resource=True):
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1))

    def one_meta_step(draw, loop, **shards):
        still = tf.train.GradientDescentOptimizer(0.0)  # nothing is learned, so order does not matter
        return l2l.meta_step(
            problem, draw, lambda g, s: (-rate * g, s), [rate], still, "end", steps=3, loop=loop, **shards
        )

    draws = problem.sample(6, 5)
    prepare = ENGINES[engine](one_meta_step, draws)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        arrays = session.run(tf.nest.flatten(draws))
        run = prepare(session)
        all_rows, some_rows = _in_calls(run, arrays, 0, 6), _in_calls(run, arrays, 2, 5)
    assert all_rows.shape == (6, 3)
    np.testing.assert_array_equal(some_rows, all_rows[2:5])
    scale, start = arrays
    expected = np.sum((scale * start * (1 - 0.2 * scale**2) ** 2) ** 2, axis=1)
    np.testing.assert_allclose(all_rows[:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(all_rows[:, 0], all_rows[:, 1])
