"""Cells of a sweep on the workers of a Dask cluster: the user's, or one on the cores of this machine.

Only the settings of each cell and one number of its result pass through the scheduler. All else lies in the sweep's
directory, which workers and caller share; the functions lie there as long as the sweep runs.

The scheduler never gets more cells than the workers have threads. Dask would assign the others to workers at once. They
would wait there although another worker is free, and would be suspects when their worker dies.
"""

import collections
import contextlib
import hashlib
import itertools
import logging
import math
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

from l2l import clusters
from l2l.interrupt import Stop
from l2l.sweeps import cells
from l2l.xla import prepare_xla

SECONDS_BETWEEN_LOOKS = 1.0  # at how many threads the workers have

DONE, STOPPED, FAILED = "done", "stopped", "failed"

# The program that starts the workers of this machine. They are killed when the caller closes the pipe, or is killed.
_WORKERS = """
import os, signal, sys, threading

def end_with_the_caller():
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_the_caller, daemon=True).start()
from distributed.cli.dask_worker import go
go()
"""

_stops = {}  # in a worker: a `Stop` for each sweep that it has seen


@contextlib.contextmanager
def connected(client, most, log):
    """Yields a `distributed.Client`, and a function that raises if a cluster that was started here has ended.

    Args:
      client: a `distributed.Client`, the address of a scheduler, or None for a cluster on the cores of this machine.
      most: how many workers can be of use.
      log: file for what workers on this machine print.
    """
    distributed = clusters.imported()
    if client is None:
        with _on_this_machine(distributed, min(most, os.cpu_count()), log) as ours:
            yield ours
    elif isinstance(client, str):
        with distributed.Client(client, set_as_default=False) as connection:
            yield connection, lambda: None
    else:
        yield client, lambda: None


@contextlib.contextmanager
def _on_this_machine(distributed, workers, log):
    """A cluster of processes with one thread each.

    Dask's own local cluster imports the caller's script in each process, so the script would have to allow that, and
    Ctrl-C in a terminal would reach them. These are started as from a command line, in a separate session.
    """
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)  # what can be imported here can be there
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        file = stack.enter_context(open(log, "ab"))
        loop = stack.enter_context(_event_loop())
        cluster = stack.enter_context(
            distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=logging.CRITICAL, loop=loop)
        )
        client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        options = ["--nworkers", workers, "--nthreads", 1, "--memory-limit", 0, "--local-directory", scratch]
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKERS, cluster.scheduler_address, "--no-dashboard", *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=dict(os.environ, PYTHONPATH=path, DASK_LOGGING__DISTRIBUTED="error"),
        )

        def check():
            if process.poll() is not None:
                raise RuntimeError("the workers on this machine have ended; %r has what they printed" % log)

        try:
            yield client, check
        finally:
            process.stdin.close()
            process.wait()


@contextlib.contextmanager
def _event_loop():
    """The loop of scheduler and client, which lives a moment longer than they.

    If it ended with them, the sender of their last messages would not learn that a wait of 2 ms is over, and asyncio
    logs that.
    """
    from distributed.utils import LoopRunner

    runner = LoopRunner(asynchronous=False)
    runner.start()
    try:
        yield runner.loop
    finally:
        time.sleep(0.05)
        runner.stop()


def compute_all(client, check, jobs, build_trainer, measure, stop, report, look=lambda jobs: None):
    """Computes cells on the workers of a cluster, until all are done, have failed or were stopped.

    Args:
      client: a `distributed.Client`.
      check: function that is called now and then, and may raise.
      jobs: list of `Job`, whose directories lie in one folder.
      build_trainer, measure: as for `sweep`.
      stop: a `Stop`.
      report: `report(job, log_average)` is called for each cell that is done.
      look: is called about once a second with the jobs that are running.

    Returns:
      A list of `(job, text)` for those that failed.

    Raises:
      TypeError: the functions cannot be sent to another process.
    """
    from distributed.scheduler import KilledWorker

    waiting, running, finished, failed = collections.deque(jobs), {}, queue.Queue(), []
    with _written((build_trainer, measure), os.path.dirname(jobs[0].directory)) as functions:
        sweep = os.path.basename(functions[0])  # a name that no other has

        def submit():
            job = waiting.popleft()
            future = client.submit(run_cell, pickle.dumps((functions, *job)), key="%s-%d" % (sweep, next(numbers)))
            running[future.key] = future, job
            future.add_done_callback(finished.put)

        numbers, looked = itertools.count(), -math.inf
        try:
            while running or (waiting and not stop.is_set()):
                if time.monotonic() - looked >= SECONDS_BETWEEN_LOOKS:
                    looked, threads = time.monotonic(), sum(client.nthreads().values())
                    check()
                    look([job for _, job in running.values()])
                    is_told = False  # a worker may have come since the last look
                while waiting and len(running) < max(threads, 1) and not stop.is_set():
                    submit()
                if stop.is_set() and not is_told:
                    is_told = True
                    _tell_to_stop(client, sweep)
                try:
                    future = finished.get(timeout=0.2)
                except queue.Empty:
                    continue
                _, job = running.pop(future.key)
                error = future.exception() if future.status == "error" else None
                if future.status == "finished":
                    outcome, value = future.result()
                    if outcome == DONE:
                        report(job, value)
                    elif outcome == FAILED:
                        failed.append((job, value))
                elif isinstance(error, KilledWorker):
                    failed.append((job, "each of several workers that tried it was killed, for want of memory perhaps"))
                else:
                    failed.append((job, repr(error) if error else "the scheduler has dropped it (%s)" % future.status))
        finally:
            if running:  # an exception from outside, such as a second Ctrl-C
                _tell_to_stop(client, sweep)
                with contextlib.suppress(Exception):
                    client.cancel([future for future, _ in running.values()])
    return failed


@contextlib.contextmanager
def _written(functions, directory):
    """Writes functions to a file, for as long as workers may read it: a function from a notebook may hold much data.

    Yields:
      `(path, digest)`: the file, and the SHA-256 of its content, so that a worker runs no other code.
    """
    content = clusters.pickled("build_trainer and measure", functions)
    path = os.path.join(directory, "functions-%s" % uuid.uuid4().hex)
    try:
        with open(path, "wb") as file:
            file.write(content)
        yield path, hashlib.sha256(content).hexdigest()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _read(path, digest):
    """The functions that `_written` wrote."""
    import cloudpickle

    with open(path, "rb") as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("%r is not what the caller wrote" % path)
    return cloudpickle.loads(content)


def run_cell(pickled):
    """Computes one cell, on a worker.

    Args:
      pickled: bytes of path and digest of the functions, and of the parts of a `Job`.

    Returns:
      `(DONE, log average)`, `(STOPPED, None)` or `(FAILED, text)`. It never raises, since some exceptions cannot be
      sent.
    """
    functions, *parts = pickle.loads(pickled)
    stop = _stops.setdefault(os.path.basename(functions[0]), Stop())
    if stop.is_set():
        return STOPPED, None
    try:
        prepare_xla()  # here, so that no cell's rounding depends on those before it
        log_average = cells.compute(cells.Job(*parts), *_read(*functions), stop)
    except Exception:
        return FAILED, traceback.format_exc()
    return (STOPPED, None) if log_average is None else (DONE, log_average)


def stop_cells(sweep):
    """Has all cells of a sweep in this process stop at the end of the engine's current call."""
    _stops.setdefault(sweep, Stop()).set()


def _tell_to_stop(client, sweep):
    with contextlib.suppress(Exception):  # a worker may be lost at this moment, and is told again
        client.run(stop_cells, sweep, on_error="ignore")
