"""Problems made of problems, for training: random scales, an added convex term, a mixture.

To work elsewhere too, a learned optimizer is trained on more than the problem at hand. The first two are from
"Learning gradient descent: better generalization and longer horizons" (K. Lv, S. Jiang, J. Li, arXiv 1703.03633).
"""

from __future__ import annotations

import functools
from typing import Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import Problem, all_observed, sample
from l2l.problems.random_numbers import uniform
from l2l.quiet import quietly
from l2l.types import Nest, Seed


class OfAnother(Problem):
    """A problem that wraps another problem. Its draws are dicts, with the inner draw under `draw`.

    Attributes:
      problem: the inner problem.
      shown: names of the entries of a draw that the loss sees, beside what the inner problem observes.
    """

    shown = ()

    def __init__(self, problem: Problem) -> None:
        self.problem, self.data = checks.problem("problem", problem), problem.data

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """Returns what the inner problem observes, under `observed`, and the entries `shown` of the draw."""
        return self._seen(draw, self.problem.observe(draw["draw"], t, data))

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """Returns the same, with what the inner problem observes of the whole data."""
        return self._seen(draw, all_observed(self.problem, draw["draw"], data))

    def active(self, draw: Nest) -> Optional[Nest]:
        """Returns what is active in the inner problem."""
        return BoundProblem(self.problem, draw["draw"]).active()

    def _seen(self, draw, observed):
        return {"observed": observed, **{name: draw[name] for name in self.shown}}


