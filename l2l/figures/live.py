"""A figure for notebooks that follows a training."""

from __future__ import annotations

import time
import warnings
from typing import Dict, Optional

from l2l import checks
from l2l.figures.convergence import checked_targets, plot_convergence
from l2l.progress import in_notebook
from l2l.runs.run import Run
from l2l.tracebacks import levels_to_the_caller


class LiveFigure:
    """A callback of `Trainer.run` that redraws `plot_convergence` while training.

        trainer.run(20_000, callbacks=[l2l.LiveFigure()])

    Drawing takes a fraction of a second, during which nothing is trained. Outside a notebook it shows nothing, and
    warns.

    Args:
      seconds: the least time from one drawing to the next, a positive number.
      targets, window: as for `plot_convergence`.

    Raises:
      TypeError, ValueError: an argument is out of range.
    """

    def __init__(self, *, seconds: float = 5.0, targets: Optional[Dict[str, float]] = None, window: int = 500) -> None:
        self._seconds = checks.positive_number("seconds", seconds)
        self._options = {"targets": checked_targets(targets), "window": checks.positive_integer("window", window)}
        self._handle, self._drawn, self._seen = None, time.monotonic(), None

    def __call__(self, trainer: Run) -> None:
        """Draws if it is time to, or if the run is over, which a second call with the same history shows."""
        history = trainer.history
        is_over = self._seen == len(history)
        self._seen = len(history)
        if len(history) and (is_over or time.monotonic() - self._drawn >= self._seconds):
            self._show(plot_convergence({history.config["name"]: history}, **self._options))
            self._drawn = time.monotonic()
            if is_over:
                self._handle = None  # another run, in another cell, has another figure

    def _show(self, figure):
        if not in_notebook():
            words = "LiveFigure shows nothing outside of a notebook; l2l.plot_convergence returns the figure"
            warnings.warn(words, RuntimeWarning, stacklevel=levels_to_the_caller())
        elif self._handle is None:
            from IPython.display import display

            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)
