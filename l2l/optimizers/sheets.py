"""Tensors that are computed together: many small ones as the rows of one, so that a step is few large ops."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

LARGEST_PACKED = 4096  # coordinates of a tensor that is computed together with others


class Sheet(namedtuple("Sheet", ["members", "shapes", "draws"])):
    """Tensors that are computed together, `[B, k, ...]`: one as it is, or small ones, flat and filled up with zeros.

    A step of many small tensors is few large ops so. Zeros add nothing to a sum, and are never moved.
    """

    def pack(self, tensors):
        """Those of a list of all tensors that are members."""
        own = [tensors[i] for i in self.members]
        if len(own) == 1:
            return tf.expand_dims(own[0], self.draws)
        batch = own[0].shape.as_list()[: self.draws]
        flat = [tf.reshape(one, [*batch, _size(shape)]) for one, shape in zip(own, self.shapes)]
        flat = tf.concat([*flat, tf.zeros([*batch, 1])], axis=-1)
        sizes = [_size(shape) for shape in self.shapes]
        columns = np.arange(max(sizes))
        places = np.where(columns < np.array(sizes)[:, np.newaxis], _starts(sizes)[:, np.newaxis] + columns, sum(sizes))
        return tf.gather(flat, places.astype(np.int32), axis=self.draws)

    def unpack(self, packed):
        """The members as they were, a list."""
        if len(self.members) == 1:
            return [tf.squeeze(packed, axis=self.draws)]
        *batch, number, width = packed.shape.as_list()
        sizes = [_size(shape) for shape in self.shapes]
        places = np.concatenate([i * width + np.arange(size) for i, size in enumerate(sizes)])
        flat = tf.gather(tf.reshape(packed, [*batch, number * width]), places.astype(np.int32), axis=self.draws)
        rows = tf.split(flat, sizes, axis=self.draws)
        return [tf.reshape(row, [*batch, *shape]) for row, shape in zip(rows, self.shapes)]

    def spread(self, value, packed):
        """A number for each tensor, `[B, k]`, in a shape that broadcasts over a packed tensor."""
        axes = self.draws + 1
        return tf.reshape(value, [*packed.shape.as_list()[:axes], *[1] * (packed.shape.ndims - axes)])

    def sum(self, packed):
        """The sum of each tensor, `[B, k]`."""
        return tf.reduce_sum(packed, axis=list(range(self.draws + 1, packed.shape.ndims)))

    def mean(self, packed):
        """The mean of each tensor, `[B, k]`; 0 of one without coordinates."""
        return self.sum(packed) / np.maximum(list(map(_size, self.shapes)), 1).astype(np.float32)

    def norm(self, packed):
        """The Euclidean norm of each tensor, `[B, k]`."""
        return tf.sqrt(self.sum(tf.square(packed)))


def _size(shape):
    return int(np.prod(shape))


def _starts(sizes):
    return np.cumsum([0, *sizes[:-1]])


def sheets_of(shapes, draws):
    """The sheets of tensors of these shapes: together lie those of similar size, up to `LARGEST_PACKED`."""
    together = {}
    for i, shape in enumerate(shapes):
        key = 1
        while key < _size(shape):
            key *= 8
        together.setdefault(key if _size(shape) <= LARGEST_PACKED else (key, i), []).append(i)
    return [Sheet(members, [shapes[i] for i in members], draws) for members in together.values()]
