"""What every test shares: a graph of its own, and figures that open no window."""

import gc
import signal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

import l2l
from l2l.graphs import session_with_threads

import tensorflow as tf  # isort: skip

# XLA reads its flags with the first session of the process, which most tests start before they compile anything.
l2l.prepare_xla()


def pytest_collection_finish():
    """What lives as long as the process is not searched for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        yield graph


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


@pytest.fixture(autouse=True)
def interrupts_arrive():
    """A shell starts background jobs with SIGINT ignored; the tests send it to themselves."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run():
    """Runs tensors of the test's graph, after initializing its variables."""

    def run(fetches, feed_dict=None):
        with session_with_threads(tf.get_default_graph()) as session:
            session.run(tf.global_variables_initializer())
            return session.run(fetches, feed_dict)

    return run


@pytest.fixture
def fixed_draw():
    """One draw of a quadratic in two dimensions, with numbers a reader can follow."""

    def fixed_draw(dtype=np.float32):
        return l2l.problems.QuadraticDraw(
            scale=tf.constant(np.array([0.5, 1.5], dtype)), start=tf.constant(np.array([1.0, -0.5], dtype))
        )

    return fixed_draw
