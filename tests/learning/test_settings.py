"""The settings of a training: their defaults, and all that is checked of them."""

import json

import numpy as np
import pytest

import l2l
from l2l.learning.settings import Settings

META_LOSSES = ", ".join(sorted(l2l.META_LOSSES))

FLOAT32 = "a positive number of float32, 1.18e-38 to 3.4e38"


def test_the_defaults_are_episode_1s():
    """Part of the record of every training: a change of one of them is a change of what a training means."""
    assert Settings()._asdict() == {
        "meta_loss": "sum",
        "estimator": None,
        "unroll_length": 20,
        "horizon": 20,
        "learning_rate": 3e-4,
        "meta_optimizer": None,
        "clip_norm": 1.0,
        "second_derivatives": True,
        "batch": 1,
        "threads": 1,
        "weights_seed": 0,
        "draws_seed": 0,
    }


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (
            {"meta_loss": "mean"},
            ValueError,
            "meta_loss must be one of %s, got 'mean'" % META_LOSSES,
        ),
        (
            {"meta_loss": None},
            TypeError,
            "meta_loss must be callable or one of %s, got None" % META_LOSSES,
        ),
        ({"unroll_length": 0}, ValueError, "unroll_length must be a positive integer, got 0"),
        ({"unroll_length": 2.0}, TypeError, "unroll_length must be a positive integer, got 2.0"),
        ({"horizon": 0}, ValueError, "horizon must be a positive integer, got 0"),
        ({"horizon": "20"}, TypeError, "horizon must be a positive integer, got '20'"),
        ({"horizon": 30}, ValueError, "horizon must be a multiple of unroll_length, 20, got 30"),
        ({"horizon": 10}, ValueError, "horizon must be a multiple of unroll_length, 20, got 10"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be %s, got 0" % FLOAT32),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate must be %s, got inf" % FLOAT32),
        ({"learning_rate": "1"}, TypeError, "learning_rate must be %s, got '1'" % FLOAT32),
        ({"meta_optimizer": "Adam"}, TypeError, "meta_optimizer must be callable, got 'Adam'"),
        ({"clip_norm": -1}, ValueError, "clip_norm must be %s, got -1" % FLOAT32),
        ({"clip_norm": "1"}, TypeError, "clip_norm must be %s, got '1'" % FLOAT32),
        ({"second_derivatives": 1}, TypeError, "second_derivatives must be True or False, got 1"),
        ({"batch": 0}, ValueError, "batch must be a positive integer, got 0"),
        ({"batch": True}, TypeError, "batch must be a positive integer, got True"),
        ({"threads": 0}, ValueError, "threads must be a positive integer, got 0"),
        ({"threads": 2}, ValueError, "threads must divide the batch, 1, got 2"),
        ({"batch": 6, "threads": 4}, ValueError, "threads must divide the batch, 6, got 4"),
        ({"weights_seed": -1}, ValueError, "weights_seed must be an integer from 0 to 2**31 - 1, got -1"),
        ({"weights_seed": 0.5}, TypeError, "weights_seed must be an integer from 0 to 2**31 - 1, got 0.5"),
        ({"draws_seed": 2**31}, ValueError, "draws_seed must be an integer from 0 to 2**31 - 1, got 2147483648"),
        ({"draws_seed": None}, TypeError, "draws_seed must be an integer from 0 to 2**31 - 1, got None"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_each_is_checked(changes, error, message):
    with pytest.raises(error) as caught:
        Settings(**changes)
    assert str(caught.value) == message


def test_one_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="rate"):
        Settings(rate=1)


def test_the_horizon_is_that_of_one_segment_unless_it_is_said():
    assert Settings(unroll_length=5).horizon == 5 and not Settings(unroll_length=5).carries
    assert Settings(unroll_length=5, horizon=5).carries is False
    assert Settings(unroll_length=5, horizon=15).carries is True


def test_numbers_of_numpy_become_pythons():
    settings = Settings(
        unroll_length=np.int64(5), learning_rate=np.float32(0.5), batch=np.int32(4), weights_seed=np.int8(3)
    )
    assert json.loads(json.dumps(settings.description())) == settings.description()
    assert settings.description()["learning_rate"] == 0.5 and settings.description()["horizon"] == 5


class Own:
    def __call__(self, losses):
        return losses[0]


def own(losses):
    return losses[0]


def test_its_description_is_a_record_of_all_settings():
    settings = Settings("end_log", unroll_length=4, horizon=8, batch=6, threads=3)
    assert settings.description() == dict(settings._asdict())
    assert Settings(own).description()["meta_loss"] == "own"
    assert Settings(Own()).description()["meta_loss"] == "Own"
    assert json.dumps(Settings(own).description())


class _Uniform:
    """Gives this number for a random one."""

    def __init__(self, number):
        self._number = number

    def uniform(self):
        return self._number


ES, PES = l2l.EvolutionStrategies(), l2l.PES()


@pytest.mark.parametrize(
    "horizon, estimator, uniform, expected",
    [
        (30, ES, 0.5, 30),
        ((1, 7), ES, 0.0, 1),
        ((1, 7), ES, 0.9, 6),  # 8 ** 0.9 is 6.5
        ((1, 7), ES, 1 - 1e-9, 7),
        ((1, 7), ES, 1.0, 7),  # which rounding may make of a number just below
        ((3, 7), ES, 0.5, 4),  # sqrt(3 * 8) is 4.9
        (lambda number: 10 * number, ES, 0.5, 40),
        (lambda number: [number, 7], ES, 0.0, 4),
        (30, PES, 0.5, 30),
        (31, PES, 0.5, 35),
        ((31, 31), PES, 0.5, 35),
    ],
)
def test_a_horizon_is_a_number_or_drawn_with_a_uniform_logarithm(horizon, estimator, uniform, expected):
    settings = Settings(estimator=estimator, unroll_length=5, horizon=horizon)
    found = settings.horizon_of(4, _Uniform(uniform))
    assert found == expected and type(found) is int and not settings.carries


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"estimator": "ES"}, TypeError, "estimator must be None, l2l.EvolutionStrategies"),
        ({"batch": 2}, ValueError, "batch and second_derivatives must be left as they are .* got 2 and True"),
        ({"second_derivatives": False}, ValueError, "batch and second_derivatives must be left .* got 1 and False"),
        ({"horizon": (5, 2)}, ValueError, "horizon must have its least first"),
        ({"horizon": (1, 2, 3)}, ValueError, r"horizon must be a number or a pair \(least, most\), got \(1, 2, 3\)"),
        ({"horizon": "5"}, TypeError, "horizon must be a positive integer, got '5'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_an_estimator_has_no_use_for_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        Settings(**{"estimator": ES, **changes})


def test_a_function_must_return_a_horizon():
    with pytest.raises(ValueError, match="horizon must have its least first"):
        Settings(estimator=ES, horizon=lambda number: (5, number)).horizon_of(4, _Uniform(0.5))


def test_functions_of_the_users_own_are_told_from_schedules():
    settings = Settings(own, learning_rate=l2l.exponential_decay(0.1, 10))
    assert settings.functions() == {"meta_loss": own, "horizon": None, "learning_rate": None, "meta_optimizer": None}
    assert settings.description()["learning_rate"] == settings.learning_rate.description()
    assert Settings(estimator=PES).description()["estimator"] == PES.description()
