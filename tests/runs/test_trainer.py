import os
import pickle
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from trainers import ENGINES, same, small

import l2l


def test_training_lowers_the_meta_loss():
    history = l2l.Trainer(l2l.Quadratic(2), l2l.CoordinatewiseLSTM, steps=5).run(400)
    assert history.meta_loss[-50:].mean() < 0.5 * history.meta_loss[:50].mean()
    assert history.seconds.min() > 0 and np.isfinite(history.gradient_norm).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seeds_are_bit_identical(engine):
    one, other = small(engine=engine), small(engine=engine)
    assert same(one.weights(), other.weights())
    np.testing.assert_array_equal(one.run(30).meta_loss, other.run(30).meta_loss)
    assert same(one.weights(), other.weights())


@pytest.mark.parametrize("engine", ENGINES)
def test_run_goes_on_where_it_stopped(engine, monkeypatch):
    monkeypatch.setattr(l2l.graph, "DRAWS_PER_BLOCK", 8)  # the runs cross three blocks
    whole, parts = small(engine=engine), small(engine=engine)
    whole.run(25)
    parts.run(10)
    history = parts.run(15)
    assert len(history) == 25
    np.testing.assert_array_equal(history.last_loss, whole.history.last_loss)
    assert same(whole.weights(), parts.weights())


def test_draws_do_not_depend_on_the_weights_and_go_on_from_block_to_block(monkeypatch):
    monkeypatch.setattr(l2l.graph, "DRAWS_PER_BLOCK", 8)
    # The first loss is the start's, whatever the optimizer.
    first_loss = {"meta_loss": lambda losses: losses[0] + 0 * losses[-1]}
    one = small(weights_seed=1, **first_loss).run(20).meta_loss
    np.testing.assert_array_equal(one, small(weights_seed=9, **first_loss).run(20).meta_loss)
    assert not np.any(one == small(draws_seed=3, **first_loss).run(20).meta_loss)
    assert len(set(one)) == 20


def test_weights_depend_on_their_seed_alone():
    one = small()
    assert same(one.weights(), small(draws_seed=9, steps=7, meta_loss="end_log").weights())
    assert not same(one.weights(), small(weights_seed=9).weights())


def test_two_trainers_keep_their_weights():
    one, other = small(), small(meta_loss="end")
    before = other.weights()
    one.run(5)
    assert same(before, other.weights())
    other.run(5)
    assert not same(one.weights(), other.weights())


def test_trainers_leave_the_default_graph_alone_and_finalize_their_own():
    operations = len(tf.get_default_graph().get_operations())
    trainer = small()
    trainer.run(2)
    assert len(tf.get_default_graph().get_operations()) == operations
    with pytest.raises(RuntimeError, match="finalized"), trainer._graph._session.graph.as_default():
        tf.constant(0)


@pytest.mark.parametrize("meta_loss", sorted(l2l.META_LOSSES))
@pytest.mark.parametrize("engine", ENGINES)
def test_every_meta_loss_with_both_engines(meta_loss, engine):
    trainer = small(meta_loss=meta_loss, engine=engine, build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log"))
    history = trainer.run(3)
    assert np.isfinite(history.meta_loss).all() and np.isfinite(history.gradient_norm).all()
    if meta_loss == "end":
        np.testing.assert_array_equal(history.meta_loss, history.last_loss)


def test_both_engines_start_alike():
    xla, graph = (small(engine=engine) for engine in ENGINES)
    assert same(xla.weights(), graph.weights())
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        first = [getattr(trainer.run(1), column)[0] for trainer in [xla, graph]]
        np.testing.assert_allclose(*first, rtol=1e-5)


def test_both_engines_train_alike():
    # Without second derivatives, through which two orders of the same sums drift apart.
    xla, graph = (small(engine=engine, second_derivatives=False).run(50) for engine in ENGINES)
    np.testing.assert_allclose(xla.last_loss, graph.last_loss, rtol=1e-3)


def test_both_engines_agree_closely_in_float64():
    def trained(engine):
        trainer = l2l.Trainer(
            l2l.Quadratic(2, tf.float64),
            lambda: l2l.CoordinatewiseLSTM((5,), "log", dtype=tf.float64),
            steps=6,
            engine=engine,
        )
        return trainer.run(20), trainer.weights()

    (xla, xla_weights), (graph, graph_weights) = map(trained, ENGINES)
    np.testing.assert_allclose(xla.gradient_norm[0], graph.gradient_norm[0], rtol=1e-10)
    np.testing.assert_allclose(xla.last_loss, graph.last_loss, rtol=1e-8)
    for one, other in zip(xla_weights, graph_weights):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_overflows_is_reported(engine):
    """NaN and infinity survive XLA's fast math."""

    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(-1e15))
        return lambda gradients, state: (-rate * gradients, state)

    trainer = small(build_optimizer=build, engine=engine)
    with pytest.warns(RuntimeWarning, match="meta-iteration 0 has meta-loss inf, last loss inf"):
        history = trainer.run(3)
    assert np.isinf(history.last_loss).all() and history.skipped.all()
    assert trainer.weights() == [np.float32(-1e15)]


