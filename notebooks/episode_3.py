"""Episode 3: problems to compare on, tuning of rules written by hand, and figures with bands. Used by its notebook."""

import contextlib
from collections import OrderedDict, namedtuple

import numpy as np
import optuna
import tensorflow as tf
from episodes import length, seeds  # noqa: F401, the notebook has them from here

import l2l

TINY = float(np.finfo(np.float32).tiny)  # a loss below counts as this one under a log
LARGEST = float(np.finfo(np.float32).max)  # what diverged counts as this
OF_TUNING = 2**40  # seeds of tuning draws begin here: no training and no evaluation draws with one of them

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


class Rosenbrock(l2l.Problem):
    """`f(x) = (1 - x_0)^2 + 100 (x_1 - x_0^2)^2`, a curved valley, from `U[-1, 1]^2`. The minimum is 0, at (1, 1)."""

    def sample(self, num, seed=None):
        return {"start": l2l.uniform([num, 2], -1.0, 1.0, seed=seed)}

    def initial_position(self, draw):
        return draw["start"]

    def loss(self, x, draw):
        return self.batch_loss(x, draw)

    def batch_loss(self, x, draw):
        return tf.square(1 - x[..., 0]) + 100 * tf.square(x[..., 1] - tf.square(x[..., 0]))


class OneOf(l2l.Problem):
    """Several problems at once: each draw is of one of them, all with the same chance.

    Args:
      problems: with positions of one shape, and a `batch_loss`.
    """

    def __init__(self, problems):
        self.problems = problems

    def sample(self, num, seed=None):
        which = tf.floor(l2l.uniform([num], 0.0, float(len(self.problems)), seed=seed, stream=9))
        return {"which": which, "of": [problem.sample(num, seed) for problem in self.problems]}

    def _starts(self, draw):
        return [problem.initial_position(one) for problem, one in zip(self.problems, draw["of"])]

    def initial_position(self, draw):
        chosen = [tf.cast(tf.equal(draw["which"], i), tf.float32)[..., tf.newaxis] for i in range(len(self.problems))]
        return tf.add_n([one * x for one, x in zip(chosen, self._starts(draw))])

    def loss(self, x, draw):
        return self.batch_loss(x, draw)

    def batch_loss(self, x, draw):
        # The others are asked at their starts, where all is finite: no infinity times zero comes back from them.
        total = 0.0
        for i, (problem, one, start) in enumerate(zip(self.problems, draw["of"], self._starts(draw))):
            this = tf.equal(draw["which"], i)
            value = problem.batch_loss(tf.where(tf.broadcast_to(this[..., tf.newaxis], tf.shape(x)), x, start), one)
            total += tf.where(this, value, tf.zeros_like(value))
        return total


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


# --- rules in NumPy: a graph takes longer to build than one of these to run, and each trial has other numbers


def _sgd(g, state, learning_rate):
    return -learning_rate * g, None


def _momentum(g, state, learning_rate, momentum):
    velocity = g if state is None else momentum * state + g
    return -learning_rate * velocity, velocity


def _nesterov(g, state, learning_rate, momentum):
    velocity = g if state is None else momentum * state + g
    return -learning_rate * (g + momentum * velocity), velocity


def _rmsprop(g, state, learning_rate, decay, epsilon):
    mean_square = decay * (np.zeros_like(g) if state is None else state) + (1 - decay) * np.square(g)
    return -learning_rate * g / (np.sqrt(mean_square) + epsilon), mean_square


def _adam(g, state, learning_rate, beta1, beta2, epsilon):
    mean, mean_square, t = (np.zeros_like(g), np.zeros_like(g), 1) if state is None else state
    mean = beta1 * mean + (1 - beta1) * g
    mean_square = beta2 * mean_square + (1 - beta2) * np.square(g)
    rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return -rate * mean / (np.sqrt(mean_square) + epsilon), (mean, mean_square, t + 1)


def _secant(g, state, learning_rate):
    before, moved = (g, np.zeros_like(g)) if state is None else state
    change = g - before
    unknown = (np.abs(change) < TINY) | (moved == 0)
    update = np.where(unknown, -learning_rate * g, -moved * (g / np.where(unknown, 1, change)))
    return update, (g, update)


Rule = namedtuple(
    "Rule",
    [
        "make",  # the library's function, from hyperparameters to an optimizer
        "in_numpy",  # the same for arrays, (gradients, state, **hyperparameters) -> (update, state)
        "hyperparameters",  # dict from name to a key of `RANGES`
        "reference",  # whether it estimates curvature: no first-order baseline, but an upper reference
    ],
)

_RATE, _EPSILON = {"learning_rate": "learning_rate"}, {"epsilon": "epsilon"}
_DECAYS = {"beta1": "decay of gradients", "beta2": "decay of squares"}

RULES = OrderedDict(
    [
        ("SGD", Rule(l2l.sgd, _sgd, _RATE, False)),
        ("momentum", Rule(l2l.momentum, _momentum, {**_RATE, "momentum": "decay of gradients"}, False)),
        ("Nesterov", Rule(l2l.nesterov, _nesterov, {**_RATE, "momentum": "decay of gradients"}, False)),
        ("RMSProp", Rule(l2l.rmsprop, _rmsprop, {**_RATE, "decay": "decay of squares", **_EPSILON}, False)),
        ("Adam", Rule(l2l.adam, _adam, {**_RATE, **_DECAYS, **_EPSILON}, False)),
        ("secant", Rule(l2l.secant, _secant, _RATE, True)),
    ]
)


