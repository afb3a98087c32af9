"""What one gets without a word: the default of every argument of everything public, as documented."""

import importlib
import inspect

import tensorflow as tf

import l2l
from l2l.learning.settings import Settings
from l2l.optimizers import castings

TRAINER = {
    **Settings()._asdict(),  # which test_settings.py has
    "horizon": None,
    "client": None,
    "engine": "xla",
    "name": "training",
    "on_nonfinite": "skip",
    "checkpoint_dir": None,
    "checkpoint_every": 60.0,
    "resume": False,
    "allow_changed_code": False,
    "logdir": None,
}
DEFAULTS = {
    "AdamController": {"hidden": 16},
    "Bound": {"kernels": (), "facts": None, "initial_state": None},
    "CoordinatewiseLSTM": {
        "hidden": (20, 20),
        "casting": "none",
        "dtype": tf.float32,
        "input_layer": True,
        "output_scale": 1.0,
        "input_activation": None,
    },
    "Curriculum": {
        **{name: one for name, one in TRAINER.items() if name not in ("estimator", "client")},
        **{"validate_every": None, "patience": None, "draws": 8, "measure": None, "validation_seed": 1},
    },
    "EvolutionStrategies": {"pairs": 8, "sigma": 0.03, "clip": 0.5},
    "PES": {"pairs": 8, "sigma": 0.03, "clip": 0.5},
    "Mixture": {"chances": None},
    "RandomlyScaled": {"width": 3.0},
    "WithConvexTerm": {"dims": 20},
    "History": {"config": None},
    "Quadratic": {"dims": 2, "dtype": tf.float32},
    "Trained": {"adapted": (), "record": None},
    "KerasOptimizer": {"steps": None, "learning_rate": 1.0, "weight_decay": 0.0, "name": "KerasOptimizer"},
    "LiveFigure": {"seconds": 5.0, "targets": None, "window": 500},
    "LearnedOptimizer": {"steps": None, "learning_rate": 1.0, "weight_decay": 0.0, "name": "LearnedOptimizer"},
    "Trainer": TRAINER,
    "adam": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "adamw": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    "lamb": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6, "weight_decay": 0.01},
    "prodigy": {"learning_rate": 1.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    "check_optimizer": {"steps": 4},
    "check_problem": {"steps": 4},
    "clipped": {"clip_norm": 1.0},
    "cosine_decay": {"alpha": 0.0},
    "exponential_decay": {"decay_rate": 0.5},
    "evaluate": {"draws": 1000, "steps": 20, "seed": 0, "at": None, "engine": "xla"},
    "keys": {"seed": None},
    "learn": {"steps": 20, "loop": "python", "second_derivatives": True, "batch": None},
    "load": {"build": None},
    "log_and_sign": {"k": 5.0},
    "log_cast": {"min_log_gradient": -15.0},
    "log_ratio_cast": {"min_log_ratio": None},
    "meta_gradient": {
        "meta_loss": "sum",
        "unroll_length": 20,
        "x": None,
        "state": None,
        "first": 0,
        "carry_on": False,
        "second_derivatives": True,
        "loop": "python",
        "batch": None,
        "horizon": None,
    },
    "moments_cast": {"beta": 0.95, "smallest": 0.0},
    "momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "nesterov": {"learning_rate": 0.1, "momentum": 0.9},
    "plot_convergence": {"targets": None, "window": 500, "ax": None},
    "plot_curves": {"window": None, "ax": None},
    "plot_learning_rates": {"draws": 100, "steps": 20, "seed": 0, "coordinates": None, "ax": None},
    "plot_losses": {"draws": 3, "window": None, "ax": None},
    "plot_problems": {"window": 20},
    "plot_states": {"draws": 20, "steps": 20, "seed": 0, "ax": None},
    "plot_trajectories": {"steps": 20, "seed": 0, "ax": None},
    "plot_updates": {"smallest": 1e-8, "largest": 1e2, "repeats": 1, "ax": None},
    "relative_step_cast": {"beta": 0.95, "floor": 0.001},
    "rmsprop": {"learning_rate": 0.1, "decay": 0.99, "epsilon": 1e-5},
    "rolling_log_average": {"window": 500},
    "secant": {"learning_rate": 0.1},
    "sgd": {"learning_rate": 0.1},
    "sweep": {"client": None, "measure": None, "allow_changed_code": False},
    "trace": {"draws": 100, "steps": 20, "seed": 0, "states": False},
    "train_together": {"meta_iterations": None, "until": None, "workers": None},
    "tune": {"draws": 1000, "steps": 20, "seed": 0, "engine": "xla"},
    "normal": {"stddev": 1.0, "seed": None, "stream": 0, "dtype": tf.float32},
    "noise": {"dtype": tf.float32},
    "Ackley": {"dims": 2, "width": 32.768, "noise": 0.0, "dtype": tf.float32},
    "Rastrigin": {"dims": 2, "width": 5.12, "noise": 0.0, "dtype": tf.float32},
    "Rosenbrock": {"dims": 2, "width": 1.0, "noise": 0.0, "dtype": tf.float32},
    "DenseQuadratic": {"dims": 10, "distribution": "normal", "dtype": tf.float32},
    "KerasProblem": {"batch_size": 32},
    "LeastSquares": {"dims": 10, "examples": 50, "noise": 0.1, "dtype": tf.float32},
    "LogisticRegression": {"dims": 10, "examples": 50, "penalty": 0.01, "dtype": tf.float32},
    "MLP": {"examples": None, "hidden": (20,), "activation": "sigmoid", "batch_size": 128, "stddev": 0.01},
    "ConvNet": {
        "examples": None,
        "channels": (16, 16, 16),
        "dense": (32,),
        "normalized": True,
        "batch_size": 128,
        "stddev": 0.01,
    },
    "uniform": {"seed": None, "stream": 0, "dtype": tf.float32},
    "unroll": {
        "x": None,
        "state": None,
        "steps": 20,
        "first": 0,
        "loop": "python",
        "second_derivatives": True,
        "batch": None,
        "most": None,
        "horizon": None,
    },
    "update": {"clip_norm": 1.0, "adapted": ()},
}


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def test_defaults():
    functions = {name: getattr(l2l, name) for name in l2l.__all__ if callable(getattr(l2l, name))}
    functions.update(check_problem=l2l.testing.check_problem, check_optimizer=l2l.testing.check_optimizer)
    found = {name: defaults(function) for name, function in functions.items()}
    assert {name: one for name, one in found.items() if one} == DEFAULTS


