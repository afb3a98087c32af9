"""Pictures of what an optimizer does: its updates, its learning rates, its memory, its ways."""

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
    """What the optimizers make of two gradients: the effective learning rate of the update, over both of them.

        rate = -update / gradient

    A panel an optimizer, for one coordinate. From its first step on it sees the gradient before (vertical axis)
    `repeats` times and then the current gradient (horizontal axis); what it answers to that last one is shown. Purple
    leads downhill and orange uphill, the darker the farther; white is a rate below the range of the color bar, which
    spans the middle nine tenths of all rates of the upper row, up to eight decades of them. Both axes are signed logs.
    SGD is one color; a rule that looks at the current gradient alone changes from left to right only.

    Below each panel stands what the secant method would do in its place: after the same gradients, and after the update
    that this optimizer made before, `rate = update_before / (gradient - gradient_before)`. On a quadratic without mixed
    terms this is the rate that leads to the minimum. It is not defined where both gradients are the same: gray.

    Args:
      optimizers: dict from name to optimizer, as for `evaluate`.
      smallest, largest: the ends of each half of both axes, positive numbers of float32.
      repeats: how often the gradient before is seen, a positive integer.
      ax: axes of matplotlib to draw into, two rows of one for each optimizer; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: an argument is out of range, or no optimizer.
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
    """The effective learning rate of each coordinate along a run, `-update / gradient`, over many draws.

    A panel a coordinate: the median of the rate's size over the draws, and a band from the 10th to the 90th of a
    hundred. A strip below shows the share of draws in which the rate is negative: the update leads uphill. Where a
    gradient is 0 there is no rate; base iterations at which that holds for half of the draws or more are left out, so
    the line of an optimizer that has arrived ends.

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer, as for `evaluate`; at most 28.
      draws, steps, seed: how many draws, `T`, and what fixes the draws, as for `evaluate`.
      coordinates: which of the `D` coordinates, a sequence of integers; by default the first three at most.
      ax: axes of matplotlib to draw into, two rows of one for each coordinate; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: as `trace`, or coordinates that there are not.
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
    """The memory of each optimizer along its runs, as its first two principal components.

    The state of one coordinate after each update is a point; components are those of all coordinates, draws and base
    iterations together, about their mean, without any scaling. A panel an optimizer, with the share of the variance on
    the axes: all points in gray, and the paths of the first six coordinates, colored by base iteration.

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer, as for `evaluate`, that remember two numbers a coordinate or more.
      draws, steps, seed: how many draws, `T`, and what fixes the draws, as for `evaluate`.
      ax: axes of matplotlib to draw into, one for each optimizer; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: as `trace`, a state of fewer numbers, or one that is not finite in any draw. Draws in
        which it is not are left out elsewhere, and counted in the panel's title.
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
    """The ways of several optimizers on one draw of a problem with two coordinates, over the contours of its loss.

    Each line has a marker for every position, `T + 1` of them; all begin at the black circle, and end at a star. The
    contours' losses are half a decade apart, six decades at most; negative losses have dashed ones. Of a problem with
    minibatches they are those of base iteration 0. Positions with more than ten times the first loss do not stretch the
    figure: the legend says which lines leave it.

    Args:
      problem: a `Problem` with `D = 2`.
      optimizers: dict from name to optimizer, as for `evaluate`; at most 28.
      steps, seed: `T`, and what fixes the draw: the first of `evaluate` with this seed.
      ax: axes of matplotlib to draw into; by default those of a new figure.

    Returns:
      The figure, to be shown and saved as that of `plot_losses`.

    Raises:
      TypeError, ValueError: as `trace`, or a problem with another number of coordinates than two.
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
    """Title, points `[n T, 2]`, the same as `n` paths, and shares of a panel of `plot_states`."""
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
