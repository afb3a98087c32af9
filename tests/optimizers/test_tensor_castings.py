"""Castings that look at the tensor of a coordinate: by their formulas, in nests, in batches and on both engines."""

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import network, random_weights, zero_states
from test_relative_castings import Moments

import l2l
from l2l.graphs import load_variables
from l2l.optimizers import castings

GRADIENTS = [np.array([[0.7, -1e-4], [0.3, 2.0]]), np.array([1e-3, 0.0, -0.5])]
POSITIONS = [np.array([[3.0, -4.0], [0.0, 0.5]]), np.array([1e-5, 0.0, -2e-5])]


def in_numpy(weights, hidden, positions, gradients, beta, floor):
    """Two steps: the updates of each tensor. The size of a tensor is `max(RMS(x), floor)`."""
    rows, memory = [np.concatenate([one.ravel() for one in many]) for many in (positions, gradients)], Moments(beta)
    x, g = rows
    ends, state, found = np.cumsum([one.size for one in positions])[:-1], zero_states(len(x), hidden), []
    for _ in range(2):
        sizes = [np.full(len(one), max(np.sqrt(np.mean(one**2)), floor)) for one in np.split(x, ends)]
        outputs, state = network(memory.encode(g), state, weights)
        updates = np.concatenate(sizes) * memory.decode(outputs, g)
        memory.remember(g, updates)
        found.append(np.split(updates, ends))
        x = x + updates
    return found


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_steps_are_relative_to_the_size_of_a_draws_tensor(run, batch):
    casting = l2l.relative_step_cast(0.8, floor=1e-3)
    optimizer = l2l.CoordinatewiseLSTM((3, 4), casting, dtype=tf.float64)
    weights = random_weights(optimizer.variables)
    draws = [1.0] if batch is None else [1.0, 0.1, 30.0][:batch]
    many = [np.stack([factor * one for factor in draws]) for one in POSITIONS]
    x = [tf.constant(one[0] if batch is None else one) for one in many]
    gradients = [tf.constant(one if batch is None else np.stack([one] * batch)) for one in GRADIENTS]
    bound = optimizer.bind([tf.constant(one) for one in weights], batch)
    first, state = bound.plain_step(gradients, None, x)
    second, _ = bound.plain_step(gradients, state, [one + update for one, update in zip(x, first)])
    found = run([first, second])
    for i, factor in enumerate(draws):
        expected = in_numpy(weights, (3, 4), [factor * one for one in POSITIONS], GRADIENTS, 0.8, 1e-3)
        for step in range(2):
            for ours, theirs in zip(found[step], expected[step]):
                np.testing.assert_allclose((ours if batch is None else ours[i]).ravel(), theirs, rtol=1e-9)


class Nested(l2l.Problem):
    """Bowls of two tensors of different sizes."""

    def sample(self, num, seed=None):
        return {
            "a": l2l.uniform([num, 2, 2], -1.0, 1.0, seed=seed),
            "b": l2l.uniform([num, 3], 0.0, 1e-2, seed=seed, stream=1),
        }

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x["a"] - 1)) + 10 * tf.reduce_sum(tf.square(x["b"] - 0.1))


@pytest.mark.parametrize("engine", ["graph", pytest.param("xla", marks=pytest.mark.rehearsal)])
def test_a_batch_and_a_carried_horizon_are_what_single_draws_are(run, engine):
    problem, build = Nested(), lambda: l2l.CoordinatewiseLSTM((3,), l2l.relative_step_cast())
    settings = {"engine": engine, "unroll_length": 3, "horizon": 6, "batch": 2, "learning_rate": 0.01}
    with l2l.Trainer(problem, build, **settings) as trainer:
        trainer._work(3, lambda *_: None, _Never())
        trained = trainer.trained()
    losses = l2l.evaluate(problem, {"it": trained}, draws=2, steps=3, engine=engine)["it"]
    optimizer, load = trained.create("it")
    draws = problem.sample(2, -1)
    alone = [
        l2l.learn(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws), optimizer, steps=3)
        for i in range(2)
    ]
    with tf.Session() as session:
        load(session)
        np.testing.assert_allclose(session.run(alone), losses, rtol=2e-5)


class _Never:
    def is_set(self):
        return False


def test_the_meta_gradient_flows_through_the_size():
    """Against differences of the losses: each weight, in float64."""
    problem = l2l.Quadratic(3, tf.float64)
    optimizer = l2l.CoordinatewiseLSTM((2,), l2l.relative_step_cast(0.5), dtype=tf.float64)
    draw = l2l.problems.QuadraticDraw(*(tf.constant(one, tf.float64) for one in ([0.5, 1.0, 1.5], [1.0, -2.0, 0.3])))
    meta = l2l.meta_gradient(problem, draw, optimizer, optimizer.variables, unroll_length=4)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        gradients = session.run(meta.gradients)
        weights = session.run(optimizer.variables)
        directions = random_weights(optimizer.variables, 1)
        slope = sum(np.sum(one * other) for one, other in zip(gradients, directions))
        ends = []
        for step in [1e-6, -1e-6]:
            load_variables(session, optimizer.variables, [one + step * to for one, to in zip(weights, directions)])
            ends.append(session.run(meta.meta_loss))
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, slope, rtol=1e-6)


