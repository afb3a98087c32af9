"""The trainer: it owns one graph, one session, one learned optimizer and one history."""

import functools
import os
import time
import warnings

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from l2l import _checks, checkpoints, nonfinite
from l2l.checkpoints import CheckpointDirectory
from l2l.engines import CannotCompileError
from l2l.graph import TrainingGraph
from l2l.history import History
from l2l.interrupt import delayed_signals, leave
from l2l.meta import get_meta_loss
from l2l.networks import Trained

# The progress line is refreshed after so many meta-iterations, and averages over so many.
PROGRESS_EVERY = 100
PROGRESS_WINDOW = 2000

# An engine gets no more work at a time than takes about so long: only between two calls can a run stop.
SECONDS_PER_CALL = 1.0

# The engine to begin with, for each value of the argument.
_ENGINES = {"xla": "xla", "graph": "graph", "xla_or_graph": "xla"}


class Trainer:
    """Trains a learned optimizer on fresh draws of a problem.

    A trainer has a graph and a session of its own: trainers live side by side, each keeps its
    weights, and none slows another. The same arguments give bit-identical histories and
    weights on the same machine.

    Args:
      problem: a `Problem`.
      build_optimizer: function without arguments that creates the learned optimizer, a callable
        `(gradients, state) -> (update, state)` with trainable variables, in the trainer's graph.
        `CoordinatewiseLSTM` is one; `lambda: CoordinatewiseLSTM(casting="log")` another.
      meta_loss: "sum", "end", "end_log", "sum_log", or a function of the losses `[T]` to a scalar.
      steps: `T`, base iterations of an unroll; a positive integer.
      learning_rate: of Adam, whose other parameters are TensorFlow's defaults.
      clip_norm: the meta-gradient's global norm is clipped at this.
      second_derivatives: False stops meta-gradients from flowing through the optimizee's gradients.
      batch: the meta-loss is averaged over so many draws in each meta-iteration. Above 1, the
        problem's loss must keep a leading axis of draws, and a meta-loss of your own the last
        axis of the losses `[T, B]`.
      engine: "xla" compiles the meta-iterations, up to a thousand to a call; "graph" runs them op by op in the
        session, about ten times slower; "xla_or_graph" goes over to the second, with a warning, where the first
        cannot compile. All see the same draws and the same initial weights.
      threads: cores to use. The batch is cut into so many equal shards, so it must be a multiple. It pays for
        large batches. The number of shards changes rounding, not what is computed.
      weights_seed: integer that fixes the initial weights.
      draws_seed: integer that fixes the problems drawn.
      name: for the progress display and the history.
      on_nonfinite: what to do about a NaN or an infinity in the meta-loss, the last loss or the meta-gradient.
        Either way the meta-iteration changes no weight and counts in `history.skipped`. "skip" warns of the
        first one and goes on; "raise" saves the draw and the weights and raises `NonFiniteError`.
      checkpoint_dir: directory for checkpoints, made where it is missing; None for none. They are written every
        `checkpoint_every` seconds and when a run ends, in whatever way; the last three are kept. Draws of a
        `NonFiniteError` are saved there too, otherwise in the current directory.
      checkpoint_every: seconds, a positive number.

    Attributes:
      history: a `History`, all meta-iterations so far.

    Raises:
      TypeError, ValueError: an argument out of range, an optimizer without variables, a directory that
        another trainer uses, and all that `meta_step` raises.
    """

    def __init__(
        self,
        problem,
        build_optimizer,
        meta_loss="sum",
        steps=20,
        learning_rate=3e-4,
        clip_norm=1.0,
        second_derivatives=True,
        batch=1,
        engine="xla",
        threads=1,
        weights_seed=0,
        draws_seed=0,
        name="training",
        on_nonfinite="skip",
        checkpoint_dir=None,
        checkpoint_every=60.0,
    ):
        _checks.problem("problem", problem)
        self._build_optimizer = _checks.function_without_arguments("build_optimizer", build_optimizer)
        self._engine = _checks.one_of("engine", engine, _ENGINES)
        self._on_nonfinite = _checks.one_of("on_nonfinite", on_nonfinite, ["skip", "raise"])
        checkpoint_every = _checks.positive_number("checkpoint_every", checkpoint_every)
        checkpoint_dir = None if checkpoint_dir is None else _checks.path("checkpoint_dir", checkpoint_dir)
        get_meta_loss(meta_loss)
        settings = {
            "steps": _checks.positive_integer("steps", steps),
            "learning_rate": _checks.positive_number("learning_rate", learning_rate),
            "clip_norm": _checks.positive_number("clip_norm", clip_norm),
            "second_derivatives": bool(second_derivatives),
            "batch": _checks.positive_integer("batch", batch),
            "threads": _checks.positive_integer("threads", threads),
            "weights_seed": _checks.seed("weights_seed", weights_seed),
            "draws_seed": _checks.seed("draws_seed", draws_seed),
        }
        if batch % threads:
            raise ValueError("threads must divide the batch, %r, got %r" % (batch, threads))
        self._build_graph = functools.partial(TrainingGraph, problem, build_optimizer, meta_loss, **settings)
        self._replay = functools.partial(nonfinite.replay, problem, build_optimizer, meta_loss, settings)
        self._graph = self._build_graph(engine=_ENGINES[engine])
        optimizer = self._graph.optimizer
        self.history = History(
            {
                "name": str(name),
                "problem": type(problem).__name__,
                "draws": self._graph.draws,
                "casting": getattr(getattr(optimizer, "casting", None), "name", None),
                "meta_loss": meta_loss if isinstance(meta_loss, str) else getattr(meta_loss, "__name__", "custom"),
                "engine": _ENGINES[engine],
                **settings,
            }
        )
        self._most_per_call = 1
        self._unknown_state = self._warned = False
        self._checkpoints = None
        if checkpoint_dir is not None:
            self._checkpoints = CheckpointDirectory(checkpoint_dir, checkpoint_every)

    def run(self, meta_iterations):
        """Trains for so many meta-iterations more; called again, it goes on where it stopped.

        Shows progress, time left and the running log average on standard error, and warns of what
        `History.stalled` finds. Ctrl-C lets the engine's current call finish, which takes about a
        second at most, keeps all that was computed, writes a checkpoint if there is a directory for
        them, and then raises `KeyboardInterrupt`; `run` can be called again. A second Ctrl-C does not wait.
        With a `checkpoint_dir`, SIGTERM does the same and raises `SystemExit`.

        Args:
          meta_iterations: a positive integer.

        Returns:
          The history, of all meta-iterations so far.

        Raises:
          TypeError, ValueError: `meta_iterations` is not a positive integer.
          ValueError: the trainer is closed; its `checkpoint_dir` holds another training; a second Ctrl-C
            left it in the middle of a call; XLA cannot compile the problem, the optimizer or the
            meta-loss, which shows at the first run.
          NonFiniteError: with `on_nonfinite="raise"`, a NaN or an infinity.
          OSError: the last checkpoint cannot be written. Nothing else is lost, and `run` can be called again.
        """
        meta_iterations = _checks.positive_integer("meta_iterations", meta_iterations)
        self._check_ready()
        progress = tqdm(total=meta_iterations, desc=self.history.config["name"], unit="it", mininterval=0.5)

        def report(finished, average):
            progress.set_postfix_str("log average %.2f" % average, refresh=False)
            progress.update(finished)

        with progress, delayed_signals(self._checkpoints is not None) as stop:
            done = self._run(meta_iterations, report, stop)
        leave(stop, "stopped after %d of %d meta-iterations, all kept" % (done, meta_iterations))
        return self.history

    def _run(self, meta_iterations, report, stop):
        """Trains until done or asked to stop, and keeps all that was computed; returns how many meta-iterations.

        `report(finished, log average)` is called now and then, `finished` being how many since the last call.
        """
        history, first = self.history, len(self.history)
        history.reserve(meta_iterations)
        last, reported = first + meta_iterations, first
        try:
            while len(history) < last and not stop.is_set():
                rows = self._call_engine(last - len(history))
                self._check_finite(rows)
                if len(history) - reported >= PROGRESS_EVERY or len(history) == last:
                    report(len(history) - reported, history.log_average(PROGRESS_WINDOW))
                    reported = len(history)
                if self._checkpoints and self._checkpoints.is_due():
                    self._checkpoints.write_or_warn(self._graph.variables(), history)
        except BaseException:
            if self._checkpoints and not self._unknown_state:
                # Only a warning: what went wrong first is what the user must see.
                self._checkpoints.write_or_warn(self._graph.variables(), history)
            raise
        if self._checkpoints:
            self._checkpoints.write(self._graph.variables(), history)
        for complaint in history.stalled():
            warnings.warn(complaint, RuntimeWarning, stacklevel=3)
        return len(history) - first

    def _call_engine(self, most):
        """One call of the engine, of a length that keeps it under a second; its rows are in the history then."""
        self._prepare()
        start = time.perf_counter()
        try:
            rows = self._graph.run(len(self.history), min(self._most_per_call, most))
            seconds = time.perf_counter() - start
            self.history.append(np.column_stack([rows, np.full(len(rows), seconds / len(rows))]))
        except BaseException as error:
            # An op that failed has updated nothing. After anything else, such as a second Ctrl-C, who knows.
            self._unknown_state = not isinstance(error, tf.errors.OpError)
            raise
        if seconds > SECONDS_PER_CALL:
            self._most_per_call = max(1, self._most_per_call // 2)
        elif seconds < SECONDS_PER_CALL / 2 and len(rows) == self._most_per_call:
            self._most_per_call *= 2
        return rows

    def _prepare(self):
        """Compiles, if that is still to be done; goes on without where XLA cannot and the user allowed it."""
        try:
            self._graph.prepare()
        except CannotCompileError as error:
            if self._engine != "xla_or_graph":
                raise
            warnings.warn("%s. Going on with engine='graph'." % error, RuntimeWarning, stacklevel=5)
            graph = self._build_graph(engine="graph")
            graph.load(self._graph.variables())
            graph.prepare()
            self._graph, compiled = graph, self._graph
            compiled.close()
            self.history.config["engine"] = "graph"

    def _check_finite(self, rows):
        """Says so where the last of these rows has a NaN or an infinity; no row before it can have one."""
        if np.isfinite(rows[-1]).all() or (self._on_nonfinite == "skip" and self._warned):
            return
        number = len(self.history) - 1
        described = nonfinite.described(self.history.config, number, rows[-1])
        if self._on_nonfinite == "raise":
            arrays, place = self._graph.block_with(number)
            draw = [array[place] for array in arrays]
            directory = self._checkpoints.path if self._checkpoints else "."
            raise nonfinite.saved(directory, described, number, self.history.config, draw, self.weights())
        warnings.warn(described + "; like all others of its kind it changes no weight", RuntimeWarning, stacklevel=4)
        self._warned = True

    def restore(self, directory):
        """Takes weights, Adam's state and history from the newest checkpoint in a directory, and goes on from there.

        `run` then gives bit for bit what it would have given without the interruption. The checkpoint may be from
        either engine. The trainer must have been built with the same arguments but for `name`, `engine`, `threads`,
        `on_nonfinite` and those about checkpoints.

        Returns:
          The history.

        Raises:
          TypeError: `directory` is no path.
          ValueError: no checkpoint there, a damaged one, or one that does not fit, and what does not;
            the trainer is closed.
        """
        self._check_open()
        path = checkpoints.latest_checkpoint(_checks.path("directory", directory))
        if path is None:
            raise ValueError("directory must hold a checkpoint, there is none in %r" % os.fspath(directory))
        variables, history = checkpoints.read(path, self.history.config, self._graph.variables())
        self._unknown_state = True  # until all variables are there
        self._graph.load(variables)
        self.history, self._unknown_state = history, False
        if self._checkpoints:
            self._checkpoints.newest = os.path.abspath(path)
        return history

    def replay(self, path):
        """Repeats the meta-iteration that `on_nonfinite="raise"` stopped at, without training.

        Args:
          path: of the file that `NonFiniteError` names.

        Returns:
          A `Replay`.

        Raises:
          ValueError: the file is damaged, or from a trainer that was built with other arguments.
        """
        return self._replay(self.history.config, _checks.path("path", path))

    def weights(self):
        """The weights now: a list of arrays, in the order in which the variables were created.

        Raises:
          ValueError: the trainer is closed.
        """
        self._check_open()
        return self._graph.weights()

    def trained(self):
        """The optimizer with its weights now, a `Trained`, for `evaluate`. Training on does not change it.

        Raises:
          ValueError: the trainer is closed.
        """
        return Trained(self._build_optimizer, self.weights())

    def close(self):
        """Frees the session and the directory of checkpoints. The history stays."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None
            if self._checkpoints:
                self._checkpoints.close()

    def _check_open(self):
        if self._graph is None:
            raise ValueError("trainer %r is closed; create a new one" % self.history.config["name"])

    def _check_ready(self):
        self._check_open()
        if self._unknown_state:
            raise ValueError(
                "trainer %r was stopped in the middle of a call, and its weights may be ahead of its history; "
                "restore() a checkpoint, or create a new trainer" % self.history.config["name"]
            )
        if self._checkpoints:
            self._checkpoints.check_ours()
