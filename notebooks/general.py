"""Trains the optimizer that needs no tuning, `general`, from one seed or several: `make train-general`.

    python notebooks/general.py 1 2 3

Evolution strategies over whole horizons, on `training_problems`. A seed takes some 40 minutes on two cores. A training
that is stopped or killed goes on from its last checkpoint, a minute old at most, when it is started again. It leaves
`seed-N.npz` in `build/train_general`. Then each is compared with Adam on kinds of networks that it never saw, and the
best of several becomes `general.npz` there.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from episodes import log_of_last
from training_problems import digits_at, standardized, training_problems

import l2l

TRAINED_ON = (
    "27 small problems, one drawn for each meta-iteration: perceptrons of 0 to 4 hidden layers on the digits at 16 to "
    "784 inputs and on made-up data, regressions with scales of up to 1,000, a shallow autoencoder; 60 to 2,500 base "
    "iterations, told beforehand; by evolution strategies over whole horizons, forward passes alone"
)
BUILD = Path(__file__).resolve().parent.parent / "build" / "train_general"
META_ITERATIONS = 10_000
VALIDATION_STEPS, VALIDATION_SEED = (100, 500, 2000), 5
SHORTEST, FIRST_LONGEST, LONGEST = 60, 300, 2500  # horizons: the longest grows for three quarters of the training
LEARNING_RATE, FALLS_TO = 1.5e-2, 1 / 20


class Horizons:
    """The horizons of a training of so many meta-iterations: `(least, most)` for each, see `l2l.Trainer`."""

    def __init__(self, meta_iterations):
        self.meta_iterations = meta_iterations

    def __call__(self, number):
        share = min(1.0, 4 * number / (3 * self.meta_iterations))
        return SHORTEST, FIRST_LONGEST + round(share * (LONGEST - FIRST_LONGEST))


def meta_adam(learning_rate):
    """Adam with a shorter memory of squares than its default, since meta-gradients of different problems differ."""
    return tf.train.AdamOptimizer(learning_rate, beta2=0.99)


def learning_rate(meta_iterations):
    """A schedule that falls exponentially to a twentieth over the training."""
    return l2l.exponential_decay(LEARNING_RATE, meta_iterations, decay_rate=FALLS_TO)


def trainer(seed, meta_iterations=META_ITERATIONS, problems=None, **settings):
    """The trainer of one seed, a `Trainer`; more settings are its arguments."""
    return l2l.Trainer(
        training_problems() if problems is None else problems,
        l2l.AdamController,
        "late_and_mean_log",
        estimator=l2l.EvolutionStrategies(8, sigma=0.03, clip=0.5),
        horizon=Horizons(meta_iterations),
        learning_rate=learning_rate(meta_iterations),
        meta_optimizer=meta_adam,
        clip_norm=2.0,
        weights_seed=seed,
        draws_seed=seed,
        name="general, seed %d" % seed,
        **settings,
    )


def train(seed, folder=BUILD, **settings):
    """Trains to the end, or goes on where a training was stopped, and saves the optimizer; returns its path."""
    meta_iterations = settings.pop("meta_iterations", META_ITERATIONS)
    folder.mkdir(parents=True, exist_ok=True)
    with trainer(
        seed, meta_iterations, checkpoint_dir=folder / ("checkpoints-%d" % seed), resume=True, threads=2, **settings
    ) as training:
        training.run(until=meta_iterations)
        l2l.save(folder / ("seed-%d.npz" % seed), training.trained())
    return folder / ("seed-%d.npz" % seed)


def trained(seeds):
    """A dict from seed to the `Trained` of its training, which is run where it was not."""
    return {seed: l2l.load(train(seed)) for seed in seeds}


def validation_problems():
    """Problems of kinds that are not among `training_problems`, by name; nor is one of them a task of the suite."""
    digits = digits_at(8)
    inputs, rows = standardized(digits.inputs), digits.inputs.reshape([-1, 8, 8])
    layers = tf.keras.layers

    def convolutions():
        hidden = [layers.Conv2D(8, 3, activation="tanh"), layers.Conv2D(8, 3, activation="tanh"), layers.Flatten()]
        return tf.keras.Sequential([*hidden, layers.Dense(10, "softmax")])

    def recurrent():
        return tf.keras.Sequential([layers.SimpleRNN(24), layers.Dense(10, "softmax")])

    def normalized():
        hidden = [layers.Dense(32, "relu"), layers.LayerNormalization(), layers.Dense(32, "relu")]
        return tf.keras.Sequential([*hidden, layers.LayerNormalization(), layers.Dense(10, "softmax")])

    def noisy():
        return tf.keras.Sequential([layers.GaussianDropout(0.3), layers.Dense(32, "relu"), layers.Dense(10, "softmax")])

    return {
        name: l2l.KerasProblem(build, "sparse_categorical_crossentropy", (given, digits.labels), batch_size=32)
        for name, build, given in [
            ("convolutions", convolutions, rows[..., np.newaxis]),
            ("simple recurrent network", recurrent, rows),
            ("layer normalization", normalized, inputs),
            ("Gaussian dropout", noisy, inputs),
        ]
    }


def validated(trained):
    """The mean of all figures of `below_adam`."""
    return float(np.mean(list(below_adam(trained).values())))


def below_adam(trained, steps=VALIDATION_STEPS, draws=3):
    """How far a trained optimizer ends below Adam at 0.01 with a cosine decay: a dict from problem to its figures.

    A figure is the difference of the natural logarithms of the last 20 losses' mean, the median over draws; there is
    one for each number of base iterations.
    """
    figures = {}
    for name, problem in validation_problems().items():
        figures[name] = []
        for number in steps:
            optimizers = {"trained": trained, "Adam": l2l.adam(l2l.cosine_decay(1e-2, number))}
            found = l2l.evaluate(problem, optimizers, draws=draws, steps=number, seed=VALIDATION_SEED)
            ends = {one: np.median(log_of_last(losses)) for one, losses in found.items()}
            figures[name].append(float(ends["trained"] - ends["Adam"]))
    return figures


def main(seeds):
    """Trains and validates each seed, says what was found, and copies the best."""
    l2l.prepare_xla()
    results = {}
    for seed in seeds:
        figures = below_adam(l2l.load(train(seed)))
        results[seed] = float(np.mean(list(figures.values())))
        print("seed %d: %.3f on average below Adam, %s" % (seed, -results[seed], figures))
    best = min(results, key=results.get)
    shutil.copyfile(BUILD / ("seed-%d.npz" % best), BUILD / "general.npz")
    print("the best is seed %d: %s" % (best, BUILD / "general.npz"))


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [1, 2, 3])
