"""The peer that is always there: meta-training as Episode 1 writes it, one `session.run` after the other.

TensorFlow's stock cells and optimizer, every base iteration in the graph, draws made by ops of the
graph, TensorFlow's default session. The wrappers of `tf.contrib` are written as the linear layers
they are.
"""

import time

import tensorflow as tf

HIDDEN, LAYERS = 20, 2


def ms_per_meta_iteration(dims, steps, batch, meta_iterations, rounds):
    """A list, one figure for each round after a warm-up; the graph is fresh."""
    with tf.Graph().as_default():
        scale = tf.random_uniform([batch, dims], 0.5, 1.5)
        x = tf.random_uniform([batch, dims], -1.0, 1.0)
        cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(HIDDEN) for _ in range(LAYERS)])
        into, out = tf.layers.Dense(HIDDEN), tf.layers.Dense(1)
        state = cell.zero_state(batch * dims, tf.float32)
        losses = []
        for _ in range(steps):
            loss = tf.reduce_sum(tf.square(scale * x)) / batch
            losses.append(loss)
            (gradient,) = tf.gradients(loss * batch, x)
            output, state = cell(into(tf.reshape(gradient, [-1, 1])), state)
            x += tf.reshape(out(output), [batch, dims])
        gradients, variables = zip(*tf.train.AdamOptimizer(3e-4).compute_gradients(tf.reduce_sum(losses)))
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        update = tf.train.AdamOptimizer(3e-4).apply_gradients(zip(gradients, variables))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            times = []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                for _ in range(meta_iterations):
                    session.run([losses, update])
                times.append((time.perf_counter() - start) * 1000 / meta_iterations)
    return times[1:]
