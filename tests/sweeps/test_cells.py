import os
import re
import time

import numpy as np
import pytest
from sweeping import build, meta_iterations

import l2l
from l2l import archives
from l2l.runs import training
from l2l.runs.checkpoints import latest_checkpoint
from l2l.sweeps import cells
from l2l.sweeps.cells import FORMAT, Cell, Job, compute, finished, name_of, write


def test_a_name_shows_the_settings_and_follows_from_all_of_them():
    name = name_of({"rate": 0.01, "casting": "a/b c", "hidden": (20, 20)})
    assert name.startswith("casting=a_b_c,hidden=_20,_20_,rate=0.01-") and len(name.rsplit("-")[-1]) == 10
    assert name == name_of({"hidden": (20, 20), "casting": "a/b c", "rate": 0.01}), "the order does not matter"
    assert name != name_of({"rate": 0.01, "casting": "a_b_c", "hidden": (20, 20)})
    assert name_of({"größe": 1}).startswith("gr_e=1-"), "every file system knows these letters"
    names = [name_of({"text": 300 * "x" + end}) for end in "ab"]
    assert names[0] != names[1] and len(names[0]) == 80 + 1 + 10


def test_what_measure_returns_is_checked(tmp_path):
    job = Job({"weights_seed": 1}, 1, str(tmp_path), False)
    with build(None) as trainer:
        trainer.run(1)
        for figures, message in [
            ([1], "measure must return a dict from name to figure, got"),
            ({1: 1}, "measure must return a dict from name to figure, got"),
            ({"weights_seed": 1}, "must not name a figure like a setting or another column: weights_seed"),
            ({"seconds": 1}, "must not name a figure like a setting or another column: seconds"),
            ({"loss": object()}, "config must hold JSON types alone"),
        ]:
            with pytest.raises((TypeError, ValueError), match=message):
                write(job, trainer, figures)
        assert os.listdir(str(tmp_path)) == []
        trained = trainer.trained()._replace(adapted=[2.5])
        trainer.trained = lambda: trained
        write(job, trainer, {})
    found = finished(job, build).trained()
    assert found.adapted == [2.5] and found.weights == trained.weights


class After:
    """A `Stop` that is set when it was asked so many times."""

    def __init__(self, times):
        self._times = times

    def is_set(self):
        self._times -= 1
        return self._times < 0


def test_a_cell_that_is_stopped_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """And one whose measure failed does not train again."""
    monkeypatch.setattr(training, "PROGRESS_SECONDS", -1.0)
    monkeypatch.setattr(cells, "SECONDS_BETWEEN_NOTES", time.monotonic() + 1.0)
    job, built = Job({"weights_seed": 5}, 20, str(tmp_path / "cell"), False), []

    def build_and_keep(checkpoint_dir, weights_seed):
        built.append(build(checkpoint_dir, weights_seed=weights_seed))
        return built[-1]

    assert compute(job, build_and_keep, None, After(3)) is None
    done = meta_iterations(latest_checkpoint(job.directory))
    assert 0 < done < 20 and "finished.txt" not in os.listdir(job.directory)
    with pytest.raises(ValueError, match="is closed"):
        built[0].run(1)
    with pytest.raises(ValueError, match="has %d meta-iterations already, more than the %d" % (done, done - 1)):
        compute(job._replace(meta_iterations=done - 1), build, None, After(100))

    def measure(trainer):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        compute(job, build, measure, After(100))
    assert not os.path.exists(job.result) and meta_iterations(latest_checkpoint(job.directory)) == 20
    log_average = compute(job, build, None, After(0))
    with open(os.path.join(job.directory, "started.txt")) as lines:
        started = lines.readlines()
    assert len(started) == 4
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 \S+ process %d\n$" % os.getpid(), started[0])
    with build(None, weights_seed=5) as trainer:
        assert trainer.run(20).log_average(2000) == log_average
    assert compute(job, None, None, After(100)) == log_average, "what is done is not even built again"


HISTORY = {"history/" + column: np.zeros([2]) for column in ("meta_loss", "last_loss", "gradient_norm", "seconds")}
WHOLE = {**HISTORY, "weights/0": np.zeros([2, 8]), "weights/1": np.zeros([8])}
ROW = {"a": 1, "meta_iterations": 2, "log_average": -1.5, "skipped": 0, "stalled": False, "seconds": 0.5}
CONFIG = {"format": FORMAT, "settings": {"a": 1}, "trainer": {}, "row": ROW, "figures": {}, **l2l.measured_with()}


