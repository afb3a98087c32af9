"""Validation: how good weights are on held-out draws."""

import warnings
from collections import namedtuple

import numpy as np

from l2l import checks
from l2l.averages import log_average
from l2l.describe import describe
from l2l.evaluation.graph import EvaluationGraph, drawn, seeds_of
from l2l.learning.engines import CannotCompileError
from l2l.tracebacks import levels_to_the_caller

# Columns of what validations found, in a checkpoint, and their dtypes.
COLUMNS = {"stage": np.int64, "meta_iterations": np.int64, "figure": np.float64, "is_best": np.bool_}


class Validation(namedtuple("Validation", ["every", "patience", "draws", "measure", "seed"])):
    """When a curriculum validates, and with which measure; see `Curriculum`."""

    def description(self):
        """All but the measure, in JSON types."""
        return {key: value for key, value in self._asdict().items() if key != "measure"}

    def code(self):
        """The measure, in JSON types; None for the library's own."""
        return None if self.measure is log_average else describe("measure", self.measure)

    def graph(self, problem, trained, horizon, engine, may_fall_back):
        """Returns an `EvaluationGraph` of the held-out draws, compiled if `engine` says so.

        Raises:
          CannotCompileError: XLA cannot compile it, and "graph" may not take its place.
        """
        draws = drawn(problem, self.draws, seeds_of(self.seed), horizon)
        arguments = problem, trained, "build_optimizer", draws, horizon
        try:
            return EvaluationGraph(*arguments, engine)
        except CannotCompileError as error:
            if not may_fall_back:
                raise
            warnings.warn(
                "%s. Validating with engine='graph'." % error, RuntimeWarning, stacklevel=levels_to_the_caller()
            )
            return EvaluationGraph(*arguments, "graph")

    def figure(self, graph, trained, horizon):
        """Returns the measure of the losses of a `Trained`, a float.

        Raises:
          TypeError, ValueError: the measure returns no number.
        """
        graph.load(trained, "build_optimizer")
        losses, _ = graph.losses_and_positions(np.arange(horizon), lambda finished: None)
        found = self.measure(losses)
        try:
            figure = float(found)
        except (TypeError, ValueError):
            raise TypeError("measure must give a number, it gave %.200r" % (found,)) from None
        if np.isnan(figure):
            raise ValueError(
                "measure must give a number, it gave NaN for losses from %g to %g" % (losses.min(), losses.max())
            )
        return figure


def checked_validation(every, patience, draws, measure, seed):
    """Returns a `Validation`, or None if `every` is None.

    Raises:
      TypeError, ValueError: an argument is out of range, or is given although `every` is None.
    """
    for name, value in [("patience", patience), ("measure", measure)]:
        if every is None and value is not None:
            raise ValueError("%s needs validate_every, which is None, got %r" % (name, value))
    draws, seed = checks.positive_integer("draws", draws), checks.seed("validation_seed", seed)
    measure = log_average if measure is None else checks.function("measure", measure)
    patience = None if patience is None else checks.positive_integer("patience", patience)
    if every is None:
        return None
    return Validation(checks.positive_integer("validate_every", every), patience, draws, measure, seed)


def checked_rows(path, columns, horizons):
    """Returns the validations of a checkpoint, a list of dicts.

    Args:
      path: of the checkpoint, for error messages.
      columns: dict from each name in `COLUMNS` to an array or None.
      horizons: of the stages that have begun.

    Raises:
      ValueError: a column is missing, or says something impossible.
    """
    if any(columns[name] is None or columns[name].dtype != dtype for name, dtype in COLUMNS.items()):
        raise ValueError("%r is no checkpoint: it lacks a column of the validations" % path)
    stages = columns["stage"]
    is_table = all(array.shape == stages.shape and array.ndim == 1 for array in columns.values())
    if not is_table or not np.isin(stages, np.arange(len(horizons))).all() or (np.diff(stages) < 0).any():
        raise ValueError("%r is no checkpoint: its validations are no columns of one length" % path)
    rows = zip(*[array.tolist() for array in columns.values()])
    return [{"horizon": horizons[values[0]], **dict(zip(columns, values))} for values in rows]
