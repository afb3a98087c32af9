"""The figure of a training over a set of problems, from histories that are made up."""

import numpy as np
import pytest

import l2l


def history_of(problems, rows):
    """A history whose meta-iterations are `(problem, meta-loss, diverged)`."""
    estimator = l2l.EvolutionStrategies(2).description()
    history = l2l.History({"name": "made up", "problem": problems, "estimator": estimator})
    history.append([[loss, 1.0, 1.0, 0.1, problem, 10, diverged] for problem, loss, diverged in rows])
    return history


def test_each_problem_has_a_panel_with_its_meta_losses_and_their_running_mean():
    rows = [(0, 4.0, 0), (1, -2.0, 1), (0, 2.0, 0), (0, np.nan, 4), (1, 5.0, 2), (0, 3.0, 0)]
    figure = l2l.plot_problems(history_of({"one": "A", "other": "B", "never": "C"}, rows), window=2)
    one, other, never = figure.axes
    points, line = one.lines
    assert points.get_xdata().tolist() == [0, 2, 5] and points.get_ydata().tolist() == [4, 2, 3]
    assert line.get_ydata().tolist() == [4, 3, 2.5]
    assert other.lines[1].get_xdata().tolist() == [1, 4] and other.lines[1].get_ydata().tolist() == [-2, 1.5]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["one\n4 drawn, 4 diverged", "other\n2 drawn, 3 diverged", "never\n0 drawn"]
    assert all(axes.get_xlim() == (0, 6) for axes in figure.axes) and not never.lines[0].get_xdata().size


def test_a_huge_meta_loss_spoils_none_that_follow_it():
    history = history_of("Quadratic", [(0, loss, 0) for loss in [1.0, 1e30, 3.0, 5.0]])
    (axes,) = l2l.plot_problems(history, window=2).axes
    assert axes.lines[1].get_ydata().tolist() == [1, 5e29, 5e29, 4]


def test_many_problems_are_readable():
    """Of ten no title or label overlaps another panel; the lowest of each column has the numbers of meta-iterations."""
    names = {"problem of the kind %d" % i: "Q" for i in range(10)}
    figure = l2l.plot_problems(history_of(names, [(i % 10, 1000.0 * i, 0) for i in range(440)]))
    figure.execute_constrained_layout()
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert len(boxes) == 10
    for i, box in enumerate(boxes):
        assert not [j for j in range(i) if box.overlaps(boxes[j])]
    labelled = [any(label.get_visible() for label in axes.get_xticklabels()) for axes in figure.axes]
    assert labelled == [False] * 6 + [True] * 4


def test_one_problem_alone_has_one_panel():
    """And at most four whole steps from tick to tick."""
    for number, ticks in [(8, [0, 2, 4, 6, 8]), (9, [0, 5])]:
        (axes,) = l2l.plot_problems(history_of("Quadratic", [(0, 1.0, 0)] * number)).axes
        assert axes.get_title() == "Quadratic\n%d drawn" % number
        assert [place for place in axes.get_xticks() if place <= number] == ticks
    (axes,) = l2l.plot_problems(history_of("Quadratic", np.zeros([0, 3]))).axes
    assert axes.get_xlim() == (0, 1)


def test_what_is_refused():
    with pytest.raises(TypeError, match="history must be a History, got 3"):
        l2l.plot_problems(3)
    with pytest.raises(ValueError, match="history must be that of a training with an estimator"):
        l2l.plot_problems(l2l.History({"problem": "Quadratic"}))
    with pytest.raises(ValueError, match="window must be a positive integer"):
        l2l.plot_problems(history_of("Quadratic", [(0, 1.0, 0)]), window=0)
