"""Checks of arguments: each raises an error that names argument, value and what is allowed."""

import contextlib
import inspect
import math
import numbers
import os

import numpy as np
import tensorflow.compat.v1 as tf


def positive_integer(name, value):
    """Returns `value` as an int; `TypeError` unless it is an integer, `ValueError` unless > 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError("%s must be a positive integer, got %r" % (name, value))
    if value <= 0:
        raise ValueError("%s must be a positive integer, got %r" % (name, value))
    return int(value)


def positive_integers(name, value):
    """Returns `value` as a tuple of ints; `TypeError` unless it lists integers, `ValueError` unless they are > 0."""
    if not isinstance(value, (list, tuple)):
        raise TypeError("%s must be a sequence of positive integers, got %r" % (name, value))
    return tuple(positive_integer("%s[%d]" % (name, i), one) for i, one in enumerate(value))


def seed(name, value):
    """Returns `value` as an int; allowed are the integers from 0 to 2**31 - 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError("%s must be an integer from 0 to 2**31 - 1, got %r" % (name, value))
    if not 0 <= value < 2**31:
        raise ValueError("%s must be an integer from 0 to 2**31 - 1, got %r" % (name, value))
    return int(value)


def number(name, value):
    """Returns `value` as a float; allowed are finite numbers."""
    found = _number(name, value, "a finite number")
    if not math.isfinite(found):
        raise ValueError("%s must be a finite number, got %r" % (name, value))
    return found


def positive_number(name, value):
    """Returns `value` as a float; allowed are finite numbers above 0."""
    number = _number(name, value, "a positive finite number")
    if not (math.isfinite(number) and number > 0):
        raise ValueError("%s must be a positive finite number, got %r" % (name, value))
    return number


def number_from_zero(name, value):
    """Returns `value` as a float; allowed are finite numbers that are not negative."""
    number = _number(name, value, "a finite number, 0 or above")
    if not (math.isfinite(number) and number >= 0):
        raise ValueError("%s must be a finite number, 0 or above, got %r" % (name, value))
    return number


def positive_float32(name, value):
    """Returns `value` as a float; allowed are the positive normal numbers of float32."""
    number = _number(name, value, "a positive number of float32, 1.18e-38 to 3.4e38")
    if not float(np.finfo(np.float32).tiny) <= number <= float(np.finfo(np.float32).max):
        raise ValueError("%s must be a positive number of float32, 1.18e-38 to 3.4e38, got %r" % (name, value))
    return number


def dtype(name, value):
    """Returns `value` as a dtype; allowed are float32 and float64."""
    try:
        found = tf.as_dtype(value)
    except TypeError:
        raise TypeError("%s must be float32 or float64, got %r" % (name, value)) from None
    if found not in (tf.float32, tf.float64):
        raise ValueError("%s must be float32 or float64, got %r" % (name, found.name))
    return found


def negative_number(name, value):
    """Returns `value` as a float; allowed are finite numbers below 0."""
    number = _number(name, value, "a negative finite number")
    if not (math.isfinite(number) and number < 0):
        raise ValueError("%s must be a negative finite number, got %r" % (name, value))
    return number


def fraction(name, value):
    """Returns `value` as a float; allowed is 0 <= value < 1."""
    number = _number(name, value, "a number in [0, 1)")
    if not 0 <= number < 1:
        raise ValueError("%s must be a number in [0, 1), got %r" % (name, value))
    return number


def one_of(name, value, known):
    """Returns `value`; `ValueError` unless it is one of the names in `known`."""
    if not isinstance(value, str) or value not in known:
        raise ValueError("%s must be one of %s, got %r" % (name, ", ".join(sorted(known)), value))
    return value


def function(name, value):
    """Returns `value`; `TypeError` unless it can be called."""
    if not callable(value):
        raise TypeError("%s must be callable, got %r" % (name, value))
    return value


def function_without_arguments(name, value):
    """Returns `value`; `TypeError` unless it can be called without arguments."""
    function(name, value)
    try:
        inspect.signature(value).bind()
    except TypeError:
        raise TypeError("%s must be a function without arguments, got %r" % (name, value)) from None
    return value


