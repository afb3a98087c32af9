"""Trained optimizers that come with the package, each with a card."""

from __future__ import annotations

import json
import textwrap
from collections import namedtuple
from html import escape
from pathlib import Path
from typing import Dict

import numpy as np

from l2l import checks
from l2l.tables import format_table

_ABOUT = ["trained_on", "command", "works", "fails", "measure"]
_COLUMNS = ["place", "steps", "learned", "worst", "Adam, 0.001", "Adam, best rate"]

FOLDER = Path(__file__).parent / "shipped"  # NAME.npz, as from l2l.save, and NAME.json, its card


class Card(
    namedtuple(
        "Card",
        [
            "name",  # for `l2l.load`
            "trained_on",  # the problems it was trained on, a sentence
            "command",  # the command that trains it again, run from the root of the project
            "works",  # where it works, a sentence
            "fails",  # where it fails, a sentence
            "measure",  # what the figures are
            "figures",  # list of dicts with the columns above and the best rate of Adam; None where a run diverged
            "seeds",  # dict from the seed of each training to its figure on validation draws of the training problem
            "measured_with",  # what `l2l.measured_with` returned
        ],
    )
):
    """The card of a pretrained optimizer: how it was trained, where it works and fails.

    `print` shows a card as text; a notebook shows it with a picture and a table.
    """

    def __repr__(self):
        return "<Card of %r: trained on %s>" % (self.name, self.trained_on)

    def _repr_html_(self):
        about = [(name, getattr(self, name)) for name in _ABOUT]
        about = "".join("<b>%s:</b> %s<br>\n" % (name.replace("_", " "), escape(text)) for name, text in about)
        rows = [{column: _text(row[column]) for column in _COLUMNS} for row in self.figures]
        table = format_table(rows, {name: "" if name == "place" else ">" for name in _COLUMNS})._repr_html_()
        table = "<details><summary>All figures</summary>\n%s</details>" % table
        return "<p><b>%s</b><br>\n%s</p>\n%s\n%s" % (escape(self.name), about, _picture(self.figures), table)

    def __str__(self):
        lines = [_COLUMNS] + [[_text(row[column]) for column in _COLUMNS] for row in self.figures]
        widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
        table = [
            "  ".join([place.ljust(widths[0])] + [text.rjust(width) for text, width in zip(others, widths[1:])])
            for place, *others in lines
        ]
        lines = ["%s: %s" % (key.replace("_", " "), getattr(self, key)) for key in _ABOUT]
        return "\n".join([textwrap.fill(line, 100, subsequent_indent="    ") for line in lines] + ["", *table])


def _picture(figures):
    """Draws a small SVG with a line per place: the learned optimizer, Adam, and Adam at its best rate.

    The axis leaves out what lies far from all others, which would squeeze them together: an arrow at the edge says how
    far that is.
    """
    looks = {"learned": "circle", "Adam, 0.001": "square", "Adam, best rate": "diamond"}
    known = [row[name] for row in figures for name in looks if row[name] is not None]
    if not known:
        return ""
    low, high = _limits(known)
    labels = ["%s, %s" % (row["place"], _text(row["steps"])) for row in figures]
    left, width, height, edge = 7 * max(map(len, labels)) + 15, 260, 16, 45
    right, bottom = left + 2 * edge + width, 28 + height * len(figures)

    def x(value):
        return left + edge + np.interp(value, [low, high], [0, width])

    parts = []
    for tick in _ticks(low, high):
        parts.append('<path d="M%.1f 20V%d" stroke="#ddd"/>' % (x(tick), bottom - 4))
        parts.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (x(tick), bottom + 9, tick))
    for i, (name, mark) in enumerate(looks.items()):
        at = left + 120 * i - 15
        parts += [_mark(mark, at, 9), '<text x="%d" y="13">%s</text>' % (at + 8, escape(name))]
    for i, (row, label) in enumerate(zip(figures, labels)):
        y = 28 + height * i
        parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (left - 15, y + 4, escape(label)))
        parts.append('<path d="M%d %dH%d" stroke="#ddd"/>' % (left, y, right))
        for name, mark in looks.items():
            if row[name] is not None:
                parts += [_mark(mark, x(row[name]), y), *_beyond(row[name], low, high, x, y)]
    caption = "natural logarithm of the loss; lower is better; what diverged is left out"
    parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (right, bottom + 26, caption))
    size = (right + 5, bottom + 32)
    style = "max-width: 100%; height: auto; font: 12px sans-serif; fill: currentColor"  # as wide as the window at most
    head = '<svg width="%d" height="%d" viewBox="0 0 %d %d"\nstyle="%s">' % (*size, *size, style)
    return "\n".join([head, *parts, "</svg>"])


def _limits(values):
    """The lowest and the highest value, but for those beyond the quartiles by more than five times their distance."""
    quarter, three_quarters = np.percentile(values, [25, 75])
    reach = 5 * (three_quarters - quarter)
    near = [value for value in values if quarter - reach <= value <= three_quarters + reach]
    return min(near), max(near)


def _ticks(low, high):
    """Up to seven round numbers; logarithms of losses in float32 lie within 200 of each other."""
    steps = (digit * 10.0**power for power in range(-2, 3) for digit in (1, 2, 5))
    step = next(step for step in steps if high - low <= 6 * step)
    return [step * i for i in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _beyond(value, low, high, x, y):
    """The arrow and the number of a value that lies off the axis."""
    if value < low:
        return ['<text x="%d" y="%d" text-anchor="end">\u25c2%.1f</text>' % (x(low) - 7, y + 4, value)]
    if value > high:
        return ['<text x="%d" y="%d">%.1f\u25b8</text>' % (x(high) + 7, y + 4, value)]
    return []


def _mark(mark, x, y):
    """Draws a mark; marks differ in shape and in color."""
    shapes = {
        "circle": '<circle cx="{x:.1f}" cy="{y}" r="4.5" fill="#0072B2"/>',
        "square": '<path d="M{x:.1f} {y}m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>',
        "diamond": '<path d="M{x:.1f} {y}m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>',
    }
    return shapes[mark].format(x=x, y=y)


def _text(value):
    if value is None:  # JSON has no infinity
        return "diverged"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else "%.2f" % value


def pretrained() -> Dict[str, Card]:
    """Returns a dict from the name of each pretrained optimizer to its `Card`.

    Usage::

        print(l2l.pretrained()["small_networks"])
        l2l.LearnedOptimizer("small_networks").minimize(loss)
    """
    paths = sorted(FOLDER.glob("*.json"))
    return {path.stem: Card(name=path.stem, **json.loads(path.read_text())) for path in paths}


def found(path):
    """Returns the path of a trained optimizer; `path` may be the name of a pretrained one.

    Raises:
      TypeError: `path` is no path.
      FileNotFoundError: `path` is neither a file nor such a name.
    """
    names = [shipped.stem for shipped in sorted(FOLDER.glob("*.npz"))]
    if path in names:
        return str(FOLDER / (path + ".npz"))
    path = checks.path("path", path)
    if not Path(path).exists():
        raise FileNotFoundError("path must be of a file that l2l.save wrote, or one of %s, got %r" % (names, path))
    return path
