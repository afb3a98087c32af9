"""What TensorFlow says of deprecated names: nothing of what the package calls, all of what a user calls."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.util import deprecation

import l2l
from l2l import quiet
from l2l.graphs import own_graph, session_with_threads
from l2l.quiet import quietly, without_logs_of


@pytest.fixture
def logged(monkeypatch, caplog):
    """What TensorFlow logs, as in a process in which it has warned of nothing yet."""
    monkeypatch.setattr(deprecation, "_PRINTED_WARNING", {})
    return lambda: [record.getMessage() for record in caplog.records if record.name == "tensorflow"]


def test_a_user_hears_of_a_deprecated_function_that_the_package_called_before(logged):
    x = tf.constant([1.0])
    with quietly():
        tf.where(x > 0, x, x)
    assert logged() == []
    tf.where(x > 0, x, x)
    (message,) = logged()
    assert __file__ in message and "where" in message


def test_the_switch_is_as_it_was_after_blocks_that_overlap_and_fail():
    begun, done = threading.Event(), threading.Event()

    def other():
        with quietly():
            begun.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    with pytest.raises(KeyError), quietly():
        with quietly():
            thread.start()
            assert begun.wait(60)
        raise KeyError
    assert not deprecation._PRINT_DEPRECATION_WARNINGS  # the other is still inside
    done.set()
    thread.join()
    assert deprecation._PRINT_DEPRECATION_WARNINGS
    with own_graph():
        assert not deprecation._PRINT_DEPRECATION_WARNINGS
    assert deprecation._PRINT_DEPRECATION_WARNINGS


def test_threads_turn_the_switch_one_after_the_other(monkeypatch):
    class Inside(list):
        def append(self, value):
            assert quiet._lock.locked()
            super().append(value)

        def pop(self):
            assert quiet._lock.locked()
            return super().pop()

    monkeypatch.setattr(quiet, "_inside", Inside())
    with quietly():
        assert len(quiet._inside) == 1
    assert not quiet._inside and not quiet._lock.locked()


def test_logs_are_dropped_of_one_part_and_one_thread(caplog):
    def warn():
        tf.compat.v1.logging.warning("heard")

    with without_logs_of("test_quiet"):
        warn()
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
    with without_logs_of("somewhere else"):
        warn()
    warn()
    assert [record.getMessage() for record in caplog.records] == ["heard"] * 3
    assert not tf.get_logger().filters


def test_nothing_of_the_packages_own_is_logged_in_a_users_graph(logged):
    """Rules, castings, problems and what unrolls them; batches, of which TensorFlow writes loops into the graph."""
    problem = l2l.Mixture([l2l.Quadratic(2), l2l.Rosenbrock(noise=0.1)])
    draw, draws = problem.draw(), problem.sample(2, 1)
    problem.loss(problem.initial_position(draw), problem.observe(draw, 0, None))
    for rule in [l2l.adam(), l2l.vsgd(), l2l.secant()]:
        rule(tf.ones([3]), None)
        l2l.unroll(problem, draw, rule, steps=1)
    network = l2l.CoordinatewiseLSTM((2,), "moments", input_activation="elu")
    network(tf.ones([3]), None)
    with tf.variable_scope("another"):
        adapting = l2l.CoordinatewiseLSTM((2,), "secant")
    l2l.learn(problem, draws, adapting, steps=1, batch=2)
    l2l.meta_gradient(problem, draw, network, network.variables, unroll_length=2)
    l2l.learn(l2l.Ackley(2), l2l.Ackley(2).draw(), l2l.sgd(), steps=2)
    images = l2l.ConvNet(l2l.Examples(np.ones([4, 8, 8], np.float32), np.arange(4)))
    l2l.learn(images, images.draw(), l2l.sgd(), steps=1)
    l2l.learn(l2l.LogisticRegression(), l2l.LogisticRegression().sample(2, 1), l2l.sgd(), steps=1, batch=2)
    trained = l2l.load("small_networks")
    x = tf.get_variable("x", [5000])
    l2l.LearnedOptimizer(trained).apply_gradients([(tf.ones([5000]), x)])
    with session_with_threads(tf.get_default_graph()) as session:
        trained.create("trained")[1](session)
    own = [message for message in logged() if "From " + __file__ not in message]
    assert own == []
