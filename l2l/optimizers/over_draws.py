"""An optimizer for many draws at once, independent of each other."""

import functools
import warnings

import tensorflow.compat.v1 as tf
from tensorflow.python.framework.func_graph import func_graph_from_py_func

from l2l.mapping import OverDraws
from l2l.nests import tensors_of
from l2l.optimizers.optimizer import Bound


def for_batch(optimizer, batch):
    """Returns the `Optimizer` for gradients with a leading axis of draws; with `batch=None`, for one draw, unchanged.

    An optimizer that sees batches is told the number of draws. Any other optimizer is mapped over the draws.
    """
    if batch is None:
        return optimizer
    if optimizer.sees_batches:
        return optimizer._replace(bind=functools.partial(optimizer.bind, batch=batch))
    over_draws = OverDraws("optimizer")

    def bind(weights=None, **settings):
        bound = optimizer.bind(weights, **settings)

        def step(gradients, state, x, product):
            if state is None:
                return over_draws(lambda one, position: bound.plain_step(one, None, position), gradients, x)
            return over_draws(bound.plain_step, gradients, state, x)

        return Bound(step, initial_state=mapped_initial_state(bound.initial_state))

    def mapped_initial_state(initial_state):
        if initial_state is None:
            return None
        # Inside XLA this becomes a function. If it reads variables, TensorFlow can differentiate its call only if some
        # output depends on an input. Zeros do not, so a sum of the input is returned with them.
        return lambda x: over_draws(lambda one: (initial_state(one), tf.reduce_sum(tensors_of(one)[0])), x)[0]

    def adapt(gradients, state, active=None):
        values = over_draws(optimizer.adapt, gradients, state, active)
        return [tf.reduce_mean(many, axis=0) for many in values]

    return optimizer._replace(
        bind=bind, initial_state=mapped_initial_state(optimizer.initial_state), adapt=adapt, sees_batches=True
    )


def is_vectorized(optimizer, x, horizon):
    """Tells whether an `Optimizer` handles many draws at once, so that `for_batch` need not write out each draw.

    Args:
      optimizer: an `Optimizer`.
      x: a position like that of one draw.
      horizon: how many base iterations are planned.
    """
    if optimizer.sees_batches:
        return True
    over_draws = OverDraws("optimizer")
    many = tf.nest.map_structure(lambda one: tf.stack([one, one]), x)

    def two_steps():
        bound = optimizer.bind(horizon=horizon)
        _, state = over_draws(lambda one: bound.plain_step(one, None, one), many)
        return tensors_of(over_draws(bound.plain_step, many, state, many))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning comes when the optimizer is used
        func_graph_from_py_func("two_steps", two_steps, (), {})
    return not over_draws.draw_by_draw
