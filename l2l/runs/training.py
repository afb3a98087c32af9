"""A training at work: calls of the engine, and what is kept of them."""

import time
import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.learning.engines import CannotCompileError
from l2l.runs import checkpoints, nonfinite
from l2l.runs.pair_workers import WorkersError
from l2l.tracebacks import levels_to_the_caller

# The progress line is updated after this many meta-iterations or seconds, and averages over PROGRESS_WINDOW of them.
PROGRESS_EVERY = 100
PROGRESS_SECONDS = 0.2
PROGRESS_WINDOW = 2000

# A call of the engine takes about this long at most, since a run can stop only between two calls.
SECONDS_PER_CALL = 0.4


class Training:
    """A graph and its history, which advance together; for one thread at a time.

    Args:
      graph: a `TrainingGraph`.
      history: a `History` of no meta-iterations.
      checkpoints: a `CheckpointDirectory`, or None.
      events: an `Events`, or None.
      on_nonfinite: "skip" or "raise", as for `Trainer`.
      fall_back: function without arguments that returns the same graph with the engine "graph", to continue with if XLA
        cannot compile; or None.

    Attributes:
      graph, history, checkpoints, events: the current ones.
      is_known: whether the weights are those that the history tells of.
    """

    def __init__(self, graph, history, checkpoints, events, on_nonfinite, fall_back):
        self.graph, self.history, self.checkpoints, self.is_known = graph, history, checkpoints, True
        self.events = events
        self._on_nonfinite, self._fall_back = on_nonfinite, fall_back
        self._most_per_call, self._warned = 1, False

    def work(self, meta_iterations, report, stop, between_calls):
        """Trains until done or asked to stop, and keeps it all; see `Run._work`."""
        history, first = self.history, len(self.history)
        history.reserve(meta_iterations)
        last, reported, written, shown = first + meta_iterations, first, first, time.perf_counter()
        if self.events:
            self.events.begin(history)
        try:
            while not stop.is_set():
                if self.is_due():
                    report(0, "validating")
                most = self._before_call(last - len(history))
                if most:
                    if self.graph.to_prepare():
                        report(0, self.graph.to_prepare())
                        self._prepare()
                        continue  # with the question whether to stop
                    self._check_finite(self._call_engine(most))
                    between_calls()
                at, is_last = (len(history), len(history) == last) if most else (last, True)
                is_due = at - written >= PROGRESS_EVERY or is_last
                if at > reported and (is_due or time.perf_counter() - shown > PROGRESS_SECONDS):
                    average = self._log_average()
                    report(at - reported, self._text(average))
                    reported, shown = at, time.perf_counter()
                    if is_due:
                        written = at
                        if self.events:
                            self.events.write(history, average, self.graph.weights, is_last=is_last)
                if not most:
                    break
                if self.checkpoints and self.checkpoints.is_due():
                    self.checkpoints.write_or_warn(self.snapshot(), history, OSError)
            between_calls()
        except BaseException:
            if self.checkpoints and self.is_known:
                # Only a warning: what went wrong first is what the user must see.
                self.checkpoints.write_or_warn(self.snapshot(), history, (OSError, ValueError))
            raise
        if self.checkpoints:
            self.checkpoints.write(self.snapshot(), history)
        for complaint in self._complaints(first):
            warnings.warn(complaint, RuntimeWarning, stacklevel=levels_to_the_caller())
        return len(history) - first

    # Methods that a training in stages overrides, see `StagedTraining`.

    def is_due(self):
        """Whether something is to be done although no meta-iteration is left."""
        return False

    def _before_call(self, left):
        """How many of the meta-iterations that are left may come next, 0 for none."""
        return left

    def _log_average(self):
        return self.history.log_average(PROGRESS_WINDOW)

    def _text(self, average):
        """What the progress line says."""
        return "log average %.2f" % average

    def _complaints(self, first):
        """Says what is wrong with the run, a list of sentences; meta-iterations from `first` on are new."""
        return self.history.stalled()

    @property
    def record(self):
        """What is trained, for files of meta-iterations that went bad."""
        return self.history.config

    def _went_over(self, **engine):
        """Notes another engine."""
        self.history.config.update(engine)

    def snapshot(self):
        """All that the training needs to go on from here, a dict of arrays."""
        return self.graph.snapshot()

    def _call_engine(self, most):
        """Calls the engine once, for about half a second at most, and adds its rows to the history."""
        start = time.perf_counter()
        # An exception from outside, such as a second Ctrl-C, may come at any moment: until the rows are in the history,
        # nobody knows whether the weights have been updated.
        self.is_known = False
        try:
            rows = self.graph.run(min(self._most_per_call, most))
        except (tf.errors.OpError, WorkersError):
            self.is_known = True  # what failed has updated nothing
            raise
        seconds = time.perf_counter() - start
        self.history.append(np.column_stack([rows[:, :3], np.full(len(rows), seconds / len(rows)), rows[:, 3:]]))
        self.is_known = True
        if seconds > SECONDS_PER_CALL:
            self._most_per_call = max(1, self._most_per_call // 2)
        elif seconds < SECONDS_PER_CALL / 2 and len(rows) == self._most_per_call:
            self._most_per_call *= 2
        return rows

    def _prepare(self):
        """Compiles. If XLA cannot and the user allowed it, falls back to a graph that is still to be prepared."""
        try:
            self.graph.prepare()
        except CannotCompileError as error:
            if self._fall_back is None:
                raise
            warnings.warn(
                "%s. Going on with engine='graph'." % error, RuntimeWarning, stacklevel=levels_to_the_caller()
            )
            graph = self._fall_back()
            graph.load(self.graph.snapshot())
            self.graph, compiled = graph, self.graph
            compiled.close()
            self._went_over(engine="graph", xla=None)

    def _check_finite(self, rows):
        """Warns or raises if the last row has a NaN or an infinity; no row before it can have one."""
        figures = rows[-1][:3]
        if np.isfinite(figures).all() or self._warned:
            return
        number = len(self.history) - 1
        description = nonfinite.described(self.record, number, figures)
        if self._on_nonfinite == "raise":
            raise nonfinite.error_of(self._folder_for_errors, description, number, self.record, self.graph.failure())
        warnings.warn(
            description + "; like all others of its kind it changes no weight",
            RuntimeWarning,
            stacklevel=levels_to_the_caller(),
        )
        self._warned = True

    def _folder_for_errors(self):
        if self.checkpoints is None:
            return "."
        self.checkpoints.check_held()
        return self.checkpoints.path

    def restore(self, path, allow_changed_code):
        """Continues from a checkpoint.

        Raises:
          ValueError: as `checkpoints.read` and `check_snapshot`; nothing has changed then.
        """
        arrays, history = checkpoints.read(path, self.history.config, allow_changed_code)
        checkpoints.check_snapshot(path, arrays, self.graph.snapshot(), self.record)
        self.is_known = False  # until all variables are there
        self.graph.load(arrays)
        self.history = history
        self.is_known = True

    def close(self):
        """Frees the session, the directory of checkpoints and the file of events."""
        self.graph.close()
        if self.checkpoints:
            self.checkpoints.close()
        if self.events:
            self.events.close()
