"""Nests of tensors with holes: an optimizer's state may hold None where there is nothing to remember."""

import tensorflow.compat.v1 as tf


def tensors_of(nest):
    """Returns the tensors of a nest as a flat list, without None."""
    return [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(nest) if leaf is not None]


def with_tensors(nest, tensors):
    """Returns the nest with its tensors replaced by these, in the order of `tensors_of`; None stays None."""
    tensors = iter(tensors)
    leaves = [None if leaf is None else next(tensors) for leaf in tf.nest.flatten(nest)]
    return tf.nest.pack_sequence_as(nest, leaves)


def is_differentiable(tensor):
    """Whether a gradient can flow through a tensor: its dtype is floating point."""
    return tensor.dtype.is_floating


def is_finite(tensor):
    """Whether each number is neither NaN nor infinite. It tests bits, since compilers may assume all are finite."""
    integers, exponent = {tf.float32: (tf.int32, 0x7F800000), tf.float64: (tf.int64, 0x7FF << 52)}[tensor.dtype]
    mask = tf.constant(exponent, integers)
    return tf.not_equal(tf.bitwise.bitwise_and(tf.bitcast(tensor, integers), mask), mask)
