"""Draws that live longer than a segment: position and state are carried from one meta-iteration to the next."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits
from trainers import ENGINES, Listed, assert_close_runs, learned_momentum, losses_on_draws, small

import l2l
from l2l.runs import training_graph


def network():
    return l2l.CoordinatewiseLSTM((3,), "log_and_sign")


def test_both_engines_train_alike_through_horizons():
    xla, graph = (small(unroll_length=2, horizon=6, build_optimizer=network, engine=engine) for engine in ENGINES)
    assert_close_runs(xla.run(1), graph.run(1), 1e-5)
    assert_close_runs(xla.run(19), graph.run(19), 1e-4)
    np.testing.assert_array_equal(xla.snapshot()["place"], [6, 4])
    np.testing.assert_array_equal(graph.snapshot()["place"], [6, 4])


class Counted(Listed):
    """A loss that grows with the base iteration, and so tells which one it is of."""

    def observe(self, draw, t, data):
        return tf.cast(1 + t, tf.float32)

    def loss(self, x, factor):
        return factor * tf.reduce_sum(tf.square(x))


def test_the_loss_goes_on_from_segment_to_segment():
    """With a learning rate that changes no weight, the segments of a draw are one unroll that was cut."""
    problem = Counted([[1.0, 0.5], [0.25, -1.0], [-0.75, 0.5]])
    settings = {"problem": problem, "unroll_length": 3, "horizon": 9, "learning_rate": 1e-12}
    first_loss = small(meta_loss=lambda losses: losses[0] + 1e-20 * losses[-1], **settings)
    losses = np.stack(losses_on_draws(problem, lambda: problem.sample(3), first_loss.weights(), learned_momentum, 9))
    np.testing.assert_allclose(first_loss.run(9).meta_loss, losses[:, ::3].ravel(), rtol=1e-4)
    np.testing.assert_allclose(small(**settings).run(9).last_loss, losses[:, 2::3].ravel(), rtol=1e-4)
    # With a batch the three draws live side by side.
    batched = small(batch=3, **settings).run(3).last_loss
    np.testing.assert_allclose(batched, np.exp(np.log(losses[:, 2::3]).mean(axis=0)), rtol=1e-4)


def test_an_optimizer_without_an_initial_state_is_carried_too():
    """A plain function with variables, whose state is None at the first step of each draw and only there."""

    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.05))
        rule = l2l.momentum(1.0)

        def optimizer(gradients, state):
            update, state = rule(gradients, state)
            return rate * update, state

        return optimizer

    problem = Listed([[1.0, 0.5], [0.25, -1.0]])
    settings = {"problem": problem, "unroll_length": 3, "horizon": 6, "learning_rate": 1e-12, "build_optimizer": build}
    expected = losses_on_draws(problem, lambda: problem.sample(2), [np.float32(0.05)], build, 6)
    expected = np.stack(expected)[:, 2::3].ravel()
    for engine in ENGINES:
        np.testing.assert_allclose(small(engine=engine, **settings).run(4).last_loss, expected, rtol=1e-5)


def test_with_a_batch_and_threads_they_train_alike():
    settings = {"unroll_length": 2, "horizon": 6, "batch": 4, "second_derivatives": False}
    alone, shared = small(**settings), small(engine="xla", threads=2, **settings)
    assert_close_runs(shared.run(7), alone.run(7), 1e-4)
    assert len(shared.snapshot()) > len(alone.snapshot())  # each shard carries its own part


def examples():
    """Features and labels of 150 handwritten digits: six pixels of each."""
    features, labels = load_digits(n_class=3, return_X_y=True)
    return {"features": features[:150, 18:24].astype(np.float32) / 16, "labels": labels[:150].astype(np.int32)}


class TwoLayers(l2l.Problem):
    """A network of two layers that classifies, on minibatches of 16."""

    def __init__(self):
        self.data = examples()

    def sample(self, num, seed=None):
        shapes = [[6, 4], [4], [4, 3], [3]]
        start = [l2l.uniform([num, *shape], -0.5, 0.5, seed=seed, stream=i) for i, shape in enumerate(shapes)]
        return {"key": l2l.keys(num, seed), "start": tuple(start)}

    def initial_position(self, draw):
        return draw["start"]

    def observe(self, draw, t, data):
        places = l2l.minibatch(draw["key"], t, batch_size=16, examples=150)
        return tf.gather(data["features"], places), tf.gather(data["labels"], places)

    def loss(self, x, observed):
        features, labels = observed
        hidden = tf.sigmoid(tf.matmul(features, x[0]) + x[1])
        logs = tf.nn.log_softmax(tf.matmul(hidden, x[2]) + x[3])
        return -tf.reduce_mean(tf.reduce_sum(logs * tf.one_hot(labels, 3), axis=-1), axis=-1)

    def batch_loss(self, x, observed):
        """The same with a leading axis, so that no graph holds a mapping for each of twenty steps."""
        return self.loss([x[0], x[1][:, tf.newaxis], x[2], x[3][:, tf.newaxis]], observed)


@pytest.mark.rehearsal
def test_a_network_on_minibatches_trains_alike_with_both_engines():
    """Two draws at a time: every engine sees the same minibatches in the same order."""
    settings = {"problem": TwoLayers(), "unroll_length": 2, "horizon": 4, "batch": 2}
    xla, graph = (small(engine=engine, learning_rate=0.01, **settings).run(7) for engine in ENGINES)
    assert_close_runs(xla, graph, tolerance=1e-4)
    assert xla.config["problem_parameters"]["data"]["features"].startswith("float32 [150, 6], checksum")


@pytest.mark.rehearsal
def test_a_network_on_minibatches_lives_through_a_long_horizon():
    """Horizon 100 in segments of 20. With a learning rate that changes no weight, the losses are a plain unroll's."""
    problem = TwoLayers()
    settings = {"unroll_length": 20, "horizon": 100, "batch": 2, "second_derivatives": False, "learning_rate": 1e-12}
    trainer = small(problem=problem, engine="xla", **settings)

    def first_draws():
        block = problem.sample(2 * training_graph.DRAWS_PER_BLOCK, 2 << 32)
        return tf.nest.map_structure(lambda many: many[:2], block)

    losses = np.stack(losses_on_draws(problem, first_draws, trainer.weights(), learned_momentum, 100, "while"))
    history = trainer.run(7)
    assert trainer.snapshot()["place"].tolist() == [1, 40]
    np.testing.assert_allclose(history.last_loss[:5], np.exp(np.log(losses[:, 19::20]).mean(axis=0)), rtol=1e-4)
