"""Imitation: trains a learned optimizer to make the updates of a hand-designed one."""

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
    """A problem that trains a learned optimizer to imitate a teacher.

    Train `build(build_optimizer)` on it. It has the weights of `build_optimizer`, so a second training can start from
    them:

        imitation = l2l.Imitation(problem, l2l.adam(0.03))
        first = l2l.Trainer(imitation, imitation.build(build_optimizer), second_derivatives=False)
        first.run(1000)
        second = l2l.Trainer(problem, first.trained()._replace(build=build_optimizer))

    The position follows the teacher. Learner and teacher get the same gradients, at the teacher's positions. The loss
    at base iteration `t + 1` is the relative error `|u - v|^2 / |v|^2` of base iteration `t` over all coordinates, with
    the learned update `u` and the teacher's update `v`. At `t = 0` the loss is 0. The meta-loss "sum" trains the sum of
    these errors.

    Source: T. Chen et al., 2020, arXiv 2010.09089, section 3.2. The paper mixes both losses.

    Args:
      problem: a `Problem`.
      teacher: an optimizer without variables, such as `l2l.adam(0.03)`.

    Raises:
      TypeError: `problem` is not a `Problem`, or `teacher` is not an optimizer.
    """

    def __init__(self, problem: Problem, teacher: OptimizerFunction) -> None:
        super().__init__(problem)
        self.teacher = check_optimizer("teacher", teacher)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` draws of the problem."""
        return {"draw": self.problem.sample(num, seed)}

    def initial_position(self, draw: Nest) -> Nest:
        """Returns `{"error": 0, "x": start of the problem}`."""
        x = self.problem.initial_position(draw["draw"])
        return {"error": tf.zeros([], tf.nest.flatten(x)[0].dtype), "x": x}

    def active(self, draw: Nest) -> Optional[Nest]:
        """Returns True for the error, and what is active in the problem."""
        active = super().active(draw)
        return None if active is None else {"error": tf.constant(True), "x": active}

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Returns the error; its gradient with respect to the problem's position is that of the problem's loss."""
        # To add the loss and subtract it again would round the error away. So add zeros that have its gradient. The
        # gradient is a constant in them: the teacher's path does not depend on learned weights, so nobody needs its
        # derivatives.
        zeros, gradients = [], gradients_of(self.problem.loss(x["x"], observed["observed"]), x["x"])
        for one, gradient in zip(tf.nest.flatten(x["x"]), tf.nest.flatten(gradients)):
            zero = tf.reduce_sum((one - tf.stop_gradient(one)) * tf.stop_gradient(gradient))
            zeros.append(tf.cast(zero, x["error"].dtype))
        return x["error"] + tf.add_n(zeros)

    def build(self, build_optimizer: BuildOptimizer) -> BuildOptimizer:
        """Returns a function that builds the optimizer to train on this problem.

        Args:
          build_optimizer: a function that creates the learner. The new optimizer has the learner's variables.
        """

        def build():
            learner = with_initial_state(opened("build_optimizer's result", build_optimizer()))
            return Imitating(learner, with_initial_state(opened("teacher", self.teacher)))

        return build


class Imitating:
    """An optimizer that moves as the teacher does, and keeps the learner's error in its position."""

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
        """Returns a description of learner and teacher in JSON types."""
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
    """Computes `|u - v|^2 / |v|^2`; 0 if all of `v` is 0."""
    # In units of the largest `|v|`: squares of very small or large updates underflow or overflow.
    largest = functools.reduce(tf.maximum, [tf.reduce_max(tf.abs(one)) for one in right])
    is_zero = tf.equal(largest, 0)
    unit = tf.where(is_zero, tf.ones_like(largest), largest)
    squares = sum(tf.reduce_sum(tf.square(one / unit)) for one in right)
    errors = sum(tf.reduce_sum(tf.square((one - other) / unit)) for one, other in zip(updates, right))
    return tf.where(is_zero, tf.zeros_like(errors), errors / tf.where(is_zero, tf.ones_like(squares), squares))
