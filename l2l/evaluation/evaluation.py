"""The result of an evaluation: losses on the same draws, final positions, a ranking."""

from __future__ import annotations

import collections.abc
import warnings
from typing import Dict, Iterator, Mapping, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.averages import log10, log_average
from l2l.graphs import OwnGraph, data_as_variables, data_in_graph, own_graph
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import Problem, sample
from l2l.tables import Table, format_table
from l2l.types import Nest

MINIBATCH_WINDOW = 20  # losses that a ranking averages if each is of another minibatch


class Evaluation(collections.abc.Mapping):
    """Losses of several optimizers on the same draws: a mapping from name to array.

        losses = l2l.evaluate(problem, {"SGD": l2l.sgd(), "Adam": l2l.adam()})
        losses["Adam"][:, -1]  # the last losses of all draws
        print(losses.ranking())

    An array is `[draws, steps]`, or `[draws, len(at)]` with `evaluate(..., at=...)`. At place `t` is the loss before
    update `t`.

    Attributes:
      at: the base iterations whose losses are kept, an integer array.
      positions: dict from name to the positions after all `steps` updates, a nest like the problem's of arrays
        `[draws, ...]`.
    """

    def __init__(
        self,
        losses: Mapping[str, np.ndarray],
        positions: Dict[str, Nest],
        at: np.ndarray,
        problem: Problem,
        draws: Sequence[np.ndarray],
    ) -> None:
        self._losses, self.positions, self.at, self._problem, self._draws = losses, positions, at, problem, draws

    def __getitem__(self, name: str) -> np.ndarray:
        return self._losses[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._losses)

    def __len__(self) -> int:
        return len(self._losses)

    @property
    def window(self) -> int:
        """How many losses in a row are averaged by default.

        20 if each is of another minibatch, or all if there are fewer; else 1.
        """
        return min(len(self.at), MINIBATCH_WINDOW) if _sees_minibatches(self._problem) else 1

    def ranking(self, *, window: Optional[int] = None) -> Table:
        """Ranks the optimizers, the best first: a `Table` with one row for each.

        The figure of a draw is log10 of its mean loss over the last `window` places. A loss that is NaN or infinite has
        diverged and counts as infinite, so one diverged draw makes an optimizer's average infinite.

        All optimizers see the same draws, so they are compared draw by draw.

        Args:
          window: how many of the last losses count, a positive integer; by default the attribute `window`.

        Returns:
          A `Table` with these columns. `optimizer` is the name, and `log_average` the mean figure over all draws.
          `behind` is the mean difference to the best optimizer's figures, and `uncertainty` the standard error of that
          mean; where `log_average` is infinite, `behind` is infinite too and `uncertainty` is NaN. `median` is over all
          draws, and `diverged` is the share of draws that did. The dicts in `rows` also have `others`, the mean figure
          over the draws that did not diverge.

        Raises:
          TypeError, ValueError: `window` is not a positive integer, or larger than the number of places.
        """
        places = len(self.at)
        window = self.window if window is None else window
        if checks.positive_integer("window", window) > places:
            raise ValueError("window must be at most the %d places of the losses, got %r" % (places, window))
        means = {name: self._means(name, window) for name in self}
        rows = sorted((_row(name, values) for name, values in means.items()), key=_order)
        best = means[rows[0]["optimizer"]]
        for row in rows[1:]:
            row["behind"], row["uncertainty"] = row["log_average"], float("nan")
            if np.isfinite(row["log_average"]):  # then no draw of this one diverged, and none of the best one
                row["behind"], row["uncertainty"] = _difference(means[row["optimizer"]], best)
        shares = [row["diverged"] for row in rows]
        whole = all(abs(100 * share - round(100 * share)) < 1e-9 for share in shares)
        digits = 0 if whole else max(0, int(np.ceil(np.log10(len(best)))) - 2)  # a single draw shows
        return format_table([{**_NONE, **row} for row in rows], {**_COLUMNS, "diverged": ".%d%%" % digits})

    def _means(self, name, window):
        values = np.asarray(self[name], np.float64)[:, -window:]
        if (values < 0).any():
            words = "losses[%r] has negative losses, whose logarithms are NaN" % (name,)
            warnings.warn(words, RuntimeWarning, stacklevel=3)
        return values.mean(axis=1)

    def losses_on_whole_data(self) -> Dict[str, np.ndarray]:
        """Computes the loss of each final position on all the data.

        Returns:
          A dict from name to an array `[draws]`.

        Raises:
          ValueError: the problem does not say what the whole data are; see `Problem.observe_all`.
        """
        problem = self._problem
        own = OwnGraph()
        with own.building(problem):
            draw = _draw_to_feed(problem)
            bound = BoundProblem(problem, draw)
            x = tf.nest.map_structure(lambda one: tf.placeholder(one.dtype, one.shape), bound.start())
            loss = bound.loss_on_whole_data(x)
        found = {}
        with own as session:
            call = session.make_callable(loss, feed_list=[*tf.nest.flatten(draw), *tf.nest.flatten(x)])
            for name, ends in self.positions.items():
                found[name] = np.stack([call(*arrays) for arrays in zip(*self._draws, *tf.nest.flatten(ends))])
        return found

    def __repr__(self):
        shape = "[%d, %d]" % next(iter(self._losses.values())).shape
        return "<Evaluation, losses %s of %s>" % (shape, ", ".join(map(str, self)))

    def _repr_html_(self):
        return self.ranking()._repr_html_()


def _draw_to_feed(problem):
    """Placeholders for one draw."""
    return tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape[1:]), sample(problem, 1, 0))


def _sees_minibatches(problem):
    """Whether the loss of a base iteration depends on its number."""
    with own_graph():
        data_as_variables(problem)
        t = tf.placeholder(tf.int32, [])
        observed = problem.observe(_draw_to_feed(problem), t, data_in_graph(problem))
        waiting, seen = [one.op for one in tf.nest.flatten(observed) if isinstance(one, tf.Tensor)], set()
        while waiting:
            op = waiting.pop()
            if op not in seen:
                seen.add(op)
                waiting += [*(one.op for one in op.inputs), *op.control_inputs]
        return t.op in seen


_NONE = {"behind": None, "uncertainty": None}
_COLUMNS = {
    "optimizer": "",
    **dict.fromkeys(["log_average", "behind", "uncertainty", "median"], ".2f"),
    "diverged": ".0%",
}


def _row(name, means):
    finite = np.isfinite(means)
    return {
        "optimizer": str(name),
        "log_average": log_average(means),
        "diverged": float(1 - finite.mean()),
        "others": log_average(means[finite]),
        "median": log_average([np.median(np.where(finite, means, np.inf))]),
    }


def _order(row):
    key = [row["log_average"], row["diverged"], row["others"]]
    return [np.inf if np.isnan(value) else value for value in key]


def _difference(means, best):
    """The mean of the paired differences of log10, and its standard error."""
    differences = log10(means) - log10(best)
    error = differences.std(ddof=1) / np.sqrt(differences.size) if differences.size > 1 else float("nan")
    return float(differences.mean()), float(error)
