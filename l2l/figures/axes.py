"""What figures share: colors, axes of losses, legends."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes

# Okabe and Ito's palette, made to be told apart by colour-blind readers; yellow, too pale
# for a line on white, is left out.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LINE_STYLES = ["-", "--", "-.", ":"]  # four and seven have no common factor: 28 lines differ without color too
LETTER = 0.094  # inches of width in a legend
MOST_LINES = len(COLORS) * len(LINE_STYLES)

FAR_ABOVE = 1e3  # times the usual loss: larger ones must not flatten the rest


def given_axes(ax, rows, columns):
    """Returns the user's axes as an array `[rows, columns]`, and their figure.

    Raises:
      TypeError, ValueError: they are no axes, or too few or too many.
    """
    panels = np.array([ax], object).ravel()
    if not all(isinstance(one, Axes) for one in panels):
        raise TypeError("ax must be axes of matplotlib, or a list of them, got %r" % (ax,))
    if panels.size != rows * columns:
        shape = "%d axes" % columns if rows == 1 else "%d x %d axes" % (rows, columns)
        raise ValueError("ax must be %s for this figure, got %d" % (shape, panels.size))
    return panels[0].figure, panels.reshape(rows, columns)


def closed_figure(rows, columns, width, height, ax, **how):
    """Creates a figure of this size in inches, with panels `[rows, columns]`; with `ax`, uses the user's.

    pyplot forgets the figure, so a notebook that is handed it shows it once.
    """
    if ax is not None:
        return given_axes(ax, rows, columns)
    figure, panels = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, constrained_layout=True, **how)
    plt.close(figure)
    return figure, panels


def legend_width(labels):
    """Returns the width in inches of a legend beside the panels."""
    return _legend_columns(len(labels)) * (0.6 + LETTER * max(map(len, labels)))


def line_styles(argument, lines):
    """Color, line style and marker of each line; no two share style and marker, or style and color."""
    if len(lines) > MOST_LINES:
        raise ValueError(
            "%s must hold at most %d lines, as many as can be told apart, got %d" % (argument, MOST_LINES, len(lines))
        )
    return [
        {
            "color": COLORS[i % len(COLORS)],
            "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4,
        }
        for i in range(len(lines))
    ]


def some_markers(i, number):
    """Where line number `i` has its markers: about a dozen of `number` places, different from those of other lines."""
    every = max(1, number // 12)
    return ((i % len(MARKERS)) * every // len(MARKERS), every)


def limits_of(arrays, most):
    """Limits of the y axis: some space around all values up to `most`, none above it, and a power of ten within."""
    values = shown(arrays, most)
    low, high = np.log10([values.min(), values.max()]) if values.size else (-1.0, 0.0)
    space = max(0.05 * (high - low), 0.2)
    low, high = low - space, min(high + space, 300.0, np.log10(most))
    if np.ceil(low) > np.floor(high):  # the nearest one
        below, above = np.floor(low), np.ceil(high)
        low, high = (below, high) if low - below < above - high or 10.0**above > most else (low, above)
    return 10.0**low, min(10.0**high, most)


def label_decades(axes):
    """Labels powers of ten on a logarithmic axis, and values between them if there are fewer than three."""
    low, high = np.log10(axes.get_ylim())
    decades = int(np.floor(high) - np.ceil(low)) + 1
    axes.yaxis.set_major_locator(ticker.LogLocator(numticks=10))
    between = [2, 5] if high - low > 1 else [2, 3, 4, 5, 6, 8]
    if decades < 3:
        axes.yaxis.set_minor_locator(ticker.LogLocator(subs=between))
        axes.yaxis.set_minor_formatter(ticker.FuncFormatter(lambda value, _: "%.3g" % value))
        axes.tick_params(axis="y", which="minor", labelsize="small")


def shown(arrays, most=np.inf):
    """Returns the values that a logarithmic axis can show, up to `most`: one array `[n]`."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    with np.errstate(invalid="ignore"):
        return values[(values > 0) & (values <= most) & (values < np.inf)]


def remark(lines, drawn, limits):
    """What the legend must say about some lines `[k, n]` and all that is drawn for them, `[m, n]`."""
    lines, drawn, top = np.array(lines), np.array(drawn), limits[1]
    with np.errstate(invalid="ignore"):
        above, leaves, ends_above = drawn > top, (lines > top).any(axis=1), (lines[:, -1:] > top).any(axis=1)
        negative = (drawn < 0).any()
    unknown = np.isnan(lines[:, -1:]).any(axis=1) & (not negative)  # the logarithm of a negative loss is NaN too
    remark = f", {above.sum():,} of {above.shape[1]:,} above the figure" if above.any() else ""
    for words, which in [
        ("leaves the figure", leaves),
        ("ends in NaN", unknown),
        ("diverges", ends_above | (unknown & leaves)),
    ]:
        if which.any():
            remark = ", " + words + ("" if which.all() else " in %d of %d" % (which.sum(), len(which)))
    return remark + (", with gaps for negative losses" if negative else "")


def _legend_columns(entries):
    return 1 + (entries - 1) // 15  # which fit beside a panel


def add_legend(axes, ax):
    """Adds a legend to the right of the panel, where it hides no line; inside if the panel is the user's."""
    entries = len(axes.get_legend_handles_labels()[0])
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0, "ncol": _legend_columns(entries)}
    axes.legend(fontsize=11, handlelength=2.8, **(place if ax is None else {"loc": "best"}))
