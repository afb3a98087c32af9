"""What importing the package refuses."""

import subprocess
import sys

import pytest


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
