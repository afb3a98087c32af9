"""The paper's experiments: hand-designed optimizers and how they are tuned, trainings, and curves with bands.

Used by the notebook of this name.
"""

import concurrent.futures
import functools
import os
import warnings
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from episodes import length

import l2l

TUNING_SEED, TEST_SEED = 1, 2  # of `l2l.evaluate`: rules are tuned on other draws than they are tested on
CANDIDATES = 24  # that are tried of each rule
FLOOR = 1e-38  # under a log
SEEDS = [1, 2, 3] if length(1000) == 1000 else [1]  # of trainings; one for a rehearsal
# What a rehearsal does is not worth compiling, and a graph of long segments takes long to write.
ENGINE, SEGMENTS = (
    ("xla", {"unroll_length": 20, "horizon": 100})
    if length(1000) == 1000
    else ("graph", {"unroll_length": 5, "horizon": 10})
)


def _near_one(one, other):
    """Numbers whose distance from 1 is uniform in the logarithm."""
    return lambda random: 1 - 10 ** random.uniform(one, other)


def _logarithmic(one, other):
    return lambda random: 10 ** random.uniform(one, other)


def part(sequence, number):
    """All of a dict; under `L2L_LENGTH` its last entries, so many: a rehearsal need not do all."""
    return sequence if length(1000) == 1000 else OrderedDict(list(sequence.items())[-number:])


# Each rule with what its hyperparameters are drawn from.
RULES = OrderedDict(
    [
        ("SGD", (l2l.sgd, {"learning_rate": _logarithmic(-4, 1)})),
        ("momentum", (l2l.momentum, {"learning_rate": _logarithmic(-4, 1), "momentum": _near_one(-2, 0)})),
        ("Nesterov", (l2l.nesterov, {"learning_rate": _logarithmic(-4, 1), "momentum": _near_one(-2, 0)})),
        ("RMSProp", (l2l.rmsprop, {"learning_rate": _logarithmic(-4, 0), "decay": _near_one(-3, -0.3)})),
        (
            "Adam",
            (
                l2l.adam,
                {"learning_rate": _logarithmic(-3, 0), "beta1": _near_one(-2, 0), "beta2": _near_one(-3, -0.3)},
            ),
        ),
    ]
)


def tuned(problem, steps, measure, *, draws, seed=0):
    """The best of `CANDIDATES` settings of each rule, found by random search on tuning draws, a core for each rule.

    Args:
      problem: a `Problem`.
      steps: base iterations.
      measure: function of losses `[draws, steps]` to a number, the lower the better.
      draws: how many tuning draws.
      seed: of the search.

    Returns:
      `(rules, rows)`: a dict from name to optimizer, and for each rule a dict of what was found.
    """

    def best_of(name):
        make, ranges = RULES[name]
        random = np.random.RandomState(seed)
        choices = [{key: draw(random) for key, draw in ranges.items()} for _ in range(length(CANDIDATES))]
        optimizers = {"%s, %d" % (name, i): make(**choice) for i, choice in enumerate(choices)}
        losses = l2l.evaluate(problem, optimizers, draws=draws, steps=steps, seed=TUNING_SEED, engine="graph")
        figures = [_figure(measure, values) for values in losses.values()]
        best = int(np.argmin(figures))
        return make(**choices[best]), {"rule": name, **choices[best], "tuning figure": figures[best]}

    names = list(part(RULES, 2))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        rules, rows = zip(*pool.map(best_of, names))
    return OrderedDict(zip(names, rules)), list(rows)


def _figure(measure, losses):
    """Of losses that diverged, infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        figure = float(measure(losses.astype(np.float64)))
    return figure if np.isfinite(figure) else np.inf


def mean_last(losses):
    """The mean over draws of the last loss."""
    return losses[:, -1].mean()


def mean_of_last_twenty(losses):
    """The mean over draws of the natural log of the mean loss over the last 20 base iterations."""
    return np.log(np.maximum(losses[:, -20:].mean(axis=1), FLOOR)).mean()


def paper_network(output_scale=0.01):
    """The network of arXiv 1606.04474, with the output scale of its authors' code."""
    return l2l.CoordinatewiseLSTM((20, 20), l2l.log_and_sign(10), input_layer=False, output_scale=output_scale)


