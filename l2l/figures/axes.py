"""What figures share: colors, axes of losses, legends."""

import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's palette, made to be told apart by colour-blind readers; yellow, too pale
# for a line on white, is left out.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LINE_STYLES = ["-", "--", "-.", ":"]  # the next one after each seven colors
MOST_LINES = len(COLORS) * len(LINE_STYLES)

FAR_ABOVE = 1e3  # times what is usual: what rises higher must not flatten the rest


def closed_figure(panels, width, height, labels):
    """A figure, and a list of its panels side by side; so many inches, and room for a legend beside them.

    pyplot forgets it: a notebook that is handed the figure shows it, once.
    """
    letters = max(len(label) for label in labels)
    size = width + _legend_columns(len(labels)) * (0.6 + 0.085 * letters), height
    figure, axes = plt.subplots(1, panels, figsize=size, sharey=True, squeeze=False, constrained_layout=True)
    plt.close(figure)
    return figure, list(axes[0])


def line_styles(argument, lines):
    """For each line its color and line style, no two alike."""
    if len(lines) > MOST_LINES:
        raise ValueError(
            "%s must hold at most %d lines, as many as can be told apart, got %d" % (argument, MOST_LINES, len(lines))
        )
    number = len(COLORS)
    return [{"color": COLORS[i % number], "linestyle": LINE_STYLES[i // number]} for i in range(len(lines))]


def limits_of(arrays, most):
    """Limits of the y axis: some space around all values up to `most`, but none beyond that."""
    values = shown(arrays, most)
    low, high = np.log10([values.min(), values.max()]) if values.size else (-1.0, 0.0)
    space = max(0.05 * (high - low), 0.2)
    return 10.0 ** (low - space), min(10.0 ** min(high + space, 300.0), most)


def shown(arrays, most=np.inf):
    """What a logarithmic axis can show of some arrays, up to `most`: one array `[n]`."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    with np.errstate(invalid="ignore"):
        return values[(values > 0) & (values <= most) & (values < np.inf)]


def remark(lines, drawn, limits):
    """What the legend must say of some lines `[k, n]`, and of all that is drawn for them, `[m, n]`."""
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


def add_legend(axes):
    """To the right of the panel, where it hides no line."""
    entries = len(axes.get_legend_handles_labels()[0])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, ncol=_legend_columns(entries))
