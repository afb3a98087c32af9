"""What concerns the whole process. XLA reads its flags once, so each test has processes of its own."""

import functools
import gc
import json
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from l2l import process as of_process
from l2l.graphs import own_graph, session_with_threads
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


def test_a_graph_of_its_own_is_freed_with_all_its_functions():
    with own_graph() as graph:
        x = tf.constant(1.0)
        square = tf.function(lambda x: tf.function(tf.square, autograph=False)(x), autograph=False)
        tf.gradients(square(x), x)
    gone = weakref.ref(graph)
    del graph, x, square
    gc.collect()
    assert gone() is None


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


def test_a_session_has_one_thread_unless_more_are_asked_for():
    """One inside an op always; as many ops at a time as it is given."""
    for arguments, number in [((), 1), ((3,), 3)]:
        with session_with_threads(tf.get_default_graph(), *arguments) as session:
            config = session._config
        assert config.intra_op_parallelism_threads == 1 and config.inter_op_parallelism_threads == number
        assert config.use_per_session_threads


def test_a_sum_of_three_is_added_up_in_its_order_whatever_is_free_to_hold_it():
    """The last input is nobody else's when the sum runs: TensorFlow would begin with it, and lose it in 1e8."""
    with tf.Graph().as_default() as graph:
        large, negative, small = (tf.placeholder(tf.float32, [2]) for _ in range(3))
        total = tf.add_n([large, negative, small * 1.0])
        for _ in range(2):  # a second session of the same graph changes nothing
            with session_with_threads(graph) as session:
                result = session.run(total, {large: [1e8, 1e8], negative: [-1e8, -1e8], small: [1, 1]})
                np.testing.assert_array_equal(result, [1, 1])


def test_a_graph_with_a_custom_gradient_is_freed_too():
    with own_graph() as graph:
        x = tf.constant(1.0)
        tf.gradients(tf.custom_gradient(lambda x: (x + 1, lambda g: g * x))(x), x)
    gone = weakref.ref(graph)
    del graph, x
    gc.collect()
    assert gone() is None


def test_whatever_else_is_registered_is_left_alone():
    """A function with an empty closure; an object that answers nothing; a gradient of another graph; cycles; depth."""

    def empty():
        return later

    if False:
        later = None

    class Silent:
        def __getattribute__(self, name):
            raise RuntimeError(name)

    def holds(value):
        return lambda op, gradient: value

    registry = ops._gradient_registry._registry
    with tf.Graph().as_default():
        elsewhere = tf.constant(1.0)
    cycle, deep = [], functools.reduce(lambda one, _: holds(one), range(5000), 1)
    cycle.append(cycle)
    others = [empty, holds(Silent()), holds(elsewhere), holds(cycle), deep, type("Mine", (), {"__module__": None})()]
    others = {"CustomGradient-%d" % -i: value for i, value in enumerate(others)}
    others = {name.replace("--", "-9" * 9): {"type": value} for name, value in others.items()}
    others["Mine"] = {"type": Silent()}
    before = set(registry)
    registry.update(others)
    try:
        with own_graph():
            x = tf.constant(1.0)
            others["Users"] = registry["Users"] = {"type": holds(x)}
            tf.gradients(tf.custom_gradient(lambda x: (x + 1, lambda g: g * x))(x), x)
        assert set(registry) == before | set(others)
    finally:
        for name in others:
            registry.pop(name, None)
