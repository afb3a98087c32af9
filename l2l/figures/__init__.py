"""Figures: convergence and losses, and pictures of what was learned."""

from l2l.figures.axes import COLORS, LINE_STYLES, MARKERS
from l2l.figures.convergence import plot_convergence
from l2l.figures.live import LiveFigure
from l2l.figures.losses import plot_curves, plot_losses
from l2l.figures.pictures import plot_learning_rates, plot_states, plot_trajectories, plot_updates
from l2l.figures.problems import plot_problems

__all__ = [
    "COLORS",
    "LINE_STYLES",
    "LiveFigure",
    "MARKERS",
    "plot_convergence",
    "plot_curves",
    "plot_learning_rates",
    "plot_losses",
    "plot_problems",
    "plot_states",
    "plot_trajectories",
    "plot_updates",
]


def __dir__():
    return __all__
