import contextlib
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import distributed
import numpy as np
import psutil
import pytest
from sweeping import Client, Future, assert_undisturbed, build, meta_iterations, started

import l2l
from l2l.archives import read
from l2l.interrupt import Stop
from l2l.runs.checkpoints import latest_checkpoint
from l2l.sweeps import cells, workers
from l2l.sweeps.cells import Job


@pytest.mark.rehearsal
def test_of_two_processes_one_is_killed_and_only_its_cell_goes_on_elsewhere(tmp_path):
    """The first time that the cell of seed 1 is in the middle, its process copies the newest checkpoint and dies."""
    copy = str(tmp_path / "copy.npz")

    def killed_once(checkpoint_dir, weights_seed):
        def kill():
            while not meta_iterations(latest_checkpoint(checkpoint_dir)):
                time.sleep(0.001)
            shutil.copy(latest_checkpoint(checkpoint_dir), copy)
            os.kill(os.getpid(), signal.SIGKILL)

        if weights_seed == 1 and not os.path.exists(copy):
            threading.Thread(target=kill, daemon=True).start()
        return build(checkpoint_dir, weights_seed=weights_seed, checkpoint_every=0.05)

    options = {"processes": True, "dashboard_address": None, "memory_limit": 0, "local_directory": str(tmp_path)}
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, silence_logs=50, **options)
    lengths = [500, 500, 10, 20]
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        sweep = l2l.sweep(killed_once, {"weights_seed": range(4)}, lengths, directory=tmp_path / "sweep", client=client)
    assert [started(cell) for cell in sweep.cells] == [1, 2, 1, 1]
    with open(sweep.cells[1].directory + "/started.txt") as lines:
        assert len({line.split()[-1] for line in lines}) == 2, "another process"
    before, after = read(copy)[1]["history/seconds"], sweep.cells[1].history().seconds
    assert 0 < len(before) < 500
    np.testing.assert_array_equal(after[: len(before)], before, "it went on from the checkpoint")
    for cell, length in zip(sweep.cells, lengths):
        assert len(cell.history()) == length
    assert_undisturbed(sweep.cells[1])
    assert sorted(os.listdir(str(tmp_path / "sweep"))) == sorted(
        os.path.basename(cell.directory) for cell in sweep.cells
    ), "no functions are left"


NOTEBOOK = """
import l2l
import tensorflow as tf

class Bowl(l2l.Problem):
    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.reduce_sum(x**2)

def one_rate():
    rate = tf.compat.v1.get_variable("rate", [], initializer=tf.compat.v1.constant_initializer(0.01))
    return lambda gradients, state: (-rate * gradients, state)

bowl = Bowl()
sweep = l2l.sweep(
    lambda checkpoint_dir, weights_seed: l2l.Trainer(
        bowl, one_rate, unroll_length=2, engine="graph", weights_seed=weights_seed, checkpoint_dir=checkpoint_dir
    ),
    {"weights_seed": [1]},
    3,
    directory="sweep",
)
print(sweep.rows[0]["weights_seed"], sweep.cells[0].trained().record["problem"])
"""


@pytest.mark.rehearsal
def test_a_class_typed_into_a_notebook_works_on_the_workers(tmp_path, monkeypatch):
    """On those of this machine, which print nothing into the notebook, and leave nothing but the sweep's directory."""
    monkeypatch.setenv("L2L_PROGRESS", "text")  # a line, where a notebook would show a widget
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {output["name"]: output["text"] for output in notebook.cells[0].outputs}
    assert outputs["stdout"] == "1 Bowl\n"
    lines = [line for line in outputs["stderr"].replace("\r", "\n").splitlines() if line]
    assert all(line.startswith("sweep of 1 cells: ") for line in lines), lines
    assert os.listdir(str(tmp_path)) == ["sweep"]
    assert (tmp_path / "sweep" / "workers.log").read_text() == ""


def jobs(number, folder):
    return [Job({"number": i}, 1, str(folder / str(i)), False) for i in range(number)]


class Waiting:
    """A client of so many threads, whose cells are computed when all of these are busy."""

    def __init__(self, threads):
        self.threads, self.submitted, self.at_a_time, self.told = threads, [], [], []
        self._waiting = []

    def nthreads(self):
        return {"one": 1, "other": self.threads - 1}

    def submit(self, function, pickled, key):
        future = Future(key)
        self.submitted.append(pickled)
        self._waiting.append((future, function, pickled))
        if len(self._waiting) == self.threads:
            threading.Timer(0.1, self._compute).start()
        return future

    def _compute(self):
        self.at_a_time.append(len(self._waiting))
        now, self._waiting = self._waiting, []
        for future, function, pickled in now:
            future.finish(function(pickled))

    def run(self, function, *arguments, on_error):
        self.told.append(arguments)
        function(*arguments)