def test_a_tensor_of_zeros_has_the_size_of_the_floor_and_a_finite_gradient(run):
    casting = l2l.relative_step_cast(floor=0.5)
    x = tf.constant([[0.0, 0.0], [3.0, 4.0], [1e30, 0.0]])
    sizes = casting.facts(None, None, x, [2])
    found, gradient = run([sizes, tf.gradients(sizes, x)[0]])
    np.testing.assert_allclose(found, [0.5, np.sqrt(12.5), 1e30 / np.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0], [3 / np.sqrt(50), 4 / np.sqrt(50)], [np.sqrt(0.5), 0]], rtol=1e-6)


class OfRows(l2l.Casting):
    """A casting of one's own that looks at positions in `encode`, and at no facts."""

    def encode(self, gradients, memory, adapted, x):
        return tf.stack([gradients * x], axis=1)

    def decode(self, outputs, gradients, memory, adapted):
        return outputs


def test_a_casting_may_look_at_the_positions_of_its_rows(run):
    optimizer = l2l.CoordinatewiseLSTM((3,), OfRows())
    plain = l2l.CoordinatewiseLSTM((3,), "none")
    gradients, x = tf.constant([0.5, -2.0]), tf.constant([3.0, 0.1])
    weights = [tf.constant(one, tf.float32) for one in random_weights(optimizer.variables)]
    update, _ = optimizer.bind(weights).plain_step(gradients, None, x)
    expected, _ = plain.bind(weights).plain_step(gradients * x, None, None)
    assert optimizer.takes_x and not plain.takes_x
    np.testing.assert_allclose(*run([update, expected]), rtol=1e-6)
    with pytest.raises(ValueError, match="looks at positions, call the network with an x"):
        optimizer(gradients, None)


@pytest.mark.parametrize("floor", [0.0, -1.0, 1e-39, True, "1"])
def test_a_floor_that_is_none(floor):
    with pytest.raises((TypeError, ValueError), match=r"^floor must be "):
        l2l.relative_step_cast(floor=floor)


def test_it_is_described_and_made_again():
    casting = l2l.relative_step_cast(0.8, floor=1e-2)
    again = castings.from_description(castings.described(casting))
    assert castings.described(again) == castings.described(casting) and again.name == casting.name


def test_facts_with_other_arguments_are_refused():
    class Wrong(OfRows):
        def facts(self, gradients):
            return gradients

    with pytest.raises(
        TypeError, match=r"^facts of Wrong must take the arguments \(self, gradients, memory, x, shape\)"
    ):
        l2l.CoordinatewiseLSTM((3,), Wrong())


class OfGradients(l2l.Casting):
    """A casting of one's own whose facts are those of gradients, of its memory and of the tensor's shape."""

    def initial_memory(self, gradients):
        return tf.stack([tf.ones_like(gradients), 2 * tf.ones_like(gradients)], axis=1)

    def facts(self, gradients, memory, x, shape):
        sizes = tf.reduce_max(tf.abs(gradients), axis=1) * tf.reduce_sum(memory, axis=[1, 2])
        return sizes * (10 * len(shape) + shape[-1])

    def encode(self, gradients, memory, adapted, facts):
        return facts[:, tf.newaxis]

    def decode(self, outputs, gradients, memory, adapted, facts):
        return outputs * facts


@pytest.mark.parametrize("batch", [None, 2])
def test_facts_are_those_of_gradients_memory_and_shape(run, batch):
    """Of each draw in a batch; of rows whose number is known at run time alone; a step uses those that it is given."""
    optimizer = l2l.CoordinatewiseLSTM((3,), OfGradients())
    gradients = [np.float32([[1, -5, 2], [0, 3, 0]]), np.float32([0.5, 0.25, 0, -0.125])]
    expected = [[5 * 18 * 23.0] * 6, [0.5 * 12 * 14.0] * 4]
    if batch:
        gradients = [np.stack([one, 2 * one]) for one in gradients]
        expected = [[*one, *np.multiply(2, one)] for one in expected]
    gradients, x = ([tf.constant(one) for one in many] for many in (gradients, [-7 * one for one in gradients]))
    bound, state = optimizer.bind(batch=batch), optimizer.initial_state(gradients)
    known = bound.facts(gradients, state, x)
    found = [known, bound.plain_step(gradients, state, x, facts=tf.zeros(known.shape))[0]]
    if not batch:
        found.append(bound.facts([tf.placeholder_with_default(gradients[0], [None, 3]), gradients[1]], state, x))
    known, updates, *unknown = run(found)
    for facts in [known, *unknown]:
        np.testing.assert_allclose(facts, np.concatenate(expected), rtol=1e-6)
    assert not any(np.any(one) for one in updates)
