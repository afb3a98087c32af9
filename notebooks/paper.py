"""The paper's experiments: hand-designed optimizers and how they are tuned, trainings, and tests.

Used by the notebook of this name.
"""

import concurrent.futures
import functools
import os
import warnings
from collections import OrderedDict

import numpy as np
from episodes import length, log_of_last

import l2l

TEST_SEED = 2  # of `l2l.evaluate`
TRIALS = 100  # of each rule
SEEDS = [1, 2, 3] if length(1000) == 1000 else [1]  # of trainings; one for a rehearsal
# What a rehearsal does is not worth compiling, and a graph of long segments takes long to write.
ENGINE, SEGMENTS = (
    ("xla", {"unroll_length": 20, "horizon": 100})
    if length(1000) == 1000
    else ("graph", {"unroll_length": 5, "horizon": 10})
)


def part(sequence, number):
    """All of a dict; under `L2L_LENGTH` its last entries, so many: a rehearsal need not do all."""
    return sequence if length(1000) == 1000 else OrderedDict(list(sequence.items())[-number:])


# Each rule with the ranges of its hyperparameters.
_RATE, _MOMENTUM = {"learning_rate": l2l.log_range(1e-4, 10)}, {"momentum": l2l.near_one(0.0, 0.99)}
_SQUARES = l2l.near_one(0.5, 0.999)
RULES = OrderedDict(
    [
        ("SGD", (l2l.sgd, _RATE)),
        ("momentum", (l2l.momentum, {**_RATE, **_MOMENTUM})),
        ("Nesterov", (l2l.nesterov, {**_RATE, **_MOMENTUM})),
        ("RMSProp", (l2l.rmsprop, {"learning_rate": l2l.log_range(1e-4, 1), "decay": _SQUARES})),
        (
            "Adam",
            (
                l2l.adam,
                {"learning_rate": l2l.log_range(1e-3, 1), "beta1": l2l.near_one(0.0, 0.99), "beta2": _SQUARES},
            ),
        ),
    ]
)


def tuned(problem, steps, measure, *, draws):
    """Each rule with the best of `TRIALS` settings on tuning draws, a core for each rule.

    Args:
      problem: a `Problem`.
      steps: base iterations.
      measure: function of losses `[draws, steps]` to a number, the lower the better.
      draws: tuning draws.

    Returns:
      `(rules, rows)`: a dict from name to optimizer, and for each rule a dict of what was found.
    """

    def best_of(name):
        settings = {"measure": measure, "budget": length(TRIALS), "draws": draws, "steps": steps, "engine": "graph"}
        return l2l.tune(problem, *RULES[name], **settings)

    names = list(part(RULES, 2))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = OrderedDict(zip(names, pool.map(best_of, names)))
    rows = [{"rule": name, **one.hyperparameters, "tuning figure": one.figure} for name, one in found.items()]
    return {name: one.optimizer for name, one in found.items()}, rows


def mean_last(losses):
    """The mean over draws of the last loss."""
    return np.asarray(losses, np.float64)[:, -1].mean()


def mean_of_last_twenty(losses, steps=None):
    """The mean over draws of the natural log of the mean loss over the last 20 base iterations, up to `steps`."""
    return log_of_last(losses, steps).mean()


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


def tested(problem, optimizers, draws, steps, engine=ENGINE):
    """Losses on test draws, by name.

    Args:
      problem, steps, engine: as for `l2l.evaluate`.
      optimizers: dict from name to optimizer, or to a dict from seed to optimizer, whose losses are a list.
      draws: how many, under `L2L_LENGTH` fewer.
    """
    flat = {}
    for name, one in optimizers.items():
        flat.update(
            {(name, seed): each for seed, each in one.items()} if isinstance(one, dict) else {(name, None): one}
        )
    losses = l2l.evaluate(problem, flat, draws=length(draws), steps=steps, seed=TEST_SEED, engine=engine)
    return {
        name: [losses[name, seed] for seed in one] if isinstance(one, dict) else losses[name, None]
        for name, one in optimizers.items()
    }


def compared(losses, measure):
    """Optimizers, the best first: the measure, and where there are several seeds its median and range.

    Args:
      losses: as from `tested`.
      measure: function of losses to a number; what diverges counts as infinite.

    Returns:
      A list of dicts: `optimizer`, `seeds`, `figure`, `lowest`, `highest`.
    """
    rows = []
    for name, values in losses.items():
        figures = [float(measure(one)) for one in (values if isinstance(values, list) else [values])]
        figures = [figure if np.isfinite(figure) else np.inf for figure in figures]
        row = {"optimizer": name, "seeds": len(figures), "figure": float(np.median(figures))}
        rows.append({**row, "lowest": min(figures), "highest": max(figures)})
    return sorted(rows, key=lambda row: row["figure"])
