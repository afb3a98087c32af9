"""What a sweep of 1,000 cells on 100 workers costs in traffic to and from Dask's scheduler: some minutes.

    .venv/bin/python benchmarks/sweep_traffic.py

A simulation: scheduler, messages and 100 workers are Dask's own, the workers being threads of one process; a cell only
sleeps. The scheduler's process counts the bytes that pass through its sockets, first while nothing is computed, which
is what workers and client tell it all the time, and then during the sweep; a cell's share is the rest. Writes
results/sweep_traffic.json.
"""

import asyncio
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import distributed

import l2l
from l2l.interrupt import Stop
from l2l.sweeps import cells, workers

ROOT = Path(__file__).resolve().parent.parent
CELLS, WORKERS = 1000, 100
SECONDS_OF_A_CELL = 5.0
SECONDS_IDLE = 30.0


def start_counting():
    """Runs in the scheduler's process: from now on all bytes of its sockets are counted."""
    from tornado.iostream import IOStream

    def counting(method):
        def counted(self, data):
            number = method(self, data)
            IOStream.counted += number or 0
            return number

        return counted

    IOStream.counted = 0
    IOStream.read_from_fd, IOStream.write_to_fd = map(counting, (IOStream.read_from_fd, IOStream.write_to_fd))


def counted():
    from tornado.iostream import IOStream

    return IOStream.counted


def serve(address):
    """Runs in a process of its own: the workers, until the pipe to it is closed."""

    def sleep(job, build_trainer, measure, stop):
        time.sleep(SECONDS_OF_A_CELL)
        return -5.0

    async def start():
        options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "local_directory": folder}
        started = [distributed.Worker(address, **options) for _ in range(WORKERS)]
        await asyncio.gather(*started)
        await asyncio.get_event_loop().run_in_executor(None, sys.stdin.read)

    cells.compute = sleep
    with tempfile.TemporaryDirectory() as folder:
        asyncio.get_event_loop().run_until_complete(start())


def build(checkpoint_dir, learning_rate, weights_seed):
    """What a cell of the sweep would train; nothing here does."""
    return l2l.Trainer(
        l2l.Quadratic(2),
        l2l.CoordinatewiseLSTM,
        learning_rate=learning_rate,
        weights_seed=weights_seed,
        checkpoint_dir=checkpoint_dir,
    )


def rate(client, seconds):
    """Bytes a second through the scheduler while nothing is computed."""
    start, before = time.time(), client.run_on_scheduler(counted)
    time.sleep(seconds)
    return (client.run_on_scheduler(counted) - before) / (time.time() - start)


def measure(address, folder):
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(WORKERS)
        client.run_on_scheduler(start_counting)
        time.sleep(5)
        idle = rate(client, SECONDS_IDLE)
        jobs = []
        for number in range(CELLS):
            settings = {"learning_rate": 0.001 * (1 + number // 10), "weights_seed": number % 10}
            jobs.append(cells.Job(settings, 20_000, "%s/%s" % (folder, cells.name_of(settings))))
        start, before = time.time(), client.run_on_scheduler(counted)
        failed = workers.compute_all(client, lambda: None, jobs, build, None, Stop(), lambda *_: None)
        seconds, total = time.time() - start, client.run_on_scheduler(counted) - before
    assert failed == []
    functions = (folder + "/functions-" + 32 * "0", 64 * "0")
    return {
        "cells": CELLS,
        "workers": WORKERS,
        "seconds_of_a_cell": SECONDS_OF_A_CELL,
        "seconds": seconds,
        "bytes": total,
        "idle_bytes_per_second": idle,
        "bytes_per_cell": (total - idle * seconds) / CELLS,
        "bytes_of_a_job": max(len(pickle.dumps((functions, *job))) for job in jobs),
    }


def main():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        command = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        scheduler = subprocess.Popen([sys.executable, *command, "--scheduler-file", str(file)], **quiet)
        while not file.exists():
            time.sleep(0.1)
        time.sleep(1)
        address = json.loads(file.read_text())["address"]
        served = subprocess.Popen(
            [sys.executable, __file__, "--workers", address], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            row = measure(address, folder)
        finally:
            for process in (served, scheduler):
                process.kill()
                process.wait()
    results = {"rows": [row], **l2l.measured_with()}
    results["versions"].update(dask=dask.__version__, distributed=distributed.__version__)
    (ROOT / "results" / "sweep_traffic.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--workers"]:
        serve(sys.argv[2])
    else:
        main()
