"""What concerns the whole process. XLA reads its flags once, so each test has processes of its own."""

import json
import os
import subprocess
import sys
import threading

import pytest

from l2l import process as of_process
from l2l.xla import xla_in_force

PARTS = {
    "start": "import os, json, warnings; warnings.simplefilter('always'); import l2l",
    "flags": "print(json.dumps({name: os.environ.get(name) for name in ['XLA_FLAGS', 'TF_CPU_ALLOCATOR_USE_BFC']}))",
    "train": "l2l.Trainer(l2l.Quadratic(2), lambda: l2l.CoordinatewiseLSTM((3,)), unroll_length=3, engine=%r).run(2)",
    "session": "import tensorflow as tf; tf.Session().run(tf.constant(1))",
    "evaluate": "l2l.evaluate(l2l.Quadratic(2), {'SGD': l2l.sgd()}, draws=2, steps=2)",
    "prepare": "l2l.prepare_xla()",
    "in force": "from l2l.xla import xla_in_force; print(json.dumps(xla_in_force()))",
    # A large number, added and taken away, leaves no trace where sums may be rearranged; a NaN should be seen anyway.
    "figures": """
x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
results = tf.xla.experimental.compile(lambda x, y: [x + y - y, tf.cast(tf.is_nan(x * y), tf.float32)], [x, y])
session = tf.Session()
rearranged, _ = session.run(results, {x: 1.0, y: 1e8})
_, seen = session.run(results, {x: 1.0, y: float("nan")})
print(json.dumps([float(rearranged), float(seen)]))""",
}


def process(*parts, **environment):
    """What a process printed, a list of what each line is in JSON, and its warnings as text."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ["XLA_FLAGS", "TF_CPU_ALLOCATOR_USE_BFC"]
    }
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([PARTS["start"], *parts])],
        env={**variables, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.rehearsal
def test_importing_leaves_the_environment_alone_and_the_first_session_of_the_librarys_sets_it():
    """Whatever that session is for, so that what is compiled later has the library's flags."""
    printed, errors = process(
        PARTS["flags"], PARTS["train"] % "graph", PARTS["flags"], PARTS["evaluate"], PARTS["in force"]
    )
    before, after, in_force = printed
    assert before == {"XLA_FLAGS": None, "TF_CPU_ALLOCATOR_USE_BFC": None}
    assert after["TF_CPU_ALLOCATOR_USE_BFC"] == "true" and "--xla_cpu_enable_fast_math=true" in after["XLA_FLAGS"]
    assert in_force == {"honours_nan": True, "fast_math": True, "finds_nan": True, "flags": None}
    assert "RuntimeWarning" not in errors


@pytest.mark.rehearsal
def test_flags_that_a_parent_process_has_from_the_library_are_not_the_users():
    ours = " ".join(of_process._XLA_FLAGS)
    (in_force,), _ = process(PARTS["in force"], XLA_FLAGS=ours)
    assert in_force["flags"] is None
    (in_force,), _ = process(PARTS["in force"], XLA_FLAGS=ours + " --xla_cpu_enable_fast_math=false")
    assert in_force["flags"] == "--xla_cpu_enable_fast_math=false" and not in_force["fast_math"]


@pytest.mark.rehearsal
def test_the_compiled_engine_prepares_xla_once_and_in_silence():
    parts = [PARTS["evaluate"], PARTS["flags"], PARTS["train"] % "xla", PARTS["prepare"], PARTS["flags"]]
    (first, second), errors = process(*parts)
    assert first == second and "RuntimeWarning" not in errors
    assert "--xla_cpu_enable_fast_math=true --xla_cpu_fast_math_honor_nans=true" in first["XLA_FLAGS"]
    assert first["TF_CPU_ALLOCATOR_USE_BFC"] == "true"


@pytest.mark.rehearsal
def test_after_a_session_of_the_programs_own_a_warning_says_what_to_do():
    """Where XLA has read its flags already, as it has once a session computed something."""
    _, errors = process(PARTS["session"], PARTS["evaluate"])
    assert (
        "RuntimeWarning: XLA computes with other flags than l2l's: it had read them before l2l could set them" in errors
    )
    assert "Call l2l.prepare_xla() before the first session" in errors
    assert errors.count("RuntimeWarning") == 1


