"""Tuning: the hyperparameters of a hand-designed optimizer with which it does best, found on draws of their own.

Optuna is imported inside the functions, since it is an extra of the package, `l2l[tune]`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import math
import numbers
import warnings
from collections import namedtuple
from typing import Any, Callable, Dict

import numpy as np

from l2l import checks
from l2l.evaluation.graph import EvaluationGraph, drawn
from l2l.graphs import own_graph
from l2l.optimizers.optimizer import opened
from l2l.problems.problem import Problem
from l2l.progress import progress, title
from l2l.runs.interrupt import delayed_signals, leave
from l2l.tables import Table, format_table
from l2l.types import OptimizerFunction
from l2l.xla import prepare_xla

# Trainings draw with seeds from 0 on, evaluations from -1 down to -2^31, and `Problem.draw` a little below -2^40.
FIRST_SEED = -(2**41)

MOST_BY_TPE = 300  # trials; what Optuna's TPE takes for each grows with their number
POPULATION = 50
ONE_SEARCH = 1500  # trials, 30 generations: a population has chosen one of several valleys by then, and another begins
LARGEST = 1e300  # Optuna compares figures, and subtracts them: no infinity
SHOWN = 10  # trials of a table

LogRange = namedtuple("LogRange", ["low", "high"])
NearOne = namedtuple("NearOne", ["low", "high"])

_Space = namedtuple(
    "_Space",
    [
        "distribution",  # Optuna's
        "value",  # function from what it suggests to the hyperparameter
        "ends",  # the lowest and the highest hyperparameter
        "is_number",  # whether a graph can take its values as tensors
    ],
)


def log_range(low: float, high: float) -> LogRange:
    """A range for `tune`: numbers from `low` to `high` whose logarithm is uniform, such as learning rates.

    Raises:
      TypeError, ValueError: they are no positive numbers of float32, or `low` is not below `high`.
    """
    low, high = checks.positive_float32("low", low), checks.positive_float32("high", high)
    return LogRange(*_in_order(low, high))


def near_one(low: float, high: float) -> NearOne:
    """A range for `tune`: numbers from `low` to `high` whose distance from 1 has a uniform logarithm, such as decays.

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
    """What `tune` found: in a notebook a table of the best ten trials.

    Attributes:
      optimizer: the rule with the best hyperparameters.
      hyperparameters: the best ones, a dict.
      figure: what they reached on the tuning draws.
      trials: list of dicts in the order of the trials: the hyperparameters, and `figure`.
    """

    __slots__ = ()

    def table(self, rows: int = SHOWN) -> Table:
        """The best trials, a `Table` of so many rows."""
        best = sorted(self.trials, key=lambda trial: trial["figure"])[: checks.positive_integer("rows", rows)]
        is_text = {name: not all(_is_number(trial[name]) for trial in best) for name in best[0]}
        cells = [{name: str(one) if is_text[name] else one for name, one in trial.items()} for trial in best]
        return format_table(cells, {name: "" if text else ".6g" for name, text in is_text.items()})

    def __repr__(self):
        return "<Tuned, %r, figure %.6g after %d trials>" % (self.optimizer, self.figure, len(self.trials))

    def _repr_html_(self):
        return self.table()._repr_html_()


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
    """The hyperparameters with which a rule does best on draws of their own: a `Tuned`.

        tuned = l2l.tune(problem, l2l.adam, {"learning_rate": l2l.log_range(1e-4, 1), "beta1": (0.0, 0.99)},
                         measure=lambda losses: np.log10(losses[:, -1]).mean(), budget=200)
        l2l.evaluate(problem, {"Adam": tuned.optimizer})

    A trial runs the rule on all draws, the same in each trial. The graph is built once; a trial assigns its numbers.
    Where every range is a list and the budget suffices, each combination is tried once. Otherwise Optuna suggests: up
    to 300 trials by its TPE sampler; more by its genetic algorithm NSGA-II in generations of 50 with the simplex
    crossover, which for that many takes a fraction of TPE's time; after every 1,500 trials it begins anew. The same
    seed gives the same trials.

    Needs Optuna, `pip install l2l[tune]`. The first Ctrl-C returns the best of the trials that are done.

    Args:
      problem: a `Problem`.
      rule: function of hyperparameters, by name, that returns an optimizer: `l2l.adam`; or, to tune a schedule,
        `lambda learning_rate, steps: l2l.adam(l2l.cosine_decay(learning_rate, steps))`.
      ranges: dict from the name of a hyperparameter to what is suggested for it: `(low, high)`, uniform;
        `log_range(low, high)`; `near_one(low, high)`; a `range` of integers; or a list of choices. In a trial numbers
        are tensors, and what is suggested is a number of float32. A choice that is no number gets a graph of its own.
      measure: function of the losses, a float64 array `[draws, steps]`, to a number, the lower the better. A loss that
        is NaN or infinite has diverged and is infinite here; a figure of NaN counts as infinite.
      budget: how many trials, a positive integer.
      draws: how many independent problems are drawn, a positive integer. No training and no evaluation sees them.
      steps: `T`, base iterations of a trial, a positive integer.
      seed: integer that fixes draws and suggestions.
      engine: as for `evaluate`.

    Raises:
      TypeError, ValueError: an argument that is none of these, or what the rule or `evaluate` raises.
      ImportError: Optuna is not installed.
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
    optuna = imported()
    spaces = _spaces(ranges, optuna.distributions)
    _check_rule(rule, spaces)
    if engine == "xla":
        prepare_xla()
    grid = _grid(ranges, budget)
    total = len(grid) or budget
    examined = drawn(problem, draws, (FIRST_SEED - seed, 0), steps)
    distributions = {name: space.distribution for name, space in spaces.items()}
    trials, best = [], math.inf
    line = progress(total, "tune " + title(list(spaces), "hyperparameters"))
    with line as show, delayed_signals(False) as stop, contextlib.suppress(_StoppedError), contextlib.closing(
        _Runs(problem, rule, spaces, examined, steps, engine, stop)
    ) as runs:
        for number in range(total):
            if number % (len(grid) or ONE_SEARCH) == 0:
                study = _study(optuna, total, (seed + number) % 2**32)
                for choice in grid:
                    study.enqueue_trial(choice)
            trial = study.ask(distributions)
            figure = _figure(measure, runs.losses(trial.params))
            study.tell(trial, min(max(figure, -LARGEST), LARGEST))
            trials.append({**_values(spaces, trial.params), "figure": figure})
            best = min(best, figure)
            show(1, "best %.6g" % best)
    if not trials:
        leave(stop, "stopped before the first trial was done")
    if len(trials) < total:
        warnings.warn("stopped after %d of %d trials" % (len(trials), total), RuntimeWarning, stacklevel=2)
    found = dict(min(trials, key=lambda one: one["figure"]))
    figure = found.pop("figure")
    if figure == math.inf:
        words = "measure is NaN or infinite in all %d trials: the first one is returned" % len(trials)
        warnings.warn(words, RuntimeWarning, stacklevel=2)
    return Tuned(rule(**found), found, figure, trials)


class _StoppedError(Exception):
    """Ctrl-C came."""


def imported():
    """The package `optuna`.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tune needs Optuna (%s): pip install l2l[tune]" % error) from None
    return optuna


