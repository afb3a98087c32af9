"""Where the optimizers that come with the package fall behind Adam, and what predicts it; for docs/limits.md.

    .venv/bin/python notebooks/limits.py

takes about twenty minutes, and writes build/limits/limits.json.
"""

from pathlib import Path

import numpy as np
import pretrained
from episodes import length, log_of_last

import l2l
from l2l.evaluation.traces import responses

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "limits"
STEPS = [100, 500]
LEARNED = "small_networks"

# Adam's settings for one sigmoid layer, all of them; beside it the rate alone, the others at their defaults.
SIGMOID_STEPS = [500, 2000, 5000, 10_000]
RATES = {"learning_rate": pretrained.RATES}
SETTINGS = {"learning_rate": [0.01, 0.03, 0.1], "beta1": [0.9, 0.97], "beta2": [0.9, 0.99, 0.999]}


class Rescaled(l2l.MLP):
    """A perceptron whose loss is multiplied by a number."""

    def __init__(self, factor, **settings):
        super().__init__(**settings)
        self.factor = factor

    def loss(self, x, observed):
        """The perceptron's, rescaled."""
        return self.factor * super().loss(x, observed)


def enlarged(factor):
    """The digits with each pixel repeated, so that there are `factor^2` times as many inputs."""
    digits = l2l.datasets.digits()
    return digits._replace(inputs=np.kron(digits.inputs, np.ones([1, factor, factor], np.float32)))


def _network(problem=l2l.MLP, **settings):
    return lambda: problem(**{"hidden": (32,), "activation": "relu", "batch_size": 32, "stddev": "glorot", **settings})


# One thing at a time is changed about the first.
CHANGES = {
    "32 ReLU units on the digits": _network(),
    "256 inputs": _network(examples=enlarged(2)),
    "1,024 inputs": _network(examples=enlarged(4)),
    "minibatches of 4": _network(batch_size=4),
    "5 layers": _network(hidden=(32,) * 5),
    "loss times 1e-6": _network(problem=Rescaled, factor=1e-6),
    "256 units": _network(hidden=(256,)),
    "weights from N(0, 0.1^2)": _network(stddev=0.1),
}


def changes():
    """Rows: the mean of the last 20 losses of the learned optimizer, in units of Adam's at its best rate."""
    rows = []
    for name, problem in CHANGES.items():
        place = pretrained.Place(problem, STEPS)
        best = {steps: pretrained.tuned(problem(), RATES, steps).optimizer for steps in STEPS}
        optimizers = {"learned": l2l.load(LEARNED), **best}
        tested = pretrained.measured(place, optimizers, pretrained.TEST_SEED)
        images = problem().data.inputs
        row = {"change": name, "L1 norm": float(np.abs(images).reshape(len(images), -1).sum(axis=1).mean())}
        for steps in STEPS:
            ours, theirs = tested[steps]["learned"][0], tested[steps][steps][0]
            rate = best[steps].hyperparameters["learning_rate"]
            row.update({"rate, %d" % steps: rate, "ratio, %d" % steps: float(np.exp(ours - theirs))})
        rows.append(row)
        print(row, flush=True)
    return rows


def first_steps():
    """Rows: for a gradient of each size the first update, and the one after 100 gradients of 0 have followed."""
    sizes = 10.0 ** np.arange(-4, 3)
    gradients = np.concatenate([sizes[np.newaxis], np.zeros([100, len(sizes)])]).astype(np.float32)
    updates = responses({LEARNED: l2l.load(LEARNED)}, gradients)[LEARNED]
    return [
        {"gradient": float(size), "first update": float(first), "after 100 zeros": float(last)}
        for size, first, last in zip(sizes, updates[0], updates[-1])
    ]


def sigmoid():
    """Rows: one layer of 20 sigmoid units under Adam, with all its settings tuned and with the rate alone."""
    rows, problem = [], l2l.MLP()
    for label, ranges in [("all settings", SETTINGS), ("rate only", RATES)]:
        for steps in SIGMOID_STEPS:
            best = pretrained.tuned(problem, ranges, steps)
            place = pretrained.Place(lambda: problem, [steps])
            median, worst = pretrained.measured(place, {"it": best.optimizer}, pretrained.TEST_SEED)[steps]["it"]
            rows.append({"tuned": label, "steps": steps, "median": median, "worst": worst, **best.hyperparameters})
            print(rows[-1], flush=True)
    return rows


def draws_of_paper_mlp():
    """Rows: where each of eight draws of a network ends under `paper_mlp` after 10,000 base iterations."""
    rows, steps = [], length(10_000)
    for activation in ["sigmoid", "relu"]:
        problem = l2l.MLP(activation=activation)
        optimizers = {"it": l2l.load("paper_mlp")}
        losses = l2l.evaluate(problem, optimizers, draws=8, steps=steps, seed=pretrained.TEST_SEED)["it"]
        rows.append({"activation": activation, "ends": sorted(map(float, log_of_last(losses)))})
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for part in [first_steps, changes, draws_of_paper_mlp, sigmoid]:
        rows += [{"part": part.__name__, **row} for row in part()]
    l2l.save_results(OUTPUT / "limits.json", rows)
