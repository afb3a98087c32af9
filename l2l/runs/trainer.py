"""The trainer: it owns one training graph and one history."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Dict, Optional, Union

from l2l import checks, clusters
from l2l.learning.evolution import EvolutionStrategies
from l2l.learning.settings import Horizon, Settings
from l2l.optimizers.trained import Trained
from l2l.problems.problem import Problem
from l2l.progress import waiting
from l2l.results import measured_with
from l2l.runs import nonfinite
from l2l.runs.evolving_graph import EvolvingGraph
from l2l.runs.history import History
from l2l.runs.nonfinite import Replay
from l2l.runs.recipe import Recipe
from l2l.runs.record import checked_record, record_of
from l2l.runs.run import Places, Run, checked_engine
from l2l.runs.training import Training
from l2l.runs.training_graph import TrainingGraph
from l2l.tracebacks import short_traceback
from l2l.types import BuildOptimizer, MetaLoss, MetaOptimizerFunction, PathLike, ScheduleFunction


class Trainer(Run):
    """Trains a learned optimizer on fresh draws of a problem.

    Usage::

        trainer = l2l.Trainer(l2l.Quadratic(dims=2), l2l.CoordinatewiseLSTM, learning_rate=1e-3)
        trainer.run(2000)
        optimizer = trainer.trained()  # for `evaluate` and `save`

    Each trainer owns a graph and a session. Several can exist side by side: each keeps its weights, and none slows
    another. The same arguments give bit-identical histories and weights on the same machine. One thread at a time may
    use a trainer. As a context manager, `with l2l.Trainer(...) as trainer:`, it closes itself at the end.

    Args:
      problem: a `Problem`. With an `estimator` it may be a dict from name to problem, of any shapes; each
        meta-iteration draws one of them.
      build_optimizer: function without arguments that creates the learned optimizer, a callable
        `(gradients, state) -> (update, state)` with trainable variables, in the trainer's graph.
        `CoordinatewiseLSTM` is one, `lambda: CoordinatewiseLSTM(casting="log")` another. It may also be a `Trained`,
        from another trainer or from `l2l.load`: the training then begins with its weights and a new meta-optimizer. Or
        it is a dict of such functions, one for each group of the position's tensors, see `Grouped`.
      meta_loss: what is minimized, a name of `META_LOSSES`: the "sum" of the losses of a segment, the last one ("end"),
        its log ("end_log"), or the sum of logs ("sum_log"). For whole horizons: "late_log", the log of the mean of the
        last tenth; "mean_log", the mean of the logs; or "late_and_mean_log", 0.8 of the first and 0.2 of the second.
        These three add 1e-7 before they take a log. It may also be a function of the losses `[T]` of one draw to a
        scalar.
      estimator: what makes the meta-gradient. None is backpropagation through a segment;
        `l2l.EvolutionStrategies(...)` and `l2l.PES(...)` need only forward passes. With one of these, `batch` and
        `second_derivatives` have no meaning and must keep their defaults, and `threads` is how many members run in
        parallel.
      client: with an `estimator`, a `distributed.Client` or the address of a scheduler, such as `"tcp://host:8786"`.
        Its workers run the members of each meta-iteration. On machines of one kind the numbers are the same as without
        it, bit for bit. A lost worker's members are computed again. Needs `pip install l2l[sweep]`. None for this
        process.
      unroll_length: `T`, base iterations of a segment, through which a meta-gradient flows; a positive integer.
      horizon: how many base iterations a draw lives, a multiple of `unroll_length`. None for one segment, as in the
        original notebook. Position and state are carried from one segment to the next without a gradient (truncated
        backpropagation through time, as in arXiv 1606.04474). The next draw comes when the horizon is reached, or after
        a meta-iteration that is skipped for a NaN. With an estimator it may be any number, and `PES` rounds it
        up to a multiple. It may then also be a pair `(least, most)`: the horizon of each meta-iteration is drawn
        between them, uniform in its logarithm. Or it is a function of the number of meta-iterations so far to a number
        or a pair.
      learning_rate: a number, or a schedule: a function of the number of updates so far, a scalar int64 tensor, such
        as `l2l.exponential_decay(3e-4, 1000)`. Meta-iterations that are skipped for a NaN do not count.
      meta_optimizer: None for `tf.train.AdamOptimizer` with its defaults; or a function of the learning rate, a scalar
        float32 tensor, that creates a `tf.train.Optimizer`: `lambda rate: tf.train.MomentumOptimizer(rate, 0.9)`.
      clip_norm: the meta-gradient's global norm is clipped at this; None for no clipping.
      second_derivatives: False stops meta-gradients from flowing through the optimizee's gradients.
      batch: how many draws the meta-loss of each meta-iteration is averaged over.
      threads: cores to use. The batch is cut into this many equal shards, so it must be a multiple. It pays for
        large batches. The number of shards changes only the rounding.
      weights_seed: integer that fixes the initial weights.
      draws_seed: integer that fixes the problems drawn.
      engine: "xla" compiles the meta-iterations, up to a thousand to a call; "graph" runs them op by op in the
        session, many times slower; "xla_or_graph" begins with "xla" and falls back to "graph", with a warning, if XLA
        cannot compile. All see the same draws and the same initial weights.
      name: for the progress display and the history.
      on_nonfinite: what to do about a NaN or an infinity in the meta-loss, the last loss or the meta-gradient.
        Either way the meta-iteration changes no weight and counts in `history.skipped`. "skip" warns of the
        first one and continues; "raise" saves the start of the meta-iteration and raises `NonFiniteError`.
      checkpoint_dir: directory for checkpoints, created if missing; None for none. They are written every
        `checkpoint_every` seconds and when a run ends, however it ends; the last three are kept. Files of a
        `NonFiniteError` are saved there too, otherwise in the current directory.
      checkpoint_every: seconds, a positive number.
      resume: True continues from the newest checkpoint in `checkpoint_dir`, as `restore` does; if there is none, the
        training starts anew.
      allow_changed_code: as for `restore`, with `resume=True`.
      logdir: directory for TensorBoard, created if missing; None for none. Each training needs its own. It shows
        the means of meta-loss and norm of the meta-gradient over every 100 meta-iterations, the log average, how many
        meta-iterations were skipped, histograms of the weights every 1,000 meta-iterations, and the graph.

    Attributes:
      history: a `History`, all meta-iterations so far; its `config` is the record of the training.

    Raises:
      TypeError, ValueError: an argument is out of range; an optimizer without variables, a problem whose `batch_loss`
        is not its `loss`, a parameter that cannot be described, a record or variables that no file can hold, a
        `checkpoint_dir` that another trainer uses or that is no directory, a `client` without an estimator, a problem
        or function that cannot be sent to its workers, and all that `meta_gradient` raises.
      ImportError: a `client` is given, and Dask is not installed.
    """

    @short_traceback
    def __init__(
        self,
        problem: Union[Problem, Dict[str, Problem]],
        build_optimizer: Union[BuildOptimizer, Trained, Dict[str, BuildOptimizer]],
        meta_loss: MetaLoss = "sum",
        *,
        estimator: Optional[EvolutionStrategies] = None,
        client: Optional[Any] = None,
        unroll_length: int = 20,
        horizon: Optional[Horizon] = None,
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
        checks.one_of("on_nonfinite", on_nonfinite, ["skip", "raise"] if estimator is None else ["skip"])
        clusters.check_client(client)
        if client is not None and estimator is None:
            raise ValueError("client must be None where there is no estimator, got %r" % (client,))
        places = Places(checkpoint_dir, checkpoint_every, resume, allow_changed_code, logdir)
        settings = Settings(
            meta_loss,
            estimator=estimator,
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
        self._recipe = Recipe(problem, build_optimizer, settings, engine)
        kind = TrainingGraph if estimator is None else functools.partial(EvolvingGraph, client=client)
        with waiting(str(name), "building"):
            graph = kind(self._recipe)
        self._draw_by_draw = graph.draw_by_draw
        with contextlib.ExitStack() as undo:  # what is refused leaves no directory taken
            undo.callback(graph.close)
            record = record_of(str(name), self._recipe, graph)
            history = History(checked_record(record, graph.snapshot()))
            op_by_op = self._recipe._replace(engine="graph")
            fall_back = functools.partial(kind, op_by_op) if may_fall_back else None
            training = Training(graph, history, *places.open(graph, undo), on_nonfinite, fall_back)
            super().__init__(training, places)
            undo.pop_all()

    def __repr__(self):
        return "<Trainer %r of %s: %d meta-iterations, engine %r%s>" % (
            self.history.config["name"],
            self.history.config["problem"],
            len(self.history),
            self.history.config["engine"],
            ", closed" if self._is_closed else "",
        )

    def replay(self, path: PathLike) -> Replay:
        """Repeats the meta-iteration at which `on_nonfinite="raise"` stopped.

        Nothing is trained.

            try:
                trainer.run(1000)
            except l2l.NonFiniteError as error:
                losses = trainer.replay(error.path).losses

        Args:
          path: of the file that `NonFiniteError` names.

        Returns:
          A `Replay`.

        Raises:
          ValueError: the file is damaged, or from a trainer that was built with other arguments or by other code.
        """
        path = checks.path("path", path)
        return nonfinite.replay(self._recipe, self._draw_by_draw, self.history.config, path)

    def trained(self) -> Trained:
        """Returns the optimizer with its current weights, a `Trained`.

        It is for `evaluate` and `save`. Further training does not change it.

        Raises:
          ValueError: the trainer is closed, or is running in another thread.
        """
        with self._open() as training:
            record = {**self.history.config, "meta_iterations": len(self.history), **measured_with()}
            return Trained(self._recipe.build_optimizer, training.graph.weights(), training.graph.adapted(), record)
