"""Learning to learn by gradient descent by gradient descent, in TensorFlow 1.15 graph mode.

An optimizer is a function ``(gradients, state) -> (update, state)``, whether someone
wrote it down or a network learned it. Data flows one way::

    problem -> gradient -> casting -> LSTM -> casting -> update
            -> unrolled losses -> meta-loss -> Adam -> history -> plots

Notation used in every docstring:

===== ======================================================================
``D`` coordinates of the optimizee
``T`` base iterations unrolled: updates of the optimizee by an optimizer
``H`` hidden units of one LSTM layer
``N`` rows of a coordinate-wise batch: one row for every coordinate
===== ======================================================================

A *base iteration* updates the optimizee, a *meta-iteration* is one update of the
learned optimizer's weights. Logarithms called ``log10`` are decimal, others natural.

Usage::

    import l2l

    problem = l2l.Quadratic(dims=2)
    trainer = l2l.Trainer(problem, l2l.CoordinatewiseLSTM, meta_loss="sum")
    trainer.run(2000)
    losses = l2l.evaluate(problem, {"SGD": l2l.sgd(), "RNN": trainer.trained()})
    l2l.plot_losses(losses)
"""

import os
import warnings

# TensorFlow 1.15 predates the NumPy releases it runs on, and logs every deprecated name.
# None of it helps a user of this package, so it is silenced before the first op is built.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# XLA reads its flags once in a process, when the first session starts, so they are set here. Fast math makes
# tanh and sigmoid twice as fast; NaN and infinity stay what they are. One thread: a step is too small to be shared.
# Flags of the user's come last, and win.
_XLA_FLAGS = [
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_enable_fast_math=true",
    "--xla_cpu_fast_math_honor_nans=true",
    "--xla_cpu_fast_math_honor_infs=true",
]
os.environ["XLA_FLAGS"] = " ".join([*_XLA_FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()

# TensorFlow then keeps the memory that it frees. Given back to the system, it returns page by page, and
# two threads that compute side by side spend a third of their time on that.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow as tf
tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)

from l2l import episode_1
from l2l.casting import CASTINGS, Casting, log_and_sign, log_cast, no_casting
from l2l.checkpoints import latest_checkpoint
from l2l.evaluate import evaluate
from l2l.history import History, log_average, rolling_log_average
from l2l.meta import META_LOSSES, MetaStep, clip_and_apply, meta_step
from l2l.networks import CoordinatewiseLSTM, Trained, load_weights, save_weights
from l2l.nonfinite import NonFiniteError, Replay
from l2l.optimizers import adam, momentum, nesterov, rmsprop, sgd, vsgd
from l2l.plots import plot_convergence, plot_losses
from l2l.problems import Problem, Quadratic, uniform
from l2l.results import format_table, measured_with, save_results
from l2l.together import train_together
from l2l.train import Trainer
from l2l.unroll import learn

__version__ = "0.1.0"

__all__ = [
    "CASTINGS",
    "Casting",
    "CoordinatewiseLSTM",
    "History",
    "META_LOSSES",
    "MetaStep",
    "NonFiniteError",
    "Problem",
    "Quadratic",
    "Replay",
    "Trained",
    "Trainer",
    "adam",
    "clip_and_apply",
    "episode_1",
    "evaluate",
    "format_table",
    "latest_checkpoint",
    "learn",
    "load_weights",
    "log_and_sign",
    "log_average",
    "log_cast",
    "measured_with",
    "meta_step",
    "momentum",
    "nesterov",
    "no_casting",
    "plot_convergence",
    "plot_losses",
    "rmsprop",
    "rolling_log_average",
    "save_results",
    "save_weights",
    "sgd",
    "train_together",
    "uniform",
    "vsgd",
]
