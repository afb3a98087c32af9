"""Parts of a graph in another one, with tensors in place of variables and random numbers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import function

from l2l.problems.programs import Random, cut_out
from l2l.problems.programs import run as run_program


@pytest.fixture
def program():
    """`2 w y + u - u / 2` for a variable `w` and uniform numbers `u`, made in a graph of its own."""
    with tf.Graph().as_default():
        w = tf.Variable(tf.zeros([2]), use_resource=False)
        y, unused = tf.placeholder(tf.float32, [2], "y"), tf.placeholder(tf.float32, [], "unused")
        with tf.device("/gpu:7"), tf.colocate_with(w):
            doubled = 2.0 * w
        with tf.control_dependencies([doubled, y]):
            uniform = tf.random.uniform([2])
            result = doubled * y + uniform - uniform / 2
        tf.assign(w, result)
        return cut_out("it", [tf.identity(result)], [w.op.outputs[0], unused, y])


def outputs(program, w, y):
    return run_program(program, dict(zip(program.inputs, [w, y])), lambda i, one: tf.fill(one.shape, 10.0 + i))[0]


def test_what_is_cut_out_is_given_back(run, program):
    assert [name.split(":")[0] for name in program.inputs] == ["Variable", "y"]
    (random,) = program.random
    assert random == Random(random.name, "RandomUniform", [2], tf.float32)
    assert not any(node.device for node in program.definition.node)
    kinds = {node.op for node in program.definition.node}
    assert not kinds & {"VariableV2", "Placeholder", "RandomUniform", "Assign"}
    assert {name for node in program.definition.node for name in node.input if name[0] == "^"} == {"^mul"}
    assert program.definition.versions == tf.get_default_graph().as_graph_def().versions
    w, y = tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])
    result = outputs(program, w, y)
    np.testing.assert_array_equal(run([result, tf.gradients(result, w)[0]]), [[11, 21], [6, 8]])


def test_it_runs_in_loops_and_functions(run, program):
    start, y = tf.constant([1.0, 2.0]), tf.constant([0.5, 1.0])

    def looped(start):
        return tf.while_loop(lambda i, w: i < 2, lambda i, w: (i + 1, outputs(program, w, y)), (0, start))[1]

    results = [looped(start), tf.function(looped, autograph=False)(start)]
    for result in run(results):
        np.testing.assert_array_equal(result, [11, 23])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda x: x + tf.random.gamma([2], 1.0), "RandomGamma .* chance of another kind"),
        (lambda x: x + tf.random.uniform(tf.placeholder(tf.int32, [1])), "RandomUniform .* a shape that is not static"),
        (lambda x: x + tf.placeholder(tf.float32, [None]), "Placeholder .* a placeholder"),
        (lambda x: x + tf.Variable(tf.zeros([2]), use_resource=True), "ReadVariableOp .* state"),
        (lambda x: tf.while_loop(lambda x: True, lambda x: x, [x]), "Exit .* a loop or a condition"),
        (lambda x: tf.cond(x[0] > 0, lambda: x, lambda: -x), "Merge .* a loop or a condition"),
        (lambda x: tf.function(tf.square)(x), "PartitionedCall .* a tf.function"),
        (function.Defun(tf.float32, func_name="squared")(lambda x: x * x), "squared .* a tf.function"),
        (tf.nn.swish, r"IdentityN .* a tf\.custom_gradient"),
        (
            lambda x: tf.nn.fused_batch_norm(tf.reshape(x, [2, 1, 1, 1]), [1.0], [1.0])[0],
            "FusedBatchNorm.* whose second derivative is wrong",
        ),
    ],
)
def test_what_no_program_can_have_is_refused(build, message):
    x = tf.placeholder(tf.float32, [2])
    with pytest.raises(ValueError, match="^it cannot use the op " + message):
        cut_out("it", [build(x)], [x])
