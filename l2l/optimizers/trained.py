"""A learned optimizer with its weights, outside any graph; saving and loading it."""

from __future__ import annotations

import functools
import json
import os
import textwrap
from collections import namedtuple
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import archives, checks
from l2l.describe import same, without_code
from l2l.graphs import load_variables, own_graph
from l2l.optimizers import cards
from l2l.optimizers.first_call import create, from_json
from l2l.optimizers.grouped import from_description
from l2l.optimizers.optimizer import Optimizer, described, opened
from l2l.quiet import quietly
from l2l.tables import Table
from l2l.types import BuildOptimizer, Nest, OptimizerFunction, PathLike

FORMAT = 2


class Trained(namedtuple("Trained", ["build", "weights", "adapted", "record"])):
    """A learned optimizer with its weights, from `Trainer.trained()` or `l2l.load`.

        trained = trainer.trained()
        l2l.evaluate(problem, {"learned": trained})
        l2l.save("my_optimizer.npz", trained)
        train = l2l.LearnedOptimizer(trained).minimize(loss)

    Args:
      build: function without arguments that creates the optimizer and its variables.
      weights: list of arrays, in the order in which the trainable variables are created.
      adapted: list of the values of the optimizer's `adapted` variables; empty for most optimizers.
      record: dict of JSON types that says what it was trained on, and how; {} if unknown.
    """

    def __new__(
        cls,
        build: BuildOptimizer,
        weights: Sequence[np.ndarray],
        adapted: Sequence[np.ndarray] = (),
        record: Optional[Dict[str, Any]] = None,
    ) -> Trained:
        return super().__new__(cls, build, list(weights), list(adapted), dict(record or {}))

    def __repr__(self):
        name = self._name()
        return "<Trained optimizer of %d weights%s>" % (self._size(), "" if name is None else ", from %r" % name)

    def _repr_html_(self):
        name, iterations = self._name(), self.record.get("meta_iterations")
        rows = {
            "trained optimizer": "" if name is None else name,
            "network": _network(self.record.get("optimizer")),
            "casting": self.record.get("casting"),
            "weights": f"{self._size():,}",
            "trained on": self._problem(),
            "meta-loss": self.record.get("meta_loss"),
            "meta-iterations": f"{iterations:,}" if isinstance(iterations, int) else iterations,
        }
        lines = [[key, str(value)] for key, value in rows.items() if value is not None]
        return Table([], lines, "<<")._repr_html_()

    def _name(self):
        return self.record.get("pretrained", self.record.get("name"))

    def _size(self):
        return sum(np.size(array) for array in self.weights)

    def _problem(self):
        problem = self.record.get("problem")
        if not isinstance(problem, dict):
            return problem
        names = "see its card" if "pretrained" in self.record else textwrap.shorten(", ".join(map(str, problem)), 100)
        return "%d problems: %s" % (len(problem), names)

    @quietly()
    def create(
        self, name: str, position: Optional[Callable[[], Nest]] = None
    ) -> Tuple[Optimizer, Callable[[tf.Session], None]]:
        """Builds the optimizer in the current graph.

        Args:
          name: for error messages.
          position: function without arguments that returns the structure, shapes and dtypes of a position, a nest of
            `tf.TensorSpec`; None for those in the record. Only an optimizer that creates variables at its first call
            needs either.

        Returns:
          `(optimizer, load)`: an `Optimizer`, and a function that sets its variables in a session, `load(session)`.

        Raises:
          TypeError, ValueError: `build` creates no optimizer, its first call fails, or it does not match the weights
            and the record.
        """
        if position is None and "position" in self.record:
            position = functools.partial(from_json, self.record["position"])
        # A scope for each: two optimizers may use the same variable names.
        scope = tf.variable_scope(None, default_name="trained", use_resource=True)
        optimizer, _ = create(self.build, position, name, scope)
        return optimizer, self.loader(optimizer, name)

    def loader(self, optimizer: Optimizer, name: str) -> Callable[[tf.Session], None]:
        """Returns `load(session)`, which sets an optimizer's variables to the trained values.

        Args:
          optimizer: an `Optimizer` that `build` created.
          name: for error messages.

        Raises:
          ValueError: the variables have other shapes, dtypes or names than the weights; or the optimizer's description
            differs from the one in the record, as for a network with another casting.
        """
        trained, here = self.record.get("variables"), names_of(optimizer.variables)
        if trained is not None and trained != here:
            raise ValueError("%s was trained with variables %.200r, built are %.200r" % (name, trained, here))
        variables = optimizer.variables + optimizer.adapted
        values = [np.asarray(value) for value in [*self.weights, *self.adapted]]
        built = [(variable.dtype.base_dtype.name, tuple(variable.shape.as_list())) for variable in variables]
        given = [(value.dtype.name, value.shape) for value in values]
        if given != built:
            raise ValueError("%s must have the weights that it builds, %.300r, got %.300r" % (name, built, given))
        # The code may have been written anew since the training, so only the rest of the descriptions is compared.
        trained, here = (without_code(one) for one in (self.record.get("optimizer"), described(optimizer)))
        if not isinstance(trained, (dict, type(None))):
            raise ValueError("%s must have a record that describes an optimizer, got %.200r" % (name, trained))
        # An optimizer trained by imitation is recorded with its teacher, but may be built without it.
        if isinstance(trained, dict) and isinstance(trained.get("learner"), dict):
            trained = trained if here is None or "learner" in here else trained["learner"]
        if "version" not in self.record:
            trained, here = (_as_before(one) for one in (trained, here))
        if trained is not None and here is not None and not same(trained, here):
            differences = [
                "%s %.100r, built with %.100r" % (key, trained.get(key), here.get(key))
                for key in sorted({*trained, *here})
                if not same(trained.get(key), here.get(key))
            ]
            raise ValueError("%s was trained with %s" % (name, "; ".join(differences)))

        def load(session):
            load_variables(session, variables, values)

        return load


