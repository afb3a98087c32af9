"""Hyperparameters: a number, a scalar tensor, or a schedule, a function of how many steps were made before.

A schedule gets a scalar integer tensor `t`, 0 at the first step, and returns a number or a scalar tensor. A tensor is
converted at each use, within the step, so that a variable that is trained has its present value there.
"""

import inspect
import numbers

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.describe import describe, describe_code


def checked(name, value, check):
    """Returns a hyperparameter: `check(name, value)` for a number; a scalar tensor or a schedule as it is.

    Raises:
      TypeError, ValueError: it is none of them, or a tensor that is no scalar of floats; or `check` raises it.
    """
    if isinstance(value, (tf.Tensor, tf.Variable)):
        return _checked_scalar(name, value)
    if not callable(value):
        return check(name, value)
    try:
        inspect.signature(value).bind(0)
    except TypeError:
        raise TypeError(
            "%s must be a function of one argument, t, if it is a schedule, got %r" % (name, value)
        ) from None
    except ValueError:  # some built-in functions have no signature
        pass
    return value


def at(name, value, t):
    """A hyperparameter at step `t`: a float, or a scalar tensor of floats.

    Args:
      name: for error messages.
      value: as `checked` returned it.
      t: scalar integer tensor; None where no schedule asks for it.

    Raises:
      TypeError, ValueError: a schedule returned no number and no scalar of floats.
    """
    if callable(value):
        name, value = "the result of the schedule %s" % name, _called(name, value, t)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    return _checked_scalar(name, checks.tensor(name, value))


def described(name, value):
    """What a hyperparameter is, in JSON types: a number as itself, a tensor by its dtype, a function by its code."""
    if isinstance(value, (tf.Tensor, tf.Variable)):
        return {"tensor": value.dtype.base_dtype.name, "shape": []}
    try:
        return describe(name, value)
    except TypeError:  # of a variable in its closure
        return describe_code(value)


def _called(name, schedule, t):
    try:
        return schedule(t)
    except TypeError as error:
        words = "the schedule %s failed for t, a scalar %s tensor (tf.cast(t, tf.float32) makes a float of it): %s"
        raise TypeError(words % (name, t.dtype.base_dtype.name, error)) from error


def _checked_scalar(name, value):
    """A scalar tensor of floats; as it was given if it is a variable."""
    if not value.dtype.is_floating:
        raise TypeError("%s must be a scalar tensor of floats, got dtype %s" % (name, value.dtype.base_dtype.name))
    if not value.shape.is_compatible_with([]):
        raise ValueError("%s must be a scalar tensor, got shape %s" % (name, value.shape))
    return value if isinstance(value, tf.Variable) else tf.convert_to_tensor(value)