METHODS = {
    "AdamController.bind": {"weights": None, "horizon": None, "batch": None},
    "AdamController.controls": {"horizon": None, "weights": None},
    "AdamController.initial_state": {"batch": None},
    "CoordinatewiseLSTM.adapt": {"active": None},
    "CoordinatewiseLSTM.bind": {"weights": None, "batch": None},
    "Evaluation.ranking": {"window": None},
    "Grouped.adapt": {"active": None},
    "Grouped.bind": {"horizon": None, "batch": None},
    "History.log_average": {"at": None},
    "KerasOptimizer.apply_gradients": {"name": None},
    "LearnedOptimizer.apply_gradients": {"global_step": None, "name": None},
    "Problem.draw": {"seed": None},
    "Run.restore": {"allow_changed_code": False},
    "Run.run": {"meta_iterations": None, "until": None, "callbacks": ()},
    "Trained.create": {"position": None},
    "Tuned.table": {"rows": 10},
}


def methods(kind):
    """What the library itself defines of a class, inherited methods too: `(name, function)`."""
    for one in kind.__mro__:
        for name, function in vars(one).items() if one.__module__.startswith("l2l") else ():
            function = getattr(function, "__func__", function)
            if not name.startswith("_") and inspect.isfunction(function):
                yield "%s.%s" % (one.__name__, name), function


def test_defaults_of_methods():
    found = {}
    for kind in [getattr(l2l, name) for name in l2l.__all__ if inspect.isclass(getattr(l2l, name))]:
        found.update({name: defaults(function) for name, function in methods(kind) if defaults(function)})
    samples = {name: one for name, one in found.items() if name.endswith(".sample")}
    assert len(samples) > 8 and all(one == {"seed": None} for one in samples.values())
    of_castings = {name: one for name, one in found.items() if name.startswith("Casting.")}
    assert {name: one for name, one in found.items() if name not in {**samples, **of_castings}} == METHODS
    for casting in [l2l.Casting(), *(make() for make in castings.CASTINGS.values())]:
        assert defaults(casting.encode) == {"memory": None, "adapted": ()}
        decode = defaults(casting.decode)
        assert decode.pop("facts", None) is None and decode == {"gradients": None, "memory": None, "adapted": ()}


# What pages, docstrings, files and figures say, and what a bound must let through.
NUMBERS = {
    "averages": {"LOG_FLOOR": 1e-38},
    "evaluation.evaluation": {"MINIBATCH_WINDOW": 20},
    "evaluation.graph": {"MOST_LOSSES": 200_000},
    "figures.axes": {"FAR_ABOVE": 1000, "MOST_LINES": 28},
    "figures.pictures": {"GRID": 60, "MOST_PANELS": 3, "MOST_PATHS": 6, "CONTOURS": 80, "FAR": 10},
    "figures.summaries": {"MOST_DECADES": 8},
    "learning.backward": {"MOST_ROWS_KEPT": 64},
    "mapping": {"MOST_DRAW_BY_DRAW": 16},
    "progress": {"MOST_CHARACTERS": 40},
    "runs.checkpoints": {"FORMAT": 3, "KEPT": 3},
    "runs.events": {"WEIGHTS_EVERY": 1000},
    "runs.history": {"_CHECKED_WINDOW": 1000},
    "runs.training": {"PROGRESS_EVERY": 100, "PROGRESS_WINDOW": 2000, "SECONDS_PER_CALL": 0.4},
    "runs.training_graph": {"DRAWS_PER_BLOCK": 1000},
    "sweeps.cells": {"FORMAT": 2, "_READABLE": 80},
    "sweeps.sweep": {"_SHOWN": 3},
}


def test_numbers_of_modules():
    modules = {name: importlib.import_module("l2l." + name) for name in NUMBERS}
    found = {name: {number: getattr(modules[name], number) for number in numbers} for name, numbers in NUMBERS.items()}
    assert found == NUMBERS
