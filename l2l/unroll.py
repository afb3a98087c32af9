"""The unroll: `T` base iterations of an optimizer on one draw of a problem.

One `step` serves both loops. The Python loop writes every base iteration into the graph,
as the document does; `tf.while_loop` writes one and repeats it. The first step is taken
outside the loop, so that `state=None` needs no second way to start an optimizer.
"""

import tensorflow as tf

from l2l import _checks


def _paths(x):
    """Names for the tensors of a position in error messages: `x`, or `x[0]`, `x[1]`, ..."""
    return ["x"] if not tf.nest.is_nested(x) else ["x[%d]" % i for i in range(len(tf.nest.flatten(x)))]


def _check_position(x):
    for path, tensor in zip(_paths(x), tf.nest.flatten(x)):
        if not tensor.dtype.is_floating:
            raise TypeError("%s must have a floating-point dtype, got %s" % (path, tensor.dtype.name))


def loss_at(problem, draw, x, batch=None):
    """The problem's loss at `x`: a scalar, or `[batch]` for that many draws at once.

    Raises:
      ValueError: the problem returned something of another shape.
      TypeError: its dtype is not that of `x`.
    """
    loss = _checks.tensor("loss", problem.loss(x, draw))
    if batch is None and not loss.shape.is_compatible_with([]):
        raise ValueError("loss must be a scalar (shape ()), got shape %s" % (loss.shape,))
    if batch is not None and not loss.shape.is_compatible_with([batch]):
        raise ValueError(
            "loss must keep the leading axis of a batch of draws (shape (%d,)), so reduce with axis=-1, got shape %s"
            % (batch, loss.shape)
        )
    dtype = tf.nest.flatten(x)[0].dtype
    if loss.dtype != dtype:
        raise TypeError("loss must have the dtype of x, %s, got %s" % (dtype.name, loss.dtype.name))
    return loss


def step(problem, draw, optimizer, x, state, second_derivatives=True, batch=None):
    """One base iteration: the loss at `x`, its gradient, the optimizer's update, the next position.

    Args:
      problem, draw: a `Problem` and one draw of it.
      optimizer: a function `(gradients, state) -> (update, state)`.
      x: the position, a tensor or a nest of tensors.
      state: what the optimizer returned at the step before; None at the first.
      second_derivatives: False cuts the path from the gradients back to `x`.
      batch: None for one draw, or how many draws there are at once.

    Returns:
      `(loss at x, next x, next state)`.

    Raises:
      ValueError: the loss is not a scalar or does not depend on all of `x`, or the optimizer's
        update has another structure, shape or dtype than `x`.
      TypeError: the loss has another dtype than `x`, or the optimizer did not return a pair.
    """
    loss = loss_at(problem, draw, x, batch)
    flat = tf.nest.flatten(x)
    gradients = tf.gradients(loss, flat)
    for path, gradient in zip(_paths(x), gradients):
        if gradient is None:
            raise ValueError("loss must depend on every tensor of x, it does not depend on %s" % path)
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # a tf.gather leaves indexed slices
    if not second_derivatives:
        gradients = [tf.stop_gradient(gradient) for gradient in gradients]
    pair = optimizer(tf.nest.pack_sequence_as(x, gradients), state)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError("optimizer must return a pair (update, state), got %r" % (pair,))
    update, state = pair
    _check_update(x, update)
    return loss, tf.nest.map_structure(tf.add, x, update), state


def _check_update(x, update):
    try:
        tf.nest.assert_same_structure(x, update)
    except (TypeError, ValueError):
        raise ValueError("optimizer's update must have the structure of x, %r, got %r" % (x, update)) from None
    pairs = zip(_paths(x), tf.nest.flatten(x), tf.nest.flatten(update))
    for path, position, change in pairs:
        change = _checks.tensor("optimizer's update", change)
        if change.dtype != position.dtype or not change.shape.is_compatible_with(position.shape):
            raise ValueError(
                "optimizer's update must have shape %s and dtype %s as %s, got shape %s and dtype %s"
                % (position.shape, position.dtype.name, path, change.shape, change.dtype.name)
            )


