"""A learned optimizer with its weights, outside any graph, and as a file."""

from __future__ import annotations

import functools
import json
import os
from collections import namedtuple
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
from l2l.tables import format_table
from l2l.types import BuildOptimizer, Nest, OptimizerFunction, PathLike

FORMAT = 2


class Trained(namedtuple("Trained", ["build", "weights", "adapted", "record"])):
    """A learned optimizer with its weights: what `Trainer.trained()` and `l2l.load` return.

    Args:
      build: function without arguments that creates the optimizer and its variables.
      weights: list of arrays, in the order in which the trainable variables are created.
      adapted: list of the values of the optimizer's `adapted` variables; empty for most.
      record: dict of JSON types, what it was trained on, and how; {} where that is not known.
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
        number = sum(np.size(array) for array in self.weights)
        trained = self.record.get("name")
        return "<Trained optimizer of %d weights%s>" % (number, "" if trained is None else ", from %r" % trained)

    def _repr_html_(self):
        optimizer = self.record.get("optimizer")
        rows = {
            "optimizer": optimizer.get("class") if isinstance(optimizer, dict) else None,
            "casting": self.record.get("casting"),
            "weights": f"{sum(np.size(array) for array in self.weights):,}",
            "trained on": self.record.get("problem"),
            "meta-loss": self.record.get("meta_loss"),
            "meta-iterations": self.record.get("meta_iterations"),
        }
        shown = [{"trained": name, "": str(value)} for name, value in rows.items() if value is not None]
        return format_table(shown, {"trained": "", "": ""})._repr_html_()

    @quietly()
    def create(
        self, name: str, position: Optional[Callable[[], Nest]] = None
    ) -> Tuple[Optimizer, Callable[[tf.Session], None]]:
        """Builds the optimizer in the current graph.

        Args:
          name: for error messages.
          position: function without arguments to what a position is like, a nest of `tf.TensorSpec`; None for what the
            record says. Only an optimizer that creates variables at its first call needs either.

        Returns:
          `(optimizer, load)`: an `Optimizer`, and a function of a session that gives its variables their values.

        Raises:
          TypeError, ValueError: as `loader`, and as `first_call.create`.
        """
        if position is None and "position" in self.record:
            position = functools.partial(from_json, self.record["position"])
        scope = tf.variable_scope(None, default_name="trained", use_resource=True)  # two may name variables alike
        optimizer, _ = create(self.build, position, name, scope)
        return optimizer, self.loader(optimizer, name)

    def loader(self, optimizer: Optimizer, name: str) -> Callable[[tf.Session], None]:
        """The function `load(session)` that gives an optimizer these weights, and what it adapts these values.

        Args:
          optimizer: what `build` created, an `Optimizer`.
          name: for error messages.

        Raises:
          ValueError: what was built has other shapes, dtypes or names than the weights, or says of itself something
            else than what was trained, as a network with another casting does.
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
        # Code may have been typed again since; what is compared is what it says of itself.
        trained, here = (without_code(one) for one in (self.record.get("optimizer"), described(optimizer)))
        if not isinstance(trained, (dict, type(None))):
            raise ValueError("%s must have a record that describes an optimizer, got %.200r" % (name, trained))
        if isinstance(trained, dict) and isinstance(trained.get("learner"), dict):  # one that imitated, built as itself
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


# What a user compares, by name: functions without variables, and trained optimizers.
Optimizers = Mapping[str, Union[OptimizerFunction, Trained]]


def entered(name, value, position):
    """What a user compares, in the current graph: a function without variables, or a `Trained`.

    Args:
      name: for error messages.
      value: one of the two.
      position: as for `Trained.create`.

    Returns:
      `(optimizer, load)` as `Trained.create`; a function has nothing to load.

    Raises:
      TypeError, ValueError: it is no optimizer, and as `Trained.create`.
    """
    if isinstance(value, Trained):
        return value.create(name, position)
    return opened(name, value), lambda session: None


def _as_before(described):
    """A description as far as version 0.2 had it in this form: of the user's own castings numbers and arrays."""

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
    """The last part of each variable's name, which is the same in every scope."""
    return [variable.op.name.split("/")[-1] for variable in variables]


def save(path: PathLike, trained: Trained) -> None:
    """Writes a `Trained` to an archive, see `l2l/archives.py`: a NumPy `.npz` file, nothing pickled.

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


def load(path: PathLike, build: Optional[BuildOptimizer] = None) -> Trained:
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
    with own_graph():
        trained.create(repr(os.fspath(path)))  # for its checks
    return trained


def builder(path, record):
    """The function that builds the optimizer of a record, which is one of the library's own."""
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
