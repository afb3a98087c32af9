import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from jupyter_client.manager import start_new_kernel
from trainers import ENGINES, assert_close_runs, assert_same_run, one_rate, recorded_graphs, same, small

import l2l
from l2l import archives
from l2l.runs import checkpoints, record, training_graph
from l2l.runs.checkpoints import CheckpointDirectory

CHAOS = Path(__file__).resolve().parent.parent / "chaos.py"


def logged(checkpoint_dir=None, **changes):
    return small(**{"checkpoint_dir": checkpoint_dir, "checkpoint_every": 1e-9, **changes})


def network():
    return l2l.CoordinatewiseLSTM((5,), "log")


NETWORK = {"build_optimizer": network, "unroll_length": 2}


def contents(directory):
    """The content of each file in a directory, a dict."""
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


@pytest.mark.parametrize(
    "build, engine, horizon",
    [
        pytest.param("network", "graph", 6, marks=pytest.mark.rehearsal),
        ("momentum", "graph", 4),
        ("momentum", "xla", 12),
    ],
)
def test_restored_it_goes_on_bit_for_bit(build, engine, horizon, tmp_path, monkeypatch):
    """With a horizon of three segments it is restored in the middle of a draw's life."""
    monkeypatch.setattr(training_graph, "DRAWS_PER_BLOCK", 4)  # the runs cross blocks
    settings = {"engine": engine, "horizon": horizon, **(NETWORK if build == "network" else {})}
    whole, first = logged(**settings), logged(str(tmp_path), **settings)
    whole.run(25)
    first.run(11)
    first.close()
    second = logged(tmp_path, **settings)
    assert second.restore(tmp_path) is second.history and len(second.history) == 11
    place, segments = second.snapshot()["place"].tolist(), horizon // second.history.config["unroll_length"]
    assert place == ([11, 0] if segments == 1 else [3, 2 * horizon // 3])
    second.run(14)
    assert_same_run(second, whole)
    assert sorted(os.listdir(str(tmp_path)))[-1] == "lock"


@pytest.mark.parametrize("written, read", [ENGINES, pytest.param(*ENGINES[::-1], marks=pytest.mark.rehearsal)])
def test_a_checkpoint_of_one_engine_opens_in_the_other(written, read, tmp_path, recwarn):
    one = logged(tmp_path, engine=written, horizon=12)
    one.run(5)
    other = logged(engine=read, horizon=12, name="another name")
    other.restore(tmp_path)
    assert_same_run(other, one)
    assert not [one for one in recwarn if "XLA computed otherwise" in str(one.message)]
    assert (other.history.config["engine"], other.history.config["name"]) == (read, "another name")
    np.testing.assert_allclose(other.run(3).last_loss, one.run(3).last_loss, rtol=1e-3)


def one_again(number, **changes):
    trainer = logged(**changes)
    trainer.run(number)
    return trainer


def test_it_is_said_where_xla_computed_otherwise_before(tmp_path, monkeypatch, recwarn):
    """A checkpoint of no meta-iterations will do: nothing is compiled."""
    now = {"fast_math": True}
    monkeypatch.setattr(record, "xla_in_force", lambda: now)
    with logged(engine="xla") as trainer:
        directory = CheckpointDirectory(str(tmp_path), 60)
        directory.write(trainer.snapshot(), trainer.history)
        directory.close()
        path = l2l.latest_checkpoint(tmp_path)
        config, arrays = archives.read(path)
        for before in [None, now, {"fast_math": False}]:
            recwarn.clear()
            archives.write(path, {**config, "trainer": {**config["trainer"], "xla": before}}, arrays)
            trainer.restore(tmp_path)
            assert trainer.history.config["xla"] == now
            said = [str(one.message) for one in recwarn if "was written where XLA computed" in str(one.message)]
            assert len(said) == (before == {"fast_math": False})
    assert "xla.fast_math=False there, True here" in said[0]


def test_threads_may_change_where_shards_carry_nothing(tmp_path):
    """With a horizon each shard carries its own part of the batch; so many as there were have to go on with it."""
    one = logged(tmp_path, batch=2)
    one.run(3)
    other = logged(batch=2, threads=2)
    other.restore(tmp_path)
    assert other.history.config["threads"] == 2
    assert_close_runs(other.run(2), one.run(2), 1e-4)


def test_the_last_three_are_kept(tmp_path):
    trainer = logged(tmp_path)
    trainer.run(20)
    names = sorted(name for name in os.listdir(str(tmp_path)) if name != "lock")
    assert names == ["checkpoint-%012d.npz" % number for number in [18, 19, 20]]
    assert l2l.latest_checkpoint(tmp_path) == str(tmp_path / names[-1])
    assert l2l.latest_checkpoint(tmp_path / "nothing") is None


def test_one_is_written_when_a_run_ends_in_whatever_way(tmp_path, monkeypatch):
    trainer = logged(tmp_path, checkpoint_every=1e9)
    trainer.run(3)
    assert l2l.latest_checkpoint(tmp_path).endswith("03.npz")
    run, calls = training_graph.TrainingGraph.run, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > 4:
            raise tf.errors.InternalError(None, None, "no more")
        return run(*arguments)

    monkeypatch.setattr(training_graph.TrainingGraph, "run", failing)
    with pytest.raises(tf.errors.InternalError, match="no more"):
        trainer.run(20)
    assert l2l.latest_checkpoint(tmp_path).endswith("07.npz")


def test_sigterm_saves_and_exits(tmp_path):
    trainer = logged(tmp_path, checkpoint_every=1e9)
    handler = signal.getsignal(signal.SIGTERM)

    def terminate():
        while len(trainer.history) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(SystemExit) as caught:
        trainer.run(10**6)
    thread.join()
    assert caught.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) is handler
    number = len(trainer.history)
    trainer.close()
    restored = logged()
    assert len(restored.restore(tmp_path)) == number > 1


def test_a_full_disk_in_the_middle_of_a_run_warns_and_at_its_end_raises(tmp_path):
    """The system itself refuses to write more than so many bytes to a file, as it does where a quota is used up."""
    trainer = logged(tmp_path)
    trainer.run(5)
    good = Path(l2l.latest_checkpoint(tmp_path))
    content = good.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, before[1]))
        expected = "could not be written .*; the last one, .*05.npz, stays"
        with pytest.warns(RuntimeWarning, match=expected), pytest.raises(OSError, match="File too large"):
            trainer.run(4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(trainer.history) == 9 and good.read_bytes() == content
    assert not [name for name in os.listdir(str(tmp_path)) if "unfinished" in name]
    trainer.run(1)
    assert l2l.latest_checkpoint(tmp_path).endswith("10.npz")
    assert_same_run(trainer, one_again(10))


def test_they_are_written_as_often_as_was_asked_for(tmp_path, monkeypatch):
    graphs, written, now = recorded_graphs(monkeypatch), [], [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    trainer = logged(tmp_path, checkpoint_every=3.0)
    run, write = graphs[0].run, checkpoints.archives.write

    def lasting_a_second(most):
        now[0] += 1
        return run(most)

    def recording(path, *arguments):
        written.append(int(path[-16:-4]))
        write(path, *arguments)

    monkeypatch.setattr(graphs[0], "run", lasting_a_second)
    monkeypatch.setattr(checkpoints.archives, "write", recording)
    trainer.run(10)
    assert written == [4, 8, 10]


def test_a_second_interrupt_in_the_middle_of_a_call_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    trainer = logged(tmp_path)
    trainer.run(3)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training_graph.TrainingGraph, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(5)
    with pytest.raises(ValueError, match=r"stopped in the middle of a call.*restore\(\) a checkpoint"):
        trainer.run(5)
    trainer.restore(tmp_path)
    trainer.run(5)
    assert_same_run(trainer, one_again(8))


def test_an_error_of_unknown_effect_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """A signal handler of the user's, say, which raises when a call has just returned."""
    trainer = logged(tmp_path)
    trainer.run(3)
    run, content = training_graph.TrainingGraph.run, contents(tmp_path)

    def late(*arguments):
        run(*arguments)
        raise TimeoutError("too late")

    monkeypatch.setattr(training_graph.TrainingGraph, "run", late)
    with pytest.raises(TimeoutError):
        trainer.run(5)
    assert contents(tmp_path) == content  # the weights of four meta-iterations would have the same name
    with pytest.raises(ValueError, match="stopped in the middle of a call"):
        trainer.run(5)


def test_a_relative_directory_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    trainer = logged("run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    trainer.run(2)
    assert l2l.latest_checkpoint(tmp_path / "run").endswith("02.npz")
    assert os.listdir(str(tmp_path / "elsewhere")) == []


def test_a_full_disk_does_not_hide_what_stopped_the_run(tmp_path, monkeypatch):
    trainer = logged(tmp_path, on_nonfinite="raise", meta_loss=lambda losses: losses[-1] * np.nan)

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    expected = "meta-iteration 0 has .* could not be saved .*No space"
    with pytest.warns(RuntimeWarning), pytest.raises(l2l.NonFiniteError, match=expected) as caught:
        trainer.run(5)
    assert caught.value.path is None


@pytest.mark.rehearsal
def test_a_directory_belongs_to_one_trainer(tmp_path):
    first = logged(tmp_path)
    with pytest.raises(ValueError, match="checkpoint_dir .* is in use by a trainer of process %d; close" % os.getpid()):
        logged(tmp_path)
    first.run(2)
    code = "import l2l; l2l.Trainer(l2l.Quadratic(2), l2l.CoordinatewiseLSTM, engine='graph', checkpoint_dir=%r)"
    other = subprocess.run([sys.executable, "-c", code % str(tmp_path)], capture_output=True)
    assert b"is in use by a trainer of process %d" % os.getpid() in other.stderr
    first.run(2)
    first.close()
    logged(tmp_path).restore(tmp_path)


@pytest.mark.parametrize(
    "when, again",
    [
        ("between runs", True),
        ("in a run", True),
        ("in a run", False),
        ("in a call that fails", True),
        ("while it is written", True),
    ],
)
def test_in_a_directory_that_was_taken_away_nothing_is_written(when, again, tmp_path, monkeypatch):
    """Another trainer has it now, or nobody: what is there stays as it is, and the first one keeps what it has."""
    graphs, others = recorded_graphs(monkeypatch), []
    directory = tmp_path / "run"
    trainer = logged(directory, on_nonfinite="raise")
    trainer.run(3)

    def take_away():
        shutil.rmtree(str(directory))
        if again:
            others.append(logged(directory))
            others[0].run(2)

    run = graphs[0].run

    def robbed(most):
        if not others and directory.exists():
            take_away()
        rows = run(most)
        if when == "in a call that fails":
            rows[-1] = np.nan
            monkeypatch.setattr(graphs[0], "failure", lambda: {"draw/0": np.zeros(2)})
        return rows

    if when == "between runs":
        take_away()
    if when == "while it is written":
        write = archives.write

        def robbed_while_written(*arguments):
            write(*arguments)
            if not others:
                take_away()

        monkeypatch.setattr(archives, "write", robbed_while_written)
    else:
        monkeypatch.setattr(graphs[0], "run", robbed)
    error = l2l.NonFiniteError if when == "in a call that fails" else ValueError
    with warnings.catch_warnings(), pytest.raises(error, match="is no longer this trainer's") as caught:
        warnings.simplefilter("ignore")
        trainer.run(5)
    if when == "in a call that fails":
        assert caught.value.path is None and "could not be saved" in str(caught.value)
    assert len(trainer.history) == (3 if when == "between runs" else 4)
    assert len(trainer.trained().weights) == len(trainer.weights())
    if again:
        assert sorted(contents(directory)) == ["checkpoint-%012d.npz" % i for i in [1, 2]] + ["lock"]
        others[0].run(1)
    else:
        assert not directory.exists()


def test_two_trainers_with_directories_of_their_own(tmp_path):
    trainers = [logged(tmp_path / name) for name in ["a", "b"]]
    l2l.train_together(trainers, [5, 6], workers=2)
    for name, number in [("a", 5), ("b", 6)]:
        assert len(logged().restore(tmp_path / name)) == number


@pytest.mark.parametrize("kind", ["symbolic link", "link to nothing", "hard link", "directory", "pipe", "socket"])
def test_a_lock_that_is_no_file_of_its_own_is_refused(kind, tmp_path):
    target, lock = tmp_path / "precious", tmp_path / "run" / "lock"
    target.write_text("precious")
    lock.parent.mkdir()
    if kind == "symbolic link":
        lock.symlink_to(target)
    elif kind == "link to nothing":
        lock.symlink_to(tmp_path / "nothing")
    elif kind == "hard link":
        os.link(str(target), str(lock))
    elif kind == "directory":
        lock.mkdir()
    elif kind == "pipe":
        os.mkfifo(str(lock))
    else:
        bound(lock)
    with pytest.raises(ValueError, match=r"checkpoint_dir must hold no lock but a regular file .*run/lock'"):
        CheckpointDirectory(str(lock.parent), 60)
    assert target.read_text() == "precious" and not (tmp_path / "nothing").exists()


def bound(path):
    """A socket under a name, which may not be long."""
    before = os.getcwd()
    os.chdir(str(path.parent))
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


def test_what_is_no_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ["file", "file/run", "link"]:
        with pytest.raises(
            ValueError, match="checkpoint_dir must be a directory, or the name of a new one, got '.*%s" % name
        ):
            CheckpointDirectory(str(tmp_path / name), 60)
    assert (tmp_path / "file").read_text() == "precious"


def test_what_a_killed_writer_left_is_deleted_and_nothing_else(tmp_path):
    end = "%032x.unfinished" % 1
    left = ["checkpoint-000000000001.npz." + end, "nonfinite-000000000001-2.npz." + end]
    others = [
        "mine.unfinished",
        "checkpoint-1.npz." + end,
        "checkpoint-000000000001.npz",
        "checkpoint-000000000001.npz.old",
    ]
    for name in left + others:
        (tmp_path / name).write_text("some of it")
    CheckpointDirectory(str(tmp_path), 60).close()
    assert sorted(os.listdir(str(tmp_path))) == sorted([*others, "lock"])
    (tmp_path / left[0]).mkdir()
    for _ in range(2):  # it does not keep the lock
        with pytest.raises(ValueError, match=r"checkpoint_dir must hold no directory of the name .*1.npz.*unfinished'"):
            CheckpointDirectory(str(tmp_path), 60)


def test_a_newest_checkpoint_that_is_no_file_is_refused(tmp_path):
    trainer, path = logged(tmp_path), tmp_path / "checkpoint-000000000009.npz"
    for make in [
        lambda: path.symlink_to(tmp_path / "nothing"),
        lambda: bound(path),
        lambda: os.mkfifo(str(path)),
        path.mkdir,
    ]:
        make()
        with pytest.raises(ValueError, match=r"9\.npz' is (gone, or is a link|no archive .*: not a regular file)"):
            trainer.restore(tmp_path)
        with pytest.raises(ValueError, match=r"holds another training, up to checkpoint-000000000009\.npz"):
            trainer.run(1)
        if not path.is_dir():
            path.unlink()


def test_an_old_directory_with_the_name_of_a_checkpoint_is_left_alone(tmp_path):
    trainer = logged(tmp_path)
    trainer.run(1)
    (tmp_path / "checkpoint-000000000000.npz").mkdir()
    trainer.run(4)
    expected = ["checkpoint-%012d.npz" % number for number in [0, 3, 4, 5]]
    assert sorted(os.listdir(str(tmp_path))) == [*expected, "lock"]
    (tmp_path / "checkpoint-000000000009.npz").mkdir()
    with pytest.raises(ValueError, match=r"holds another training, up to checkpoint-000000000009\.npz"):
        trainer.run(1)


def test_another_training_is_not_overwritten(tmp_path):
    first = logged(tmp_path)
    first.run(2)
    first.close()
    second = logged(tmp_path)
    with pytest.raises(ValueError, match=r"holds another training, up to checkpoint-000000000002.npz; restore\(\) it"):
        second.run(1)
    with pytest.raises(ValueError, match="holds another training"):
        l2l.train_together([second], 1)
    second.restore(tmp_path)
    second.run(1)


class Scaled(l2l.Quadratic):
    """A problem with a parameter of which its draws say nothing."""

    def __init__(self, factor, data=None):
        super().__init__(2)
        self.factor, self.data = factor, data

    def loss(self, x, draw):
        return self.factor * super().loss(x, draw)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A directory with a checkpoint of a network, and one with a checkpoint of `learned_momentum`."""
    directories = {}
    for name, settings in [("network", NETWORK), ("momentum", {})]:
        directories[name] = tmp_path_factory.mktemp(name)
        with logged(directories[name], problem=Scaled(1.0, np.zeros(3)), **settings) as trainer:
            trainer.run(2)
    return directories


@pytest.mark.parametrize(
    "there, changes, message",
    [
        (
            "network",
            {**NETWORK, "build_optimizer": lambda: l2l.CoordinatewiseLSTM((6,), "log")},
            r"is from another trainer: optimizer\.hidden=\[5\] there, \[6\] here; code of build_optimizer differs$",
        ),
        (
            "network",
            {**NETWORK, "build_optimizer": lambda: l2l.CoordinatewiseLSTM((5, 5), "log")},
            r"optimizer\.hidden=\[5\] there, \[5, 5\] here",
        ),
        ("network", {**NETWORK, "build_optimizer": l2l.CoordinatewiseLSTM}, r"casting='log\(-15\)' there, 'none' here"),
        (
            "network",
            {**NETWORK, "build_optimizer": lambda: l2l.CoordinatewiseLSTM((5,), l2l.log_cast(-30))},
            r"casting='log\(-15\)' there, 'log\(-30\)'",
        ),
        ("network", {**NETWORK, "build_optimizer": one_rate}, r"casting='log\(-15\)' there, None here"),
        ("momentum", {"unroll_length": 5, "horizon": 5}, "horizon=4 there, 5 here; unroll_length=4 there, 5 here"),
        ("momentum", {"horizon": 12}, "horizon=4 there, 12 here"),
        ("momentum", {"learning_rate": 1e-3}, "learning_rate=0.0003 there, 0.001 here"),
        ("momentum", {"meta_loss": "end"}, "meta_loss='sum' there, 'end' here"),
        ("momentum", {"clip_norm": 2.0}, r"clip_norm=1\.0 there, 2\.0 here"),
        ("momentum", {"second_derivatives": False}, "second_derivatives=True there, False here"),
        ("momentum", {"draws_seed": 3, "weights_seed": 3}, "draws_seed=2 there, 3 here; weights_seed=1 there, 3 here"),
        ("momentum", {"batch": 2}, r"batch=1 there, 2 here; draws=\[\['float32', \[2\]\]"),
        ("momentum", {"problem": Scaled(2.0, np.zeros(3))}, r"problem_parameters\.factor=1\.0 there, 2\.0 here"),
        ("momentum", {"problem": l2l.Quadratic(2)}, "problem='Scaled' there, 'Quadratic' here"),
        ("momentum", {"problem": Scaled(1.0, np.ones(3))}, r"problem_parameters\.data='float64 \[3\], checksum"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(there, changes, message, written):
    other = logged(**{"problem": Scaled(1.0, np.zeros(3)), **changes})
    snapshot = other.snapshot()
    with pytest.raises(ValueError, match=message):
        other.restore(written[there])
    assert same(snapshot, other.snapshot()) and len(other.history) == 0


def test_another_optimizer_of_ones_own_is_told_apart_by_its_variables(tmp_path):
    def with_shape(name, shape):
        def build():
            kernel = tf.get_variable(name, shape, initializer=tf.constant_initializer(0.1))
            return lambda gradients, state: (-tf.reduce_sum(kernel) * gradients, state)

        return build

    first = logged(tmp_path, build_optimizer=with_shape("mine", []))
    first.run(2)
    for build, message in [
        (with_shape("mine", [3]), r"is from another trainer: build_optimizer.closure.shape=\[\] there, \[3\] here"),
        (with_shape("other", []), r"is from another trainer: variables=\['mine'\] there, \['other'\] here"),
    ]:
        other = logged(build_optimizer=build)
        snapshot = other.snapshot()
        with pytest.raises(ValueError, match=message):
            other.restore(tmp_path)
        assert same(snapshot, other.snapshot())


def test_damaged_foreign_and_newer_files_are_refused(tmp_path):
    trainer = logged(tmp_path, horizon=8)
    trainer.run(3)
    path = Path(l2l.latest_checkpoint(tmp_path))
    content = path.read_bytes()
    config, arrays = l2l.archives.read(path)
    assert config["format"] == 3
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"checkpoint-000000000003\.npz' is no archive that can be read"):
        trainer.restore(tmp_path)

    def without(*names):
        return {name: array for name, array in arrays.items() if name not in names}

    for new_config, new_arrays, message in [
        ({**config, "format": 4}, arrays, "has format 4, which a newer version of l2l wrote; this one reads format 3"),
        ({**config, "format": 2}, arrays, "has format 2, which an older version of l2l wrote; this one reads format 3"),
        ({**config, "format": 1}, arrays, "has format 1, which an older version of l2l wrote"),
        ({**config, "format": 0}, arrays, "is no checkpoint: its config says format 0"),
        ({**config, "format": True}, arrays, "is no checkpoint: its config says format True"),
        ({**config, "format": "1"}, arrays, "is no checkpoint: its config says format '1'"),
        ({**config, "trainer": None}, arrays, "is no checkpoint"),
        ({}, arrays, "is no checkpoint: its config says format None"),
        (config, without("history/seconds"), "lacks a column of the history"),
        (config, {**arrays, "history/seconds": np.zeros(5)}, "must hold float64 columns"),
        (config, without("place"), r"'place' is absent there, int64 of shape \(2,\) here"),
        (config, {**arrays, "place": np.zeros(3, np.int64)}, r"'place' is int64 of shape \(3,\) there"),
        (config, {**arrays, "place": np.array([1, -4])}, r"is no checkpoint: its place is \[1, -4\]"),
        (
            config,
            {name: array[:2] if name.startswith("history/") else array for name, array in arrays.items()},
            r"checkpoint-000000000003\.npz' is not what its name says: it holds 2 meta-iterations",
        ),
        ({**config, "format": int("9" * 4000)}, arrays, "has format 9999999.*, which a newer version"),
        ({**config, "format": "x" * 5000}, arrays, "its config says format 'xxx"),
        ({**config, "trainer": {**config["trainer"], "y" * 5000: 1}}, arrays, "is from another trainer: yyy"),
        (
            {**config, "trainer": {**config["trainer"], "unroll_length": ["y" * 5000]}},
            arrays,
            "unroll_length=.'yyy.* there, 4 here",
        ),
        ({**config, "trainer": {str(i): i for i in range(2000)}}, arrays, "0=0 there, None here; 1=1 there"),
        (
            {**config, "trainer": {**config["trainer"], "problem_parameters": {"d" * 5000: {}}}},
            arrays,
            "parameters.ddd",
        ),
        (config, {**arrays, "z" * 5000: np.zeros(2)}, "'zzz.* is float64 of shape .* there, absent here"),
        (config, {**arrays, "zeros": np.zeros([0] + [1] * 31)}, "'zeros' is float64 of shape .* there, absent here"),
        (config, {**arrays, "history/seconds": np.zeros([0] + [1] * 31)}, "must hold float64 columns"),
        (config, without("carried/0"), "'carried/0' is absent there, float32 of shape"),
        (
            config,
            {key.replace("variables/", ""): value for key, value in arrays.items()},
            "is float32 of shape .* there, absent here",
        ),
        (config, {**arrays, "more": np.zeros(2)}, "'more' is float64 of shape .* there, absent here"),
    ]:
        l2l.archives.write(path, new_config, new_arrays)
        with pytest.raises(ValueError, match=message) as caught:
            trainer.restore(tmp_path)
        assert path.name in str(caught.value) and len(str(caught.value)) < 500 + len(str(tmp_path))
    path.write_bytes(content)
    assert len(trainer.restore(tmp_path)) == 3
    path.rename(tmp_path / "checkpoint-000000000007.npz")  # each start would begin at 3 again, and never get further
    with pytest.raises(ValueError, match=r"checkpoint-000000000007\.npz' is not what its name says: it holds 3 meta"):
        trainer.restore(tmp_path)


@pytest.mark.rehearsal
def test_ctrl_c_in_a_notebook_cell_keeps_the_kernel_and_the_history(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        build = """
import l2l
trainer = l2l.Trainer(l2l.Quadratic(2), lambda: l2l.CoordinatewiseLSTM((5,)), unroll_length=4, engine="graph",
                      checkpoint_dir=%r)
print("ready")""" % str(tmp_path / "run")
        assert (
            client.execute_interactive(build, output_hook=lambda message: None, timeout=60)["content"]["status"] == "ok"
        )
        client.execute("trainer.run(10**6)", stop_on_error=False)
        time.sleep(3)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=30)
        assert reply["content"]["ename"] == "KeyboardInterrupt" and "all kept" in reply["content"]["evalue"]
        after = "before = len(trainer.history); trainer.run(5); assert len(trainer.history) == before + 5 > 100"
        reply = client.execute_interactive(after, output_hook=lambda message: None, timeout=60)
        assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def chaos(kills):
    done = subprocess.run([sys.executable, str(CHAOS), "--kills", str(kills)], stdout=subprocess.PIPE)
    assert done.stdout.decode().splitlines()[-1] == "%d of %d identical, no checkpoint unreadable" % (kills, kills)


@pytest.mark.rehearsal
def test_killed_at_random_moments_nothing_is_lost():
    chaos(2)


@pytest.mark.slow
def test_killed_at_random_moments_fifty_times_nothing_is_lost():
    chaos(50)


def test_numbers_of_one_value_are_the_same_however_they_are_written():
    """NaN is the same as NaN, and 1 the same as 1.0: files may give back another than was written."""
    record = {
        "horizon": 4,
        "unroll_length": 4,
        "problem_parameters": {"rate": 1, "floor": float("nan"), "list": [1, 2]},
    }
    other = {
        "horizon": 4.0,
        "unroll_length": 4,
        "problem_parameters": {"rate": 1.0, "floor": float("nan"), "list": [1, 2.0]},
    }
    checkpoints.check_same_trainer("file", record, other)
    other["problem_parameters"]["rate"] = 2
    with pytest.raises(ValueError, match=r"^'file' is from another trainer: problem_parameters\.rate=1 there, 2 here$"):
        checkpoints.check_same_trainer("file", record, other)


def of_code(code, **more):
    return {"function": "f", "code": code, **more}


@pytest.mark.parametrize(
    "there, here, expected",
    [
        ({"x": 1, "y": [1]}, {"x": 1.0, "y": [1]}, []),
        ([1], [2], ["it=[1] there, [2] here"]),
        ({"x": {"y": 1}}, {"x": {"z": 2}}, ["it.x.y=1 there, None here", "it.x.z=None there, 2 here"]),
        # Lists with code of one length are compared one by one.
        ([of_code("a"), 1], [of_code("b"), 2], ["code of it.0 differs", "it.1=1 there, 2 here"]),
        ([of_code("a")], [of_code("b"), 1], ["it=%r there, %r here" % ([of_code("a")], [of_code("b"), 1])]),
        ([of_code("a")], [1], ["it=%r there, [1] here" % [of_code("a")]]),
        ({"0": of_code("a")}, [of_code("b")], ["it=%r there, %r here" % ({"0": of_code("a")}, [of_code("b")])]),
        (of_code("a"), of_code("b"), ["code of it differs"]),
        (of_code("a"), {**of_code("a"), "function": "g"}, []),  # the same function under another name
        (of_code("a"), 3, ["code of it differs"]),
        (3, of_code("a"), ["code of it differs"]),
        (of_code("a", n=1), of_code("a", n=2), ["it.n=1 there, 2 here"]),
        ({"code": "a"}, {"code": "b"}, ["it.code='a' there, 'b' here"]),
        ({"function": "f"}, {"function": "g"}, ["it.function='f' there, 'g' here"]),
    ],
)
def test_differences_of_records(there, here, expected):
    assert checkpoints._differences("it", there, here) == expected
    assert checkpoints._differences("", {"it": there}, {"it": here}) == expected


def test_what_of_two_records_is_compared():
    """Where shards carry something from one meta-iteration to the next, their number too."""
    one, carried = {"horizon": 4, "unroll_length": 4}, {"horizon": 8, "unroll_length": 4}
    strategy = {**carried, "estimator": {"pairs": 2}}
    for settings, may_change in [
        (one, True),
        (carried, False),
        (strategy, True),
        ({**one, "stages": [{}, {"horizon": 8}]}, False),
        ({**carried, "stages": [{"horizon": 4}, {"horizon": 4}]}, True),
    ]:
        free = checkpoints._free(settings)
        assert ("threads" in free) == may_change and {"engine", "begun"} <= free
    with pytest.raises(ValueError, match=r"^'file' is from another trainer: threads=1 there, 2 here$"):
        checkpoints.check_same_trainer("file", {**carried, "threads": 1}, {**carried, "threads": 2})
    stages = [{"a": 1, "name": 2}, 3]
    assert checkpoints._compared({"stages": stages, "name": 1, "b": 2}, {"name"}) == {
        "stages": {"0": {"a": 1}, "1": 3},
        "b": 2,
    }
    assert checkpoints._compared({"stages": None, "b": 2}, {"b"}) == {"stages": None}


def test_a_place_is_one_at_which_a_training_may_stop():
    carried = {"horizon": 8, "unroll_length": 4}
    for settings, place, is_one in [
        (carried, [0, 0], True),
        (carried, [0, 4], True),
        (carried, [-1, 0], False),
        (carried, [1, 2], False),
        (carried, [1, 8], False),
        ({**carried, "estimator": {"pairs": 2}}, [3, 0], True),
        ({**carried, "estimator": {"pairs": 2}}, [3, 1], False),
        ({**carried, "estimator": {"pairs": 2}}, [3, 4], False),
    ]:
        arrays = {"place": np.array(place)}
        if is_one:
            checkpoints.check_snapshot("file", arrays, arrays, settings)
        else:
            with pytest.raises(ValueError, match=r"^'file' is no checkpoint: its place is \[%d, %d\]$" % tuple(place)):
                checkpoints.check_snapshot("file", arrays, arrays, settings)


def test_resumed_it_goes_on_from_the_newest_checkpoint_and_without_one_it_starts(tmp_path):
    """The script of the page on reliability: the same two lines whether it was killed before or not."""
    whole = logged()
    whole.run(9)
    for until in [4, 9, 9, 2]:
        with logged(tmp_path, resume=True) as trainer:
            before = len(trainer.history)
            assert trainer.run(until=until) is trainer.history
            assert len(trainer.history) == max(before, until)
            snapshot = trainer.snapshot()
    assert before == 9 and same(snapshot, whole.snapshot())
    np.testing.assert_array_equal(trainer.history.meta_loss, whole.history.meta_loss)


def test_what_cannot_be_resumed_leaves_the_directory_free(tmp_path):
    with logged(tmp_path) as trainer:
        trainer.run(2)
    with pytest.raises(ValueError, match=r"is from another trainer: learning_rate=0\.0003 there, 0.1 here"):
        logged(tmp_path, resume=True, learning_rate=0.1)
    with pytest.raises(ValueError, match="logdir must be a directory"):
        logged(tmp_path, logdir="/dev/null/log")
    with logged(tmp_path, resume=True) as trainer:
        assert len(trainer.history) == 2


def test_resumed_with_other_code_if_it_is_told_to(tmp_path):
    with logged(tmp_path, meta_loss=lambda losses: losses[-1]) as trainer:
        trainer.run(2)
    settings = {"checkpoint_dir": tmp_path, "resume": True, "meta_loss": lambda losses: losses[-1] + losses[0]}
    with pytest.raises(ValueError, match="code of meta_loss differs; allow_changed_code=True goes on"):
        logged(**settings)
    assert len(logged(**settings, allow_changed_code=True).history) == 2
