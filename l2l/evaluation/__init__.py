"""Evaluation: optimizers on the same held-out draws, step by step, and checks for custom problems and optimizers."""

from l2l.evaluation import testing
from l2l.evaluation.evaluate import evaluate
from l2l.evaluation.evaluation import Evaluation
from l2l.evaluation.traces import Trace, trace

__all__ = ["Evaluation", "Trace", "evaluate", "testing", "trace"]


def __dir__():
    return __all__
