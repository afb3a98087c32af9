"""Figures: convergence and losses, and pictures of what was learned."""

from l2l.figures.pictures import plot_learning_rates, plot_states, plot_trajectories, plot_updates
from l2l.figures.plots import COLORS, LINE_STYLES, MARKERS, plot_convergence, plot_losses

__all__ = [
    "COLORS",
    "LINE_STYLES",
    "MARKERS",
    "plot_convergence",
    "plot_learning_rates",
    "plot_losses",
    "plot_states",
    "plot_trajectories",
    "plot_updates",
]