# Optimizers to compare, by name: functions without variables, and trained optimizers.
Optimizers = Mapping[str, Union[OptimizerFunction, Trained]]


def entered(name, value, position):
    """Creates one of the optimizers that a user compares in the current graph.

    Args:
      name: for error messages.
      value: a function without variables, or a `Trained`.
      position: as for `Trained.create`.

    Returns:
      `(optimizer, load)` as `Trained.create` does; for a function `load` does nothing.

    Raises:
      TypeError, ValueError: `value` is no optimizer; or as for `Trained.create`.
    """
    if isinstance(value, Trained):
        return value.create(name, position)
    return opened(name, value), lambda session: None


def _network(described):
    """The class of a described optimizer and its hidden units, as far as they are known."""
    if not isinstance(described, dict):
        return None
    units = ", hidden units %s" % described["hidden"] if "hidden" in described else ""
    return "%s%s" % (described.get("class"), units)


def _as_before(described):
    """Reduces a description to what version 0.2 recorded: of a custom casting only numbers and arrays."""

    def hook(one):
        parameters = one.get("parameters")
        if one.get("kind", "none") is not None or not isinstance(parameters, dict):
            return one
        kept = [
            key for key, value in parameters.items() if isinstance(value, (int, float)) or ", checksum " in str(value)
        ]
        return {"kind": None, "name": one.get("name"), "parameters": {key: parameters[key] for key in kept}}

    return json.loads(json.dumps(described), object_hook=hook)


def names_of(variables):
    """Returns the last part of each variable's name, which is the same in every scope."""
    return [variable.op.name.split("/")[-1] for variable in variables]


def save(path: PathLike, trained: Trained) -> None:
    """Saves a `Trained` as a NumPy `.npz` file without pickled objects.

        l2l.save("my_optimizer.npz", trainer.trained())
        trained = l2l.load("my_optimizer.npz")

    The file records the optimizer (layers, casting and its parameters), the problem, the training and the version of
    l2l. `load` needs nothing else for the networks of the library.

    Raises:
      TypeError: `trained` is no `Trained`.
      OSError: the file cannot be written; an older file of that name stays unchanged.
    """
    if not isinstance(trained, Trained):
        raise TypeError("trained must be what trainer.trained() returns, got %r" % (trained,))
    arrays = {"weights/%d" % i: array for i, array in enumerate(trained.weights)}
    arrays.update({"adapted/%d" % i: array for i, array in enumerate(trained.adapted)})
    archives.write(path, {"format": FORMAT, "weights": len(trained.weights), "record": trained.record}, arrays)


def load(path: PathLike, build: Optional[BuildOptimizer] = None) -> Trained:
    """Loads a `Trained` from a file that `save` wrote, or a pretrained one by its name.

    Loading runs no code from the file.

        general = l2l.load("general")
        mine = l2l.load("my_optimizer.npz", lambda: MyOptimizer(units=20))  # a custom class needs its builder

    Args:
      path: a file, or a name in `l2l.pretrained()`. To load a file with such a name, write `./name`. The record of a
        pretrained optimizer has its name as `pretrained`; `name` is that of its training.
      build: function without arguments that creates the optimizer. A custom optimizer needs it; without it the error
        names the function that built it in the training. Files of version 0.1 hold only weights and need it too.

    Raises:
      FileNotFoundError: `path` is neither a file nor such a name.
      ValueError: the file holds no trained optimizer, is damaged, or has a newer format; `build` is needed, or does not
        build what was trained.
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
    if Path(path).parent == cards.FOLDER:
        record = {**record, "pretrained": Path(path).stem}  # the training had another name
    trained = Trained(build, [arrays[name] for name in names], [arrays[name] for name in adapted], record)
    with own_graph():
        trained.create(repr(os.fspath(path)))  # for its checks
    return trained


def builder(path, record):
    """Returns the function that builds the optimizer of a record.

    Raises:
      ValueError: the optimizer is not one of the library's.
    """
    code = record.get("code")
    try:
        if isinstance(code, dict) and code.get("optimizer") is not None:
            raise ValueError("its class is the user's own")
        build = from_description(record.get("optimizer"))
        with own_graph():
            build()  # which checks what the description says
        return build
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "build must be given for %r: its optimizer was built by %.200r and is none of the library's own"
            % (str(path), record.get("built_by", "an unknown function"))
        ) from error
