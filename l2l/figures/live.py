"""The figure of a training while it goes on, for notebooks."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

from l2l import checks
from l2l.figures.convergence import plot_convergence
from l2l.runs.run import Run
from l2l.tracebacks import levels_to_the_caller


class LiveFigure:
    """A callback of `Trainer.run` that redraws the figure of `plot_convergence` in a notebook while training.

        trainer.run(20_000, callbacks=[l2l.LiveFigure()])

    To draw takes a part of a second, in which nothing is trained. Outside of a notebook it shows nothing, and warns.

    Args:
      seconds: how long to train at least from one drawing to the next, a positive number.
      options: of `plot_convergence`, such as `window`.
    """

    def __init__(self, *, seconds: float = 5.0, **options: Any) -> None:
        self._seconds = checks.positive_number("seconds", seconds)
        self._options, self._handle, self._drawn, self._seen = options, None, time.monotonic(), None

    def __call__(self, trainer: Run) -> None:
        """Draws, if it is time to, or at the end of a run: there it is called twice with the same history."""
        history = trainer.history
        is_over = self._seen == len(history)
        self._seen = len(history)
        if len(history) and (is_over or time.monotonic() - self._drawn >= self._seconds):
            self._show(plot_convergence({history.config["name"]: history}, **self._options))
            self._drawn = time.monotonic()

    def _show(self, figure):
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if getattr(shell, "kernel", None) is None:
            words = "LiveFigure shows nothing outside of a notebook; l2l.plot_convergence returns the figure"
            warnings.warn(words, RuntimeWarning, stacklevel=levels_to_the_caller())
        elif self._handle is None:
            from IPython.display import display

            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)
