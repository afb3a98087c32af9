"""The contract of a problem: what the optimizers optimize (the optimizee).

A problem separates what is drawn at random from what is computed. A draw is a nest of
tensors. Position and loss are pure functions of it, so all optimizers of one
evaluation see the same draw.
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
from l2l.tracebacks import hide_in_ipython
from l2l.types import Nest, Seed

_FIRST_OF_DRAWS = -(2**40)  # the seed of `Problem.draw(0)`


class Problem:
    """Base class of problems: define `sample`, `initial_position` and `loss`.

        class Valley(l2l.Problem):
            def sample(self, num, seed=None):
                return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

            def initial_position(self, draw):
                return draw

            def loss(self, x, draw):
                return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    Write `initial_position` and `loss` for one draw; the library maps them over a batch of draws.

    The public attributes of a subclass (numbers, strings, arrays, functions, objects) count as its parameters. The
    record of a training uses them to tell two problems of one class apart.

    Attributes:
      data: None, or a nest of arrays that all draws share, such as the examples of a data set. The graph stores
        them once, and `observe` gets them as tensors.
    """

    data: Optional[Nest] = None

    def __getattribute__(self, name):
        try:
            value = super().__getattribute__(name)
        except AttributeError as error:
            hide_in_ipython(error)  # this method, which has no part in it
            raise
        # Wrapped here, to catch every kind: a method, a static method, one set later, a function of this object alone.
        return _with_streams(self, value) if name == "sample" and callable(value) else value

    def __repr__(self):
        parts = ["%s=%s" % (name, _shown(value)) for name, value in vars(self).items() if _is_shown(name, value)]
        if self.data is not None:
            parts.append("data %s" % " and ".join(str(list(np.shape(one))) for one in tf.nest.flatten(self.data)))
        return "<%s%s>" % (type(self).__name__, " " + ", ".join(parts) if parts else "")

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` independent draws.

        A problem made of other problems passes its `seed` on to their `sample`. Every such call gives independent
        draws, even if it calls one problem twice. They share no random number with the draws of the outer problem.

        Args:
          num: how many draws, a positive integer.
          seed: None (each `session.run` draws anew) or a scalar integer tensor (the draws depend on it alone).
            `l2l.uniform`, `l2l.normal` and `l2l.keys` take both.

        Returns:
          A nest of tensors, each with a leading axis `num`.
        """
        raise NotImplementedError("%s does not define sample" % type(self).__name__)

    def initial_position(self, draw: Nest) -> Nest:
        """Returns the start `x_0` of one draw.

        Args:
          draw: one draw.

        Returns:
          A tensor of float32 or float64 and static shape, or a nest of such tensors.
        """
        raise NotImplementedError("%s does not define initial_position" % type(self).__name__)

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """Returns what the loss sees at base iteration `t`.

        By default that is the draw itself. Override this to show each base iteration a different minibatch. The
        minibatch must follow from the draw and `t` alone, so that every engine picks the same one. `l2l.minibatch` does
        that.

        Args:
          draw: one draw.
          t: the base iteration of the draw's life, a scalar int32 tensor that starts at 0.
          data: the problem's `data` as tensors, or None.

        Returns:
          A nest of tensors of static shapes, for `loss`.
        """
        return draw

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """Returns what a loss on the whole data sees.

        By default that is the draw itself. `Evaluation.losses_on_whole_data` computes that loss. A problem that
        overrides `observe` must override this too; otherwise asking for the loss on the whole data raises a
        `ValueError`.

        Args:
          draw, data: as for `observe`.

        Returns:
          A nest of tensors for `loss`, like the result of `observe` but with all examples.
        """
        return draw

    def active(self, draw: Nest) -> Optional[Nest]:
        """Says which tensors of the position the loss of a draw depends on.

        The other tensors are idle. Their gradients must be zero; no update moves them, and the library's networks do
        not adapt to those gradients. Problems made of other problems override this: a `Mixture` has idle tensors, and
        others pass on the idle tensors of the problem inside.

        Args:
          draw: one draw.

        Returns:
          None for all of them, or a nest of booleans like the position.
        """
        return None

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes the loss at position `x`.

        Args:
          x: the position, a nest like that of `initial_position`.
          observed: what `observe` returned; that is one draw, unless a subclass overrides `observe`.

        Returns:
          A scalar of the dtype of `x`.
        """
        raise NotImplementedError("%s does not define loss" % type(self).__name__)

    def batch_loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes the losses of many draws at once.

        By default this maps `loss` over the draws. A subclass may define a faster form. Every training and evaluation
        compares it with `loss` before it starts.

        Args:
          x, observed: as for `loss`, with a leading axis `B`.

        Returns:
          The losses, `[B]`.
        """
        return OverDraws(type(self).__name__)(self.loss, x, observed)

    def draw(self, seed: Seed = None) -> Nest:
        """Returns one draw, without the leading axis of `sample`.

        Args:
          seed: as for `sample`. With a seed, no training or evaluation sees the same draw.
        """
        if seed is not None:
            # A training's seeds are 0 and above, an evaluation's from -1 down to -2^31.
            seed = _FIRST_OF_DRAWS - tf.cast(seed, tf.int64)
        return tf.nest.map_structure(lambda many: many[0], sample(self, 1, seed))


def _is_shown(name, value):
    """Whether `repr` shows a parameter: a number, a string, a dtype, a problem, or a list of these."""
    several = value if isinstance(value, (list, tuple)) else [value]
    is_short = all(isinstance(one, (bool, int, float, str, tf.DType, Problem)) for one in several)
    return is_short and not name.startswith("_")


def _shown(value):
    return value.name if isinstance(value, tf.DType) else shortened(repr(value), 60)


def _with_streams(problem, function):
    """Wraps a problem's `sample`: checks `num`, and tells the random numbers which problem draws them."""

    @functools.wraps(function)
    def sample(num, *arguments, **more):
        with sampling(problem):
            return function(checks.positive_integer("num", num), *arguments, **more)

    return sample


def sample(problem, num, seed):
    """Calls `problem.sample(num, seed)` and checks the result.

    Raises:
      TypeError: the result is not a nest of tensors.
      ValueError: a tensor of the result has no leading axis of length `num`, or its shape is not static; or `sample`
        creates variables.
    """
    what = "sample of %s" % type(problem).__name__
    with tf.name_scope("sample"), checks.no_variables("sample", problem):
        draws = tf.nest.map_structure(lambda many: checks.tensor(what, many), problem.sample(num, seed))
    for many in tf.nest.flatten(draws):
        if not many.shape[:1].is_compatible_with([num]):
            raise ValueError("%s must return tensors with a leading axis %d, got shape %s" % (what, num, many.shape))
        if not many.shape[1:].is_fully_defined():
            raise ValueError("%s must return tensors of static shape, got shape %s" % (what, many.shape))
    return draws


def all_observed(problem, draw, data):
    """Calls `problem.observe_all(draw, data)`, if it belongs to the problem's `observe`.

    Raises:
      ValueError: a class overrides `observe` alone. The `observe_all` that it inherits may not fit.
    """
    both = {"observe", "observe_all"}
    if "observe_all" not in next(vars(one) for one in type(problem).__mro__ if both & set(vars(one))):
        raise ValueError("problem %s must define observe_all for a loss on its whole data" % type(problem).__name__)
    return problem.observe_all(draw, data)
