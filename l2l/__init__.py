"""Learning to learn by gradient descent by gradient descent, in TensorFlow 1.15 graph mode.

An optimizer is a function ``(gradients, state) -> (update, state)``, whether someone
designed it or a network learned it. Data flows one way::

    problem -> gradient -> casting -> LSTM -> casting -> update
            -> unrolled losses -> meta-loss -> Adam -> history -> plots

Notation used in every docstring:

===== ======================================================================
``D`` coordinates of the optimizee
``T`` base iterations unrolled: updates of the optimizee by an optimizer
``H`` hidden units of one LSTM layer
``N`` rows of a coordinate-wise batch: one row for every coordinate
===== ======================================================================

A *base iteration* is one update of the optimizee, a *meta-iteration* one update of the
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

# TensorFlow 1.15 predates the NumPy releases it runs on, and says so when it is imported. What its C++ code logs of
# devices and compilers helps no user of this package; what it says in Python about the user's own calls may.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow.compat.v1 as tf  # whose names are not deprecated
if not tf.__version__.startswith("1.15"):
    raise ImportError("l2l needs TensorFlow 1.15, found %s" % tf.__version__)
if tf.executing_eagerly():
    raise ImportError(
        "l2l builds graphs, as TensorFlow 1 does: leave out enable_eager_execution and enable_v2_behavior"
    )

from l2l.averages import log_average, rolling_log_average
from l2l.evaluation import Evaluation, Trace, evaluate, testing, trace
from l2l.figures import (
    LiveFigure,
    plot_convergence,
    plot_curves,
    plot_learning_rates,
    plot_losses,
    plot_problems,
    plot_states,
    plot_trajectories,
    plot_updates,
)
from l2l.learning import (
    META_LOSSES,
    PES,
    EvolutionStrategies,
    Imitation,
    MetaGradient,
    Unroll,
    Update,
    clipped,
    learn,
    meta_gradient,
    unroll,
    update,
)
from l2l.optimizers import (
    CASTINGS,
    AdamController,
    Bound,
    Card,
    Casting,
    CoordinatewiseLSTM,
    Grouped,
    KerasOptimizer,
    LearnedOptimizer,
    Trained,
    adam,
    adamw,
    lamb,
    load,
    log_and_sign,
    log_cast,
    log_ratio_cast,
    moments_cast,
    momentum,
    nesterov,
    no_casting,
    pretrained,
    prodigy,
    ratio_cast,
    relative_step_cast,
    rmsprop,
    save,
    secant,
    secant_cast,
    sgd,
    vsgd,
    widening_log_cast,
)
from l2l.problems import (
    MLP,
    Ackley,
    Classification,
    ConvNet,
    DenseQuadratic,
    Examples,
    KerasProblem,
    Layer,
    LeastSquares,
    LogisticRegression,
    Mixture,
    Problem,
    Quadratic,
    RandomlyScaled,
    Rastrigin,
    Rosenbrock,
    WithConvexTerm,
    datasets,
    keys,
    minibatch,
    noise,
    normal,
    uniform,
)
from l2l.results import measured_with, save_results
from l2l.runs import (
    Curriculum,
    History,
    NonFiniteError,
    Replay,
    Trainer,
    latest_checkpoint,
    train_together,
)
from l2l.schedules import cosine_decay, exponential_decay, piecewise_constant, warmup
from l2l.sweeps import Sweep, Tuned, log_range, near_one, sweep, tune
from l2l.tables import format_table
from l2l.version import __version__
from l2l.xla import prepare_xla

__all__ = [
    "Ackley",
    "Bound",
    "CASTINGS",
    "Card",
    "Casting",
    "Classification",
    "ConvNet",
    "AdamController",
    "CoordinatewiseLSTM",
    "Curriculum",
    "DenseQuadratic",
    "Evaluation",
    "EvolutionStrategies",
    "Examples",
    "Grouped",
    "History",
    "Imitation",
    "KerasOptimizer",
    "KerasProblem",
    "Layer",
    "LearnedOptimizer",
    "LeastSquares",
    "LiveFigure",
    "LogisticRegression",
    "META_LOSSES",
    "PES",
    "MLP",
    "MetaGradient",
    "Mixture",
    "NonFiniteError",
    "Problem",
    "Quadratic",
    "RandomlyScaled",
    "Rastrigin",
    "Replay",
    "Rosenbrock",
    "Sweep",
    "Trace",
    "Trained",
    "Trainer",
    "Tuned",
    "Unroll",
    "Update",
    "WithConvexTerm",
    "__version__",
    "adam",
    "adamw",
    "clipped",
    "cosine_decay",
    "datasets",
    "evaluate",
    "exponential_decay",
    "format_table",
    "keys",
    "lamb",
    "latest_checkpoint",
    "learn",
    "load",
    "log_and_sign",
    "log_average",
    "log_cast",
    "log_range",
    "log_ratio_cast",
    "measured_with",
    "meta_gradient",
    "minibatch",
    "moments_cast",
    "momentum",
    "near_one",
    "nesterov",
    "no_casting",
    "noise",
    "normal",
    "piecewise_constant",
    "plot_convergence",
    "plot_curves",
    "plot_learning_rates",
    "plot_losses",
    "plot_problems",
    "plot_states",
    "plot_trajectories",
    "plot_updates",
    "prepare_xla",
    "pretrained",
    "prodigy",
    "ratio_cast",
    "relative_step_cast",
    "rmsprop",
    "rolling_log_average",
    "save",
    "save_results",
    "secant",
    "secant_cast",
    "sgd",
    "sweep",
    "testing",
    "trace",
    "train_together",
    "tune",
    "uniform",
    "unroll",
    "update",
    "vsgd",
    "warmup",
    "widening_log_cast",
]

_ROOMS = ["problems", "optimizers", "learning", "evaluation", "runs", "sweeps", "figures"]


def __dir__():
    return __all__ + _ROOMS
