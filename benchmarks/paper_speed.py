"""The time of a segment of the paper's experiments beside DeepMind's code, and what their defaults give.

    .venv/bin/python benchmarks/paper_speed.py --deepmind-python path/to/python --deepmind-code path/to/checkout

Not a part of `make bench`. The paper's network, 20 base iterations, first derivatives: its quadratic in ten dimensions
with 128 draws, and a perceptron of 1,510 coordinates on the digits. Ours on one thread, theirs on one core, in turns;
then two threads against one with batches. Their defaults are trained for 2,382 epochs of their quadratic. Writes
results/paper_speed.json.
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

import numpy as np

import l2l

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
ROUNDS, CALLS, EPOCHS = 5, 20, 2382
PROBLEMS = {"quadratic": (l2l.DenseQuadratic(10, "uniform"), 128), "digits": (l2l.MLP(), 1)}


def paper_network():
    return l2l.CoordinatewiseLSTM((20, 20), l2l.log_and_sign(5), input_layer=False, output_scale=0.01)


def trainer(problem, **settings):
    settings = {"unroll_length": 20, "horizon": 100, "second_derivatives": False, "name": "benchmark", **settings}
    made = l2l.Trainer(problem, paper_network, **settings)
    made.run(CALLS)
    return made


def a_round(made):
    """ms for a meta-iteration."""
    before = len(made.history)
    return 1000 * statistics.mean(made.run(CALLS).seconds[before:])


def in_turns(engines):
    """Rounds of each engine, a dict of functions that measure one."""
    times = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, measured in engines.items():
            times[name].append(measured())
    return times


def theirs(arguments, python, code):
    """What their code prints, on one core."""
    environment = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    environment.update(DEEPMIND_CODE=code, DIGITS=str(ROOT / "l2l" / "problems" / "digits.npz"))
    command = ["taskset", "-c", "0", python, str(HERE / "deepmind_paper_peer.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout.decode().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deepmind-python", help="a Python with TensorFlow 1.15, dm-sonnet 1.36, mock and dill")
    parser.add_argument("--deepmind-code", help="a checkout of github.com/deepmind/learning-to-learn")
    arguments = parser.parse_args()
    rows, peer = [], (arguments.deepmind_python, arguments.deepmind_code)
    for name, (problem, batch) in PROBLEMS.items():
        trainers = {engine: trainer(problem, engine=engine, batch=batch) for engine in ["xla", "graph"]}
        engines = {engine: lambda made=made: a_round(made) for engine, made in trainers.items()}
        if arguments.deepmind_python:
            engines["deepmind"] = lambda name=name: theirs([name, CALLS, 1], *peer)["ms_per_meta_iteration"][0]
        for engine, times in in_turns(engines).items():
            rows.append({"problem": name, "batch": batch, "engine": engine, "threads": 1, **_summary(times)})
        for made in trainers.values():
            made.close()
    for name, batch in [("digits", 2), ("digits", 4), ("quadratic", 128)]:
        trainers = {threads: trainer(PROBLEMS[name][0], batch=batch, threads=threads) for threads in [1, 2]}
        for threads, times in in_turns({n: lambda made=made: a_round(made) for n, made in trainers.items()}).items():
            rows.append({"problem": name, "batch": batch, "engine": "xla", "threads": threads, **_summary(times)})
        for made in trainers.values():
            made.close()
    l2l.save_results(str(ROOT / "results" / "paper_speed.json"), rows)  # whatever becomes of the long training below
    if arguments.deepmind_python:
        losses = theirs(["train", EPOCHS, 0], *peer)["losses"]
        means = {"after %d" % n: float(np.mean(losses[n - 20 : n])) for n in [500, 1000, 1500, 2000, EPOCHS]}
        rows.append({"problem": "quadratic", "engine": "deepmind", "epochs": EPOCHS, "mean of 20 epochs": means})
    l2l.save_results(str(ROOT / "results" / "paper_speed.json"), rows)
    for row in rows:
        print(row)


def _summary(times):
    return {"ms_per_meta_iteration": statistics.median(times), "rounds": times}


if __name__ == "__main__":
    main()
