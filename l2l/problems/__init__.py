"""Problems to optimize, and the contract that they follow."""

from l2l.problems import datasets
from l2l.problems.augmented import Mixture, RandomlyScaled, WithConvexTerm
from l2l.problems.classification import ACTIVATIONS, MLP, Classification, ConvNet, Layer
from l2l.problems.datasets import Examples
from l2l.problems.functions import Ackley, Rastrigin, Rosenbrock
from l2l.problems.keras_models import KerasProblem
from l2l.problems.minibatches import minibatch, noise
from l2l.problems.problem import Problem
from l2l.problems.quadratic import DenseQuadratic, DenseQuadraticDraw, Quadratic, QuadraticDraw
from l2l.problems.random_numbers import keys, normal, uniform
from l2l.problems.regression import LeastSquares, LogisticRegression, RegressionDraw

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Ackley",
    "Classification",
    "ConvNet",
    "DenseQuadratic",
    "DenseQuadraticDraw",
    "Examples",
    "KerasProblem",
    "Layer",
    "LeastSquares",
    "LogisticRegression",
    "Mixture",
    "Problem",
    "Quadratic",
    "QuadraticDraw",
    "RandomlyScaled",
    "Rastrigin",
    "RegressionDraw",
    "Rosenbrock",
    "WithConvexTerm",
    "datasets",
    "keys",
    "minibatch",
    "noise",
    "normal",
    "uniform",
]


def __dir__():
    return __all__
