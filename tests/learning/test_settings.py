"""The settings of a training: their defaults, and all that is checked of them."""

import json

import numpy as np
import pytest

import l2l

META_LOSSES = ", ".join(sorted(l2l.META_LOSSES))

FLOAT32 = "a positive number of float32, 1.18e-38 to 3.4e38"


def test_the_defaults_are_episode_1s():
    """Part of the record of every training: a change of one of them is a change of what a training means."""
    assert l2l.Settings()._asdict() == {
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
        l2l.Settings(**changes)
    assert str(caught.value) == message


def test_one_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="rate"):
        l2l.Settings(rate=1)


def test_the_horizon_is_that_of_one_segment_unless_it_is_said():
    assert l2l.Settings(unroll_length=5).horizon == 5 and not l2l.Settings(unroll_length=5).carries
    assert l2l.Settings(unroll_length=5, horizon=5).carries is False
    assert l2l.Settings(unroll_length=5, horizon=15).carries is True


def test_numbers_of_numpy_become_pythons():
    settings = l2l.Settings(
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
    settings = l2l.Settings("end_log", unroll_length=4, horizon=8, batch=6, threads=3)
    assert settings.description() == dict(settings._asdict())
    assert l2l.Settings(own).description()["meta_loss"] == "own"
    assert l2l.Settings(Own()).description()["meta_loss"] == "Own"
    assert json.dumps(l2l.Settings(own).description())
