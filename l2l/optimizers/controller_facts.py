"""What an `AdamController` remembers of each tensor, and the facts that its network sees."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

FACTS = 19

BETAS = (0.9, 0.99, 0.95, 0.999)  # of the two running means of gradients, and of the two of their squares
AGREEMENT_BETA = 0.9

# Gradients and positions are clipped here, so that their squares, and sums of a million squares, stay finite.
LARGEST = 1e15
# A denominator is at least this fraction of its tensor's, and at least a number whose square underflows.
RELATIVE_FLOOR, SMALLEST = 1e-7, 1e-30

TensorState = namedtuple(
    "TensorState",
    [
        "last",  # the last update; it and the next four are like the tensor
        "short_mean",  # running means of the gradient
        "long_mean",
        "short_square",  # and of its square
        "long_square",
        "agreement",  # running means of five cosines, `[5]`
        "climb",  # the logarithm of the factor by which the rate has been raised so far, `[1]`
    ],
)


def packed(tensors, sheet):
    """Packs the `TensorState` of each tensor into that of a sheet."""
    *like, agreement, climb = zip(*tensors)
    own = [tf.stack([many[i] for i in sheet.members], axis=sheet.draws) for many in (agreement, climb)]
    return TensorState(*[sheet.pack(many) for many in like], *own)


def unpacked(tensor, sheet):
    """Returns a list with the `TensorState` of each tensor of a sheet."""
    *like, agreement, climb = tensor
    own = [tf.unstack(one, axis=sheet.draws) for one in (agreement, climb)]
    return [TensorState(*fields) for fields in zip(*[sheet.unpack(one) for one in like], *own)]


def noted(gradient, tensor, t, sheet):
    """Returns the `TensorState` after another gradient, except for the last update.

    The cosines compare the gradient with the state before it.
    """
    first, second, third, fourth = BETAS
    # The last update was divided by Adam's denominator, so it is compared with a gradient that is divided alike.
    adams, _ = _root(tensor.long_square * (1 / (1 - fourth ** tf.maximum(t - 1, 1.0))), sheet)
    # Nothing was seen before the first step.
    adams = tf.clip_by_value(gradient * tf.math.reciprocal(adams), -LARGEST, LARGEST)
    last, short, long = tensor.last, tensor.short_mean, tensor.long_mean
    norms = {id(one): sheet.norm(one) for one in (adams, gradient, last, short, long)}
    pairs = [(adams, last), (gradient, short), (gradient, long), (short, last), (gradient, last)]
    cosines = [
        tf.clip_by_value(sheet.sum(a * b) / (norms[id(a)] * norms[id(b)] + SMALLEST), -1.0, 1.0) for a, b in pairs
    ]
    square = tf.square(gradient)
    return TensorState(
        last,
        first * short + (1 - first) * gradient,
        second * long + (1 - second) * gradient,
        third * tensor.short_square + (1 - third) * square,
        fourth * tensor.long_square + (1 - fourth) * square,
        AGREEMENT_BETA * tensor.agreement + (1 - AGREEMENT_BETA) * tf.stack(cosines, axis=-1),
        tensor.climb,
    )


def unbiased(tensor, t):
    """Returns the four running means of a tensor, corrected for their bias towards zero."""
    means = [tensor.short_mean, tensor.long_mean, tensor.short_square, tensor.long_square]
    # One division per mean: XLA would store the result of a division per coordinate, to avoid dividing twice.
    return [mean * (1 / (1 - beta**t)) for mean, beta in zip(means, BETAS)]


def facts_of(tensors, means, positions, climbs, clock, sheets):
    """Returns the facts of all tensors, `[B, n, 19]`.

    Args:
      tensors, means, positions: lists with, for each sheet, its `TensorState`, the result of `unbiased`, and its
        position.
      climbs: `[B, n]`.
      clock: the number of steps including this one, the number planned, and the fraction of these that is over.
      sheets: list of `Sheet`.
    """
    draws, (t, steps, fraction) = sheets[0].draws, clock
    agreements = [tensor.agreement / (1 - AGREEMENT_BETA**t) for tensor in tensors]  # [B, k, 5]
    everywhere = tf.reduce_mean(tf.concat(agreements, axis=draws), axis=draws, keepdims=True)  # [B, 1, 5]
    shared = [
        *[3 * everywhere[..., i] for i in (0, 1)],
        tf.reduce_mean(climbs, axis=-1, keepdims=True) / 2,
        np.log(sum(len(sheet.members) for sheet in sheets)) - 1.0,
    ]
    clock = [tf.math.log(t) / 3 - 1.0, 2 * fraction - 1, tf.math.log(steps) / 2 - 3]
    facts = [
        _facts(position, *own, agreement, tensor.climb[..., 0], clock, shared, sheet)
        for position, own, agreement, tensor, sheet in zip(positions, means, agreements, tensors, sheets)
    ]
    return tf.clip_by_value(tf.concat(facts, axis=draws), -4.0, 4.0)


def _facts(position, short, long, short_square, long_square, agreement, climb, clock, shared, sheet):
    """Returns the facts of each tensor of a sheet, `[B, k, 19]`; all tensors share `clock` and `shared`."""
    shapes = [[max(size, 1) for size in shape] for shape in sheet.shapes]
    (spread, root), (long_spread, long_root) = _root(short_square, sheet), _root(long_square, sheet)
    size = tf.sqrt(sheet.mean(tf.square(tf.clip_by_value(position, -LARGEST, LARGEST))))
    ratio = root / (long_root + SMALLEST)
    facts = [
        np.log([int(np.prod(shape[:-1])) for shape in shapes]) / 4 - 0.5,
        np.log([shape[-1] if shape else 1 for shape in shapes]) / 4 - 0.5,
        [1.0 if len(shape) >= 2 else -1.0 for shape in shapes],
        tf.math.log(size + 1e-4) / 3,
        tf.math.log(tf.sqrt(sheet.mean(tf.square(short / spread))) + 1e-3) + 0.7,
        tf.math.log(tf.sqrt(sheet.mean(tf.square(long / long_spread))) + 1e-3) + 1.5,
        *clock,
        tf.math.log(ratio + 1e-3),
        *[3 * agreement[..., i] for i in range(4)],
        *shared[:2],
        climb / 2,
        *shared[2:],
    ]
    return tf.stack([tf.broadcast_to(tf.cast(one, tf.float32), climb.shape) for one in facts], axis=-1)


def _root(square, sheet):
    """Returns the root of a mean square, never zero, and the root of its mean over each tensor, `[B, k]`."""
    whole = tf.sqrt(sheet.mean(square))
    return tf.sqrt(square) + RELATIVE_FLOOR * sheet.spread(whole, square) + SMALLEST, whole