# For each hyperparameter of a trial: what is suggested, its range, and whether its logarithm is uniform. Of a mean of
# squares it is the distance from 1 that counts, of a mean of gradients the decay itself.
RANGES = {
    "learning_rate": ("learning_rate", 1e-4, 1e5, True),
    "epsilon": ("epsilon", 1e-12, 1.0, True),
    "decay of gradients": ("decay", 0.0, 0.99, False),
    "decay of squares": ("1 - decay", 1e-7, 1.0, True),
}


def suggested(trial, hyperparameters):
    """A trial's hyperparameters, a dict.

    Args:
      trial: Optuna's.
      hyperparameters: dict from name to a key of `RANGES`.
    """
    values = {}
    for name, kind in hyperparameters.items():
        _, low, high, log = RANGES[kind]
        value = trial.suggest_float(name, low, high, log=log)
        values[name] = 1 - value if kind == "decay of squares" else value
    return values


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


@contextlib.contextmanager
def on_draws(problem, num, seed):
    """Tuning draws of a problem: `(start, base)`, where `base` maps positions to `(losses, gradients)`."""
    with tf.Graph().as_default():
        values = problem.sample(num, OF_TUNING + seed)
        with tf.Session() as session:
            arrays = session.run(tf.nest.flatten(values))
            draws = tf.nest.pack_sequence_as(values, [tf.placeholder(a.dtype, a.shape) for a in arrays])
            feed = dict(zip(tf.nest.flatten(draws), arrays))
            kept = [tf.Variable(place, use_resource=True) for place in tf.nest.flatten(draws)]
            session.run([one.initializer for one in kept], feed)
            draws = tf.nest.pack_sequence_as(values, [tf.convert_to_tensor(one) for one in kept])
            start = session.run(problem.initial_position(draws))
            x = tf.placeholder(tf.float32, start.shape)
            losses = problem.batch_loss(x, draws)
            yield start, session.make_callable([losses, tf.gradients(losses, x)[0]], [x])


def run_in_numpy(start, base, in_numpy, hyperparameters, steps):
    """The losses `[draws, T]` of a rule in NumPy."""
    x, state, losses = start, None, []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            values, gradients = base(x)
            losses.append(values)
            update, state = in_numpy(gradients, state, **hyperparameters)
            x = (x + update).astype(np.float32)
    return np.stack(losses, axis=1)


def tuned(problem, rule, measure, trials, num, steps, seed):
    """The best hyperparameters of a rule for a measure: the best of so many trials of Optuna's TPE sampler.

    Args:
      problem: one of this module or `l2l.Quadratic`, whose functions take batches.
      rule: a `Rule`.
      measure: a key of `MEASURES`.
      trials: how many, an integer.
      num, steps: draws of each trial, the same for all, and base iterations.
      seed: of draws and sampler.

    Returns:
      `(hyperparameters, figure)`: a dict, and the measure's mean over the tuning draws.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    with on_draws(problem, num, seed) as (start, base):

        def objective(trial):
            values = suggested(trial, rule.hyperparameters)
            trial.set_user_attr("values", values)
            return MEASURES[measure](run_in_numpy(start, base, rule.in_numpy, values, steps)).mean()

        study.optimize(objective, n_trials=trials)
    return study.best_trial.user_attrs["values"], study.best_value


def newton_fractions(rule, hyperparameters, scale, start, steps):
    """What a rule does on `(scale x)^2`: losses, and each update as a fraction of Newton's.

    Args:
      rule, hyperparameters: a `Rule`, and a dict.
      scale, start: arrays `[num]`.
      steps: base iterations.

    Returns:
      Two arrays `[num, steps]`: the losses, and `update / -x`, in which 1 is Newton's step and 0 no step. NaN where `x`
      is 0.
    """
    x, state, losses, fractions = np.asarray(start, np.float32), None, [], []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            losses.append(np.square(scale * x))
            update, state = rule.in_numpy((2 * np.square(scale) * x).astype(np.float32), state, **hyperparameters)
            fractions.append(np.where(x == 0, np.nan, update / -x))
            x = (x + update).astype(np.float32)
    return np.stack(losses, axis=1), np.stack(fractions, axis=1)


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
SEVERAL = OneOf([l2l.Quadratic(2), Quadratics(2, MIXED), Quadratics(2, MIXED, rotated=True), Rosenbrock()])

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
    Condition("Rosenbrock, T = 100", Rosenbrock(), 100, 500),
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


LEARNED, SEVERAL_BY_HAND, SEVERAL_LEARNED = "learned", "best by hand, several", "learned on several"


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
                "by hand": _cell(of[best], measure),
                "learned": _cell(of[LEARNED], measure),
                "secant": _cell(of["secant"], measure),
                "ahead": _ahead(of[best], of[LEARNED], measure),
                "by hand, several": _cell(of[SEVERAL_BY_HAND], measure),
                "learned, several": _cell(of[SEVERAL_LEARNED], measure),
                "ahead, several": _ahead(of[SEVERAL_BY_HAND], of[SEVERAL_LEARNED], measure),
            }
        )
    return l2l.format_table(lines, dict.fromkeys(lines[0], ""))


def _ahead(by_hand, learned, measure):
    texts = [_cell(cell, measure).split(" ±")[0] for cell in (by_hand, learned)]
    if texts[0] == texts[1]:
        return "neither"
    if learned["high"] < by_hand["low"]:
        return "learned"
    return "by hand" if by_hand["high"] < learned["low"] else "neither"
