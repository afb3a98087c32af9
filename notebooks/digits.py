"""The optimizer `paper_mlp`, for perceptrons as the paper has them: what it is trained on, how, and how it is measured.

    .venv/bin/python notebooks/digits.py 1 2 3

trains one for each seed that is named, two at a time on two cores, and writes build/digits/digits.json, in which the
seed is named that is best on validation draws; `make train-digits` does that. A run that was stopped goes on where it
was.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import tensorflow as tf
from episodes import LAST, length, log_of_last

import l2l

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "digits"
STEPS = 20  # base iterations of a segment
LENGTHS = [100, 200, 500, 1000, 2000, 5000, 10_000]
GOALS = [-2.5, -3.5, -5.0, -6.5, -9.0, -18.0, -19.0]  # at these lengths, below those of all published ones
SMALLEST = 2.0**-24 / (128 * LAST)  # the smallest mean of them that is not 0: one float32 below 1 in one minibatch
TEST_SEED, VALIDATION_SEED = 7, 1

# Horizon, meta-iterations, learning rate of each stage; each begins with the weights of the one before.
STAGES = [(100, 3000, 1e-3), (100, 1500, 3e-4), (1000, 2500, 3e-4), (3000, 2500, 2e-4), (200, 1000, 1e-4)]

# Of the networks that are trained on: activation, whether there is a second hidden layer, share of the draws.
KINDS = [
    ("sigmoid", False, 0.4),
    ("relu", False, 0.2),
    ("tanh", False, 0.1),
    ("sigmoid", True, 0.2),
    ("relu", True, 0.1),
]


def build():
    """Three memories, and steps that end where float32 does."""
    casting = l2l.moments_cast((0.5, 0.9, 0.99), smallest=3e-7)
    return l2l.CoordinatewiseLSTM((20, 20), casting, input_activation="elu")


class SomeMLP(l2l.MLP):
    """A perceptron of one or two layers of 20 units, whose activation and depth are drawn.

    A draw of one hidden layer goes around the second one, whose weights then have gradients of zero. So all kinds have
    one shape, and a base iteration costs little more than that of one of them.
    """

    def __init__(self, kinds=KINDS):
        super().__init__(hidden=(20, 20))
        self.kinds = kinds

    def sample(self, num, seed=None):
        bounds = np.cumsum([share for _, _, share in self.kinds])[:-1].astype(np.float32)
        chance = l2l.uniform([num, 1], 0.0, 1.0, seed=seed, stream=1000)
        kind = tf.reduce_sum(tf.cast(chance >= bounds, tf.int32), axis=1)
        return {**super().sample(num, seed), "kind": kind}

    def observe(self, draw, t, data):
        return super().observe(draw, t, data), draw["kind"]

    def loss(self, x, observed):
        (inputs, labels), kind = observed
        first, second = x["hidden"]
        names, depths, _ = zip(*self.kinds)

        def activated(values):
            result = values
            for name in sorted(set(names)):
                is_it = tf.gather(tf.constant([one == name for one in names]), kind)
                result = tf.where(tf.fill(tf.shape(values), is_it), l2l.problems.ACTIVATIONS[name](values), result)
            return result

        values = activated(tf.matmul(tf.reshape(inputs, [inputs.shape[0], -1]), first.kernel) + first.bias)
        deeper = activated(tf.matmul(values, second.kernel) + second.bias)
        values = tf.where(tf.fill(tf.shape(values), tf.gather(tf.constant(depths), kind)), deeper, values)
        logs = tf.nn.log_softmax(tf.matmul(values, x["output"].kernel) + x["output"].bias)
        return -tf.reduce_mean(tf.reduce_sum(tf.one_hot(labels, 10) * logs, axis=1))


def curve(losses, lengths=LENGTHS):
    """The natural log of the mean loss over the last 20 base iterations of each length, its mean over the draws.

    A mean of 0 counts as the smallest that is not.
    """
    return [float(np.mean(log_of_last(losses, n, smallest=SMALLEST))) for n in lengths if n <= losses.shape[1]]


def missing(figures):
    """How far the figures of a curve are above the goals, where they are most; negative where all are reached."""
    return max(figure - goal for figure, goal in zip(figures, GOALS))


def trained(seeds, problem=None, stages=None, start=build, output=None):
    """One optimizer for each seed, after all stages; and rows about the stages.

    Args:
      seeds: list of integers.
      problem: a `Problem`; None for `SomeMLP()`.
      stages: list of horizon, meta-iterations and learning rate; None for `STAGES`.
      start: function that builds the optimizer, or a `Trained` to go on from.
      output: folder for checkpoints, a `Path`; None for `OUTPUT`.
    """
    problem, stages, output = problem or SomeMLP(), stages or STAGES, output or OUTPUT
    keys = ["horizon", "meta_iterations", "learning_rate"]
    asked = [dict(zip(keys, (horizon, length(number), rate))) for horizon, number, rate in stages]
    curricula = [
        l2l.Curriculum(
            problem,
            start,
            asked,
            meta_loss="sum_log",
            unroll_length=STEPS,
            second_derivatives=False,
            weights_seed=seed,
            draws_seed=1000 * seed,
            name=output.name,
            checkpoint_dir=str(output / ("seed_%d" % seed)),
            resume=True,
        )
        for seed in seeds
    ]
    l2l.train_together(curricula)
    found, rows = OrderedDict(), []
    for seed, curriculum in zip(seeds, curricula):
        found[seed] = curriculum.trained()
        for i, history in enumerate(curriculum.histories):
            row = {"stage": i, **asked[i], "seed": seed, "seconds": float(history.seconds.sum())}
            rows.append({**row, "skipped": int(history.skipped.sum())})
        curriculum.close()
    return found, rows


# Where the weights are taken, untouched: a problem and how long.
TRANSFERS = {
    "ReLU": (lambda: l2l.MLP(activation="relu"), 2000),
    "tanh": (lambda: l2l.MLP(activation="tanh"), 2000),
    "40 units": (lambda: l2l.MLP(hidden=(40,)), 2000),
    "two hidden layers": (lambda: l2l.MLP(hidden=(20, 20)), 2000),
    "MNIST": (lambda: l2l.MLP(l2l.datasets.mnist_5000()), 1000),
}


def main(seeds):
    found, rows = trained(seeds)
    optimizers = OrderedDict(("seed %d" % seed, one) for seed, one in found.items())

    def measure(draws, name, problem, steps, seed, **others):
        steps, lengths = max(LAST, length(steps)), [max(LAST, length(n)) for n in LENGTHS]
        losses = l2l.evaluate(problem, OrderedDict(optimizers, **others), draws=5, steps=steps, seed=seed)
        for each, values in losses.items():
            row = {"draws": draws, "network": name, "optimizer": each, "lengths": LENGTHS}
            rows.append({**row, "curve": curve(values, lengths)})
            print(draws, name, each, " ".join("%.2f" % figure for figure in rows[-1]["curve"]), flush=True)

    for draws, seed in [("validation", VALIDATION_SEED), ("test", TEST_SEED)]:
        measure(draws, "home", l2l.MLP(), LENGTHS[-1], seed)
    for name, (make, steps) in TRANSFERS.items():
        measure("test", name, make(), steps, TEST_SEED, Adam=l2l.adam(0.03))
    validated = {row["optimizer"]: row["curve"] for row in rows if row.get("draws") == "validation"}
    best = min(seeds, key=lambda seed: missing(validated["seed %d" % seed]))
    l2l.save_results(str(OUTPUT / "digits.json"), [*rows, {"best": best}])


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1, 2, 3])