@pytest.mark.parametrize("engine", ENGINES)
def test_nested_position_nested_state_and_a_meta_loss_of_ones_own(engine):
    class Nested(l2l.Problem):
        def sample(self, num, seed=None):
            return {"a": l2l.uniform([num, 3], -1.0, 1.0, seed), "b": l2l.uniform([num], -1.0, 1.0, seed, stream=1)}

        def initial_position(self, draw):
            return {"a": draw["a"], "b": (draw["b"],)}

        def loss(self, x, draw):
            return tf.reduce_sum(tf.square(x["a"])) + tf.square(x["b"][0])

    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.01))

        def optimizer(gradients, state):
            count, velocity = (0.0, tf.nest.map_structure(tf.zeros_like, gradients)) if state is None else state
            velocity = tf.nest.map_structure(lambda v, g: 0.5 * v + g, velocity, gradients)
            return tf.nest.map_structure(lambda v: -rate * v, velocity), (count + 1.0, velocity)

        return optimizer

    trainer = l2l.Trainer(
        Nested(), build, meta_loss=lambda losses: tf.reduce_max(losses[1:]), steps=4, learning_rate=0.01, engine=engine
    )
    history = trainer.run(100)
    assert history.meta_loss[-20:].mean() < history.meta_loss[:20].mean()
    assert trainer.weights()[0] > 0.1


class InPython(l2l.Quadratic):
    """A quadratic with an op that XLA has no code for."""

    def loss(self, x, draw):
        one = tf.py_func(lambda: np.float32(1), [], tf.float32)
        one.set_shape([])
        return one * super().loss(x, draw)


def test_what_xla_cannot_compile_says_so():
    def build(engine):
        return l2l.Trainer(InPython(2), lambda: l2l.CoordinatewiseLSTM((5,)), steps=4, engine=engine)

    with pytest.raises(ValueError, match=r"engine='xla' cannot compile this problem.*engine='graph' can.*PyFunc"):
        build("xla").run(1)
    assert np.isfinite(build("graph").run(2).last_loss).all()


def test_xla_compiles_once(monkeypatch):
    trainer = small(engine="xla")
    trainer.run(1)
    history = trainer.run(1500)
    assert history.seconds.max() < 0.05  # compiling takes seconds, a meta-iteration a fraction of a millisecond


def test_the_history_records_what_was_trained():
    config = (
        small(name="mine", meta_loss="end", build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log")).run(1).config
    )
    expected = {
        "name": "mine",
        "casting": "log(-15)",
        "meta_loss": "end",
        "weights_seed": 1,
        "draws_seed": 2,
        "steps": 4,
    }
    assert {key: config[key] for key in expected} == expected


def test_any_callable_with_variables_can_be_trained():
    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.01))
        return lambda gradients, state: (-rate * gradients, state)

    trainer = small(build_optimizer=build, learning_rate=0.01)
    trainer.run(200)
    assert trainer.weights()[0] > 0.1


def test_progress_goes_to_standard_error_with_name_and_log_average(capsys):
    small(name="an experiment").run(3)
    captured = capsys.readouterr()
    assert "an experiment" in captured.err and "3/3" in captured.err and "log average" in captured.err
    assert captured.out == ""


def test_run_works_outside_the_main_thread():
    trainer = small()
    thread = threading.Thread(target=trainer.run, args=[3])
    thread.start()
    thread.join()
    assert len(trainer.history) == 3


