import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from jupyter_client.manager import start_new_kernel
from trainers import ENGINES, same, small

import l2l

CHAOS = Path(__file__).resolve().parent / "chaos.py"


def logged(checkpoint_dir=None, **changes):
    return small(
        build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log"),
        **{"checkpoint_dir": checkpoint_dir, "checkpoint_every": 1e-9, **changes},
    )


def assert_same_run(one, other):
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        np.testing.assert_array_equal(getattr(one.history, column), getattr(other.history, column))
    assert same(one._graph.variables().values(), other._graph.variables().values())


@pytest.mark.parametrize("engine", ENGINES)
def test_restored_it_goes_on_bit_for_bit(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(l2l.graph, "DRAWS_PER_BLOCK", 8)
    whole, first = logged(engine=engine), logged(str(tmp_path), engine=engine)
    whole.run(25)
    first.run(11)
    first.close()
    second = logged(tmp_path, engine=engine)
    assert second.restore(tmp_path) is second.history and len(second.history) == 11
    second.run(14)
    assert_same_run(second, whole)
    assert sorted(os.listdir(str(tmp_path)))[-1] == "lock"


@pytest.mark.parametrize("written, read", [ENGINES, ENGINES[::-1]])
def test_a_checkpoint_of_one_engine_opens_in_the_other(written, read, tmp_path):
    one = logged(tmp_path, engine=written)
    one.run(5)
    one.close()
    other = logged(engine=read, threads=1, name="another name")
    other.restore(tmp_path)
    assert_same_run(other, one_again(written, 5))
    assert (other.history.config["engine"], other.history.config["name"]) == (read, "another name")
    other.run(3)
    np.testing.assert_allclose(other.history.last_loss, one_again(written, 8).history.last_loss, rtol=1e-3)


def one_again(engine, number):
    trainer = logged(engine=engine)
    trainer.run(number)
    return trainer


def test_the_last_three_are_kept(tmp_path):
    trainer = logged(tmp_path)
    trainer.run(20)
    names = sorted(name for name in os.listdir(str(tmp_path)) if name != "lock")
    assert names == ["checkpoint-%012d.npz" % number for number in [18, 19, 20]]
    assert l2l.latest_checkpoint(tmp_path) == str(tmp_path / names[-1])
    assert l2l.latest_checkpoint(tmp_path / "nothing") is None


def test_one_is_written_when_a_run_ends_in_whatever_way(tmp_path):
    trainer = logged(tmp_path, checkpoint_every=1e9)
    trainer.run(3)
    assert l2l.latest_checkpoint(tmp_path).endswith("03.npz")
    run, calls = trainer._graph.run, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > 4:
            raise tf.errors.InternalError(None, None, "no more")
        return run(*arguments)

    trainer._graph.run = failing
    with pytest.raises(tf.errors.InternalError, match="no more"):
        trainer.run(20)
    assert l2l.latest_checkpoint(tmp_path).endswith("07.npz")


def test_sigterm_saves_and_exits(tmp_path):
    trainer = logged(tmp_path, checkpoint_every=1e9)
    handler = signal.getsignal(signal.SIGTERM)
    timer = threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGTERM])
    timer.start()
    with pytest.raises(SystemExit) as caught:
        trainer.run(10**6)
    timer.join()
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
    assert_same_run(trainer, one_again("graph", 10))


def test_a_second_interrupt_in_the_middle_of_a_call_leaves_the_last_checkpoint(tmp_path):
    trainer = logged(tmp_path)
    trainer.run(3)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    trainer._graph.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run(5)
    with pytest.raises(ValueError, match=r"stopped in the middle of a call.*restore\(\) a checkpoint"):
        trainer.run(5)
    del trainer._graph.run
    trainer.restore(tmp_path)
    trainer.run(5)
    assert_same_run(trainer, one_again("graph", 8))


def test_an_error_of_unknown_effect_leaves_the_last_checkpoint(tmp_path):
    """A signal handler of the user's, say, which raises when a call has just returned."""
    trainer = logged(tmp_path)
    trainer.run(3)
    run = trainer._graph.run

    def late(*arguments):
        run(*arguments)
        raise TimeoutError("too late")

    trainer._graph.run = late
    with pytest.raises(TimeoutError):
        trainer.run(5)
    assert l2l.latest_checkpoint(tmp_path).endswith("03.npz")
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

    monkeypatch.setattr(l2l.archives, "write", full)
    expected = "meta-iteration 0 has .* could not be saved .*No space"
    with pytest.warns(RuntimeWarning), pytest.raises(l2l.NonFiniteError, match=expected) as caught:
        trainer.run(5)
    assert caught.value.path is None


