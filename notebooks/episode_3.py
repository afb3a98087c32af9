"""Episode 3: problems to compare on, ranges and measures of tuning, and figures with bands. Used by its notebook."""

from collections import OrderedDict, namedtuple

import numpy as np
import tensorflow as tf
from episodes import length, seeds  # noqa: F401, the notebook has them from here

import l2l

TINY = float(np.finfo(np.float32).tiny)  # a loss below counts as this one under a log
LARGEST = float(np.finfo(np.float32).max)  # what diverged counts as this

# --- problems


class Quadratics(l2l.Problem):
    """`f(x) = sum_i (scale_i y_i)^2` with `y = Q x`: Episode 1's quadratic with other scales, or rotated.

    `scale_i = factor_i U[0.5, 1.5]`, `log factor_i` uniform, `x_0 ~ U[-1, 1]^D`. `Q` is the identity, or the orthogonal
    factor of a random matrix.

    Args:
      dims: `D`.
      factors: the lowest and the highest factor.
      rotated: whether there is a rotation.
    """

    def __init__(self, dims=2, factors=(1.0, 1.0), rotated=False):
        self.dims, self.factors, self.rotated = dims, tuple(factors), rotated

    def sample(self, num, seed=None):
        shape = [num, self.dims]
        low, high = np.log(self.factors)
        factors = tf.exp(l2l.uniform(shape, 0.0, 1.0, seed=seed, stream=2) * (high - low) + low)
        draws = {
            "scale": factors * l2l.uniform(shape, 0.5, 1.5, seed=seed, stream=0),
            "start": l2l.uniform(shape, -1.0, 1.0, seed=seed, stream=1),
        }
        if self.rotated:
            draws["rotation"] = tf.linalg.qr(l2l.uniform([num, self.dims, self.dims], -1.0, 1.0, seed=seed, stream=3))[
                0
            ]
        return draws

    def initial_position(self, draw):
        return draw["start"]

    def loss(self, x, draw):
        return self.batch_loss(x, draw)

    def batch_loss(self, x, draw):
        if self.rotated:
            x = tf.reduce_sum(draw["rotation"] * tf.expand_dims(x, -2), axis=-1)
        return tf.reduce_sum(tf.square(draw["scale"] * x), axis=-1)


# --- the least summed loss


def best_first_update(gradient):
    """The first update that leaves the least loss on average on Episode 1's quadratic, an array like `gradient`.

    `-g / (2 E[s^2 | g])` with the density of the scale given the gradient, which is as `1 / s^2` from
    `a = max(0.5, sqrt(|g| / 2))` to 1.5; so `E[s^2 | g] = 1.5 a`.
    """
    gradient = np.asarray(gradient)
    return -gradient / (3 * np.maximum(0.5, np.sqrt(np.abs(gradient) / 2)))


def least_summed_loss(points=2000):
    """The mean of the first loss, and of the second after `best_first_update`, of one coordinate: two numbers."""
    middles = (np.arange(points) + 0.5) / points
    scale, start = 0.5 + middles, middles[:, None]  # negative starts mirror these
    first = np.square(scale * start)
    return first.mean(), np.square(scale * (start + best_first_update(2 * scale**2 * start))).mean()


# --- rules and what they are tuned in

Rule = namedtuple(
    "Rule",
    [
        "make",  # the library's function, from hyperparameters to an optimizer
        "ranges",  # of its hyperparameters, as for `l2l.tune`
        "trials",  # of a tuning: of many hyperparameters there are several valleys
        "reference",  # whether it estimates curvature: no first-order baseline, but an upper reference
    ],
)

# Of a mean of squares it is the distance from 1 that counts, of a mean of gradients the decay itself.
_RATE, _EPSILON = {"learning_rate": l2l.log_range(1e-4, 1e5)}, {"epsilon": l2l.log_range(1e-12, 1.0)}
_GRADIENTS, _SQUARES = (0.0, 0.99), l2l.near_one(0.0, 1 - 1e-7)

RULES = OrderedDict(
    [
        ("SGD", Rule(l2l.sgd, _RATE, 100, False)),
        ("momentum", Rule(l2l.momentum, {**_RATE, "momentum": _GRADIENTS}, 600, False)),
        ("Nesterov", Rule(l2l.nesterov, {**_RATE, "momentum": _GRADIENTS}, 600, False)),
        ("RMSProp", Rule(l2l.rmsprop, {**_RATE, "decay": _SQUARES, **_EPSILON}, 3000, False)),
        ("Adam", Rule(l2l.adam, {**_RATE, "beta1": _GRADIENTS, "beta2": _SQUARES, **_EPSILON}, 4500, False)),
        ("secant", Rule(l2l.secant, _RATE, 100, True)),
    ]
)

# --- measures


