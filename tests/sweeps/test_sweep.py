import contextlib
import importlib
import os
import signal
import sys
import time
import types

import numpy as np
import pytest
from sweeping import Client, assert_undisturbed, build, no_cluster, started
from trainers import Listed, one_rate, small

import l2l
from l2l.sweeps import workers
from l2l.sweeps.cells import Cell, Job

module_of_sweep = importlib.import_module("l2l.sweeps.sweep")  # whose name in the room is the function's


def test_a_grid_is_computed_in_its_order(tmp_path, monkeypatch, capsys):
    grid = {"learning_rate": [0.001, 0.01], "weights_seed": np.arange(1)}

    def measure(trainer):
        return {"norm": np.float32(2.5), "weights": np.array(trainer.weights()), "notes": ["a", None]}

    with no_cluster(monkeypatch):
        sweep = l2l.sweep(build, grid, 6, directory=str(tmp_path / "new" / "sweep"), measure=measure)
    settings = [(cell.settings["learning_rate"], cell.settings["weights_seed"]) for cell in sweep.cells]
    assert settings == [(0.001, 0), (0.01, 0)]
    cell, row = sweep.cells[1], sweep.rows[1]
    history = assert_undisturbed(cell)
    assert history.config == cell.history().config
    expected = {**cell.settings, "meta_iterations": 6, "log_average": history.log_average(2000), "skipped": 0}
    seconds = float(cell.history().seconds.sum())
    assert row == {**expected, "stalled": False, "seconds": seconds, "norm": 2.5, "notes": ["a", None]}
    assert list(cell.figures) == ["norm", "notes", "weights"]
    trained = cell.trained()
    np.testing.assert_array_equal(cell.figures["weights"], trained.weights)
    assert trained.record["meta_iterations"] == 6 and trained.record["versions"] and trained.build is one_rate
    l2l.evaluate(l2l.Quadratic(2), {"own": trained}, draws=1, steps=1, engine="graph")
    lines = str(sweep).splitlines()
    assert lines[0].split()[:4] == ["learning_rate", "weights_seed", "meta_iterations", "log_average"]
    assert lines[2].split()[:4] == ["0.01", "0", "6", "%.2f" % row["log_average"]]
    assert "sweep of 2 cells: 100%" in capsys.readouterr().err
    l2l.save_results(str(tmp_path / "rows.json"), sweep.rows)


def test_cells_are_the_product_of_a_grid():
    jobs = module_of_sweep._jobs({"a": (1, 2), "b": np.arange(2)}, [3, 4, 5, 6], "folder", True)
    assert [tuple(job.settings.values()) for job in jobs] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [(job.meta_iterations, job.allow_changed_code) for job in jobs] == [(n, True) for n in (3, 4, 5, 6)]
    assert all(os.path.dirname(job.directory) == "folder" for job in jobs)
    assert len({job.directory for job in jobs}) == 4 and {type(job.settings["b"]) for job in jobs} == {int}


def test_a_grid_may_be_a_list_with_a_length_for_each(tmp_path, monkeypatch):
    def network(checkpoint_dir, hidden, horizon=2):
        return build(checkpoint_dir, build_optimizer=lambda: l2l.CoordinatewiseLSTM(hidden), horizon=horizon)

    with no_cluster(monkeypatch):
        sweep = l2l.sweep(network, [{"hidden": (2,)}, {"hidden": (3,), "horizon": 4}], [3, 4], directory=tmp_path)
    assert [len(cell.history()) for cell in sweep.cells] == [3, 4]
    assert [cell.history().config["horizon"] for cell in sweep.cells] == [2, 4]
    assert [row.get("horizon") for row in sweep.rows] == [None, 4]
    monkeypatch.setattr(Cell, "_rebuilt", None)  # the library's own networks need no trainer
    evaluated = l2l.evaluate(l2l.Quadratic(2), {"own": sweep.cells[1].trained()}, draws=1, steps=1, engine="graph")
    assert evaluated["own"].shape == (1, 1)


