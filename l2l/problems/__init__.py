"""What is optimized: the contract of a problem, and problems."""

from l2l.problems.minibatches import keys, minibatch
from l2l.problems.problem import Problem, uniform
from l2l.problems.quadratic import Quadratic, QuadraticDraw

__all__ = ["Problem", "Quadratic", "QuadraticDraw", "keys", "minibatch", "uniform"]