def test_what_was_computed_survives_an_error_in_the_middle():
    trainer = small()
    trainer.run(1)
    run, calls = trainer._graph._run, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > 7:
            raise tf.errors.InternalError(None, None, "no more")
        return run(*arguments)

    trainer._graph._run = failing
    with pytest.raises(tf.errors.InternalError, match="no more"):
        trainer.run(20)
    assert len(trainer.history) == 1 + 7
    trainer._graph._run = run
    assert len(trainer.run(3)) == 1 + 7 + 3


def test_a_closed_trainer_keeps_its_history():
    trainer = small(name="short")
    trainer.run(2)
    trainer.close()
    trainer.close()
    assert len(trainer.history) == 2
    for call in [lambda: trainer.run(1), trainer.weights, trainer.trained]:
        with pytest.raises(ValueError, match="trainer 'short' is closed"):
            call()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("meta_loss", sorted(l2l.META_LOSSES))
def test_a_batch_averages_the_meta_loss_over_its_draws(engine, meta_loss):
    batched = small(batch=3, engine=engine, meta_loss=meta_loss)
    history = batched.run(1)
    # The same draws one at a time, by a trainer that has not learned yet.
    problem, single = l2l.Quadratic(2), []
    optimizer = l2l.CoordinatewiseLSTM((5,))
    draws = problem.sample(3 * l2l.graph.DRAWS_PER_BLOCK, 2 << 32)
    losses = [
        l2l.learn(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws), optimizer, 4) for i in range(3)
    ]
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables, small(weights_seed=1).weights()):
            variable.load(value, session)
        single = session.run([l2l.META_LOSSES[meta_loss](each) for each in losses])
        last = session.run([each[-1] for each in losses])
    np.testing.assert_allclose(history.meta_loss[0], np.mean(single), rtol=1e-5)
    np.testing.assert_allclose(history.last_loss[0], 10 ** np.mean(np.log10(last)), rtol=1e-5)


def test_a_batch_trains():
    history = small(batch=8, meta_loss="end", learning_rate=3e-3).run(200)
    assert history.meta_loss[-50:].mean() < 0.5 * history.meta_loss[:50].mean()


@pytest.mark.parametrize("engine", ENGINES)
def test_two_threads_compute_what_one_does(engine):
    one, two = (small(batch=6, engine=engine, threads=threads, second_derivatives=False) for threads in [1, 2])
    first, other = one.run(10), two.run(10)
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        np.testing.assert_allclose(getattr(first, column), getattr(other, column), rtol=1e-4)
    again = small(batch=6, engine=engine, threads=2, second_derivatives=False)
    np.testing.assert_array_equal(again.run(10).meta_loss, other.meta_loss)
    assert same(again.weights(), two.weights())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_zero_gradient_changes_no_weight(engine):
    """Under a log, losses at the floor have no gradient; fast math must not divide by its norm."""
    trainer = small(engine=engine, meta_loss=lambda losses: losses[0] + 0 * losses[-1])
    before = trainer.weights()
    assert trainer.run(3).gradient_norm.max() == 0
    assert same(trainer.weights(), before)


class Sometimes(l2l.Quadratic):
    """A quadratic whose loss is NaN for some draws: about one in eight."""

    def loss(self, x, draw):
        return super().loss(x, draw) * tf.where(draw.scale[0] > 1.375, np.float32(np.nan), np.float32(1))


