"""The contract of a problem: what the optimizers optimize (the optimizee).

A problem separates what is drawn at random from what is computed. A draw is a nest of
tensors; position and loss are pure functions of it, so every optimizer compared in one
evaluation can see the same draw.

A problem of your own takes a few lines::

    class Rosenbrock(l2l.Problem):
        def sample(self, num, seed=None):
            return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

        def initial_position(self, draw):
            return draw

        def loss(self, x, draw):
            return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
"""

from __future__ import annotations

import functools
from typing import Optional

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.mapping import OverDraws
from l2l.problems.random_numbers import sampling
from l2l.progress import shortened
from l2l.types import Nest, Seed

_FIRST_OF_DRAWS = -(2**40)  # the seed of `Problem.draw(0)`


class Problem:
    """The contract of a problem; subclass it and define `sample`, `initial_position` and `loss`.

    Each of them is about one draw. Batches are the library's concern: what is written for one draw is
    mapped over many. All that a subclass keeps in public attributes (numbers, strings, arrays, functions, objects)
    counts as its parameters, which tell two problems of one class apart in the record of a training.

    Attributes:
      data: None, or a nest of arrays that all draws share, such as the examples of a data set. A graph holds
        them once, and `observe` gets them as tensors.
    """

    data: Optional[Nest] = None

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        # Of whatever kind it is: a method, a static one, one that is set later, a function of this object alone.
        return _with_streams(self, value) if name == "sample" and callable(value) else value

    def __repr__(self):
        parts = ["%s=%s" % (name, _shown(value)) for name, value in vars(self).items() if _is_shown(name, value)]
        if self.data is not None:
            parts.append("data %s" % " and ".join(str(list(np.shape(one))) for one in tf.nest.flatten(self.data)))
        return "<%s%s>" % (type(self).__name__, " " + ", ".join(parts) if parts else "")

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` independent draws: a nest of tensors, each with a leading axis `num`.

        `seed` is None (each `session.run` draws anew) or a scalar integer tensor (the draws
        depend on it alone). `l2l.uniform` knows both.

        A problem that is made of others calls `sample` of each, with its own seed. Each such call gives independent
        draws, also of one problem twice, and none shares a random number with what the outer problem draws itself.
        """
        raise NotImplementedError("%s does not define sample" % type(self).__name__)

    def initial_position(self, draw: Nest) -> Nest:
        """The start `x_0` for one draw: a tensor or a nest of tensors, floating point, of static shape."""
        raise NotImplementedError("%s does not define initial_position" % type(self).__name__)

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """What base iteration `t` sees of a draw: the draw itself unless a subclass says otherwise.

        Where every base iteration has a minibatch of its own, this picks it: it has to follow from the
        draw and `t` alone, in the same way whatever runs it. `l2l.minibatch` does.

        Args:
          draw: one draw.
          t: a scalar int32 tensor, which base iteration of the draw's life it is, from 0 on.
          data: the problem's `data` as tensors, or None.

        Returns:
          A nest of tensors, of static shapes, for `loss`.
        """
        return draw

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """What a loss on the whole data sees of a draw, for `Evaluation.losses_on_whole_data`.

        It is the draw where `observe` is not defined. A problem whose base iterations see minibatches has to say it,
        else there is no such loss.

        Args:
          draw, data: as for `observe`.

        Returns:
          A nest of tensors for `loss`, like that of `observe` with all examples.
        """
        return draw

    def active(self, draw: Nest) -> Optional[Nest]:
        """Which tensors of a position the loss of a draw depends on: None for all, or a nest like it of booleans.

        The others are idle: no update moves them, and the library's networks do not adapt to their gradients, which
        must be zero. A problem that is made of others may have some, as a `Mixture` has, and hands on those of others.
        """
        return None

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The loss of position `x`, a scalar of its dtype, for what `observe` returned: without it, one draw."""
        raise NotImplementedError("%s does not define loss" % type(self).__name__)

    def batch_loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The losses `[B]` of many draws at once: `x` and `observed` have a leading axis `B`.

        Here `loss` is mapped over the draws. A subclass may define a faster form; it is compared with
        `loss` when a training or an evaluation starts.
        """
        return OverDraws(type(self).__name__)(self.loss, x, observed)

    def draw(self, seed: Seed = None) -> Nest:
        """One draw, without the leading axis of `sample`; with a seed, one that no training or evaluation sees."""
        if seed is not None:
            # A training's seeds are 0 and above, an evaluation's from -1 down to -2^31.
            seed = _FIRST_OF_DRAWS - tf.cast(seed, tf.int64)
        return tf.nest.map_structure(lambda many: many[0], sample(self, 1, seed))


def _is_shown(name, value):
    """Whether a parameter is short and says something: a number, a text, a dtype, a problem, or several of them."""
    several = value if isinstance(value, (list, tuple)) else [value]
    is_short = all(isinstance(one, (bool, int, float, str, tf.DType, Problem)) for one in several)
    return is_short and not name.startswith("_")


def _shown(value):
    return value.name if isinstance(value, tf.DType) else shortened(repr(value), 60)


def _with_streams(problem, function):
    """A problem's `sample`: it checks `num`, and its random numbers are those of its place among problems."""

    @functools.wraps(function)
    def sample(num, *arguments, **more):
        with sampling(problem):
            return function(checks.positive_integer("num", num), *arguments, **more)

    return sample


def sample(problem, num, seed):
    """`problem.sample(num, seed)`, checked.

    Raises:
      TypeError: the result is no nest of tensors.
      ValueError: a tensor of the result has no leading axis of length `num`, or its shape is not static; or `sample`
        creates variables.
    """
    with tf.name_scope("sample"), checks.no_variables("sample", problem):
        draws = tf.nest.map_structure(lambda many: checks.tensor("sample", many), problem.sample(num, seed))
    for many in tf.nest.flatten(draws):
        if not many.shape[:1].is_compatible_with([num]):
            raise ValueError("sample must return tensors with a leading axis %d, got shape %s" % (num, many.shape))
        if not many.shape[1:].is_fully_defined():
            raise ValueError("sample must return tensors of static shape, got shape %s" % (many.shape,))
    return draws


def all_observed(problem, draw, data):
    """`problem.observe_all(draw, data)`, where that belongs to the problem's `observe`.

    Raises:
      ValueError: a class defines `observe` alone, and so what it inherits need not fit.
    """
    both = {"observe", "observe_all"}
    if "observe_all" not in next(vars(one) for one in type(problem).__mro__ if both & set(vars(one))):
        raise ValueError("problem %s must define observe_all for a loss on its whole data" % type(problem).__name__)
    return problem.observe_all(draw, data)
