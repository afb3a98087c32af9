"""Sweeps: grids of trainings on many cores or machines, and the tuning of hand-designed optimizers."""

from l2l.sweeps.sweep import Sweep, sweep
from l2l.sweeps.tune import Tuned, log_range, near_one, tune

__all__ = ["Sweep", "Tuned", "log_range", "near_one", "sweep", "tune"]


def __dir__():
    return __all__
