"""Runs the README's first example as printed, and records what its text says: python tools/first_example.py.

Writes results/first_example.png, the example's figure, and results/first_example.json: the summed loss of each of its
optimizers, and of the two baselines with the learning rates that are best for it, on the same held-out draws.
"""

import os
import re

import matplotlib

matplotlib.use("Agg")

import readme

import l2l

BASELINES = {"SGD": l2l.sgd, "RMSProp": l2l.rmsprop}
RATES, BUDGET = l2l.log_range(0.01, 1.0), 100
RESULTS = readme.ROOT / "results"


def example():
    """The code of the README's first block."""
    return re.search(r"```python\n(.*?)```", (readme.ROOT / "README.md").read_text(), re.DOTALL).group(1)


def summed(losses):
    """The mean over the draws of the sum over base iterations."""
    return float(losses.sum(axis=1, dtype=float).mean())


def rows_of(problem, losses, budget=BUDGET):
    """A row for each optimizer.

    Args:
      problem: of the example.
      losses: its `Evaluation`.
      budget: trials for the learning rate of each baseline.
    """
    rows = [{"optimizer": name, "learning_rate": None, "summed_loss": summed(losses[name])} for name in losses]
    draws = len(losses["RNN"])
    for name, rule in BASELINES.items():
        tuned = l2l.tune(problem, rule, {"learning_rate": RATES}, measure=summed, budget=budget, draws=draws)
        found = l2l.evaluate(problem, {name: tuned.optimizer}, draws=draws)
        rows.append({"optimizer": name + ", tuned", **tuned.hyperparameters, "summed_loss": summed(found[name])})
    return rows


def main():
    os.chdir(str(RESULTS))
    names = {}
    exec(compile(example(), "README.md", "exec"), names)
    l2l.save_results(RESULTS / "first_example.json", rows_of(names["problem"], names["losses"]))


if __name__ == "__main__":
    main()