def test_what_is_done_is_read_and_more_meta_iterations_go_on(tmp_path, monkeypatch, capsys):
    grid = {"weights_seed": [1, 2]}
    with no_cluster(monkeypatch) as client:
        first = l2l.sweep(build, grid, 4, directory=tmp_path)
        assert len(client.submitted) == 2
        again = l2l.sweep(build, grid, 4, directory=tmp_path)
        assert len(client.submitted) == 2 and again.rows == first.rows
        capsys.readouterr()
        longer = l2l.sweep(build, {"weights_seed": [2, 1]}, [4, 9], directory=tmp_path)
        assert len(client.submitted) == 3
        assert "2 of 2 cells" in capsys.readouterr().err  # one of them was done before
    assert [started(cell) for cell in longer.cells] == [1, 2]
    assert_undisturbed(longer.cells[1])
    with pytest.raises(ValueError, match=r"has 9 meta-iterations already, more than the 4"):
        l2l.sweep(build, grid, 4, directory=tmp_path)


def test_a_result_of_another_trainer_is_refused(tmp_path, monkeypatch):
    grid = {"weights_seed": [1]}
    with no_cluster(monkeypatch):
        l2l.sweep(build, grid, 2, directory=tmp_path)

    def other(checkpoint_dir, weights_seed):
        return build(checkpoint_dir, weights_seed=weights_seed, unroll_length=3)

    with pytest.raises(
        ValueError, match="is from another trainer: horizon=2 there, 3 here; unroll_length=2 there, 3 here"
    ):
        l2l.sweep(other, grid, 2, directory=tmp_path)


def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch):
    grid = {"weights_seed": [1, 2]}

    def interrupted(trainer):
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    with no_cluster(monkeypatch) as client:
        with pytest.raises(KeyboardInterrupt, match="all that was computed is kept"):
            l2l.sweep(build, grid, 3, directory=tmp_path, measure=interrupted)
        assert len(client.submitted) == 1
        sweep = l2l.sweep(build, grid, 3, directory=tmp_path)
    assert [started(cell) for cell in sweep.cells] == [1, 1]


def test_where_cells_fail_the_others_are_computed(tmp_path, monkeypatch):
    def failing(checkpoint_dir, weights_seed):
        if weights_seed % 2 and not (tmp_path / "mended").exists():
            raise OSError("no data for %d" % weights_seed)
        return build(checkpoint_dir, weights_seed=weights_seed)

    with no_cluster(monkeypatch):
        with pytest.raises(RuntimeError, match="4 of 5 cells failed, the others are done and kept") as error:
            l2l.sweep(failing, {"weights_seed": [1, 2, 3, 5, 7]}, 2, directory=tmp_path / "sweep")
        assert "{'weights_seed': 3}: Traceback" in str(error.value) and "OSError: failing failed, line" in str(
            error.value
        )
        assert ": no data for 3" in str(error.value)
        assert str(error.value).endswith("... and 1 more")
        (tmp_path / "mended").write_text("")
        sweep = l2l.sweep(failing, {"weights_seed": [1, 2]}, 2, directory=tmp_path / "sweep")
    assert [started(cell) for cell in sweep.cells] == [2, 1]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda checkpoint_dir, weights_seed: None, "build_trainer must return a Trainer, got None"),
        (lambda checkpoint_dir, weights_seed: build(None), "build_trainer must hand checkpoint_dir on"),
    ],
)
def test_what_build_trainer_returns_is_checked(wrong, message, tmp_path, monkeypatch):
    with no_cluster(monkeypatch), pytest.raises(RuntimeError, match=message):
        l2l.sweep(wrong, {"weights_seed": [1]}, 2, directory=tmp_path)


