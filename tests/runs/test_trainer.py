import contextlib
import json
import threading

import numpy as np
import pytest
import tensorflow as tf
from trainers import (
    ENGINES,
    assert_close_runs,
    assert_same_run,
    learned_momentum,
    one_rate,
    recorded_graphs,
    same,
    small,
)

import l2l
from l2l.runs import training_graph


def test_training_lowers_the_meta_loss():
    history = l2l.Trainer(l2l.Quadratic(2), lambda: l2l.CoordinatewiseLSTM((8,)), unroll_length=5).run(800)
    assert history.meta_loss[-50:].mean() < 0.5 * history.meta_loss[:50].mean()
    assert history.seconds.min() > 0 and np.isfinite(history.gradient_norm).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seeds_are_bit_identical_and_run_goes_on_where_it_stopped(engine, monkeypatch):
    monkeypatch.setattr(training_graph, "DRAWS_PER_BLOCK", 8)  # the runs cross three blocks
    whole, parts = small(engine=engine), small(engine=engine)
    whole.run(25)
    parts.run(10)
    history = parts.run(15)
    assert len(history) == 25
    assert_same_run(parts, whole)


def test_two_trainers_keep_their_weights():
    one, other = small(), small(meta_loss="end")
    before = other.weights()
    one.run(5)
    assert same(before, other.weights())
    other.run(5)
    assert not same(one.weights(), other.weights())


@pytest.mark.parametrize("engine, meta_losses", [("graph", ["end", "end_log", "sum_log"]), ("xla", ["end_log"])])
def test_every_meta_loss(engine, meta_losses):
    for meta_loss in meta_losses:
        history = small(meta_loss=meta_loss, engine=engine).run(3)
        assert np.isfinite(history.meta_loss).all() and np.isfinite(history.gradient_norm).all()
        if meta_loss == "end":
            np.testing.assert_array_equal(history.meta_loss, history.last_loss)


def test_both_engines_train_alike():
    """Without second derivatives, through which two orders of the same sums drift apart."""
    xla, graph = (small(engine=engine, second_derivatives=False) for engine in ENGINES)
    assert same(xla.weights(), graph.weights())
    assert_close_runs(xla.run(1), graph.run(1), 1e-5)
    np.testing.assert_allclose(xla.run(49).last_loss, graph.run(49).last_loss, rtol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_nested_position_nested_state_and_a_meta_loss_of_ones_own(engine):
    class Nested(l2l.Problem):
        def sample(self, num, seed=None):
            return {
                "a": l2l.uniform([num, 3], -1.0, 1.0, seed=seed),
                "b": l2l.uniform([num], -1.0, 1.0, seed=seed, stream=1),
            }

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
        Nested(),
        build,
        meta_loss=lambda losses: tf.reduce_max(losses[1:]),
        unroll_length=4,
        learning_rate=0.01,
        engine=engine,
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


class Gathered(l2l.Quadratic):
    """A loss that picks coordinates, so that its gradient is indexed slices."""

    batch_loss = l2l.Problem.batch_loss

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(tf.gather(x, [0, 1]) * draw.scale))


def test_a_loss_that_gathers_coordinates_trains_alike_with_both_engines():
    xla, graph = (small(problem=Gathered(2), engine=engine).run(5) for engine in ENGINES)
    assert_close_runs(xla, graph, 1e-3)


@pytest.mark.parametrize("remembered", [lambda g, u: None, lambda g, u: (g, u), lambda g, u: g[:1]])
def test_a_memory_that_changes_its_structure_is_refused_where_it_would_be_carried(remembered):
    class Changing(l2l.Casting):
        def initial_memory(self, gradients):
            return tf.zeros_like(gradients)

        def encode(self, gradients, memory=None, adapted=()):
            return gradients[:, tf.newaxis]

        def decode(self, outputs, gradients=None, memory=None, adapted=()):
            return outputs

        def remember(self, gradients, memory, updates):
            return remembered(gradients, updates)

    with pytest.raises(ValueError, match="optimizer's state must keep its structure, shapes and dtypes"):
        small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((2,), Changing()), unroll_length=2, horizon=4)


def test_what_xla_cannot_compile_says_so():
    with pytest.raises(ValueError, match=r"engine='xla' cannot compile this problem.*engine='graph' can.*PyFunc"):
        small(problem=InPython(2), engine="xla").run(1)


