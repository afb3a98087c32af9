"""A step of `l2l.LearnedOptimizer` over a million coordinates: time, beside its products alone and Adam, and memory.

    .venv/bin/python benchmarks/learned_optimizer.py

On one core and on two. Each measurement is a process of its own; the three alternate. Writes
results/learned_optimizer.json.

    .venv/bin/python benchmarks/learned_optimizer.py controller

Steps of an `AdamController` that nobody trained beside Adam's, alternating in one process on one core: a thousand and a
million coordinates, and 60 small variables with the time until after the first step. Writes
results/adam_controller.json.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

import l2l
from l2l.optimizers.moving_rows import CHUNK

ROOT = Path(__file__).resolve().parent.parent
COORDINATES, STEPS, ROUNDS = 1_000_000, 5, 5


def paper_network():
    return l2l.CoordinatewiseLSTM((20, 20), l2l.log_and_sign(10), input_layer=False, output_scale=0.01)


def step_of(optimizer):
    """An op that moves a million coordinates, and how many bytes its slots have."""
    x = tf.get_variable("x", initializer=tf.zeros([COORDINATES]), use_resource=True)
    gradient = tf.get_variable("g", initializer=tf.random.normal([COORDINATES], seed=1), use_resource=True)
    train = optimizer.apply_gradients([(gradient, x)])
    slots = [optimizer.get_slot(x, name) for name in optimizer.get_slot_names()]
    return train, sum(4 * slot.shape.num_elements() for slot in slots)


def products():
    """An op that does the matrix products of a step of the paper's network, in chunks of as many rows."""
    widths = [(22, 80), (40, 80), (20, 1)]
    inputs = [tf.Variable(tf.random.normal([CHUNK, rows]), use_resource=True) for rows, _ in widths]
    kernels = [tf.Variable(tf.random.normal(shape), use_resource=True) for shape in widths]

    def body(i, total):  # which needs the products, or they would be left out
        results = [tf.matmul(one, kernel) for one, kernel in zip(inputs, kernels)]
        return i + 1, total + tf.add_n([result[0, 0] for result in results])

    chunks = -(-COORDINATES // CHUNK)
    return tf.while_loop(lambda i, _: i < chunks, body, [0, 0.0], parallel_iterations=1), 0


def measured(what, threads):
    """What one process measures: milliseconds of a step, bytes of the slots, and memory that they and steps took."""
    if what == "learned":
        with tf.Graph().as_default(), tf.Session() as session:
            optimizer = paper_network()
            session.run(tf.global_variables_initializer())
            trained = l2l.Trained(paper_network, session.run(optimizer.variables))
    process = psutil.Process()
    with tf.Graph().as_default():
        if what == "products":
            step, slots = products()
        else:
            step, slots = step_of(l2l.LearnedOptimizer(trained) if what == "learned" else tf.train.AdamOptimizer())
        # Otherwise the products, which are the same each time, would be computed once, before the loop.
        rewriter = rewriter_config_pb2.RewriterConfig(loop_optimization=rewriter_config_pb2.RewriterConfig.OFF)
        config = tf.ConfigProto(
            graph_options=tf.GraphOptions(rewrite_options=rewriter),
            intra_op_parallelism_threads=threads,
            inter_op_parallelism_threads=threads,
        )
        with tf.Session(config=config) as session:
            before = process.memory_info().rss
            session.run(tf.global_variables_initializer())
            session.run(step)
            start = time.perf_counter()
            for _ in range(STEPS):
                session.run(step)
            milliseconds = 1000 * (time.perf_counter() - start) / STEPS
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    return {"ms": milliseconds, "slot_bytes": slots, "peak_bytes": peak - before}


SMALL = [(16 + i % 7, 8 + i % 5) if i % 2 == 0 else (8 + i % 5,) for i in range(60)]
MODELS = {"1,000 coordinates": [(1000,)], "1,000,000 coordinates": [(1000, 1000)], "60 small variables": SMALL}


def controller():
    """An `AdamController` with random weights; the time of a step does not depend on them."""
    random = np.random.RandomState(0)
    weights = [random.normal(0, 0.1, shape).astype(np.float32) for shape in [(19, 16), (16,), (16, 7), (7,)]]
    return l2l.LearnedOptimizer(l2l.Trained(l2l.AdamController, weights), steps=10000)


def compared(shapes, number):
    """Seconds until after the first step, and least and median microseconds of a step, of both; steps alternate."""
    found, steps, times = {}, {}, {}
    for what, make in [("learned", controller), ("Adam", tf.train.AdamOptimizer)]:
        with tf.Graph().as_default() as graph:
            x, g = (
                [tf.get_variable("%s%d" % (name, i), shape, use_resource=True) for i, shape in enumerate(shapes)]
                for name in ("x", "g")
            )
            start = time.perf_counter()
            train = make().apply_gradients([(one.read_value(), other) for one, other in zip(g, x)])
            config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
            session = tf.Session(graph=graph, config=config)
            session.run(tf.global_variables_initializer())
            session.run(train)
            found[what], times[what] = {"first_step_s": time.perf_counter() - start}, []
            steps[what] = session.make_callable(train)
    for _ in range(number):
        for what, step in steps.items():
            start = time.perf_counter()
            step()
            times[what].append(1e6 * (time.perf_counter() - start))
    for what, many in times.items():
        found[what].update(least_us=min(many), median_us=statistics.median(many))
    return found


def compare():
    os.sched_setaffinity(0, {0})
    rows = []
    for name, shapes in MODELS.items():
        found = compared(shapes, 100 if name.startswith("1,000,000") else 1000)
        ratios = {key: found["learned"][key] / found["Adam"][key] for key in ("least_us", "median_us")}
        rows.append({"model": name, **found, "ratios": ratios})
        print(rows[-1], flush=True)
    l2l.save_results(str(ROOT / "results" / "adam_controller.json"), rows)


def in_a_process(what, threads):
    command = [sys.executable, str(Path(__file__).resolve()), what, str(threads)]
    cores = "0" if threads == 1 else "0,1"
    done = subprocess.run(
        ["taskset", "-c", cores, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        env=os.environ,
    )
    return json.loads(done.stdout.decode().splitlines()[-1])


def main():
    rows = []
    for threads in [1, 2]:
        kinds = ["learned", "products", "Adam"]
        rounds = {what: [] for what in kinds}
        for _ in range(ROUNDS):
            for what in kinds:
                rounds[what].append(in_a_process(what, threads))
        for what, found in rounds.items():
            milliseconds = statistics.median(one["ms"] for one in found)
            rows.append(
                {
                    "what": what,
                    "threads": threads,
                    "coordinates": COORDINATES,
                    "ms": milliseconds,
                    "ns_per_coordinate": 1e6 * milliseconds / COORDINATES,
                    "slot_bytes": found[0]["slot_bytes"],
                    "peak_bytes": max(one["peak_bytes"] for one in found),
                    "rounds": [one["ms"] for one in found],
                }
            )
    for row in rows:
        print(row)
    l2l.save_results(str(ROOT / "results" / "learned_optimizer.json"), rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["controller"]:
        compare()
    elif len(sys.argv) > 1:
        print(json.dumps(measured(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
