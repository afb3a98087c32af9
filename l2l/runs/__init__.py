"""Runs: trainers, trainings side by side, and what they leave behind."""

from l2l.runs.checkpoints import latest_checkpoint
from l2l.runs.history import History, log_average, rolling_log_average
from l2l.runs.nonfinite import NonFiniteError, Replay
from l2l.runs.results import format_table, measured_with, save_results
from l2l.runs.sweeps import sweep
from l2l.runs.together import train_together
from l2l.runs.trainer import Trainer

__all__ = [
    "History",
    "NonFiniteError",
    "Replay",
    "Trainer",
    "format_table",
    "latest_checkpoint",
    "log_average",
    "measured_with",
    "rolling_log_average",
    "save_results",
    "sweep",
    "train_together",
]
