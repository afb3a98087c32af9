"""Optimizers step by step, as arrays: along a run, and in answer to chosen gradients."""

from __future__ import annotations

import functools
from collections import OrderedDict, namedtuple
from typing import Dict

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.evaluation.graph import drawn, seeds_of
from l2l.evaluation.optimizers import check_optimizers, without_variables
from l2l.graphs import OwnGraph
from l2l.learning.engines import placeholders_like
from l2l.learning.unrolling import base_iteration
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_state import with_initial_state
from l2l.optimizers.optimizer import Bound
from l2l.optimizers.trained import Optimizers, Trained, entered
from l2l.problems.binding import BoundProblem, position_specs
from l2l.problems.examining import examined
from l2l.problems.problem import Problem
from l2l.tracebacks import short_traceback

Trace = namedtuple(
    "Trace",
    [
        "losses",  # [draws, T], before update t
        "positions",  # [draws, T, D], before update t
        "gradients",  # [draws, T, D], there
        "updates",  # [draws, T, D]
        "states",  # [draws, T, D, S], after update t: what the optimizer remembers of each coordinate; or None
    ],
)


@short_traceback
def trace(
    problem: Problem, optimizers: Optimizers, *, draws: int = 100, steps: int = 20, seed: int = 0, states: bool = False
) -> Dict[str, Trace]:
    """Records every step of each optimizer on some draws, those of `evaluate`.

        traces = l2l.trace(problem, {"SGD": l2l.sgd()}, draws=10)
        traces["SGD"].updates  # an array [10, 20, D]

    It runs op by op and keeps everything, which suits pictures. For long runs and many draws use `evaluate`.

    Args:
      problem: a `Problem` whose positions have one dtype.
      optimizers: dict from name to optimizer, as for `evaluate`.
      draws: how many independent problems are drawn, a positive integer.
      steps: `T`, a positive integer.
      seed: integer that fixes the draws.
      states: whether to keep the optimizer's states too; those of a network are many times larger than all the rest.

    Returns:
      An ordered dict from name to a `Trace` of arrays, over all draws and `T` base iterations: `losses` `[draws, T]`,
      `positions` and `gradients` `[draws, T, D]` before update `t`, the `updates` `[draws, T, D]`, and `states`
      `[draws, T, D, S]` after update `t`, or None.

      If a position is a nest, its `D` coordinates are those of its tensors in turn. A state has `S` numbers for each
      coordinate: all its parts side by side, in the order of `tf.nest.flatten`. Some parts are left out: those that are
      no floating-point numbers, and those without a number for each coordinate, such as Adam's powers. So `S` may be 0.

    Raises:
      TypeError, ValueError: as `evaluate`, or positions have several dtypes.
    """
    checks.problem("problem", problem)
    draws = checks.positive_integer("draws", draws)
    steps = checks.positive_integer("steps", steps)
    seed = checks.seed("seed", seed)
    checks.boolean("states", states)
    check_optimizers(optimizers)
    some = examined(problem, draws, seeds_of(seed), steps, lambda coordinates: draws)
    return OrderedDict(
        (name, _traced(problem, optimizer, "optimizers[%r]" % (name,), some, steps, states))
        for name, optimizer in optimizers.items()
    )


