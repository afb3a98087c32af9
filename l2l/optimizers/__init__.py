"""Optimizers: functions `(gradients, state) -> (update, state)`, hand-designed and learned."""

from l2l.optimizers.adam_controller import AdamController
from l2l.optimizers.cards import Card, pretrained
from l2l.optimizers.casting import Casting
from l2l.optimizers.castings import CASTINGS
from l2l.optimizers.grouped import Grouped
from l2l.optimizers.keras_optimizer import KerasOptimizer
from l2l.optimizers.learned_optimizer import LearnedOptimizer
from l2l.optimizers.log_castings import log_and_sign, log_cast, no_casting, widening_log_cast
from l2l.optimizers.networks import CoordinatewiseLSTM, NetworkState
from l2l.optimizers.optimizer import Bound
from l2l.optimizers.prodigy import prodigy
from l2l.optimizers.relative_castings import log_ratio_cast, moments_cast, ratio_cast, secant_cast
from l2l.optimizers.rules import adam, adamw, lamb, momentum, nesterov, rmsprop, secant, sgd, vsgd
from l2l.optimizers.tensor_castings import relative_step_cast
from l2l.optimizers.trained import Trained, load, save

__all__ = [
    "CASTINGS",
    "AdamController",
    "Bound",
    "Card",
    "Casting",
    "CoordinatewiseLSTM",
    "Grouped",
    "KerasOptimizer",
    "LearnedOptimizer",
    "NetworkState",
    "Trained",
    "adam",
    "adamw",
    "lamb",
    "load",
    "log_and_sign",
    "log_cast",
    "log_ratio_cast",
    "moments_cast",
    "momentum",
    "nesterov",
    "no_casting",
    "pretrained",
    "prodigy",
    "ratio_cast",
    "relative_step_cast",
    "rmsprop",
    "save",
    "secant",
    "secant_cast",
    "sgd",
    "vsgd",
    "widening_log_cast",
]


def __dir__():
    return __all__
