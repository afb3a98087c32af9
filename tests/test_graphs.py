"""Graphs that are freed, sessions of one thread, sums in their order, and data that a graph holds once."""

import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

import l2l
from l2l import graphs
from l2l.graphs import OwnGraph, data_as_variables, data_in_graph, own_graph, session_with_threads


def test_a_graph_of_its_own_is_freed_with_all_its_functions():
    with own_graph() as graph:
        x = tf.constant(1.0)
        square = tf.function(lambda x: tf.function(tf.square, autograph=False)(x), autograph=False)
        tf.gradients(square(x), x)
    gone = weakref.ref(graph)
    del graph, x, square
    gc.collect()
    assert gone() is None


def test_a_session_has_one_thread_unless_more_are_asked_for(monkeypatch):
    """One inside an op always; as many ops at a time as it is given."""
    own, given, flags_set = OwnGraph(), tf.Graph(), []
    monkeypatch.setattr(graphs, "set_xla_flags", lambda: flags_set.append(True))
    with own.building():
        pass
    for session, graph, number in [
        (session_with_threads(given), given, 1),
        (session_with_threads(given, 3), given, 3),
        (own.start(), own.graph, 1),
        (own.start(2), own.graph, 2),
    ]:
        config = session._config
        assert config.intra_op_parallelism_threads == 1 and config.inter_op_parallelism_threads == number
        assert config.use_per_session_threads and config.graph_options.rewrite_options.disable_meta_optimizer
        assert session.graph is graph
        session.close()
    assert len(flags_set) == 4


def test_a_sum_of_three_is_added_up_in_its_order_whatever_is_free_to_hold_it():
    """The last input is nobody else's when the sum runs: TensorFlow would begin with it, and lose it in 1e8."""
    with tf.Graph().as_default() as graph:
        large, negative, small = (tf.placeholder(tf.float32, [2]) for _ in range(3))
        total = tf.add_n([large, negative, small * 1.0])
        for _ in range(2):  # a second session of the same graph changes nothing
            with session_with_threads(graph) as session:
                result = session.run(total, {large: [1e8, 1e8], negative: [-1e8, -1e8], small: [1, 1]})
                np.testing.assert_array_equal(result, [1, 1])


def test_a_graph_with_a_custom_gradient_is_freed_too():
    with own_graph() as graph:
        x = tf.constant(1.0)
        tf.gradients(tf.custom_gradient(lambda x: (x + 1, lambda g: g * x))(x), x)
    gone = weakref.ref(graph)
    del graph, x
    gc.collect()
    assert gone() is None


def test_whatever_else_is_registered_is_left_alone():
    """A function with an empty closure; an object that answers nothing; a gradient of another graph; cycles; depth."""

    def empty():
        return later

    if False:
        later = None

    class Silent:
        def __getattribute__(self, name):
            raise RuntimeError(name)

    def holds(value):
        return lambda op, gradient: value

    registry = ops._gradient_registry._registry
    with tf.Graph().as_default():
        elsewhere = tf.constant(1.0)
    cycle, deep = [], functools.reduce(lambda one, _: holds(one), range(5000), 1)
    cycle.append(cycle)
    others = [empty, holds(Silent()), holds(elsewhere), holds(cycle), deep, type("Mine", (), {"__module__": None})()]
    others = {"CustomGradient-%d" % (10**9 + i): {"type": value} for i, value in enumerate(others)}
    others["Mine"] = {"type": Silent()}
    before = set(registry)
    registry.update(others)
    try:
        with own_graph():
            x = tf.constant(1.0)
            others["Users"] = registry["Users"] = {"type": holds(x)}
            tf.gradients(tf.custom_gradient(lambda x: (x + 1, lambda g: g * x))(x), x)
        assert set(registry) == before | set(others)
    finally:
        for name in others:
            registry.pop(name, None)


def test_sums_of_three_and_more_alone_are_told_to_keep_their_order(graph):
    x = tf.constant(1.0)
    sums, other = [tf.add_n([x] * number).op for number in [2, 3, 4]], tf.concat([[x]] * 4, 0).op
    session_with_threads(graph).close()
    orders = [list(op.node_def.attr["_forward_input"].list.i) for op in [*sums, other]]
    assert orders == [[], [-2, 0], [-2, 0], []]


def holding(value):
    return lambda: value


def of_tensorflow(**attributes):
    return type("Anything", (), {"__module__": "tensorflow.python.any", **attributes})()


def test_what_holds_something_of_a_graph():
    with tf.Graph().as_default() as graph:
        tensor = tf.constant(1.0)
        with tf.Graph().as_default() as inner:
            inner.outer_graph = graph
            within = tf.constant(1.0)
        with tf.Graph().as_default():
            elsewhere = tf.constant(1.0)
    for value in [
        *[tensor, within, [tensor, 1, 1], (1, [tensor]), lambda: tensor, holding([elsewhere, (within,)])],
        *[of_tensorflow(_func_graph=graph), of_tensorflow(graph=inner), of_tensorflow(_func_graph=None, graph=graph)],
    ]:
        assert graphs._holds(value, graph)
    for value in [None, elsewhere, [elsewhere], lambda: 1, lambda: elsewhere, {"a": tensor}, of_tensorflow()]:
        assert not graphs._holds(value, graph)


def test_a_session_that_cannot_be_loaded_is_closed():
    def load(session):
        raise KeyError("data")

    own = OwnGraph()
    with own.building() as graph:
        variable = tf.get_variable("x", initializer=1.0)
    assert graph is own.graph is variable.graph
    with own as session:
        assert session.run(variable) == 1 and session is own.session
    assert session._closed
    own.load_with(load)
    with pytest.raises(KeyError, match="data"):
        own.start()
    assert own.session is not session and own.session._closed


class WithData(l2l.Quadratic):
    data = {"a": np.arange(3.0), "b": np.arange(2)}


def test_a_graph_holds_data_once(run):
    problem, found = WithData(2), []
    assert data_in_graph(l2l.Quadratic(2)) is None

    @functools.partial(tf.function, autograph=False)
    def function(x):
        found.append(data_in_graph(problem))
        return x + tf.reduce_sum(found[0]["a"])

    result = function(tf.constant(1.0, tf.float64))
    found += [data_in_graph(problem), data_in_graph(problem), data_in_graph(WithData(2))]
    assert found[0] is found[1] is found[2] is not found[3]
    assert found[0]["a"].graph is tf.get_default_graph()
    assert run([result, found[0]["b"]])[0] == 4


def test_data_in_variables_are_none_of_the_users(graph):
    problem = WithData(2)
    load = data_as_variables(problem)
    tensors = data_in_graph(problem)
    assert not tf.global_variables() and not tf.trainable_variables()
    assert [op.type for op in graph.get_operations()].count("VarHandleOp") == 2
    with tf.Session() as session:
        load(session)
        np.testing.assert_array_equal(session.run(tensors)["a"], [0, 1, 2])
        assert data_as_variables(l2l.Quadratic(2))(session) is None
