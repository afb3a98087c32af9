"""Loops over draws in TensorFlow's `pfor`, of which everyone else keeps TensorFlow's own forms."""

import contextlib
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops.parallel_for.pfor import _pfor_converter_registry, _PforInput

import l2l.vectorizing
from l2l.vectorizing import vectorized


def test_tensorflows_registry_and_class_are_as_they_were():
    registered = [*_pfor_converter_registry.values(), *vars(_PforInput).values()]
    functions = [getattr(one, "func", one) for one in registered]
    modules = {str(getattr(one, "__module__", "")) for one in functions}
    assert len(functions) > 100 and not [name for name in modules if name.startswith("l2l")]


def test_anyone_elses_loop_has_tensorflows_forms(run):
    """Before a loop of ours, inside it, and after it, also over ops that ours had."""
    many = tf.constant([[1.0, 2.0], [3.0, 4.0]])

    def refused():
        with pytest.raises(Exception, match=r"No converter defined for L2Loss|Unknown command line flag"):
            tf.vectorized_map(tf.nn.l2_loss, many)

    def body(i):
        refused()
        inner = tf.vectorized_map(lambda x: tf.where(x > 1.5, x, -x), many)
        return [tf.nn.l2_loss(tf.gather(many, i)), tf.reduce_sum(inner), tf.nn.l2_loss(many)]

    refused()
    (halves, sums, whole) = vectorized(body, 2)
    refused()
    np.testing.assert_allclose(run(halves), [2.5, 12.5])
    np.testing.assert_allclose(run(sums), [8, 8])
    np.testing.assert_allclose(run(whole), [15, 15])
    assert not [op for op in tf.get_default_graph().get_operations() if hasattr(op, "pfor_converter")]


def test_nothing_is_left_on_the_ops_of_a_loop_that_failed():
    with pytest.raises(ValueError, match="no vectorized form of the op PyFunc"):
        vectorized(lambda i: [tf.py_func(lambda x: x, [i + 1], tf.int32)], 2)
    assert not [op for op in tf.get_default_graph().get_operations() if hasattr(op, "pfor_converter")]


def test_threads_convert_their_loops_side_by_side(monkeypatch):
    """One is in the middle of its loop while the other ends one and begins another."""
    inside, ended, results = threading.Event(), threading.Event(), {}

    def body(i):
        return [tf.nn.l2_loss(tf.cast(tf.stack([i, i]), tf.float32))]

    def waits(pfor_input):
        inside.set()
        assert ended.wait(60)
        return form(pfor_input)

    form = l2l.vectorizing._FORMS["L2Loss"]

    def first():
        with tf.Graph().as_default(), tf.Session() as session:
            monkeypatch.setitem(l2l.vectorizing._FORMS, "L2Loss", waits)
            results["first"] = session.run(vectorized(body, 3))[0]

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    monkeypatch.setitem(l2l.vectorizing._FORMS, "L2Loss", form)
    for _ in range(2):
        with tf.Graph().as_default(), tf.Session() as session:
            np.testing.assert_allclose(session.run(vectorized(body, 3))[0], [0, 1, 4])
    ended.set()
    thread.join()
    np.testing.assert_allclose(results["first"], [0, 1, 4])


def test_what_tensorflow_could_do_faster_is_not_logged(caplog):
    """The gradient of a convolution is written as a loop, of which TensorFlow tells its developers."""
    images, kernel = tf.ones([2, 1, 4, 4, 1]), tf.ones([3, 3, 1, 1])

    def body(i):
        values = tf.nn.conv2d(tf.gather(images, i), kernel, 1, "SAME")
        return tf.gradients(values, kernel)

    with contextlib.suppress(Exception):
        tf.vectorized_map(lambda i: body(i)[0], tf.range(2))
    assert "uses a while_loop" in caplog.text
    caplog.clear()
    with contextlib.suppress(Exception):
        vectorized(body, 2)
    assert "while_loop" not in caplog.text


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_product_of_one_matrix_with_one_of_each_draw(run, transpose_a, transpose_b):
    random = np.random.RandomState(0)
    one, many = (random.normal(size=shape).astype(np.float32) for shape in ([3, 3], [4, 3, 3]))
    how = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    (found,) = vectorized(lambda i: [tf.matmul(tf.constant(one), tf.gather(tf.constant(many), i), **how)], 4)
    expected = [(one.T if transpose_a else one) @ (each.T if transpose_b else each) for each in many]
    np.testing.assert_allclose(run(found), expected, rtol=1e-5, atol=1e-6)
