"""Imitation: a learned optimizer is first trained to make the updates of one that someone wrote down."""

from __future__ import annotations

import functools
from typing import Optional

import tensorflow.compat.v1 as tf

from l2l.learning.unrolling import gradients_of
from l2l.nests import tensors_of
from l2l.optimizers.first_state import with_initial_state
from l2l.optimizers.optimizer import Bound, check_optimizer, check_pair, described, opened
from l2l.problems.augmented import OfAnother
from l2l.problems.problem import Problem
from l2l.types import BuildOptimizer, Nest, OptimizerFunction, Seed


class Imitation(OfAnother):
    """A problem on which a learned optimizer is trained to imitate a teacher.

    The position follows the teacher. The loss at base iteration `t + 1` is how far the learned update of base
    iteration `t` was from the teacher's, both for the gradients that the teacher met, `|u - v|^2 / |v|^2` over all
    coordinates for the teacher's `v`; at `t = 0` it is 0. With the meta-loss "sum" that is what is trained. What is
    trained on it is `build(build_optimizer)`, whose weights are those of `build_optimizer`:

        imitation = l2l.Imitation(problem, l2l.adam(0.03))
        first = l2l.Trainer(imitation, imitation.build(build_optimizer), second_derivatives=False)
        first.run(1000)
        l2l.Trainer(problem, first.trained()._replace(build=build_optimizer), ...)

    Source: T. Chen et al., 2020, arXiv 2010.09089, section 3.2, where the two losses are mixed.

    Args:
      problem: a `Problem`.
      teacher: an optimizer without variables, such as `l2l.adam(0.03)`.

    Raises:
      TypeError: an argument is no such thing.
    """

    def __init__(self, problem: Problem, teacher: OptimizerFunction) -> None:
        super().__init__(problem)
        self.teacher = check_optimizer("teacher", teacher)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """The draws of the problem."""
        return {"draw": self.problem.sample(num, seed)}

    def initial_position(self, draw: Nest) -> Nest:
        """`{"error": 0, "x": the problem's}`."""
        x = self.problem.initial_position(draw["draw"])
        return {"error": tf.zeros([], tf.nest.flatten(x)[0].dtype), "x": x}

    def active(self, draw: Nest) -> Optional[Nest]:
        """The error, and what is active of the problem."""
        active = super().active(draw)
        return None if active is None else {"error": tf.constant(True), "x": active}

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The error; its gradient with respect to the problem's position is that of the problem's loss.

        To add the loss and take it off again would round the error away. What is added are zeros with that gradient,
        a constant in them: no learned weight has a say in where the teacher goes, so its derivatives are never asked.
        """
        zeros, gradients = [], gradients_of(self.problem.loss(x["x"], observed["observed"]), x["x"])
        for one, gradient in zip(tf.nest.flatten(x["x"]), tf.nest.flatten(gradients)):
            zero = tf.reduce_sum((one - tf.stop_gradient(one)) * tf.stop_gradient(gradient))
            zeros.append(tf.cast(zero, x["error"].dtype))
        return x["error"] + tf.add_n(zeros)

    def build(self, build_optimizer: BuildOptimizer) -> BuildOptimizer:
        """Function that builds the optimizer to train on this problem, with the variables of `build_optimizer`'s."""

        def build():
            learner = with_initial_state(opened("build_optimizer's result", build_optimizer()))
            return Imitating(learner, with_initial_state(opened("teacher", self.teacher)))

        return build


class Imitating:
    """The optimizer that moves as the teacher does, and carries how far the learner was from that."""

    def __init__(self, learner, teacher):
        self._learner, self._teacher = learner, teacher
        self.adapted = learner.adapted

    def __call__(self, gradients, state, x=None):
        return self.bind(horizon=None).plain_step(gradients, state, x)

    def adapt(self, gradients, state, active=None):
        return self._learner.adapt(gradients["x"], state[0], None if active is None else active["x"])

    def initial_state(self, x):
        return (*[one.initial_state(x["x"]) for one in [self._learner, self._teacher]], tf.zeros_like(x["error"]))

    def description(self):
        """What learner and teacher are, in JSON types."""
        return {
            "class": type(self).__name__,
            "learner": described(self._learner),
            "teacher": described(self._teacher),
        }

    def bind(self, horizon):
        bound, teacher = (one.bind(horizon=horizon) for one in [self._learner, self._teacher])

        def step(gradients, state, x, product):
            own, theirs, error = self.initial_state(gradients) if state is None else state
            within = gradients["x"], None if x is None else x["x"]
            pairs = bound.step(within[0], own, within[1], product), teacher.plain_step(within[0], theirs, within[1])
            for pair in pairs:
                check_pair(pair)
            (update, own), (right, theirs) = pairs
            after = _relative_error(tensors_of(update), tensors_of(right))
            return {"error": after - error, "x": right}, (own, theirs, after)

        return Bound(step, bound.kernels)


def _relative_error(updates, right):
    """`|u - v|^2 / |v|^2`, and 0 where all of `v` is."""
    # In units of the largest `|v|`: the squares of small updates, or of large ones, are no floats.
    largest = functools.reduce(tf.maximum, [tf.reduce_max(tf.abs(one)) for one in right])
    is_zero = tf.equal(largest, 0)
    unit = tf.where(is_zero, tf.ones_like(largest), largest)
    squares = sum(tf.reduce_sum(tf.square(one / unit)) for one in right)
    errors = sum(tf.reduce_sum(tf.square((one - other) / unit)) for one, other in zip(updates, right))
    return tf.where(is_zero, tf.zeros_like(errors), errors / tf.where(is_zero, tf.ones_like(squares), squares))
