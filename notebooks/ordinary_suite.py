"""Runs the ordinary tasks with a trained optimizer beside Adam and Prodigy.

    .venv/bin/python notebooks/ordinary_suite.py                        # all, hours; `make ordinary-tasks`
    .venv/bin/python notebooks/ordinary_suite.py --tasks GRU --steps 100 --optimizer build/mine.npz
    .venv/bin/python notebooks/ordinary_suite.py --draws 1 --steps 20   # a rehearsal

A cell is a task, an optimizer and a number of base iterations. Each is a file in build/ordinary_tasks, and is run again
only if task, optimizer or weights have changed. Changes of the library's own code are not noticed: remove the folder
after one. Times per step compare optimizers only where nothing else ran on the machine. At the end come a table, the
shares of cells in which the trained one is level or below, ordinary_tasks.json and a figure: in results/ for a run of
everything, else beside the cells.
"""

import argparse
import json
import re
import time
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import ordinary_tasks
from episodes import LAST, log_of_last
from ordinary_report import BASELINES, LEARNED, plot_suite, shares, table

import l2l
from l2l.bytecode import digest
from l2l.describe import describe
from l2l.evaluation.graph import EvaluationGraph, seeds_of
from l2l.problems.examining import examined
from l2l.progress import progress

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "ordinary_tasks"
DRAWS, TUNING_DRAWS = 5, 3
TEST_SEED, TUNING_SEED = 3, 2
RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]  # as for the cards; the linear task wants the largest

Contestant = namedtuple(
    "Contestant",
    [
        "make",  # function of base iterations and a learning rate to an optimizer
        "rates",  # of which the best on tuning draws is taken; None for an optimizer without a rate
    ],
)


def contestants(trained):
    """The optimizers by name: a `Trained`, and the baselines."""

    def adam(steps, rate):
        return l2l.adam(rate)

    def adam_cosine(steps, rate):
        return l2l.adam(l2l.cosine_decay(rate, steps))

    def prodigy(steps, rate):
        return l2l.prodigy(l2l.cosine_decay(rate, steps))

    made = [Contestant(adam, [1e-3]), Contestant(adam, RATES), Contestant(adam_cosine, RATES)]
    made += [Contestant(adam_cosine, [1e-2]), Contestant(prodigy, [1.0])]
    return OrderedDict([(LEARNED, Contestant(lambda steps, rate: trained, None)), *zip(BASELINES, made)])


def measure(task, problem, contestant, steps, *, draws=DRAWS, tuning_draws=TUNING_DRAWS, engine="xla"):
    """A row: what an optimizer reaches on a task in so many base iterations.

    A draw's figure is the natural logarithm of the mean of its last 20 losses; a draw whose losses are not all finite,
    or end above the first one, has failed.

    Args:
      task, problem: a `Task`, and its problem.
      contestant: a `Contestant`.
      steps: base iterations, which schedules and learned optimizers are told.
      draws, tuning_draws: seeds of the figures, and others on which the rate is chosen.
      engine: as for `l2l.evaluate`.
    """
    rate = contestant.rates and contestant.rates[0]
    if contestant.rates and len(contestant.rates) > 1:
        tried, _, _ = _run(problem, contestant, steps, tuning_draws, TUNING_SEED, engine, contestant.rates)
        rate = contestant.rates[int(np.argmin([np.median(log_of_last(losses)) for losses in tried]))]
    (losses,), positions, seconds = _run(problem, contestant, steps, draws, TEST_SEED, engine, [rate])
    logs, first = log_of_last(losses), losses[:, 0].astype(float)
    failed = ~np.isfinite(losses).all(axis=1) | (logs > np.log(first))
    held_out, accuracies = task.held_out_figures(positions)
    row = {
        "rate": rate,
        "logs": logs.tolist(),
        "median": float(np.median(logs)),
        "worst": float(np.max(logs)),
        "failures": int(failed.sum()),
        "first_loss": float(np.median(first)),
        "held_out_loss": float(np.median(held_out)),
        "held_out_accuracy": None if accuracies is None else float(np.median(accuracies)),
        "held_out_losses": held_out.tolist(),
        "held_out_accuracies": None if accuracies is None else accuracies.tolist(),
        "ms_per_step": 1e3 * seconds / (draws * steps),
    }
    return row


