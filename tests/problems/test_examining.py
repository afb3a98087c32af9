"""What is found out about a problem before anything is built on it."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Given

import l2l
from l2l.mapping import MOST_DRAW_BY_DRAW
from l2l.problems import examining
from l2l.problems.examining import Examined, examined


def test_parts_end_with_the_last_draw_over_and_over():
    arrays = [np.arange(5), 10 * np.arange(5)]
    parts = list(Examined(None, arrays, 3, False).parts())
    assert [part[0].tolist() for part in parts] == [[0, 1, 2], [3, 4, 4]]
    assert [part[1].tolist() for part in parts] == [[0, 10, 20], [30, 40, 40]]


def test_draws_are_those_of_the_first_seed_and_coordinates_are_counted(run):
    asked, problem = [], l2l.Quadratic(3)
    found = examined(problem, 5, (7, 8), 2, lambda coordinates: asked.append(coordinates) or 4)
    assert asked == [3] and (found.num, found.batch, found.draw_by_draw) == (5, 4, False)
    for array, expected in zip(found.arrays, run(tf.nest.flatten(problem.sample(5, 7)))):
        np.testing.assert_array_equal(array, expected)


def test_a_position_of_unknown_size_counts_as_nothing():
    problem = Given(start=lambda draw: tf.placeholder_with_default(tf.reshape(draw, [1]), [None]), loss=tf.reduce_sum)
    with pytest.raises(ZeroDivisionError):
        examined(problem, 1, (7, 8), 2, lambda coordinates: 1 // coordinates)


class InPython(l2l.Quadratic):
    batch_loss = l2l.Problem.batch_loss

    def loss(self, x, draw):
        one = tf.py_func(lambda: np.float32(1), [], tf.float32)
        return tf.reshape(one, []) * super().loss(x, draw)


def test_draw_by_draw_so_many_are_computed_at_once():
    with pytest.warns(RuntimeWarning, match="InPython is computed draw by draw"):
        found = examined(InPython(2), 40, (0, 1), 2, lambda _: 30)
    assert (found.num, found.batch, found.draw_by_draw) == (40, MOST_DRAW_BY_DRAW, True)


class Wrong(l2l.Quadratic):
    def batch_loss(self, x, draw):
        return 2 * super().batch_loss(x, draw)


def test_a_batch_is_compared_and_one_draw_is_not():
    assert examined(Wrong(2), 1, (0, 1), 2, lambda _: 1).draw_by_draw is False
    with pytest.raises(ValueError, match="batch_loss of Wrong must be loss of each draw"):
        examined(Wrong(2), 2, (0, 1), 2, lambda _: 2)


@pytest.mark.parametrize("asked", [{}, {"second_derivatives": True}])
def test_second_derivatives_are_compared_where_they_are_needed(monkeypatch, asked):
    seen = []
    monkeypatch.setattr(examining, "check_batch", lambda *_, **how: seen.append(how) or (lambda *_: False))
    examined(l2l.Quadratic(2), 2, (0, 1), 2, lambda _: 2, **asked)
    assert seen == [{"second_derivatives": bool(asked)}]
