"""An optimizer for many draws at once, which do not see each other."""

import functools
import warnings

import tensorflow.compat.v1 as tf
from tensorflow.python.framework.func_graph import func_graph_from_py_func

from l2l.mapping import OverDraws
from l2l.nests import tensors_of
from l2l.optimizers.optimizer import Bound


def for_batch(optimizer, batch):
    """The `Optimizer` for gradients with a leading axis of draws; with `batch=None`, for one draw, it is itself.

    One that sees batches is told how many draws there are. Any other is mapped over the draws.
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
        # Within XLA this is a function. TensorFlow cannot differentiate a call of one that reads variables, where
        # nothing in it depends on anything, as zeros do: so something does.
        return lambda x: over_draws(lambda one: (initial_state(one), tf.reduce_sum(tensors_of(one)[0])), x)[0]

    def adapt(gradients, state, active=None):
        values = over_draws(optimizer.adapt, gradients, state, active)
        return [tf.reduce_mean(many, axis=0) for many in values]

    return optimizer._replace(
        bind=bind, initial_state=mapped_initial_state(optimizer.initial_state), adapt=adapt, sees_batches=True
    )


def is_vectorized(optimizer, x, horizon):
    """Whether an `Optimizer` sees many draws at once, so that `for_batch` need not write out each.

    A draw's position is like `x`; `horizon` is how many base iterations are planned.
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
        warnings.simplefilter("ignore")  # it is said where the optimizer is used
        func_graph_from_py_func("two_steps", two_steps, (), {})
    return not over_draws.draw_by_draw
