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
    """Draws a small SVG with a line per place: the learned optimizer, Adam, and Adam at its best rate."""
    looks = {"learned": "circle", "Adam, 0.001": "square", "Adam, best rate": "diamond"}
    known = [row[name] for row in figures for name in looks if row[name] is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    labels = ["%s, %s" % (row["place"], _text(row["steps"])) for row in figures]
    left, width, height = 7 * max(map(len, labels)), 260, 16

    def x(value):
        return left + 15 + np.interp(value, [low, high], [0, width])

    parts = []
    for i, (name, mark) in enumerate(looks.items()):
        at = left + 15 + 130 * i
        parts += [_mark(mark, at, 9), '<text x="%d" y="13">%s</text>' % (at + 8, escape(name))]
    for i, (row, label) in enumerate(zip(figures, labels)):
        y = 28 + height * i
        parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (left, y + 4, escape(label)))
        parts.append('<path d="M%d %dh%d" stroke="#ddd"/>' % (left + 15, y, width))
        parts += [_mark(mark, x(row[name]), y) for name, mark in looks.items() if row[name] is not None]
    size = (left + width + 160, 30 + height * len(figures) + 16)
    caption = "%.1f to %.1f, the lower the better; what diverged is left out" % (low, high)
    parts.append('<text x="%d" y="%d">%s</text>' % (left + 15, size[1] - 8, caption))
    return '<svg width="%d" height="%d" font-size="12" font-family="sans-serif">%s</svg>' % (*size, "\n".join(parts))


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
