"""A meta-iteration with a NaN or an infinity: saved when it happens, and repeated by `replay`."""

from __future__ import annotations

import functools
import itertools
import os
from collections import namedtuple
from typing import Optional

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import archives
from l2l.graphs import OwnGraph, load_variables
from l2l.learning.meta_iteration import MetaIterations, Place
from l2l.learning.updates import clipped
from l2l.optimizers.first_call import create
from l2l.problems.binding import position_specs
from l2l.problems.problem import sample
from l2l.runs.checkpoints import check_same_arrays, check_same_trainer


class NonFiniteError(FloatingPointError):
    """A meta-iteration had a NaN or an infinity; it changed no weight.

    Attributes:
      path: of the file that `Trainer.replay` reads; None if it could not be written.
    """

    def __init__(self, message: str, path: Optional[str]) -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self):
        return type(self), (self.args[0], self.path)  # so that it can come from another process


Replay = namedtuple(
    "Replay",
    [
        "losses",  # [T], or [T, B] for a batch: the first that is not finite says which base iteration it was
        "meta_loss",
        "gradients",  # of the meta-loss, one array for each weight, before clipping
        "gradient_norm",
    ],
)


def described(record, number, figures):
    """Returns a sentence that says which meta-iteration of which training failed, and with which figures."""
    which = "%s (weights_seed=%d, draws_seed=%d)" % (record["name"], record["weights_seed"], record["draws_seed"])
    text = "%s: meta-iteration %d has meta-loss %g, last loss %g, gradient norm %g" % (which, number, *figures)
    if record["meta_loss"] in ("end_log", "sum_log") and figures[1] < 0:
        text += "; a negative loss has no logarithm"
    return text


def error_of(folder, description, number, record, start):
    """Returns the `NonFiniteError` to raise, after writing the file that `replay` needs.

    Args:
      folder: function without arguments that returns the folder; it may raise.
      description: how the message begins.
      number, record, start: as for `write`.
    """
    try:
        path = write(folder(), number, record, start)
    except (OSError, ValueError) as error:
        return NonFiniteError("%s; its draw could not be saved (%s)" % (description, error), None)
    return NonFiniteError("%s; trainer.replay(%r) repeats it" % (description, path), path)


def write(directory, number, record, start):
    """Writes `nonfinite-NUMBER.npz`, the start of meta-iteration `number`, and returns its path.

    If that name is taken, for example by another trainer, the new name ends in a number.
    """
    ends = itertools.chain([""], map("-%d".__mod__, itertools.count(1)))
    paths = (os.path.join(directory, "nonfinite-%012d%s.npz" % (number, end)) for end in ends)
    return archives.write_new(paths, {"meta_iteration": number, "trainer": record}, start)


def read(path):
    """The record of the training, and the arrays, of a saved meta-iteration.

    Raises:
      ValueError: the file is damaged, or no such file.
    """
    stored, arrays = archives.read(path)
    if not isinstance(stored.get("trainer"), dict):
        raise ValueError("%r is no saved meta-iteration" % path)
    return stored["trainer"], arrays


def replay(recipe, draw_by_draw, record, path):
    """Computes the saved meta-iteration again, op by op, without an update: a `Replay`.

    Raises:
      ValueError: the file is damaged, or from another trainer.
    """
    stored, arrays = read(path)
    check_same_trainer(path, stored, record)
    problem, settings = recipe.problem, recipe.settings
    batch = [settings.batch] * (settings.batch > 1)
    own = OwnGraph()
    with own.building(problem):
        position = functools.partial(position_specs, problem)
        optimizer = create(recipe.build_optimizer, position, "build_optimizer").optimizer
        variables = tf.global_variables()
        draws = sample(problem, 1, 0)
        draw = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, batch + many.shape[1:].as_list()), draws)
        meta_iterations = MetaIterations(
            problem, optimizer, optimizer.variables, None, settings, draw, draw_by_draw=draw_by_draw
        )
        age = tf.placeholder(tf.int64, [])
        carried = [tf.placeholder(tensor.dtype, tensor.shape) for tensor in meta_iterations.start.carried]
        meta, _ = meta_iterations.meta_gradient(draw, Place(tf.cast(age, tf.int32), carried), "python")
        _, norm = clipped(meta.gradients)
        places = {"draw/%d" % i: place for i, place in enumerate(tf.nest.flatten(draw))}
        places.update({"carried/%d" % i: place for i, place in enumerate(carried)}, age=age)
        tensors = {**places, **{"variables/" + variable.op.name: variable for variable in variables}}
        expected = {name: np.empty(t.shape.as_list(), t.dtype.as_numpy_dtype) for name, t in tensors.items()}
        # The file holds the meta-optimizer's variables too.
        check_same_arrays(path, {name: arrays[name] for name in expected if name in arrays}, expected)
        if arrays["age"] not in range(0, settings.horizon, settings.unroll_length):
            raise ValueError("%r is no saved meta-iteration: its age is %d" % (path, arrays["age"]))
        with own as session:
            load_variables(session, variables, [arrays["variables/" + variable.op.name] for variable in variables])
            figures = [meta.losses, meta.meta_loss, list(meta.gradients), norm]
            return Replay(*session.run(figures, {place: arrays[name] for name, place in places.items()}))
