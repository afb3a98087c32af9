"""Training in stages, such as growing horizons or a teacher first; with validation or without."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Optional, Sequence, Union

import numpy as np

from l2l import checks
from l2l.learning.settings import Settings
from l2l.optimizers.trained import Trained
from l2l.problems.problem import Problem
from l2l.progress import waiting
from l2l.runs.history import History
from l2l.runs.nonfinite import Replay
from l2l.runs.recipe import Recipe
from l2l.runs.record import checked_record, record_of
from l2l.runs.run import Places, Run, checked_engine, left_to_run
from l2l.runs.staged import StagedTraining
from l2l.runs.stages import checked_stages, in_stage, joint_record
from l2l.runs.training_graph import TrainingGraph
from l2l.runs.validation import checked_validation
from l2l.tracebacks import short_traceback
from l2l.types import BuildOptimizer, MetaLoss, MetaOptimizerFunction, PathLike, ScheduleFunction


class Curriculum(Run):
    """Trains a learned optimizer in stages, each from the weights of the one before.

        stages = [{"meta_iterations": 2000, "horizon": 100}, {"meta_iterations": 2000, "horizon": 500}]
        curriculum = l2l.Curriculum(problem, build, stages, validate_every=500, patience=3)
        curriculum.run()
        best = curriculum.trained()

    A stage is a dict. Its `meta_iterations` says how many it has at most. It may replace other arguments of the
    curriculum: `problem`, `build_optimizer` (which must create the same weights), `meta_loss`, `unroll_length`,
    `horizon`, `learning_rate` or another setting. Each stage has a new meta-optimizer, and stage `i` has
    `draws_seed + i`. Without validation, the result is bit for bit that of one trainer per stage, each starting from
    the weights of the one before.

    With `validate_every`, the optimizer also runs on held-out draws: before each stage, after every `validate_every`
    meta-iterations, and at the end of the stage. A validation runs it for the horizon of the stage, and `measure` makes
    one figure of the losses. A stage hands on its best weights. It ends early when `patience` validations in a row have
    brought nothing better. One stage is a training with validation, as in arXiv 1606.04474. Growing horizons are the
    curriculum of T. Chen et al., "Training stronger baselines for learning to optimize", 2020, arXiv 2010.09089.

    With `checkpoint_dir` and `resume=True`, a curriculum continues bit for bit after a kill at any point. One history
    and one TensorBoard log cover all stages. `train_together` takes curricula too.

    Args:
      problem, build_optimizer: as for `Trainer`; the defaults of all stages.
      stages: a list of dicts.
      meta_loss, unroll_length, horizon, learning_rate, meta_optimizer: as for `Trainer`; the defaults of all stages.
      clip_norm, second_derivatives, batch, threads, weights_seed, draws_seed: as for `Trainer`; the defaults of all
        stages.
      validate_every: meta-iterations from one validation to the next, a positive integer; None for no validation.
      patience: a positive integer; None for stages that never end early.
      draws: number of held-out draws, a positive integer.
      measure: function of losses `[draws, horizon]` to a number, the lower the better; None for the mean of log10.
      validation_seed: fixes the held-out draws. `evaluate` with the same seed would see them again.
      engine, name, on_nonfinite, checkpoint_dir, checkpoint_every, resume, allow_changed_code, logdir: as for
        `Trainer`. With "xla_or_graph", validations may fall back to "graph" too.

    Attributes:
      history: a `History` of all meta-iterations of all stages. Its `config` is the record of the first stage, plus
        `stages`, the differences of the others, and `begun`, where each began.
      histories: the same, cut into stages: a list of `History`, each with the record of its stage.
      best: the best weights of the current stage, a `Trained` whose record has the `stages`. Until the stage has
        validated, those of the stage before; None without validation.
      validations: what was found, a list of dicts: `stage`, `horizon`, `meta_iterations` of the stage, `figure`, and
        `is_best`, whether it was the best of the stage so far.

    Raises:
      TypeError, ValueError: an argument is out of range; a stage cannot continue with the weights of the one before;
        and all that `Trainer` raises. All stages are checked before anything is trained.
    """

    @short_traceback
    def __init__(
        self,
        problem: Problem,
        build_optimizer: Union[BuildOptimizer, Trained, Dict[str, BuildOptimizer]],
        stages: Sequence[Dict[str, Any]],
        *,
        meta_loss: MetaLoss = "sum",
        validate_every: Optional[int] = None,
        patience: Optional[int] = None,
        draws: int = 8,
        measure: Optional[Callable[[np.ndarray], float]] = None,
        validation_seed: int = 1,
        unroll_length: int = 20,
        horizon: Optional[int] = None,
        learning_rate: Union[float, ScheduleFunction] = 3e-4,
        meta_optimizer: Optional[MetaOptimizerFunction] = None,
        clip_norm: Optional[float] = 1.0,
        second_derivatives: bool = True,
        batch: int = 1,
        threads: int = 1,
        weights_seed: int = 0,
        draws_seed: int = 0,
        engine: str = "xla",
        name: str = "training",
        on_nonfinite: str = "skip",
        checkpoint_dir: Optional[PathLike] = None,
        checkpoint_every: float = 60.0,
        resume: bool = False,
        allow_changed_code: bool = False,
        logdir: Optional[PathLike] = None,
    ) -> None:
        engine, may_fall_back = checked_engine(engine)
        checks.one_of("on_nonfinite", on_nonfinite, ["skip", "raise"])
        places = Places(checkpoint_dir, checkpoint_every, resume, allow_changed_code, logdir)
        validation = checked_validation(validate_every, patience, draws, measure, validation_seed)
        settings = Settings(
            meta_loss,
            unroll_length=unroll_length,
            horizon=horizon,
            learning_rate=learning_rate,
            meta_optimizer=meta_optimizer,
            clip_norm=clip_norm,
            second_derivatives=second_derivatives,
            batch=batch,
            threads=threads,
            weights_seed=weights_seed,
            draws_seed=draws_seed,
        )
        recipe = Recipe(problem, build_optimizer, {**settings._asdict(), "horizon": horizon}, engine)
        stages = checked_stages(stages, recipe)
        building = waiting(str(name), "building")
        with building, contextlib.ExitStack() as undo:  # what is refused leaves no directory taken
            graphs, records, before = [], [], None
            for i, stage in enumerate(stages):
                with in_stage(i):
                    graph = TrainingGraph(stage.recipe)
                    undo.callback(graph.close)
                    if before:
                        graph.loader(before, "build_optimizer")  # for its checks
                    record = checked_record(record_of(str(name), stage.recipe, graph), graph.snapshot())
                before = Trained(None, graph.weights(), graph.adapted(), record)
                graphs.append(graph)
                records.append(record)
            joint = checked_record(joint_record(stages, records, validation), graphs[0].snapshot())
            opened = places.open(graphs[0], undo)
            training = StagedTraining(
                stages, graphs, records, validation, may_fall_back, History(joint), *opened, on_nonfinite
            )
            super().__init__(training, places)
            undo.pop_all()

    histories = property(lambda self: self._training.histories())
    best = property(lambda self: self._training.found.best)
    validations = property(lambda self: list(self._training.found.rows))

    def __repr__(self):
        return "<Curriculum %r: stage %d of %d, %d meta-iterations%s>" % (
            self._name,
            self._training.number + 1,
            len(self.history.config["stages"]),
            len(self.history),
            ", closed" if self._is_closed else "",
        )

    def _left(self, meta_iterations: Optional[int], until: Optional[int]) -> int:
        """As for `Trainer`, but never beyond the end; with neither argument, up to the end."""
        left = self._training.left()
        if meta_iterations is None and until is None:
            return left
        return min(left, left_to_run(len(self.history), meta_iterations, until))

    def trained(self) -> Trained:
        """Returns the optimizer: `best`, or the current weights without validation.

        Returns:
          A `Trained`.

        Raises:
          ValueError: the curriculum is closed, or is running in another thread.
        """
        with self._open() as training:
            return training.trained()

    def replay(self, path: PathLike) -> Replay:
        """Repeats the meta-iteration at which `on_nonfinite="raise"` stopped.

        As `Trainer.replay`."""
        return self._training.replay(checks.path("path", path))