def test_the_scheduler_gets_as_many_cells_as_there_are_threads(tmp_path, monkeypatch):
    """And none of what the functions hold, which is a megabyte here."""
    data, seen, reported = np.ones([2**18], np.float32), [], []
    monkeypatch.setattr(
        cells, "compute", lambda job, build, measure, stop: seen.append(build()) or float(job.settings["number"])
    )
    client = Waiting(3)
    failed = workers.compute_all(
        client, lambda: None, jobs(6, tmp_path), lambda: data.sum(), None, Stop(), lambda *one: reported.append(one)
    )
    assert failed == [] and client.at_a_time == [3, 3] and seen == [2**18] * 6
    assert [(job.settings["number"], average) for job, average in reported] == [(i, float(i)) for i in range(6)]
    assert max(map(len, client.submitted)) < 1000 and os.listdir(str(tmp_path)) == [] and client.told == []


def test_when_asked_to_stop_the_workers_are_told(tmp_path, monkeypatch):
    stop, reported = Stop(), []

    def compute(job, build, measure, told):
        stop.set()
        while not told.is_set():
            time.sleep(0.001)
        time.sleep(0.3)  # longer than it waits for a cell that ends

    monkeypatch.setattr(cells, "compute", compute)
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_LOOKS", 60)
    client = Waiting(2)
    assert workers.compute_all(client, lambda: None, jobs(5, tmp_path), None, None, stop, reported.append) == []
    assert reported == [] and len(client.submitted) == 2 and len(client.told) == 1
    assert workers.run_cell(client.submitted[0]) == (workers.STOPPED, None)


def test_a_cluster_that_grows_with_its_work_gets_some(tmp_path, monkeypatch):
    """Dask's adaptive clusters have no worker until there is a cell to compute: one at a time."""
    checks, looks = iter(range(5)), []
    monkeypatch.setattr(cells, "compute", lambda *arguments: 1.0)
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_LOOKS", 0)
    client, reported = Client(), []
    client.nthreads = dict
    workers.compute_all(
        client,
        lambda: next(checks),
        jobs(2, tmp_path),
        None,
        None,
        Stop(),
        lambda *one: reported.append(one),
        looks.append,
    )
    assert len(reported) == 2 and looks == [[], []] and next(checks) == 2


class Lost(Client):
    """Its cells end as it is told: with an error, with a status, or never, where that is None."""

    def __init__(self, ends):
        super().__init__()
        self.ends, self.cancelled = iter(ends), []

    def submit(self, function, pickled, key):
        future, end = Future(key), next(self.ends)
        if isinstance(end, Exception):
            future.finish(None, end)
        elif end:
            future.finish(None)
            future.status = end
        return future

    def run(self, function, *arguments, on_error):
        super().run(function, *arguments, on_error=on_error)
        raise OSError("a worker is lost at this moment")

    def cancel(self, futures):
        self.cancelled.extend(future.status for future in futures)
        raise OSError("and the scheduler too")


def test_of_a_cell_that_fails_outside_of_its_code_it_says_why(tmp_path):
    client = Lost([ValueError("no memory"), "cancelled"])
    failed = workers.compute_all(client, lambda: None, jobs(2, tmp_path), None, None, Stop(), None)
    found = [(job.settings["number"], text) for job, text in failed]
    assert found == [(0, "ValueError('no memory')"), (1, "the scheduler has dropped it (cancelled)")]
    assert client.told == client.cancelled == []


def test_where_the_cluster_ends_its_cells_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_LOOKS", 0)
    client, looked = Lost([None]), []

    def check():
        if looked:
            raise RuntimeError("all is lost")

    with pytest.raises(RuntimeError, match="all is lost"):
        workers.compute_all(client, check, jobs(2, tmp_path), None, None, Stop(), None, looked.append)
    assert looked == [[]] and len(client.told) == 1 and client.cancelled == ["pending"]


class Entered:
    """Something to enter, which knows how it was made, and whether it was left."""

    scheduler_address = "tcp://here"

    def __init__(self, *arguments, **named):
        self.made, self.is_left = (arguments, named), False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_left = True


def test_a_client_is_taken_or_made(monkeypatch):
    monkeypatch.setattr(workers.clusters, "imported", lambda: types.SimpleNamespace(Client=Entered))
    ours = contextlib.contextmanager(lambda *arguments: iter([arguments[1:]]))
    monkeypatch.setattr(workers, "_on_this_machine", ours)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for most, number in [(3, 3), (9, 4)]:
        with workers.connected(None, most, "file") as found:
            assert found == (number, "file")
    with workers.connected("tcp://there", 3, "file") as (connection, check):
        assert connection.made == (("tcp://there",), {"set_as_default": False}) and not connection.is_left
        assert check() is None
    assert connection.is_left
    with workers.connected(connection, 3, "file") as (found, check):
        assert found is connection and check() is None


