"""The trainer: it owns one training graph and one history."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Any, Callable, Dict, List, Optional, Union

import numpy as np

from l2l import checks
from l2l.learning.engines import ENGINES
from l2l.learning.settings import Settings
from l2l.optimizers.grouped import Grouped, checked_builders
from l2l.optimizers.trained import Trained
from l2l.problems.problem import Problem
from l2l.progress import progress, title
from l2l.results import measured_with
from l2l.runs import checkpoints, nonfinite
from l2l.runs.checkpoints import CheckpointDirectory
from l2l.runs.events import Events
from l2l.runs.history import History
from l2l.runs.interrupt import Stop, delayed_signals, leave
from l2l.runs.nonfinite import Replay
from l2l.runs.record import checked_record, record_of
from l2l.runs.training import Training
from l2l.runs.training_graph import TrainingGraph
from l2l.runs.turn import Turn
from l2l.types import BuildOptimizer, MetaLoss, MetaOptimizerFunction, PathLike, ScheduleFunction

# An engine's name, or this one: begin with "xla", go over to "graph" where it cannot compile.
XLA_OR_GRAPH = "xla_or_graph"


class Trainer:
    """Trains a learned optimizer on fresh draws of a problem.

    A trainer has a graph and a session of its own: trainers live side by side, each keeps its
    weights, and none slows another. The same arguments give bit-identical histories and
    weights on the same machine. One thread at a time may use a trainer. As a context manager
    it closes itself at the end: `with l2l.Trainer(...) as trainer:`.

    Args:
      problem: a `Problem`.
      build_optimizer: function without arguments that creates the learned optimizer, a callable
        `(gradients, state) -> (update, state)` with trainable variables, in the trainer's graph.
        `CoordinatewiseLSTM` is one; `lambda: CoordinatewiseLSTM(casting="log")` another. Or a `Trained`, as from
        another trainer or from `l2l.load`: the training then begins with its weights, and with a new meta-optimizer. Or
        a dict of such functions, one for each group of the position's tensors, see `Grouped`.
      meta_loss: what is minimized, "sum", "end", "end_log", "sum_log" or a function; see `l2l.Settings`.
      unroll_length, horizon, learning_rate, meta_optimizer, clip_norm, second_derivatives, batch, threads,
        weights_seed, draws_seed: see `l2l.Settings`. The learning rate may be a schedule, such as
        `l2l.exponential_decay(3e-4, 1000)`.
      engine: "xla" compiles the meta-iterations, up to a thousand to a call; "graph" runs them op by op in the
        session, many times slower; "xla_or_graph" goes over to the second, with a warning, where the first
        cannot compile. All see the same draws and the same initial weights.
      name: for the progress display and the history.
      on_nonfinite: what to do about a NaN or an infinity in the meta-loss, the last loss or the meta-gradient.
        Either way the meta-iteration changes no weight and counts in `history.skipped`. "skip" warns of the
        first one and goes on; "raise" saves what it began with and raises `NonFiniteError`.
      checkpoint_dir: directory for checkpoints, made where it is missing; None for none. They are written every
        `checkpoint_every` seconds and when a run ends, in whatever way; the last three are kept. Files of a
        `NonFiniteError` are saved there too, otherwise in the current directory.
      checkpoint_every: seconds, a positive number.
      logdir: directory for TensorBoard, made where it is missing; None for none. Each training needs its own. It shows
        the means of meta-loss and norm of the meta-gradient over every 100 meta-iterations, the log average, how many
        meta-iterations were skipped, histograms of the weights every 1,000 meta-iterations, and the graph.

    Attributes:
      history: a `History`, all meta-iterations so far; its `config` is the record of the training.

    Raises:
      TypeError, ValueError: an argument out of range, an optimizer without variables, a problem whose `batch_loss` is
        not its `loss`, a parameter that cannot be described, a record or variables that no file can hold, a
        `checkpoint_dir` that another trainer uses or that is none, and all that `meta_gradient` raises.
    """

    def __init__(
        self,
        problem: Problem,
        build_optimizer: Union[BuildOptimizer, Trained, Dict[str, BuildOptimizer]],
        meta_loss: MetaLoss = "sum",
        *,
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
        logdir: Optional[PathLike] = None,
    ) -> None:
        checks.problem("problem", problem)
        start = build_optimizer if isinstance(build_optimizer, Trained) else None
        build_optimizer = start.build if start else build_optimizer
        if isinstance(build_optimizer, dict):
            build_optimizer = functools.partial(Grouped, checked_builders(build_optimizer))
        self._build_optimizer = checks.function_without_arguments("build_optimizer", build_optimizer)
        may_fall_back = checks.one_of("engine", engine, [*ENGINES, XLA_OR_GRAPH]) == XLA_OR_GRAPH
        engine = "xla" if may_fall_back else engine
        checks.one_of("on_nonfinite", on_nonfinite, ["skip", "raise"])
        checkpoint_every = checks.positive_number("checkpoint_every", checkpoint_every)
        checkpoint_dir = None if checkpoint_dir is None else checks.path("checkpoint_dir", checkpoint_dir)
        logdir = None if logdir is None else checks.path("logdir", logdir)
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
        build_graph = functools.partial(TrainingGraph, problem, build_optimizer, start, settings)
        graph = build_graph(engine=engine)
        self._replay = functools.partial(nonfinite.replay, problem, build_optimizer, settings, graph.draw_by_draw)
        record = record_of(str(name), engine, problem, build_optimizer, start, graph, settings)
        history = History(checked_record(record, graph.snapshot()))
        directory = None if checkpoint_dir is None else CheckpointDirectory(checkpoint_dir, checkpoint_every)
        events = None if logdir is None else Events(logdir, graph.graph, graph.variables)
        fall_back = functools.partial(build_graph, engine="graph") if may_fall_back else None
        self._training = Training(graph, history, directory, events, on_nonfinite, fall_back)
        self._turn, self._is_closed = Turn(str(name)), False

    history = property(lambda self: self._training.history)

    def __repr__(self):
        return "<Trainer %r of %s: %d meta-iterations, engine %r%s>" % (
            self.history.config["name"],
            self.history.config["problem"],
            len(self.history),
            self.history.config["engine"],
            ", closed" if self._is_closed else "",
        )

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def run(self, meta_iterations: int) -> History:
        """Trains for so many meta-iterations more; called again, it goes on where it stopped.

        Shows on standard error how many meta-iterations are done, the time left and the log average: the
        mean of log10 of the last loss over the last 2,000 meta-iterations, so that -5.30 says that these
        losses lie around 10^-5.3. Where standard error cannot be written, the run goes on without. Warns of
        what `History.stalled` finds. Ctrl-C lets the engine's current call finish, which takes about a
        second at most, keeps all that was computed, writes a checkpoint if there is a directory for
        them, and then raises `KeyboardInterrupt`; `run` can be called again. A second Ctrl-C does not wait.
        With a `checkpoint_dir`, SIGTERM does the same and raises `SystemExit`.

        Args:
          meta_iterations: a positive integer.

        Returns:
          The history, of all meta-iterations so far.

        Raises:
          TypeError, ValueError: `meta_iterations` is not a positive integer.
          ValueError: the trainer is closed, or is running in another thread; its `checkpoint_dir` holds another
            training, or was removed or replaced, before or during the run; a second Ctrl-C left it in the middle of a
            call; XLA cannot compile the problem, the optimizer, the meta-loss or the meta-optimizer, which shows at
            the first run.
          NonFiniteError: with `on_nonfinite="raise"`, a NaN or an infinity.
          OSError: the last checkpoint cannot be written. Nothing else is lost, and `run` can be called again.
        """
        meta_iterations = checks.positive_integer("meta_iterations", meta_iterations)
        self.check_ready()
        line = progress(meta_iterations, title([self.history.config["name"]], "trainings"))
        with line as show, delayed_signals(self.has_checkpoints) as stop:

            def report(finished, average):
                show(finished, "log average %.2f" % average)

            done = self.work(meta_iterations, report, stop)
        leave(stop, "stopped after %d of %d meta-iterations, all kept" % (done, meta_iterations))
        return self.history

    def work(self, meta_iterations: int, report: Callable[[int, float], None], stop: Stop) -> int:
        """What `run` and `train_together` do with each trainer: trains until done or asked to stop, and keeps it all.

        Args:
          meta_iterations: how many, a positive integer.
          report: `report(finished, log average)` is called now and then, `finished` being how many since the last call.
          stop: a `Stop`.

        Returns:
          How many meta-iterations it were.
        """
        with self._turn.run():
            self.check_ready()
            return self._training.work(meta_iterations, report, stop)

    def restore(self, directory: PathLike, *, allow_changed_code: bool = False) -> History:
        """Takes weights, the meta-optimizer's state and history from the newest checkpoint in a directory, and goes on.

        `run` then gives bit for bit what it would have given without the interruption. The checkpoint may be from
        either engine. The trainer must have been built with the same arguments but for `name`, `engine`, `threads`
        (with a horizon longer than `unroll_length` these too), `on_nonfinite` and those about checkpoints. It warns, a
        `RuntimeWarning`, where XLA rounds otherwise than it did in the process that wrote the checkpoint.

        The code of your own functions and classes must be the same too. Functions that they call do not count.

        Args:
          directory: a path.
          allow_changed_code: True goes on where code has changed.

        Returns:
          The history.

        Raises:
          TypeError: `directory` is no path, or `allow_changed_code` neither True nor False.
          ValueError: no checkpoint there, a damaged one, or one that does not fit, and what does not;
            the trainer is closed, or is running in another thread.
        """
        checks.boolean("allow_changed_code", allow_changed_code)
        with self._open() as training:
            path = checkpoints.latest_checkpoint(directory)
            if path is None:
                raise ValueError("directory must hold a checkpoint, there is none in %r" % os.fspath(directory))
            snapshot = training.graph.snapshot()
            training.restore(*checkpoints.read(path, self.history.config, snapshot, allow_changed_code))
            if training.checkpoints:
                training.checkpoints.newest = os.path.abspath(path)
            return training.history

    def replay(self, path: PathLike) -> Replay:
        """Repeats the meta-iteration that `on_nonfinite="raise"` stopped at, without training.

        Args:
          path: of the file that `NonFiniteError` names.

        Returns:
          A `Replay`.

        Raises:
          ValueError: the file is damaged, or from a trainer that was built with other arguments or by other code.
        """
        return self._replay(self.history.config, checks.path("path", path))

    def weights(self) -> List[np.ndarray]:
        """The weights now: a list of arrays, in the order in which the variables were created.

        Raises:
          ValueError: the trainer is closed, or is running in another thread.
        """
        with self._open() as training:
            return training.graph.weights()

    def trained(self) -> Trained:
        """The optimizer with its weights now, a `Trained`, for `evaluate`. Training on does not change it.

        Raises:
          ValueError: the trainer is closed, or is running in another thread.
        """
        with self._open() as training:
            record = {**self.history.config, "meta_iterations": len(self.history), **measured_with()}
            return Trained(self._build_optimizer, training.graph.weights(), training.graph.adapted(), record)

    def snapshot(self) -> Dict[str, np.ndarray]:
        """All that the training needs to go on from here, a dict of arrays: a checkpoint without its history.

        Raises:
          ValueError: the trainer is closed, or is running in another thread.
        """
        with self._open() as training:
            return training.graph.snapshot()

    @property
    def has_checkpoints(self) -> bool:
        """Whether it has a directory for checkpoints."""
        return self._training.checkpoints is not None

    def close(self) -> None:
        """Frees the session and the directory of checkpoints. The history stays.

        Raises:
          ValueError: the trainer is running in another thread.
        """
        with self._turn.moment():
            if not self._is_closed:
                self._is_closed = True
                self._training.graph.close()
                if self.has_checkpoints:
                    self._training.checkpoints.close()
                if self._training.events:
                    self._training.events.close()

    @contextlib.contextmanager
    def _open(self):
        """The training, for a moment in which no other thread uses it."""
        with self._turn.moment():
            if self._is_closed:
                raise ValueError("trainer %r is closed; create a new one" % self.history.config["name"])
            yield self._training

    def check_ready(self) -> None:
        """Raises `ValueError` where the trainer cannot run: closed, running in another thread, in an unknown state, or
        about to write where it must not.
        """
        with self._open() as training:
            if not training.is_known:
                raise ValueError(
                    "trainer %r was stopped in the middle of a call, and its weights may be ahead of its history; "
                    "restore() a checkpoint, or create a new trainer" % self.history.config["name"]
                )
            if training.checkpoints:
                training.checkpoints.check_ours()
