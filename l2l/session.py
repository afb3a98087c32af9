"""The kind of session that trainer and evaluation share."""

import tensorflow as tf


def single_thread_session(graph):
    """A session that uses one thread: small ops gain nothing from more, and their order is then fixed."""
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True
    )
    return tf.Session(graph=graph, config=config)
