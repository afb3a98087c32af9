"""Tensors that are computed together: many small tensors become the rows of one, so a step needs few large ops."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

LARGEST_PACKED = 4096  # coordinates of a tensor that is computed together with others


class Sheet(namedtuple("Sheet", ["members", "shapes", "draws"])):
    """Tensors that are computed together, `[B, k, ...]`: one tensor unchanged, or small ones, flat and zero-padded.

    So a step of many small tensors needs few large ops. The padding adds nothing to sums, and `unpack` drops it.
    """

    def pack(self, tensors):
        """Packs the members, taken from a list of all tensors, into one tensor."""
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
        """Inverts `pack`: returns the list of members."""
        if len(self.members) == 1:
            return [tf.squeeze(packed, axis=self.draws)]
        *batch, number, width = packed.shape.as_list()
        sizes = [_size(shape) for shape in self.shapes]
        places = np.concatenate([i * width + np.arange(size) for i, size in enumerate(sizes)])
        flat = tf.gather(tf.reshape(packed, [*batch, number * width]), places.astype(np.int32), axis=self.draws)
        rows = tf.split(flat, sizes, axis=self.draws)
        return [tf.reshape(row, [*batch, *shape]) for row, shape in zip(rows, self.shapes)]

    def spread(self, value, packed):
        """Reshapes a number for each tensor, `[B, k]`, so that it broadcasts over a packed tensor."""
        axes = self.draws + 1
        return tf.reshape(value, [*packed.shape.as_list()[:axes], *[1] * (packed.shape.ndims - axes)])

    def sum(self, packed):
        """Returns the sum of each tensor, `[B, k]`."""
        return tf.reduce_sum(packed, axis=list(range(self.draws + 1, packed.shape.ndims)))

    def mean(self, packed):
        """Returns the mean of each tensor, `[B, k]`; 0 for a tensor without coordinates."""
        return self.sum(packed) / np.maximum(list(map(_size, self.shapes)), 1).astype(np.float32)

    def norm(self, packed):
        """Returns the Euclidean norm of each tensor, `[B, k]`."""
        return tf.sqrt(self.sum(tf.square(packed)))


def _size(shape):
    return int(np.prod(shape))


def _starts(sizes):
    return np.cumsum([0, *sizes[:-1]])


def sheets_of(shapes, draws):
    """Groups tensors of these shapes into sheets, by similar size; those above `LARGEST_PACKED` stay alone."""
    together = {}
    for i, shape in enumerate(shapes):
        key = 1
        while key < _size(shape):
            key *= 8
        together.setdefault(key if _size(shape) <= LARGEST_PACKED else (key, i), []).append(i)
    return [Sheet(members, [shapes[i] for i in members], draws) for members in together.values()]
