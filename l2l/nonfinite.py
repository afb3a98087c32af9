"""A meta-iteration that went bad: saved where it happened, and repeated."""

import itertools
import os
from collections import namedtuple

import tensorflow as tf

from l2l import archives
from l2l.checkpoints import check_same_trainer
from l2l.meta import meta_step
from l2l.problems import sample


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity in a meta-iteration, which changed no weight.

    Attributes:
      path: of the saved draw and weights, for `Trainer.replay`; None if they could not be saved.
    """

    def __init__(self, message, path):
        super().__init__(message)
        self.path = path

    def __reduce__(self):
        return type(self), (self.args[0], self.path)  # so that it can come from another process


def saved(directory, described, *what):
    """The `NonFiniteError` to raise, after saving draw and weights; `what` are the other arguments of `save`."""
    try:
        path = save(directory, *what)
    except OSError as error:
        return NonFiniteError("%s; its draw could not be saved (%s)" % (described, error), None)
    return NonFiniteError("%s; trainer.replay(%r) repeats it" % (described, path), path)


Replay = namedtuple(
    "Replay",
    [
        "losses",  # [T], or [T, B] for a batch: the first that is not finite says which base iteration it was
        "meta_loss",
        "gradients",  # of the meta-loss, one array for each weight, before clipping
        "gradient_norm",
    ],
)


def described(config, number, figures):
    """A sentence that says which meta-iteration it was, of which training, and what was wrong."""
    which = "%s (weights_seed=%d, draws_seed=%d)" % (config["name"], config["weights_seed"], config["draws_seed"])
    return "%s: meta-iteration %d has meta-loss %g, last loss %g, gradient norm %g" % (which, number, *figures)


def save(directory, number, config, draw, weights):
    """Writes `nonfinite-NUMBER.npz`: the draw and the weights before meta-iteration `number`; returns its path.

    Where there is such a file, of another trainer say, the name gets a number more.
    """
    path = os.path.join(directory, "nonfinite-%012d.npz" % number)
    for i in itertools.count(1):
        if not os.path.exists(path):
            break
        path = os.path.join(directory, "nonfinite-%012d-%d.npz" % (number, i))
    arrays = {"draw/%d" % i: array for i, array in enumerate(draw)}
    arrays.update({"weights/%d" % i: array for i, array in enumerate(weights)})
    archives.write(path, {"meta_iteration": number, "trainer": config}, arrays)
    return path


def replay(problem, build_optimizer, meta_loss, settings, config, path):
    """The saved meta-iteration again, op by op: a `Replay`. The arguments but the last two are those of the trainer."""
    stored, arrays = archives.read(path)
    if not isinstance(stored.get("trainer"), dict):
        raise ValueError("%r is no saved draw" % path)
    check_same_trainer(path, stored["trainer"], config)
    batch = settings["batch"] if settings["batch"] > 1 else None
    with tf.Graph().as_default():
        optimizer = build_optimizer()
        weights = tf.trainable_variables()
        structure = sample(problem, 1, 0)
        shapes = [[batch] * (batch is not None) + many.shape.as_list()[1:] for many in tf.nest.flatten(structure)]
        names = ["draw/%d" % i for i in range(len(shapes))] + ["weights/%d" % i for i in range(len(weights))]
        expected = [*shapes, *[weight.shape.as_list() for weight in weights]]
        found = [list(arrays[name].shape) if name in arrays else None for name in names]
        if found != expected or len(arrays) != len(names):
            raise ValueError(
                "%r is from another trainer: draw and weights have shapes %r there, %r here" % (path, found, expected)
            )
        draw = tf.nest.pack_sequence_as(
            structure,
            [tf.constant(arrays[name], many.dtype) for name, many in zip(names, tf.nest.flatten(structure))],
        )
        same = {key: settings[key] for key in ("steps", "clip_norm", "second_derivatives")}
        meta = meta_step(
            problem, draw, optimizer, weights, tf.train.GradientDescentOptimizer(0.0), meta_loss, batch=batch, **same
        )
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for i, weight in enumerate(weights):
                weight.load(arrays["weights/%d" % i], session)
            return Replay(*session.run([meta.losses, meta.meta_loss, list(meta.gradients), meta.gradient_norm]))
