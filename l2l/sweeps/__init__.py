"""Sweeps: grids of trainings on many cores or machines."""

from l2l.sweeps.sweep import Sweep, sweep

__all__ = ["Sweep", "sweep"]