def test_what_xla_cannot_compile_runs_without_where_the_user_allows_it(tmp_path, monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    plain = small(problem=InPython(2), horizon=8, checkpoint_dir=tmp_path)
    plain.run(3)
    trainer = small(problem=InPython(2), engine="xla_or_graph", horizon=8)
    assert trainer.history.config["engine"] == "xla"
    trainer.restore(tmp_path)
    with pytest.warns(RuntimeWarning, match="cannot compile this problem.*Going on with engine='graph'"):
        history = trainer.run(2)
    assert history.config["engine"] == "graph" and history.config["xla"] is None and len(graphs) == 3
    with pytest.raises(RuntimeError, match="closed"):
        graphs[1].weights()
    plain.run(2)
    assert_same_run(trainer, plain)


def test_what_is_trained_by_functions_of_ones_own_is_recorded_by_their_names():
    def first_and_last(losses):
        return losses[0] + losses[-1]

    config = small(meta_loss=first_and_last, build_optimizer=one_rate).history.config
    assert config["meta_loss"].endswith("first_and_last") and config["built_by"] == "one_rate"
    assert config["optimizer"] is None and config["casting"] is None
    json.dumps(config)


def test_the_trained_optimizer_says_what_it_was_trained_on():
    trainer = small(name="mine")
    trainer.run(3)
    trained, weights = trainer.trained(), trainer.weights()
    record = json.loads(json.dumps(trained.record))
    assert {key: record[key] for key in trainer.history.config} == trainer.history.config
    assert record["meta_iterations"] == 3 and {"versions", "machine", "date"} <= set(record)
    assert repr(trained) == "<Trained optimizer of 2 weights, from 'mine'>"
    trainer.run(1)  # which leaves it as it is
    assert same(trained.weights, weights) and not same(trained.weights, trainer.weights())


def test_any_callable_with_variables_can_be_trained():
    trainer = small(build_optimizer=one_rate, learning_rate=0.01)
    trainer.run(200)
    assert trainer.weights()[0] > 0.1


class Falling(l2l.Problem):
    """`f(x) = x` from 0: where the update is one weight, its meta-gradient is 1, and Adam moves by its rate."""

    def sample(self, num, seed=None):
        return l2l.uniform([num], 0.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return tf.zeros([1])

    def loss(self, x, draw):
        return x[0]


def one_update():
    weight = tf.get_variable("weight", [], initializer=tf.zeros_initializer())
    return lambda gradients, state: (weight * gradients, state)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_learning_rate_halves(engine, tmp_path):
    settings = {
        "problem": Falling(),
        "build_optimizer": one_update,
        "unroll_length": 2,
        "meta_loss": "end",
        "engine": engine,
    }
    settings.update(learning_rate=l2l.exponential_decay(0.5, 3))
    trainer = small(**settings, checkpoint_dir=str(tmp_path))
    trainer.run(7)
    moved = 0.5 * 0.5 ** (np.arange(7) / 3)
    np.testing.assert_allclose(trainer.history.last_loss, -np.concatenate([[0], np.cumsum(moved)[:-1]]), rtol=1e-5)
    trainer.close()

    settings["engine"] = "graph"
    restored = small(**settings, checkpoint_dir=str(tmp_path))
    restored.restore(str(tmp_path))
    restored.run(1)  # which goes on with the rate of then
    np.testing.assert_allclose(restored.weights()[0], -np.sum(0.5 * 0.5 ** (np.arange(8) / 3)), rtol=1e-5)


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


def test_what_was_computed_survives_an_error_in_the_middle(monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    trainer, undisturbed = small(), small()
    trainer.run(1)
    run, calls = graphs[0].run, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > 7:
            raise tf.errors.InternalError(None, None, "no more")
        return run(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(graphs[0], "run", failing)
        with pytest.raises(tf.errors.InternalError, match="no more"):
            trainer.run(20)
    assert len(trainer.history) == 1 + 7
    assert len(trainer.run(3)) == 1 + 7 + 3
    undisturbed.run(11)
    assert_same_run(trainer, undisturbed)


def test_a_closed_trainer_keeps_its_history():
    trainer = small(name="short")
    trainer.run(2)
    trainer.close()
    trainer.close()
    assert len(trainer.history) == 2
    runs = [lambda: trainer.run(1), lambda: trainer.run(until=2)]  # nor where nothing is left
    for call in [*runs, trainer.weights, trainer.trained, trainer.snapshot]:
        with pytest.raises(ValueError, match="trainer 'short' is closed"):
            call()


def test_work_on_a_closed_trainer_is_refused_too():
    """As when one of several side by side is closed before its turn."""
    trainer = small()
    trainer.close()
    with pytest.raises(ValueError, match="trainer 'training' is closed; create a new one"):
        trainer._work(1, lambda finished, average: None, threading.Event())


def test_a_trainer_says_what_it_is_and_closes_itself_at_the_end_of_its_block(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("l2l.runs.trainer.waiting", lambda *words: said.append(words) or contextlib.nullcontext())
    with small(name="mine", checkpoint_dir=tmp_path) as trainer:
        assert repr(trainer) == "<Trainer 'mine' of Quadratic: 0 meta-iterations, engine 'graph'>"
        trainer.run(2)
        assert repr(trainer) == "<Trainer 'mine' of Quadratic: 2 meta-iterations, engine 'graph'>"
    assert repr(trainer) == "<Trainer 'mine' of Quadratic: 2 meta-iterations, engine 'graph', closed>"
    with pytest.raises(ValueError, match="trainer 'mine' is closed"):
        trainer.weights()
    assert said == [("mine", "building")]
    with pytest.raises(KeyError), small(checkpoint_dir=tmp_path):  # the first one has left the directory
        raise KeyError
    small(checkpoint_dir=tmp_path).close()


def test_two_threads_compute_what_one_does():
    one = small(batch=6, second_derivatives=False).run(10)
    for engine in ENGINES:
        two = small(batch=6, engine=engine, threads=2, second_derivatives=False)
        start = two.snapshot()
        assert_close_runs(two.run(10), one, 1e-4)
        end = two.snapshot()
        two._training.graph.load(start)
        assert same(two.run(10).meta_loss[10:], two.history.meta_loss[:10]) and same(two.snapshot(), end)


def test_a_training_may_begin_with_the_weights_of_another():
    def build():
        return l2l.CoordinatewiseLSTM((5,), "widening")

    with small(build_optimizer=build, name="short", unroll_length=2) as short:
        short.run(30)
        trained = short.trained()._replace(adapted=[np.float32(-7)])
    longer = small(build_optimizer=trained, name="longer", unroll_length=4, draws_seed=9)
    start = longer.history.config["start"]
    assert (start["name"], start["meta_iterations"]) == ("short", 30) and len(start["weights"]) == 40
    assert same(longer.weights(), trained.weights) and same(longer.trained().adapted, trained.adapted)
    longer.run(1)
    # Adam begins anew: its first step is as long as its rate in every weight that has a gradient.
    steps = np.concatenate([np.abs(a - b).ravel() for a, b in zip(longer.weights(), trained.weights)])
    assert np.median(steps) == pytest.approx(3e-4, rel=1e-2)
    losses = l2l.evaluate(l2l.Quadratic(2), {"trained": longer.trained()}, draws=3, engine="graph")["trained"]
    assert np.isfinite(losses).all()


def test_a_training_that_began_with_other_weights_is_another(tmp_path):
    first = small()
    first.run(3)
    started = small(build_optimizer=first.trained(), checkpoint_dir=str(tmp_path))
    started.run(2)
    started.close()
    small(build_optimizer=first.trained()).restore(tmp_path)
    first.run(1)
    for build in [first.trained(), learned_momentum]:
        with pytest.raises(ValueError, match="is from another trainer: start"):
            small(build_optimizer=build).restore(tmp_path)


def test_weights_of_another_optimizer_are_no_start():
    with small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log")) as trainer:
        trained = trainer.trained()
    with pytest.raises(ValueError, match=r"build_optimizer was trained with casting .*log.*, built with"):
        small(build_optimizer=trained._replace(build=lambda: l2l.CoordinatewiseLSTM((5,), "none")))
    with pytest.raises(ValueError, match="build_optimizer must have the weights that it builds"):
        small(build_optimizer=trained._replace(build=lambda: l2l.CoordinatewiseLSTM((6,), "log")))


def test_callbacks_see_the_trainer_between_calls_and_once_more_at_the_end():
    seen, weights = [], []
    with small() as trainer:
        trainer.run(3, callbacks=[lambda one: seen.append((one is trainer, len(one.history)))])
        assert seen == [(True, 1), (True, 2), (True, 3), (True, 3)]
        trainer.run(2, callbacks=[lambda one: weights.append(one.weights()), lambda one: seen.append(len(one.history))])
        assert seen[4:] == [4, 5, 5] and not same(weights[0], weights[1]) and same(weights[1], weights[2])
        with small() as undisturbed:
            undisturbed.run(5)
            assert_same_run(trainer, undisturbed)


def test_what_a_callback_raises_ends_the_run_and_all_is_kept(tmp_path):
    def stop_at_three(one):
        if len(one.history) == 3:
            raise RuntimeError("enough")

    with small(checkpoint_dir=tmp_path) as trainer:
        with pytest.raises(RuntimeError, match=r"stop_at_three failed, line .*: enough"):
            trainer.run(10, callbacks=[stop_at_three])
        assert len(trainer.history) == 3
        trainer.run(2)
        with small() as undisturbed:
            undisturbed.run(5)
            assert_same_run(trainer, undisturbed)


def test_a_callback_that_changes_the_trainer_is_refused_and_the_trainer_goes_on():
    changes = [
        (lambda one: one.run(1), "run"),
        (lambda one: l2l.train_together([one], 1), "run"),
        (lambda one: one.restore("."), "restored"),
        (lambda one: one.close(), "closed"),
    ]
    with small() as trainer:
        for change, what in changes:
            with pytest.raises(ValueError, match="trainer 'training' cannot be %s by a callback of its run" % what):
                trainer.run(3, callbacks=[change])
        trainer.run(until=6)
        with small() as undisturbed:
            undisturbed.run(6)
            assert_same_run(trainer, undisturbed)


@pytest.mark.parametrize("callbacks", [print, "print", [1], None])
def test_what_is_no_list_of_callbacks_is_refused(callbacks):
    with small() as trainer, pytest.raises(TypeError, match=r"^callbacks"):
        trainer.run(1, callbacks=callbacks)
