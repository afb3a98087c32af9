"""Evolution strategies: meta-gradients from losses alone, for horizons through which no gradient can flow.

Backpropagation sees one segment of a training, and learns what is good for that segment: steps that are too short, and
rates that fall too soon (Wu et al. 2018, arXiv 1803.02021). An evolution strategy moves the weights at random, runs
the training to its end both ways, and compares.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from l2l import checks

# Streams of random numbers that a training draws from, each with its seed and the number of the meta-iteration.
_NOISE, _CHOICES = 0, 1


class EvolutionStrategies(namedtuple("EvolutionStrategies", ["pairs", "sigma", "clip"])):
    """Antithetic evolution strategies over whole horizons, an `estimator` of a training.

        l2l.Trainer(problem, build, "late_log", estimator=l2l.EvolutionStrategies(), horizon=200)

    A meta-iteration perturbs the weights `w` in `P` directions `e_i` of `N(0, 1)`, both ways. With the meta-losses of
    whole horizons, `L`, its meta-gradient is

        1 / (2 P sigma) sum_i clip(L(w + sigma e_i) - L(w - sigma e_i), -clip, clip) e_i

    Without the clip it is an unbiased estimate of the gradient of the mean of `L(w + sigma e)`. The two of a pair share
    draw, minibatches and horizon. One that diverges, so that a loss is NaN or infinite, counts as worse by the clip; a
    pair of which both do counts as 0. No gradient flows anywhere: nothing has to be kept for it, and an update may be
    rounded, clipped or chosen.

    Source: T. Salimans et al. 2017, arXiv 1703.03864, section 2; the antithetic pairs are from section 2.1.

    Args:
      pairs: `P`, a positive integer. A meta-iteration runs twice as many horizons.
      sigma: a positive number of float32.
      clip: a positive number of float32, or None for no clip; then one that diverges counts as a pair of 0.

    Raises:
      TypeError, ValueError: an argument is no such number.
    """

    persistent = False

    def __new__(cls, pairs: int = 8, *, sigma: float = 0.03, clip: float = 0.5) -> EvolutionStrategies:
        return super().__new__(
            cls,
            checks.positive_integer("pairs", pairs),
            checks.positive_float32("sigma", sigma),
            None if clip is None else checks.positive_float32("clip", clip),
        )

    def description(self) -> Dict[str, Any]:
        """The estimator as a dict of JSON types."""
        return {"class": type(self).__name__, **self._asdict()}


class PES(EvolutionStrategies):
    """Persistent evolution strategies: the same with an update after every segment, an `estimator` of a training.

        l2l.Trainer(problem, build, "sum_log", estimator=l2l.PES(), unroll_length=20, horizon=2000)

    Each pair is carried through its horizon, segment by segment, with a new direction for each. Its difference in a
    segment is due to all directions so far, so it is multiplied by their sum `s_i` since the horizon began:

        1 / (2 P sigma) sum_i clip(L(w + sigma e_i) - L(w - sigma e_i), -clip, clip) s_i

    `L` is the meta-loss of the segment, and the whole's is their sum. Where weights change little meanwhile, and
    without the clip, the segments' meta-gradients add up to an unbiased one of the whole horizon, which truncated
    backpropagation is not.

    Source: P. Vicol et al. 2021, arXiv 2112.13835, algorithm 2.

    Args:
      pairs, sigma, clip: as for `EvolutionStrategies`.
    """

    persistent = True


def unit_noise(seed: int, number: int, pairs: int, shapes: Sequence[Sequence[int]]) -> List[np.ndarray]:
    """The directions of a meta-iteration: for each weight an array `[pairs, ...]` of `N(0, 1)`, float32."""
    random = np.random.RandomState([_NOISE, *_words(seed), *_words(number)])
    return [random.standard_normal([pairs, *shape]).astype(np.float32) for shape in shapes]


def choices(seed: int, number: int) -> np.random.RandomState:
    """Random numbers for what else a meta-iteration chooses, such as its problem and its horizon."""
    return np.random.RandomState([_CHOICES, *_words(seed), *_words(number)])


def _words(number):
    """An integer below 2^64 as two of 32 bits, the smaller first."""
    return list(divmod(number, 2**32))[::-1]


def differences(ends: np.ndarray, clip: float) -> Tuple[np.ndarray, int]:
    """What the two of each pair differ by, and how many diverged.

    Args:
      ends: meta-losses `[2, P]`, with plus and with minus; NaN or infinite for one that diverged.
      clip: as for `EvolutionStrategies`.

    Returns:
      `(differences [P], how many diverged)`.
    """
    diverged = ~np.isfinite(ends)
    found = np.subtract(*np.where(diverged, 0.0, ends))
    worse = np.subtract(*diverged.astype(np.float64))  # 0 where both diverged
    limit = 0.0 if clip is None else clip
    found = np.where(diverged.any(axis=0), limit * worse, found)
    return found if clip is None else np.clip(found, -clip, clip), int(diverged.sum())


def estimated(found: np.ndarray, directions: Sequence[np.ndarray], sigma: float) -> List[np.ndarray]:
    """The meta-gradient, a list of arrays like the weights, from differences `[P]` and directions `[P, ...]`."""
    factors = found / (2 * sigma * len(found))
    return [np.tensordot(factors, one.astype(np.float64), axes=1).astype(one.dtype) for one in directions]