class RandomlyScaled(OfAnother):
    """A problem with randomly rescaled coordinates.

        trainer = l2l.Trainer(l2l.RandomlyScaled(l2l.Quadratic()), l2l.CoordinatewiseLSTM)

    The loss is `f(c x)`, elementwise, and the start is `x_0 / c`. `log c` is uniform in `[-width, width]`, for each
    coordinate of each draw. The gradients are `c` times those of the problem. So a learned optimizer learns what does
    not depend on their scale.

    Source: arXiv 1703.03633, section 4.1.

    Args:
      problem: the inner `Problem`.
      width: a positive number; 3 in the source.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    shown = ("scales",)

    def __init__(self, problem: Problem, width: float = 3.0) -> None:
        super().__init__(problem)
        self.width = checks.positive_number("width", width)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` draws: those of the inner problem, and `scales`, a nest like its position."""
        draws = sample(self.problem, num, seed)
        x = BoundProblem(self.problem, tf.nest.map_structure(lambda many: many[0], draws)).start()
        scales = [
            tf.exp(uniform([num, *one.shape.as_list()], -self.width, self.width, seed=seed, stream=i, dtype=one.dtype))
            for i, one in enumerate(tf.nest.flatten(x))
        ]
        return {"draw": draws, "scales": tf.nest.pack_sequence_as(x, scales)}

    def initial_position(self, draw: Nest) -> Nest:
        """Returns `x_0 / c`, with the start `x_0` of the inner problem."""
        return tf.nest.map_structure(tf.divide, self.problem.initial_position(draw["draw"]), draw["scales"])

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes the loss of the inner problem at `c x`."""
        return self.problem.loss(tf.nest.map_structure(tf.multiply, x, observed["scales"]), observed["observed"])


class WithConvexTerm(OfAnother):
    """A problem with an added convex term: `f(x) + |z - v|^2 / n`.

    The position is `{"x": x, "z": z}`. Each draw has a target `v` and a start of `z`, both of `n` coordinates and
    uniform in [-1, 1]. However a training goes, a learned optimizer can learn something from this term.

    Source: arXiv 1703.03633, section 4.2.

    Args:
      problem: the inner `Problem`, with the loss `f`.
      dims: `n`, a positive integer; 20 in the source.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    shown = ("target",)

    def __init__(self, problem: Problem, dims: int = 20) -> None:
        super().__init__(problem)
        self.dims = checks.positive_integer("dims", dims)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` draws: those of the inner problem, and `target` and `start`, each `[num, n]`."""
        draws = sample(self.problem, num, seed)
        x = BoundProblem(self.problem, tf.nest.map_structure(lambda many: many[0], draws)).start()
        dtype = tf.nest.flatten(x)[0].dtype
        target, start = (uniform([num, self.dims], -1.0, 1.0, seed=seed, stream=i, dtype=dtype) for i in range(2))
        return {"draw": draws, "target": target, "start": start}

    def initial_position(self, draw: Nest) -> Nest:
        """Returns `{"x": start of the inner problem, "z": start of the term}`."""
        return {"x": self.problem.initial_position(draw["draw"]), "z": draw["start"]}

    def active(self, draw: Nest) -> Optional[Nest]:
        """Returns what is active in the inner problem, and True for `z`."""
        active = super().active(draw)
        return None if active is None else {"x": active, "z": tf.constant(True)}

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The sum of both losses."""
        return self.problem.loss(x["x"], observed["observed"]) + tf.reduce_mean(tf.square(x["z"] - observed["target"]))


class Mixture(Problem):
    """A mixture of problems: each draw comes from one of them, chosen at random.

        problem = l2l.Mixture([l2l.Quadratic(), l2l.Rosenbrock(10)], chances=[3, 1])

    The problems may be of any kind and size. The position is a tuple with the position of every problem. The loss of a
    draw depends only on the position of the problem that was drawn. The other positions are idle: their gradients are
    zero, and they stay at their starts. A base iteration costs as much as one of every problem in total.

    Args:
      problems: a non-empty list or tuple, each a `Problem`. All their losses must have one dtype.
      chances: a positive number for each problem, in proportion to how often it is drawn; None for equal chances.

    Raises:
      TypeError, ValueError: `problems` is empty or holds something else, `chances` has another length, or a chance is
        not positive.
    """

    def __init__(self, problems: Sequence[Problem], chances: Optional[Sequence[float]] = None) -> None:
        if not isinstance(problems, (list, tuple)) or not problems:
            raise ValueError("problems must be a non-empty sequence of problems, got %r" % (problems,))
        self.problems = tuple(checks.problem("problems[%d]" % i, one) for i, one in enumerate(problems))
        chances = [1.0] * len(problems) if chances is None else chances
        if not isinstance(chances, (list, tuple)) or len(chances) != len(problems):
            raise ValueError("chances must be None or %d numbers, got %r" % (len(problems), chances))
        chances = [checks.positive_number("chances[%d]" % i, one) for i, one in enumerate(chances)]
        self.chances = tuple(one / sum(chances) for one in chances)
        data = [one.data for one in problems]
        self.data = None if all(one is None for one in data) else tuple(() if one is None else one for one in data)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` draws: `which` problem, `[num]`, and `draws`, one of each problem."""
        bounds = np.cumsum(self.chances)[:-1]
        chance = uniform([num, 1], 0.0, 1.0, seed=seed)
        which = tf.reduce_sum(tf.cast(chance >= bounds.astype(np.float32), tf.int32), axis=1)
        return {"which": which, "draws": tuple(sample(one, num, seed) for one in self.problems)}

    def initial_position(self, draw: Nest) -> Nest:
        """Returns a tuple of the starts of all problems."""
        return tuple(one.initial_position(draws) for one, draws in zip(self.problems, draw["draws"]))

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """Returns what each problem observes, which one was drawn, and the starts of all."""
        return self._observed(draw, data, lambda problem, one, part: problem.observe(one, t, part))

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """Returns what each problem observes of its whole data, which one was drawn, and the starts of all."""
        return self._observed(draw, data, all_observed)

    def _observed(self, draw, data, observe):
        data = data or [None] * len(self.problems)
        observed = [
            observe(problem, one, None if problem.data is None else part)
            for problem, one, part in zip(self.problems, draw["draws"], data)
        ]
        return {"which": draw["which"], "observed": tuple(observed), "starts": self.initial_position(draw)}

    def active(self, draw: Nest) -> Optional[Nest]:
        """Returns what is active in the problem that was drawn; everything else is idle."""
        parts = zip(self.problems, draw["draws"])
        return tuple(_active_where(*each, tf.equal(draw["which"], i)) for i, each in enumerate(parts))

    @quietly()
    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes the loss of the problem that was drawn."""
        # The losses of the others are computed at their starts, where they are finite. The gradient multiplies them by
        # zero, so an infinite one would make it NaN.
        losses, parts = [], zip(self.problems, x, observed["observed"], observed["starts"])
        for i, (problem, position, within, start) in enumerate(parts):
            drawn = tf.equal(observed["which"], i)
            position = tf.nest.map_structure(functools.partial(tf.where, drawn), position, start)
            loss = problem.loss(position, within)
            losses.append(tf.where(drawn, loss, tf.zeros_like(loss)))
        return sum(losses)


def _active_where(problem, draw, condition):
    """Returns what is active in a problem if a scalar condition holds, a nest like its position."""
    active = BoundProblem(problem, draw).active()
    if active is None:
        return tf.nest.map_structure(lambda one: condition, problem.initial_position(draw))
    return tf.nest.map_structure(functools.partial(tf.logical_and, condition), active)
