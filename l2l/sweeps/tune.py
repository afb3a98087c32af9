"""Tuning: the best hyperparameters of a baseline, found on separate draws."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import math
import numbers
import operator
import warnings
from collections import namedtuple
from typing import Any, Callable, Dict

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.evaluation.graph import EvaluationGraph, drawn
from l2l.graphs import own_graph
from l2l.interrupt import STOPPING, delayed_signals, leave
from l2l.optimizers.optimizer import opened
from l2l.problems.problem import Problem
from l2l.progress import progress, title
from l2l.tables import Table, format_table
from l2l.tracebacks import levels_to_the_caller, short_traceback
from l2l.types import OptimizerFunction
from l2l.xla import prepare_xla

# Trainings draw with seeds from 0 on, evaluations from -1 down to -2^31, and `Problem.draw` a little below -2^40.
FIRST_SEED = -(2**41)

# Options of SciPy's differential evolution. A small population, five for each hyperparameter, soon chooses one of
# several valleys. It ends when its figures agree to a thousandth, and another one begins.
EVOLUTION = {"popsize": 5, "recombination": 0.9, "tol": 1e-3, "polish": False}
LARGEST = 1e150  # it subtracts and squares figures

LogRange = namedtuple("LogRange", ["low", "high"])
NearOne = namedtuple("NearOne", ["low", "high"])

# A function from a place in [0, 1] to a hyperparameter, the number of its values, and whether they can be tensors.
_Space = namedtuple("_Space", ["value", "size", "is_number"])


def log_range(low: float, high: float) -> LogRange:
    """A range for `tune` whose logarithm is uniform, for example for learning rates.

        l2l.log_range(1e-4, 1.0)  # as likely from 1e-4 to 1e-3 as from 0.1 to 1

    Args:
      low, high: the ends of the range.

    Raises:
      TypeError, ValueError: they are no positive numbers of float32, or `low` is not below `high`.
    """
    low, high = checks.positive_float32("low", low), checks.positive_float32("high", high)
    return LogRange(*_in_order(low, high))


def near_one(low: float, high: float) -> NearOne:
    """A range for `tune` of numbers near 1, such as decays.

    The logarithm of their distance from 1 is uniform.

        l2l.near_one(0.9, 0.999)  # as likely from 0.9 to 0.99 as from 0.99 to 0.999

    Args:
      low, high: the ends of the range.

    Raises:
      TypeError, ValueError: they are not in [0, 1), also as float32, or `low` is not below `high`.
    """
    low, high = checks.fraction("low", low), checks.fraction("high", high)
    if np.float32(high) == 1:
        raise ValueError("high must be below 1 as a float32, at most %r, got %r" % (1 - 2.0**-24, high))
    return NearOne(*_in_order(low, high))


def _in_order(low, high):
    if not low < high:
        raise ValueError("low must be below high, got %r and %r" % (low, high))
    return low, high


class Tuned(namedtuple("Tuned", ["optimizer", "hyperparameters", "figure", "trials"])):
    """The result of `tune`; a notebook shows a table of the best ten trials.

    Attributes:
      optimizer: the rule with the best hyperparameters.
      hyperparameters: the best ones, a dict.
      figure: their figure on the tuning draws.
      trials: list of dicts in the order of the trials: the hyperparameters, and `figure`.
    """

    __slots__ = ()

    def table(self, rows: int = 10) -> Table:
        """Returns the best trials, a `Table` with at most `rows` rows."""
        best = sorted(self.trials, key=lambda trial: trial["figure"])[: checks.positive_integer("rows", rows)]
        is_text = {name: not all(_is_number(trial[name]) for trial in best) for name in best[0]}
        cells = [{name: str(one) if is_text[name] else one for name, one in trial.items()} for trial in best]
        return format_table(cells, {name: "" if text else ".6g" for name, text in is_text.items()})

    def __repr__(self):
        return "<Tuned, %r, figure %.6g after %d trials>" % (self.optimizer, self.figure, len(self.trials))

    def _repr_html_(self):
        return self.table()._repr_html_()


@short_traceback
def tune(
    problem: Problem,
    rule: Callable[..., OptimizerFunction],
    ranges: Dict[str, Any],
    *,
    measure: Callable[[np.ndarray], float],
    budget: int,
    draws: int = 1000,
    steps: int = 20,
    seed: int = 0,
    engine: str = "xla",
) -> Tuned:
    """Finds the hyperparameters with which a rule does best on tuning draws.

        tuned = l2l.tune(problem, l2l.adam, {"learning_rate": l2l.log_range(1e-4, 1), "beta1": (0.0, 0.99)},
                         measure=lambda losses: np.log10(losses[:, -1]).mean(), budget=200)
        l2l.evaluate(problem, {"Adam": tuned.optimizer})

    Each trial runs the rule on the same draws. The graph is built once, and a trial only assigns its numbers. If every
    range is a list and the budget suffices, each combination is tried once. Otherwise SciPy's differential evolution
    suggests hyperparameters: a population of five for each, from a Latin hypercube. When the figures of a population
    agree to a thousandth, a new one begins, until the budget is spent. The same seed gives the same trials.

    It needs SciPy: `pip install l2l[tune]`. The first Ctrl-C returns the best of the trials that are done.

    Args:
      problem: a `Problem`.
      rule: function that takes hyperparameters by name and returns an optimizer, such as `l2l.adam`. To tune a
        schedule: `lambda learning_rate, steps: l2l.adam(l2l.cosine_decay(learning_rate, steps))`.
      ranges: dict from the name of a hyperparameter to its range: `(low, high)`, uniform; `log_range(low, high)`;
        `near_one(low, high)`; a `range` of integers; or a list of choices. In a trial, numbers are tensors, rounded to
        float32 if they come from the first three. A choice that is no number gets a separate graph.
      measure: function of the losses, a float64 array `[draws, steps]`, to a number, the lower the better. A loss that
        is NaN or infinite has diverged and is infinite here; a figure of NaN counts as infinite.
      budget: how many trials, a positive integer.
      draws: how many independent problems are drawn, a positive integer. No training and no evaluation sees them.
      steps: `T`, base iterations of a trial, a positive integer.
      seed: integer that fixes draws and suggestions.
      engine: as for `evaluate`.

    Returns:
      A `Tuned`.

    Raises:
      TypeError, ValueError: an argument is none of these; or what the rule or `evaluate` raises.
      ImportError: SciPy is not installed.
      KeyboardInterrupt: Ctrl-C came before the first trial was done.
    """
    checks.problem("problem", problem)
    checks.function("rule", rule)
    checks.function("measure", measure)
    budget = checks.positive_integer("budget", budget)
    draws = checks.positive_integer("draws", draws)
    steps = checks.positive_integer("steps", steps)
    seed = checks.seed("seed", seed)
    engine = checks.one_of("engine", engine, ["graph", "xla"])
    spaces = _spaces(ranges)
    _check_rule(rule, spaces)
    if engine == "xla":
        prepare_xla()
    grid = _grid(spaces.values(), budget)
    total = len(grid) or budget
    examined = drawn(problem, draws, (FIRST_SEED - seed, 0), steps)
    fixed = {"path": "what rule returns", "draws": examined, "steps": steps, "engine": engine}
    make = functools.partial(EvaluationGraph, problem, **fixed)
    trials, graphs, best = [], {}, math.inf
    line = progress(total, "tune " + title(list(spaces), "hyperparameters"))
    with line as show, delayed_signals(False, lambda: show(0, STOPPING)) as stop, contextlib.ExitStack() as stack:

        def report(*_):
            if stop.is_set() or len(trials) == total:
                raise _StoppedError

        def figure_at(places):
            nonlocal best
            values = {name: space.value(place) for (name, space), place in zip(spaces.items(), places)}
            if not graphs:
                show(0, "building and compiling")
            graph = _graph(graphs, make, stack, rule, spaces, values)
            report()
            losses, _ = graph.losses_and_positions(np.arange(steps), report)
            trials.append({**values, "figure": _figure(measure, losses)})
            best = min(best, trials[-1]["figure"])
            show(1, "best %.6g" % best)
            report()
            return trials[-1]["figure"]

        with contextlib.suppress(_StoppedError):
            for places in grid:
                figure_at(places)
            if not grid:
                _evolve(figure_at, len(spaces), seed)
    if not trials:
        leave(stop, "stopped before the first trial was done")
    if len(trials) < total:
        warnings.warn(
            "stopped after %d of %d trials" % (len(trials), total), RuntimeWarning, stacklevel=levels_to_the_caller()
        )
    found = dict(min(trials, key=lambda one: one["figure"]))
    figure = found.pop("figure")
    if figure == math.inf:
        words = "measure is NaN or infinite in all %d trials: the first one is returned"
        warnings.warn(words % len(trials), RuntimeWarning, stacklevel=levels_to_the_caller())
    return Tuned(rule(**found), found, figure, trials)


class _StoppedError(Exception):
    """No trial follows: Ctrl-C came, the budget is spent, or a trial raised `__cause__`."""


def _evolve(figure_at, dims, seed):
    """Minimizes a figure over the unit cube by one population after another, until `figure_at` raises."""
    try:
        from scipy.optimize import differential_evolution  # an extra of the package
    except ImportError as error:
        raise ImportError("tune needs SciPy (%s): pip install l2l[tune]" % error) from None

    def bounded(places):
        try:
            return min(max(figure_at(places), -LARGEST), LARGEST)
        except (TypeError, ValueError) as error:  # SciPy would take these for an error in its own arguments
            raise _StoppedError from error

    random = np.random.RandomState(seed)
    try:
        while True:
            differential_evolution(bounded, [(0, 1)] * dims, seed=random, **EVOLUTION)
    except _StoppedError as error:
        raise (error.__cause__ or error) from None


def _spaces(ranges):
    if not isinstance(ranges, dict) or not ranges:
        raise ValueError("ranges must be a non-empty dict from hyperparameter to range, got %r" % (ranges,))
    return {name: _space("ranges[%r]" % (name,), given) for name, given in ranges.items()}


def _space(path, given):
    if isinstance(given, (list, range)) and len(given):
        choices = [one.item() if isinstance(one, np.generic) else one for one in given]
        are_numbers = all(map(_is_number, choices))
        if are_numbers and not all(isinstance(one, int) for one in choices):
            choices = list(map(float, choices))
        size = len(choices)
        return _Space(lambda place: choices[min(int(place * size), size - 1)], size, are_numbers)
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(
            "%s must be (low, high), l2l.log_range(low, high), l2l.near_one(low, high), a range of integers or a list "
            "of choices, got %r" % (path, given)
        )
    low, high = (checks.number(path, one) for one in given)
    if not low < high:
        raise ValueError("%s must have its lower end first, got %r" % (path, given))

    def value(place):
        if isinstance(given, LogRange):
            found = low * (high / low) ** place
        elif isinstance(given, NearOne):
            found = 1 - (1 - low) * ((1 - high) / (1 - low)) ** place
        else:
            found = low * (1 - place) + high * place
        return float(np.float32(found))  # so that the graph computes with the returned number, also near 1

    return _Space(value, math.inf, True)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_rule(rule, spaces):
    """Refuses a rule that does not take the hyperparameters, or returns no optimizer at either end of all ranges."""
    signature = inspect.signature(rule)
    try:
        signature.bind(**spaces)
    except TypeError as error:
        if "gradients" in signature.parameters:
            raise TypeError(
                "rule must be a function that returns an optimizer, such as l2l.sgd, not what it returns, got %r"
                % (rule,)
            ) from None
        names, taken = (", ".join(map(str, some)) for some in (spaces, signature.parameters))
        raise TypeError("rule must take %s by name, it takes %s: %s" % (names, taken or "nothing", error)) from None
    with own_graph():
        for end in (0, 1):
            found = rule(**{name: space.value(end) for name, space in spaces.items()})
            if opened("what rule returns", found).variables:
                raise TypeError("what rule returns must be an optimizer without variables, got %r" % (found,))


def _grid(spaces, most):
    """The places of all combinations, or none if there are too many."""
    sizes = [space.size for space in spaces]
    few = functools.reduce(operator.mul, sizes) <= most
    return list(itertools.product(*((np.arange(size) + 0.5) / size for size in sizes))) if few else []


def _graph(graphs, make, stack, rule, spaces, values):
    """The graph for the choices that are no numbers, built at their first use, with the numbers assigned."""
    others = {name: value for name, value in values.items() if not spaces[name].is_number}
    tensors = {name: value for name, value in values.items() if name not in others}
    key = tuple(map(id, others.values()))  # choices need not be hashable
    if key not in graphs:
        graph = make(optimizer=functools.partial(rule, **others), hyperparameters=tensors)
        graphs[key] = stack.enter_context(contextlib.closing(graph))
    graphs[key].assign(tensors)
    return graphs[key]


def _figure(measure, losses):
    """The measure of losses, a float; infinity for NaN, and in place of each loss that is no finite number."""
    losses = losses.astype(np.float64)
    with np.errstate(all="ignore"):
        figure = measure(np.where(np.isfinite(losses), losses, np.inf))
    if isinstance(figure, tf.Tensor) or np.ndim(figure) or not np.issubdtype(np.asarray(figure).dtype, np.number):
        raise TypeError("measure must map a NumPy array [draws, steps] to a number, got %.200r" % (figure,))
    return math.inf if np.isnan(figure) else float(figure)