def test_a_directory_belongs_to_one_trainer(tmp_path):
    first = logged(tmp_path)
    with pytest.raises(ValueError, match="checkpoint_dir .* is in use by a trainer of process %d; close" % os.getpid()):
        logged(tmp_path)
    first.run(2)
    code = "import l2l; l2l.Trainer(l2l.Quadratic(2), l2l.CoordinatewiseLSTM, checkpoint_dir=%r)" % str(tmp_path)
    other = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert b"is in use by a trainer of process %d" % os.getpid() in other.stderr
    first.run(2)
    first.close()
    logged(tmp_path).restore(tmp_path)


def test_two_trainers_with_directories_of_their_own(tmp_path):
    trainers = [logged(tmp_path / name) for name in ["a", "b"]]
    l2l.train_together(trainers, [5, 6], workers=2)
    for name, number in [("a", 5), ("b", 6)]:
        assert len(logged().restore(tmp_path / name)) == number


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


def build_other_names():
    kernel = tf.get_variable("mine", [], initializer=tf.constant_initializer(0.1))
    return lambda gradients, state: (-kernel * gradients, state)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"build_optimizer": lambda: l2l.CoordinatewiseLSTM((6,), "log")},
            r"input/bias' is float32 of shape \(5,\) there, float",
        ),
        ({"build_optimizer": lambda: l2l.CoordinatewiseLSTM((5, 5), "log")}, r"lstm_1/bias' is absent there"),
        ({"build_optimizer": l2l.CoordinatewiseLSTM}, r"casting='log\(-15\)' there, 'none' here"),
        (
            {"build_optimizer": lambda: l2l.CoordinatewiseLSTM((5,), l2l.log_cast(-30))},
            r"casting='log\(-15\)' there, 'log\(-30\)'",
        ),
        ({"build_optimizer": build_other_names}, r"casting='log\(-15\)' there, None here"),
        ({"steps": 5}, "steps=4 there, 5 here"),
        ({"learning_rate": 1e-3}, "learning_rate=0.0003 there, 0.001 here"),
        ({"meta_loss": "end"}, "meta_loss='sum' there, 'end' here"),
        ({"draws_seed": 3, "weights_seed": 3}, "draws_seed=2 there, 3 here; weights_seed=1 there, 3 here"),
        ({"batch": 2}, r"batch=1 there, 2 here; draws=\[\['float32', \[2\]\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message, tmp_path):
    first = logged(tmp_path)
    first.run(2)
    first.close()
    other = small(**{"build_optimizer": lambda: l2l.CoordinatewiseLSTM((5,), "log"), **changes})
    weights = other.weights()
    with pytest.raises(ValueError, match=message):
        other.restore(tmp_path)
    assert same(weights, other.weights()) and len(other.history) == 0


def test_damaged_foreign_and_newer_files_are_refused(tmp_path):
    trainer = logged(tmp_path)
    trainer.run(2)
    path = Path(l2l.latest_checkpoint(tmp_path))
    content = path.read_bytes()
    config, arrays = l2l.archives.read(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"checkpoint-000000000002\.npz' is no archive that can be read"):
        trainer.restore(tmp_path)
    lacking = {key: value for key, value in arrays.items() if key != "history/seconds"}
    doubled = {**arrays, "history/seconds": np.zeros(5)}
    for new_config, new_arrays, message in [
        ({**config, "format": 2}, arrays, "has format 2, which a newer version of l2l wrote; this one reads up to 1"),
        ({**config, "format": "1"}, arrays, "is no checkpoint: its config says format '1'"),
        ({**config, "trainer": None}, arrays, "is no checkpoint"),
        ({}, arrays, "is no checkpoint: its config says format None"),
        (config, lacking, "lacks a column of the history"),
        (config, doubled, "must hold float64 columns"),
        (
            config,
            {key.replace("variables/", ""): value for key, value in arrays.items()},
            "is float32 of shape .* there, absent here",
        ),
        (config, {**arrays, "more": np.zeros(2)}, "'more' is float64 of shape .* there, absent here"),
    ]:
        l2l.archives.write(path, new_config, new_arrays)
        with pytest.raises(ValueError, match=message):
            trainer.restore(tmp_path)
    path.write_bytes(content)
    assert len(trainer.restore(tmp_path)) == 2


def test_ctrl_c_in_a_notebook_cell_keeps_the_kernel_and_the_history(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        build = """
import l2l
trainer = l2l.Trainer(l2l.Quadratic(2), lambda: l2l.CoordinatewiseLSTM((5,)), steps=4, engine="graph",
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


def test_killed_at_random_moments_nothing_is_lost():
    chaos(4)


@pytest.mark.slow
def test_killed_at_random_moments_fifty_times_nothing_is_lost():
    chaos(50)