def train(name, problem, build, stages, meta_loss="sum", seeds=SEEDS, **settings):
    """One training for each seed, side by side, as in the paper unless `settings` say otherwise.

    Args:
      name: of the trainings.
      problem, build, meta_loss: as for `l2l.Trainer`.
      stages: list of meta-iterations and learning rate; each begins with the weights of the one before.
      seeds: list of integers.
      settings: of the trainer.

    Returns:
      `(trained, rows)`: a dict from seed to `Trained`, and for each seed a dict about its training.
    """
    settings = {**SEGMENTS, "second_derivatives": False, "engine": ENGINE, **settings}
    stages = [{"meta_iterations": length(number), "learning_rate": rate} for number, rate in stages]
    make = functools.partial(l2l.Curriculum, problem, build, stages, meta_loss=meta_loss, name=name, **settings)
    curricula = [make(weights_seed=seed, draws_seed=100 * seed) for seed in seeds]
    with warnings.catch_warnings():
        # What there is to learn is learned in the first thousand meta-iterations, with which the last are compared.
        warnings.filterwarnings("ignore", ".* is stuck", RuntimeWarning)
        histories = l2l.train_together(curricula, workers=len(curricula))
    found, rows = {}, []
    for seed, curriculum, history in zip(seeds, curricula, histories):
        found[seed] = curriculum.trained()
        curriculum.close()
        row = {"experiment": name, "seed": seed, "meta_iterations": len(history)}
        rows.append({**row, "seconds": float(history.seconds.sum())})
    return found, rows


def compared(losses, learned, measure):
    """A table of optimizers, the best first: the measure, and for the learned ones the median and range over seeds.

    Args:
      losses: dict from name to losses `[draws, T]`; those of a learned optimizer are named "learned, seed N".
      learned: list of such first parts of a name, before ", seed".
      measure: function of losses to a number.

    Returns:
      A list of dicts: `optimizer`, `seeds`, `figure`, `lowest`, `highest`.
    """
    groups = OrderedDict()
    for name, values in losses.items():
        first = name.split(", seed ")[0]
        groups.setdefault(first if first in learned else name, []).append(_figure(measure, values))
    rows = [
        {
            "optimizer": name,
            "seeds": len(figures),
            "figure": float(np.median(figures)),
            "lowest": min(figures),
            "highest": max(figures),
        }
        for name, figures in groups.items()
    ]
    return sorted(rows, key=lambda row: row["figure"])


def plot_curves(panels, learned, window=1, ylabel="loss, mean over draws"):
    """Learning curves, a panel for each problem: the mean over draws, of the learned ones with the range over seeds.

    Args:
      panels: dict from title to losses, as for `compared`.
      learned: as for `compared`.
      window: base iterations that are averaged.

    Returns:
      The figure.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(5.6 * len(panels), 4), squeeze=False)
    for axis, (title, losses) in zip(axes[0], panels.items()):
        groups = OrderedDict()
        for name, values in losses.items():
            first = name.split(", seed ")[0]
            mean = np.asarray(values, np.float64).mean(axis=0)
            mean = np.where(np.isfinite(mean), np.maximum(mean, FLOOR), np.inf)  # what diverged is not drawn
            groups.setdefault(first if first in learned else name, []).append(_smooth(mean, window))
        for i, (name, curves) in enumerate(groups.items()):
            color = l2l.figures.COLORS[i % len(l2l.figures.COLORS)]
            steps = np.arange(len(curves[0])) + (window - 1) / 2
            axis.semilogy(steps, np.median(curves, axis=0), l2l.figures.LINE_STYLES[i % 4], color=color, label=name)
            if len(curves) > 1:
                axis.fill_between(steps, np.min(curves, axis=0), np.max(curves, axis=0), color=color, alpha=0.2, lw=0)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("base iteration")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(ylabel)
    axes[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))  # no corner is free of lines
    figure.tight_layout()
    return figure


def _smooth(values, window):
    """Means over so many neighbours."""
    window = min(window, len(values))
    return np.convolve(values, np.full(window, 1 / window), "valid")
