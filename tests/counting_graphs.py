"""Graphs that compute next to nothing, for tests of all that goes on around a training."""

import numpy as np

import l2l
from l2l.optimizers.optimizer import opened
from l2l.runs import curriculum, staged, validation


class CountingGraph:
    """In place of a `TrainingGraph`: each meta-iteration moves one weight, by all that was before it and its settings.

    Args:
      recipe: a `Recipe`.

    Attributes:
      most: meta-iterations to a call, at most.
      rows: what the next calls return instead, a list of arrays `[n, 3]`.
    """

    draw_by_draw, position, variables, draws = False, None, ["w"], []

    def __init__(self, recipe):
        self.recipe, self.graph, self.is_closed, self.most, self.rows = recipe, None, False, 1000, []
        self.optimizer = opened("optimizer", l2l.sgd())
        self._word = "compiling" if recipe.engine == "xla" else "starting"
        self._weight, self._adapted = float(recipe.settings.weights_seed), 0.0
        self._slot, self._number = 0.0, 0
        if recipe.start:
            self.loader(recipe.start, "")()

    def to_prepare(self):
        return self._word

    def prepare(self):
        self._word = None

    def run(self, most):
        self._check()
        assert self._word is None
        if self.rows:
            return self.rows.pop(0)
        return np.array([self._one() for _ in range(min(most, self.most))])

    def _one(self):
        settings = self.recipe.settings
        force = np.sin(self._weight + self._number + 10 * settings.draws_seed + settings.horizon)
        self._slot = 0.9 * self._slot + force
        self._weight += settings.learning_rate * self._slot
        self._adapted += 1
        self._number += 1
        return self._weight, np.exp(self._weight), abs(self._slot)

    def weights(self):
        self._check()
        return [np.array(self._weight)]

    def adapted(self):
        return [np.array(self._adapted)]

    def snapshot(self):
        self._check()
        variables = {"w": self._weight, "adapted": self._adapted, "slot": self._slot}
        arrays = {"variables/" + name: np.array(value) for name, value in variables.items()}
        return {**arrays, "place": np.array([self._number, 0])}

    def load(self, snapshot):
        self._check()
        self._weight, self._adapted, self._slot = (float(snapshot["variables/" + n]) for n in ("w", "adapted", "slot"))
        self._number = int(snapshot["place"][0])

    def loader(self, trained, name):
        def load():
            self._check()
            self._weight, self._adapted = float(trained.weights[0]), float([*trained.adapted, 0.0][0])

        return load

    def failure(self):
        return {"age": np.array(0)}

    def close(self):
        self.is_closed = True

    def _check(self):
        if self.is_closed:
            raise RuntimeError("closed")


class CountingEvaluation:
    """In place of an `EvaluationGraph`: losses that follow from the weight alone.

    Class attributes:
      cannot_compile: an exception to raise where the engine is "xla", or None.
    """

    cannot_compile = None

    def __init__(self, problem, trained, path, draws, steps, engine):
        if engine == "xla" and self.cannot_compile:
            raise self.cannot_compile
        self.engine, self.is_closed, self._shape = engine, False, (draws, steps)

    def load(self, trained, path):
        self._weight = trained.weights[0]

    def losses_and_positions(self, at, report):
        assert not self.is_closed
        np.testing.assert_array_equal(at, np.arange(self._shape[1]))
        return np.full(self._shape, np.exp(self._weight)), None

    def close(self):
        self.is_closed = True


def put_in_place(monkeypatch):
    """Curricula have such graphs from now on; two lists of all of them, in the order in which they are built."""
    graphs, evaluations = [], []

    def made(kind, kept):
        return lambda *arguments: kept.append(kind(*arguments)) or kept[-1]

    for module in (curriculum, staged):
        monkeypatch.setattr(module, "TrainingGraph", made(CountingGraph, graphs))
    monkeypatch.setattr(validation, "EvaluationGraph", made(CountingEvaluation, evaluations))
    monkeypatch.setattr(validation, "drawn", lambda problem, number, seeds, steps: number)
    return graphs, evaluations
