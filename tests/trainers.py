"""Trainers that are quick to build, for every test that needs one, and problems whose draws are known."""

import numpy as np
import tensorflow as tf

import l2l
from l2l.runs.training_graph import TrainingGraph

ENGINES = ["xla", "graph"]
FIGURES = ["meta_loss", "last_loss", "gradient_norm"]


def learned_momentum():
    """A learned optimizer with a state and two weights, built and compiled several times faster than a network."""
    rate, decay = (tf.get_variable(name, [], initializer=tf.random_uniform_initializer(0.1, 0.3)) for name in "rd")

    def optimizer(gradients, state):
        velocity = gradients if state is None else tf.nest.map_structure(lambda v, g: decay * v + g, state, gradients)
        return tf.nest.map_structure(lambda one: -rate * one, velocity), velocity

    return optimizer


def small(**changes):
    """A trainer that is quick to build: without a word, one of `learned_momentum` that compiles nothing."""
    arguments = {"problem": l2l.Quadratic(2), "unroll_length": 4, "weights_seed": 1, "draws_seed": 2, "engine": "graph"}
    arguments.update(changes)
    build = arguments.pop("build_optimizer", learned_momentum)
    return l2l.Trainer(arguments.pop("problem"), build, **arguments)


def one_rate(value=0.01):
    """The smallest learned optimizer: gradient descent, whose rate is learned."""
    rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(value))
    return lambda gradients, state: (-rate * gradients, state)


def same(one, other):
    """Whether two lists, or two dicts, of arrays are bit for bit alike."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)
    one, other = list(one), list(other)
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other))


def assert_same_run(one, other):
    """Two trainers have measured the same, and would go on alike, bit for bit."""
    for column in FIGURES:
        np.testing.assert_array_equal(getattr(one.history, column), getattr(other.history, column))
    assert same(one.snapshot(), other.snapshot())


def assert_close_runs(one, other, tolerance):
    """Two histories agree in every figure of every meta-iteration."""
    for column in FIGURES:
        np.testing.assert_allclose(getattr(one, column), getattr(other, column), rtol=tolerance, err_msg=column)


def recorded_graphs(monkeypatch):
    """A list that gets every training graph from now on, in the order in which trainers build them."""
    graphs, create = [], TrainingGraph.__init__

    def recording(self, *arguments, **more):
        create(self, *arguments, **more)
        graphs.append(self)

    monkeypatch.setattr(TrainingGraph, "__init__", recording)
    return graphs


class Listed(l2l.Problem):
    """`f(x) = |x|^2` from starting points that are listed; a block of draws repeats the list.

    Args:
      starts: list of pairs of coordinates.
      bad_at: for each of them the base iteration at which its loss is NaN, -1 for none.
    """

    def __init__(self, starts, bad_at=None):
        self.starts = np.array(starts, np.float32)
        self.bad_at = np.array([-1] * len(starts) if bad_at is None else bad_at, np.int32)

    def sample(self, num, seed=None):
        places = np.arange(num) % len(self.starts)
        return {"start": tf.constant(self.starts[places]), "bad_at": tf.constant(self.bad_at[places])}

    def initial_position(self, draw):
        return draw["start"]

    def observe(self, draw, t, data):
        return tf.equal(draw["bad_at"], t)

    def loss(self, x, bad):
        return tf.reduce_sum(tf.square(x)) * tf.where(bad, np.float32(np.nan), np.float32(1))


class SharedData(l2l.Problem):
    """`f(x) = (t + 1) sum(factor x^2)`, with a factor for each coordinate that all draws share, 2 and 3."""

    data = {"factor": np.array([2.0, 3.0], np.float32)}

    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

    def initial_position(self, draw):
        assert isinstance(draw, tf.Tensor)  # wherever it comes from
        return draw

    def observe(self, draw, t, data):
        return tf.cast(t + 1, tf.float32) * data["factor"]

    def loss(self, x, factor):
        return tf.reduce_sum(factor * tf.square(x))


class ToldTheHorizon:
    """An optimizer whose updates are `-(gradient + x) / horizon`; half of that it is told for its first state."""

    def __init__(self, coordinatewise=False):
        self.coordinatewise = coordinatewise

    def __call__(self, gradients, state):
        raise AssertionError("bind has the step")

    def initial_state(self, x):
        raise AssertionError("bind has the state")

    def bind(self, horizon):
        def initial_state(x):
            return tf.ones_like(x) / horizon

        def step(gradients, state, x, product):
            state = initial_state(x) if state is None else state
            return -(gradients + x) * (state + 1 / horizon) / 2, state

        return l2l.Bound(step, initial_state=initial_state)


def losses_on_draws(problem, sample, weights, build, steps, loop="python"):
    """The losses `[T]` on each of some draws, a list of arrays: a plain unroll, op by op, with these weights.

    Args:
      sample: function without arguments that gives draws along a leading axis, in the current graph.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer, draws = build(), sample()
        number = tf.nest.flatten(draws)[0].shape[0].value
        singles = [tf.nest.map_structure(lambda many, i=i: many[i], draws) for i in range(number)]
        losses = [l2l.learn(problem, one, optimizer, steps=steps, loop=loop) for one in singles]
        for variable, value in zip(tf.trainable_variables(), weights):
            variable.load(value, session)
        return session.run(losses)
