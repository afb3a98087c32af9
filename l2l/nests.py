"""Nests of tensors with holes: an optimizer's state may hold None where there is nothing to remember."""

import tensorflow.compat.v1 as tf

from l2l.vectorizing import vectorized


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
    flat, structure, shapes = tensors_of(nests), [], []
    number = flat[0].shape.as_list()[0]

    def of_one(i):
        result = function(*with_tensors(nests, [tf.gather(many, i) for many in flat]))
        structure[:] = [result]
        shapes[:] = [tensor.shape for tensor in tensors_of(result)]
        return tensors_of(result)

    try:
        # `tf.vectorized_map` itself loses the number of draws, and with it all static shapes.
        stacked = vectorized(of_one, number)
    except Exception:  # whatever it was, the function itself says so now, or has nothing wrong with it
        stacked = [tf.stack(many) for many in zip(*[of_one(i) for i in range(number)])]
    for tensor, shape in zip(stacked, shapes):
        tensor.set_shape(tf.TensorShape([number]).concatenate(shape))
    return with_tensors(structure[0], stacked)
