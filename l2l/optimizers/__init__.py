"""Optimizers: functions `(gradients, state) -> (update, state)`, hand-designed and learned."""

from l2l.optimizers.castings import CASTINGS, Casting, log_and_sign, log_cast, no_casting
from l2l.optimizers.networks import CoordinatewiseLSTM, NetworkState
from l2l.optimizers.optimizer import Bound
from l2l.optimizers.rules import adam, momentum, nesterov, rmsprop, sgd, vsgd
from l2l.optimizers.trained import Trained, load, save

__all__ = [
    "CASTINGS",
    "Bound",
    "Casting",
    "CoordinatewiseLSTM",
    "NetworkState",
    "Trained",
    "adam",
    "load",
    "log_and_sign",
    "log_cast",
    "momentum",
    "nesterov",
    "no_casting",
    "rmsprop",
    "save",
    "sgd",
    "vsgd",
]
