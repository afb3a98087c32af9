"""Training with validation: the best weights are kept, and horizons grow when nothing is gained any more."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence, Union

import numpy as np

from l2l import checks
from l2l.averages import log_average
from l2l.evaluation.graph import EvaluationGraph, drawn
from l2l.optimizers.trained import Trained
from l2l.problems.problem import Problem
from l2l.progress import progress, title
from l2l.runs.interrupt import delayed_signals, leave
from l2l.runs.trainer import Trainer
from l2l.types import BuildOptimizer


class Curriculum:
    """Trains a learned optimizer over one horizon after another, and keeps the weights that are best on held-out draws.

        curriculum = l2l.Curriculum(problem, build, horizons=[100, 200, 500], meta_iterations=2000)
        best = curriculum.run()

    Every `every` meta-iterations the optimizer runs on draws that no training sees, as long as the horizon, and the
    measure of these losses is its validation. A stage ends when `patience` validations in a row have brought nothing
    better, or after `meta_iterations`; the next one begins with the best weights of the stage, and a new
    meta-optimizer. With a single horizon it is a training with validation, as in arXiv 1606.04474; with several, the
    curriculum of T. Chen et al., "Training stronger baselines for learning to optimize", 2020, arXiv 2010.09089.

    Args:
      problem, build_optimizer: as for `Trainer`.
      horizons: base iterations that a draw lives in each stage, a sequence of multiples of `unroll_length`.
      meta_iterations: the most for a stage, a positive integer, or one for each.
      every: meta-iterations from one validation to the next, a positive integer.
      patience: a positive integer.
      draws: held-out draws, a positive integer.
      measure: function of losses `[draws, horizon]` to a number, the lower the better; None for the mean of log10.
      validation_seed: fixes the held-out draws; `evaluate` with the same seed would see them again.
      settings: those of `Trainer`, by name, but for `horizon`. Stage `i` has `draws_seed + i`.

    Attributes:
      best: the best weights so far, a `Trained`, whose record has the `stages`; None before the first validation.
      validations: what was found, a list of dicts: `stage`, `horizon`, `meta_iterations` of the stage, `figure`, and
        whether it `is_best` of the stage so far.

    Raises:
      TypeError, ValueError: an argument out of range, and all that `Trainer` raises.
    """

    def __init__(
        self,
        problem: Problem,
        build_optimizer: Union[BuildOptimizer, Trained, Dict[str, BuildOptimizer]],
        horizons: Sequence[int],
        *,
        meta_iterations: Union[int, Sequence[int]],
        every: int = 500,
        patience: int = 3,
        draws: int = 8,
        measure: Optional[Callable[[np.ndarray], float]] = None,
        validation_seed: int = 1,
        **settings: Any,
    ) -> None:
        self._horizons = checks.positive_integers("horizons", horizons)
        if not self._horizons:
            raise ValueError("horizons must have at least one stage, got %r" % (horizons,))
        stages = len(self._horizons)
        most = meta_iterations if isinstance(meta_iterations, (list, tuple)) else [meta_iterations] * stages
        self._most = checks.positive_integers("meta_iterations", most)
        if len(self._most) != stages:
            raise ValueError("meta_iterations must be one number or %d of them, got %r" % (stages, meta_iterations))
        for name, why in [("horizon", "horizons say it"), ("checkpoint_dir", "each stage has a trainer of its own")]:
            if name in settings:
                raise ValueError("%s must not be given, since %s, got %r" % (name, why, settings[name]))
        self._every = checks.positive_integer("every", every)
        self._patience = checks.positive_integer("patience", patience)
        self._draws = checks.positive_integer("draws", draws)
        self._measure = log_average if measure is None else checks.function("measure", measure)
        self._seed = checks.seed("validation_seed", validation_seed)
        self._problem, self._build, self._settings = problem, build_optimizer, settings
        self._name = str(settings.get("name", "training"))
        self._trainer = self._evaluation = None
        self.best, self.validations = None, []
        self._stage, self._since_best, self._of_stage = 0, 0, None
        self._begin()

    def run(self) -> Trained:
        """Trains through all stages that are left; returns the best weights of the last, a `Trained`.

        After Ctrl-C, which raises `KeyboardInterrupt` at the next clean point, `best` and `validations` are those so
        far, and `run` goes on where it stopped.

        Raises:
          ValueError: the measure gives no number; and all that `Trainer.run` raises.
        """
        total = sum(self._most[self._stage :]) - (len(self._trainer.history) if self._trainer else 0)
        if self._stage == len(self._horizons):
            return self.best
        with progress(total, title([self._name], "trainings")) as show, delayed_signals(False) as stop:
            while self._stage < len(self._horizons) and not stop.is_set():
                self._to_next_validation(show, stop)
                if not stop.is_set():
                    self._validate()
                    left = self._most[self._stage] - len(self._trainer.history)
                    if self._since_best == self._patience or not left:
                        show(left, self._text())
                        self._end()
        leave(stop, "stopped in stage %d after %d validations, all kept" % (self._stage, len(self.validations)))
        return self.best

    def _begin(self):
        """The trainer of the stage, and the evaluation for its validations."""
        horizon, start = self._horizons[self._stage], self.best or self._build
        settings = {**self._settings, "horizon": horizon}
        settings["draws_seed"] = checks.seed("draws_seed", settings.get("draws_seed", 0)) + self._stage
        self._trainer = Trainer(self._problem, start, **settings)
        engine = "graph" if self._trainer.history.config["engine"] == "graph" else "xla"
        draws = drawn(self._problem, self._draws, self._seed, horizon)
        trained = self._trainer.trained()
        self._evaluation = EvaluationGraph(self._problem, trained, "build_optimizer", draws, horizon, engine)
        self._of_stage, self._since_best = np.inf, 0

    def _end(self):
        self._trainer.close()
        self._evaluation.close()
        self._trainer = self._evaluation = None
        self._stage += 1
        if self._stage < len(self._horizons):
            self._begin()

    def _to_next_validation(self, show, stop):
        done, most = len(self._trainer.history), self._most[self._stage]
        number = min(most, (done // self._every + 1) * self._every) - done
        if number:
            self._trainer.work(number, lambda finished, average: show(finished, self._text(average)), stop)

    def _validate(self):
        trained, horizon = self._trainer.trained(), self._horizons[self._stage]
        self._evaluation.load(trained, "build_optimizer")
        losses, _ = self._evaluation.losses_and_positions(np.arange(horizon), lambda finished: None)
        figure = float(self._measure(losses))
        if np.isnan(figure):
            raise ValueError(
                "measure must give a number, it gave NaN for losses from %g to %g" % (losses.min(), losses.max())
            )
        # Of weights that diverge everywhere any are the best, if they are the first.
        is_best = figure < self._of_stage or not np.isfinite(self._of_stage)
        row = {"stage": self._stage, "horizon": horizon, "meta_iterations": len(self._trainer.history)}
        self.validations.append({**row, "figure": figure, "is_best": bool(is_best)})
        if is_best:
            record = {**trained.record, "stages": [*self._earlier(), row]}
            self.best, self._of_stage, self._since_best = trained._replace(record=record), figure, 0
        else:
            self._since_best += 1

    def _earlier(self):
        """Of each stage before this one the meta-iterations of its best weights."""
        best = [row for row in self.validations if row["is_best"] and row["stage"] < self._stage]
        last = {row["stage"]: row for row in best}
        return [{key: row[key] for key in ["stage", "horizon", "meta_iterations"]} for row in last.values()]

    def _text(self, average=None):
        last = "" if not self.validations else ", validation %.3g" % self.validations[-1]["figure"]
        text = "horizon %d%s" % (self._horizons[self._stage], last)
        return text if average is None else "%s, log average %.2f" % (text, average)
