"""Nests of tensors with holes."""

import numpy as np
import pytest
import tensorflow as tf

from l2l.nests import is_differentiable, is_finite, tensors_of, with_tensors


def test_tensors_of_a_nest_and_back(run):
    nest = {"a": (None, tf.constant([1.0])), "b": [2, None, ()]}
    tensors = tensors_of(nest)
    assert len(tensors) == 2 and all(isinstance(tensor, tf.Tensor) for tensor in tensors)
    back = with_tensors(nest, [tensor + 1 for tensor in [tensors[0], tf.cast(tensors[1], tf.float32)]])
    assert back["a"][0] is None and back["b"][1:] == [None, ()]
    np.testing.assert_array_equal(run([back["a"][1][0], back["b"][0]]), [2, 3])
    assert tensors_of(None) == [] and with_tensors(None, []) is None


def test_numbers_that_are_no_integers_are_differentiable():
    assert is_differentiable(tf.zeros([], tf.float64)) and is_differentiable(tf.zeros([]))
    assert not is_differentiable(tf.zeros([], tf.int32)) and not is_differentiable(tf.constant(True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_finite_is_seen_in_its_bits(run, dtype):
    figures = np.finfo(dtype)
    values = np.array([0, -1, 1.5, figures.max, figures.min, figures.tiny / 2, np.nan, np.inf, -np.inf], dtype)
    np.testing.assert_array_equal(run(is_finite(tf.constant(values))), np.isfinite(values))
