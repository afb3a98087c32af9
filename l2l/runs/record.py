"""The record of a training: what was trained, on what and how, in JSON types."""

import hashlib
import json

import numpy as np

from l2l import archives
from l2l.describe import describe, describe_code
from l2l.optimizers.optimizer import described as said_by
from l2l.results import measured_with
from l2l.version import __version__
from l2l.xla import xla_in_force

# A text as long as all else in the files: keys such as `weights` and `meta_iterations`, and their numbers.
_MORE = "format 0, weights 1000000000, meta_iterations 1000000000000"


def record_of(name, recipe, graph):
    """Returns the record, a dict of JSON types; the history, checkpoints and trained files hold it.

    Args:
      name: of the training.
      recipe: its `Recipe`.
      graph: its `TrainingGraph`, which knows the optimizer and the shapes of draws.
    """
    problem, build_optimizer, settings, engine, start = recipe
    optimizer, described = graph.optimizer, {name: describe("problem", one) for name, one in recipe.problems.items()}

    def of_problems(function, values):
        """What the function gives of the problem, or of each problem of a dict."""
        found = {name: function(one) for name, one in values.items()}
        return found if isinstance(problem, dict) else next(iter(found.values()))

    code = {
        "problem": of_problems(_code_of, described),
        "optimizer": describe_code(optimizer.given),
        "build_optimizer": describe("build_optimizer", build_optimizer),
        **{name: None if one is None else describe(name, one) for name, one in settings.functions().items()},
    }
    position = {} if graph.position is None else {"position": graph.position}
    return {
        "version": __version__,
        "name": name,
        "engine": engine,
        "xla": xla_in_force() if engine == "xla" else None,
        "problem": of_problems(lambda one: type(one).__name__, recipe.problems),
        "problem_parameters": of_problems(_parameters_of, described),
        "draws": graph.draws,
        "optimizer": said_by(optimizer),
        "casting": optimizer.casting,
        "variables": graph.variables,
        **position,
        "start": None if start is None else described_start(start),
        "built_by": getattr(build_optimizer, "__qualname__", type(build_optimizer).__qualname__),
        "code": code,
        **settings.description(),
    }


def _code_of(described):
    """Class and digest of a problem; None for one of the library's."""
    return {key: described[key] for key in ("class", "code")} if "code" in described else None


def _parameters_of(described):
    """All else that a problem says of itself."""
    rest = {key: value for key, value in described.items() if key not in ("class", "code")}
    return rest["parameters"] if list(rest) == ["parameters"] else rest


def described_start(start):
    """Which optimizer a training began with, a dict of JSON types."""
    digest = hashlib.sha1(b"".join(np.asarray(array).tobytes() for array in [*start.weights, *start.adapted]))
    return {**{key: start.record.get(key) for key in ["name", "meta_iterations"]}, "weights": digest.hexdigest()}


def checked_record(record, arrays):
    """Returns the record as files will give it back.

    Args:
      record: as from `record_of`.
      arrays: all that the training consists of, a dict from name to array.

    Raises:
      ValueError: record or arrays are more than a checkpoint or a file of a trained optimizer can hold, and why.
    """
    config = {"trainer": record, "more": _MORE, **measured_with()}
    try:
        text, _ = archives.check(config, arrays)
    except ValueError as error:
        raise ValueError("trainer %.100r could not be saved: %s" % (record["name"], error)) from None
    return json.loads(text.tobytes().decode())["trainer"]
