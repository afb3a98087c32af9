"""The unroll: `T` base iterations of an optimizer on one draw of a problem.

One `base_iteration` serves both loops. The Python loop writes every base iteration into the graph, as
the original notebook does. `tf.while_loop` writes one and repeats it. An unroll ends with a position and
a state, and the next unroll can continue from them.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Optional, Union

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_state import check_same_state
from l2l.optimizers.optimizer import check_pair, opened
from l2l.optimizers.over_draws import for_batch
from l2l.problems.binding import BoundProblem, not_differentiable, paths
from l2l.problems.problem import Problem
from l2l.quiet import quietly
from l2l.tracebacks import short_traceback
from l2l.types import Nest, OptimizerFunction, State

Unroll = namedtuple(
    "Unroll",
    [
        "losses",  # [T], or [T, B] for a batch of draws: `losses[t] = f(x_t)`, before update `t`
        "x",  # position after the `T` updates
        "state",  # the optimizer's state after the `T` updates
    ],
)


def base_iteration(loss, step, x, state, t, second_derivatives=True, *, active=None):
    """Runs one base iteration: loss, gradient, the optimizer's update, next position.

    Args:
      loss: a function of `(x, t)` that returns a scalar, or `[B]` for a batch, such as `BoundProblem.loss`.
      step: the optimizer, `(gradients, state, x) -> (update, state)`.
      x: the position, a tensor or a nest of tensors.
      state: what the optimizer returned at the previous step; None at the first step.
      t: the number of this base iteration, a scalar int32 tensor.
      second_derivatives: False cuts the path from the gradients back to `x`.
      active: which tensors of `x` move, from `BoundProblem.active`; None for all.

    Returns:
      `(loss at x, next x, next state)`.

    Raises:
      ValueError: the loss does not depend on all of `x`, or the optimizer's update has another structure,
        shape or dtype than `x`.
      TypeError: the optimizer did not return a pair.
    """
    with tf.name_scope("base_iteration"):
        value = loss(x, t)
        gradients = gradients_of(value, x)
        if not second_derivatives:
            gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
        with tf.name_scope("optimizer"):
            pair = step(gradients, state, x)
        check_pair(pair)
        update, state = pair
        _check_update(x, update)
        moved = tf.nest.map_structure(tf.add, x, update)
        return value, moved if active is None else tf.nest.map_structure(tf.where, active, moved, x), state


def gradients_of(loss, x):
    """Computes the gradients of a loss (for a batch, of the sum of the losses), a nest like `x`.

    Raises:
      ValueError: the loss does not depend on all of `x`, or has an op without a gradient.
    """
    with tf.name_scope("gradient"):
        try:
            gradients = tf.gradients(loss, tf.nest.flatten(x))
        except LookupError as error:
            raise not_differentiable(error) from error
        for path, gradient in zip(paths(x), gradients):
            if gradient is None:
                raise ValueError("loss must depend on every tensor of x, it does not depend on %s" % path)
        # A tf.gather leaves indexed slices.
        return tf.nest.pack_sequence_as(x, [tf.convert_to_tensor(gradient) for gradient in gradients])


def _check_update(x, update):
    try:
        tf.nest.assert_same_structure(x, update)
    except (TypeError, ValueError):
        raise ValueError("optimizer's update must have the structure of x, %r, got %r" % (x, update)) from None
    pairs = zip(paths(x), tf.nest.flatten(x), tf.nest.flatten(update))
    for path, position, change in pairs:
        change = checks.tensor("optimizer's update", change)
        if change.dtype != position.dtype or not change.shape.is_compatible_with(position.shape):
            raise ValueError(
                "optimizer's update must have shape %s and dtype %s as %s, got shape %s and dtype %s"
                % (position.shape, position.dtype.name, path, change.shape, change.dtype.name)
            )


@short_traceback
@quietly()
def unroll(
    problem: Problem,
    draw: Nest,
    optimizer: OptimizerFunction,
    *,
    x: Optional[Nest] = None,
    state: State = None,
    steps: int = 20,
    first: Union[int, tf.Tensor] = 0,
    loop: str = "python",
    second_derivatives: bool = True,
    batch: Optional[int] = None,
    most: Optional[tf.Tensor] = None,
    horizon: Optional[int] = None,
) -> Unroll:
    """Unrolls `T` base iterations of an optimizer; the result can be continued.

    These two unrolls run the same 40 base iterations as `l2l.unroll(problem, draw, optimizer, steps=40)`:

        start = l2l.unroll(problem, draw, optimizer, steps=20)
        more = l2l.unroll(problem, draw, optimizer, x=start.x, state=start.state, steps=20, first=20)

    Args:
      problem: a `Problem`.
      draw: one draw of the problem, as from `problem.draw()`.
      optimizer: a function `(gradients, state) -> (update, state)`. `state` is None at the first step; afterwards it
        is what the function returned, a nest of tensors (or None). A function with a parameter named `x` also gets
        the position.
      x: the position to start from; None for the problem's `initial_position`.
      state: the optimizer's state at `x`; None for a first step.
      steps: `T`, a positive integer.
      first: the number of the first base iteration in the draw's life, an int or a scalar int32 tensor.
      loop: "python" (the graph holds every step) or "while" (`tf.while_loop`).
      second_derivatives: False stops derivatives of the losses from flowing through the gradients that the optimizer
        saw, as in arXiv 1606.04474. Episode 1 keeps them.
      batch: None for one draw, or the number of draws, along a leading axis `B` of all tensors of `draw` and `x`. An
        optimizer that is not coordinate-wise is mapped over the draws.
      most: a scalar int32 tensor that limits the base iterations; losses after it are 0. None for no limit. It needs
        loop="while", and a `state` or an optimizer with an `initial_state`.
      horizon: how many base iterations are planned in total, for optimizers that ask; None if unknown.

    Returns:
      An `Unroll`.

    Raises:
      TypeError, ValueError: an argument is out of range, or the problem or the optimizer breaks its contract; the
        message says how. With loop="while", also a state whose structure, shapes or dtypes change from the second
        step on.
    """
    steps = checks.positive_integer("steps", steps)
    bound, optimizer = _checked(problem, draw, optimizer, loop, second_derivatives, batch)
    horizon = None if horizon is None else checks.positive_integer("horizon", horizon)
    x = bound.start() if x is None else tf.nest.map_structure(tf.identity, x)
    return unroll_bound(bound, optimizer, x, state, steps, first, loop, second_derivatives, most, horizon)


@short_traceback
@quietly()
def learn(
    problem: Problem,
    draw: Nest,
    optimizer: OptimizerFunction,
    *,
    steps: int = 20,
    loop: str = "python",
    second_derivatives: bool = True,
    batch: Optional[int] = None,
) -> tf.Tensor:
    """Computes the losses of an optimizer on one draw of a problem, from its start.

        problem = l2l.Quadratic()
        losses = l2l.learn(problem, problem.draw(), l2l.sgd(0.1), steps=20)

    `losses[t] = f(x_t)` for `t = 0 .. T-1`, recorded before update `t`. The first is the loss of the start. The last
    has seen `T - 1` updates.

    Args:
      problem, draw, optimizer, steps, loop, second_derivatives, batch: as for `unroll`.

    Returns:
      A tensor `[T]` of the dtype of the loss; `[T, B]` for a batch.

    Raises:
      TypeError, ValueError: as `unroll`.
    """
    steps = checks.positive_integer("steps", steps)
    bound, optimizer = _checked(problem, draw, optimizer, loop, second_derivatives, batch)
    x = bound.start()
    if steps == 1:
        only = bound.loss(x, tf.constant(0))
        gradients_of(only, x)  # for its checks
        return only[tf.newaxis]
    done = unroll_bound(bound, optimizer, x, None, steps - 1, 0, loop, second_derivatives, horizon=steps)
    return tf.concat([done.losses, bound.loss(done.x, tf.constant(steps - 1))[tf.newaxis]], axis=0)


def _checked(problem, draw, optimizer, loop, second_derivatives, batch):
    """Checks the arguments of an unroll; returns the problem bound to the draw, and the batch's `Optimizer`."""
    checks.problem("problem", problem)
    optimizer = opened("optimizer", optimizer)
    checks.one_of("loop", loop, _LOOPS)
    checks.boolean("second_derivatives", second_derivatives)
    if batch is not None:
        batch = checks.positive_integer("batch", batch)
    return BoundProblem(problem, draw, batch), for_batch(optimizer, batch)


