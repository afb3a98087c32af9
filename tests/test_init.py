"""What importing the package refuses and sets."""

import os
import subprocess
import sys

import pytest


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "call, message",
    [
        ("tf.compat.v1.enable_v2_behavior()", "l2l builds graphs, as TensorFlow 1 does"),
        ("tf.__version__ = '2.4.1'", "l2l needs TensorFlow 1.15, found 2.4.1"),
    ],
)
def test_eager_mode_and_another_tensorflow_are_refused_on_import(call, message):
    command = [sys.executable, "-W", "ignore", "-c", "import tensorflow as tf; %s; import l2l" % call]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "ImportError: " + message in done.stderr


@pytest.mark.rehearsal
def test_importing_silences_what_tensorflow_logs_but_for_errors():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", "import os, l2l; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")
