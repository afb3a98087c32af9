"""The stages of a curriculum: what each of them trains, what their record says, and which of them have begun."""

import types

import numpy as np
import pytest
from trainers import learned_momentum

import l2l
from l2l.learning.settings import Settings
from l2l.runs.recipe import Recipe
from l2l.runs.stages import checked_begun, checked_stages, in_stage, joint_record
from l2l.runs.validation import Validation

START = l2l.Trained(learned_momentum, [np.float32(0.1)] * 2)


def checked(stages, start=learned_momentum):
    settings = {**Settings("end", unroll_length=4, weights_seed=1, draws_seed=2)._asdict(), "horizon": None}
    return checked_stages(stages, Recipe(l2l.Quadratic(2), start, settings, "graph"))


def test_a_stage_has_what_it_says_and_else_what_all_have():
    other = l2l.Quadratic(3)
    own = {"horizon": 8, "meta_loss": "sum", "clip_norm": None, "batch": 2}
    first, second = checked(
        ({"meta_iterations": 5}, {"meta_iterations": 3, "problem": other, "build_optimizer": typed, **own}), START
    )
    assert (first.meta_iterations, second.meta_iterations) == (5, 3)
    assert first.recipe.build_optimizer is learned_momentum and first.recipe.start is START
    assert first.recipe.problem == l2l.Quadratic(2) or first.recipe.problem.dims == 2
    assert second.recipe.problem is other and second.recipe.build_optimizer is typed and second.recipe.start is None
    assert first.recipe.settings == Settings("end", unroll_length=4, weights_seed=1, draws_seed=2)
    expected = Settings(unroll_length=4, horizon=8, clip_norm=None, batch=2, weights_seed=1, draws_seed=3)
    assert second.recipe.settings == expected and {first.recipe.engine, second.recipe.engine} == {"graph"}


def typed():
    return learned_momentum()


@pytest.mark.parametrize(
    "stages, error, message",
    [
        (100, TypeError, r"^stages must be a list of dicts, such as .*, got 100$"),
        ([], ValueError, r"^stages must have at least one stage, got \[\]$"),
        ([3], TypeError, r"^stages\[0\] must be a dict, such as .*, got 3$"),
        ([{}], TypeError, r"^stages\[0\]: meta_iterations is missing, got \{\}$"),
        ([{"meta_iterations": 0}], ValueError, r"^stages\[0\]: meta_iterations must be a positive integer, got 0$"),
        (
            [{"meta_iterations": 1, "weights_seed": 3}],
            TypeError,
            r"^stages\[0\]: a stage has no setting 'weights_seed'",
        ),
        (
            [{"meta_iterations": 1, "estimator": l2l.PES(1)}],
            TypeError,
            r"^stages\[0\]: a stage has no setting 'estimator'; there are meta_iterations, problem, build_optimizer, ",
        ),
        ([{"meta_iterations": 1, "horizon": 6}], ValueError, r"^stages\[0\]: horizon must be a multiple of"),
        (
            [{"meta_iterations": 1}, {"meta_iterations": 1, "build_optimizer": START}],
            TypeError,
            r"^stages\[1\]: build_optimizer must be a function, since stages go on with the weights, got <Trained",
        ),
    ],
)
def test_what_is_wrong_with_a_stage_is_said_with_its_number(stages, error, message):
    with pytest.raises(error, match=message):
        checked(stages)


def test_errors_about_an_argument_keep_their_kind_and_others_are_as_they_were():
    for error, kind in [(TypeError("a"), TypeError), (UnicodeError("a"), ValueError), (ValueError("a"), ValueError)]:
        with pytest.raises(kind, match=r"^stages\[4\]: a$") as caught, in_stage(4):
            raise error
        assert type(caught.value) is kind and caught.value.__cause__ is error
    with pytest.raises(KeyError), in_stage(4):
        raise KeyError


def test_the_record_of_all_stages():
    first = {"name": "x", "horizon": 4, "start": {"name": "y"}, "code": {"problem": None}}
    others = [{**first, "start": None, "horizon": 8}, {**first, "start": None, "position": [1]}]
    stages = checked([{"meta_iterations": number} for number in (5, 6, 7)])
    expected = {
        **first,
        "stages": [
            {"meta_iterations": 5},
            {"meta_iterations": 6, "horizon": 8},
            {"meta_iterations": 7, "position": [1]},
        ],
        "validation": None,
        "begun": [{"first": 0, "start": {"name": "y"}}],
    }
    assert joint_record(stages, [first, *others], None) == expected
    backwards = joint_record(stages[:2], [others[1], first], None)
    assert backwards["stages"] == [{"meta_iterations": 5}, {"meta_iterations": 6, "position": None}]
    validation = Validation(3, 2, 8, np.mean, 1)
    expected["validation"] = {"every": 3, "patience": 2, "draws": 8, "seed": 1}
    expected["code"] = {"problem": None, "measure": validation.code()}
    assert joint_record(stages, [first, *others], validation) == expected


class Length:
    """A history of so many meta-iterations."""

    def __init__(self, length, begun):
        self._length, self.config = length, {"begun": begun}

    def __len__(self):
        return self._length


def begun(*firsts):
    return [{"first": first, "start": None} for first in firsts]


STAGES = [types.SimpleNamespace(meta_iterations=number) for number in (2, 3)]


@pytest.mark.parametrize("length, stages", [(0, [0]), (2, [0]), (2, [0, 2]), (1, [0, 1]), (5, [0, 2]), (3, [0, 0])])
def test_how_many_stages_have_begun(length, stages):
    assert checked_begun("path", Length(length, begun(*stages)), STAGES) == len(stages)


@pytest.mark.parametrize("value", [None, [], 3, {}, [3], ["start"], [{"first": 0}], [{"start": None}], begun(1)])
def test_what_says_nothing_of_stages_that_have_begun_is_no_checkpoint(value):
    more = [begun(0, 1, 2), begun(None), begun(0.0), begun(False), begun("0"), begun(0, 2.0), begun(0) + [3]]
    for one in [value, *more]:
        with pytest.raises(ValueError, match=r"^'path' is no checkpoint: its stages that have begun are "):
            checked_begun("path", Length(3, one), STAGES)


@pytest.mark.parametrize("length, stages, lengths", [(3, [0], "[3]"), (6, [0, 2], "[2, 4]"), (1, [0, 2], "[2, -1]")])
def test_a_stage_has_no_more_meta_iterations_than_it_may(length, stages, lengths):
    with pytest.raises(ValueError) as caught:
        checked_begun("path", Length(length, begun(*stages)), STAGES)
    assert str(caught.value) == "'path' is no checkpoint: its stages have %s meta-iterations" % lengths