def _bounded(losses):
    losses = np.asarray(losses, np.float64)
    return np.where(np.isfinite(losses), np.minimum(losses, LARGEST), LARGEST)


def _log10(losses):
    return np.log10(np.maximum(_bounded(losses), TINY))


MEASURES = OrderedDict(
    [
        ("last loss", lambda losses: _log10(losses[:, -1])),
        ("summed loss", lambda losses: _bounded(losses).sum(axis=1)),
        ("sum of logs", lambda losses: _log10(losses).sum(axis=1)),
    ]
)
"""From losses `[draws, T]` to a number for each draw, of which the mean is compared: log10 of the last loss, the sum,
the sum of log10. NaN and infinity count as the largest float32, a loss below the smallest as that one."""


# --- tuning


def tuned(problem, name, measure, draws, steps, seed, most=4500):
    """A rule with the hyperparameters that are best for a measure, an `l2l.Tuned`.

    Args:
      problem: a `Problem`.
      name, measure: keys of `RULES` and `MEASURES`.
      draws, steps, seed: as for `l2l.tune`.
      most: trials, an integer.
    """
    rule = RULES[name]
    return l2l.tune(
        problem,
        rule.make,
        rule.ranges,
        measure=lambda losses: MEASURES[measure](losses).mean(),
        budget=length(min(rule.trials, most)),
        draws=draws,
        steps=steps,
        seed=seed,
        engine="xla" if length(1000) == 1000 else "graph",  # the few trials of a rehearsal are not worth compiling
    )


def newton_fractions(optimizers, steps, seed, draws=1000):
    """What optimizers do on one coordinate of Episode 1's quadratic: losses, and each update in steps of Newton's.

    Args:
      optimizers: dict from name to optimizer.
      steps, seed, draws: as for `l2l.trace`.

    Returns:
      A dict from name to two arrays `[draws, steps]`: the losses, and `update / -x`, in which 1 is Newton's step and 0
      no step. NaN where `x` is 0.
    """
    traces, found = l2l.trace(l2l.Quadratic(1), optimizers, draws=draws, steps=steps, seed=seed), {}
    for name, trace in traces.items():
        x, update = trace.positions[..., 0].astype(np.float64), trace.updates[..., 0]
        with np.errstate(all="ignore"):
            found[name] = trace.losses, np.where(x == 0, np.nan, update / -x)
    return found


def medians(lines):
    """One line of a table for several seeds, a dict: the median of each float, and all else as in the first."""
    kept = {key: value for key, value in lines[0].items() if not isinstance(value, float)}
    return {key: kept[key] if key in kept else float(np.median([line[key] for line in lines])) for key in lines[0]}


# --- figures with bands

Condition = namedtuple(
    "Condition",
    [
        "name",
        "problem",
        "steps",  # base iterations
        "num",  # draws
    ],
)

HOME = "D = 2, T = 20"

# Problems that are trained on together: scales as in Episode 1, mixed ones without and with rotation, and the valley.
MIXED = (0.1, 10.0)
SEVERAL = l2l.Mixture([l2l.Quadratic(2), Quadratics(2, MIXED), Quadratics(2, MIXED, rotated=True), l2l.Rosenbrock()])

CONDITIONS = [
    Condition(HOME, l2l.Quadratic(2), 20, 4000),
    Condition("T = 100", l2l.Quadratic(2), 100, 4000),
    Condition("T = 1000", l2l.Quadratic(2), 1000, 200),
    Condition("D = 10", l2l.Quadratic(10), 20, 500),
    Condition("D = 100", l2l.Quadratic(100), 20, 200),
    Condition("scales / 10", Quadratics(2, (0.1, 0.1)), 20, 1000),
    Condition("scales x 10", Quadratics(2, (10.0, 10.0)), 20, 1000),
    Condition("mixed scales", Quadratics(2, MIXED), 20, 1000),
    Condition("rotated, D = 10", Quadratics(10, rotated=True), 20, 500),
    Condition("Rosenbrock, T = 100", l2l.Rosenbrock(), 100, 500),
]


def part(values):
    """The first of some values, a list: all of them, or as small a part as `L2L_LENGTH` says, at least one."""
    values = list(values)
    return values[: max(1, length(1000 * len(values)) // 1000)]


def mean_with_band(losses, measure):
    """A measure of losses `[draws, T]`: `(mean, half the width of its 95% interval, share of draws that diverged)`."""
    values, finite = MEASURES[measure](losses), np.isfinite(losses).all(axis=1)
    return float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values))), float(1 - finite.mean())


def unit(losses, measure):
    """What a figure is divided by, so that problems and lengths compare: a summed loss by the mean of the first loss, a
    sum of logs by `T`.
    """
    return {"last loss": 1.0, "summed loss": _bounded(losses[:, 0]).mean(), "sum of logs": losses.shape[1]}[measure]


