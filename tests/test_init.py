"""What importing the package refuses and sets."""

import importlib
import os
import subprocess
import sys

import pytest
import tensorflow as tf

import l2l


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "call, message",
    [
        ("tf.enable_v2_behavior()", "l2l builds graphs, as TensorFlow 1 does"),
        ("tf.__version__ = '2.4.1'", "l2l needs TensorFlow 1.15, found 2.4.1"),
    ],
)
def test_eager_mode_and_another_tensorflow_are_refused_on_import(call, message):
    command = [sys.executable, "-W", "ignore", "-c", "import tensorflow.compat.v1 as tf; %s; import l2l" % call]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "ImportError: " + message in done.stderr


@pytest.mark.rehearsal
def test_importing_silences_what_tensorflow_logs_but_for_errors():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", "import os, l2l; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


LOOKED_AFTER = """
import os, sys, tempfile
import tensorflow as tf
from tensorflow.python.util import deprecation
v1 = tf.compat.v1

def found():
    return v1.logging.get_verbosity(), tf.get_logger().level, tf.get_logger().filters, deprecation.__dict__.copy()

before = found()
import l2l
assert found() == before
build = lambda: l2l.CoordinatewiseLSTM((2,))
with l2l.Trainer(l2l.Quadratic(2), build, unroll_length=2, batch=2, engine="graph") as trainer:
    trainer.run(2)
    trained = trainer.trained()
l2l.evaluate(l2l.Quadratic(2), {"learned": trained, "vSGD": l2l.vsgd()}, draws=2, steps=2, engine="graph")
with tf.Graph().as_default(), v1.variable_scope("model"):
    place = v1.get_variable("place", [3], use_resource=False)
    step = l2l.LearnedOptimizer(trained).minimize(tf.reduce_sum(3 * place))
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        session.run(step)
assert found() == before
print("of the user's own", file=sys.stderr)
tf.where([True], [1.0], [2.0])
tf.log(1.0)
model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
model.compile(l2l.LearnedOptimizer(trained), "mse")
model.save(os.path.join(tempfile.mkdtemp(), "model.h5"))
"""


def test_tensorflow_is_as_it_was_found_for_the_users_calls_and_the_packages_own_say_nothing(tmp_path):
    (tmp_path / "users.py").write_text(LOOKED_AFTER)  # of what has no file TensorFlow says less
    command = [sys.executable, "-W", "ignore", str(tmp_path / "users.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == 0, done.stderr
    own, users = done.stderr.split("of the user's own\n")
    assert not [line for line in own.replace("\r", "\n").splitlines() if line.strip() and "it/s]" not in line]
    for text in ["where (from tensorflow.python.ops.array_ops) is deprecated", "The name tf.log is deprecated"]:
        assert text in users
    assert "TensorFlow optimizers do not make it possible to access optimizer attributes" in users


ANEW = """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.enable_v2_tensorshape()
tf.enable_control_flow_v2()
tf.enable_resource_variables()

def used():
    import l2l
    problem, build = l2l.Mixture([l2l.Quadratic(2), l2l.Rosenbrock()]), lambda: l2l.CoordinatewiseLSTM((2,), "widening")
    with l2l.Trainer(problem, build, unroll_length=2, batch=2, horizon=4, engine="graph") as trainer:
        rows = [trainer.run(2).meta_loss]
        trained = trainer.trained()
    with l2l.Trainer(problem, build, unroll_length=2, batch=2, engine="xla") as trainer:
        rows.append(trainer.run(2).meta_loss)
    optimizers = {"learned": trained, "secant": l2l.secant()}
    rows += l2l.evaluate(problem, optimizers, draws=2, steps=2, engine="graph").values()
    rows.append(l2l.trace(problem, {"learned": trained}, draws=2, steps=2, states=True)["learned"].losses)
    l2l.testing.check_problem(l2l.Quadratic(2))
    with tf.Graph().as_default():
        many, few = tf.get_variable("many", [5000]), tf.get_variable("few", [2, 3])
        loss = tf.reduce_sum(many) + tf.reduce_sum(tf.gather(few, [1]))
        step = l2l.LearnedOptimizer(trained).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(step)
            rows += session.run([many, few])
        whole = tf.get_variable("whole", [5000], use_resource=False)
        try:
            l2l.LearnedOptimizer(trained).minimize(tf.reduce_sum(whole))
        except ValueError as error:
            assert "create it with use_resource=True" in str(error)
    from l2l.xla import xla_in_force
    return l2l, [np.asarray(row).tolist() for row in rows], xla_in_force()

first = used()
for name in [name for name in sys.modules if name.split(".")[0] == "l2l"]:
    del sys.modules[name]
second = used()
assert first[0] is not second[0] and first[1][:5] == second[1][:5] and first[2] == second[2], [first, second]
"""


@pytest.mark.rehearsal
def test_it_can_be_imported_anew_and_tensorflows_newer_shapes_loops_and_variables_change_nothing():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ANEW], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tensorflows_newer_shapes_change_nothing(request):
    def losses():
        with l2l.Trainer(
            l2l.Rosenbrock(), lambda: l2l.CoordinatewiseLSTM((2,)), unroll_length=2, batch=2, engine="graph"
        ) as one:
            return one.run(2).meta_loss.tolist()

    before = losses()
    request.addfinalizer(tf.compat.v1.disable_v2_tensorshape)
    tf.compat.v1.enable_v2_tensorshape()
    assert tf.zeros([1]).shape[0] == 1 and isinstance(tf.zeros([1]).shape[0], int)
    assert losses() == before


def test_the_module_that_registers_a_gradient_can_be_loaded_again():
    backward = importlib.import_module("l2l.learning.backward")
    before = vars(backward).copy()
    importlib.reload(backward)
    vars(backward).update(before)
