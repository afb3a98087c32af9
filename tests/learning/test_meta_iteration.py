"""One meta-iteration: segments of a draw's life, what is carried between them, shards."""

import numpy as np
import pytest
import tensorflow as tf
from segment_helpers import assert_same, comes_after, tensors
from trainers import small

import l2l
from l2l.learning.meta_iteration import MetaIterations, Place
from l2l.learning.settings import Settings


def lstm(casting="log_and_sign"):
    return l2l.CoordinatewiseLSTM((3,), casting, dtype=tf.float64)


def iterations(optimizer, draw, variables=None, adam=None, problem=None, draw_by_draw=False, **settings):
    problem = l2l.Quadratic(2, tf.float64) if problem is None else problem
    variables = optimizer.variables if variables is None else variables
    settings = Settings(**{"unroll_length": 2, **settings})
    adam = adam or tf.train.AdamOptimizer()
    return MetaIterations(problem, optimizer, variables, adam, settings, draw, draw_by_draw=draw_by_draw)


class Fed:
    """A placeholder for a `Place`, and what feeds it."""

    def __init__(self, start):
        self.place = Place(tf.placeholder(tf.int32, []), [tf.placeholder(t.dtype, t.shape) for t in start.carried])

    def feed(self, age, carried):
        return {self.place.age: age, **dict(zip(self.place.carried, carried))}


def zeros(start):
    return [np.zeros(tensor.shape.as_list(), tensor.dtype.as_numpy_dtype) for tensor in start.carried]


def test_where_a_draw_lives_one_segment_nothing_is_carried(fixed_draw):
    draw, optimizer = fixed_draw(np.float64), lstm()
    made = iterations(optimizer, draw)
    assert made.start.carried == []
    meta = made.build(draw, made.start, "python")
    expected = l2l.learn(l2l.Quadratic(2, tf.float64), draw, optimizer, steps=2)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = session.run(expected)
        figures, applied, is_over, age = session.run([meta.figures, meta.applied, meta.is_over, meta.next.age])
    assert applied and is_over and age == 0 and meta.next.carried == []
    np.testing.assert_allclose(figures[:2], [losses.sum(), losses[-1]], rtol=1e-12)


def test_a_longer_life_is_one_unroll_in_segments_and_then_begins_anew(fixed_draw):
    """With a meta-optimizer that stands still, so that all segments see the same weights."""
    draw, optimizer = fixed_draw(np.float64), lstm()
    still = tf.train.GradientDescentOptimizer(0.0)
    made = iterations(optimizer, draw, adam=still, horizon=6)
    at = Fed(made.start)
    meta = made.build(draw, at.place, "python")
    losses = l2l.learn(l2l.Quadratic(2, tf.float64), draw, optimizer, steps=6)
    ends = [l2l.unroll(l2l.Quadratic(2, tf.float64), draw, optimizer, steps=steps) for steps in [2, 4, 6]]
    age, carried, seen = 0, [array + 7 for array in zeros(made.start)], []  # what is carried into a new life is ignored
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses, ends = session.run([losses, [tensors((end.x, end.state)) for end in ends]])
        for i in [0, 1, 2, 0, 1]:
            fetches = [meta.figures, meta.is_over, meta.next.age, list(meta.next.carried)]
            figures, is_over, age, carried = session.run(fetches, at.feed(age, carried))
            seen.append((bool(is_over), int(age)))
            np.testing.assert_allclose(figures[:2], [losses[2 * i : 2 * i + 2].sum(), losses[2 * i + 1]], rtol=1e-9)
            assert_same(carried, ends[i])
    assert seen == [(False, 2), (False, 4), (True, 0), (False, 2), (False, 4)]