def _spaces(ranges, distributions):
    """A `_Space` for each range; `distributions` is Optuna's module of that name."""
    if not isinstance(ranges, dict) or not ranges:
        raise ValueError("ranges must be a non-empty dict from hyperparameter to range, got %r" % (ranges,))
    return {name: _space("ranges[%r]" % (name,), given, distributions) for name, given in ranges.items()}


def _space(path, given, distributions):
    if isinstance(given, LogRange):
        return _Space(distributions.FloatDistribution(*given, log=True), _float32, given, True)
    if isinstance(given, NearOne):
        distances = 1 - given.high, 1 - given.low
        distribution = distributions.FloatDistribution(*distances, log=True)
        return _Space(distribution, lambda distance: _float32(1 - distance), given, True)
    if isinstance(given, tuple) and len(given) == 2:
        low, high = (checks.number(path, one) for one in given)
        if not low < high:
            raise ValueError("%s must have its lower end first, got %r" % (path, given))
        return _Space(distributions.FloatDistribution(low, high), _float32, (low, high), True)
    if isinstance(given, (list, range)) and len(given):
        if isinstance(given, range):
            distribution = distributions.IntDistribution(0, len(given) - 1)  # places: these are in order
        else:
            distribution = distributions.CategoricalDistribution(range(len(given)))
        choices = [_plain(one) for one in given]
        if all(map(_is_number, choices)) and not all(isinstance(one, int) for one in choices):
            choices = list(map(float, choices))
        return _Space(distribution, choices.__getitem__, choices, all(map(_is_number, choices)))
    raise TypeError(
        "%s must be (low, high), l2l.log_range(low, high), l2l.near_one(low, high), a range of integers or a list of "
        "choices, got %r" % (path, given)
    )


