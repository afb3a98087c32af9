"""The meta-gradient: losses of a segment, their meta-loss, and its gradient with respect to the learned weights.

A *segment* is the `T` base iterations that one meta-gradient sees. A draw may live longer than one segment. Then the
next segment starts from the position and state of the last, and no gradient flows between them (truncated
backpropagation through time).
"""

from __future__ import annotations

from collections import namedtuple
from typing import Optional, Sequence, Union

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.learning.backward import TurnsInReverse, check_follows_training
from l2l.learning.meta_losses import check_depends_on_losses, floored_log, meta_loss_of
from l2l.learning.unrolling import base_iteration, gradients_of
from l2l.mapping import first_line
from l2l.nests import is_finite, tensors_of, with_tensors
from l2l.optimizers.optimizer import opened
from l2l.optimizers.over_draws import for_batch
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import Problem
from l2l.quiet import quietly
from l2l.tracebacks import short_traceback
from l2l.types import MetaLoss, Nest, OptimizerFunction, State

MetaGradient = namedtuple(
    "MetaGradient",
    [
        "losses",  # [T], or [T, B] for a batch of draws
        "meta_loss",  # scalar: the mean over the batch
        "last_loss",  # scalar, the last loss; for a batch `exp(mean(log(loss)))`, or the mean if one is negative
        "gradients",  # of the meta-loss, one for each variable; zeros if it does not depend on that variable
        "x",  # position after `T` updates, for the next segment; None unless `carry_on`
        "state",  # the optimizer's state after `T` updates; None unless `carry_on`
        "adapted",  # the next values of the optimizer's `adapted` variables, a list
    ],
)


@short_traceback
@quietly()
def meta_gradient(
    problem: Problem,
    draw: Nest,
    optimizer: OptimizerFunction,
    variables: Sequence[tf.Variable],
    *,
    meta_loss: MetaLoss = "sum",
    unroll_length: int = 20,
    x: Optional[Nest] = None,
    state: State = None,
    first: Union[int, tf.Tensor] = 0,
    carry_on: bool = False,
    second_derivatives: bool = True,
    loop: str = "python",
    batch: Optional[int] = None,
    horizon: Optional[int] = None,
) -> MetaGradient:
    """Builds the meta-gradient of one segment.

    It is a pure function of variables, draw, position and state:

        optimizer = l2l.CoordinatewiseLSTM()
        variables = tf.trainable_variables()
        meta = l2l.meta_gradient(problem, problem.draw(), optimizer, variables, unroll_length=20)

    Args:
      problem: a `Problem`.
      draw: one draw of the problem, as from `problem.draw()`.
      optimizer: the learned optimizer, `(gradients, state) -> (update, state)`.
      variables: list of the variables to train.
      meta_loss: a name in `META_LOSSES`, or a function of the losses `[T]` of one draw that returns a scalar.
      unroll_length: `T`, how many losses the segment has, a positive integer. The last has seen `T - 1` updates.
      x, state, first: where the segment starts, as for `unroll`. No gradient flows into a given `x` or `state`.
      carry_on: whether to make update number `T` too, for a next segment.
      second_derivatives, batch, horizon: as for `unroll`.
      loop: "python" puts every step into the graph, and `tf.gradients` differentiates it. "while" puts one step into
        the graph, as a loop with a custom backward pass. Call it inside a function of the graph (`defun`).

    Returns:
      A `MetaGradient`.

    Raises:
      TypeError, ValueError: as `unroll`. Also if the meta-loss is unknown, is not a scalar, or depends on none of the
        variables or on no loss that has seen an update.
      ValueError: an op of the loss has no second derivative although `second_derivatives` is True, or an op of the
        optimizer has no gradient.
    """
    checks.problem("problem", problem)
    unroll_length = checks.positive_integer("unroll_length", unroll_length)
    checks.one_of("loop", loop, ["python", "while"])
    checks.boolean("second_derivatives", second_derivatives)
    batch = None if batch is None else checks.positive_integer("batch", batch)
    return segment_gradient(
        BoundProblem(problem, draw, batch),
        for_batch(opened("optimizer", optimizer), batch),
        variables,
        meta_loss,
        unroll_length,
        x=x,
        state=state,
        first=first,
        carry_on=carry_on,
        second_derivatives=second_derivatives,
        loop=loop,
        horizon=None if horizon is None else checks.positive_integer("horizon", horizon),
    )


