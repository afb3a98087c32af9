"""A loop over draws as ops on all of them, by TensorFlow's `pfor`, with better forms of some ops.

TensorFlow finds the form of an op in a registry of the process, but looks at the op itself first. So the forms here are
set on the ops of one loop while it is converted; any other `tf.vectorized_map` gets TensorFlow's.
"""

import functools

import tensorflow.compat.v1 as tf
from tensorflow.python.ops.parallel_for.control_flow_ops import pfor
from tensorflow.python.ops.parallel_for.pfor import _pfor_converter_registry, wrap

from l2l.quiet import without_logs_of


def vectorized(function, number):
    """Stacks `function(i)` for `i` from 0 to `number - 1` along a leading axis.

    Args:
      function: of a scalar int32 tensor, to a list of tensors.
      number: how many there are; an integer, so that static shapes are kept.

    Raises:
      ValueError: an op has no vectorized form; the message names it.
      Exception: whatever the function raises, or TensorFlow where it has a form that does not fit.
    """
    ops = []

    def body(i):
        graph = tf.get_default_graph()
        first = len(graph.get_operations())
        results = function(i)
        for op in graph.get_operations()[first:]:
            op.pfor_converter = _converted
            ops.append(op)
        return results

    try:
        with without_logs_of("parallel_for"):  # it says that some form could be faster
            return pfor(body, number)
    finally:
        for op in ops:
            del op.pfor_converter


def _converted(pfor_input):
    """One op for all draws, in the form defined here, or else in TensorFlow's."""
    pfor_input.expanddim_inputs_for_broadcast = functools.partial(_expanded_for_broadcast, pfor_input)
    name = pfor_input.op_type
    form = _FORMS.get(name) or _pfor_converter_registry.get(name)
    if form is None:  # TensorFlow would parse the command line first, which may be anyone's
        raise ValueError("TensorFlow has no vectorized form of the op %s" % name)
    return form(pfor_input)


def _expanded_for_broadcast(pfor_input):
    """Brings the inputs of one elementwise op to a common rank, behind the axis of draws.

    TensorFlow's own form finds the ranks when the graph runs, with some 30 ops for each op of a loss, and loses static
    shapes. If the ranks are known, an input needs no op, or one if its rank is lower.
    """
    inputs = pfor_input.inputs
    ranks = [one.t.shape.ndims for one in inputs]
    if None in ranks:
        type(pfor_input).expanddim_inputs_for_broadcast(pfor_input)
        return
    ranks = [rank - one.is_stacked for rank, one in zip(ranks, inputs)]  # of one draw
    for i, one in enumerate(inputs):
        missing = max(ranks) - ranks[i]
        if one.is_stacked and missing:
            inputs[i] = wrap(one.t[(slice(None),) + (tf.newaxis,) * missing], True)


def _select(pfor_input):
    """`tf.where` of many draws. TensorFlow's own form asks for the rank in a `tf.cond`, which XLA cannot compile."""
    pfor_input.stack_inputs()
    condition, one, other = (pfor_input.stacked_input(i) for i in range(3))
    if condition.shape.ndims is None or one.shape.ndims is None:
        return _pfor_converter_registry["Select"](pfor_input)
    # A condition has the shape of what it selects from, or it is a scalar, or a vector that selects along the first
    # axis. That axis is the second here, and `tf.where` alone knows nothing of it.
    if 1 < condition.shape.ndims < one.shape.ndims:
        missing = one.shape.ndims - condition.shape.ndims
        condition = tf.reshape(condition, tf.concat([tf.shape(condition), [1] * missing], axis=0))
        condition = tf.broadcast_to(condition, tf.shape(one))
    return wrap(tf.where(condition, one, other), True)


def _matmul(pfor_input):
    """A product of one matrix with one of each draw. TensorFlow's own form chooses a way in a `tf.cond`, as above."""
    a, b = (pfor_input.input(i) for i in range(2))
    if a.is_stacked or not b.t.shape.is_fully_defined():
        return _pfor_converter_registry["MatMul"](pfor_input)
    # One product of all draws' columns side by side: [X, Y] and [Y, B * Z].
    transposed = pfor_input.get_attr("transpose_b")
    columns = tf.transpose(b.t, [2, 0, 1] if transposed else [1, 0, 2])
    rows, number, width = columns.shape.as_list()
    columns = tf.reshape(columns, [rows, number * width])
    product = tf.matmul(a.t, columns, transpose_a=pfor_input.get_attr("transpose_a"))
    return wrap(tf.transpose(tf.reshape(product, [-1, number, width]), [1, 0, 2]), True)


def _l2_loss(pfor_input):
    """`tf.nn.l2_loss`, and with it `tf.global_norm`, of many draws, for which TensorFlow has no vectorized form."""
    tensor = pfor_input.stacked_input(0)
    return wrap(tf.reduce_sum(tf.square(tensor), tf.range(1, tf.rank(tensor))) / 2, True)


_FORMS = {"Select": _select, "MatMul": _matmul, "L2Loss": _l2_loss}
