"""Schedules: hyperparameters that change with the number of steps made so far.

A hyperparameter is a number, a scalar tensor or variable, or a *schedule*. A schedule maps a scalar integer tensor `t`,
0 at the first step, to a number or a scalar tensor. Each step converts a tensor anew, so it reads the present value
of a variable that is being trained.

    l2l.adam(l2l.cosine_decay(0.01, 1000))           # a schedule of the library
    l2l.sgd(lambda t: 0.1 / (1 + tf.cast(t, tf.float32)))  # a custom one

The schedules of this module are TensorFlow's of the same names, except that `warmup` is the library's. They compute in
float64, because float32 counts only to 17 million. A rule or a weight update casts the result to the dtype it needs.
The parameters of a schedule may be scalar tensors.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, Callable, Dict, Sequence, Union

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.describe import describe, describe_code
from l2l.types import Hyperparameter, Scalar


class Named:
    """A function of this library together with its parameters, as a value.

    Two values are equal if they have the same function and the same parameters. A copy in another process is equal too.

    Args:
      function: a function of a module of the library. Its name is that of the public function, after an underscore.
      hyperparameters: by name, each a number, tensor, schedule, or a tuple of them.

    Attributes:
      name: the name of the public function that makes such values, "adam" for `adam`.
      hyperparameters: a dict.
    """

    def __init__(self, function: Callable[..., Any], **hyperparameters: Any) -> None:
        self._function, self.name, self.hyperparameters = function, function.__name__.lstrip("_"), hyperparameters

    def __repr__(self):
        return "%s(%s)" % (self.name, ", ".join("%s=%r" % item for item in self.hyperparameters.items()))

    def __eq__(self, other):
        if not isinstance(other, Named):
            return NotImplemented
        return (self._function, self.hyperparameters) == (other._function, other.hyperparameters)

    def __hash__(self):
        return hash((self.name, *self.hyperparameters.items()))

    def _described(self):
        return {name: described(name, value) for name, value in self.hyperparameters.items()}


class Schedule(Named):
    """A schedule of this module: maps a scalar integer `t` to a scalar float64 tensor."""

    def __call__(self, t: Union[int, tf.Tensor]) -> tf.Tensor:
        return self._function(tf.convert_to_tensor(t), **self.hyperparameters)

    def description(self) -> Dict[str, Any]:
        """Describes the schedule in JSON types."""
        return {"schedule": self.name, **self._described()}


def cosine_decay(initial: Scalar, decay_steps: Union[int, tf.Tensor], *, alpha: Scalar = 0.0) -> Schedule:
    """Cosine decay from `initial` at step 0 to `alpha initial` at step `decay_steps`.

        initial ((1 - alpha) (1 + cos(pi min(t, n) / n)) / 2 + alpha),   n = decay_steps

    The value stays there afterwards. Source: arXiv 1608.03983, as in `tf.train.cosine_decay`.

        l2l.adam(l2l.cosine_decay(0.01, 1000))

    Raises:
      TypeError, ValueError: `initial` is not positive, `decay_steps` is no positive integer, or `alpha` is negative.
    """
    return Schedule(
        _cosine_decay,
        initial=_parameter("initial", initial, checks.positive_number),
        decay_steps=_parameter("decay_steps", decay_steps, checks.positive_integer),
        alpha=_parameter("alpha", alpha, checks.number_from_zero),
    )


def _cosine_decay(t, initial, decay_steps, alpha):
    alpha, done = _float64(alpha), tf.minimum(_float64(t) / _float64(decay_steps), 1)
    return _float64(initial) * ((1 - alpha) * 0.5 * (1 + tf.cos(math.pi * done)) + alpha)


def exponential_decay(initial: Scalar, decay_steps: Union[int, tf.Tensor], *, decay_rate: Scalar = 0.5) -> Schedule:
    """Exponential decay: the factor `decay_rate` every `decay_steps` steps.

        initial decay_rate^(t / decay_steps)

    With the default `decay_rate`, `decay_steps` is the half-life. Source: `tf.train.exponential_decay`, without its
    staircase.

    Raises:
      TypeError, ValueError: `initial` or `decay_rate` is not positive, or `decay_steps` is no positive integer.
    """
    return Schedule(
        _exponential_decay,
        initial=_parameter("initial", initial, checks.positive_number),
        decay_steps=_parameter("decay_steps", decay_steps, checks.positive_integer),
        decay_rate=_parameter("decay_rate", decay_rate, checks.positive_number),
    )


def _exponential_decay(t, initial, decay_steps, decay_rate):
    return _float64(initial) * tf.pow(_float64(decay_rate), _float64(t) / _float64(decay_steps))


def piecewise_constant(boundaries: Sequence[Union[int, tf.Tensor]], values: Sequence[Scalar]) -> Schedule:
    """Constant values, one after the other, that change after given steps.

    The value is `values[0]` up to and including step `boundaries[0]`, then `values[1]` up to and including
    `boundaries[1]`, and so on. Source: `tf.train.piecewise_constant`.

        piecewise_constant([500, 900], [0.1, 0.01, 0.001])  # 0.1 until step 500, 0.01 until step 900, then 0.001

    Args:
      boundaries: a list or tuple of increasing positive integers.
      values: a list or tuple of numbers, 0 or above, one more than there are boundaries.

    Raises:
      TypeError, ValueError: an argument is not such a sequence.
    """
    for name, sequence in (("boundaries", boundaries), ("values", values)):
        if not isinstance(sequence, (list, tuple)):
            raise TypeError("%s must be a list or a tuple, got %r" % (name, sequence))
    if len(values) != len(boundaries) + 1:
        raise ValueError(
            "values must be one more than the %d boundaries, got %d: %r" % (len(boundaries), len(values), values)
        )
    boundaries = [_parameter("boundaries[%d]" % i, one, checks.positive_integer) for i, one in enumerate(boundaries)]
    whole = [one for one in boundaries if isinstance(one, int)]
    if any(one >= following for one, following in zip(whole, whole[1:])):
        raise ValueError("boundaries must increase, got %r" % (boundaries,))
    values = [_parameter("values[%d]" % i, one, checks.number_from_zero) for i, one in enumerate(values)]
    return Schedule(_piecewise_constant, boundaries=tuple(boundaries), values=tuple(values))


def _piecewise_constant(t, boundaries, values):
    value = _float64(values[0])
    for boundary, following in zip(boundaries, values[1:]):
        value = tf.where(_float64(t) > _float64(boundary), _float64(following), value)
    return value


def warmup(steps: Union[int, tf.Tensor], then: Hyperparameter) -> Schedule:
    """Linear warm-up from 0 at step 0 to `then` at step `steps`.

    From there on the value is `then`.

        warmup(100, 0.01)
        warmup(100, cosine_decay(0.01, 900))

    Args:
      steps: a positive integer.
      then: a positive number or a schedule. Its `t` is 0 at step `steps`.

    Raises:
      TypeError, ValueError: `steps` is no positive integer, or `then` is neither a positive number nor a schedule.
    """
    return Schedule(
        _warmup,
        steps=_parameter("steps", steps, checks.positive_integer),
        then=checked("then", then, checks.positive_number),
    )


def _warmup(t, steps, then):
    # During the rise, a schedule `then` stays at its value for t = 0.
    following = at("then", then, tf.maximum(t - tf.cast(steps, t.dtype), 0))
    return tf.minimum(_float64(t) / _float64(steps), 1) * _float64(following)


def _float64(value):
    is_tensor = isinstance(value, (tf.Tensor, tf.Variable))
    return tf.cast(value, tf.float64) if is_tensor else tf.constant(value, tf.float64)


def _parameter(name, value, check):
    """Returns a schedule's parameter: a number that `check` allows, or a scalar tensor."""
    return check(name, value) if callable(value) else checked(name, value, check)