def compared(condition, optimizers, measures, seed):
    """Figures of optimizers on one condition, a row for each: dicts of JSON types.

    Args:
      condition: a `Condition`.
      optimizers: dict from (name, measure it is meant for, or None for all; seed) to optimizer.
      measures: keys of `MEASURES`.
      seed: of the draws.
    """
    rows = []
    names = {key: "%s, %s, seed %d" % (key[0], key[1] or "all measures", key[2]) for key in optimizers}
    losses = l2l.evaluate(
        condition.problem,
        {names[key]: optimizer for key, optimizer in optimizers.items()},
        draws=length(condition.num),
        steps=condition.steps,
        seed=seed,
        engine="graph",
    )
    for (name, meant_for, its_seed), text in names.items():
        for measure in measures if meant_for is None else [meant_for]:
            mean, half, diverged = mean_with_band(losses[text], measure)
            row = {"condition": condition.name, "measure": measure, "optimizer": name, "seed": its_seed}
            by = float(unit(losses[text], measure))
            row.update(figure=mean / by, low=(mean - half) / by, high=(mean + half) / by, diverged=diverged)
            rows.append(row)
    return rows


def cells(rows):
    """One dict for all seeds of a measure, optimizer and condition: the median; low and high reach over all bands."""
    groups = OrderedDict()
    for row in rows:
        groups.setdefault((row["measure"], row["optimizer"], row["condition"]), []).append(row)
    return OrderedDict(
        (
            key,
            {
                "figure": float(np.median([row["figure"] for row in group])),
                "low": min(row["low"] for row in group),
                "high": max(row["high"] for row in group),
                "diverged": max(row["diverged"] for row in group),
            },
        )
        for key, group in groups.items()
    )


def _cell(cell, measure):
    if measure == "summed loss" and cell["figure"] > 1e6:
        return "diverges (%.0f%%)" % (100 * cell["diverged"]) if cell["diverged"] else "above 1e6"
    text = {"summed loss": "%.3g", "last loss": "%.1f", "sum of logs": "%.1f"}[measure]
    if measure == "summed loss" and cell["figure"] < 100:
        text = "%.2f"
    half = max(cell["high"] - cell["figure"], cell["figure"] - cell["low"])
    return (text + " ± " + text) % (cell["figure"], half)


def table(rows):
    """All cells: a line for each measure and optimizer, a column for each condition.

    Args:
      rows: as from `compared`.
    """
    lines, conditions = OrderedDict(), OrderedDict()
    for (measure, optimizer, condition), cell in cells(rows).items():
        conditions[condition] = ""
        line = lines.setdefault((measure, optimizer), {"measure": measure, "optimizer": optimizer})
        line[condition] = _cell(cell, measure)
    ordered = sorted(lines.items(), key=lambda item: list(MEASURES).index(item[0][0]))
    return l2l.format_table([line for _, line in ordered], {"measure": "", "optimizer": "", **conditions})


LEARNED, SEVERAL_BASELINE, SEVERAL_LEARNED = "learned", "best baseline, several", "learned on several"


def winners(rows):
    """Who is ahead, a line for each measure and condition.

    The best first-order rule of those tuned at home against the network trained there for the measure; the secant
    method beside them; and the two that were tuned and trained on several problems. Lower is better, and one is ahead
    of another where their bands do not overlap and the figures differ as they are shown.

    Args:
      rows: as from `compared`.
    """
    by_place = OrderedDict()
    for (measure, optimizer, condition), cell in cells(rows).items():
        by_place.setdefault((measure, condition), {})[optimizer] = cell
    first_order = [name for name, rule in RULES.items() if not rule.reference]
    lines = []
    for (measure, condition), of in sorted(by_place.items(), key=lambda item: list(MEASURES).index(item[0][0])):
        figures = {name: of[name]["figure"] for name in first_order}
        best = min(figures, key=figures.get)
        lines.append(
            {
                "measure": measure,
                "condition": condition,
                "best rule": best,
                "baseline": _cell(of[best], measure),
                "learned": _cell(of[LEARNED], measure),
                "secant": _cell(of["secant"], measure),
                "ahead": _ahead(of[best], of[LEARNED], measure),
                "baseline, several": _cell(of[SEVERAL_BASELINE], measure),
                "learned, several": _cell(of[SEVERAL_LEARNED], measure),
                "ahead, several": _ahead(of[SEVERAL_BASELINE], of[SEVERAL_LEARNED], measure),
            }
        )
    return l2l.format_table(lines, dict.fromkeys(lines[0], ""))


def _ahead(baseline, learned, measure):
    texts = [_cell(cell, measure).split(" ±")[0] for cell in (baseline, learned)]
    if texts[0] == texts[1]:
        return "neither"
    if learned["high"] < baseline["low"]:
        return "learned"
    return "baseline" if baseline["high"] < learned["low"] else "neither"
