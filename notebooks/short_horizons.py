"""Short-horizon bias, and estimators that do not have it: one learning rate is learned for noisy quadratic problems.

    .venv/bin/python notebooks/short_horizons.py

Writes results/short_horizons.json and docs/short_horizons.png. The problems are those of Y. Wu et al. 2018,
arXiv 1803.02021: curvatures from 1 to 0.001, and in steep directions noise is all that is left after a few steps. A
smaller rate lowers the noise at once, and what it loses in the flat directions shows much later.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow.compat.v1 as tf

import l2l

ROOT = Path(__file__).resolve().parent.parent
DIMS, HORIZON, SEGMENT = 20, 400, 10
META_ITERATIONS, EVERY, BATCH, FIRST_RATE = 1500, 50, 8, 0.1
RATES = np.logspace(-2, 0.28, 24)


class NoisyQuadratic(l2l.Problem):
    """`f(x) = sum_i h_i ((x_i - c_i)^2) / 2`, with other `c_i` of variance `1 / h_i` at each base iteration.

    What is minimized knows no noise: `h_i` falls from 1 to 0.001, `x_0` is of variance `10 / h_i`.
    """

    def __init__(self, dims=DIMS):
        self.dims = dims

    def sample(self, num, seed=None):
        return {"key": l2l.keys(num, seed), "start": l2l.normal([num, self.dims], 1.0, seed=seed)}

    def _curvatures(self):
        return np.logspace(0, -3, self.dims).astype(np.float32)

    def initial_position(self, draw):
        return draw["start"] * np.sqrt(10 / self._curvatures())

    def observe(self, draw, t, data):
        return l2l.noise(draw["key"], t, [self.dims]) / np.sqrt(self._curvatures())

    def loss(self, x, observed):
        return tf.reduce_sum(self._curvatures() * tf.square(x - observed)) / 2


class OneRate:
    """Gradient descent whose learning rate, `exp` of its one weight, is learned."""

    coordinatewise = True

    def __init__(self):
        self.log_rate = tf.get_variable(
            "log_rate", [], initializer=tf.constant_initializer(np.log(FIRST_RATE)), use_resource=True
        )
        self.variables = [self.log_rate]

    def bind(self, weights=None):
        rate = tf.exp(self.log_rate if weights is None else weights[0])
        return l2l.Bound(lambda gradients, state, x, product: (-rate * gradients, ()), initial_state=lambda x: ())

    def __call__(self, gradients, state):
        return self.bind().plain_step(gradients, state, gradients)


def learned_rates(meta_iterations=META_ITERATIONS, seed=1):
    """The rate after each meta-iteration, by the name of what estimated the meta-gradients."""
    pairs = BATCH // 2
    ways = {
        "backpropagation through %d of %d" % (SEGMENT, HORIZON): {"unroll_length": SEGMENT, "batch": BATCH},
        "evolution strategies, whole horizons": {"estimator": l2l.EvolutionStrategies(pairs, sigma=0.1, clip=None)},
        "persistent ones, segments of %d" % SEGMENT: {
            "estimator": l2l.PES(pairs, sigma=0.1, clip=None),
            "unroll_length": SEGMENT,
        },
    }
    found = {}
    for name, settings in ways.items():
        with l2l.Trainer(
            NoisyQuadratic(),
            OneRate,
            _mean,
            horizon=HORIZON,
            learning_rate=0.01,
            draws_seed=seed,
            name=name,
            **settings,
        ) as trainer:
            found[name] = [FIRST_RATE]
            for _ in range(meta_iterations // EVERY):
                trainer.run(EVERY)
                found[name].append(float(np.exp(trainer.weights()[0])))
    return found


def _mean(losses):
    return tf.reduce_mean(losses)


def losses_of_rates():
    """The mean loss over a whole horizon with each constant rate of `RATES`, on held-out draws."""
    rules = {"%.4g" % rate: l2l.sgd(float(rate)) for rate in RATES}
    found = l2l.evaluate(NoisyQuadratic(), rules, draws=200, steps=HORIZON)
    return [float(losses.mean()) for losses in found.values()]


def rows():
    """What was measured, a list of dicts: the learned rates, and the losses that all rates have."""
    learned = [
        {"estimator": name, "meta_iterations": EVERY * i, "learning_rate": rate}
        for name, rates in learned_rates().items()
        for i, rate in enumerate(rates)
    ]
    return learned + [{"learning_rate": float(rate), "loss": loss} for rate, loss in zip(RATES, losses_of_rates())]


def main():
    l2l.prepare_xla()
    found = rows()
    l2l.save_results(ROOT / "results" / "short_horizons.json", found)
    plot(found).savefig(str(ROOT / "docs" / "short_horizons.png"), dpi=110)


def plot(rows):
    """The learned rates over the trainings, beside the mean loss of a whole horizon with each rate."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    learned = [row for row in rows if "estimator" in row]
    names = list(dict.fromkeys(row["estimator"] for row in learned))
    for name, color, style in zip(names, ["#D55E00", "#0072B2", "#009E73"], ["--", "-", "-."]):
        own = [row for row in learned if row["estimator"] == name]
        places, rates = zip(*[(row["meta_iterations"], row["learning_rate"]) for row in own])
        left.plot(places, rates, style, color=color, label=name)
        right.axvline(rates[-1], linestyle=style, color=color)
    left.set(xlabel="meta-iterations", ylabel="learned learning rate", yscale="log", title="one rate, three estimators")
    left.legend()
    rates, losses = zip(*[(row["learning_rate"], row["loss"]) for row in rows if "loss" in row])
    right.plot(rates, losses, color="black")
    right.set(xlabel="learning rate", ylabel="mean loss over %d base iterations" % HORIZON, xscale="log")
    right.set_title("where each training ended")
    return figure


if __name__ == "__main__":
    main()
