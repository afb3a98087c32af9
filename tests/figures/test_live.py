"""The figure that is redrawn while a training goes on."""

import types

import matplotlib.figure
import pytest
from trainers import small

import l2l


class Display:
    """Stands for IPython's: what was shown, and what came in its place."""

    def __init__(self, monkeypatch):
        self.figures, self.displayed, self.now = [], 0, 0.0
        monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace(kernel=True))
        monkeypatch.setattr("IPython.display.display", self.display)
        monkeypatch.setattr("l2l.figures.live.time.monotonic", lambda: self.now)

    def display(self, figure, display_id):
        assert display_id
        self.displayed += 1
        self.figures.append(figure)
        return types.SimpleNamespace(update=self.figures.append)


def test_it_redraws_one_figure_now_and_then_and_at_the_end(monkeypatch):
    shown, numbers = Display(monkeypatch), []

    def later(trainer):
        shown.now += 1.0
        numbers.append((len(trainer.history), len(shown.figures)))

    live = l2l.LiveFigure(seconds=3.0, window=2)
    with small(name="it") as trainer:
        trainer.run(7, callbacks=[live, later])
        assert len(shown.figures) == 3 and shown.displayed == 1
        trainer.run(1, callbacks=[live])
        assert len(shown.figures) == 4 and shown.displayed == 2, "another run has a figure of its own"
    assert numbers == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1), (7, 2), (7, 3)]
    assert all(isinstance(one, matplotlib.figure.Figure) for one in shown.figures)
    line = [len(one.axes[0].lines[-1].get_xdata()) for one in shown.figures]
    assert line == [4, 7, 7, 8] and "up to 2" in shown.figures[0].axes[0].get_title()


def test_outside_of_a_notebook_it_says_that_it_shows_nothing():
    with small() as trainer, pytest.warns(RuntimeWarning, match="shows nothing outside of a notebook"):
        trainer.run(1, callbacks=[l2l.LiveFigure()])


def test_its_arguments_are_checked():
    with pytest.raises(ValueError, match="seconds must be a positive finite number, got 0"):
        l2l.LiveFigure(seconds=0)
    with pytest.raises(ValueError, match="window must be a positive integer, got 0"):
        l2l.LiveFigure(window=0)
    with pytest.raises(TypeError, match="targets must be a dict from name to log average, got 3"):
        l2l.LiveFigure(targets=3)
