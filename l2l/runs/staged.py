"""A training in stages at work: one history, one place for checkpoints, and a new graph for each stage."""

from collections import namedtuple

import numpy as np

from l2l.optimizers.trained import Trained
from l2l.results import measured_with
from l2l.runs import checkpoints, nonfinite
from l2l.runs.record import described_start
from l2l.runs.stages import checked_begun
from l2l.runs.training import PROGRESS_WINDOW, Training
from l2l.runs.training_graph import TrainingGraph
from l2l.runs.validation import COLUMNS, checked_rows

# What validations have found: rows, a list of dicts, and the best weights of the current stage, a `Trained` or None.
# The two change in one statement: an exception from outside finds both as they were, or both as they are.
Found = namedtuple("Found", ["rows", "best"])


class StagedTraining(Training):
    """A `Training` with a new graph for each stage, which validates between calls of the engine.

    Its place follows from what it has: the stages that have begun, the history, and the validations. So an interruption
    at any point leaves nothing else to remember, and a checkpoint holds just these.

    Args:
      stages: list of `Stage`.
      graphs: their graphs, a list of `TrainingGraph`; the first one has its weights.
      records: of each stage alone, a list of dicts.
      validation: a `Validation`, or None.
      may_fall_back: as from `checked_engine`.
      history: a `History` with the record of all stages.
      checkpoints, events, on_nonfinite: as for `Training`.

    Attributes:
      number: of the current stage.
      found: a `Found`.
    """

    def __init__(
        self,
        stages,
        graphs,
        records,
        validation,
        may_fall_back,
        history,
        checkpoints,
        events,
        on_nonfinite,
    ):
        fall_back = (lambda: self._build(self.number, engine="graph")) if may_fall_back else None
        super().__init__(graphs[0], history, checkpoints, events, on_nonfinite, fall_back)
        self._stages, self._records, self._validation = stages, records, validation
        self._unused = dict(enumerate(graphs[1:], 1))  # graphs of stages that have not begun
        self._draw_by_draw = [graph.draw_by_draw for graph in graphs]
        self._may_fall_back, self._evaluation = may_fall_back, None
        self._number_of_graph = 0  # until an interrupted change of stages is over, it may not be `number`
        self.found = Found([], None)

    # Where it is.

    number = property(lambda self: len(self._begun) - 1)
    _begun = property(lambda self: self.history.config["begun"])
    _stage = property(lambda self: self._stages[self.number])
    _first = property(lambda self: self._begun[-1]["first"])
    _done = property(lambda self: len(self.history) - self._first)  # meta-iterations of the stage

    @property
    def record(self):
        """The record of the current stage alone."""
        return self._record(self.number)

    def _record(self, number):
        return {**self._records[number], "start": self._begun[number]["start"]}

    def is_due(self):
        """Whether the weights of now are still to be validated."""
        if self._validation is None:
            return False
        is_time = self._done % self._validation.every == 0 or self._done == self._stage.meta_iterations
        last = [self.found.rows[-1][key] for key in ("stage", "meta_iterations")] if self.found.rows else None
        return is_time and last != self._place()

    def _place(self):
        return [self.number, self._done]

    def _is_over(self):
        """Whether the stage is."""
        if self._done >= self._stage.meta_iterations:
            return True
        since_best = 0
        for row in reversed(self.found.rows):
            if row["is_best"] or row["stage"] < self.number:
                break
            since_best += 1
        return self._validation is not None and since_best == self._validation.patience

    def left(self):
        """Meta-iterations up to the end, at most."""
        here = 0 if self._is_over() else self._stage.meta_iterations - self._done
        return here + sum(stage.meta_iterations for stage in self._stages[self.number + 1 :])

    # What it does.

    def _before_call(self, left):
        """Validates and begins the next stage where it is time; returns how many meta-iterations may come next."""
        while True:
            if self.is_due():
                self._validate()
            if not left:
                return 0
            if not self._is_over():
                ahead = self._stage.meta_iterations - self._done
                if self._validation is not None:
                    ahead = min(ahead, self._validation.every - self._done % self._validation.every)
                return min(left, ahead)
            if self.number + 1 == len(self._stages):
                return 0
            self._begin()

    def _begin(self):
        """Begins the next stage. A failure before the last lines leaves the previous stage in place."""
        number, trained = self.number + 1, self.trained()
        graph = self._new_graph(number)
        graph.loader(trained, "build_optimizer")()
        begun = {"first": len(self.history), "start": described_start(trained)}
        over, self.is_known = self.graph, False
        del self._unused[number]
        self._take(graph, number)
        self._begun.append(begun)
        self.is_known = True
        over.close()

    def _take(self, graph, number):
        """Makes a graph the current one, that of stage `number`."""
        self.graph, self._number_of_graph, self._most_per_call = graph, number, 1
        if self._evaluation is not None:
            self._evaluation.close()
            self._evaluation = None

    def _new_graph(self, number):
        """Returns an untrained graph of a stage that has not begun, or is over."""
        if number not in self._unused:
            self._unused[number] = self._build(number)
        return self._unused[number]

    def _build(self, number, **engine):
        return TrainingGraph(self._stages[number].recipe._replace(**engine))

    def _validate(self):
        trained, (problem, horizon) = self._now(), (self._stage.recipe.problem, self._stage.recipe.settings.horizon)
        if self._evaluation is None:
            how = self.record["engine"], self._may_fall_back
            self._evaluation = self._validation.graph(problem, trained, horizon, *how)
        figure = self._validation.figure(self._evaluation, trained, horizon)
        rows, best = self.found
        before = [row["figure"] for row in rows if row["stage"] == self.number and row["is_best"]]
        # If weights diverge everywhere, later ones are as good.
        is_best = not before or figure < before[-1] or before[-1] == np.inf
        stage, done = self._place()
        row = {"stage": stage, "horizon": horizon, "meta_iterations": done, "figure": figure, "is_best": bool(is_best)}
        rows = [*rows, row]
        self.found = Found(rows, self._trained(rows, trained.weights, trained.adapted) if is_best else best)
        if self.events:
            self.events.write_validation(len(self.history), figure)

    def trained(self):
        """Returns what the next stage would begin with: the best weights, or the current ones without validation."""
        return self.found.best or self._now()

    def _now(self):
        return self._trained([*self.found.rows, self._row()], self.graph.weights(), self.graph.adapted())

    def _row(self):
        return {**dict(zip(("stage", "meta_iterations"), self._place())), "is_best": True}

    def _trained(self, rows, weights, adapted):
        """Returns weights as a `Trained`, whose record lists all stages up to theirs and how long each was.

        Args:
          rows: validations. The last best one of each stage counts; the very last row belongs to these weights.
        """
        last = {row["stage"]: row["meta_iterations"] for row in rows if row["is_best"]}
        number = max(last)
        passed = [last.get(i, self._stages[i].meta_iterations) for i in range(number)]
        stages = [
            {"stage": i, "horizon": self._stages[i].recipe.settings.horizon, "meta_iterations": done}
            for i, done in enumerate([*passed, last[number]])
        ]
        record = {**self._record(number), "meta_iterations": last[number], **measured_with(), "stages": stages}
        return Trained(self._stages[number].recipe.build_optimizer, weights, adapted, record)

    def histories(self):
        """The history of each stage that has begun, a list."""
        firsts = [begun["first"] for begun in self._begun]
        return [
            self.history.part(first, last, self._record(i))
            for i, (first, last) in enumerate(zip(firsts, [*firsts[1:], len(self.history)]))
        ]

    def replay(self, path):
        """As `Trainer.replay`; the draws_seed in the file tells the stage."""
        stored, _ = nonfinite.read(path)
        seeds = [stage.recipe.settings.draws_seed for stage in self._stages]
        number = seeds.index(stored["draws_seed"]) if stored.get("draws_seed") in seeds else 0
        record = {**self._records[number], "start": stored.get("start")}  # whose weights the file has
        return nonfinite.replay(self._stages[number].recipe, self._draw_by_draw[number], record, path)

    # What it says.

    def _log_average(self):
        return self.history.log_average(min(PROGRESS_WINDOW, self._done))

    def _text(self, average):
        validated = ", validation %.3g" % self.found.rows[-1]["figure"] if self.found.rows else ""
        return "stage %d of %d%s, log average %.2f" % (self.number + 1, len(self._stages), validated, average)

    def _complaints(self, first):
        found = []
        for i, (begun, part) in enumerate(zip(self._begun, self.histories())):
            if begun["first"] + len(part) > first:
                part.config["name"] = "%s, stage %d" % (part.config["name"], i + 1)
                found += part.stalled()
        return found

    def _went_over(self, **engine):
        super()._went_over(**engine)
        self._records[self.number].update(engine)

    # What checkpoints hold of it.

    def snapshot(self):
        """Returns that of the graph, the validations, and the best weights: `validations/COLUMN`, `best/...`."""
        arrays = self.graph.snapshot()
        for column, dtype in COLUMNS.items():
            arrays["validations/" + column] = np.array([row[column] for row in self.found.rows], dtype)
        if self.found.best is not None:
            arrays.update(_arrays_of(self.found.best))
        return arrays

    def restore(self, path, allow_changed_code):
        """Goes on from a checkpoint, of whatever stage."""
        arrays, history = checkpoints.read(path, self.history.config, allow_changed_code)
        number = checked_begun(path, history, self._stages) - 1
        columns = {column: arrays.pop("validations/" + column, None) for column in COLUMNS}
        horizons = [stage.recipe.settings.horizon for stage in self._stages[: number + 1]]
        rows = checked_rows(path, columns, horizons)
        best = {name: arrays.pop(name) for name in sorted(arrays) if name.startswith("best/")}
        is_here = number == self._number_of_graph
        graph = self.graph if is_here else self._new_graph(number)
        checkpoints.check_snapshot(path, arrays, graph.snapshot(), self._records[number])
        like = Trained(None, graph.weights(), graph.adapted())
        checkpoints.check_same_arrays(path, best, _arrays_of(like) if rows else {})
        over, self.is_known = self.graph, False  # until all of it is there
        if not is_here:
            del self._unused[number]  # at once: a stage that begins needs a graph in which nothing was trained
        graph.load(arrays)
        self.history = history
        if not is_here:
            self._take(graph, number)
        weights = [best["best/weights/%d" % i] for i in range(len(like.weights))] if rows else []
        adapted = [best["best/adapted/%d" % i] for i in range(len(like.adapted))] if rows else []
        self.found = Found(rows, self._trained(rows, weights, adapted) if rows else None)
        self.is_known = True
        if not is_here:
            over.close()

    def close(self):
        """Frees all sessions, the directory of checkpoints and the file of events."""
        super().close()
        for graph in [*self._unused.values(), *([] if self._evaluation is None else [self._evaluation])]:
            graph.close()


def _arrays_of(trained):
    """Weights, and what is adapted, of a `Trained`, by their names in a checkpoint."""
    arrays = {"best/weights/%d" % i: array for i, array in enumerate(trained.weights)}
    arrays.update({"best/adapted/%d" % i: np.asarray(array) for i, array in enumerate(trained.adapted)})
    return arrays
