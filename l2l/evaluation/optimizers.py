"""Checks of the optimizers of an evaluation: functions without variables, and networks with their weights."""

import contextlib
import warnings

import tensorflow.compat.v1 as tf

from l2l.optimizers.first_call import is_of_another_graph
from l2l.optimizers.optimizer import opened
from l2l.optimizers.trained import Trained
from l2l.tracebacks import levels_to_the_caller


def check_optimizers(optimizers):
    """Refuses what is no optimizer, or one without its weights; warns of weights that were never trained."""
    if not isinstance(optimizers, dict) or not optimizers:
        raise ValueError("optimizers must be a non-empty dict from name to optimizer, got %r" % (optimizers,))
    for name, optimizer in optimizers.items():
        path = "optimizers[%r]" % (name,)
        if isinstance(optimizer, Trained):
            if optimizer.record.get("meta_iterations") == 0:
                words = "%s was never trained: its weights are the initial ones" % path
                warnings.warn(words, RuntimeWarning, stacklevel=levels_to_the_caller())
            continue
        if not callable(optimizer):
            raise TypeError(
                "%s must be an optimizer, a function (gradients, state) -> (update, state), or one from "
                "tuned.optimizer, trainer.trained() or l2l.load(path), got %r" % (path, optimizer)
            )
        if opened(path, optimizer).variables:
            raise _has_variables(path, optimizer)


def _has_variables(path, optimizer):
    return TypeError(
        "%s must be a function (gradients, state) -> (update, state) without variables, or what "
        "trainer.trained() returns, got %r" % (path, optimizer)
    )


@contextlib.contextmanager
def without_variables(path, optimizer):
    """Refuses an optimizer whose first call, within the block, creates variables or uses those of another graph."""
    number = len(tf.trainable_variables())
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if is_of_another_graph(error):
            raise _has_variables(path, optimizer) from error
        raise
    if len(tf.trainable_variables()) > number:
        raise _has_variables(path, optimizer)
