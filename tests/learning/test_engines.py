"""An engine on its own. How the engines agree on a whole training is in test_trainer.py."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.learning.engines import ENGINES, At, CannotCompileError, engine_for, shards_engine
from l2l.learning.meta_iteration import MetaIterations
from l2l.learning.settings import Settings

PLACES = 6


class Engine:
    """An engine with a learning rate as the optimizer, which nothing trains, so that all is known by hand.

    After `t` base iterations the position is `start (1 - 0.2 scale^2)^t`.
    """

    def __init__(self, make, problem=None, build=None, **settings):
        settings = Settings("end", **{"unroll_length": 3, **settings})
        self.batch, problem = settings.batch, problem or l2l.Quadratic(2)
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1), use_resource=True)

        def optimizer(gradients, state):
            return -rate * gradients, state

        optimizer.coordinatewise = True
        draws = problem.sample(PLACES * self.batch, 5)
        if self.batch > 1:
            draws = tf.nest.map_structure(
                lambda many: tf.reshape(many, [PLACES, self.batch, *many.shape[1:].as_list()]), draws
            )
        still = tf.train.GradientDescentOptimizer(0.0)
        first = tf.nest.map_structure(lambda many: many[0], draws)
        made = MetaIterations(problem, optimizer, [rate], still, settings, first, draw_by_draw=False)
        self._prepare, self._draws = make(made, draws), draws
        self.start = [np.zeros(tensor.shape.as_list(), tensor.dtype.as_numpy_dtype) for tensor in made.start.carried]

    def prepared(self, session):
        session.run(tf.global_variables_initializer())
        return session.run(tf.nest.flatten(self._draws)), self._prepare(session)


def in_calls(run, arrays, at, number):
    """As many calls as it takes: an engine may stop early."""
    rows = np.zeros([0, 3])
    while len(rows) < number and at.place < PLACES:
        more, at = run(arrays, at, number - len(rows))
        assert 1 <= len(more) <= number - len(rows)
        rows = np.concatenate([rows, more])
    return rows, at


def by_hand(arrays, base_iterations):
    scale, start = arrays
    return np.sum((scale * start * (1 - 0.2 * scale**2) ** base_iterations) ** 2, axis=-1)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_runs_the_places_it_is_given(engine):
    made = Engine(ENGINES[engine])
    assert made.start == []
    with tf.Session() as session:
        arrays, run = made.prepared(session)
        all_rows, end = in_calls(run, arrays, At(0, 0, []), PLACES)
        some_rows, there = in_calls(run, arrays, At(2, 0, []), 3)
        broken = [array.copy() for array in arrays]
        broken[0][3, 1] = np.nan
        until, stopped = in_calls(run, broken, At(0, 0, []), 4)
        in_one_call, _ = run(broken, At(2, 0, []), 100)
        last, beyond = run(arrays, At(PLACES - 1, 0, []), 100)
    assert all_rows.shape == (PLACES, 3) and end == At(PLACES, 0, [])
    np.testing.assert_array_equal(some_rows, all_rows[2:5])
    assert there == At(5, 0, [])
    np.testing.assert_allclose(all_rows[:, 0], by_hand(arrays, 2), rtol=1e-5)
    np.testing.assert_array_equal(all_rows[:, 0], all_rows[:, 1])
    # After a NaN it stops, where that meta-iteration began.
    assert np.isfinite(until[:3]).all() and np.isnan(until[3, 0]) and stopped == At(3, 0, [])
    assert np.isfinite(in_one_call[:-1]).all() and len(in_one_call) <= 2
    # And at the end of the block.
    assert len(last) == 1 and beyond == At(PLACES, 0, [])


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_carries_on_within_a_horizon(engine):
    made = Engine(ENGINES[engine], horizon=6)
    assert len(made.start) > 0
    with tf.Session() as session:
        arrays, run = made.prepared(session)
        rows, end = in_calls(run, arrays, At(1, 0, made.start), 2 * (PLACES - 1))
        first, middle = in_calls(run, arrays, At(1, 0, made.start), 3)
        rest, there = in_calls(run, arrays, middle, 7)
        broken = [array.copy() for array in arrays]
        broken[0][2, 1] = np.nan
        _, stopped = in_calls(run, broken, At(1, 0, made.start), 3)
    expected = np.stack([by_hand(arrays, 2), by_hand(arrays, 5)], axis=1)[1:].ravel()
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-4)
    assert (end.place, end.age) == (there.place, there.age) == (PLACES, 0)
    assert (middle.place, middle.age) == (2, 3)
    np.testing.assert_array_equal(np.concatenate([first, rest]), rows)
    assert (stopped.place, stopped.age) == (2, 0)
    assert [array.shape for array in end.carried] == [array.shape for array in made.start]


def test_shards_compute_what_one_thread_does():
    made = Engine(shards_engine, batch=4, threads=2, horizon=6)
    with tf.Session() as session:
        arrays, run = made.prepared(session)
        rows, end = in_calls(run, arrays, At(1, 0, made.start), 6)
    expected = np.stack([by_hand(arrays, 2), by_hand(arrays, 5)], axis=1)[1:4]
    np.testing.assert_allclose(rows[:, 0], expected.mean(axis=2).ravel(), rtol=1e-4)
    np.testing.assert_allclose(rows[:, 1], np.exp(np.log(expected).mean(axis=2)).ravel(), rtol=1e-4)
    assert (end.place, end.age) == (4, 0)


class Uncompilable(l2l.Quadratic):
    """A quadratic whose loss calls Python, which XLA has no code for."""

    def loss(self, x, draw):
        factor = tf.py_func(lambda: np.float32(1), [], tf.float32)
        factor.set_shape([])
        return factor * super().loss(x, draw)


@pytest.mark.parametrize("engine, threads", [("xla", 1), ("xla", 2)])
def test_what_xla_cannot_compile_says_so(engine, threads):
    make = engine_for(engine, Settings(batch=2 * threads, threads=threads))
    made = Engine(make, Uncompilable(2), batch=2 * threads, threads=threads)
    words = "engine='xla' cannot compile this problem, optimizer, meta_loss or meta_optimizer; engine='graph' can"
    with tf.Session() as session, pytest.raises(CannotCompileError, match=words):
        made.prepared(session)


def test_the_engine_for_a_training():
    assert engine_for("graph", Settings()) is ENGINES["graph"]
    assert engine_for("xla", Settings()) is ENGINES["xla"]
    assert engine_for("xla", Settings(batch=4, threads=2)) is shards_engine
    assert engine_for("graph", Settings(batch=4, threads=2)) is ENGINES["graph"]
