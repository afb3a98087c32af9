"""What it costs to train an optimizer on a small network of 1,510 coordinates, and to evaluate nine optimizers.

A part of `make bench`. The network (64 inputs, 20 hidden units, 10 classes) learns handwritten digits from minibatches
of 32. Engines take turns. Writes results/small_network.json.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import l2l

ROOT = Path(__file__).resolve().parent.parent
HIDDEN, SIZE = 20, 32
ROUNDS, META_ITERATIONS = 5, 10
DRAWS, BASE_ITERATIONS, NETWORKS = 1000, 100, 9


class Digits(l2l.Problem):
    """Cross-entropy of a network with one hidden layer on a minibatch of images."""

    def __init__(self):
        digits = load_digits()
        self.data = {"images": digits.data.astype(np.float32) / 16, "labels": digits.target.astype(np.int32)}

    def sample(self, num, seed=None):
        first = l2l.uniform([num, 64, HIDDEN], -0.2, 0.2, seed=seed, stream=0)
        return l2l.keys(num, seed), first, l2l.uniform([num, HIDDEN, 10], -0.5, 0.5, seed=seed, stream=1)

    def initial_position(self, draw):
        _, first, second = draw
        return first, tf.zeros([HIDDEN]), second, tf.zeros([10])

    def observe(self, draw, t, data):
        places = l2l.minibatch(draw[0], t, batch_size=SIZE, examples=len(self.data["labels"]))
        return tf.gather(data["images"], places), tf.gather(data["labels"], places)

    def loss(self, x, minibatch):
        (images, labels), (first, first_bias, second, second_bias) = minibatch, x
        hidden = tf.sigmoid(tf.matmul(images, first) + first_bias)
        logs = tf.nn.log_softmax(tf.matmul(hidden, second) + second_bias)
        return -tf.reduce_mean(tf.reduce_sum(tf.one_hot(labels, 10) * logs, axis=1))


def trainings(steps, second_derivatives):
    """A row for each engine: seconds until the first meta-iteration is done, then medians of rounds."""
    trainers, starts, rounds = {}, {}, {}
    for engine in ["xla", "graph"]:
        before = time.perf_counter()
        trainers[engine] = l2l.Trainer(
            Digits(),
            lambda: l2l.CoordinatewiseLSTM(casting="log"),
            unroll_length=steps,
            engine=engine,
            second_derivatives=second_derivatives,
            name="%s, T=%d" % (engine, steps),
        )
        trainers[engine].run(1)
        starts[engine], rounds[engine] = time.perf_counter() - before, []
        trainers[engine].run(META_ITERATIONS)
    for _ in range(ROUNDS):
        for engine, trainer in trainers.items():
            wall, processor = time.perf_counter(), time.process_time()
            trainer.run(META_ITERATIONS)
            figures = time.perf_counter() - wall, time.process_time() - processor
            rounds[engine].append([1000 * figure / META_ITERATIONS for figure in figures])
    rows = []
    for engine, trainer in trainers.items():
        trainer.close()
        wall, processor = map(statistics.median, zip(*rounds[engine]))
        rows.append(
            {
                "engine": engine,
                "T": steps,
                "second_derivatives": second_derivatives,
                "seconds_to_start": starts[engine],
                "ms_per_meta_iteration": wall,
                "processor_ms_per_meta_iteration": processor,
            }
        )
    return rows


def evaluations():
    """Seconds that nine trained networks take in one call of `evaluate`, and in a call each."""
    problem, trained = l2l.Quadratic(2), {}
    for seed in range(NETWORKS):
        with l2l.Trainer(problem, l2l.CoordinatewiseLSTM, engine="graph", weights_seed=seed) as trainer:
            trainer.run(1)
            trained["RNN %d" % seed] = trainer.trained()
    start = time.perf_counter()
    l2l.evaluate(problem, trained, draws=DRAWS, steps=BASE_ITERATIONS)
    one_call = time.perf_counter() - start
    start = time.perf_counter()
    for name, each in trained.items():
        l2l.evaluate(problem, {name: each}, draws=DRAWS, steps=BASE_ITERATIONS)
    return {
        "networks": NETWORKS,
        "draws": DRAWS,
        "base_iterations": BASE_ITERATIONS,
        "seconds_in_one_call": one_call,
        "seconds_in_a_call_each": time.perf_counter() - start,
    }


def main():
    settings = [(20, True), (20, False), (100, True), (100, False)]
    rows = [row for steps, second_derivatives in settings for row in trainings(steps, second_derivatives)]
    results = {"rows": rows, "evaluation": evaluations(), **l2l.measured_with()}
    (ROOT / "results" / "small_network.json").write_text(json.dumps(results, indent=1) + "\n")
    columns = dict.fromkeys(rows[0], "")
    columns.update(seconds_to_start=".1f", ms_per_meta_iteration=".1f", processor_ms_per_meta_iteration=".1f")
    print(l2l.format_table(rows, columns))
    print(json.dumps(results["evaluation"]))


if __name__ == "__main__":
    main()
