"""Sweeps: one call trains a grid of settings, and resumes after an interruption."""

from __future__ import annotations

import inspect
import itertools
import os
import warnings
from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Union

from l2l import checks, clusters
from l2l.interrupt import STOPPING, delayed_signals, leave
from l2l.progress import progress, shortened
from l2l.runs.trainer import Trainer
from l2l.sweeps import cells, workers
from l2l.sweeps.cells import Cell, Job
from l2l.tables import Table, format_table
from l2l.tracebacks import levels_to_the_caller, short_traceback
from l2l.types import PathLike
from l2l.version import __version__

_SHOWN = 3  # complaints, or failed cells, that a message has in full


class Sweep:
    """The result of a sweep, shown as a table in a notebook and in print.

    Attributes:
      cells: list of `Cell`, in the order of the grid.
      rows: list of dicts of JSON types, one for each cell. A row has the settings; `meta_iterations`; `log_average`,
        the mean of log10 of the last loss over the last 2,000 meta-iterations; `skipped`, how many changed nothing, for
        a NaN or an infinity; `stalled`, whether `History.stalled` says anything; `seconds`, the time of the
        meta-iterations; and what `measure` returned, but for arrays. If another version of l2l computed a cell, all
        rows have the `version` that computed them.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = list(cells)
        self.rows = [cell.row for cell in self.cells]
        if any(cell.version != __version__ for cell in self.cells):
            self.rows = [{**cell.row, "version": cell.version} for cell in self.cells]

    def table(self) -> Table:
        """Returns the rows as a table.

        `l2l.format_table(sweep.rows, columns)` makes one of other columns or formats.
        """
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        known = {"meta_iterations": ",d", "log_average": ".2f", "seconds": ".1f"}
        return format_table(
            self.rows, {name: known.get(name) or _format([row.get(name) for row in self.rows]) for name in names}
        )

    def __repr__(self):
        return str(self.table())

    def _repr_html_(self):
        return self.table()._repr_html_()


def _format(values):
    """A `format` specification for a column: right-aligned numbers, or text."""
    kinds = {type(value) for value in values if value is not None}
    return "g" if kinds and kinds <= {int, float} else ""


@short_traceback
def sweep(
    build_trainer: Callable[..., Trainer],
    grid: Union[Dict[str, Iterable[Any]], Sequence[Dict[str, Any]]],
    meta_iterations: Union[int, Sequence[int]],
    *,
    directory: PathLike,
    client: Optional[Any] = None,
    measure: Optional[Callable[[Trainer], Dict[str, Any]]] = None,
    allow_changed_code: bool = False,
) -> Sweep:
    """Trains a trainer for each cell of a grid of settings, several at a time.

    Usage::

        def build(checkpoint_dir, weights_seed, learning_rate):
            return l2l.Trainer(problem, l2l.CoordinatewiseLSTM, learning_rate=learning_rate,
                               weights_seed=weights_seed, checkpoint_dir=checkpoint_dir)

        sweep = l2l.sweep(build, {"learning_rate": [1e-4, 1e-3], "weights_seed": range(5)}, 20_000, directory="sweep")

    Called again with the same arguments, it continues where it stopped, whatever stopped it. It reads the cells that
    are done, and resumes interrupted ones from their newest checkpoints, bit for bit. With more meta-iterations, the
    cells train on. If a worker dies, another one resumes its cell and repeats only what came after its last checkpoint.
    Ctrl-C stops all cells as it stops `Trainer.run`. If some cells fail, the others are computed all the same.

    It needs Dask: `pip install l2l[sweep]`. Functions and the classes that they use may be defined in a notebook or a
    script: `cloudpickle` sends them to the workers. What they import from files must exist on the workers too.

    Args:
      build_trainer: function that is called as `build_trainer(checkpoint_dir=..., **settings)` and returns a new
        `Trainer` that has this `checkpoint_dir`. Its result must follow from its arguments. Of results that are read,
        the first one of each code is compared with the trainer that is built now; the others are trusted by their
        settings.
      grid: dict from the name of a setting to a list of its values; their product are the cells. Or a list of dicts,
        the settings of each cell. Values are JSON types. A seed is a setting like any other.
      meta_iterations: a positive integer for all cells, or a list with one for each.
      directory: created if missing; each cell has a directory in it. A cluster of several machines must share it under
        the same path. With `client=None` it also has `workers.log`, what the workers print.
      client: a `distributed.Client`, or the address of a scheduler, such as `"tcp://host:8786"`. None starts a process
        for each core of this machine, and ends them afterwards.
      measure: function of the finished trainer that returns a dict of figures, JSON types or NumPy arrays. It is called
        once for each cell, on the worker.
      allow_changed_code: True accepts results and checkpoints even if the code of your functions and classes has
        changed since.

    Returns:
      A `Sweep`.

    Raises:
      TypeError, ValueError: an argument is none of these; two cells have the same settings; a result in the
        directory is damaged, from another trainer, or of more meta-iterations.
      ImportError: Dask is not installed, and a cell must be computed.
      RuntimeError: some cells failed, and which, after all others are done; or the workers on this machine have ended.
    """
    checks.function("build_trainer", build_trainer)
    if measure is not None:
        checks.function("measure", measure)
    checks.boolean("allow_changed_code", allow_changed_code)
    clusters.check_client(client)
    directory = os.path.abspath(checks.path("directory", directory))
    jobs = _jobs(grid, meta_iterations, directory, allow_changed_code)
    for job in jobs:
        try:
            inspect.signature(build_trainer).bind(checkpoint_dir=job.directory, **job.settings)
        except TypeError as error:
            raise TypeError(
                "build_trainer must take checkpoint_dir and the settings %s by name: %s"
                % (", ".join(job.settings), error)
            ) from None
    done = {job.directory: cells.finished(job, build_trainer) for job in jobs}
    missing = [job for job in jobs if done[job.directory] is None]
    found = [cell for cell in done.values() if cell is not None]
    for cell in {tuple(cell.code): cell for cell in reversed(found)}.values():
        cell.check_trainer()
    if missing:
        os.makedirs(directory, exist_ok=True)
        _compute(missing, jobs, build_trainer, measure, directory, client)
        done.update((job.directory, cells.finished(job, build_trainer)) for job in missing)
        _warn([done[job.directory] for job in missing])
    return Sweep(done[job.directory] for job in jobs)


def _jobs(grid, meta_iterations, directory, allow_changed_code):
    """The cells of a grid, a list of `Job`."""
    if isinstance(grid, dict):
        for name, values in grid.items():
            if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
                raise TypeError("grid[%r] must be a list of values, got %r" % (name, values))
        settings = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    elif isinstance(grid, (list, tuple)) and all(isinstance(one, dict) for one in grid):
        settings = [dict(one) for one in grid]
    else:
        raise TypeError("grid must be a dict of lists, or a list of dicts, got %r" % (grid,))
    if not any(settings):
        raise ValueError("grid must have a setting, and a value for each, got %r" % (grid,))
    if not isinstance(meta_iterations, (list, tuple)):
        meta_iterations = [meta_iterations] * len(settings)
    if len(meta_iterations) != len(settings):
        raise ValueError(
            "meta_iterations must be one number, or one for each of %d cells, got %r" % (len(settings), meta_iterations)
        )
    jobs = {}
    for one, number in zip(settings, meta_iterations):
        one = {_setting(name): cells.plainly(value) for name, value in one.items()}
        try:
            name = cells.name_of(one)
        except (TypeError, ValueError) as error:
            raise TypeError("grid must hold values of JSON types, got %r (%s)" % (one, error)) from None
        if name in jobs:
            raise ValueError("grid must have each cell once, got %r again" % (one,))
        number = checks.positive_integer("meta_iterations", number)
        jobs[name] = Job(one, number, os.path.join(directory, name), allow_changed_code)
    return list(jobs.values())


def _setting(name):
    """Returns the name of a setting, if it may be one."""
    if not isinstance(name, str):
        raise TypeError("grid must have names of settings, got %r" % (name,))
    if name in ("checkpoint_dir", *cells.COLUMNS):
        raise ValueError("grid must not have a setting %r: the sweep has its own" % name)
    return name


def _compute(jobs, all_jobs, build_trainer, measure, directory, client):
    """Computes the jobs that are not done, with a progress line that moves with the meta-iterations of all.

    Raises:
      RuntimeError: some failed.
    """
    number, total = len(all_jobs), sum(job.meta_iterations for job in all_jobs)
    at = {job.directory: job.finished() for job in jobs}
    done, last = number - len(jobs), ""
    initial = total - sum(job.meta_iterations - at[job.directory] for job in jobs)
    line = progress(total, "sweep of %d cells" % number, initial=initial)
    with line as show, delayed_signals(True, lambda: show(0, STOPPING)) as stop:

        def move(job, meta_iterations):
            before = at[job.directory]
            at[job.directory] = max(before, meta_iterations)  # after a worker's end a cell goes back a little
            return at[job.directory] - before

        def look(running):
            moved = sum(move(job, job.finished()) for job in running)
            if moved:
                show(moved, "%d of %d cells%s" % (done, number, last))

        def report(job, log_average):
            nonlocal done, last
            settings = ", ".join("%s=%s" % item for item in job.settings.items())
            done, last = done + 1, ", %s log average %.2f" % (shortened(settings, 60), log_average)
            show(move(job, job.meta_iterations), "%d of %d cells%s" % (done, number, last))

        show(0, "starting")
        log = os.path.join(directory, "workers.log")
        with workers.connected(client, len(jobs), log) as (connection, check):
            failed = workers.compute_all(connection, check, jobs, build_trainer, measure, stop, report, look)
    leave(stop, "stopped, all that was computed is kept")
    if failed:
        texts = ["%r: %s" % (job.settings, text) for job, text in failed[:_SHOWN]]
        more = ["... and %d more" % (len(failed) - _SHOWN)] if len(failed) > _SHOWN else []
        raise RuntimeError(
            "%d of %d cells failed, the others are done and kept.\n%s" % (len(failed), number, "\n".join(texts + more))
        )


def _warn(computed):
    """Warns once of all that is wrong with the cells that were computed now."""
    complaints = []
    for cell in computed:
        complaints += ["%r: %s" % (cell.settings, complaint) for complaint in cell.history().complaints()]
    if complaints:
        more = len(complaints) - _SHOWN
        warnings.warn(
            "; ".join(complaints[:_SHOWN]) + ("; and %d more, see the columns stalled and skipped" % more) * (more > 0),
            RuntimeWarning,
            stacklevel=levels_to_the_caller(),
        )
