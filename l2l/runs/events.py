"""What TensorBoard shows of a training."""

import time

import numpy as np
import tensorflow.compat.v1 as tf

WEIGHTS_EVERY = 1000  # meta-iterations between two sets of histograms


class Events:
    """Event files of one training in a directory, made where it is missing: `tensorboard --logdir DIRECTORY`.

    Args:
      directory: its path.
      graph: the `tf.Graph` of the training.
      names: of the weights, a list.

    Raises:
      ValueError: the directory cannot be made or written.
    """

    def __init__(self, directory, graph, names):
        # Files are named by the second; a run that begins in the same one as another would write over its file.
        suffix = ".%06d" % (time.time() % 1 * 1e6)
        try:
            self._writer = tf.summary.FileWriter(directory, graph, filename_suffix=suffix)
        except tf.errors.OpError as error:
            raise ValueError(
                "logdir must be a directory that can be written, got %r (%s)" % (directory, error)
            ) from error
        self._written, self._weights_at = None, 0
        with tf.Graph().as_default() as graph:
            self._places = [tf.placeholder(tf.float64) for _ in names]
            self._histograms = tf.summary.merge(
                [
                    tf.summary.histogram("weights/%d_%s" % (i, name), place)
                    for i, (name, place) in enumerate(zip(names, self._places))
                ]
            )
        self._session = tf.Session(graph=graph)

    def begin(self, history):
        """Before the next meta-iterations. What an earlier run wrote of later ones is void."""
        if self._written != len(history):
            self._written = self._weights_at = len(history)
            self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), len(history) + 1)

    def write(self, history, log_average, weights, is_last):
        """Means of all figures since the last time, at the number of meta-iterations so far.

        Args:
          history: a `History`.
          log_average: the running one of the last loss.
          weights: function without arguments that gives the weights, a list of arrays.
          is_last: whether histograms of them are written in any case.
        """
        number = len(history)
        part, sound = slice(self._written, number), ~history.skipped[self._written : number]
        figures = {"log_average_of_last_loss": log_average, "skipped": history.skipped.sum()}
        if sound.any():
            figures["meta_loss"] = history.meta_loss[part][sound].mean()
            figures["meta_gradient_norm"] = history.gradient_norm[part][sound].mean()
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items() if np.isfinite(value)]
        self._writer.add_summary(tf.Summary(value=values), number)
        if is_last or number - self._weights_at >= WEIGHTS_EVERY:
            summary = self._session.run(self._histograms, dict(zip(self._places, weights())))
            self._writer.add_summary(summary, number)
            self._weights_at = number
        self._written = number
        if is_last:
            self._writer.flush()

    def close(self):
        self._writer.close()
        self._session.close()
