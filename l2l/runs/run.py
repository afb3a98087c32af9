"""What `Trainer` and `Curriculum` share: running, restoring and closing."""

from __future__ import annotations

import contextlib
import os
from collections import namedtuple
from typing import Any, Callable, Dict, List, Optional, Sequence, TypeVar

import numpy as np

from l2l import checks
from l2l.interrupt import STOPPING, Stop, delayed_signals, leave
from l2l.learning.engines import ENGINES
from l2l.progress import progress, title
from l2l.runs import checkpoints
from l2l.runs.checkpoints import CheckpointDirectory
from l2l.runs.events import Events
from l2l.runs.history import History
from l2l.runs.training import Training
from l2l.runs.turn import Turn
from l2l.tracebacks import short_traceback
from l2l.types import PathLike

_Run = TypeVar("_Run", bound="Run")

# Beside the engines' names: begin with "xla", and fall back to "graph" if XLA cannot compile.
XLA_OR_GRAPH = "xla_or_graph"


def left_to_run(finished, meta_iterations, until):
    """Returns how many meta-iterations a call of `run` asks for, an integer from 0 on.

    Raises:
      TypeError, ValueError: not exactly one of the two is given, or it is not a positive integer.
    """
    if (meta_iterations is None) == (until is None):
        raise TypeError(
            "either meta_iterations, how many more, or until, how many in all, must be given, got %r and %r"
            % (meta_iterations, until)
        )
    if until is None:
        return checks.positive_integer("meta_iterations", meta_iterations)
    return max(0, checks.positive_integer("until", until) - finished)


def checked_engine(engine):
    """Returns `(engine, may_fall_back)`: the engine to begin with, and whether "graph" may replace it."""
    may_fall_back = checks.one_of("engine", engine, [*ENGINES, XLA_OR_GRAPH]) == XLA_OR_GRAPH
    return "xla" if may_fall_back else engine, may_fall_back


class Places(namedtuple("Places", ["checkpoint_dir", "checkpoint_every", "resume", "allow_changed_code", "logdir"])):
    """Where a run writes, and whether it resumes from there; see `Trainer`.

    Raises:
      TypeError, ValueError: an argument is out of range; `resume` has no directory to resume from.
    """

    def __new__(cls, checkpoint_dir, checkpoint_every, resume, allow_changed_code, logdir):
        checkpoint_every = checks.positive_number("checkpoint_every", checkpoint_every)
        checkpoint_dir = None if checkpoint_dir is None else checks.path("checkpoint_dir", checkpoint_dir)
        if checks.boolean("resume", resume) and checkpoint_dir is None:
            raise ValueError("resume=True needs a checkpoint_dir to go on from, got None")
        if checks.boolean("allow_changed_code", allow_changed_code) and not resume:
            raise ValueError("allow_changed_code=True needs resume=True, got False")
        logdir = None if logdir is None else checks.path("logdir", logdir)
        return super().__new__(cls, checkpoint_dir, checkpoint_every, resume, allow_changed_code, logdir)

    def open(self, graph, undo):
        """`(checkpoints, events)`: a `CheckpointDirectory` and an `Events`, or None.

        Args:
          graph: the `TrainingGraph` that events show.
          undo: an `ExitStack`, which closes them.
        """
        directory = events = None
        if self.checkpoint_dir is not None:
            directory = CheckpointDirectory(self.checkpoint_dir, self.checkpoint_every)
            undo.callback(directory.close)
        if self.logdir is not None:
            events = Events(self.logdir, graph.graph, graph.variables)
            undo.callback(events.close)
        return directory, events


