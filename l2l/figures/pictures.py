"""Pictures of what an optimizer does: its updates, learning rates, memory and trajectories."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from l2l import checks
from l2l.evaluation.traces import losses_at, responses, trace
from l2l.figures.axes import add_legend, closed_figure, label_decades, legend_width, line_styles, some_markers
from l2l.figures.summaries import contour_levels, decades, learning_rates, over_draws, principal_components, signed_log
from l2l.optimizers.trained import Optimizers
from l2l.problems.problem import Problem

GRID = 60  # points of each half of an axis of `plot_updates`
MOST_PANELS = 3  # of `plot_learning_rates`, unless coordinates are named
MOST_PATHS = 6  # of each panel of `plot_states`
CONTOURS = 80  # points of each axis of `plot_trajectories`
FAR = 10.0  # times the first loss: positions with more do not stretch `plot_trajectories`


def plot_updates(
    optimizers: Optimizers,
    *,
    smallest: float = 1e-8,
    largest: float = 1e2,
    repeats: int = 1,
    ax: Optional[Any] = None,
) -> Figure:
    """Plots the effective learning rate of updates over pairs of gradients.

        rate = -update / gradient

    Each optimizer has a panel, for one coordinate. From its first step on, the optimizer sees the previous gradient
    (vertical axis) `repeats` times, and then the current gradient (horizontal axis). The panel shows the rate of its
    last update. Purple leads downhill and orange uphill; a darker color is a larger rate. White is a rate below the
    range of the color bar. That range spans the middle nine tenths of all rates of the upper row, up to eight decades.
    Both axes are signed logs. SGD is one color; a rule that looks only at the current gradient changes only from left
    to right.

    The panel below shows what the secant method would do instead, after the same gradients and after the previous
    update of this optimizer: `rate = previous_update / (gradient - previous_gradient)`. On a quadratic without mixed
    terms this rate leads to the minimum. It is not defined where both gradients are the same: gray.

        l2l.plot_updates({"SGD": l2l.sgd(), "Adam": l2l.adam(), "learned": trainer.trained()})

    Args:
      optimizers: dict from name to optimizer, as for `evaluate`.
      smallest, largest: the ends of each half of both axes, positive numbers of float32.
      repeats: how often the previous gradient is seen, a positive integer.
      ax: axes of matplotlib to draw into, two rows with one for each optimizer; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: an argument is out of range, or something is no optimizer.
    """
    smallest = checks.positive_float32("smallest", smallest)
    largest = checks.positive_float32("largest", largest)
    if not smallest < largest:
        raise ValueError("largest must be more than smallest, %r, got %r" % (smallest, largest))
    repeats = checks.positive_integer("repeats", repeats)
    half = np.geomspace(smallest, largest, GRID)
    axis = np.concatenate([-half[::-1], half]).astype(np.float32)
    before, current = (np.ravel(each) for each in np.meshgrid(axis, axis, indexing="ij"))
    answers = responses(optimizers, np.stack([before] * repeats + [current]))
    rows = [[learning_rates(current, updates[-1]) for updates in answers.values()]]
    change = current.astype(np.float64) - before
    change[change == 0] = np.nan
    rows.append([updates[-2] / change for updates in answers.values()])
    low, high = decades(np.concatenate(rows[0]))
    colors = plt.get_cmap("PuOr").copy()
    colors.set_bad("0.6")
    figure, panels = closed_figure(2, len(answers), 2.3 * len(answers) + 1.7, 5.2, ax, sharex=True, sharey=True)
    places = np.arange(len(axis) + 1) - GRID
    for line, row in zip(panels, rows):
        for axes, rates in zip(line, row):
            signed = signed_log(rates, low, high).reshape(len(axis), len(axis))
            mesh = axes.pcolormesh(
                places, places, signed, cmap=colors, vmin=low - high, vmax=high - low, rasterized=True
            )
            axes.set_aspect("equal")
            for draw in [axes.axhline, axes.axvline]:
                draw(0, color="0.3", linewidth=0.6)
    for axes, below, name in zip(*panels, answers):
        axes.set_title(str(name), fontsize="medium")
        below.set_title("secant, after its step", fontsize="medium")
    middle, ends = np.log10(smallest * largest) / 2, [np.log10(smallest), np.log10(largest)]
    labels = ["$-10^{%.3g}$" % ends[1], "$-10^{%.3g}$" % middle, r"$\pm 10^{%.3g}$" % ends[0]]
    labels += ["$10^{%.3g}$" % middle, "$10^{%.3g}$" % ends[1]]
    ticks = GRID * np.array([-1, -0.5, 0, 0.5, 1])
    for axes in panels[1]:
        axes.set_xticks(ticks)
        axes.set_xticklabels(labels, fontsize="small")
        axes.set_xlabel("gradient")
    for axes in panels[:, 0]:
        axes.set_yticks(ticks)
        axes.set_yticklabels(labels, fontsize="small")
        axes.set_ylabel("gradient before")
    bar = figure.colorbar(mesh, ax=panels.ravel().tolist(), shrink=0.8, extend="both")
    ticks = range(high, low, -1 - (high - low) // 5)
    bar.set_ticks([*[low - k for k in ticks], 0, *[k - low for k in reversed(ticks)]])
    below, above = ["$-10^{%d}$" % k for k in ticks], ["$10^{%d}$" % k for k in reversed(ticks)]
    bar.set_ticklabels([*below, r"$\pm 10^{%d}$" % low, *above])
    bar.set_label("effective learning rate, -update / gradient")
    return figure


def plot_learning_rates(
    problem: Problem,
    optimizers: Optimizers,
    *,
    draws: int = 100,
    steps: int = 20,
    seed: int = 0,
    coordinates: Optional[Sequence[int]] = None,
    ax: Optional[Any] = None,
) -> Figure:
    """Plots the effective learning rates along a run, over many draws.

        rate = -update / gradient

    Each coordinate has a panel: the median over the draws of the rate's size, and a band from the 10th to the 90th
    percentile. A strip below shows the share of draws with a negative rate, whose update leads uphill. If a gradient is
    0, it has no rate. A line skips base iterations where half of the draws or more have none, so it ends when its
    optimizer has arrived.

        l2l.plot_learning_rates(problem, {"Adam": l2l.adam(), "learned": trainer.trained()}, steps=100)

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer, as for `evaluate`; at most 28.
      draws, steps, seed: the number of draws, `T`, and the seed of the draws, as for `evaluate`.
      coordinates: which of the `D` coordinates, a sequence of integers; by default the first three at most.
      ax: axes of matplotlib to draw into, two rows with one for each coordinate; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: as `trace`, or `coordinates` are out of range.
    """
    traces = trace(problem, optimizers, draws=draws, steps=steps, seed=seed)
    styles = line_styles("optimizers", traces)
    dims = next(iter(traces.values())).gradients.shape[2]
    coordinates = range(min(dims, MOST_PANELS)) if coordinates is None else coordinates
    places = _checked_coordinates(coordinates, dims)
    labels = [str(name) for name in traces]
    width = 3.3 * len(places) + 0.6 + legend_width(labels)
    figure, panels = closed_figure(
        2, len(places), width, 4.4, ax, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]}
    )
    for i, one in enumerate(traces.values()):
        rates = learning_rates(one.gradients, one.updates)
        for axes, strip, place in zip(*panels, places):
            low, middle, high, uphill = over_draws(rates[:, :, place])
            axes.fill_between(np.arange(steps), low, high, color=styles[i]["color"], alpha=0.15, linewidth=0)
            how = dict(styles[i], markevery=some_markers(i, steps))
            axes.semilogy(middle, **how, label=labels[i], nonpositive="mask")
            strip.plot(uphill, **how)
    for axes, strip, place in zip(*panels, places):
        axes.set_title("coordinate %d" % (place + 1), fontsize="medium")
        strip.set_ylim(-0.05, 1.05)
        strip.yaxis.set_major_formatter(ticker.PercentFormatter(1))
        strip.set_xlabel("base iteration")
        strip.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        strip.grid(alpha=0.3)
        label_decades(axes)
    panels[0, 0].set_ylabel("|effective learning rate|")
    panels[1, 0].set_ylabel("uphill")
    add_legend(panels[0, -1], ax)
    return figure


def plot_states(
    problem: Problem,
    optimizers: Optimizers,
    *,
    draws: int = 20,
    steps: int = 20,
    seed: int = 0,
    ax: Optional[Any] = None,
) -> Figure:
    """Plots the memory of optimizers along their runs, as two principal components.

        l2l.plot_states(problem, {"learned": trainer.trained()})

    Each point is the state of one coordinate after an update. The components are the first two of all coordinates,
    draws and base iterations together, about their mean, without scaling. Each optimizer has a panel, with the share of
    the variance on the axes. It shows all points in gray, and the paths of the first six coordinates, colored by base
    iteration. They are counted through the first draw, then the next.

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer, as for `evaluate`, that remember at least two numbers for each
        coordinate.
      draws, steps, seed: the number of draws, `T`, and the seed of the draws, as for `evaluate`.
      ax: axes of matplotlib to draw into, one for each optimizer; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`. Draws with a state that is not finite are left out,
      and the title of the panel says how many.

    Raises:
      TypeError, ValueError: as `trace`; or a state has fewer numbers, or is not finite in any draw.
    """
    traces = trace(problem, optimizers, draws=draws, steps=steps, seed=seed, states=True)
    found = [_components_of(name, one.states) for name, one in traces.items()]
    figure, panels = closed_figure(1, len(traces), 3.6 * len(traces) + 0.8, 3.8, ax)
    for axes, (title, points, paths, shares) in zip(panels[0], found):
        axes.scatter(*points.T, s=3, color="0.8", linewidths=0, rasterized=True)
        for path in paths[:MOST_PATHS]:
            axes.plot(*path.T, color="0.6", linewidth=0.6)
            dots = axes.scatter(*path.T, c=np.arange(steps), cmap="viridis", s=10, zorder=3)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("component 1, %.0f%% of variance" % (100 * shares[0]))
        axes.set_ylabel("component 2, %.0f%% of variance" % (100 * shares[1]))
        axes.grid(alpha=0.3)
    bar = figure.colorbar(dots, ax=panels.ravel().tolist(), ticks=ticker.MaxNLocator(integer=True))
    bar.set_label("base iteration")
    return figure


def plot_trajectories(
    problem: Problem, optimizers: Optimizers, *, steps: int = 20, seed: int = 0, ax: Optional[Any] = None
) -> Figure:
    """Plots trajectories of optimizers over the contours of a 2D problem.

        l2l.plot_trajectories(l2l.Rosenbrock(), {"SGD": l2l.sgd(1e-3), "Adam": l2l.adam(0.1)}, steps=100)

    All lines show the same draw. Each has a marker for every one of its `T + 1` positions; it begins at the black
    circle and ends at a star. Contours are half a decade of the loss apart, over six decades at most; those of negative
    losses are dashed. With minibatches, they show the loss of base iteration 0. Positions with more than ten times the
    first loss do not stretch the figure; the legend says which lines leave it.

    Args:
      problem: a `Problem` with `D = 2`.
      optimizers: dict from name to optimizer, as for `evaluate`; at most 28.
      steps, seed: `T`, and the seed of the draw: the first of `evaluate` with this seed.
      ax: axes of matplotlib to draw into; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: as `trace`, or the problem does not have two coordinates.
    """
    traces = trace(problem, optimizers, draws=1, steps=checks.positive_integer("steps", steps) + 1, seed=seed)
    styles = line_styles("optimizers", traces)
    paths, near = {}, []
    for name, one in traces.items():
        positions, losses = one.positions[0], one.losses[0]
        if positions.shape[1] != 2:
            raise ValueError(
                "problem must have two coordinates, %s has %d" % (type(problem).__name__, positions.shape[1])
            )
        paths[str(name)] = positions
        with np.errstate(invalid="ignore"):
            near.append(positions[losses <= FAR * abs(losses[0])])
    near = np.concatenate([next(iter(paths.values()))[:1], *near])
    low, high = near.min(axis=0), near.max(axis=0)
    space = 0.15 * np.maximum(high - low, 0.2 * np.max(high - low) + 1e-6)
    low, high = low - space, high + space
    sides = [np.linspace(*ends, CONTOURS) for ends in zip(low, high)]
    grid = np.stack([np.ravel(each) for each in np.meshgrid(*sides)], axis=1)
    losses = losses_at(problem, grid.astype(near.dtype), seed).reshape(CONTOURS, CONTOURS)
    with np.errstate(invalid="ignore"):
        left = {name for name, path in paths.items() if not ((path >= low) & (path <= high)).all()}
    labels = [name + (", leaves the figure" if name in left else "") for name in paths]
    figure, ((axes,),) = closed_figure(1, 1, 5.4 + legend_width([*labels, "start", "end"]), 4.6, ax)
    levels = contour_levels(losses)
    if levels.size:
        contours = axes.contour(*sides, losses, levels, colors="0.7", linewidths=0.7)
        axes.clabel(contours, fmt="%.3g", fontsize="x-small", colors="0.4")
    for i, (label, path) in enumerate(zip(labels, paths.values())):
        axes.plot(*path.T, **styles[i], linewidth=1.2, label=label)
        axes.plot(*path[-1], "*", color=styles[i]["color"], markersize=13, markeredgecolor="white", zorder=4)
    axes.plot(*path[0], "o", color="black", markersize=8, zorder=5, label="start")
    axes.plot([], [], "*", color="0.5", markersize=11, linestyle="none", label="end")
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_xlabel("x, coordinate 1")
    axes.set_ylabel("y, coordinate 2")
    add_legend(axes, ax)
    return figure


def _checked_coordinates(coordinates, dims):
    try:
        places = [checks.index("coordinates", place, dims) for place in coordinates]
    except TypeError:
        raise TypeError(
            "coordinates must be a sequence of integers from 0 to %d, got %r" % (dims - 1, coordinates)
        ) from None
    if not places:
        raise ValueError("coordinates must name at least one, got %r" % (coordinates,))
    return places


def _components_of(name, states):
    """Title of a panel of `plot_states`, its points `[n T, 2]`, the same as `n` paths, and shares of the variance."""
    num, size = len(states), states.shape[3]
    if size < 2:
        raise ValueError("optimizers[%r] must remember at least 2 numbers of each coordinate, it has %d" % (name, size))
    finite = np.isfinite(states).all(axis=(1, 2, 3))
    if not finite.any():
        raise ValueError("optimizers[%r] must have a finite state in one draw at least, of %d" % (name, num))
    paths = np.concatenate(np.moveaxis(states[finite], 2, 1)).astype(np.float64)
    points, shares = principal_components(np.concatenate(paths))
    title = str(name) + ("" if finite.all() else ", without %d of %d draws" % (num - finite.sum(), num))
    return title, points, np.split(points, len(paths)), shares
