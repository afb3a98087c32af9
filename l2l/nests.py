"""Nests of tensors with holes: an optimizer's state may hold None where there is nothing to remember."""

import tensorflow as tf
from tensorflow.python.ops.parallel_for.control_flow_ops import pfor
from tensorflow.python.ops.parallel_for.pfor import _pfor_converter_registry, _PforInput, wrap


def tensors_of(nest):
    """The tensors of a nest, a flat list without its None."""
    return [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(nest) if leaf is not None]


def with_tensors(nest, tensors):
    """The nest with these tensors in place of its own, as from `tensors_of`; None stays None."""
    tensors = iter(tensors)
    leaves = [None if leaf is None else next(tensors) for leaf in tf.nest.flatten(nest)]
    return tf.nest.pack_sequence_as(nest, leaves)


def is_differentiable(tensor):
    """Whether a gradient can flow through it: numbers that are not integers."""
    return tensor.dtype.is_floating


def is_finite(tensor):
    """Whether each number is neither NaN nor infinite, by its bits: compilers may take for granted that it is."""
    integers, exponent = {tf.float32: (tf.int32, 0x7F800000), tf.float64: (tf.int64, 0x7FF << 52)}[tensor.dtype]
    mask = tf.constant(exponent, integers)
    return tf.not_equal(tf.bitwise.bitwise_and(tf.bitcast(tensor, integers), mask), mask)


def over_draws(function, *nests):
    """What a function of one draw gives for many: its results stacked along a leading axis `[B, ...]`.

    The arguments have a leading axis `B`, of which the function sees one place at a time. Ops are
    vectorized, as by `tf.vectorized_map`; where TensorFlow cannot do that for one of them, the function is
    written into the graph once for each draw, which is right for every op, and slower.

    Args:
      function: of as many arguments as there are nests; pure. It returns a nest of tensors or None.
      nests: nests of tensors, each with the same static leading axis.
    """
    flat, structure, shapes = [_with_dense_gradient(many) for many in tensors_of(nests)], [], []
    number = flat[0].shape[0].value

    def of_one(i):
        result = function(*with_tensors(nests, [tf.gather(many, i) for many in flat]))
        structure[:] = [result]
        shapes[:] = [tensor.shape for tensor in tensors_of(result)]
        return tensors_of(result)

    try:
        # `tf.vectorized_map` itself loses the number of draws, and with it all static shapes.
        stacked = pfor(of_one, number)
    except Exception:  # whatever it was, the function itself says so now, or has nothing wrong with it
        stacked = [tf.stack(many) for many in zip(*[of_one(i) for i in range(number)])]
    for tensor, shape in zip(stacked, shapes):
        tensor.set_shape(tf.TensorShape([number]).concatenate(shape))
    return with_tensors(structure[0], stacked)


def _with_dense_gradient(tensor):
    """The same tensor. To pick draws leaves indexed slices as its gradient, which a reshape makes a tensor again.

    Within XLA what is mapped is a function, and TensorFlow cannot differentiate a call of one for which such slices
    come back.
    """
    if not is_differentiable(tensor):
        return tensor
    return tf.reshape(tensor, tensor.shape if tensor.shape.is_fully_defined() else tf.shape(tensor))


def _expanded_for_broadcast(pfor_input):
    """Brings the inputs of one elementwise op to a common rank, behind the axis of draws.

    TensorFlow's own form finds the ranks when the graph runs: some 30 ops for each op of a loss, and no static shape
    after them. Where the ranks are known none is needed, or one for an input of a lower rank.
    """
    inputs = pfor_input.inputs
    ranks = [one.t.shape.ndims for one in inputs]
    if None in ranks:
        _tensorflows_expansion(pfor_input)
        return
    ranks = [rank - one.is_stacked for rank, one in zip(ranks, inputs)]  # of one draw
    for i, one in enumerate(inputs):
        missing = max(ranks) - ranks[i]
        if one.is_stacked and missing:
            inputs[i] = wrap(one.t[(slice(None),) + (tf.newaxis,) * missing], True)


_tensorflows_expansion = _PforInput.expanddim_inputs_for_broadcast
_PforInput.expanddim_inputs_for_broadcast = _expanded_for_broadcast


def _vectorized_select(pfor_input):
    """`tf.where` of many draws. TensorFlow's own form asks for the rank in a `tf.cond`, which XLA cannot compile."""
    pfor_input.stack_inputs()
    condition, one, other = (pfor_input.stacked_input(i) for i in range(3))
    if condition.shape.ndims is None or one.shape.ndims is None:
        return _tensorflows_select(pfor_input)
    # A condition has the shape of what it selects from, or it is a scalar, or a vector that selects along the first
    # axis. That axis is the second here, and `tf.where` alone knows nothing of it.
    if 1 < condition.shape.ndims < one.shape.ndims:
        missing = one.shape.ndims - condition.shape.ndims
        condition = tf.reshape(condition, tf.concat([tf.shape(condition), [1] * missing], axis=0))
        condition = tf.broadcast_to(condition, tf.shape(one))
    return wrap(tf.where(condition, one, other), True)


_tensorflows_select = _pfor_converter_registry["Select"]
_pfor_converter_registry["Select"] = _vectorized_select


def _vectorized_l2_loss(pfor_input):
    """`tf.nn.l2_loss`, and with it `tf.global_norm`, of many draws, for which TensorFlow has no vectorized form."""
    tensor = pfor_input.stacked_input(0)
    return wrap(tf.reduce_sum(tf.square(tensor), tf.range(1, tf.rank(tensor))) / 2, True)


_pfor_converter_registry["L2Loss"] = _vectorized_l2_loss