def test_a_first_state_that_nobody_says_is_carried_too(fixed_draw):
    rate = tf.get_variable("rate", [], tf.float64, tf.constant_initializer(0.1), use_resource=True)

    def typed(gradients, state):
        state = gradients if state is None else 0.5 * state + gradients
        return -rate * state, state

    draw = fixed_draw(np.float64)
    made = iterations(typed, draw, [rate], tf.train.GradientDescentOptimizer(0.0), horizon=4)
    at = Fed(made.start)
    meta = made.build(draw, at.place, "python")
    losses = l2l.learn(l2l.Quadratic(2, tf.float64), draw, typed, steps=4)
    age, carried = 0, zeros(made.start)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = session.run(losses)
        for i in [0, 1, 0]:
            figures, age, carried = session.run([meta.figures, meta.next.age, meta.next.carried], at.feed(age, carried))
            np.testing.assert_allclose(figures[1], losses[2 * i + 1], rtol=1e-10)


class Planned:
    """Gradient descent whose state is how many of the planned base iterations are left."""

    coordinatewise = True

    def __init__(self):
        self.rate = tf.get_variable("rate", [], tf.float64, tf.constant_initializer(0.1), use_resource=True)
        self.variables = [self.rate]

    def __call__(self, gradients, state):
        return self.bind(None).plain_step(gradients, state, None)

    def initial_state(self, x):
        return tf.constant(0)

    def bind(self, horizon):
        step = lambda gradients, state, x, product: (-self.rate * gradients, state - 1)  # noqa: E731
        return l2l.Bound(step, initial_state=lambda x: tf.constant(horizon or 0))


def test_a_first_state_may_follow_from_the_length_of_the_whole_life(run, fixed_draw):
    draw = fixed_draw(np.float64)
    made = iterations(Planned(), draw, horizon=6)
    _, left = run(made.build(draw, made.start, "python").next.carried)
    assert left == 6 - 2


def test_weights_are_updated_after_what_is_carried_on_has_been_computed_with_them(fixed_draw):
    draw = fixed_draw(np.float64)
    made = iterations(Planned(), draw, adam=tf.train.GradientDescentOptimizer(0.1), horizon=4)
    after = made.build(draw, made.start, "python").next.carried
    operations = tf.get_default_graph().get_operations()
    (change,) = [op for op in operations if op.type == "ResourceApplyGradientDescent"]
    assert {one.op.type for one in after} == {"Select"}  # of what was computed and what was there before
    assert {one.op.inputs[1].op.name for one in after} <= comes_after(change)


def test_a_meta_iteration_that_is_skipped_leaves_everything_where_it_was():
    problem, optimizer = l2l.Quadratic(2, tf.float64), lstm()
    draw = tf.nest.map_structure(lambda one: tf.placeholder(one.dtype, one.shape), problem.draw(1))
    made = iterations(optimizer, draw, horizon=4)
    at = Fed(made.start)
    meta = made.build(draw, at.place, "python")
    before = [array + 0.5 for array in zeros(made.start)]
    feed = {draw.scale: [np.nan, 1.0], draw.start: [1.0, 1.0], **at.feed(2, before)}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        variables = session.run(tf.global_variables())
        results = session.run([meta.figures, meta.applied, meta.is_over, meta.next.age, list(meta.next.carried)], feed)
        for one, other in zip(session.run(tf.global_variables()), variables):
            np.testing.assert_array_equal(one, other)
    figures, applied, is_over, age, carried = results
    assert not applied and not is_over and age == 2 and not np.isfinite(figures).all()
    for one, other in zip(carried, before):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("horizon", [2, 4])
def test_shards_average_what_they_compute(horizon):
    problem, optimizer = l2l.Quadratic(2, tf.float64), lstm("none")
    draws = problem.sample(6, 3)
    metas, carried = [], []
    for threads in [1, 3]:
        made = iterations(optimizer, draws, batch=6, threads=threads, horizon=horizon)
        assert len(made.start.carried) == (0 if horizon == 2 else 3 * threads)
        meta, after = made.meta_gradient(draws, made.start, "python")
        metas.append(tensors((meta.losses, meta.meta_loss, meta.last_loss, list(meta.gradients))))
        carried.append(after)
    whole, parts = carried
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        one, three, whole, parts = session.run([*metas, whole, parts])
    assert_same(three, one, rtol=1e-10, atol=1e-14)
    for i, array in enumerate(whole):  # each shard's position, cell and hidden state
        np.testing.assert_allclose(np.concatenate(parts[i::3]), array, rtol=1e-10, atol=1e-14)


