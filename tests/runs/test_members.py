"""Runs with weights that are given, in calls of a few base iterations, against NumPy."""

import numpy as np
import pytest
from trainers import Listed, learned_momentum

from l2l.runs import members as module
from l2l.runs.evolving_graph import _mean
from l2l.runs.members import Members

STARTS, RATE, DECAY = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), 0.1, 0.5


def expected(x, steps):
    losses, velocity = [], 0.0
    for _ in range(steps):
        losses.append((x**2).sum())
        velocity = DECAY * velocity + 2 * x
        x = x - RATE * velocity
    return losses, x


@pytest.fixture
def members():
    """Of a sound draw, and one whose loss is NaN at base iteration 4."""
    members = Members(Listed(STARTS, bad_at=[-1, 4]), learned_momentum, "graph", pairs=2, turns=3, threads=1)
    yield members
    members.close()


def test_a_run_is_that_of_numpy_in_however_many_calls_and_ends_with_a_loss_that_is_none(members):
    weights = [np.float32(RATE), np.float32(DECAY)]
    sound, bad = members.draws(0)
    begun = members.begun(weights, sound, 8)
    np.testing.assert_array_equal(begun[0], STARTS[0])
    losses, carried = members.run(weights, sound, begun, first=0, steps=8, horizon=8)
    right, x = expected(STARTS[0], 8)
    np.testing.assert_allclose(losses, right, rtol=1e-5)
    np.testing.assert_allclose(carried[0], x, rtol=1e-4)
    half, carried = members.run(weights, sound, begun, first=0, steps=5, horizon=8)
    rest, _ = members.run(weights, sound, carried, first=5, steps=3, horizon=8)
    np.testing.assert_array_equal(np.concatenate([half, rest]), losses)
    begun = members.begun(weights, bad, 8)
    losses, _ = members.run(weights, bad, begun, first=0, steps=8, horizon=8)
    np.testing.assert_array_equal(np.isfinite(losses), [True] * 4 + [False] * 2)  # two calls of three
    losses, _ = members.run(weights, bad, begun, first=5, steps=3, horizon=8)
    assert np.isfinite(losses).all(), "base iteration 4 is past"
    assert members.is_ready
    members.close()
    with pytest.raises(RuntimeError, match="closed"):
        members.begun(weights, sound, 8)


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_what_is_compiled_is_compiled_once_and_before_it_runs(engine, monkeypatch):
    prepared, calls = [], []
    for name in ["prepare_xla", "prepare_allocator"]:
        monkeypatch.setattr(module, name, lambda name=name: prepared.append(name))
    members = Members(Listed(STARTS), learned_momentum, engine, pairs=2, turns=3, threads=1)
    assert prepared == ["prepare_xla" if engine == "xla" else "prepare_allocator"]
    assert members.is_ready == (engine == "graph")
    monkeypatch.setattr(members, "_call", lambda *inputs: calls.append([np.shape(one) for one in inputs]))
    members.prepare()
    members.prepare()
    # Where it begins and how long, two weights, a draw and its horizon; position, velocity, and whether it has begun.
    expected = [[(), (), (), (), (), (2,), (), (2,), (), (2,)]]
    assert members.is_ready and calls == (expected if engine == "xla" else [])
    members.close()


def test_what_diverged_has_no_part_in_a_mean():
    assert _mean(np.array([[1.0, np.nan], [np.inf, 4.0]])) == 2.5
    assert np.isnan(_mean(np.full([2, 2], np.nan)))
