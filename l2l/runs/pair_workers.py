"""The members of a meta-iteration on the workers of a Dask cluster, with the same numbers as in this process.

A job is one run of one member. Its weights, its draw and its carried state go to a worker; the losses and the new state
come back. So nothing is lost with a worker: Dask computes its jobs again on another one.

What all jobs share, problems and functions, is kept on each worker by a digest. A worker that lacks it, because it came
later, says so; it is then sent there, and the job again. Graphs and sessions stay on the worker from one meta-iteration
to the next.
"""

import contextlib
import hashlib
import itertools
import pickle
import threading
import traceback
import uuid
import warnings

from l2l import clusters
from l2l.learning.engines import CannotCompileError
from l2l.results import measured_with
from l2l.runs.members import Members
from l2l.xla import xla_in_force

DONE, UNKNOWN, CANNOT_COMPILE, FAILED = "done", "unknown", "cannot compile", "failed"


class WorkersError(RuntimeError):
    """Workers could not compute the members of a meta-iteration. Nothing of the training has changed."""


class PairWorkers:
    """The workers of a cluster, for one training.

    Args:
      client: a `distributed.Client`, or the address of a scheduler.
      problems: dict from name to `Problem`.
      arguments: dict of what else `Members` needs, but for `threads`.
      persistent: whether what is carried comes back.

    Raises:
      TypeError: a problem or a function cannot be sent.
    """

    def __init__(self, client, problems, arguments, persistent):
        needed = _versions(arguments["engine"])
        self._content = clusters.pickled("problem and build_optimizer", (needed, problems, arguments, persistent))
        self._digest = hashlib.sha256(self._content).hexdigest()
        self._prefix, self._numbers, self._ready = "l2l-%s" % uuid.uuid4().hex, itertools.count(), set()
        self._is_ours = isinstance(client, str)
        self._client = clusters.imported().Client(client, set_as_default=False) if self._is_ours else client

    def is_ready(self, name):
        """Whether some worker has built and compiled the problem of this name; others do when they get a job."""
        return name in self._ready

    def prepare(self, name):
        """Has a worker build and compile a problem.

        Raises:
          CannotCompileError: XLA cannot compile it.
          WorkersError: as `run`.
        """
        self.run(name, [None])
        self._ready.add(name)

    def run(self, name, tasks):
        """Runs members on the workers: results of `Members.run`, a list. `carried` is None unless the strategy
        persists.

        Args:
          name: of the problem.
          tasks: list of dicts of its arguments.

        Raises:
          WorkersError: a job failed, or killed several workers, or the cluster is gone.
        """
        results, left = [None] * len(tasks), range(len(tasks))
        while left:
            answers = self._answers([pickle.dumps((self._digest, name, tasks[i])) for i in left])
            for i, (kind, value) in zip(left, answers):
                if kind == CANNOT_COMPILE:
                    raise CannotCompileError(value)
                if kind == FAILED:
                    raise WorkersError("a worker failed; nothing of the training has changed.\n%s" % value)
                results[i] = value
            left = [i for i, (kind, _) in zip(left, answers) if kind == UNKNOWN]
            if left:
                with _failures_said():
                    self._client.run(keep, self._digest, self._content, on_error="ignore")  # a lost worker asks again
        return results

    def _answers(self, jobs):
        futures = []
        with _failures_said():
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Large object")  # as it was meant
                    for job in jobs:
                        key = "%s-%d" % (self._prefix, next(self._numbers))
                        futures.append(self._client.submit(run_job, job, key=key))
                return self._client.gather(futures)
            except BaseException:  # a second Ctrl-C too
                with contextlib.suppress(Exception):
                    self._client.cancel(futures)
                raise

    def close(self):
        """Has all workers free their graphs and sessions."""
        with contextlib.suppress(Exception):  # where the cluster is gone, they are
            self._client.run(forget, self._digest, on_error="ignore")
        if self._is_ours:
            self._client.close()


@contextlib.contextmanager
def _failures_said():
    """What a client raises, as a `WorkersError`."""
    try:
        yield
    except Exception as error:
        raise WorkersError(
            "the workers of client could not compute a meta-iteration, perhaps for want of memory: %.200r; nothing of "
            "the training has changed" % error
        ) from error


def _versions(engine):
    """What must be the same on a worker, lest it round differently: a dict."""
    versions = measured_with()["versions"]
    named = {name: versions[name] for name in ("l2l", "tensorflow", "numpy")}
    return {**named, "xla": xla_in_force() if engine == "xla" else None}


# On a worker.

_kept = {}  # by digest, a `_Training`


class _Training:
    """The shared parts of a training's jobs, and a `Members` for each problem that had a job."""

    def __init__(self, content):
        self._content, self._members, self._lock = content, {}, threading.Lock()

    def run(self, name, task):
        with self._lock:
            if self._content is not None:
                needed, *parts = pickle.loads(self._content)
                here = _versions(parts[1]["engine"])
                if here != needed:
                    raise ValueError("a worker must compute as the caller does, with %r, got %r" % (needed, here))
                self._parts, self._content = parts, None
            problems, arguments, persistent = self._parts
            if name not in self._members:
                threads = clusters.imported().get_worker().nthreads
                self._members[name] = Members(problems[name], threads=threads, **arguments)
            members = self._members[name]
            members.prepare()
        if task is None:
            return None
        losses, carried = members.run(**task)
        return losses, carried if persistent else None


def keep(digest, content):
    """Keeps what the jobs of a training share, unless it is there."""
    _kept.setdefault(digest, _Training(content))


def forget(digest):
    """Forgets it. Sessions end with the last job that runs in them."""
    _kept.pop(digest, None)


def run_job(pickled):
    """What a worker does: one run of one member.

    Args:
      pickled: bytes, of the digest, the name of the problem, and arguments of `Members.run`, or None to prepare it.

    Returns:
      `(DONE, result)`, `(UNKNOWN, None)`, or `(CANNOT_COMPILE or FAILED, text)`. No exception: not all can be sent.
    """
    digest, name, task = pickle.loads(pickled)
    training = _kept.get(digest)
    if training is None:
        return UNKNOWN, None
    try:
        return DONE, training.run(name, task)
    except CannotCompileError as error:
        return CANNOT_COMPILE, str(error)
    except Exception:
        return FAILED, traceback.format_exc()