def sometimes(engine, **changes):
    return l2l.Trainer(
        Sometimes(2),
        lambda: l2l.CoordinatewiseLSTM((5,)),
        **{"steps": 4, "learning_rate": 0.01, "engine": engine, "name": "odd", **changes},
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_meta_iterations_with_nan_are_skipped_and_counted(engine):
    trainer = sometimes(engine)
    trainer._graph.prepare()
    with pytest.warns(RuntimeWarning) as caught:
        history = trainer.run(100)
    bad = np.isnan(history.meta_loss)
    assert 5 < bad.sum() < 25
    np.testing.assert_array_equal(history.skipped, bad)
    assert all(np.isfinite(weight).all() for weight in trainer.weights())
    messages = [str(each.message) for each in caught]
    first = np.flatnonzero(bad)[0]
    assert messages[0].startswith("odd (weights_seed=0, draws_seed=0): meta-iteration %d has meta-loss nan" % first)
    assert len(messages) == 1
    (complaint,) = history.complaints()
    assert "%d of 100 meta-iterations had a NaN" % bad.sum() in complaint
    # Adam's own count stands still too: a run of one bad meta-iteration changes nothing at all.
    variables = trainer._graph.variables()
    while not trainer.history.skipped[-1]:
        variables = trainer._graph.variables()
        trainer.run(1)
    assert same(variables.values(), trainer._graph.variables().values())


@pytest.mark.parametrize("engine", ENGINES)
def test_on_nonfinite_raise_saves_the_draw_which_can_be_replayed(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(RuntimeWarning):
        skipped = sometimes(engine).run(100).skipped
    first = np.flatnonzero(skipped)[0]
    trainer = sometimes(engine, on_nonfinite="raise")
    with pytest.raises(l2l.NonFiniteError, match="meta-iteration %d has .*trainer.replay" % first) as caught:
        trainer.run(100)
    assert len(trainer.history) == first + 1
    again = pickle.loads(pickle.dumps(caught.value))  # as from a process of a pool
    assert (str(again), again.path) == (str(caught.value), caught.value.path)
    replay = sometimes("graph").replay(caught.value.path)
    assert np.isnan(replay.losses).all() and np.isnan(replay.meta_loss) and np.isnan(replay.gradient_norm)
    with pytest.raises(l2l.NonFiniteError):
        trainer.run(1000)  # goes on with the next draw, to the next bad one
    assert len(trainer.history) == np.flatnonzero(skipped)[1] + 1
    with pytest.raises(ValueError, match="is from another trainer: draws="):
        l2l.Trainer(l2l.Quadratic(3), l2l.CoordinatewiseLSTM, engine="graph").replay(caught.value.path)
    with pytest.raises(ValueError, match="is from another trainer: steps=4 there, 5 here"):
        sometimes("graph", steps=5).replay(caught.value.path)
    kept = os.listdir(str(tmp_path))
    with pytest.raises(l2l.NonFiniteError, match=r"-1\.npz"):  # never overwritten
        sometimes(engine, on_nonfinite="raise").run(100)
    assert set(kept) < set(os.listdir(str(tmp_path)))


def test_replay_gives_the_figures_of_the_run(tmp_path):
    trainer = small(meta_loss="end", batch=3)
    arrays, place = trainer._graph.block_with(0)
    draw = [array[place] for array in arrays]
    path = l2l.nonfinite.save(str(tmp_path), 0, trainer.history.config, draw, trainer.weights())
    replay, history = trainer.replay(path), trainer.run(1)
    assert replay.losses.shape == (4, 3)
    np.testing.assert_allclose(replay.meta_loss, history.meta_loss[0], rtol=1e-6)
    np.testing.assert_allclose(replay.gradient_norm, history.gradient_norm[0], rtol=1e-5)
    assert len(replay.gradients) == len(trainer.weights())


def test_a_run_that_is_stuck_is_not_finished_in_silence():
    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(1e-6))
        return lambda gradients, state: (-rate * gradients, state)

    with pytest.warns(RuntimeWarning, match="training is stuck: the log average of the last loss was -0.3"):
        small(build_optimizer=build, learning_rate=1e-12, engine="xla").run(5000)


def test_what_xla_cannot_compile_runs_without_where_the_user_allows_it():
    def built(engine):
        return l2l.Trainer(InPython(2), lambda: l2l.CoordinatewiseLSTM((5,)), steps=4, engine=engine)

    trainer = built("xla_or_graph")
    with pytest.warns(RuntimeWarning, match="cannot compile this problem.*Going on with engine='graph'"):
        history = trainer.run(5)
    assert history.config["engine"] == "graph"
    np.testing.assert_array_equal(history.last_loss, built("graph").run(5).last_loss)
    assert small(engine="xla_or_graph").run(2).config["engine"] == "xla"


def test_calls_of_an_engine_are_kept_short():
    """A slow problem must not make Ctrl-C wait for a thousand meta-iterations."""
    trainer = small(engine="xla")
    trainer._graph.prepare()
    run, calls = trainer._graph.run, []

    def slow(index, most):
        calls.append(most)
        time.sleep(0.3 * most)
        return run(index, most)

    trainer._graph.run = slow
    trainer.run(7)
    assert max(calls) == 2