class Counting(l2l.Quadratic):
    """Counts how often its loss is written into a graph."""

    batch_loss = l2l.Problem.batch_loss

    def __init__(self):
        super().__init__(2, tf.float64)
        self._calls = []

    def loss(self, x, draw):
        self._calls.append(x)
        return super().loss(x, draw)


def test_a_batch_is_written_out_draw_by_draw_where_that_is_said():
    calls = []
    for draw_by_draw in [False, True]:
        problem = Counting()
        draws, optimizer = problem.sample(3, 1), Planned()
        made = iterations(optimizer, draws, problem=problem, batch=3, draw_by_draw=draw_by_draw)
        made.meta_gradient(draws, made.start, "python")
        calls.append(len(problem._calls))
        tf.get_variable_scope().reuse_variables()
    assert calls[0] < calls[1] == 2 * 3  # two losses of each


class Adapting(l2l.Casting):
    """The raw gradient, and a variable that counts meta-iterations."""

    adapted = (0.0,)

    def encode(self, gradients, memory=None, adapted=()):
        return tf.expand_dims(gradients, axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs

    def adapt(self, gradients, memory, adapted):
        return (adapted[0] + 1,)


def test_an_optimizer_that_adapts_has_one_thread():
    problem = l2l.Quadratic(2, tf.float64)
    draws = problem.sample(4, 3)
    with pytest.raises(ValueError, match="threads must be 1 for an optimizer that adapts variables, got 2"):
        iterations(lstm(Adapting()), draws, batch=4, threads=2)


class Mixing:
    """A learned optimizer that mixes coordinates, says nothing of its state, and adapts a variable."""

    def __init__(self):
        self.rate = tf.get_variable("rate", [], tf.float64, tf.constant_initializer(0.1), use_resource=True)
        self.adapted = [
            tf.get_variable("count", [], tf.float64, tf.zeros_initializer(), trainable=False, use_resource=True)
        ]
        self.variables = [self.rate]

    def __call__(self, gradients, state):
        state = gradients if state is None else 0.5 * state + gradients
        return -self.rate * state / (1 + tf.norm(state)), state

    def adapt(self, gradients, state):
        return [self.adapted[0] + 1 + 0 * tf.reduce_sum(state)]


@pytest.mark.parametrize("settings", [{}, {"horizon": 4}, {"batch": 3}, {"batch": 3, "horizon": 4}], ids=str)
@pytest.mark.parametrize("build", [lambda: lstm(Adapting()), Mixing], ids=["casting", "mixing"])
def test_what_an_optimizer_adapts_is_adapted_with_every_setting(build, settings):
    problem, optimizer = l2l.Quadratic(2, tf.float64), build()
    draw = problem.sample(3, 1) if "batch" in settings else problem.draw(1)
    made = iterations(optimizer, draw, **settings)
    meta = made.build(draw, made.start, "python")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert [session.run([meta.applied, optimizer.adapted])[0] for _ in range(3)] == [True] * 3
        assert session.run(optimizer.adapted) == [3]


def test_draws_change_when_the_horizon_is_reached_and_not_before():
    """A trainer whose horizon is three segments sees three meta-iterations of each draw."""
    trainer, places = small(horizon=6, unroll_length=2, learning_rate=1e-30), []
    for _ in range(7):
        places.append(trainer.snapshot()["place"].tolist())
        trainer.run(1)
    losses = trainer.history.last_loss
    assert places == [[0, 0], [0, 2], [0, 4], [1, 0], [1, 2], [1, 4], [2, 0]]
    trained = trainer.trained()
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer, load = trained.create("trained")
        load(session)
        problem = l2l.Quadratic(2)
        draws = problem.sample(1000, 2 << 32)  # block 0 of `draws_seed=2`
        expected = [
            l2l.learn(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws), optimizer, steps=6)[1::2]
            for i in range(3)
        ]
        expected = np.ravel(session.run(expected))
    np.testing.assert_allclose(losses, expected[:7], rtol=1e-4)
