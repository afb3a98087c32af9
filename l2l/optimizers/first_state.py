"""The state before the first step, which a loop needs to begin an unroll or to continue one."""

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.optimizer import Bound, check_pair
from l2l.tracebacks import Unquoted


def check_same_state(state, next_state):
    """Checks that a state keeps its structure, shapes and dtypes from the second step on, as a loop requires.

    Raises:
      ValueError: they change.
    """

    def description(leaf):
        return (
            None if leaf is None else (leaf.dtype.name, leaf.shape.as_list() if leaf.shape.ndims is not None else None)
        )

    try:
        tf.nest.assert_same_structure(state, next_state)
        leaves = [None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(next_state)]
        before = [None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(state)]
        same = list(map(description, before)) == list(map(description, leaves))
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            "optimizer's state must keep its structure, shapes and dtypes from step to step in a loop, "
            "it changed from %s to %s" % (shown(state), shown(next_state))
        )


def shown(state):
    """Returns a state as a text, with the dtypes and shapes of its tensors, such as "[float32 (2,), None]"."""

    def leaf(one):
        is_array = isinstance(one, (tf.Tensor, tf.Variable, np.ndarray))
        return Unquoted("%s %s" % (one.dtype.name, one.shape) if is_array else repr(one))

    try:
        return str(tf.nest.map_structure(leaf, state))
    except (TypeError, ValueError):  # TensorFlow takes no such nest
        return repr(state)


def with_initial_state(optimizer, rows=False):
    """Returns the `Optimizer` with an `initial_state`, so that a loop can begin an unroll or continue one.

    An optimizer without an `initial_state` gets a state with a flag that is True before its first step. Each step
    computes both branches, and the flag selects one, because XLA cannot differentiate `tf.cond`. The unused branch must
    stay finite, or its NaN leaks into the gradient. So it starts from the state after a step with gradients of 1.
    If only the `Bound` has an `initial_state`, the flag goes along and selects nothing.

    With `rows`, for gradients `[N]` and states `[N, ...]`, each coordinate has its own flag: 1, and then 0.
    """
    if optimizer.initial_state is not None:
        return optimizer

    def picked(is_first, one, other):
        return tf.where(is_first > 0 if rows else tf.broadcast_to(is_first, tf.shape(one)), one, other)

    def flag(x):
        return tf.nest.map_structure(tf.ones_like, x) if rows else tf.constant(True)

    def bind(weights=None, **settings):
        bound = optimizer.bind(weights, **settings)
        if bound.initial_state is not None:

            def own_step(gradients, state, *more):
                update, own = bound.step(gradients, state[1], *more)
                return update, (tf.zeros_like(state[0]), own)

            return bound._replace(step=own_step, initial_state=lambda x: (flag(x), bound.initial_state(x)))

        def step(gradients, state, x, product):
            is_first, own = state
            first, later = bound.plain_step(gradients, None, x), bound.plain_step(gradients, own, x)
            check_pair(first)
            check_same_state(first[1], later[1])
            both = zip(tensors_of(first), tensors_of(later))
            update, own = with_tensors(first, [picked(is_first, *pair) for pair in both])
            return update, (tf.zeros_like(is_first), own)

        def initial_state(x):
            ones = tf.nest.map_structure(tf.ones_like, x)
            pair = bound.plain_step(ones, None, x)
            check_pair(pair)
            _, state = pair
            return flag(x), with_tensors(state, tensors_of(state))

        return Bound(step, initial_state=initial_state)

    return optimizer._replace(
        bind=bind,
        initial_state=lambda x: bind().initial_state(x),
        adapt=lambda gradients, state, active=None: optimizer.adapt(gradients, state[1], active),
    )
