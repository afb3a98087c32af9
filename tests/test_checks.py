"""Where each check draws its line: the last value that is allowed, and the first that is not."""

import numpy as np
import pytest
import tensorflow as tf

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
        (
            checks.path,
            [
                "a",
            ],
            ["", 3, None],
        ),
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
    assert checks.one_of("it", "a", ["b", "a"]) == "a"
    for value in ["c", 1, ["a"], None]:
        with pytest.raises(ValueError, match=r"^it must be one of a, b, got "):
            checks.one_of("it", value, ["b", "a"])
    assert [checks.index("it", value, 3) for value in (0, 2, np.int64(1))] == [0, 2, 1]
    for value in [-1, 3, True, 1.0]:
        with pytest.raises((TypeError, ValueError), match=r"^it must hold integers from 0 to 2, got "):
            checks.index("it", value, 3)