def test_complaints_of_cells_are_one_warning(tmp_path, monkeypatch):
    def bad(checkpoint_dir, weights_seed):
        problem = Listed([[1.0, 2.0]], bad_at=[weights_seed])
        return small(problem=problem, build_optimizer=one_rate, unroll_length=2, checkpoint_dir=checkpoint_dir)

    monkeypatch.setattr(sys.modules["l2l.sweeps.sweep"], "_SHOWN", 1)
    with no_cluster(monkeypatch), pytest.warns(RuntimeWarning) as heard:
        sweep = l2l.sweep(bad, {"weights_seed": [-1, 0, 1]}, 3, directory=tmp_path)
    assert [row["skipped"] for row in sweep.rows] == [0, 3, 3]
    (text,) = [str(one.message) for one in heard if "and 1 more, see the columns" in str(one.message)]
    assert "{'weights_seed': 0}: training: 3 of 3 meta-iterations had a NaN" in text


def cell_of(version, **row):
    return types.SimpleNamespace(version=version, row=row)


def test_a_table_formats_its_columns_and_says_which_version_computed_a_cell():
    row = {"meta_iterations": 20000, "log_average": -6.054, "seconds": 1234.56, "rate": 0.5, "name": "a", "both": 2.5}
    other = {**row, "rate": 10, "both": "b", "none": None}
    found = l2l.Sweep(iter([cell_of(l2l.__version__, **row), cell_of(l2l.__version__, **other)]))
    assert found.rows == [row, other] and len(found.cells) == 2
    assert str(found).splitlines() == [
        "meta_iterations  log_average  seconds  rate  name  both  none",
        "         20,000        -6.05   1234.6   0.5  a     2.5",
        "         20,000        -6.05   1234.6    10  a     b",
    ]
    assert repr(found) == str(found) and "<td" in found._repr_html_()
    found = l2l.Sweep([cell_of(l2l.__version__, a=1), cell_of("0.1", a=2)])
    assert found.rows == [{"a": 1, "version": l2l.__version__}, {"a": 2, "version": "0.1"}]


GRID = {"weights_seed": [1]}


@pytest.mark.parametrize(
    "error, message, arguments",
    [
        (TypeError, "build_trainer must be callable", {"build_trainer": None}),
        (TypeError, "build_trainer must take checkpoint_dir and the settings weights_seed", {"build_trainer": len}),
        (TypeError, "build_trainer must take checkpoint_dir", {"build_trainer": lambda weights_seed: None}),
        (TypeError, "measure must be callable", {"measure": 3}),
        (TypeError, "grid must be a dict of lists, or a list of dicts, got 3", {"grid": 3}),
        (TypeError, "grid must be a dict of lists, or a list of dicts", {"grid": [1]}),
        (TypeError, "grid\\['name'\\] must be a list of values, got 'ab'", {"grid": {"name": "ab"}}),
        (TypeError, "grid\\['name'\\] must be a list of values, got 1", {"grid": {"name": 1}}),
        (TypeError, "grid must have names of settings, got 1", {"grid": {1: [1]}}),
        (TypeError, "grid must hold values of JSON types, got {'name': <", {"grid": {"name": [object()]}}),
        (TypeError, "grid must hold values of JSON types, got {'name': nan}", {"grid": {"name": [float("nan")]}}),
        (ValueError, "grid must have a setting, and a value for each, got {}", {"grid": {}}),
        (ValueError, "grid must have a setting, and a value for each", {"grid": {"name": []}}),
        (ValueError, "grid must have each cell once, got {'name': 1} again", {"grid": {"name": [1, 2, 1]}}),
        (ValueError, "grid must not have a setting 'checkpoint_dir'", {"grid": {"checkpoint_dir": ["a"]}}),
        (ValueError, "grid must not have a setting 'seconds'", {"grid": {"seconds": [1]}}),
        (ValueError, "meta_iterations must be a positive integer, got 0", {"meta_iterations": 0}),
        (ValueError, "meta_iterations must be one number, or one for each of 1", {"meta_iterations": [1, 2]}),
        (TypeError, "directory must be a path, got None", {"directory": None}),
        (TypeError, "client must be a distributed.Client", {"client": 3}),
        (TypeError, "allow_changed_code must be True or False, got 1", {"allow_changed_code": 1}),
    ],
)
def test_bad_input(error, message, arguments, tmp_path):
    good = {"build_trainer": build, "grid": GRID, "meta_iterations": 1, "directory": tmp_path}
    with pytest.raises(error, match=message):
        l2l.sweep(**{**good, **arguments})
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("client", [None, "tcp://127.0.0.1:1"])
def test_without_dask_it_says_what_to_install(client, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"sweep and client= need Dask .*: pip install l2l\[sweep\]"):
        l2l.sweep(build, GRID, 1, directory=tmp_path, client=client)