class Run:
    """The base class of `Trainer` and `Curriculum`: a training as a user sees it.

    Args:
      training: a `Training`.
      places: a `Places`. If its `resume` is True, the training is restored from its directory.
    """

    def __init__(self, training: Training, places: Places) -> None:
        self._training, self._is_closed, self._calls_back = training, False, False
        self._turn = Turn(self._name)
        if places.resume and checkpoints.latest_checkpoint(places.checkpoint_dir):
            self.restore(places.checkpoint_dir, allow_changed_code=places.allow_changed_code)

    @property
    def _name(self):
        return self.history.config["name"]

    @property
    def _called(self):
        return "%s %r" % (type(self).__name__.lower(), self._name)

    history = property(lambda self: self._training.history)

    def __enter__(self: _Run) -> _Run:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    @short_traceback
    def run(
        self,
        meta_iterations: Optional[int] = None,
        *,
        until: Optional[int] = None,
        callbacks: Sequence[Callable[[Any], None]] = (),
    ) -> History:
        """Trains for a number of meta-iterations, or until so many are finished in all.

            trainer.run(1000)            # 1,000 more
            trainer.run(until=100_000)   # 100,000 in all; none if as many are finished already

        Another call continues the training.

        A progress display shows how many meta-iterations are done, the time left and the log average. The log average
        is the mean of log10 of the last loss over the last 2,000 meta-iterations: -5.30 means that these losses lie
        around 10^-5.3. A notebook shows a widget, anything else a line on standard error. If standard error cannot be
        written, the run continues without the display. At the end, a `RuntimeWarning` says what `History.stalled`
        finds.

        Ctrl-C stops the run and keeps all that was computed. First the engine's current call finishes, in about half a
        second unless one meta-iteration takes longer; a compilation finishes too. Then `run` writes a checkpoint, if it
        has a directory for them, and raises `KeyboardInterrupt`. `run` can be called again. A second Ctrl-C does not
        wait. With a `checkpoint_dir`, SIGTERM stops the run in the same way and raises `SystemExit`.

        Args:
          meta_iterations: how many more, a positive integer.
          until: how many in all, a positive integer, instead of `meta_iterations`.
          callbacks: list of functions such as `l2l.LiveFigure()`. Each is called with the trainer after every call of
            the engine, about twice a second, and once more at the end. It may read, for example `trainer.history` and
            `trainer.weights()`, but must change nothing. If it raises, the run ends and keeps all that was computed.

        Returns:
          The history, of all meta-iterations so far.

        Raises:
          TypeError, ValueError: not exactly one of the two is given, or it is not a positive integer.
          ValueError: the trainer is closed, is running in another thread, or a callback runs, restores or closes it;
            its `checkpoint_dir` holds another training, or was removed or replaced, before or during the run; a second
            Ctrl-C left it in the middle of a call; XLA cannot compile the problem, the optimizer or the meta-loss,
            which shows at the first run.
          NonFiniteError: with `on_nonfinite="raise"`, a NaN or an infinity.
          RuntimeError: with a `client`, its workers cannot compute a meta-iteration. It has changed nothing, and `run`
            can be called again.
          OSError: the last checkpoint cannot be written. Nothing else is lost, and `run` can be called again.
        """
        meta_iterations = self._left(meta_iterations, until)
        if not isinstance(callbacks, (list, tuple)):
            raise TypeError("callbacks must be a list of functions of the trainer, got %r" % (callbacks,))
        for i, callback in enumerate(callbacks):
            checks.function_of_one_argument("callbacks[%d]" % i, callback, "the trainer")
        self._check_ready()
        if meta_iterations or self._training.is_due():
            line = progress(meta_iterations, title([self._name], "trainings"))
            with line as show, delayed_signals(self.has_checkpoints, lambda: show(0, STOPPING)) as stop:
                done = self._work(meta_iterations, show, stop, lambda: self._call_back(callbacks))
            leave(stop, "stopped after %d of %d meta-iterations, all kept" % (done, meta_iterations))
        return self.history

    def _left(self, meta_iterations: Optional[int], until: Optional[int]) -> int:
        """How many meta-iterations `run` with these arguments asks for, an integer from 0 on."""
        return left_to_run(len(self.history), meta_iterations, until)

    def _work(
        self,
        meta_iterations: int,
        report: Callable[[int, str], None],
        stop: Stop,
        between_calls: Optional[Callable[[], Any]] = None,
    ) -> int:
        """Trains until done or asked to stop, and keeps it all: what `run` and `train_together` do with each trainer.

        Args:
          meta_iterations: how many, an integer from 0 on.
          report: `report(finished, text)` is called now and then; `finished` counts meta-iterations since the last
            call.
          stop: a `Stop`.
          between_calls: function that is called after every call of the engine, and at the end.

        Returns:
          How many meta-iterations were computed.
        """
        self._check_no_callback("run")
        with self._turn.run():
            self._check_ready()
            return self._training.work(meta_iterations, report, stop, between_calls or (lambda: None))

    @short_traceback
    def restore(self, directory: PathLike, *, allow_changed_code: bool = False) -> History:
        """Restores weights, meta-optimizer state and history from a checkpoint.

        It takes the newest one of the directory. `run` then gives bit for bit what it would have given without the
        interruption. Either engine may have written the checkpoint. The trainer must have been built with the same
        arguments, except `name`, `engine`, `threads`, `client`, `on_nonfinite`, `logdir` and those about checkpoints.
        `threads` must be the same too if a horizon is longer than `unroll_length`, unless there is an estimator. A
        `RuntimeWarning` says if XLA rounds differently than it did in the process that wrote the checkpoint.

        The code of your own functions and classes must be the same too. Functions that they call do not count.

        Args:
          directory: a path.
          allow_changed_code: True accepts a checkpoint even if this code has changed.

        Returns:
          The history.

        Raises:
          TypeError: `directory` is no path, or `allow_changed_code` is neither True nor False.
          ValueError: the directory has no checkpoint, or a damaged one, or one that does not fit, and what does not;
            the trainer is closed, or is running in another thread.
        """
        checks.boolean("allow_changed_code", allow_changed_code)
        self._check_no_callback("restored")
        with self._open() as training:
            path = checkpoints.latest_checkpoint(directory)
            if path is None:
                raise ValueError("directory must hold a checkpoint, there is none in %r" % os.fspath(directory))
            training.restore(path, allow_changed_code)
            if training.checkpoints:
                training.checkpoints.newest = os.path.abspath(path)
            return training.history

    def weights(self) -> List[np.ndarray]:
        """Returns the current weights, in the order in which they were created.

        Returns:
          A list of arrays.

        Raises:
          ValueError: the trainer is closed, or is running in another thread.
        """
        with self._open() as training:
            return training.graph.weights()

    def snapshot(self) -> Dict[str, np.ndarray]:
        """Returns all that the training needs to continue, except its history.

        Returns:
          A dict from name to array.

        Raises:
          ValueError: the trainer is closed, or is running in another thread.
        """
        with self._open() as training:
            return training.snapshot()

    @property
    def has_checkpoints(self) -> bool:
        """Whether it has a directory for checkpoints."""
        return self._training.checkpoints is not None

    def close(self) -> None:
        """Frees the session and the directory of checkpoints. The history stays.

        Raises:
          ValueError: the trainer is running in another thread, or in the middle of a callback.
        """
        self._check_no_callback("closed")
        with self._turn.moment():
            if not self._is_closed:
                self._is_closed = True
                self._training.close()

    def _call_back(self, callbacks):
        self._calls_back = True
        try:
            for callback in callbacks:
                callback(self)
        finally:
            self._calls_back = False

    def _check_no_callback(self, what):
        """Refuses to change the trainer in a callback: its run needs history and session when the callback returns."""
        if self._calls_back:
            raise ValueError("%s cannot be %s by a callback of its run, which may read alone" % (self._called, what))

    @contextlib.contextmanager
    def _open(self):
        """Yields the training, for a moment in which no other thread uses it."""
        with self._turn.moment():
            if self._is_closed:
                raise ValueError("%s is closed; create a new one" % self._called)
            yield self._training

    def _check_ready(self) -> None:
        """Raises `ValueError` where the trainer cannot run: closed, running in another thread, in an unknown state, or
        about to write where it must not.
        """
        with self._open() as training:
            if not training.is_known:
                raise ValueError(
                    "%s was stopped in the middle of a call, and its weights may be ahead of its history; "
                    "restore() a checkpoint, or create a new one" % self._called
                )
            if training.checkpoints:
                training.checkpoints.check_ours()