def test_how_the_workers_of_this_machine_are_started(tmp_path, monkeypatch):
    """One thread each, of as much memory as there is, in a session of their own, which ends when its input does."""
    started, process = [], types.SimpleNamespace(poll=lambda: None, stdin=io.BytesIO(), wait=lambda: waited.append(1))
    waited, fake = [], types.SimpleNamespace(LocalCluster=Entered, Client=Entered)
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **how: started.append((command, how)) or process)
    monkeypatch.setenv("OF_THE_CALLER", "1")
    log = str(tmp_path / "log")
    with workers._on_this_machine(fake, 3, log) as (client, check):
        check()
        process.poll = lambda: 1
        with pytest.raises(
            RuntimeError, match="the workers on this machine have ended; '%s' has what they printed" % log
        ):
            check()
        (cluster,), named = client.made
        loop = cluster.made[1].pop("loop")
        assert not process.stdin.closed and loop.asyncio_loop.is_running()
    assert process.stdin.closed and waited == [1] and client.is_left
    assert named == {"set_as_default": False} and cluster.is_left and not loop.asyncio_loop.is_running()
    assert cluster.made == ((), {"n_workers": 0, "dashboard_address": None, "silence_logs": 50})
    (((command,), how),) = started
    address = ["tcp://here", "--no-dashboard"]
    assert command[:-1] == [sys.executable, "-c", workers._WORKERS, *address, *OPTIONS] and not os.path.exists(
        command[-1]
    )
    output, environment = how.pop("stdout"), how.pop("env")
    assert output.name == log and how == {"stdin": subprocess.PIPE, "stderr": output, "start_new_session": True}
    assert environment["OF_THE_CALLER"] == "1" and environment["DASK_LOGGING__DISTRIBUTED"] == "error"
    assert environment["PYTHONPATH"].split(os.pathsep) == [os.path.abspath(folder) for folder in sys.path]


OPTIONS = ["--nworkers", "3", "--nthreads", "1", "--memory-limit", "0", "--local-directory"]


def test_a_worker_runs_no_other_code_than_the_callers(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(cells, "compute", lambda *arguments: called.append(arguments) or 1.0)
    monkeypatch.setattr(workers, "prepare_xla", lambda: called.append("XLA"))
    with workers._written((build, None), str(tmp_path)) as functions:
        message = pickle.dumps((functions, {}, 1, str(tmp_path), False))
        assert workers.run_cell(message) == (workers.DONE, 1.0)
        assert called.pop(0) == "XLA" and len(called) == 1  # whatever engine the first cell has
        with open(functions[0], "ab") as file:
            file.write(b".")
        outcome, text = workers.run_cell(message)
        os.unlink(functions[0])  # by the user, who tidies up
    assert outcome == workers.FAILED and "is not what the caller wrote" in text and called[1:] == ["XLA"]


def test_functions_that_cannot_be_sent_are_refused(tmp_path):
    lock = threading.Lock()
    with pytest.raises(
        TypeError, match="build_trainer and measure must be such that they can be sent to another process: can"
    ):
        workers.compute_all(Client(), None, jobs(1, tmp_path), lambda: lock, None, Stop(), None)


def test_workers_that_cannot_start_are_an_error(tmp_path, monkeypatch):
    """And they import what their caller can, and know its environment."""
    (tmp_path / "of_the_caller.py").write_text("import os\nraise SystemExit('no workers ' + os.environ['WHEN'])")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WHEN", "today")
    monkeypatch.setattr(workers, "_WORKERS", "import of_the_caller")
    with pytest.raises(RuntimeError, match="the workers on this machine have ended"):
        l2l.sweep(build, {"weights_seed": [1]}, 1, directory=tmp_path)
    assert "no workers today" in (tmp_path / "workers.log").read_text()


CALLER = """
import subprocess, sys

command = [sys.executable, "-c", sys.argv[1], "tcp://127.0.0.1:1", "--no-dashboard"]
workers = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
print(workers.pid, flush=True)
workers.wait()
"""


def test_the_workers_of_this_machine_end_with_the_caller(tmp_path):
    """Killed, it has no time to end them."""
    command = [sys.executable, "-c", CALLER, workers._WORKERS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=str(tmp_path)) as caller:
        process = psutil.Process(int(caller.stdout.readline()))
        assert process.status() != psutil.STATUS_ZOMBIE
        caller.kill()
    until = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "the workers live on"
            time.sleep(0.05)