def checked(name, value, check):
    """Checks a hyperparameter: returns `check(name, value)` for a number, and a scalar tensor or a schedule unchanged.

    Raises:
      TypeError, ValueError: `value` is none of these, or a tensor that is no scalar of numbers; or `check` raises it.
    """
    if isinstance(value, (tf.Tensor, tf.Variable)):
        return _checked_scalar(name, value)
    return checks.function_of_one_argument(name, value, "t") if callable(value) else check(name, value)


def at(name, value, t):
    """Returns a hyperparameter's value at step `t`: a float, or a scalar tensor.

    Args:
      name: for error messages.
      value: as `checked` returned it.
      t: scalar integer tensor; may be None if `value` is not a schedule.

    Raises:
      TypeError, ValueError: a schedule returned no number and no scalar tensor of numbers.
    """
    if callable(value):
        name, value = "the result of the schedule %s" % name, _called(name, value, t)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    return _checked_scalar(name, checks.tensor(name, value))


def described(name, value):
    """Describes a hyperparameter in JSON types: a number as itself, a tensor by its dtype, a function by its code."""
    if isinstance(value, (tf.Tensor, tf.Variable)):
        return {"tensor": value.dtype.base_dtype.name, "shape": []}
    if isinstance(value, tuple):
        return [described(name, one) for one in value]
    try:
        return describe(name, value)
    except TypeError:  # the function has a variable in its closure
        return describe_code(value)


def _called(name, schedule, t):
    try:
        return schedule(t)
    except TypeError as error:
        words = "the schedule %s failed for t, a scalar %s tensor (tf.cast(t, tf.float32) makes a float of it): %s"
        raise TypeError(words % (name, t.dtype.base_dtype.name, error)) from error


def _checked_scalar(name, value):
    """Returns a scalar tensor or variable of numbers unchanged."""
    if not (value.dtype.is_floating or value.dtype.is_integer):
        raise TypeError("%s must be a scalar tensor of numbers, got dtype %s" % (name, value.dtype.base_dtype.name))
    if not value.shape.is_compatible_with([]):
        raise ValueError("%s must be a scalar tensor, got shape %s" % (name, value.shape))
    return value