def _float32(value):
    """The nearest number of float32: what a graph computes with and what is returned are the same, also near 1."""
    return float(np.float32(value))


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _plain(value):
    """A number of NumPy's as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _values(spaces, suggested):
    return {name: space.value(suggested[name]) for name, space in spaces.items()}


def _check_rule(rule, spaces):
    """Refuses a rule that does not take the hyperparameters, and, at the ends of all ranges, what it returns."""
    try:
        inspect.signature(rule).bind(**spaces)
    except TypeError as error:
        raise TypeError("rule must take %s by name: %s" % (", ".join(map(str, spaces)), error)) from None
    with own_graph():
        for end in (0, -1):
            found = rule(**{name: space.ends[end] for name, space in spaces.items()})
            if opened("what rule returns", found).variables:
                raise TypeError("what rule returns must be an optimizer without variables, got %r" % (found,))


def _grid(ranges, most):
    """All combinations, as Optuna suggests them, if every range is a list or a `range` and they are not too many."""
    sizes = [len(one) if isinstance(one, (list, range)) else math.inf for one in ranges.values()]
    if np.prod(sizes) > most:
        return []
    return [dict(zip(ranges, places)) for places in itertools.product(*map(range, sizes))]


def _study(optuna, trials, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if trials <= MOST_BY_TPE:
            sampler = optuna.samplers.TPESampler(seed=seed)
        else:
            crossover = optuna.samplers.nsgaii.SPXCrossover()
            sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, crossover=crossover, seed=seed)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it says that there is a study
        try:
            return optuna.create_study(sampler=sampler)
        finally:
            optuna.logging.set_verbosity(level)


class _Runs:
    """Runs of a rule with the hyperparameters of one trial after another.

    Numbers are assigned to one graph. Each choice of something else has a graph.
    """

    def __init__(self, problem, rule, spaces, examined, steps, engine, stop):
        self._problem, self._rule, self._spaces, self._stop = problem, rule, spaces, stop
        self._settings, self._at, self._graphs = (examined, steps, engine), np.arange(steps), {}

    def losses(self, suggested):
        """The losses `[draws, steps]` for what Optuna suggests.

        Raises:
          _StoppedError: Ctrl-C came meanwhile.
        """
        values = _values(self._spaces, suggested)
        others = {name: value for name, value in values.items() if not self._spaces[name].is_number}
        tensors = {name: value for name, value in values.items() if name not in others}
        key = tuple(suggested[name] for name in others)
        if key not in self._graphs:
            build = functools.partial(self._rule, **others)
            path = "what rule returns"
            self._graphs[key] = EvaluationGraph(self._problem, build, path, *self._settings, hyperparameters=tensors)
        self._graphs[key].assign(tensors)
        self._report(0)
        losses, _ = self._graphs[key].losses_and_positions(self._at, self._report)
        return losses

    def _report(self, finished):
        if self._stop.is_set():
            raise _StoppedError

    def close(self):
        for graph in self._graphs.values():
            graph.close()


def _figure(measure, losses):
    """The measure of losses, a float; infinity for NaN, and in place of each loss that is no finite number.

    Raises:
      TypeError: the measure is no number.
    """
    losses = losses.astype(np.float64)
    with np.errstate(all="ignore"):
        figure = measure(np.where(np.isfinite(losses), losses, np.inf))
    if np.ndim(figure) or not np.issubdtype(np.asarray(figure).dtype, np.number):
        raise TypeError("measure must return a number, got %.200r" % (figure,))
    return math.inf if np.isnan(figure) else float(figure)
