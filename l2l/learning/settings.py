"""The settings of a training, one record for all code that reads them."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Callable, Dict, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks, schedules
from l2l.learning.evolution import EvolutionStrategies
from l2l.learning.meta_losses import get_meta_loss
from l2l.types import MetaLoss, MetaOptimizerFunction, ScheduleFunction

_FIELDS = [
    "meta_loss",
    "estimator",
    "unroll_length",
    "horizon",
    "learning_rate",
    "meta_optimizer",
    "clip_norm",
    "second_derivatives",
    "batch",
    "threads",
    "weights_seed",
    "draws_seed",
]


# How many base iterations a draw lives: a number, a pair (least, most) to draw it between, or a function of the number
# of meta-iterations so far that returns one of these.
Horizon = Union[int, Tuple[int, int], Callable[[int], Union[int, Tuple[int, int]]]]


class Settings(namedtuple("Settings", _FIELDS)):
    """The settings of a training.

    They are arguments of `Trainer`, which describes them. Only this class checks them.

    Raises:
      TypeError, ValueError: an argument is unknown or out of range.
    """

    def __new__(
        cls,
        meta_loss: MetaLoss = "sum",
        *,
        estimator: Optional[EvolutionStrategies] = None,
        unroll_length: int = 20,
        horizon: Optional[Horizon] = None,
        learning_rate: Union[float, ScheduleFunction] = 3e-4,
        meta_optimizer: Optional[MetaOptimizerFunction] = None,
        clip_norm: Optional[float] = 1.0,
        second_derivatives: bool = True,
        batch: int = 1,
        threads: int = 1,
        weights_seed: int = 0,
        draws_seed: int = 0,
    ) -> Settings:
        get_meta_loss(meta_loss)
        unroll_length = checks.positive_integer("unroll_length", unroll_length)
        horizon = unroll_length if horizon is None else horizon
        batch, threads = checks.positive_integer("batch", batch), checks.positive_integer("threads", threads)
        checks.boolean("second_derivatives", second_derivatives)
        if estimator is not None:
            if not isinstance(estimator, EvolutionStrategies):
                raise TypeError(
                    "estimator must be None, l2l.EvolutionStrategies(...) or l2l.PES(...), got %r" % (estimator,)
                )
            if batch != 1 or not second_derivatives:
                raise ValueError(
                    "batch and second_derivatives must be left as they are with an estimator, which has pairs of its "
                    "own and no derivatives, got %r and %r" % (batch, second_derivatives)
                )
            horizon = _checked_horizon(horizon)
        else:
            horizon = checks.positive_integer("horizon", horizon)
            if horizon % unroll_length:
                raise ValueError("horizon must be a multiple of unroll_length, %r, got %r" % (unroll_length, horizon))
            if batch % threads:
                raise ValueError("threads must divide the batch, %r, got %r" % (batch, threads))
        return super().__new__(
            cls,
            meta_loss,
            estimator,
            unroll_length,
            horizon,
            _checked_rate(learning_rate),
            _checked_meta_optimizer(meta_optimizer),
            None if clip_norm is None else checks.positive_float32("clip_norm", clip_norm),
            second_derivatives,
            batch,
            threads,
            checks.seed("weights_seed", weights_seed),
            checks.seed("draws_seed", draws_seed),
        )

    @property
    def carries(self) -> bool:
        """Whether position and state are carried from one segment to the next."""
        return self.estimator is None and self.horizon > self.unroll_length

    def horizon_of(self, number: int, random: np.random.RandomState) -> int:
        """Returns the horizon of meta-iteration `number` in a training with an estimator.

        A pair (least, most) is log-uniform. PES rounds the horizon up to a multiple of `unroll_length`.

        Args:
          number: how many meta-iterations have been made.
          random: random numbers to draw the horizon with, if it is a pair.

        Raises:
          TypeError, ValueError: the function `horizon` returns something else.
        """
        horizon = self.horizon
        if callable(horizon):
            horizon = _checked_horizon(horizon(number))
        if isinstance(horizon, tuple):
            low, high = np.log(horizon[0]), np.log(horizon[1] + 1)
            horizon = int(min(np.exp(low + (high - low) * random.uniform()), horizon[1]))
        unit = self.unroll_length if self.estimator.persistent else 1
        return -(-horizon // unit) * unit

    def description(self) -> Dict[str, Any]:
        """Returns the settings as a dict of JSON types, with custom functions by their names."""
        return {name: _described(value) for name, value in self._asdict().items()}

    def functions(self) -> Dict[str, Optional[Callable[..., Any]]]:
        """Returns the settings that may be custom functions, by name; None for one that is not."""
        values = {name: getattr(self, name) for name in ("meta_loss", "horizon", "learning_rate", "meta_optimizer")}
        return {name: value if _is_own(value) else None for name, value in values.items()}


def _is_own(value):
    return callable(value) and not isinstance(value, schedules.Schedule)


def _described(value):
    if _is_own(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value.description() if isinstance(value, (schedules.Schedule, EvolutionStrategies)) else value


def _checked_horizon(value):
    if callable(value):
        return checks.function_of_one_argument("horizon", value, "the number of meta-iterations")
    if not isinstance(value, (tuple, list)):
        return checks.positive_integer("horizon", value)
    if len(value) != 2:
        raise ValueError("horizon must be a number or a pair (least, most), got %r" % (value,))
    low, high = (checks.positive_integer("horizon[%d]" % i, one) for i, one in enumerate(value))
    if low > high:
        raise ValueError("horizon must have its least first, got %r" % (value,))
    return low, high


def _checked_rate(value):
    if callable(value):
        return checks.function_of_one_argument("learning_rate", value, "t")
    return checks.positive_float32("learning_rate", value)  # not a tensor: it would belong to another graph


def _checked_meta_optimizer(value):
    if isinstance(value, tf.train.Optimizer):
        raise TypeError("meta_optimizer must be a function of the learning rate that creates one, got %r" % (value,))
    return None if value is None else checks.function_of_one_argument("meta_optimizer", value, "the learning rate")
