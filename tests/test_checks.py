"""Where each check draws its line: the last value that is allowed, and the first that is not."""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l import checks

TINY, LARGEST = (float(getattr(np.finfo(np.float32), name)) for name in ("tiny", "max"))


@pytest.mark.parametrize(
    "check, allowed, refused",
    [
        (checks.positive_integer, [1, np.int64(2)], [0, -1, True, 1.0, "1", None]),
        (checks.positive_integers, [[], [1, 2], (3,)], [1, [0], [1.5], None]),
        (checks.seed, [0, 1, 2**31 - 1, np.int32(5)], [-1, 2**31, True, 0.0, None]),
        (checks.number, [0, -1e300, np.float32(1)], [np.inf, np.nan, True, "1", 10**400]),
        (checks.positive_number, [1, 1e-300, 0.5], [0, -1, np.inf, np.nan, True]),
        (checks.number_from_zero, [0, 0.5], [-1e-300, np.inf, np.nan, False]),
        (checks.negative_number, [-1, -1e-300], [0, 0.5, 1, -np.inf, np.nan]),
        (checks.fraction, [0, 0.5, 1 - 1e-15], [1, -1e-300, 2, np.nan, False]),
        (checks.positive_float32, [TINY, 0.5, LARGEST], [TINY / 2, LARGEST * 2, 0, -1]),
        (checks.boolean, [True, False], [0, 1, None, "True"]),
        (checks.path, ["a", pathlib.Path("a")], ["", 3, None]),
        (checks.dtype, ["float32", tf.float64, np.float32], ["int32", tf.float16, "many", None]),
    ],
)
def test_bounds(check, allowed, refused):
    for value in allowed:
        check("it", value)
    for value in refused:
        with pytest.raises((TypeError, ValueError), match=r"^it.* must "):
            check("it", value)


def test_words_and_places():
    known = {"b": 1, "a": 2}
    assert checks.one_of("it", "a", known) == "a"
    for value in ["c", 1, ["a"], None]:
        with pytest.raises(ValueError, match=r"^it must be one of a, b, got "):
            checks.one_of("it", value, known)
    assert [checks.index("it", value, 3) for value in (0, 2, np.int64(1))] == [0, 2, 1]
    for value in [-1, 3, True, 1.0]:
        with pytest.raises((TypeError, ValueError), match=r"^it must hold integers from 0 to 2, got "):
            checks.index("it", value, 3)


def plain(**more):
    """A problem of which some functions are others."""
    return type("Mine", (l2l.Quadratic,), more)(2)


@pytest.mark.parametrize(
    "check, message",
    [
        (lambda: checks.function("it", 3), "it must be callable, got 3"),
        (lambda: checks.function_without_arguments("it", 3), "it must be callable, got 3"),
        (lambda: checks.function_without_arguments("it", plain), None),
        (lambda: checks.function_without_arguments("it", math.cos), "it must be a function without arguments, got "),
        (lambda: checks.function_of_one_argument("it", 3, "x"), "it must be callable, got 3"),
        (lambda: checks.function_of_one_argument("it", math.cos, "x"), None),
        (lambda: checks.function_of_one_argument("it", int, "x"), None),  # which has no signature
        (
            lambda: checks.function_of_one_argument("it", dict.get, "x"),
            "it must be a function of one argument, x, got ",
        ),
        (lambda: checks.tensor("it", None), "it must be a tensor, got None"),
        (lambda: checks.tensor("it", object), "it must be a tensor, got "),
        (lambda: checks.problem("it", plain()), None),
        (lambda: checks.problem("it", l2l.Quadratic), r"it must be a Problem, such as Quadratic\(2\), got <class"),
        (lambda: checks.problem("it", plain(sample=3)), r"it must be a Problem, such as Quadratic\(2\), got "),
        (
            lambda: checks.problem("it", plain(loss=lambda self, x: x)),
            r"loss of Mine must take the arguments \(self, x, observed\), got \(self, x\)",
        ),
        (lambda: checks.problem("it", plain(data={"a": np.zeros(2), "b": np.zeros(2, bool)})), None),
        (lambda: checks.problem("it", plain(data=[np.zeros(2), 3])), "data of Mine must be a nest of NumPy arrays "),
        (lambda: checks.problem("it", plain(data=np.zeros(2, complex))), "data of Mine must be a nest of NumPy "),
        (lambda: checks.problem("it", plain(data=tf.zeros([2]))), "data of Mine must be a nest of NumPy arrays "),
        (
            lambda: checks.signatures(plain(extra=lambda self, a, more: 1), {"extra": ("a",)}, more=["more", "else"]),
            None,
        ),
        (
            lambda: checks.signatures(plain(extra=lambda self, a, more: 1), {"extra": ("a",)}),
            r"extra of Mine must take the arguments \(self, a\), got \(self, a, more\)",
        ),
    ],
)
def test_functions_problems_and_tensors(check, message):
    if message is None:
        check()
    else:
        with pytest.raises(TypeError, match="^" + message):
            check()


def test_no_variable_is_created_even_where_the_error_is_caught():
    message = "loss of Quadratic must not create variables, it creates '%s': put weights into the position, or use "

    def create(caught=(), error=None, **named):
        with checks.no_variables("loss", l2l.Quadratic(2)):
            try:
                tf.Variable(1.0, **named)
            except caught:
                if error:
                    raise error from None

    for arguments in [{}, {"caught": ValueError}, {"caught": ValueError, "error": KeyError()}]:
        with pytest.raises(ValueError, match="^" + message % "Variable"):
            create(**arguments)
        with pytest.raises(ValueError, match="^" + message % "mine"):
            create(name="mine", **arguments)
    with pytest.raises(KeyError, match="other"), checks.no_variables("loss", l2l.Quadratic(2)):
        raise KeyError("other")
    with checks.no_variables("loss", l2l.Quadratic(2)):
        tf.zeros([2])
    assert not tf.global_variables()
    tf.Variable(1.0)
