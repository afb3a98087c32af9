"""What each way to train for more than one problem buys: one at a time, beside the plain training, from three seeds.

    .venv/bin/python notebooks/options.py

Writes build/options/options.json; `make train-options` does that. All trainings see as many base iterations, and their
optimizers run on the network that they were trained on, longer, and on others.
"""

import functools
from pathlib import Path

import digits
import numpy as np
from episodes import length, log_of_last

import l2l

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "options"
SEEDS = [1, 2, 3]
META_ITERATIONS, RATE, HORIZON = 1500, 1e-3, 100
HOME = l2l.MLP()

# Where an optimizer is measured: a problem, and how many base iterations; the mean of the last 20 counts.
PLACES = {
    "home, 100": (HOME, 100),
    "home, 2,000": (HOME, 2000),
    "ReLU, 200": (l2l.MLP(activation="relu"), 200),
    "two layers, 500": (l2l.MLP(hidden=(20, 20)), 500),
    "quadratic, 100": (l2l.DenseQuadratic(10), 100),
}


def build():
    return l2l.CoordinatewiseLSTM((20, 20), l2l.moments_cast(), input_activation="elu")


def stages(horizons, share=1.0):
    """Stages of so many horizons, which share the meta-iterations, or a part of them."""
    number = length(round(META_ITERATIONS * share / len(horizons)))
    return [{"meta_iterations": number, "horizon": horizon} for horizon in horizons]


# What is trained: a problem and stages.
IMITATION = l2l.Imitation(HOME, l2l.adam(0.03))
TEACHER = {"problem": IMITATION, "build_optimizer": IMITATION.build(build), "meta_loss": "sum"}
PLAIN = stages([HORIZON])
OPTIONS = {
    "plain": (HOME, PLAIN),
    "curriculum, 20 to 500": (HOME, stages([20, 100, 200, 500])),
    "imitation of Adam, a third": (HOME, [{**stages([HORIZON], 1 / 3)[0], **TEACHER}, *stages([HORIZON], 2 / 3)]),
    "random scales": (l2l.RandomlyScaled(HOME, 1.0), PLAIN),
    "convex term": (l2l.WithConvexTerm(HOME), PLAIN),
    "mixture of networks": (digits.SomeMLP(), PLAIN),
}


def trained(name):
    """One optimizer for each seed, and how long that took in seconds."""
    problem, stages = OPTIONS[name]
    curriculum = functools.partial(
        l2l.Curriculum,
        problem,
        build,
        stages,
        meta_loss="sum_log",
        unroll_length=20,
        second_derivatives=False,
        learning_rate=RATE,
        name=name,
    )
    curricula = [curriculum(weights_seed=seed, draws_seed=100 * seed) for seed in SEEDS]
    histories = l2l.train_together(curricula)
    found = {seed: one.trained() for seed, one in zip(SEEDS, curricula)}
    for one in curricula:
        one.close()
    return found, {seed: float(history.seconds.sum()) for seed, history in zip(SEEDS, histories)}


def measured(optimizers):
    """A row for each optimizer and place: the natural log of the mean loss of the last 20 base iterations."""
    rows = []
    for place, (problem, steps) in PLACES.items():
        losses = l2l.evaluate(problem, optimizers, draws=4, steps=max(20, length(steps)), seed=digits.TEST_SEED)
        for name, values in losses.items():
            figure = float(np.mean(log_of_last(values, smallest=digits.SMALLEST)))
            rows.append({"optimizer": name, "place": place, "figure": figure})
    return rows


def summary(rows):
    """A dict for each option: at each place the median over the seeds, and the lowest and the highest, as text."""
    found = {}
    for row in rows:
        if "place" in row:
            found.setdefault((row["option"], row["place"]), []).append(row["figure"])
    medians = {key: float(np.median(figures)) for key, figures in found.items()}
    lines = []
    for option in OPTIONS:
        line = {"option": option}
        for place in PLACES:
            figures = found[option, place]
            line[place] = "%.2f (%.2f to %.2f)" % (medians[option, place], min(figures), max(figures))
        lines.append(line)
    return lines


def table(rows):
    """The summary as a table."""
    return l2l.format_table(summary(rows), {"option": "", **dict.fromkeys(PLACES, "")})


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    rows, optimizers = [], {}
    for name in OPTIONS:
        found, seconds = trained(name)
        rows += [{"option": name, "seed": seed, "seconds": seconds[seed]} for seed in SEEDS]
        optimizers.update({(name, seed): one for seed, one in found.items()})
    for row in measured(optimizers):
        name, seed = row.pop("optimizer")
        rows.append({"option": name, "seed": seed, **row})
    l2l.save_results(str(OUTPUT / "options.json"), rows)
    print(table(rows))


if __name__ == "__main__":
    main()
