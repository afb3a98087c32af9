"""A problem's own form for batches is compared with its form for one draw."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested

import l2l
from l2l.problems.batches import check_batch_loss
from l2l.problems.problem import sample


class Own(l2l.Quadratic):
    """A quadratic whose form for batches is given, as a function of the right losses."""

    def __init__(self, batch_loss):
        super().__init__(2)
        self._batch_loss = batch_loss

    def batch_loss(self, x, draw):
        return self._batch_loss(super().batch_loss(x, draw))


def check(problem, batch=3):
    draws = sample(problem, batch, 1)
    agreement = check_batch_loss(problem, draws, batch)
    with tf.Session() as session:
        agreement(session, {})


def with_gradient(values, gradient_of):
    """These values, with the gradient of other ones."""
    return gradient_of - tf.stop_gradient(gradient_of) + tf.stop_gradient(values)


@pytest.mark.parametrize("right", [lambda losses: losses, lambda losses: losses * (1 + 1e-6)])
def test_a_right_form_is_accepted(right):
    check(Own(right))
    check(l2l.Quadratic(2))


@pytest.mark.parametrize(
    "wrong, what",
    [
        (lambda losses: 1.01 * losses, "losses"),
        (lambda losses: losses[::-1], "losses"),
        (lambda losses: losses + 0 * losses[0] + 1e-2, "losses"),
        (lambda losses: tf.fill([3], tf.reduce_mean(losses)), "losses"),
        (lambda losses: tf.stop_gradient(losses), "gradients"),
        (lambda losses: with_gradient(losses, 2 * losses), "gradients"),
        (lambda losses: with_gradient(losses, tf.fill([3], losses[0])), "gradients"),
        (lambda losses: losses * np.array([1, 1, np.nan], np.float32), "losses"),
    ],
)
def test_a_wrong_form_is_found(wrong, what):
    with pytest.raises(
        ValueError,
        match=r"batch_loss of Own must be loss of each draw; for 3 draws it has %s \[.+\], and loss has \[.+\]" % what,
    ):
        check(Own(wrong))


def test_a_form_that_is_right_at_the_start_alone_is_found():
    class RightAtTheStart(l2l.Quadratic):
        def batch_loss(self, x, draw):
            return super().batch_loss(x, draw) + tf.reduce_sum(tf.square(x - draw.start), axis=1)

    with pytest.raises(ValueError, match="batch_loss of RightAtTheStart must be loss of each draw"):
        check(RightAtTheStart(2))


def test_losses_that_are_infinite_or_nan_in_both_forms_agree():
    class Bad(l2l.Quadratic):
        def loss(self, x, draw):
            return super().loss(x, draw) * np.float32(np.nan)

    check(Bad(2))


def test_nests_are_compared_tensor_by_tensor():
    class NestedTogether(Nested):
        def batch_loss(self, x, draw):
            return tf.reduce_sum(tf.square(x["matrix"]), axis=[1, 2]) + tf.square(x["scalar"] - draw)

    class WrongNested(NestedTogether):
        def batch_loss(self, x, draw):
            losses = super().batch_loss(x, draw)
            return with_gradient(losses, losses + x["scalar"])

    check(NestedTogether())
    with pytest.raises(ValueError, match=r"batch_loss of WrongNested .* has gradients"):
        check(WrongNested())


def test_without_a_form_of_its_own_there_is_nothing_to_compare(graph):
    problem = Nested()
    draws = sample(problem, 2, 1)
    before = len(graph.get_operations())
    assert check_batch_loss(problem, draws, 2) is None
    assert len(graph.get_operations()) == before


def test_the_draws_to_compare_may_be_fed():
    problem = Own(lambda losses: tf.where(losses > 100, 2 * losses, losses))
    draws = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape), sample(problem, 3))
    agreement = check_batch_loss(problem, draws, 3)
    ones = np.ones([3, 2])
    with tf.Session() as session:
        agreement(session, {draws.scale: ones, draws.start: ones})
        with pytest.raises(ValueError, match="batch_loss of Own"):
            agreement(session, {draws.scale: ones, draws.start: 100 * ones})


def test_losses_of_zero_agree():
    class Flat(l2l.Quadratic):
        def loss(self, x, draw):
            return 0 * super().loss(x, draw)

        def batch_loss(self, x, draw):
            return 0 * super().batch_loss(x, draw)

    check(Flat(2))