def _traced(problem, optimizer, path, draws, steps, states):
    num = draws.batch
    own = OwnGraph()
    with own.building(problem):
        places = [tf.placeholder(array.dtype, [num, *array.shape[1:]]) for array in draws.arrays]
        many = BoundProblem(
            problem, tf.nest.pack_sequence_as(draws.draws, places), num, draw_by_draw=draws.draw_by_draw
        )
        x = many.start()
        dtypes = {tensor.dtype.name for tensor in tf.nest.flatten(x)}
        if len(dtypes) > 1:
            raise ValueError(
                "positions of %s must have one dtype, got %s" % (type(problem).__name__, " and ".join(sorted(dtypes)))
            )
        given, (optimizer, load) = optimizer, _created(optimizer, path, num, functools.partial(position_specs, problem))
        with without_variables(path, given):
            bound = optimizer.bind(horizon=steps)
            start = x, bound.initial_state(x)
        carried, t, step = placeholders_like(tensors_of(start)), tf.placeholder(tf.int32, []), []

        def watched(gradients, state, x):
            update, state = bound.plain_step(gradients, state, x)
            step[:] = gradients, update
            return update, state

        before = with_tensors(start, carried)
        loss, *after = base_iteration(many.loss, watched, *before, t, active=many.active())
        seen = [loss, *[_rows(nest, num) for nest in [before[0], *step]]]
        if states:
            seen.append(_state_rows(after[1], num, x))
        own.load_with(load)
    with own as session:
        begin = session.make_callable(tensors_of(start), feed_list=places)
        call = session.make_callable([*seen, *tensors_of(after)], feed_list=[t, *places, *carried])
        parts = []
        for part in draws.parts():
            values, found = begin(*part), []
            for i in range(steps):
                results = call(i, *part, *values)
                values = results[len(seen) :]
                found.append(results[: len(seen)])
            parts.append([np.stack(many, axis=1) for many in zip(*found)])
    arrays = [np.concatenate(many)[: draws.num] for many in zip(*parts)]
    return Trace(*arrays, *([] if states else [None]))


@short_traceback
def responses(optimizers, gradients):
    """Returns each optimizer's updates for given gradients, which do not depend on these updates.

    Args:
      optimizers: dict from name to optimizer, as for `evaluate`.
      gradients: array `[T, N]`: `T` steps of `N` coordinates. The optimizer sees each coordinate alone.

    Returns:
      An ordered dict from name to its updates, an array `[T, N]`.

    Raises:
      TypeError, ValueError: no optimizer, or gradients of another shape.
    """
    check_optimizers(optimizers)
    gradients = np.asarray(gradients)
    if gradients.ndim != 2 or not gradients.size or gradients.dtype.kind != "f":
        raise ValueError(
            "gradients must be floats of shape [T, N], got shape %s of %s" % (gradients.shape, gradients.dtype)
        )
    return OrderedDict(
        (name, _responded(optimizer, "optimizers[%r]" % (name,), gradients)) for name, optimizer in optimizers.items()
    )


def _responded(optimizer, path, gradients):
    number = gradients.shape[1]
    if isinstance(optimizer, Trained):  # whose network refuses any other dtype
        gradients = gradients.astype(np.asarray(optimizer.weights[0]).dtype)
    own = OwnGraph()
    with own.building():
        place = tf.placeholder(gradients.dtype, [number, 1])
        given, (optimizer, load) = optimizer, _created(optimizer, path, number, lambda: tf.TensorSpec([1], place.dtype))
        with without_variables(path, given):
            bound = optimizer.bind(horizon=len(gradients))
            start = tf.zeros_like(place), bound.initial_state(tf.zeros_like(place))
        carried = placeholders_like(tensors_of(start))
        x, state = with_tensors(start, carried)
        update, state = bound.plain_step(place, state, x)
        fetches, start = [update, *tensors_of((x + update, state))], tensors_of(start)
        own.load_with(load)
    with own as session:
        values, updates = session.run(start), []
        call = session.make_callable(fetches, feed_list=[place, *carried])
        for row in gradients:
            one, *values = call(row[:, np.newaxis], *values)
            updates.append(one[:, 0])
    return np.stack(updates)