BAD = """
import numpy as np
from trainers import Listed
starts, bad_at = np.random.RandomState(0).uniform(-1, 1, [7, 2]).tolist(), [-1, -1, 2, -1, 0, -1, -1]
trainer = l2l.Trainer(Listed(starts, bad_at), lambda: l2l.CoordinatewiseLSTM((1,), "log"), unroll_length=4)
trainer.run(20)
finite = all(np.isfinite(array).all() for array in trainer.weights())
print(json.dumps([trainer.history.config["xla"], finite, int(trainer.history.skipped.sum())]))"""


@pytest.mark.rehearsal
def test_what_xla_does_is_recorded_and_a_nan_changes_no_weight_even_where_a_session_came_first():
    path = os.pathsep.join([os.path.dirname(__file__), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    (printed,), _ = process(PARTS["session"], BAD, PYTHONPATH=path)
    assert printed == [{"honours_nan": False, "fast_math": True, "finds_nan": True, "flags": None}, True, 6]


def test_with_the_librarys_flags_all_is_in_force():
    """The tests' own process prepares XLA first."""
    in_force = {**xla_in_force(), "flags": None}
    assert in_force == {"honours_nan": True, "fast_math": True, "finds_nan": True, "flags": None}


@pytest.mark.rehearsal
def test_prepared_first_a_session_of_the_programs_own_does_no_harm():
    parts = [PARTS["prepare"], PARTS["session"], PARTS["evaluate"], PARTS["figures"]]
    printed, errors = process(*parts)
    assert printed == [[1.0, 1.0]] and "RuntimeWarning" not in errors


@pytest.mark.rehearsal
def test_the_users_flags_come_last_and_win():
    users = "--xla_cpu_enable_fast_math=false"
    parts = [PARTS["flags"], PARTS["prepare"], PARTS["flags"], PARTS["session"], PARTS["figures"]]
    printed, errors = process(*parts, XLA_FLAGS=users, TF_CPU_ALLOCATOR_USE_BFC="false")
    before, after, figures = printed
    assert before == {"XLA_FLAGS": users, "TF_CPU_ALLOCATOR_USE_BFC": "false"}
    assert after["XLA_FLAGS"].endswith(" " + users) and after["TF_CPU_ALLOCATOR_USE_BFC"] == "false"
    assert figures == [0.0, 1.0] and "RuntimeWarning" not in errors


def test_flags_are_set_once_and_come_before_the_users(monkeypatch):
    ours = " ".join(of_process._XLA_FLAGS)
    for own, flags, known in [
        ("", ours, None),
        ("--mine=1", ours + " --mine=1", "--mine=1"),
        (ours + " --mine=1", ours + " --mine=1", "--mine=1"),
        (ours, ours, None),
    ]:
        lock = threading.Lock()
        for name, value in {"in_force": {}, "lock": lock}.items():
            monkeypatch.setattr(of_process, name, value)
        monkeypatch.setattr(of_process, "_XLA_FLAGS", Taken(lock, ours))
        monkeypatch.setenv("XLA_FLAGS", own)
        of_process.set_xla_flags()
        assert os.environ["XLA_FLAGS"] == flags and of_process.in_force == {"flags": known}
        monkeypatch.setenv("XLA_FLAGS", "the user's, later")
        of_process.set_xla_flags()
        assert os.environ["XLA_FLAGS"] == "the user's, later" and of_process.in_force == {"flags": known}


class Taken:
    """Flags that can be read while a lock is taken."""

    def __init__(self, lock, flags):
        self._lock, self._flags = lock, flags

    def __iter__(self):
        assert self._lock.locked()
        yield self._flags


def test_the_allocator_is_the_librarys_unless_it_is_set(monkeypatch):
    name = "TF_CPU_ALLOCATOR_USE_BFC"
    monkeypatch.delenv(name, raising=False)
    of_process.prepare_allocator()
    assert os.environ[name] == "true"
    monkeypatch.setenv(name, "false")
    of_process.prepare_allocator()
    assert os.environ[name] == "false"
