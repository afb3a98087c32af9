"""Numbers that go bad: skipped, counted, saved, and repeated."""

import concurrent.futures
import os
import pickle
import threading

import numpy as np
import pytest
import tensorflow as tf
from trainers import ENGINES, Listed, learned_momentum, losses_on_draws, one_rate, same, small

import l2l
from l2l.runs import nonfinite, training_graph


class Sometimes(l2l.Quadratic):
    """A quadratic whose loss is NaN for some draws: about one in eight."""

    def loss(self, x, draw):
        return super().loss(x, draw) * tf.where(draw.scale[0] > 1.375, np.float32(np.nan), np.float32(1))


def sometimes(engine, **changes):
    return small(
        problem=Sometimes(2),
        **{"learning_rate": 0.01, "engine": engine, "name": "odd", "weights_seed": 0, "draws_seed": 0, **changes},
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_overflows_is_reported(engine):
    """NaN and infinity survive XLA's fast math."""
    trainer = small(build_optimizer=lambda: one_rate(-1e15), engine=engine)
    with pytest.warns(RuntimeWarning, match="meta-iteration 0 has meta-loss inf, last loss inf"):
        history = trainer.run(3)
    assert np.isinf(history.last_loss).all() and history.skipped.all()
    assert trainer.weights() == [np.float32(-1e15)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_zero_gradient_changes_no_weight(engine):
    """Under a log, losses at the floor have no gradient; fast math must not divide by its norm."""
    trainer = small(engine=engine, meta_loss=lambda losses: losses[0] + 1e-20 * losses[-1])
    before = trainer.weights()
    assert trainer.run(3).gradient_norm.max() == 0
    assert same(trainer.weights(), before)


def variables(trainer):
    return {name: array for name, array in trainer.snapshot().items() if name.startswith("variables/")}


@pytest.mark.parametrize("engine", ENGINES)
def test_meta_iterations_with_nan_are_skipped_and_counted(engine):
    trainer = sometimes(engine)
    with pytest.warns(RuntimeWarning) as caught:
        history = trainer.run(100)
    bad = np.isnan(history.meta_loss)
    assert 5 < bad.sum() < 25
    np.testing.assert_array_equal(history.skipped, bad)
    assert all(np.isfinite(weight).all() for weight in trainer.weights())
    messages = [str(each.message) for each in caught if each.category is RuntimeWarning]
    first = np.flatnonzero(bad)[0]
    assert messages[0].startswith("odd (weights_seed=0, draws_seed=0): meta-iteration %d has meta-loss nan" % first)
    assert len(messages) == 1
    (complaint,) = history.complaints()
    assert "%d of 100 meta-iterations had a NaN" % bad.sum() in complaint
    # Adam's own count stands still too: a run of one bad meta-iteration changes nothing at all.
    before = variables(trainer)
    while not trainer.history.skipped[-1]:
        before = variables(trainer)
        trainer.run(1)
    assert same(before, variables(trainer))


@pytest.mark.parametrize("engine", ENGINES)
def test_on_nonfinite_raise_saves_the_draw_which_can_be_replayed(engine, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    scales = run(l2l.Quadratic(2).sample(training_graph.DRAWS_PER_BLOCK, 0).scale)
    first, second = np.flatnonzero(scales[:, 0] > 1.375)[:2]
    trainer = sometimes(engine, on_nonfinite="raise")
    with pytest.raises(l2l.NonFiniteError, match="^odd .*: meta-iteration %d has .*repeats it$" % first) as caught:
        trainer.run(100)
    assert len(trainer.history) == first + 1
    assert str(caught.value).endswith("; trainer.replay(%r) repeats it" % caught.value.path)
    again = pickle.loads(pickle.dumps(caught.value))  # as from a process of a pool
    assert (str(again), again.path) == (str(caught.value), caught.value.path)
    replay = trainer.replay(caught.value.path)
    assert np.isnan(replay.losses).all() and np.isnan(replay.meta_loss) and np.isnan(replay.gradient_norm)
    with pytest.raises(l2l.NonFiniteError):
        trainer.run(1000)  # goes on with the next draw, to the next bad one
    assert len(trainer.history) == second + 1


@pytest.mark.parametrize("hard_links", [True, False])
def test_each_of_several_that_write_at_once_has_a_file_of_its_own(hard_links, tmp_path, monkeypatch):
    """All of them look which names are free before any of them has written."""
    barrier, savez, link = threading.Barrier(4), np.savez, os.link

    def together(*arguments, **more):
        barrier.wait(60)
        savez(*arguments, **more)

    def refused(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(np, "savez", together)
    monkeypatch.setattr(os, "link", link if hard_links else refused)

    def write(i):
        return nonfinite.write(str(tmp_path), 7, {"name": str(i)}, {"draw/0": np.array(i)})

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(write, range(4)))
    ends = ["", "-1", "-2", "-3"]
    assert sorted(paths) == sorted(str(tmp_path / ("nonfinite-000000000007%s.npz" % end)) for end in ends)
    assert sorted(os.listdir(str(tmp_path))) == sorted(map(os.path.basename, paths))
    for i, path in enumerate(paths):
        config, arrays = l2l.archives.read(path)
        assert config == {"meta_iteration": 7, "trainer": {"name": str(i)}} and arrays == {"draw/0": i}


def test_trainers_side_by_side_each_name_a_file_that_they_can_repeat(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = Listed([[1.0, 0.5]], [1])
    trainers = [small(problem=bad, on_nonfinite="raise", name=str(i), weights_seed=i) for i in range(2)]
    errors = []

    def run(trainer):
        with pytest.raises(l2l.NonFiniteError) as caught:
            trainer.run(1)
        errors.append((trainer, caught.value))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run, trainers))
    assert len({error.path for _, error in errors}) == 2
    for trainer, error in errors:
        assert np.isnan(trainer.replay(error.path).meta_loss)


def test_a_negative_loss_under_a_log_is_named():
    record = {"name": "x", "weights_seed": 1, "draws_seed": 2}
    for meta_loss, last_loss, is_named in [
        ("end_log", -0.5, True),
        ("sum_log", -0.5, True),
        ("end_log", 0.0, False),
        ("end_log", 0.5, False),
        ("end_log", np.nan, False),
        ("sum", -0.5, False),
    ]:
        text = nonfinite.described({**record, "meta_loss": meta_loss}, 3, [np.nan, last_loss, 1.0])
        assert text.startswith("x (weights_seed=1, draws_seed=2): meta-iteration 3 has meta-loss nan, last loss")
        assert text.endswith("; a negative loss has no logarithm") == is_named


@pytest.mark.parametrize("engine", ENGINES)
def test_a_last_loss_that_is_nan_beside_a_meta_loss_that_is_not_changes_no_weight(engine):
    """The meta-loss looks at the first two losses alone."""
    settings = {"meta_loss": lambda losses: losses[1], "unroll_length": 3, "engine": engine, "learning_rate": 0.01}
    trainer = small(problem=Listed(STARTS, [-1, 2, -1, -1, -1]), **settings)
    trainer.run(1)
    before = variables(trainer)
    with pytest.warns(RuntimeWarning, match=r"meta-iteration 1 has meta-loss [0-9.e-]+, last loss nan"):
        history = trainer.run(1)
    assert np.isfinite(history.meta_loss).all() and history.skipped.tolist() == [False, True]
    assert same(variables(trainer), before)
    trainer.run(1)
    assert not trainer.history.skipped[-1] and not same(variables(trainer), before)


def test_a_file_that_is_no_saved_meta_iteration_is_refused(tmp_path):
    trainer, path = small(), str(tmp_path / "x.npz")
    start = {name: array for name, array in trainer.snapshot().items() if name.startswith(("variables/", "carried/"))}
    start.update({"draw/0": np.ones(2, np.float32), "draw/1": np.ones(2, np.float32), "age": np.array(0)})
    good = {"trainer": trainer.history.config}

    def with_(name, array):
        return {**start, name: array}

    for config, arrays, message in [
        ({}, {}, "is no saved meta-iteration"),
        ({"trainer": 3}, {}, "is no saved meta-iteration"),
        ({"trainer": {}}, {}, "is from another trainer: batch=None there, 1 here"),
        (good, {}, r"is from another trainer: 'age' is absent there, int64 of shape \(\) here"),
        (good, with_("draw/0", np.zeros(3, np.float32)), r"'draw/0' is float32 of shape \(3,\) there, .*\(2,\) here"),
        (
            good,
            with_("draw/1", np.zeros(2)),
            r"'draw/1' is float64 of shape \(2,\) there, float32 of shape \(2,\) here",
        ),
        (good, with_("age", np.array(0.5)), r"'age' is float64 of shape \(\) there, int64 of shape \(\) here"),
        (good, with_("age", np.array(3)), "is no saved meta-iteration: its age is 3"),
        (good, with_("age", np.array(4)), "is no saved meta-iteration: its age is 4"),
        (good, with_("variables/r", np.array(0)), "'variables/r' is int64 of shape .* there, float32 of shape"),
        ({"trainer": {**good["trainer"], "second_derivatives": False}}, start, "second_derivatives=False there"),
    ]:
        l2l.archives.write(path, config, arrays)
        with pytest.raises(ValueError, match=message) as caught:
            trainer.replay(path)
        assert "x.npz" in str(caught.value) and len(str(caught.value)) < 500 + len(str(tmp_path))
    l2l.archives.write(path, good, start)
    assert np.isfinite(trainer.replay(path).losses).all()


@pytest.mark.parametrize(
    "settings", [{"batch": 2, "second_derivatives": False}, {"batch": 4, "threads": 2, "horizon": 12}]
)
def test_replay_gives_the_figures_of_the_run(settings, tmp_path):
    """Of a meta-iteration that had nothing wrong with it, in the middle of a draw's life where there is a horizon."""
    trainer, problem = small(meta_loss="end", **settings), l2l.Quadratic(2)
    trainer.run(4)
    snapshot = trainer.snapshot()
    number, age = snapshot.pop("place")
    with tf.Session() as session:
        batch = settings["batch"]
        arrays = session.run(tf.nest.flatten(problem.sample(training_graph.DRAWS_PER_BLOCK * batch, 2 << 32)))
    draw = {"draw/%d" % i: array[number * batch : (number + 1) * batch] for i, array in enumerate(arrays)}
    start = {**snapshot, **draw, "age": np.array(age)}
    assert age == (4 if "horizon" in settings else 0)
    replay = trainer.replay(nonfinite.write(str(tmp_path), 4, trainer.history.config, start))
    history = trainer.run(1)
    assert replay.losses.shape == (4, batch)
    np.testing.assert_allclose(replay.meta_loss, history.meta_loss[-1], rtol=1e-6)
    np.testing.assert_allclose(replay.gradient_norm, history.gradient_norm[-1], rtol=1e-5)
    assert len(replay.gradients) == len(trainer.weights())


STARTS = [[1.0, 0.5], [0.25, -1.0], [-0.75, 0.5], [0.5, 0.125], [-0.25, -0.5]]


@pytest.mark.parametrize("engine", ENGINES)
def test_after_a_skipped_meta_iteration_a_new_draw_comes(engine):
    """Beside a trainer whose draws lack the bad one: but for the skipped meta-iteration they are bit for bit alike."""
    settings = {"unroll_length": 3, "horizon": 6, "engine": engine, "learning_rate": 0.01}
    whole = small(problem=Listed(STARTS, [-1, -1, 0, -1, -1]), **settings)
    without = small(problem=Listed(STARTS[:2] + STARTS[3:]), **settings)
    with pytest.warns(RuntimeWarning, match="meta-iteration 4 has"):
        whole.run(9)
    without.run(8)
    np.testing.assert_array_equal(whole.history.skipped, [False] * 4 + [True] + [False] * 4)
    np.testing.assert_array_equal(np.delete(whole.history.meta_loss, 4), without.history.meta_loss)
    np.testing.assert_array_equal(np.delete(whole.history.last_loss, 4), without.history.last_loss)
    assert same(variables(whole), variables(without))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_nan_in_the_middle_of_a_horizon_is_skipped_and_replayed_where_it_was(engine, tmp_path):
    """The second draw goes bad at base iteration 4: in its second segment, which begins with base iteration 3."""
    problem, good = Listed(STARTS, [-1, 4, -1, -1, -1]), Listed(STARTS)
    # A learning rate that changes no weight, so that a plain unroll says what all losses must be.
    settings = {"problem": problem, "unroll_length": 3, "horizon": 9, "engine": engine, "learning_rate": 1e-12}
    trainer = small(on_nonfinite="raise", checkpoint_dir=tmp_path, **settings)
    losses = losses_on_draws(good, lambda: good.sample(3), trainer.weights(), learned_momentum, 9)
    with pytest.raises(l2l.NonFiniteError, match="meta-iteration 4 has") as caught:
        trainer.run(8)
    replay = trainer.replay(caught.value.path)
    np.testing.assert_array_equal(np.isfinite(replay.losses), [True, False, False])
    np.testing.assert_allclose(replay.losses[0], losses[1][3], rtol=1e-4)
    history = trainer.run(3)  # the next draw
    expected = [*losses[0][[2, 5, 8]], losses[1][2], np.nan, *losses[2][[2, 5, 8]]]
    np.testing.assert_allclose(history.last_loss, expected, rtol=1e-4)
    assert trainer.snapshot()["place"].tolist() == [3, 0]
