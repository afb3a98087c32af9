"""Draws that live longer than a segment: position and state are carried from one meta-iteration to the next."""

import numpy as np
import tensorflow as tf
from trainers import ENGINES, Listed, assert_close_runs, assert_same_run, losses_on_draws, small

import l2l


def network():
    return l2l.CoordinatewiseLSTM((5,), "log_and_sign")


def test_both_engines_train_alike_through_horizons():
    xla, graph = (small(steps=3, horizon=9, build_optimizer=network, engine=engine) for engine in ENGINES)
    assert_close_runs(xla.run(20), graph.run(20), 1e-4)
    np.testing.assert_array_equal(xla.snapshot()["place"], [6, 6])
    np.testing.assert_array_equal(graph.snapshot()["place"], [6, 6])


class Counted(Listed):
    """A loss that grows with the base iteration, and so tells which one it is of."""

    def observe(self, draw, t, data):
        return tf.cast(1 + t, tf.float32)

    def loss(self, x, factor):
        return factor * tf.reduce_sum(tf.square(x))


def test_the_loss_goes_on_from_segment_to_segment():
    """With a learning rate that changes no weight, the segments of a draw are one unroll that was cut."""
    problem = Counted([[1.0, 0.5], [0.25, -1.0], [-0.75, 0.5]])
    first_loss = {"meta_loss": lambda losses: losses[0] + 0 * losses[-1]}
    for changes in [{}, {"batch": 3}]:
        settings = {"problem": problem, "steps": 3, "horizon": 9, "learning_rate": 1e-12, **changes}
        trainer = small(build_optimizer=network, **settings)
        losses = np.stack(losses_on_draws(problem, lambda: problem.sample(3), trainer.weights(), network, 9))
        number = 9 if not changes else 3
        ends, starts = losses[:, 2::3], losses[:, ::3]
        if changes:  # the log average over the batch, and the mean of the meta-losses
            ends, starts = np.exp(np.log(ends).mean(axis=0)), starts.mean(axis=0)
        np.testing.assert_allclose(trainer.run(number).last_loss, np.ravel(ends), rtol=1e-4)
        trainer = small(build_optimizer=network, **settings, **first_loss)
        np.testing.assert_allclose(trainer.run(number).meta_loss, np.ravel(starts), rtol=1e-4)


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
    settings = {"problem": problem, "steps": 3, "horizon": 6, "learning_rate": 1e-12, "build_optimizer": build}
    expected = losses_on_draws(problem, lambda: problem.sample(2), [np.float32(0.05)], build, 6)
    expected = np.stack(expected)[:, 2::3].ravel()
    for engine in ENGINES:
        np.testing.assert_allclose(small(engine=engine, **settings).run(4).last_loss, expected, rtol=1e-5)


def test_with_a_batch_and_threads_they_train_alike():
    settings = {"steps": 3, "horizon": 9, "batch": 4, "second_derivatives": False}
    alone, shared, compiled = (
        small(engine=engine, threads=threads, **settings) for engine, threads in [("graph", 1), ("graph", 2), ("xla", 2)]
    )
    history = alone.run(10)
    for trainer in [shared, compiled]:
        assert_close_runs(trainer.run(10), history, 1e-4)
        # Each shard carries its own part.
        assert len(trainer.snapshot()) > len(alone.snapshot())
    again = small(engine="graph", threads=2, **settings)
    again.run(4)
    again.run(6)
    assert_same_run(again, shared)


def examples():
    """Features and labels: handwritten digits where scikit-learn has them, else three clouds of points."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        random = np.random.RandomState(0)
        labels = random.randint(0, 3, 150).astype(np.int32)
        features = 2 * np.eye(3, 6)[labels] + 0.5 * random.standard_normal([150, 6])
    else:
        features, labels = load_digits(n_class=3, return_X_y=True)
        features, labels = features[:150, 18:24] / 16, labels[:150].astype(np.int32)
    return {"features": features.astype(np.float32), "labels": labels}


class TwoLayers(l2l.Problem):
    """A network of two layers that classifies, on minibatches of 16."""

    def __init__(self):
        self.data = examples()

    def sample(self, num, seed=None):
        shapes = [[6, 4], [4], [4, 3], [3]]
        start = [l2l.uniform([num, *shape], -0.5, 0.5, seed, stream=i) for i, shape in enumerate(shapes)]
        return {"key": l2l.keys(num, seed), "start": tuple(start)}

    def initial_position(self, draw):
        return draw["start"]

    def observe(self, draw, t, data):
        places = l2l.minibatch(draw["key"], t, 16, 150)
        return tf.gather(data["features"], places), tf.gather(data["labels"], places)

    def loss(self, x, observed):
        features, labels = observed
        hidden = tf.sigmoid(tf.matmul(features, x[0]) + x[1])
        logs = tf.nn.log_softmax(tf.matmul(hidden, x[2]) + x[3])
        return -tf.reduce_mean(tf.reduce_sum(logs * tf.one_hot(labels, 3), axis=1))


def test_a_network_on_minibatches_trains_alike_with_both_engines():
    """Horizon 100 in segments of 20, two draws at a time: every engine sees the same minibatches in the same order."""
    settings = {"problem": TwoLayers(), "steps": 20, "horizon": 100, "batch": 2, "second_derivatives": False}
    histories = []
    for engine in ENGINES:
        trainer = small(engine=engine, build_optimizer=lambda: l2l.CoordinatewiseLSTM((3,), "log_and_sign"), **settings)
        histories.append(trainer.run(7))
        assert trainer.snapshot()["place"].tolist() == [1, 40]
    assert_close_runs(*histories, tolerance=1e-4)
    parameters = histories[0].config["problem_parameters"]
    assert parameters["data"]["features"].startswith("float32 [150, 6], checksum")
