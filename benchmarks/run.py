"""Measures the speeds of the engines and of their peers, side by side in one run.

    make bench
    make bench JAX_PYTHON=path/to/python DEEPMIND_PYTHON=path/to/python DEEPMIND_CODE=path/to/checkout

The paths are absolute. DEEPMIND_CODE is a checkout of github.com/deepmind/learning-to-learn.

Each figure is the median of several rounds after a warm-up, and engines take turns, so that a drift
of the machine's speed meets all of them. One thread, but for TensorFlow's default session and the row that says so.
Peers run in processes of their own, pinned to one core. A ratio with a peer compares it with our compiled
engine in a process pinned likewise; the two alternate.
Writes results/benchmarks.json and results/benchmarks.png.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import psutil
import session_loop

import l2l

matplotlib.use("Agg")

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
DOCUMENT_SECONDS = 1036  # the document's notebook, cell by cell, where its loop starts at 1.53 ms

# (D, T, batch): the document's workload, then one of the three changed at a time.
DOCUMENT = (2, 20, 1)
SIZES = [
    DOCUMENT,
    *[(dims, 20, 1) for dims in (8, 32, 128, 512)],
    *[(2, steps, 1) for steps in (5, 10, 40, 80, 160)],
    *[(2, 20, batch) for batch in (4, 16, 64, 256)],
]
LARGE = (10, 20, 128)  # DeepMind's `quadratic`: 1,280 rows
ROUNDS = 5
PAIRS = 3  # processes of each peer, and of ours beside it, where a ratio is taken
TWO_THREADS = "xla, two threads"
ONE_CORE = "xla, pinned to one core"
PINNED = {ONE_CORE: [sys.executable, str(HERE / "run.py"), "--compiled-only"]}
ONE_THREAD_LOOP = "session loop, one thread"


def meta_iterations(size, engine):
    """Enough for a fraction of a second, few enough for a round of all engines to stay short."""
    rows = size[0] * size[2] * size[1] / 40
    most, work = (2000, 4000) if engine in ("xla", ONE_CORE, "jax") else (300, 300)
    return int(max(10, min(most, work / rows)))


class Ours:
    """One of our engines, kept warm between rounds."""

    def __init__(self, engine, size, threads=1, number=None):
        dims, steps, batch = size
        self._trainer = l2l.Trainer(
            l2l.Quadratic(dims),
            l2l.CoordinatewiseLSTM,
            unroll_length=steps,
            batch=batch,
            engine=engine,
            threads=threads,
            name="%s %s" % (engine, size),
        )
        self._number = meta_iterations(size, engine) if number is None else number
        start = time.perf_counter()
        self._trainer.run(self._number)
        self.seconds_of_first_run = time.perf_counter() - start

    def round(self):
        before = len(self._trainer.history)
        history = self._trainer.run(self._number)
        return 1000 * statistics.mean(history.seconds[before:])

    def close(self):
        self._trainer.close()


def outside(command, size, number):
    """ms per meta-iteration in a process of its own, pinned to one core, a list of rounds."""
    environment = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    arguments = [str(value) for value in (*size, number, ROUNDS)]
    done = subprocess.run(
        ["taskset", "-c", "0", *command, *arguments],
        env=environment,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout.decode().splitlines()[-1])["ms_per_meta_iteration"]


def measure(size, peers, more=None, processes=1):
    """Rows for one size: every engine, in turns, `more` with further ones; `peers` in so many processes each."""
    print("D=%d T=%d batch=%d" % size, file=sys.stderr, flush=True)
    engines = {
        "xla": Ours("xla", size),
        "graph": Ours("graph", size),
        "session loop": session_loop.SessionLoop(*size, meta_iterations(size, "session loop")),
        ONE_THREAD_LOOP: session_loop.SessionLoop(*size, meta_iterations(size, "session loop"), threads=1),
        **(more or {}),
    }
    times = {engine: [] for engine in [*engines, *peers]}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            times[name].append(engine.round())
    for engine in engines.values():
        engine.close()
    for _ in range(processes):
        for name, command in peers.items():
            times[name] += outside(command, size, meta_iterations(size, name))
    rows = [row(engine, size, values) for engine, values in times.items()]
    rows[0]["seconds_to_compile"] = (
        engines["xla"].seconds_of_first_run - statistics.median(times["xla"]) * meta_iterations(size, "xla") / 1000
    )
    return rows


def row(engine, size, values):
    dims, steps, batch = size
    return {
        "name": "D=%d T=%d batch=%d" % size,
        "engine": engine,
        "D": dims,
        "T": steps,
        "batch": batch,
        "ms_per_meta_iteration": statistics.median(values),
        "rounds": values,
    }


def figure_of(rows):
    """ms per meta-iteration against D, T and batch, one line for each engine."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharey=True, constrained_layout=True)
    engines = [engine for engine in dict.fromkeys(row["engine"] for row in rows) if engine != ONE_CORE]
    for axes, (place, key, label) in zip(
        panels, [(0, "D", "D, coordinates"), (1, "T", "T, base iterations"), (2, "batch", "batch, draws")]
    ):
        for i, engine in enumerate(engines):
            line = [
                row
                for row in rows
                if row["engine"] == engine
                and all(row[k] == DOCUMENT[p] for p, k in enumerate(["D", "T", "batch"]) if p != place)
            ]
            line.sort(key=lambda row: row[key])
            if line:
                axes.loglog(
                    [row[key] for row in line],
                    [row["ms_per_meta_iteration"] for row in line],
                    color=l2l.figures.COLORS[i],
                    marker=l2l.figures.MARKERS[i],
                    label=engine,
                )
        axes.set_xlabel(label)
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("ms per meta-iteration")
    panels[0].legend()
    return figure


