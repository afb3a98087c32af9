"""Problems for tests that need more than a quadratic: other losses, nested positions, data and minibatches."""

import numpy as np
import tensorflow as tf

import l2l


class Rosenbrock(l2l.Problem):
    """As the README has it: the loss is a scalar of one draw only."""

    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


class Nested(l2l.Problem):
    """A position of two tensors of different rank."""

    def __init__(self, dtype=tf.float32):
        self.dtype = tf.as_dtype(dtype)

    def sample(self, num, seed=None):
        return l2l.uniform([num], 1.0, 2.0, seed=seed, dtype=self.dtype)

    def initial_position(self, draw):
        return {"matrix": tf.ones([2, 2], self.dtype) * draw, "scalar": draw}

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x["matrix"])) + tf.square(x["scalar"] - draw)


class Regression(l2l.Problem):
    """Linear regression on a data set that all draws share, with a minibatch for each base iteration."""

    examples, features, size = 12, 3, 4

    def __init__(self, dtype=np.float64, seed=0):
        random = np.random.RandomState(seed)
        inputs = random.normal(size=[self.examples, self.features])
        self.data = inputs.astype(dtype), (inputs @ [1.0, -2.0, 0.5] + 0.3).astype(dtype)
        self.dtype = tf.as_dtype(dtype)

    def sample(self, num, seed=None):
        start = l2l.uniform([num, self.features], -1.0, 1.0, seed=seed, dtype=self.dtype)
        return {"key": l2l.keys(num, seed), "start": start}

    def initial_position(self, draw):
        return draw["start"]

    def observe(self, draw, t, data):
        chosen = l2l.minibatch(draw["key"], t, batch_size=self.size, examples=self.examples)
        return [tf.gather(array, chosen) for array in data]

    def loss(self, x, observed):
        inputs, targets = observed
        return tf.reduce_mean(tf.square(tf.linalg.matvec(inputs, x) - targets))


class Noting(l2l.Quadratic):
    """A quadratic that notes what it is told of the base iteration."""

    batch_loss = l2l.Problem.batch_loss

    def __init__(self, dims, dtype=tf.float32):
        super().__init__(dims, dtype)
        self._seen = []

    def observe(self, draw, t, data):
        self._seen.append(t)
        return draw

    def check(self):
        """It was a scalar int32 tensor each time, as `observe` is promised."""
        assert self._seen
        for t in self._seen:
            assert isinstance(t, tf.Tensor) and t.dtype == tf.int32 and t.shape == []


class Given(l2l.Problem):
    """A problem whose draws, position and loss are given as functions."""

    def __init__(self, draws=tf.zeros, start=lambda draw: draw, loss=tf.square):
        self._draws, self._start, self._loss = draws, start, loss

    def sample(self, num, seed=None):
        return self._draws([num])

    def initial_position(self, draw):
        return self._start(draw)

    def loss(self, x, observed):
        return self._loss(x)
