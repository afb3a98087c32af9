"""The contract of an optimizer, and what a learned one may say beyond it.

An optimizer is a function `(gradients, state) -> (update, state)`; `state` is None at the first step. State
is what changes from step to step and nothing else. That is all that a rule someone wrote down needs.

A learned optimizer has the same contract, and variables, which it creates when it is built or at its first call (see
`first_call`). It may also define

    initial_state(x)   its state before the first step at a position like `x`; without it the first step
                       is a step of its own in every graph, with `state=None`
    bind()             a `Bound`: what is computed once an unroll is computed there
    adapt(gradients, state)
                       new values of its `adapted` variables, which no gradient trains, once a meta-iteration;
                       from a batch, the mean over the draws, unless it is coordinate-wise and sees all at once;
                       a third parameter named `active` gets which tensors of the position are not idle, see
                       `Problem.active`, or None for all
    coordinatewise     True where each coordinate is treated on its own, so that many draws can be one batch;
                       the library maps every other optimizer over the draws
    description()      what it is, in JSON types, for files and records
"""

import inspect
import warnings
from collections import namedtuple

import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import defun

from l2l.mapping import OverDraws
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers import rules

Bound = namedtuple(
    "Bound",
    [
        "step",  # function `(gradients, state, product) -> (update, state)`
        "kernels",  # matrices, of which a step uses each once: `product(i, inputs)` is `inputs @ kernels[i]`
    ],
)


def check_optimizer(name, value):
    """Returns `value`; `TypeError` unless it can be called with gradients and a state."""
    if not callable(value):
        raise TypeError(
            "%s must be an optimizer, a function (gradients, state) -> (update, state), got %r" % (name, value)
        )
    if isinstance(value, type) or getattr(rules, getattr(value, "__name__", ""), None) is value:
        raise TypeError("%s must be an optimizer, not what makes one: call it first, got %r" % (name, value))
    try:
        inspect.signature(value).bind(None, None)
    except TypeError:
        raise TypeError("%s must take two arguments, gradients and state, got %r" % (name, value)) from None
    except ValueError:  # some built-in functions have no signature
        pass
    return value


def bind(optimizer):
    """The optimizer for one unroll, a `Bound`. One that does not bind has no kernels."""
    if hasattr(optimizer, "bind"):
        return optimizer.bind()
    return Bound(lambda gradients, state, product: optimizer(gradients, state), [])


def plain_product(bound):
    """The `product` of a bound optimizer's steps, without anything else."""
    return lambda i, inputs: tf.matmul(inputs, bound.kernels[i])


def adapt(optimizer, gradients, state, active=None):
    """The next values of what an optimizer adapts, a list; idle tensors are told to one that asks for `active`."""
    if active is None or "active" not in inspect.signature(optimizer.adapt).parameters:
        return optimizer.adapt(gradients, state)
    return optimizer.adapt(gradients, state, active)


def initial_state(optimizer, x):
    """The state before the first step at a position like `x`, or None where the optimizer does not say."""
    return optimizer.initial_state(x) if hasattr(optimizer, "initial_state") else None


def for_batch(optimizer, batch):
    """The optimizer for gradients with a leading axis of draws, which do not see each other.

    A coordinate-wise one is that already; any other is mapped over the draws. With `batch=None`, for one draw,
    it is the optimizer itself.
    """
    if batch is None or getattr(optimizer, "coordinatewise", False):
        return optimizer

    over_draws = OverDraws("optimizer")

    def over_all(gradients, state):
        if state is None:
            return over_draws(lambda one: optimizer(one, None), gradients)
        return over_draws(optimizer, gradients, state)

    def initial_state_and_sum(x):
        # Within XLA this is a function. TensorFlow cannot differentiate a call of one that reads variables, where
        # nothing in it depends on anything, as zeros do: so something does.
        return optimizer.initial_state(x), tf.reduce_sum(tensors_of(x)[0])

    if hasattr(optimizer, "initial_state"):
        over_all.initial_state = lambda x: over_draws(initial_state_and_sum, x)[0]
    if hasattr(optimizer, "adapt"):
        over_all.adapted = optimizer.adapted
        over_all.adapt = lambda gradients, state, active=None: [
            tf.reduce_mean(values, axis=0)
            for values in over_draws(lambda *one: adapt(optimizer, *one), gradients, state, active)
        ]
    over_all.coordinatewise = True
    return over_all


def is_vectorized(optimizer, x):
    """Whether the optimizer, for positions like `x`, sees many draws at once: `for_batch` need not write out each."""
    if getattr(optimizer, "coordinatewise", False):
        return True
    over_draws = OverDraws("optimizer")
    gradients = tf.nest.map_structure(lambda one: tf.stack([one, one]), x)

    def two_steps():
        _, state = over_draws(lambda one: optimizer(one, None), gradients)
        return tensors_of(over_draws(optimizer, gradients, state))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said where the optimizer is used
        defun(two_steps, autograph=False).get_concrete_function()
    return not over_draws.draw_by_draw


def check_pair(result):
    """Raises `TypeError` where what an optimizer returned is no pair of update and state."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError("optimizer must return a pair (update, state), got %r" % (result,))


def check_same_state(state, next_state):
    """Structure, shapes and dtypes must not change from the second step on, or a loop has no place for them.

    Raises:
      ValueError: they do.
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
            "got %r after %r" % (next_state, state)
        )


def with_initial_state(optimizer, rows=False):
    """The optimizer, able to say what its first state is, so that a loop can begin an unroll or continue one.

    One that cannot say so itself gets a state with a flag, whether its own is to be None. Each step then computes both
    and picks one (XLA cannot differentiate a `tf.cond`), so that until the flag is down its own state is that after
    a step with gradients of 1: from anything less likely a NaN might come, which no picking keeps out of a gradient.

    With `rows`, for gradients `[N]` and states `[N, ...]`, each coordinate has a flag of its own: 1, and then 0.
    """
    if hasattr(optimizer, "initial_state"):
        return optimizer

    def picked(is_first, one, other):
        return tf.where(is_first > 0 if rows else tf.broadcast_to(is_first, tf.shape(one)), one, other)

    def flagged(gradients, state):
        is_first, own = state
        first, later = optimizer(gradients, None), optimizer(gradients, own)
        check_pair(first)
        check_same_state(first[1], later[1])
        both = zip(tensors_of(first), tensors_of(later))
        update, own = with_tensors(first, [picked(is_first, *pair) for pair in both])
        return update, (tf.zeros_like(is_first), own)

    def flagged_initial_state(x):
        ones = tf.nest.map_structure(tf.ones_like, x)
        pair = optimizer(ones, None)
        check_pair(pair)
        _, state = pair
        return ones if rows else tf.constant(True), with_tensors(state, tensors_of(state))

    flagged.initial_state = flagged_initial_state
    if hasattr(optimizer, "adapt"):
        flagged.adapted = optimizer.adapted
        flagged.adapt = lambda gradients, state, active=None: adapt(optimizer, gradients, state[1], active)
    flagged.coordinatewise = getattr(optimizer, "coordinatewise", False)
    return flagged