def segment_gradient(
    problem, optimizer, variables, meta_loss, steps, *, x, state, first, carry_on, second_derivatives, loop, horizon
):
    """Does the same with a `BoundProblem` and its batch's `Optimizer`; other arguments are checked ones."""
    given = tensors_of((x, state))
    x = problem.start() if x is None else _without_gradient(x)
    active, bound, first = problem.active(), optimizer.bind(horizon=horizon), tf.convert_to_tensor(first)
    if state is not None:
        state = _without_gradient(state)
    elif bound.initial_state is not None:
        state = bound.initial_state(x)

    def turn(x, state, t, product):
        def step(gradients, state, x):
            return bound.step(gradients, state, x, product)

        return base_iteration(problem.loss, step, x, state, t, second_derivatives, active=active)

    def plain(i, inputs):
        return tf.matmul(inputs, bound.kernels[i])

    early, by_loop, forward = [], None, None
    turns = steps - 1  # the last loss is computed outside of the loop
    with tf.name_scope("segment"):
        in_loop = max(0, turns - (state is None)) if loop == "while" else 0
        for i in range(turns - in_loop):
            value, x, state = turn(x, state, first + i, plain)
            early.append(value)
        losses = [tf.stack(early)] if early else []
        if in_loop:
            by_loop = TurnsInReverse(turn, bound.kernels, x, state, first + len(early), in_loop, variables)
            forward = by_loop.forward()
            losses, x, state = [*losses, forward.losses], forward.x, forward.state
        last = problem.loss(x, first + steps - 1)
        end_gradients = gradients_of(last, x)
        adapted = optimizer.adapt(end_gradients, state, active) if optimizer.adapted else []
        next_x, next_state = None, None
        if carry_on:
            _, next_x, next_state = turn(x, state, first + steps - 1, plain)
        losses = tf.concat([*losses, last[tf.newaxis]], axis=0)
        losses.set_shape([steps, *last.shape])  # a loop forgets the shape, and a meta-loss may need it
    value = meta_loss_of(meta_loss, losses, problem.batch)
    if steps > 1:  # the check below covers a single loss
        check_depends_on_losses(meta_loss, value, losses, steps)
    with tf.name_scope("meta_gradient"):
        try:
            if by_loop is None:
                gradients = tf.gradients(value, variables)
            else:
                gradients = _through_loop(by_loop, forward, losses, early, x, value, variables)
        except (LookupError, TypeError) as error:
            if isinstance(error, TypeError) and "Second-order" not in str(error):  # a while loop in the loss says that
                raise
            raise ValueError(
                "second_derivatives must be False for a loss with an op that has none, or for an optimizer with an op "
                "that has no gradient: %s" % first_line(error)
            ) from error
        if not any(gradient is not None for gradient in gradients):
            raise ValueError(
                "meta_loss must depend on the optimizer's variables, it depends on none "
                "(with unroll_length=%r the losses have seen %d updates)" % (steps, steps - 1)
            )
        gradients = [_dense(*pair) for pair in zip(gradients, variables)]
    if loop == "while":
        check_follows_training(variables, given)
    return MetaGradient(losses, value, last_loss(last, problem.batch), gradients, next_x, next_state, adapted)


def _through_loop(by_loop, forward, losses, early, x, value, variables):
    """Computes the gradients of the meta-loss `value` with respect to the variables, through the loop and around it.

    `early` are the losses before the loop. The last loss is a function of `x`, the position after the loop.
    """
    (of_losses,) = tf.gradients(value, losses)
    # A tf.gather leaves indexed slices, which no loop can carry.
    of_losses = tf.convert_to_tensor(of_losses)
    number = len(early)
    of_x = tf.gradients(losses, tf.nest.flatten(x), grad_ys=of_losses)
    of_x = [tf.convert_to_tensor(one) for one in of_x]
    tensors, of_tensors, of_variables = by_loop.backward(forward, of_losses[number:-1], of_x)
    of_early = [of_losses[i] for i in range(number)]
    # The meta-loss too: it may depend on the variables directly.
    outside = tf.gradients(
        [*tensors, *early, value],
        variables,
        grad_ys=[*of_tensors, *of_early, tf.ones_like(value)],
        stop_gradients=[losses],
    )
    return [
        one if other is None else other if one is None else tf.convert_to_tensor(one) + other
        for one, other in zip(outside, of_variables)
    ]


def _without_gradient(nest):
    return with_tensors(nest, [tf.stop_gradient(tensor) for tensor in tensors_of(nest)])


def last_loss(losses, batch):
    """Returns the last loss of a segment; for a batch `exp(mean(log(loss)))`, or the mean if one is negative."""
    if batch is None:
        return losses
    mean = tf.reduce_mean(floored_log(tf.abs(losses)))
    # Compiled with fast math, the exponential of a NaN is 0.
    of_logs = tf.where(is_finite(mean), tf.exp(mean), mean)
    return tf.where(tf.reduce_any(losses < 0), tf.reduce_mean(losses), of_logs)


def _dense(gradient, variable):
    return tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
