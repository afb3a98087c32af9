"""The peer that is always there: meta-training as Episode 1 writes it, one `session.run` after the other.

TensorFlow's stock cells and optimizer, every base iteration in the graph, draws made by ops of the
graph. The wrappers of `tf.contrib` are written as the linear layers
they are.
"""

import time

import tensorflow as tf

HIDDEN, LAYERS = 20, 2


class SessionLoop:
    """A fresh graph and session, kept warm between rounds.

    Args:
      threads: None for TensorFlow's default session, or how many it may use.
    """

    def __init__(self, dims, steps, batch, meta_iterations, threads=None):
        self._number = meta_iterations
        with tf.Graph().as_default() as graph:
            scale = tf.random_uniform([batch, dims], 0.5, 1.5)
            x = tf.random_uniform([batch, dims], -1.0, 1.0)
            cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(HIDDEN) for _ in range(LAYERS)])
            into, out = tf.layers.Dense(HIDDEN), tf.layers.Dense(1)
            state = cell.zero_state(batch * dims, tf.float32)
            losses = []
            for _ in range(steps):
                loss = tf.reduce_sum(tf.square(scale * x))
                losses.append(loss / batch)
                (gradient,) = tf.gradients(loss, x)
                output, state = cell(into(tf.reshape(gradient, [-1, 1])), state)
                x += tf.reshape(out(output), [batch, dims])
            adam = tf.train.AdamOptimizer(3e-4)
            gradients, variables = zip(*adam.compute_gradients(tf.reduce_sum(losses)))
            gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
            self._fetches = [losses, adam.apply_gradients(zip(gradients, variables))]
            initialize = tf.global_variables_initializer()
        config = None
        if threads is not None:
            config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
            config.use_per_session_threads = True
        self._session = tf.Session(graph=graph, config=config)
        self._session.run(initialize)
        self.round()  # warm-up

    def round(self):
        """ms per meta-iteration."""
        start = time.perf_counter()
        for _ in range(self._number):
            self._session.run(self._fetches)
        return (time.perf_counter() - start) * 1000 / self._number

    def close(self):
        self._session.close()
