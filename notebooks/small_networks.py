"""What the optimizer for small networks of several kinds is trained on, and how; `pretrained.py` trains it."""

from pathlib import Path

import digits
import numpy as np
import tensorflow as tf

import l2l

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "small_networks"

# Horizon, meta-iterations, learning rate of each stage; the first begins with the weights of `paper_mlp`.
STAGES = [(100, 1500, 5e-4), (500, 1500, 5e-4), (2000, 1500, 3e-4), (300, 1500, 1e-4), (200, 1000, 5e-5)]

ACTIVATIONS = ["sigmoid", "relu", "tanh", "elu"]
SHARES = [0.2, 0.4, 0.2, 0.2]  # of the draws
SMALL = 0.35  # share of the draws that start from N(0, 0.01^2); the others start as Keras's networks do
SCALES = 0.5, 5.0  # factors of the inputs


class SomeNetwork(l2l.MLP):
    """A perceptron of one to three layers of 20 units on minibatches of 64, most of which is drawn.

    Drawn are the activation, the number of layers, whether weights start small or as Keras's do, and a factor of the
    inputs, which makes some networks learn as those with many inputs do, where every step of a weight counts for more.
    A draw of fewer layers goes around the others, whose weights then have gradients of zero.
    """

    def __init__(self):
        super().__init__(hidden=(20, 20, 20), batch_size=64, stddev="glorot")

    def sample(self, num, seed=None):
        def chance(stream):
            return l2l.uniform([num], 0.0, 1.0, seed=seed, stream=1000 + stream)

        drawn = super().sample(num, seed)
        small = chance(0) < SMALL
        others = [
            l2l.normal([num, *shape.as_list()], 0.01, seed=seed, stream=i)
            for i, shape in enumerate(tf.nest.flatten(self.shapes()))
        ]
        weights = [tf.where(small, *pair) for pair in zip(others, tf.nest.flatten(drawn["weights"]))]
        bounds = np.cumsum(SHARES)[:-1].astype(np.float32)
        low, high = np.log(SCALES)
        return {
            "key": drawn["key"],
            "weights": tf.nest.pack_sequence_as(drawn["weights"], weights),
            "activation": tf.reduce_sum(tf.cast(chance(1)[:, tf.newaxis] >= bounds, tf.int32), axis=1),
            "layers": 1 + tf.cast(3 * chance(2), tf.int32),
            "scale": tf.exp(low + (high - low) * chance(3)),
        }

    def observe(self, draw, t, data):
        return super().observe(draw, t, data), (draw["activation"], draw["layers"], draw["scale"])

    def loss(self, x, observed):
        (inputs, labels), (activation, layers, scale) = observed

        def activated(values):
            result = values
            for i, name in enumerate(ACTIVATIONS):
                chosen = tf.fill(tf.shape(values), tf.equal(activation, i))
                result = tf.where(chosen, l2l.problems.ACTIVATIONS[name](values), result)
            return result

        values = scale * tf.reshape(inputs, [inputs.shape[0], -1])
        for i, layer in enumerate(x["hidden"]):
            after = activated(tf.matmul(values, layer.kernel) + layer.bias)
            values = tf.where(tf.fill(tf.shape(after), layers > i), after, values) if i else after
        logs = tf.nn.log_softmax(tf.matmul(values, x["output"].kernel) + x["output"].bias)
        return -tf.reduce_mean(tf.reduce_sum(tf.one_hot(labels, 10) * logs, axis=1))


def trained(seeds):
    """One optimizer for each seed, a dict from seed to `Trained`."""
    return digits.trained(seeds, SomeNetwork(), STAGES, l2l.load("paper_mlp"), OUTPUT)[0]
