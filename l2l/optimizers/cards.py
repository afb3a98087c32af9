"""Trained optimizers that come with the package, and a card about each."""

from __future__ import annotations

import json
import textwrap
from collections import namedtuple
from pathlib import Path
from typing import Dict

from l2l import checks

FOLDER = Path(__file__).parent / "shipped"  # NAME.npz, as from l2l.save, and NAME.json, its card


class Card(
    namedtuple(
        "Card",
        [
            "name",  # for `l2l.load`
            "trained_on",  # a sentence
            "command",  # that trains it again, from the root of the project
            "works",  # where it does, a sentence
            "fails",  # where it does not, a sentence
            "measure",  # what the figures are
            "figures",  # list of dicts, as the columns below have them, and the best rate; None for what diverged
            "seeds",  # dict from the seed of a training to its figure on validation draws of what it was trained on
            "measured_with",  # as from `l2l.measured_with`
        ],
    )
):
    """What a trained optimizer that comes with the package was trained on, how it was measured, where it fails."""

    def __repr__(self):
        return "<Card of %r: trained on %s>" % (self.name, self.trained_on)

    def __str__(self):
        columns = ["place", "steps", "learned", "worst", "Adam, 0.001", "Adam, best rate"]
        lines = [columns] + [[_text(row[column]) for column in columns] for row in self.figures]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        table = [
            "  ".join([place.ljust(widths[0])] + [text.rjust(width) for text, width in zip(others, widths[1:])])
            for place, *others in lines
        ]
        about = ["trained_on", "command", "works", "fails", "measure"]
        lines = ["%s: %s" % (key.replace("_", " "), getattr(self, key)) for key in about]
        return "\n".join([textwrap.fill(line, 100, subsequent_indent="    ") for line in lines] + ["", *table])


def _text(value):
    if value is None:  # JSON has no infinity
        return "diverged"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else "%.2f" % value


def pretrained() -> Dict[str, Card]:
    """The trained optimizers that come with the package: a dict from name to `Card`.

    Usage::

        print(l2l.pretrained()["small_networks"])
        l2l.LearnedOptimizer("small_networks").minimize(loss)
    """
    paths = sorted(FOLDER.glob("*.json"))
    return {path.stem: Card(name=path.stem, **json.loads(path.read_text())) for path in paths}


def found(path):
    """The path of a trained optimizer: that of the one that comes with the package where `path` is its name.

    Raises:
      TypeError: `path` is no path.
      FileNotFoundError: it is neither such a name nor there.
    """
    names = [shipped.stem for shipped in sorted(FOLDER.glob("*.npz"))]
    if path in names:
        return str(FOLDER / (path + ".npz"))
    path = checks.path("path", path)
    if not Path(path).exists():
        raise FileNotFoundError("path must be of a file that l2l.save wrote, or one of %s, got %r" % (names, path))
    return path
