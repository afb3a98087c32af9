"""The kind of session that trainer and evaluation share."""

import tensorflow as tf


def session_with_threads(graph, threads=1):
    """A session with one thread inside an op, and so many ops at a time.

    Small ops gain nothing from more threads. With one op at a time their order is fixed; with more, it is the
    graph that must fix what depends on it.
    """
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads, use_per_session_threads=True
    )
    return tf.Session(graph=graph, config=config)
