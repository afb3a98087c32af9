"""What a training writes for TensorBoard, as TensorFlow reads it."""

import contextlib
import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from trainers import small

import l2l
from l2l.runs import events, training


def written(directory):
    """All events of a directory, in their order."""
    return [event for path in sorted(directory.glob("events*")) for event in tf.train.summary_iterator(str(path))]


def scalars(found, tag):
    """`{step: value}` of a figure."""
    return {
        event.step: value.simple_value
        for event in found
        for value in event.summary.value
        if value.tag == tag and value.HasField("simple_value")
    }


@pytest.mark.parametrize("engine", ["graph", pytest.param("xla", marks=pytest.mark.rehearsal)])
def test_figures_histograms_and_the_graph_are_written(tmp_path, monkeypatch, engine):
    monkeypatch.setattr(training, "PROGRESS_EVERY", 10)
    monkeypatch.setattr(training, "SECONDS_PER_CALL", 0.0)  # one meta-iteration to a call
    monkeypatch.setattr(events, "WEIGHTS_EVERY", 20)
    trainer = small(engine=engine, logdir=str(tmp_path / "log"))
    history = trainer.run(35)
    weights = trainer.weights()
    trainer.close()
    found = written(tmp_path / "log")
    assert any(event.HasField("graph_def") for event in found)
    assert found[0].file_version == "brain.Event:2" and abs(time.time() - found[0].wall_time) < 600
    assert [event.HasField("file_version") for event in found[1:]] == [False] * (len(found) - 1)
    at = [10, 20, 30, 35]
    for tag, column in [("meta_loss", history.meta_loss), ("meta_gradient_norm", history.gradient_norm)]:
        means = {stop: column[start:stop].mean() for start, stop in zip([0, *at], at)}
        assert scalars(found, tag) == pytest.approx(means, rel=1e-5)
    assert scalars(found, "skipped") == dict.fromkeys(at, 0)
    averages = {stop: l2l.log_average(history.last_loss[:stop]) for stop in at}
    assert scalars(found, "log_average_of_last_loss") == pytest.approx(averages, rel=1e-5)
    histograms = [
        (event.step, value.tag, value.histo)
        for event in found
        for value in event.summary.value
        if value.HasField("histo")
    ]
    assert [step for step, _, _ in histograms] == [20] * len(weights) + [35] * len(weights)
    last = histograms[-len(weights) :]
    assert [tag.split("_")[0] for _, tag, _ in last] == ["weights/%d" % i for i in range(len(weights))]
    for (_, _, histogram), array in zip(last, weights):
        assert histogram.num == array.size and histogram.sum == pytest.approx(array.sum(), abs=1e-4)


def test_what_was_skipped_is_counted_and_spoils_no_mean(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PROGRESS_EVERY", 2)
    problem = l2l.Quadratic(2)
    monkeypatch.setattr(problem, "loss", lambda x, draw: tf.log(draw.start[0]) * tf.reduce_sum(x))  # NaN for a half
    trainer = small(problem=problem, engine="graph", logdir=str(tmp_path))
    with pytest.warns(RuntimeWarning, match="changes no weight"):
        history = trainer.run(12)
    trainer.close()
    counts = scalars(written(tmp_path), "skipped")
    assert counts == {n: history.skipped[:n].sum() for n in range(2, 13, 2)} and 0 < counts[12] < 12
    assert np.isfinite(list(scalars(written(tmp_path), "meta_loss").values())).all()


def test_a_training_that_is_restored_voids_what_was_written_of_later(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PROGRESS_EVERY", 5)
    settings = {"engine": "graph", "logdir": str(tmp_path / "log")}
    with small(checkpoint_dir=str(tmp_path / "run"), **settings) as trainer:
        trainer.run(10)
    with small(**settings) as trainer:
        trainer.restore(str(tmp_path / "run"))
        trainer.run(5)
    logs = [(event.step, event.session_log.status) for event in written(tmp_path / "log")]
    assert [step for step, status in logs if status == tf.compat.v1.SessionLog.START] == [1, 11]
    assert list(scalars(written(tmp_path / "log"), "meta_loss")) == [5, 10, 15]


def test_a_directory_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="logdir must be a directory that can be written"):
        small(engine="graph", logdir=str(tmp_path / "file" / "log"))
    with pytest.raises(TypeError, match="logdir must be a path"):
        small(engine="graph", logdir=3)


def remove(directory):
    shutil.rmtree(str(directory))


def put_a_file_in_its_place(directory):
    remove(directory)
    directory.write_text("")


def fill_the_disk(directory):
    """The file that is open goes to a device that is always full."""
    (path,) = map(str, directory.glob("events*"))
    with open("/dev/full", "wb") as full:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink("/proc/self/fd/" + name) == path:
                    os.dup2(full.fileno(), int(name))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("fail", [remove, put_a_file_in_its_place, fill_the_disk])
def test_events_that_cannot_be_written_are_one_warning_and_the_training_goes_on(tmp_path, monkeypatch, fail):
    monkeypatch.setattr(training, "PROGRESS_EVERY", 2)
    trainer = small(engine="graph", logdir=str(tmp_path / "log"))
    trainer.run(2)
    fail(tmp_path / "log")
    with pytest.warns(None) as caught:
        history = trainer.run(6)
    trainer.run(2)
    trainer.close()
    (message,) = [str(one.message) for one in caught if "events in logdir" in str(one.message)]
    assert "the training goes on without them" in message and str(tmp_path / "log") in message
    assert len(history) == 10 and [one.filename for one in caught if "logdir" in str(one.message)] == [__file__]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_closed_they_hold_no_file_and_no_session(tmp_path):
    def is_open():
        links = ["/proc/self/fd/" + name for name in os.listdir("/proc/self/fd")]
        return any(os.readlink(link).startswith(str(tmp_path)) for link in links if os.path.lexists(link))

    one = events.Events(str(tmp_path / "log"), tf.Graph(), ["weight"])
    assert is_open()
    one.close()
    assert not is_open()
    with pytest.raises(RuntimeError, match="closed"):
        one._session.run([])


def test_a_directory_that_is_a_file_or_full_is_refused_at_the_start(tmp_path, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    (tmp_path / "log").write_text("")
    for path in [str(tmp_path / "log"), "/proc/self", str(tmp_path / "full")]:
        if path.endswith("full"):
            monkeypatch.setattr(events._File, "flush", full)
        with pytest.raises(ValueError, match="logdir must be a directory that can be written, got %r" % path):
            events.Events(path, tf.Graph(), [])


def test_a_trainer_that_is_refused_leaves_no_file_open(tmp_path, monkeypatch):
    closed, close = [], events.Events.close
    monkeypatch.setattr(events.Events, "close", lambda self: closed.append(self) or close(self))
    with small(checkpoint_dir=tmp_path / "run") as trainer:
        trainer.run(1)
    with pytest.raises(ValueError, match="is from another trainer"):
        small(weights_seed=9, checkpoint_dir=tmp_path / "run", resume=True, logdir=tmp_path / "log")
    assert len(closed) == 1