def without(config, key):
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    "changes, arrays, message",
    [
        ({"format": "one"}, WHOLE, "is no result of a cell"),
        ({"row": 3}, WHOLE, "is no result of a cell"),
        ({"trainer": None}, WHOLE, "is no result of a cell"),
        ({"format": 1}, WHOLE, "has format 1, which an older version of l2l wrote; this one reads format 2"),
        ({"format": 3}, WHOLE, "has format 3, which a newer version of l2l wrote; this one reads format 2"),
        ({"settings": {"a": 2}}, WHOLE, "is of a cell with other settings, {'a': 2}, not {'a': 1}"),
        ({}, {}, "is no result of a cell: its history is not whole"),
        ({}, {**WHOLE, "history/other": np.zeros([2])}, "is no result of a cell: its history is not whole"),
        ({"row": {**ROW, "meta_iterations": 3}}, WHOLE, "is no result of a cell: its history is not whole"),
        ({"row": {**ROW, "meta_iterations": [2]}}, WHOLE, "is no result of a cell: its history is not whole"),
        ({}, {**WHOLE, "history/meta_loss": np.zeros([])}, r"must hold float64 columns \[n\] of one length"),
        ({}, {**WHOLE, "history/meta_loss": np.zeros([2], int)}, r"must hold float64 columns \[n\] of one length"),
        ({}, HISTORY, "is no result of a cell: its weights are not whole"),
        ({}, without(WHOLE, "weights/0"), "is no result of a cell: its weights are not whole"),
        ({}, {**WHOLE, "adapted/1": np.zeros([])}, "is no result of a cell: its weights are not whole"),
        ({"row": without(ROW, "log_average")}, WHOLE, "its row lacks some of meta_iterations, log_average"),
        ({"row": {**ROW, "stalled": None}}, WHOLE, "its row lacks some of meta_iterations, log_average"),
    ],
)
def test_a_result_that_is_none_is_refused(changes, arrays, message, tmp_path):
    job = Job({"a": 1}, 2, str(tmp_path), False)
    assert finished(job, None) is None
    archives.write(job.result, CONFIG, WHOLE)
    assert finished(job, None).row == ROW
    archives.write(job.result, {**CONFIG, **changes}, arrays)
    with pytest.raises(ValueError, match=message):
        finished(job, None)


def test_a_cell_knows_the_code_of_its_problem_and_not_that_of_its_optimizer():
    """Sweeps of networks of several sizes build one trainer of all of them again, to compare it."""

    def code_of(code, **record):
        return Cell(Job({}, 1, "", False), None, {**CONFIG, "trainer": {"code": code, **record}}, {}).code

    code = {
        name: {"function": name, "code": digest} for name, digest in [("problem", "0" * 64), ("optimizer", "1" * 64)]
    }
    part = {"class": "Net", "code": "2" * 64}
    assert code_of(code) == ["0" * 64] and code_of({"optimizer": part}) == code_of(None) == []
    assert code_of(code, problem_parameters={"network": part}) == ["0" * 64, "2" * 64]


def test_a_result_that_is_removed_is_missed(tmp_path):
    job = Job({"a": 1}, 2, str(tmp_path), False)
    archives.write(job.result, CONFIG, {**WHOLE, "adapted/0": np.float32(3)})
    cell = finished(job, None)
    assert len(cell.history()) == 2 and repr(cell) == "<Cell a=1: 2 meta-iterations, log average -1.50>"
    os.remove(job.result)
    for read in [cell.history, cell.trained]:
        with pytest.raises(ValueError, match=r"result.npz' is gone$"):
            read()


@pytest.mark.parametrize("key", ["versions", "machine", "date", "format", "settings", "trainer", "row", "figures"])
def test_a_result_that_lacks_a_part_is_refused(key, tmp_path):
    job = Job({"a": 1}, 2, str(tmp_path), False)
    archives.write(job.result, without(CONFIG, key), WHOLE)
    with pytest.raises(ValueError, match="is no result of a cell"):
        finished(job, None)


def test_a_cell_notes_how_many_meta_iterations_are_done(tmp_path, monkeypatch):
    job = Job({"weights_seed": 5}, 8, str(tmp_path / "cell"), False)
    assert job.finished() == 0
    job.note_finished(3)  # for which there is no place yet: a display is no reason to stop
    assert job.finished() == 0
    monkeypatch.setattr(cells, "SECONDS_BETWEEN_NOTES", -1.0)
    monkeypatch.setattr(training, "PROGRESS_SECONDS", -1.0)
    noted = []
    monkeypatch.setattr(Job, "note_finished", lambda self, number: noted.append(number))
    compute(job, build, None, After(100))
    assert noted[-3:] == [6, 7, 8]
    monkeypatch.undo()
    for number, found in [(5, 5), (8, 7), (-1, 0), (99, 7)]:  # what is done altogether is told otherwise
        job.note_finished(number)
        assert job.finished() == found
    (tmp_path / "cell" / "finished.txt").write_text("")  # as while it is being written
    assert job.finished() == 0
