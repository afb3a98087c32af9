"""Evolution strategies: meta-gradients from losses alone.

They serve horizons that no gradient can flow through. Backpropagation sees one segment of a training, and learns what
is good for that segment: steps that are too short, and learning rates that fall too soon (Wu et al. 2018, arXiv
1803.02021). An evolution strategy perturbs the weights at random in both directions, runs both trainings to their end,
and compares them.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from l2l import checks

# Streams of random numbers of a training; each also depends on its seed and on the number of the meta-iteration.
_NOISE, _CHOICES = 0, 1


class EvolutionStrategies(namedtuple("EvolutionStrategies", ["pairs", "sigma", "clip"])):
    """Antithetic evolution strategies over whole horizons.

    Pass them to a `Trainer` as its `estimator`:

        l2l.Trainer(problem, build, "late_log", estimator=l2l.EvolutionStrategies(), horizon=200)

    A meta-iteration draws `P` directions `e_i ~ N(0, 1)` and perturbs the weights `w` along each, both ways. `L` is the
    meta-loss of a whole horizon. The meta-gradient is

        1 / (2 P sigma) sum_i clip(L(w + sigma e_i) - L(w - sigma e_i), -clip, clip) e_i

    Without the clip this is an unbiased estimate of the gradient of the mean of `L(w + sigma e)`.

    Both members of a pair share draw, minibatches and horizon. A member diverges if one of its losses is NaN or
    infinite. If one member diverges, it counts as worse by `clip`; if both do, the pair counts as 0.

    No gradient flows anywhere. So no intermediate results are kept, and an update may be rounded, clipped or chosen.

    Source: T. Salimans et al. 2017, arXiv 1703.03864, section 2; the antithetic pairs are from section 2.1.

    Args:
      pairs: `P`, a positive integer. A meta-iteration runs `2 P` horizons.
      sigma: scale of the perturbations, a positive number of float32.
      clip: bound of a pair's difference, a positive number of float32; None for no clip. With None a pair with a member
        that diverges counts as 0.

    Raises:
      TypeError, ValueError: an argument is not a number of that kind.
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
        """Returns the estimator as a dict of JSON types."""
        return {"class": type(self).__name__, **self._asdict()}


class PES(EvolutionStrategies):
    """Persistent evolution strategies: an update after every segment.

    Pass them to a `Trainer` as its `estimator`:

        l2l.Trainer(problem, build, "sum_log", estimator=l2l.PES(), unroll_length=20, horizon=2000)

    Each pair runs through its horizon segment by segment, with a new direction `e_i` for each segment. The difference
    in a segment depends on all directions so far. So it is multiplied by `s_i`, their sum since the horizon began:

        1 / (2 P sigma) sum_i clip(L(w + sigma e_i) - L(w - sigma e_i), -clip, clip) s_i

    `L` is the meta-loss of the segment; the meta-loss of the horizon is the sum over its segments. Without the clip,
    and if the weights change little during a horizon, the meta-gradients of the segments add up to an unbiased estimate
    for the whole horizon. Truncated backpropagation is biased.

    Source: P. Vicol et al. 2021, arXiv 2112.13835, algorithm 2.

    Args:
      pairs, sigma, clip: as for `EvolutionStrategies`.

    Raises:
      TypeError, ValueError: as `EvolutionStrategies`.
    """

    persistent = True


def unit_noise(seed: int, number: int, pairs: int, shapes: Sequence[Sequence[int]]) -> List[np.ndarray]:
    """Draws the directions of a meta-iteration: for each weight a float32 array `[pairs, ...]` of `N(0, 1)`."""
    random = np.random.RandomState([_NOISE, *_words(seed), *_words(number)])
    return [random.standard_normal([pairs, *shape]).astype(np.float32) for shape in shapes]


def choices(seed: int, number: int) -> np.random.RandomState:
    """Returns random numbers for the other choices of a meta-iteration, such as its problem and its horizon."""
    return np.random.RandomState([_CHOICES, *_words(seed), *_words(number)])


def _words(number):
    """Splits an integer below 2^64 into its lower and its upper 32 bits."""
    return list(divmod(number, 2**32))[::-1]


def differences(ends: np.ndarray, clip: float) -> Tuple[np.ndarray, int]:
    """Computes the difference of each pair, and counts the members that diverged.

    Args:
      ends: meta-losses `[2, P]`, for plus and for minus; NaN or infinite for a member that diverged.
      clip: as for `EvolutionStrategies`.

    Returns:
      `(differences [P], number of diverged members)`.
    """
    diverged = ~np.isfinite(ends)
    found = np.subtract(*np.where(diverged, 0.0, ends))
    worse = np.subtract(*diverged.astype(np.float64))  # 0 where both diverged
    limit = 0.0 if clip is None else clip
    found = np.where(diverged.any(axis=0), limit * worse, found)
    return found if clip is None else np.clip(found, -clip, clip), int(diverged.sum())


def estimated(found: np.ndarray, directions: Sequence[np.ndarray], sigma: float) -> List[np.ndarray]:
    """Computes the meta-gradient, arrays like the weights, from differences `[P]` and directions `[P, ...]`."""
    factors = found / (2 * sigma * len(found))
    return [np.tensordot(factors, one.astype(np.float64), axes=1).astype(one.dtype) for one in directions]
