"""One meta-iteration: the next segment of a draw, its meta-gradient, the update, and what the next one needs."""

import functools
from collections import namedtuple

import tensorflow.compat.v1 as tf

from l2l.learning.segments import MetaGradient, last_loss, segment_gradient
from l2l.learning.updates import update
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_state import check_same_state, with_initial_state
from l2l.optimizers.optimizer import opened
from l2l.optimizers.over_draws import for_batch
from l2l.problems.binding import BoundProblem

Place = namedtuple(
    "Place",
    [
        "age",  # base iterations that the draw has lived, a scalar int32 tensor: 0 for a new draw
        "carried",  # flat list of tensors: position and state of each shard; empty if nothing is carried
    ],
)

MetaIteration = namedtuple(
    "MetaIteration",
    [
        "figures",  # list of scalars: meta-loss, last loss, gradient norm
        "applied",  # boolean: whether the weights were updated; they are not if a figure is NaN or infinite
        "next",  # the `Place` after this meta-iteration; the one before it if nothing was applied
        "is_over",  # boolean: whether the draw has lived its horizon
    ],
)


class MetaIterations:
    """Builds the meta-iterations of one training: pure functions of variables, draw and place, then the update.

    Args:
      problem: a `Problem`.
      optimizer: the learned optimizer.
      variables: the variables to train.
      meta_optimizer: a `MetaOptimizer`; None if nothing is updated.
      settings: a `Settings`.
      draw: one draw, or a batch of draws along a leading axis if the settings have one; only structure and shapes
        matter.
      draw_by_draw: whether the graph gets a copy of the problem for each draw of a batch.

    Attributes:
      start: the `Place` of a first meta-iteration, all zeros; it shows shapes and dtypes of what is carried.
    """

    def __init__(self, problem, optimizer, variables, meta_optimizer, settings, draw, *, draw_by_draw):
        self._variables, self._meta_optimizer, self._settings = variables, meta_optimizer, settings
        optimizer = opened("optimizer", optimizer)
        self._adapted = optimizer.adapted
        if self._adapted and settings.threads > 1:
            raise ValueError("threads must be 1 for an optimizer that adapts variables, got %r" % settings.threads)
        self._batch = settings.batch // settings.threads if settings.batch > 1 else None
        self._optimizer = for_batch(optimizer, self._batch)
        self._bound = functools.partial(BoundProblem, problem, batch=self._batch, draw_by_draw=draw_by_draw)
        carried = []
        if settings.carries:
            self._optimizer = with_initial_state(self._optimizer)
            with tf.name_scope("structure"):
                (part, *_), _ = self._shards(draw, [])
                x = self._bound(part).start()
                structure = x, self._first_state(x)
                like = [(tensor.shape, tensor.dtype) for tensor in tensors_of(structure)]
                carried = [tf.zeros(*one) for one in like * settings.threads]
        self.start = Place(tf.constant(0), carried)

    def _first_state(self, x):
        """Returns the optimizer's state before the first step of a draw's life; it may depend on the horizon."""
        return self._optimizer.bind(horizon=self._settings.horizon).initial_state(x)

    def _shards(self, draw, carried):
        """Splits draw and carried tensors into shards."""
        number = self._settings.threads
        if number == 1:
            return [draw], [carried]
        flat = zip(*[tf.split(tensor, number) for tensor in tf.nest.flatten(draw)])
        size = len(carried) // number
        return (
            [tf.nest.pack_sequence_as(draw, part) for part in flat],
            [carried[i * size : (i + 1) * size] for i in range(number)],
        )

    def _segment(self, draw, place, loop):
        """Builds the `MetaGradient` of one shard."""
        settings, bound, x, state = self._settings, self._bound(draw), None, None
        if settings.carries:
            x = bound.start()
            fresh = x, self._first_state(x)
            with tf.name_scope("start"):
                x, state = with_tensors(fresh, _picked(tf.equal(place.age, 0), tensors_of(fresh), place.carried))
        meta = segment_gradient(
            bound,
            self._optimizer,
            self._variables,
            settings.meta_loss,
            settings.unroll_length,
            x=x,
            state=state,
            first=place.age,
            carry_on=settings.carries,
            second_derivatives=settings.second_derivatives,
            loop=loop,
            horizon=settings.horizon,
        )
        if settings.carries:
            check_same_state(fresh[1], meta.state)
        return meta

    def meta_gradient(self, draw, place, loop, call_shard=lambda function, inputs: function(*inputs)):
        """Builds the meta-gradient of the next segment.

        Args:
          draw: a draw like the one given to this object.
          place: a `Place`.
          loop: as for `meta_gradient`.
          call_shard: a function `(function, tensors)` that computes a shard: it calls `function(*tensors)`, perhaps
            compiled. Shards depend only on the variables, so a session with as many threads runs them in parallel.

        Returns:
          `(meta-gradient, carried)`: the `MetaGradient` of the whole batch, and the tensors to carry on.
        """
        numbers = []

        def flat_segment(age, *tensors):
            number = len(tf.nest.flatten(draw))
            part = tf.nest.pack_sequence_as(draw, tensors[:number])
            meta = self._segment(part, Place(age, list(tensors[number:])), loop)
            carried = tensors_of((meta.x, meta.state)) if self._settings.carries else []
            numbers[:] = [2 + len(meta.gradients), 2 + len(meta.gradients) + len(carried)]
            return [meta.losses, meta.meta_loss, *meta.gradients, *carried, *meta.adapted]

        results = [
            call_shard(flat_segment, [place.age, *tf.nest.flatten(part), *carried])
            for part, carried in zip(*self._shards(draw, place.carried))
        ]
        first, second = numbers
        carried = [tensor for result in results for tensor in result[first:second]]
        return self._together([result[:first] for result in results], results[0][second:]), carried

    def build(self, draw, place, loop, **how):
        """Builds a whole meta-iteration, a `MetaIteration`; the arguments are those of `meta_gradient`."""
        meta, carried = self.meta_gradient(draw, place, loop, **how)
        with tf.control_dependencies(carried):  # they depend on the weights before the update
            norm, applied = update(
                meta, self._variables, self._meta_optimizer, clip_norm=self._settings.clip_norm, adapted=self._adapted
            )
        with tf.name_scope("carry_on"):
            age = tf.math.floormod(place.age + self._settings.unroll_length, self._settings.horizon)
            is_over = applied & tf.equal(age, 0)
            age = tf.where(applied, age, place.age)
            carried = _picked(applied, carried, place.carried)
        return MetaIteration([meta.meta_loss, meta.last_loss, norm], applied, Place(age, carried), is_over)

    def _together(self, shards, adapted):
        """Combines losses, meta-losses and gradients of the shards into the `MetaGradient` of the whole batch."""
        losses, values, *gradients = zip(*shards)
        number = len(shards)
        if number == 1:
            losses, value, gradients = losses[0], values[0], [gradient for (gradient,) in gradients]
        else:
            losses, value = tf.concat(losses, axis=1), tf.add_n(values) / number
            gradients = [tf.add_n(pieces) / number for pieces in gradients]
        return MetaGradient(losses, value, last_loss(losses[-1], self._batch), gradients, None, None, list(adapted))


def _picked(condition, ours, others):
    """Picks one of two lists of tensors of the same shapes: the first if the condition holds."""
    return [tf.where(tf.fill(one.shape, condition), one, other) for one, other in zip(ours, others)]
