"""Trainers that are quick to build, for every test that needs one."""

import numpy as np

import l2l

ENGINES = ["xla", "graph"]


def small(**changes):
    """A trainer that is quick to build: without a word, one that compiles nothing."""
    arguments = {"steps": 4, "weights_seed": 1, "draws_seed": 2, "engine": "graph"}
    arguments.update(changes)
    build = arguments.pop("build_optimizer", lambda: l2l.CoordinatewiseLSTM((5,)))
    return l2l.Trainer(l2l.Quadratic(2), build, **arguments)


def same(one, other):
    """Whether two lists of arrays are bit for bit alike."""
    return all(np.array_equal(a, b) for a, b in zip(one, other))