def unroll_bound(
    problem, optimizer, x, state, steps, first=0, loop="python", second_derivatives=True, most=None, horizon=None
):
    """Unrolls a `BoundProblem` and an `Optimizer` for its batch from a position; the rest is as for `unroll`."""
    active, first = problem.active(), tf.convert_to_tensor(first)
    with tf.name_scope("unroll"):
        bound = optimizer.bind(horizon=horizon)

        def one(x, state, t):
            return base_iteration(problem.loss, bound.plain_step, x, state, t, second_derivatives, active=active)

        if state is None and bound.initial_state is not None:
            state = bound.initial_state(x)
        return _LOOPS[loop](one, x, state, steps, first, most)


def _python_loop(one, x, state, steps, first, most):
    if most is not None:
        raise ValueError("most must be None with loop='python', got %r" % (most,))
    losses = []
    for i in range(steps):
        loss, x, state = one(x, state, first + i)
        losses.append(loss)
    return Unroll(tf.stack(losses), x, state)


def _while_loop(one, x, state, steps, first, most):
    """The same as `_python_loop` with one step in the graph, or two if `state=None` needs a separate first step."""
    start = []
    if state is None:
        if most is not None:
            raise ValueError("most must be None where the first step is one of its own, got %r" % (most,))
        loss, x, state = one(x, state, first)
        start, first, steps = [loss[tf.newaxis]], first + 1, steps - 1
    if not steps:
        return Unroll(start[0], x, state)

    def body(i, losses, x, tensors):
        before = with_tensors(state, tensors)
        loss, x, after = one(x, before, first + i)
        check_same_state(before, after)
        one_loss.append(loss)
        return i + 1, losses.write(i, loss), x, tensors_of(after)

    one_loss = []
    losses = tf.TensorArray(tf.nest.flatten(x)[0].dtype, size=steps)
    _, losses, x, tensors = tf.while_loop(
        lambda i, *_: i < (steps if most is None else most),
        body,
        (tf.constant(0), losses, x, tensors_of(state)),
        maximum_iterations=steps,
    )
    losses = tf.concat([*start, losses.stack()], axis=0)
    losses.set_shape([steps + len(start), *one_loss[0].shape])
    return Unroll(losses, x, with_tensors(state, tensors))


_LOOPS = {"python": _python_loop, "while": _while_loop}
