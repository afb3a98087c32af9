"""Trains the optimizer that needs no tuning, `general`, from one seed or several: `make train-general`.

    python notebooks/general.py 1 2 3

Evolution strategies over whole horizons, on `training_problems`. A training that is stopped or killed goes on from its
last checkpoint, a minute old at most, when it is started again. It leaves `build/general/seed-N.npz`.
"""

import sys
from pathlib import Path

import tensorflow.compat.v1 as tf
from training_problems import training_problems

import l2l

BUILD = Path(__file__).resolve().parent.parent / "build" / "general"
META_ITERATIONS = 4000
SHORTEST, FIRST_LONGEST, LONGEST = 60, 300, 2500  # horizons: the longest grows for three quarters of the training
LEARNING_RATE, FALLS_TO = 1.5e-2, 1 / 20


class Horizons:
    """The horizons of a training of so many meta-iterations: `(least, most)` for each, see `l2l.Settings`."""

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
        l2l.save(training.trained(), folder / ("seed-%d.npz" % seed))
    return folder / ("seed-%d.npz" % seed)


if __name__ == "__main__":
    l2l.prepare_xla()
    for number in sys.argv[1:] or ["1"]:
        print(train(int(number)))
