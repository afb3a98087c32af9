"""The record of a training: what was trained on what, and how, in JSON types."""

import hashlib
import json

import numpy as np

from l2l import archives
from l2l.optimizers.optimizer import described as described_optimizer
from l2l.problems.problem import described
from l2l.process import xla_in_force
from l2l.runs.results import measured_with


def record_of(name, engine, problem, build_optimizer, start, graph, settings):
    """The record, which the history, checkpoints and files of trained optimizers hold: a dict of JSON types.

    Args:
      name: of the training.
      engine: its name.
      problem, build_optimizer: as for `Trainer`.
      start: None, or the `Trained` whose weights the training begins with.
      graph: the `TrainingGraph`, which knows the optimizer and the shapes of draws.
      settings: a `Settings`.
    """
    optimizer, parts = graph.optimizer, described(problem)
    position = {} if graph.position is None else {"position": graph.position}
    return {
        "name": name,
        "engine": engine,
        "xla": xla_in_force() if engine == "xla" else None,
        "problem": parts["class"],
        "problem_parameters": parts["parameters"],
        "draws": graph.draws,
        "optimizer": described_optimizer(optimizer),
        "casting": getattr(getattr(optimizer, "casting", None), "name", None),
        "variables": graph.variables,
        **position,
        "start": None if start is None else _described_start(start),
        "built_by": getattr(build_optimizer, "__qualname__", type(build_optimizer).__qualname__),
        **settings.in_json(),
    }


def _described_start(start):
    """Which optimizer a training began with, a dict of JSON types."""
    digest = hashlib.sha1(b"".join(np.asarray(array).tobytes() for array in [*start.weights, *start.adapted]))
    return {**{key: start.record.get(key) for key in ["name", "meta_iterations"]}, "weights": digest.hexdigest()}


def checked_record(record, arrays):
    """The record as files will give it back.

    Args:
      record: as from `record_of`.
      arrays: all that the training consists of, a dict from name to array.

    Raises:
      ValueError: no checkpoint, or no file of a trained optimizer, could hold record or arrays; and why.
    """
    # More than any of them holds beside the record.
    config = {"trainer": record, "format": 0, "weights": 10**9, "meta_iterations": 10**12, **measured_with()}
    try:
        text, _ = archives.check(config, arrays)
    except ValueError as error:
        raise ValueError("trainer %.100r could not be saved: %s" % (record["name"], error)) from None
    return json.loads(text.tobytes().decode())["trainer"]
