"""Event files for TensorBoard."""

import os
import socket
import time
import warnings

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.summary.writer.writer import SummaryToEventTransformer

from l2l.graphs import own_graph
from l2l.tracebacks import levels_to_the_caller

WEIGHTS_EVERY = 1000  # meta-iterations between two sets of histograms


class _File:
    """One event file that reports its errors. TensorFlow's own writer writes in a thread and hides them.

    Raises, when it is made or flushed:
      OSError, tf.errors.OpError: it cannot be written, or it is gone.
    """

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        # Files are named by the second; a run that begins in the same one as another would write over its file.
        now = time.time()
        name = "events.out.tfevents.%010d.%s.%06d" % (now, socket.gethostname(), now % 1 * 1e6)
        self._path = os.path.abspath(os.path.join(directory, name))  # the current directory may change
        self._records = tf.io.TFRecordWriter(self._path)
        self.add_event(tf.Event(wall_time=now, file_version="brain.Event:2"))

    def add_event(self, event):
        self._records.write(event.SerializeToString())

    def get_logdir(self):
        return os.path.dirname(self._path)

    def flush(self):
        self._records.flush()
        os.stat(self._path)  # what is written to a file that was removed is lost

    def close(self):
        self._records.close()


class Events:
    """Event files of one training in a directory, created if missing: `tensorboard --logdir DIRECTORY`.

    If they can no longer be written, because the disk is full or the directory gone, one `RuntimeWarning` says so. The
    training then continues without them.

    Args:
      directory: its path.
      graph: the `tf.Graph` of the training.
      names: of the weights, a list.

    Raises:
      ValueError: the directory cannot be created or written.
    """

    def __init__(self, directory, graph, names):
        self._directory = directory
        try:
            self._file = _File(directory)
            self._writer = SummaryToEventTransformer(self._file, graph)
            self._file.flush()
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(
                "logdir must be a directory that can be written, got %r (%s)" % (directory, error)
            ) from error
        self._written = self._weights_at = None
        with own_graph() as graph:
            self._places = [tf.placeholder(tf.float64) for _ in names]
            self._histograms = tf.summary.merge(
                [
                    tf.summary.histogram("weights/%d_%s" % (i, name), place)
                    for i, (name, place) in enumerate(zip(names, self._places))
                ]
            )
        self._session = tf.Session(graph=graph)

    def begin(self, history):
        """Prepares for the next meta-iterations: later ones that an earlier run wrote become void."""
        if self._written != len(history):
            self._written = self._weights_at = len(history)
            start = tf.SessionLog(status=tf.SessionLog.START)
            self._keep(lambda: self._writer.add_session_log(start, len(history) + 1))

    def write(self, history, log_average, weights, is_last):
        """Writes the means of all figures since the last call, at the number of meta-iterations so far.

        Args:
          history: a `History`.
          log_average: the running one of the last loss.
          weights: function without arguments that returns the weights, a list of arrays.
          is_last: whether to write histograms of them in any case.
        """
        number = len(history)
        part, sound = slice(self._written, number), ~history.skipped[self._written : number]
        figures = {"log_average_of_last_loss": log_average, "skipped": history.skipped.sum()}
        if sound.any():
            figures["meta_loss"] = history.meta_loss[part][sound].mean()
            figures["meta_gradient_norm"] = history.gradient_norm[part][sound].mean()
        summaries = [_scalars(figures)]
        if is_last or number - self._weights_at >= WEIGHTS_EVERY:
            summaries.append(self._session.run(self._histograms, dict(zip(self._places, weights()))))
            self._weights_at = number
        self._keep(lambda: [self._writer.add_summary(summary, number) for summary in summaries])
        self._written = number

    def write_validation(self, number, figure):
        """Writes the figure of a validation after `number` meta-iterations."""
        self._keep(lambda: self._writer.add_summary(_scalars({"validation": figure}), number))

    def _keep(self, add):
        """Adds events and flushes them to the disk; if that fails, warns and adds none from then on."""
        if self._file is None:
            return
        try:
            add()
            self._file.flush()
        except (OSError, tf.errors.OpError) as error:
            warnings.warn(
                "events in logdir %r cannot be written any more (%s); the training goes on without them"
                % (self._directory, getattr(error, "message", error)),
                RuntimeWarning,
                stacklevel=levels_to_the_caller(),
            )
            self._drop()

    def _drop(self):
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self):
        self._drop()
        self._session.close()


def _scalars(figures):
    """A summary of figures by tag, without those that are NaN or infinite."""
    values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items() if np.isfinite(value)]
    return tf.Summary(value=values)