def _run(problem, contestant, steps, draws, seed, engine, rates):
    """Losses `[draws, steps]` with each rate, the positions at the end with the last one, and its seconds.

    One draw after the other, in one program that is compiled once: beside each other they take longer.
    """
    some = examined(problem, draws, seeds_of(seed), steps, lambda coordinates: 1)
    is_tuned = len(rates) > 1
    optimizer = (lambda rate: contestant.make(steps, rate)) if is_tuned else contestant.make(steps, rates[0])
    graph = EvaluationGraph(
        problem, optimizer, "the optimizer", some, steps, engine, {"rate": rates[0]} if is_tuned else None
    )
    try:
        found = []
        for rate in rates:
            if is_tuned:
                graph.assign({"rate": rate})
            start = time.perf_counter()
            losses, positions = graph.losses_and_positions(np.arange(steps), lambda number: None)
            found.append(losses)
        return found, positions, time.perf_counter() - start
    finally:
        graph.close()


def rows_of(tasks, trained, *, steps=None, draws=DRAWS, output=OUTPUT, engine="xla"):
    """The rows of all cells, each from its file if that is there, else run and written.

    Args:
      tasks: list of `Task`.
      trained: a `Trained`.
      steps: base iterations, a list; None for those of each task.
      draws: seeds of each cell.
      output: folder of the cells' files.
      engine: as for `l2l.evaluate`.
    """
    cells = [
        (task, name, contestant, number)
        for task in tasks
        for number in steps or task.steps
        for name, contestant in contestants(trained).items()
    ]
    rows, problems = [], {}
    with progress(len(cells), "ordinary tasks") as report:
        for task, name, contestant, number in cells:
            cell = {"task": task.name, "is_seen_kind": task.is_seen_kind, "optimizer": name, "steps": number}
            report(0, "%s, %s, %d" % (task.name, name, number))
            if task.name not in problems:
                problems = {task.name: task.problem()}  # one at a time: each holds its data
            problem = problems[task.name]
            weights = trained.weights if contestant.rates is None else None
            chosen = [contestant.make(number, rate) for rate in contestant.rates or []]
            what = [problem, task.held_out, chosen, weights, TEST_SEED, TUNING_SEED, TUNING_DRAWS, LAST]
            cell["what"] = digest(describe("a cell", what))
            path = output / (_file_name("%s, %s, %d steps, %d draws" % (task.name, name, number, draws)) + ".json")
            row = _read(path, cell)
            if row is None:
                row = {**cell, **measure(task, problem, contestant, number, draws=draws, engine=engine)}
                l2l.save_results(path, [row])
                row = _read(path, cell)
            rows.append(row)
            report(1, "")
    return rows


def _file_name(text):
    return re.sub(r"[^a-z0-9.]+", "_", text.lower())


def _read(path, cell):
    """The row in a file; None if there is none, or one of something else."""
    if not path.exists():
        return None
    (row,) = json.loads(path.read_text())["rows"]
    return row if cell.items() <= row.items() else None


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Compares optimizers on ordinary trainings.")
    parser.add_argument(
        "--optimizer", default="general", help="of the trained optimizer: a file, or a name of l2l.pretrained()"
    )
    parser.add_argument("--tasks", nargs="*", help="parts of the names of tasks; by default all")
    parser.add_argument("--steps", nargs="*", type=int, help="base iterations; by default those of each task")
    parser.add_argument("--draws", type=int, default=DRAWS, help="seeds of each cell")
    parser.add_argument("--engine", choices=["xla", "graph"], default="xla")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    found = ordinary_tasks.tasks()
    chosen = [task for name, task in found.items() if not given.tasks or any(part in name for part in given.tasks)]
    if not chosen:
        parser.error("--tasks must be parts of %s, got %s" % (", ".join(found), given.tasks))
    trained = l2l.load(given.optimizer)
    rows = rows_of(chosen, trained, steps=given.steps, draws=given.draws, output=given.output, engine=given.engine)
    is_whole = len(chosen) == len(found) and given.steps is None and given.draws == DRAWS
    results = (ROOT / "results" if is_whole else given.output) / "ordinary_tasks.json"
    l2l.save_results(results, rows)
    print(table(rows), shares(rows), sep="\n\n")
    plot_suite(rows).savefig(str(results.with_suffix(".png")), dpi=120)


if __name__ == "__main__":
    main()