def function_of_one_argument(name, value, argument):
    """Returns `value`; `TypeError` unless it can be called with one argument, which the message calls `argument`."""
    function(name, value)
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        raise TypeError("%s must be a function of one argument, %s, got %r" % (name, argument, value)) from None
    except ValueError:  # some built-in functions have no signature
        pass
    return value


def index(name, value, length):
    """Returns `value` as an int; `ValueError` unless 0 <= value < length."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError("%s must hold integers from 0 to %d, got %r" % (name, length - 1, value))
    if not 0 <= value < length:
        raise ValueError("%s must hold integers from 0 to %d, got %r" % (name, length - 1, value))
    return int(value)


def boolean(name, value):
    """Returns `value`; `TypeError` unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError("%s must be True or False, got %r" % (name, value))
    return value


# The functions of a problem, with their arguments.
_PROBLEM = {
    "sample": ("num", "seed"),
    "initial_position": ("draw",),
    "observe": ("draw", "t", "data"),
    "observe_all": ("draw", "data"),
    "loss": ("x", "observed"),
    "batch_loss": ("x", "observed"),
}


def problem(name, value):
    """Returns `value`; `TypeError` unless it has the functions of a `Problem`, and its data are arrays of numbers."""
    if isinstance(value, type) or not all(callable(getattr(value, part, None)) for part in _PROBLEM):
        raise TypeError("%s must be a Problem, such as Quadratic(2), got %r" % (name, value))
    signatures(value, _PROBLEM)
    data = getattr(value, "data", None)
    for leaf in [] if data is None else tf.nest.flatten(data):
        if isinstance(leaf, (numbers.Number, tf.Tensor)) or np.asarray(leaf).dtype.kind not in "biuf":
            raise TypeError(
                "data of %s must be a nest of NumPy arrays of numbers (np.asarray makes one of a list), got %.200r"
                % (type(value).__name__, leaf)
            )
    return value


def signatures(value, functions, more=()):
    """Raises `TypeError` if a method of `value` cannot take its arguments; `functions` names these by method.

    If a method has a parameter named in `more`, it gets that too, by name.
    """
    for part, arguments in functions.items():
        found = inspect.signature(getattr(value, part))
        try:
            found.bind(*arguments, **{name: None for name in more if name in found.parameters})
        except TypeError:
            raise TypeError(
                "%s of %s must take the arguments (self, %s), got (self, %s"
                % (part, type(value).__name__, ", ".join(arguments), str(found)[1:])
            ) from None


def path(name, value):
    """Returns `value` as a string; `TypeError` unless it is a string or a path, `ValueError` if it is empty."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError("%s must be a path, got %r" % (name, value))
    if not os.fspath(value):
        raise ValueError("%s must be a path, got %r" % (name, value))
    return os.fspath(value)


def tensor(name, value):
    """Returns `value` as a tensor; `TypeError` unless it is one or a number or an array."""
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError):
        raise TypeError("%s must be a tensor, got %r" % (name, value)) from None


@contextlib.contextmanager
def no_variables(what, problem):
    """Refuses to create a variable within the block; `what` names the part of a problem, such as "loss".

    Raises:
      ValueError: a variable was created, even if the block continued or failed with another error.
    """
    names = []

    def refuse(create, **arguments):
        names.append(arguments.get("name") or "Variable")
        raise ValueError("no variable can be created here")

    def check():
        if names:
            raise ValueError(
                "%s of %s must not create variables, it creates %r: put weights into the position, or use "
                "l2l.KerasProblem" % (what, type(problem).__name__, names[0])
            ) from None

    try:
        with tf.variable_creator_scope(refuse):
            yield
    except Exception:
        check()
        raise
    check()


def _number(name, value, allowed):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError("%s must be %s, got %r" % (name, allowed, value))
    try:
        return float(value)
    except OverflowError:
        raise ValueError("%s must be %s, got an integer of %d bits" % (name, allowed, value.bit_length())) from None