def compiled(dims, steps, batch, number, rounds):
    """Prints what peers print, for our compiled engine: `rounds` means of `number` meta-iterations, after a warm-up."""
    engine = Ours("xla", (dims, steps, batch), number=number)
    print(json.dumps({"ms_per_meta_iteration": [engine.round() for _ in range(rounds)]}))


def evaluations():
    """Wall seconds of long evaluations, compilation included, and by how much memory grew, in a process of its own."""
    print("evaluations", file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE / "run.py"), "--evaluate-only"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.decode().splitlines()[-1])


def evaluate():
    """What `evaluations` measures: three optimizers at two sizes."""
    problem, process = l2l.Quadratic(2), psutil.Process()
    trainer = l2l.Trainer(problem, l2l.CoordinatewiseLSTM, engine="graph")
    optimizers = {"SGD": l2l.sgd(), "RMSProp": l2l.rmsprop(), "RNN": trainer.trained()}
    rows = []
    for num, steps in [(1000, 1000), (100, 10_000), (100, 40_000)]:
        before, start = process.memory_info().rss, time.perf_counter()
        l2l.evaluate(problem, optimizers, draws=num, steps=steps, at=range(0, steps, steps // 100))
        seconds, grown = time.perf_counter() - start, process.memory_info().rss - before
        rows.append({"draws": num, "base_iterations": steps, "seconds": seconds, "memory_grown_mib": grown / 2**20})
    print(json.dumps(rows))


def seconds_of_episode_1():
    """Wall time of the whole notebook at full length, from one seed."""
    print("Episode 1, from one seed", file=sys.stderr, flush=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("L2L_")}
    command = [sys.executable, "tools/run_notebook.py", "notebooks/episode_1.ipynb", "build/benchmark"]
    start = time.perf_counter()
    subprocess.run(command, cwd=str(ROOT), env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ratio(rows, size, slower, faster):
    """Of the medians of two engines at one size, or None where one was absent."""
    found = {row["engine"]: row for row in rows if (row["D"], row["T"], row["batch"]) == size}
    if slower not in found or faster not in found:
        return None
    return found[slower]["ms_per_meta_iteration"] / found[faster]["ms_per_meta_iteration"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jax-python", help="a Python that has JAX")
    parser.add_argument("--deepmind-python", help="a Python with TensorFlow 1.15, dm-sonnet 1.36 and mock")
    parser.add_argument("--evaluate-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compiled-only", nargs=5, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.evaluate_only:
        evaluate()
        return
    if arguments.compiled_only:
        compiled(*arguments.compiled_only)
        return
    seconds = seconds_of_episode_1()
    jax = {"jax": [arguments.jax_python, str(HERE / "jax_peer.py")]} if arguments.jax_python else {}
    deepmind = {}
    if arguments.deepmind_python:
        deepmind = {"deepmind": [arguments.deepmind_python, str(HERE / "deepmind_peer.py")]}

    rows = []
    rows += measure(DOCUMENT, {**PINNED, **jax}, processes=PAIRS)
    for size in SIZES[1:]:
        rows += measure(size, jax)
    two_threads = {TWO_THREADS: Ours("xla", LARGE, threads=2)}
    rows += measure(LARGE, {**PINNED, **jax, **deepmind}, two_threads, processes=PAIRS)

    loop = next(row for row in rows if row["engine"] == "session loop")["ms_per_meta_iteration"]
    ratios = {
        "session_loop_over_xla": ratio(rows, DOCUMENT, "session loop", "xla"),
        "one_thread_session_loop_over_xla": ratio(rows, DOCUMENT, ONE_THREAD_LOOP, "xla"),
        "jax_over_xla": ratio(rows, DOCUMENT, "jax", ONE_CORE),
        "one_thread_over_two_1280_rows": ratio(rows, LARGE, "xla", TWO_THREADS),
        "deepmind_over_xla_1280_rows": ratio(rows, LARGE, "deepmind", ONE_CORE),
        # The document's time is for the speed of machine on which its loop takes 1.53 ms.
        "document_over_episode_1": DOCUMENT_SECONDS * loop / 1.53 / seconds,
    }
    how = {
        "session_loop_over_xla": "medians at D=2 T=20 batch=1; the loop in TensorFlow's default session, fresh graph",
        "one_thread_session_loop_over_xla": "the same; the loop in a session held to one thread",
        "jax_over_xla": "medians at D=2 T=20 batch=1; processes of both, pinned to one core, in turns",
        "deepmind_over_xla_1280_rows": "medians at D=10 T=20 batch=128; processes of both, pinned likewise, in turns",
        "one_thread_over_two_1280_rows": "medians at D=10 T=20 batch=128, XLA with threads=1 and threads=2",
        "document_over_episode_1": "1,036 s, scaled by this run's session loop over the 1.53 ms it was measured with, "
        "over the wall time of the whole notebook with one seed, as a process",
    }
    results = {
        "rows": rows,
        "ratios": ratios,
        "how": how,
        "evaluations": evaluations(),
        "episode_1_seconds": seconds,
        **l2l.measured_with(),
    }
    (ROOT / "results" / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")
    figure_of(rows).savefig(str(ROOT / "results" / "benchmarks.png"), dpi=100)
    columns = {"name": "", "engine": "", "ms_per_meta_iteration": ".3f"}
    print(l2l.format_table(rows, columns))
    columns = {"draws": ",d", "base_iterations": ",d", "seconds": ".1f", "memory_grown_mib": ".0f"}
    print(l2l.format_table(results["evaluations"], columns))
    for name, value in ratios.items():
        print("%-30s %s" % (name, "not measured" if value is None else "%.2f" % value))


if __name__ == "__main__":
    main()