@short_traceback
def losses_at(problem, positions, seed):
    """Returns the losses `[M]` of positions `[M, D]` on the first draw of `trace` with this seed.

    They are those of base iteration 0.
    """
    draws = drawn(problem, 1, seeds_of(seed), 1)
    draw = tf.nest.pack_sequence_as(draws.draws, [array[0] for array in draws.arrays])
    own = OwnGraph()
    with own.building(problem):
        draw = tf.nest.map_structure(tf.constant, draw)
        bound = BoundProblem(problem, draw)
        x = bound.start()
        place = tf.placeholder(tf.nest.flatten(x)[0].dtype, positions.shape)
        # Op by op in a loop: quick enough for a grid, and right for every op.
        losses = tf.map_fn(lambda row: bound.loss(_like(x, row[tf.newaxis]), tf.constant(0)), place)
    with own as session:
        return session.run(losses, {place: positions})


def _created(optimizer, path, num, position):
    """An optimizer of `num` draws, an `Optimizer` in the current graph, and a function of a session that loads it.

    A coordinate-wise one sees all coordinates of all draws as one tensor. So whatever it remembers of them has one
    leading axis of that length, whatever tensors a position consists of.
    """
    optimizer, load = entered(path, optimizer, position)
    if not optimizer.coordinatewise:
        return with_initial_state(_one_by_one(optimizer, num)), load
    inner = with_initial_state(optimizer)

    def bind(horizon):
        bound = inner.bind(horizon=horizon)

        def step(gradients, state, x, product):
            flat = [tf.reshape(_rows(nest, num), [-1]) for nest in (gradients, x)]
            update, state = bound.plain_step(flat[0], state, flat[1])
            return _like(gradients, tf.reshape(update, [num, -1])), state

        return Bound(step, initial_state=lambda x: bound.initial_state(tf.reshape(_rows(x, num), [-1])))

    return inner._replace(bind=bind), load


def _one_by_one(optimizer, num):
    """The `Optimizer`, applied to `num` draws in a loop.

    TensorFlow cannot vectorize some ops; the optimizer would then be written out once for each draw, and `plot_updates`
    has 14,400 of them.
    """

    def bind(weights, horizon):
        bound = optimizer.bind(weights, horizon=horizon)

        def step(gradients, state, x, product):
            nests = gradients, state, x
            many = tensors_of(nests)

            def of_one(tensors):
                return bound.plain_step(*with_tensors(nests, tensors))

            first = of_one([tensor[0] for tensor in many])
            dtypes = [tensor.dtype for tensor in tensors_of(first)]
            results = tf.map_fn(lambda tensors: tensors_of(of_one(tensors)), many, dtypes)
            for result, one in zip(results, tensors_of(first)):
                result.set_shape([num, *one.shape])
            return with_tensors(first, results)

        return Bound(step)

    return optimizer._replace(bind=bind, initial_state=None)


def _rows(nest, num):
    """The coordinates of so many draws, `[num, D]`, from a nest of tensors `[num, ...]`."""
    return tf.concat([tf.reshape(tensor, [num, -1]) for tensor in tf.nest.flatten(nest)], axis=1)


def _like(nest, rows):
    """The inverse of `_rows`: a nest like this one. For one draw, from rows `[1, D]`, without the leading axis."""
    flat, num = tf.nest.flatten(nest), rows.shape.as_list()[0]
    pieces = tf.split(rows, [tensor.shape.num_elements() // num for tensor in flat], axis=1)
    return tf.nest.pack_sequence_as(nest, [tf.reshape(one, tensor.shape) for one, tensor in zip(pieces, flat)])


def _state_rows(state, num, x):
    """What is remembered of each coordinate, `[num, D, S]`: the parts of a state that have a place for each."""
    flat = tf.nest.flatten(x)
    coordinates = sum(tensor.shape.num_elements() for tensor in flat) // num
    leading = [[num * coordinates], [num, coordinates]] + [tensor.shape.as_list() for tensor in flat[: len(flat) == 1]]
    parts = [
        tf.reshape(part, [num, coordinates, -1])
        for part in tensors_of(state)
        if part.dtype.is_floating and any(part.shape[: len(shape)].as_list() == shape for shape in leading)
    ]
    return tf.concat(parts or [tf.zeros([num, coordinates, 0])], axis=2)