def learn(problem, draw, optimizer, steps=20, loop="python", second_derivatives=True, batch=None):
    """The losses of an optimizer on one draw of a problem.

    `losses[t] = f(x_t)` for `t = 0 .. T-1`, recorded before update `t`: the first is the loss
    of the start, the last has seen `T - 1` updates.

    Args:
      problem: a `Problem`.
      draw: one draw of it, as from `problem.draw()`.
      optimizer: a function `(gradients, state) -> (update, state)`; `state` is None at the
        first step and afterwards what the function returned, a nest of tensors (or of None).
      steps: `T`, a positive integer.
      loop: "python" (every step is in the graph) or "while" (`tf.while_loop`).
      second_derivatives: False stops derivatives of the losses from flowing through the
        gradients that the optimizer saw, as arXiv 1606.04474 does; Episode 1 keeps them.
      batch: None for one draw; or `B`, and every tensor of `draw` has a leading axis of that
        length, as from `problem.sample(B)`. The optimizer then sees gradients with that axis,
        which a coordinate-wise one need not know.

    Returns:
      A tensor `[T]`, or `[T, B]`.

    Raises:
      TypeError: `steps` is not an integer, `optimizer` is not callable or returns no pair, the
        position is not floating point, or the loss has another dtype.
      ValueError: `steps < 1`, an unknown loop, a loss that is not a scalar or ignores a part of
        the position, an update of another structure, shape or dtype than the position, or,
        with "while", a state whose structure, shapes or dtypes change after the first step.
    """
    steps = _checks.positive_integer("steps", steps)
    unrolled = LOOPS[_checks.one_of("loop", loop, LOOPS)]
    _checks.problem("problem", problem)
    _checks.function("optimizer", optimizer)
    x = tf.nest.map_structure(tf.convert_to_tensor, problem.initial_position(draw))
    _check_position(x)

    def one_step(x, state):
        return step(problem, draw, optimizer, x, state, second_derivatives, batch)

    losses = []
    if steps > 1:
        first_loss, x, state = one_step(x, None)
        losses = [[first_loss]]
    if steps > 2:
        middle, x = unrolled(one_step, x, state, steps - 2)
        losses.append(middle)
    losses = tf.concat([*losses, [loss_at(problem, draw, x, batch)]], axis=0)
    losses.set_shape([steps] if batch is None else [steps, batch])
    return losses


def _python_loop(one_step, x, state, repeats):
    """`repeats` steps in a row: their losses `[repeats]` or `[repeats, B]`, and the last position."""
    losses = []
    for _ in range(repeats):
        loss, x, state = one_step(x, state)
        losses.append(loss)
    return tf.stack(losses), x


def _while_loop(one_step, x, state, repeats):
    """The same as `_python_loop`, with one step in the graph."""
    # Only tensors can go round the loop. An optimizer without memory returns None.
    is_tensor = [leaf is not None for leaf in tf.nest.flatten(state)]

    def tensors_of(nest):
        return [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(nest) if leaf is not None]

    def state_from(tensors):
        tensors = iter(tensors)
        leaves = [next(tensors) if known else None for known in is_tensor]
        return tf.nest.pack_sequence_as(state, leaves)

    def body(t, losses, x, tensors):
        loss, x, next_state = one_step(x, state_from(tensors))
        _check_same_state(state_from(tensors), next_state)
        return t + 1, losses.write(t, loss), x, tensors_of(next_state)

    dtype = tf.nest.flatten(x)[0].dtype
    losses = tf.TensorArray(dtype, size=repeats)
    _, losses, x, _ = tf.while_loop(
        lambda t, *_: t < repeats,
        body,
        (tf.constant(0), losses, x, tensors_of(state)),
        maximum_iterations=repeats,
    )
    return losses.stack(), x


def _check_same_state(state, next_state):
    """Structure, shapes and dtypes must not change from the second step on, or the graph has no place for them."""

    def description(leaf):
        return (
            None if leaf is None else (leaf.dtype.name, leaf.shape.as_list() if leaf.shape.ndims is not None else None)
        )

    try:
        tf.nest.assert_same_structure(state, next_state)
        leaves = [None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(next_state)]
        same = list(map(description, tf.nest.flatten(state))) == list(map(description, leaves))
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            "optimizer's state must keep its structure, shapes and dtypes from step to step with loop='while', "
            "got %r after %r" % (next_state, state)
        )


LOOPS = {"python": _python_loop, "while": _while_loop}