def test_a_cell_that_kills_its_workers_is_named_and_the_others_are_computed(tmp_path, monkeypatch):
    with no_cluster(monkeypatch, Client(dies=lambda number: number == 0)) as client:
        monkeypatch.setattr(module_of_sweep, "_SHOWN", 1)
        message = (
            r"1 of 2 cells failed, .* kept\.\n{'weights_seed': 1}: each of several workers that .* memory perhaps$"
        )
        with pytest.raises(RuntimeError, match=message):
            l2l.sweep(build, {"weights_seed": [1, 2]}, 1, directory=tmp_path)
        assert len(client.submitted) == 2
        sweep = l2l.sweep(build, {"weights_seed": [1, 2]}, 1, directory=tmp_path)
    assert len(client.submitted) == 3 and [started(cell) for cell in sweep.cells] == [1, 1]


def test_a_cell_of_other_code_goes_on_where_that_is_allowed(tmp_path, monkeypatch):
    def earlier(checkpoint_dir, weights_seed):
        return build(checkpoint_dir, weights_seed=weights_seed, build_optimizer=lambda: one_rate(0.01))

    def later(checkpoint_dir, weights_seed):
        return build(checkpoint_dir, weights_seed=weights_seed, build_optimizer=lambda: one_rate(0.02))

    with no_cluster(monkeypatch) as client:
        l2l.sweep(earlier, GRID, 2, directory=tmp_path)
        with pytest.raises(RuntimeError, match="allow_changed_code=True goes on"):
            l2l.sweep(later, GRID, 3, directory=tmp_path)
        longer = l2l.sweep(later, GRID, 3, directory=tmp_path, allow_changed_code=True)
    assert len(client.submitted) == 3 and len(longer.cells[0].history()) == 3


def test_it_moves_within_cells_and_goes_on_from_what_is_noted(tmp_path, monkeypatch, capsys):
    shown = []

    @contextlib.contextmanager
    def progress(total, description, initial):
        shown.append((total, initial))
        yield lambda finished, text: shown.append((finished, text[:12]))

    def compute_all(client, check, jobs, build_trainer, measure, stop, report, look):
        for number in [3, 3, 2, 7, 99]:  # 2: a worker ended, and another one goes on from a checkpoint
            jobs[0].note_finished(number)
            look(jobs[:1])
        report(jobs[0], -1.0)
        report(jobs[1], -2.0)
        os.kill(os.getpid(), signal.SIGINT)
        while shown[-1][0] == 6:  # another thread says it
            time.sleep(0.001)
        return []

    monkeypatch.setattr(module_of_sweep, "progress", progress)
    jobs = [Job({"seed": i}, 10, str(tmp_path / str(i)), False) for i in range(3)]
    for job in jobs:
        os.makedirs(job.directory)
    jobs[1].note_finished(4)
    monkeypatch.setattr(workers, "connected", lambda *_: contextlib.nullcontext((None, None)))
    monkeypatch.setattr(workers, "compute_all", compute_all)
    with pytest.raises(KeyboardInterrupt, match="all that was computed is kept"):
        module_of_sweep._compute(jobs[:2], jobs, None, None, str(tmp_path), None)
    assert shown == [
        (30, 14),
        (0, "starting"),
        (3, "1 of 3 cells"),
        (4, "1 of 3 cells"),
        (2, "1 of 3 cells"),  # the last one follows when the cell is done
        (1, "2 of 3 cells"),
        (6, "3 of 3 cells"),
        (0, "stopping"),
    ]
