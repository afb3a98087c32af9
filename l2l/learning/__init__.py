"""Learning to learn: unroll, meta-losses, meta-gradient, update, and the engines that run them."""

from l2l.learning.engines import CannotCompileError
from l2l.learning.evolution import PES, EvolutionStrategies
from l2l.learning.imitation import Imitation
from l2l.learning.meta_losses import META_LOSSES
from l2l.learning.segments import MetaGradient, meta_gradient
from l2l.learning.unrolling import Unroll, learn, unroll
from l2l.learning.updates import Update, clipped, update

__all__ = [
    "META_LOSSES",
    "PES",
    "CannotCompileError",
    "EvolutionStrategies",
    "Imitation",
    "MetaGradient",
    "Unroll",
    "Update",
    "clipped",
    "learn",
    "meta_gradient",
    "unroll",
    "update",
]


def __dir__():
    return __all__
