"""Runs: trainers, trainings side by side, and what they leave behind."""

from l2l.runs.checkpoints import latest_checkpoint
from l2l.runs.curriculum import Curriculum
from l2l.runs.history import History
from l2l.runs.nonfinite import NonFiniteError, Replay
from l2l.runs.together import train_together
from l2l.runs.trainer import Trainer

__all__ = [
    "Curriculum",
    "History",
    "NonFiniteError",
    "Replay",
    "Trainer",
    "latest_checkpoint",
    "train_together",
]


def __dir__():
    return __all__
