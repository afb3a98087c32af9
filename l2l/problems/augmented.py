"""Problems made of problems, for training: random scales, an added convex term, a mixture.

A learned optimizer that is to serve elsewhere is trained on more than the problem at hand. The first two are from
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
    """A problem made of another one. Its draws are dicts, with the other's under `draw`.

    Attributes:
      problem: the other one.
      shown: entries of a draw that the loss sees too, beside what the other problem observes.
    """

    shown = ()

    def __init__(self, problem: Problem) -> None:
        self.problem, self.data = checks.problem("problem", problem), problem.data

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """What the problem observes, under `observed`, and what else is shown of the draw."""
        return self._seen(draw, self.problem.observe(draw["draw"], t, data))

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """The same with all that the problem has to observe."""
        return self._seen(draw, all_observed(self.problem, draw["draw"], data))

    def active(self, draw: Nest) -> Optional[Nest]:
        """What is active of the problem."""
        return BoundProblem(self.problem, draw["draw"]).active()

    def _seen(self, draw, observed):
        return {"observed": observed, **{name: draw[name] for name in self.shown}}


class RandomlyScaled(OfAnother):
    """A problem seen through random scales of its coordinates: `f(c x)`, elementwise, from `x_0 / c`.

    `log c` is uniform in `[-width, width]`, for each coordinate of each draw. Gradients are `c` times those of the
    problem, and so an optimizer learns what does not depend on their scale. Source: arXiv 1703.03633, section 4.1.

    Args:
      problem: a `Problem`.
      width: a positive number; 3 in the source.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    shown = ("scales",)

    def __init__(self, problem: Problem, width: float = 3.0) -> None:
        super().__init__(problem)
        self.width = checks.positive_number("width", width)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` draws: those of the problem, and `scales`, a nest like its position."""
        draws = sample(self.problem, num, seed)
        x = BoundProblem(self.problem, tf.nest.map_structure(lambda many: many[0], draws)).start()
        scales = [
            tf.exp(uniform([num, *one.shape.as_list()], -self.width, self.width, seed=seed, stream=i, dtype=one.dtype))
            for i, one in enumerate(tf.nest.flatten(x))
        ]
        return {"draw": draws, "scales": tf.nest.pack_sequence_as(x, scales)}

    def initial_position(self, draw: Nest) -> Nest:
        """`x_0 / c`, with the start `x_0` of the problem."""
        return tf.nest.map_structure(tf.divide, self.problem.initial_position(draw["draw"]), draw["scales"])

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The problem's loss at `c x`."""
        return self.problem.loss(tf.nest.map_structure(tf.multiply, x, observed["scales"]), observed["observed"])


class WithConvexTerm(OfAnother):
    """A problem with a simple convex one beside it: `f(x) + |z - v|^2 / n`.

    The position is `{"x": x, "z": z}`; `v` and the start of `z`, of `n` coordinates, are uniform in [-1, 1]. However
    a training goes, its losses have a part from which something can be learned. Source: arXiv 1703.03633, section 4.2.

    Args:
      problem: a `Problem`.
      dims: `n`, a positive integer; 20 in the source.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    shown = ("target",)

    def __init__(self, problem: Problem, dims: int = 20) -> None:
        super().__init__(problem)
        self.dims = checks.positive_integer("dims", dims)

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """`num` draws: those of the problem, `target` and `start`, each `[num, n]`."""
        draws = sample(self.problem, num, seed)
        x = BoundProblem(self.problem, tf.nest.map_structure(lambda many: many[0], draws)).start()
        dtype = tf.nest.flatten(x)[0].dtype
        target, start = (uniform([num, self.dims], -1.0, 1.0, seed=seed, stream=i, dtype=dtype) for i in range(2))
        return {"draw": draws, "target": target, "start": start}

    def initial_position(self, draw: Nest) -> Nest:
        """`{"x": start of the problem, "z": start of the term}`."""
        return {"x": self.problem.initial_position(draw["draw"]), "z": draw["start"]}

    def active(self, draw: Nest) -> Optional[Nest]:
        """What is active of the problem, and `z`."""
        active = super().active(draw)
        return None if active is None else {"x": active, "z": tf.constant(True)}

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The sum of both losses."""
        return self.problem.loss(x["x"], observed["observed"]) + tf.reduce_mean(tf.square(x["z"] - observed["target"]))


class Mixture(Problem):
    """Draws from one of several problems, each with a chance of its own.

    The problems may be of any kind and size. The position is a tuple with one for each of them, of which the loss of a
    draw knows only that of its own; the others are idle: they have gradients of zero and stay at their starts. A base
    iteration costs as much as those of all problems together.

    Args:
      problems: a sequence of problems, each a `Problem`, whose losses have one dtype.
      chances: None for equal ones, or for each a positive number, in proportion to how often it is drawn.

    Raises:
      TypeError, ValueError: no problem, or not as many chances, or one that is not positive.
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
        """`num` draws: `which` problem, `[num]`, and `draws`, one of each problem."""
        bounds = np.cumsum(self.chances)[:-1]
        chance = uniform([num, 1], 0.0, 1.0, seed=seed)
        which = tf.reduce_sum(tf.cast(chance >= bounds.astype(np.float32), tf.int32), axis=1)
        return {"which": which, "draws": tuple(sample(one, num, seed) for one in self.problems)}

    def initial_position(self, draw: Nest) -> Nest:
        """A tuple of the starts of all problems."""
        return tuple(one.initial_position(draws) for one, draws in zip(self.problems, draw["draws"]))

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """What each problem observes, which one was drawn, and where all start."""
        return self._observed(draw, data, lambda problem, one, part: problem.observe(one, t, part))

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """All that each problem has to observe, which one was drawn, and where all start."""
        return self._observed(draw, data, all_observed)

    def _observed(self, draw, data, observe):
        data = data or [None] * len(self.problems)
        observed = [
            observe(problem, one, None if problem.data is None else part)
            for problem, one, part in zip(self.problems, draw["draws"], data)
        ]
        return {"which": draw["which"], "observed": tuple(observed), "starts": self.initial_position(draw)}

    def active(self, draw: Nest) -> Optional[Nest]:
        """What is active of the problem that was drawn."""
        parts = zip(self.problems, draw["draws"])
        return tuple(_active_where(*each, tf.equal(draw["which"], i)) for i, each in enumerate(parts))

    @quietly()
    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """The loss of the problem that was drawn.

        The others are asked at their starts, where losses are finite, whatever became of their positions: an infinite
        one would come back as NaN from every gradient, whose zero it is multiplied by.
        """
        losses, parts = [], zip(self.problems, x, observed["observed"], observed["starts"])
        for i, (problem, position, within, start) in enumerate(parts):
            drawn = tf.equal(observed["which"], i)
            position = tf.nest.map_structure(functools.partial(tf.where, drawn), position, start)
            loss = problem.loss(position, within)
            losses.append(tf.where(drawn, loss, tf.zeros_like(loss)))
        return sum(losses)


def _active_where(problem, draw, condition):
    """What is active of a problem if a scalar condition holds, a nest like its position."""
    active = BoundProblem(problem, draw).active()
    if active is None:
        return tf.nest.map_structure(lambda one: condition, problem.initial_position(draw))
    return tf.nest.map_structure(functools.partial(tf.logical_and, condition), active)
