"""How soon a network brings the last loss below RMSProp's: seconds from nothing, and what they are owed to.

    .venv/bin/python benchmarks/zero.py

Some minutes. Each training is a process of its own, which trains a hundred meta-iterations at a time until the log
average of the last loss on 1,000 draws that no training sees is below -18.15, where RMSProp ends in Episode 1. The
seconds begin with the library imported and end with that figure: building, compiling, training and evaluating are in
them. The first recipe is the fastest. The others are the document's, which is `log30`, and what each of several changes
alone makes of it. Writes results/zero.json.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import l2l

ROOT = Path(__file__).resolve().parent.parent
LEVEL = -18.15
SEEDS = [1, 2, 3, 4, 5]
STEPS, AT_A_TIME, MOST = 20, 100, 60_000
LOG30 = l2l.log_cast(-30)

# What each changes: the casting, settings of the training, and the base iterations of shorter trainings before it,
# of 5,000 meta-iterations each.
RECIPES = {
    "secant, over 10 base iterations, not compiled": (l2l.secant_cast(), {"unroll_length": 10, "engine": "graph"}, []),
    "secant": (l2l.secant_cast(), {}, []),
    "log30": (LOG30, {}, []),
    "log30, three times the rate, halved every 10,000": (
        LOG30,
        {"learning_rate": l2l.exponential_decay(9e-4, 10_000)},
        [],
    ),
    "log30, batches of 4": (LOG30, {"batch": 4}, []),
    "log30, over 5, 10 and 20 base iterations": (LOG30, {}, [5, 10]),
    "widening": (l2l.widening_log_cast(), {}, []),
    "ratio": (l2l.ratio_cast(), {}, []),
    "log-ratio": (l2l.log_ratio_cast(), {}, []),
}


def trained_from_nothing(recipe, seed):
    """A row: seconds and meta-iterations until the level is reached, None where it is not."""
    casting, settings, before = RECIPES[recipe]
    problem, total, average = l2l.Quadratic(2), 0, 0.0
    settings = {"meta_loss": "end_log", "weights_seed": seed, "draws_seed": seed, "name": recipe, **settings}
    start = time.perf_counter()

    def build():
        return l2l.CoordinatewiseLSTM(casting=casting)

    for steps in before:
        with l2l.Trainer(problem, build, unroll_length=steps, **settings) as trainer:
            trainer.run(5000)
            build = trainer.trained()
            total += 5000
    with l2l.Trainer(problem, build, **settings) as trainer:
        while average >= LEVEL and total < MOST:
            trainer.run(AT_A_TIME)
            total += AT_A_TIME
            # An evaluation, of 20 base iterations, is worth its time where the training has come far enough in its own.
            recent = max(AT_A_TIME, len(trainer.history) // 20)
            if trainer.history.log_average(recent) < LEVEL * settings.get("unroll_length", STEPS) / STEPS:
                losses = l2l.evaluate(problem, {recipe: trainer.trained()}, draws=1000, steps=STEPS, engine="graph")[
                    recipe
                ]
                average = l2l.log_average(losses[:, -1])
        seconds = time.perf_counter() - start
        training = float(trainer.history.seconds.sum())
    return {
        "recipe": recipe,
        "seed": seed,
        "seconds": seconds if average < LEVEL else None,
        "seconds_in_meta_iterations": training,
        "meta_iterations": total,
        "log_average": average,
    }


def summary(rows):
    """Medians over the seeds, a row for each recipe; what never reaches the level counts as infinite."""
    lines = []
    for recipe in RECIPES:
        of = [row for row in rows if row["recipe"] == recipe]
        seconds = [np.inf if row["seconds"] is None else row["seconds"] for row in of]
        numbers = [np.inf if row["seconds"] is None else row["meta_iterations"] for row in of]
        line = {"recipe": recipe, "reach it": sum(np.isfinite(seconds)), "meta-iterations": np.median(numbers)}
        line.update({"seconds": np.median(seconds), "fastest": min(seconds), "slowest": max(seconds)})
        lines.append({key: value if value != np.inf else None for key, value in line.items()})
    return lines


COLUMNS = {
    "recipe": "",
    "reach it": "d",
    "meta-iterations": ",.0f",
    "seconds": ".1f",
    "fastest": ".1f",
    "slowest": ".1f",
}


def main():
    if len(sys.argv) == 3:  # one training, in a process of its own
        print(json.dumps(trained_from_nothing(sys.argv[1], int(sys.argv[2]))))
        return
    rows = []
    for recipe in RECIPES:
        for seed in SEEDS:
            command = [sys.executable, __file__, recipe, str(seed)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            rows.append(json.loads(done.stdout.decode().splitlines()[-1]))
            print(rows[-1], flush=True)
    l2l.save_results(str(ROOT / "results" / "zero.json"), rows)
    print(l2l.format_table(summary(rows), COLUMNS))


if __name__ == "__main__":
    main()
