"""A learned optimizer with its weights, outside any graph, and as a file."""

import os
from collections import namedtuple

import numpy as np
import tensorflow as tf

from l2l import archives, checks
from l2l.optimizers import cards
from l2l.optimizers.grouped import from_description
from l2l.optimizers.optimizer import described

FORMAT = 2


class Trained(namedtuple("Trained", ["build", "weights", "adapted", "record"])):
    """A learned optimizer with its weights: what `Trainer.trained()` and `l2l.load` return.

    Args:
      build: function without arguments that creates the optimizer and its variables.
      weights: list of arrays, in the order in which the trainable variables are created.
      adapted: list of the values of the optimizer's `adapted` variables; empty for most.
      record: dict of JSON types, what it was trained on, and how; {} where that is not known.
    """

    def __new__(cls, build, weights, adapted=(), record=None):
        return super().__new__(cls, build, list(weights), list(adapted), dict(record or {}))

    def __repr__(self):
        number = sum(np.size(array) for array in self.weights)
        trained = self.record.get("name")
        return "<Trained optimizer of %d weights%s>" % (number, "" if trained is None else ", from %r" % trained)

    def create(self, name):
        """Builds the optimizer in the current graph.

        Args:
          name: for error messages.

        Returns:
          `(optimizer, load)`; `load(session)` gives its variables their values.

        Raises:
          ValueError: as `loader`.
        """
        created = len(tf.trainable_variables())
        with tf.variable_scope(None, default_name="trained", use_resource=True):  # two may name variables alike
            optimizer = self.build()
        return optimizer, self.loader(optimizer, tf.trainable_variables()[created:], name)

    def loader(self, optimizer, weights, name):
        """The function `load(session)` that gives an optimizer these weights, and what it adapts these values.

        Args:
          optimizer: what `build` created.
          weights: list of the variables that it created and that are trained.
          name: for error messages.

        Raises:
          ValueError: what was built has other shapes, dtypes or names than the weights, or says of itself something
            else than what was trained, as a network with another casting does.
        """
        trained, here = self.record.get("variables"), names_of(weights)
        if trained is not None and trained != here:
            raise ValueError("%s was trained with variables %.200r, built are %.200r" % (name, trained, here))
        variables = weights + list(getattr(optimizer, "adapted", []))
        values = [np.asarray(value) for value in [*self.weights, *self.adapted]]
        built = [(variable.dtype.base_dtype.name, tuple(variable.shape.as_list())) for variable in variables]
        given = [(value.dtype.name, value.shape) for value in values]
        if given != built:
            raise ValueError("%s must have the weights that it builds, %.300r, got %.300r" % (name, built, given))
        trained, here = self.record.get("optimizer"), described(optimizer)
        if isinstance(trained, dict) and isinstance(trained.get("learner"), dict):  # one that imitated, built as itself
            trained = trained if here is None or "learner" in here else trained["learner"]
        if trained is not None and here is not None and trained != here:
            differences = [
                "%s %.100r, built with %.100r" % (key, trained.get(key), here.get(key))
                for key in sorted({*trained, *here})
                if trained.get(key) != here.get(key)
            ]
            raise ValueError("%s was trained with %s" % (name, "; ".join(differences)))

        def load(session):
            for variable, value in zip(variables, values):
                variable.load(value, session)

        return load


def names_of(variables):
    """The last part of each variable's name, which is the same in every scope."""
    return [variable.op.name.rsplit("/", 1)[-1] for variable in variables]


def save(path, trained):
    """Writes a `Trained` to an archive, see `l2l.archives`: a NumPy `.npz` file, nothing pickled.

    The file says what the optimizer is (layers, casting and its parameters), what it was trained on, how, and by which
    version: `load` needs nothing else for the library's own networks.

    Raises:
      TypeError: `trained` is no `Trained`.
      OSError: it cannot be written; a file of that name is as it was.
    """
    if not isinstance(trained, Trained):
        raise TypeError("trained must be what trainer.trained() returns, got %r" % (trained,))
    arrays = {"weights/%d" % i: array for i, array in enumerate(trained.weights)}
    arrays.update({"adapted/%d" % i: array for i, array in enumerate(trained.adapted)})
    archives.write(path, {"format": FORMAT, "weights": len(trained.weights), "record": trained.record}, arrays)


def load(path, build=None):
    """Reads what `save` wrote, a `Trained`. No code in the file runs.

    Args:
      path: of the file; or a name in `l2l.pretrained()`, of one that comes with the package. A file that has such a
        name is `./name`.
      build: function without arguments that creates the optimizer, for one that is not the library's own; the file says
        which function that was. Files of version 0.1, which hold weights alone, need it too.

    Raises:
      FileNotFoundError: there is no such file, and no such name.
      ValueError: a file that holds no trained optimizer, or is damaged, or has a newer format; `build` is needed, or
        does not build what was trained.
    """
    path = cards.found(path)
    config, arrays = archives.read(path)
    number, version = config.get("weights"), config.get("format", 1)
    if type(number) is not int or type(version) is not int or version < 1:
        raise ValueError("%r must hold a trained optimizer, saved by l2l.save" % str(path))
    if version > FORMAT:
        raise ValueError(
            "%r has format %d, which a newer version of l2l wrote; this one reads up to %d" % (path, version, FORMAT)
        )
    record, prefix = config.get("record", {}), "" if version == 1 else "weights/"
    names = ["%s%d" % (prefix, i) for i in range(min(number, len(arrays)))]
    adapted = ["adapted/%d" % i for i in range(len(arrays) - len(names))]
    if not 0 < number <= len(arrays) or set(arrays) != {*names, *adapted} or not isinstance(record, dict):
        raise ValueError("%r must hold a trained optimizer, saved by l2l.save" % str(path))
    build = builder(path, record) if build is None else checks.function_without_arguments("build", build)
    trained = Trained(build, [arrays[name] for name in names], [arrays[name] for name in adapted], record)
    with tf.Graph().as_default():
        trained.create(repr(os.fspath(path)))  # for its checks
    return trained


def builder(path, record):
    """The function that builds the optimizer of a record, which is one of the library's own."""
    try:
        build = from_description(record.get("optimizer"))
        with tf.Graph().as_default():
            build()  # which checks what the description says
        return build
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "build must be given for %r: its optimizer was built by %.200r and is none of the library's own"
            % (str(path), record.get("built_by", "an unknown function"))
        ) from error
