"""Validations: what they measure, and what a checkpoint may say of them."""

import numpy as np
import pytest
from counting_graphs import put_in_place

import l2l
from l2l.describe import describe
from l2l.learning.engines import CannotCompileError
from l2l.runs import validation
from l2l.runs.validation import Validation, checked_rows, checked_validation


def test_what_is_left_out():
    assert checked_validation(None, None, 8, None, 1) is None
    assert checked_validation(3, None, 8, None, 1) == Validation(3, None, 8, l2l.log_average, 1)
    assert checked_validation(3, 2, 5, np.mean, 4) == Validation(3, 2, 5, np.mean, 4)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"every": 0}, ValueError, "validate_every must be a positive integer, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be a positive integer, got 1.5"),
        ({"every": None, "patience": 2}, ValueError, "patience needs validate_every, which is None, got 2"),
        ({"every": None, "measure": max}, ValueError, "measure needs validate_every, which is None, got "),
        ({"draws": 0}, ValueError, "draws must be a positive integer, got 0"),
        ({"every": None, "draws": 0}, ValueError, "draws must be a positive integer, got 0"),
        ({"measure": 3}, TypeError, "measure must be callable, got 3"),
        ({"seed": -1}, ValueError, "validation_seed must be an integer from 0 to 2**31 - 1, got -1"),
    ],
)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error) as caught:
        checked_validation(**{"every": 3, "patience": None, "draws": 8, "measure": None, "seed": 1, **changes})
    assert str(caught.value).startswith(message)


def test_its_description_and_code():
    own = Validation(3, 2, 5, np.mean, 4)
    assert own.description() == {"every": 3, "patience": 2, "draws": 5, "seed": 4}
    assert own.code() == describe("measure", np.mean) and own._replace(measure=l2l.log_average).code() is None


def test_where_xla_cannot_it_is_evaluated_op_by_op_if_that_is_allowed(monkeypatch):
    _, built = put_in_place(monkeypatch)
    one, refused = Validation(3, 2, 5, np.mean, 4), CannotCompileError("XLA cannot")
    assert one.graph(None, None, 8, "xla", False) is built[0] and built[0].engine == "xla"
    monkeypatch.setattr("counting_graphs.CountingEvaluation.cannot_compile", refused)
    with pytest.raises(CannotCompileError, match=r"^XLA cannot$"):
        one.graph(None, None, 8, "xla", False)
    with pytest.warns(RuntimeWarning, match=r"^XLA cannot\. Validating with engine='graph'\.$") as caught:
        assert one.graph(None, None, 8, "xla", True).engine == "graph"
    assert len(caught) == 1


def test_the_draws_are_held_out(monkeypatch):
    """Their seeds are those of `evaluate`, which no training has."""
    asked = []
    monkeypatch.setattr(validation, "EvaluationGraph", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(validation, "drawn", lambda *arguments: asked.append(arguments) or "draws")
    Validation(3, 2, 5, np.mean, 4).graph("problem", "trained", 8, "graph", True)
    assert asked == [
        ("problem", 5, (-5, 0), 8),
        ("problem", "trained", "build_optimizer", "draws", 8, "graph"),
    ]


def columns(**changes):
    good = {
        "stage": np.array([0, 0, 1]),
        "meta_iterations": np.array([0, 5, 0]),
        "figure": np.array([3.0, 2.0, -np.inf]),
        "is_best": np.array([True, True, False]),
    }
    return {**good, **changes}


def test_the_rows_of_a_checkpoint():
    assert checked_rows("path", columns(), [4, 8]) == [
        {"stage": 0, "horizon": 4, "meta_iterations": 0, "figure": 3.0, "is_best": True},
        {"stage": 0, "horizon": 4, "meta_iterations": 5, "figure": 2.0, "is_best": True},
        {"stage": 1, "horizon": 8, "meta_iterations": 0, "figure": -np.inf, "is_best": False},
    ]
    assert checked_rows("path", {name: one[:0] for name, one in columns().items()}, [4]) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        *[({name: None}, "it lacks a column of the validations") for name in columns()],
        *[({name: one.astype(np.float32)}, "it lacks a column of the validations") for name, one in columns().items()],
        ({"figure": np.zeros(2)}, "its validations are no columns of one length"),
        ({name: one[:, None] for name, one in columns().items()}, "its validations are no columns of one length"),
        ({name: one[0] for name, one in columns().items()}, "its validations are no columns of one length"),
        ({"stage": np.array([0, 0, 2])}, "its validations are no columns of one length"),
        ({"stage": np.array([-1, 0, 1])}, "its validations are no columns of one length"),
        ({"stage": np.array([0, 1, 0])}, "its validations are no columns of one length"),
    ],
)
def test_what_is_impossible_is_refused(changes, message):
    with pytest.raises(ValueError) as caught:
        checked_rows("path", columns(**changes), [4, 8])
    assert str(caught.value) == "'path' is no checkpoint: " + message
