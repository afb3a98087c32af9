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
from l2l.runs import nonfinite, training, training_graph


def test_training_lowers_the_meta_loss():
    history = l2l.Trainer(l2l.Quadratic(2), l2l.CoordinatewiseLSTM, unroll_length=5).run(400)
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


@pytest.mark.parametrize("engine, meta_losses", [("graph", ["sum", "end", "end_log", "sum_log"]), ("xla", ["end_log"])])
def test_every_meta_loss(engine, meta_losses):
    for meta_loss in meta_losses:
        trainer = small(meta_loss=meta_loss, engine=engine, build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log"))
        history = trainer.run(3)
        assert np.isfinite(history.meta_loss).all() and np.isfinite(history.gradient_norm).all()
        if meta_loss == "end":
            np.testing.assert_array_equal(history.meta_loss, history.last_loss)


def test_both_engines_train_alike():
    """Without second derivatives, through which two orders of the same sums drift apart."""
    xla, graph = (small(engine=engine, second_derivatives=False) for engine in ENGINES)
    assert same(xla.weights(), graph.weights())
    assert_close_runs(xla.run(1), graph.run(1), 1e-5)
    np.testing.assert_allclose(xla.run(49).last_loss, graph.run(49).last_loss, rtol=1e-3)


def test_both_engines_agree_closely_in_float64():
    def trained(engine):
        trainer = l2l.Trainer(
            l2l.Quadratic(2, tf.float64),
            lambda: l2l.CoordinatewiseLSTM((5,), "log", dtype=tf.float64),
            unroll_length=6,
            engine=engine,
        )
        return trainer.run(20), trainer.weights()

    (xla, xla_weights), (graph, graph_weights) = map(trained, ENGINES)
    np.testing.assert_allclose(xla.gradient_norm[0], graph.gradient_norm[0], rtol=1e-10)
    np.testing.assert_allclose(xla.last_loss, graph.last_loss, rtol=1e-8)
    for one, other in zip(xla_weights, graph_weights):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


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


class Branching(l2l.Quadratic):
    """A loss with an op that no mapping over draws can take: each draw is written into the graph."""

    batch_loss = l2l.Problem.batch_loss

    def loss(self, x, draw):
        loss = super().loss(x, draw)
        return tf.cond(loss > 1, lambda: loss, lambda: 2 * loss)


def test_a_branch_in_the_loss_of_a_batch_trains_alike_with_both_engines():
    xla, graph = (small(problem=Branching(2), batch=2, engine=engine).run(3) for engine in ENGINES)
    assert_close_runs(xla, graph, 1e-3)


@pytest.mark.parametrize("remembered", [lambda g, u: None, lambda g, u: (g, u), lambda g, u: g[:1]])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_memory_that_changes_its_structure_is_refused_where_it_would_be_carried(engine, remembered):
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
        small(
            build_optimizer=lambda: l2l.CoordinatewiseLSTM((2,), Changing()), engine=engine, unroll_length=2, horizon=4
        ).run(1)


def test_what_xla_cannot_compile_says_so():
    with pytest.raises(ValueError, match=r"engine='xla' cannot compile this problem.*engine='graph' can.*PyFunc"):
        small(problem=InPython(2), engine="xla").run(1)
    assert np.isfinite(small(problem=InPython(2)).run(2).last_loss).all()


def test_what_xla_cannot_compile_runs_without_where_the_user_allows_it(tmp_path, monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    trainer = small(problem=InPython(2), engine="xla_or_graph", horizon=8)
    with pytest.warns(RuntimeWarning, match="cannot compile this problem.*Going on with engine='graph'"):
        history = trainer.run(5)
    assert history.config["engine"] == "graph" and history.config["xla"] is None and len(graphs) == 2
    with pytest.raises(RuntimeError, match="closed"):
        graphs[0].weights()
    plain = small(problem=InPython(2), horizon=8, checkpoint_dir=tmp_path)
    plain.run(5)
    assert_same_run(trainer, plain)
    assert small(engine="xla_or_graph").history.config["engine"] == "xla"
    restored = small(problem=InPython(2), engine="xla_or_graph", horizon=8)
    restored.restore(tmp_path)
    with pytest.warns(RuntimeWarning, match="Going on with engine='graph'"):
        restored.run(2)
    plain.run(2)
    assert_same_run(restored, plain)


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


def test_progress_is_reported_every_hundred_meta_iterations_and_at_the_end():
    reports = []
    with small() as trainer:
        trainer.work(250, lambda finished, text: reports.append((finished, text[:11])), threading.Event())
    assert reports == [(0, "starting"), (100, "log average"), (100, "log average"), (50, "log average")]


def test_progress_of_slow_meta_iterations_is_reported_every_second(monkeypatch):
    now, reports = [0.0], []

    def clock():
        now[0] += 0.4  # of which a meta-iteration asks three times
        return now[0]

    monkeypatch.setattr("l2l.runs.training.time.perf_counter", clock)
    with small() as trainer:
        trainer.work(5, lambda finished, text: reports.append(finished), threading.Event())
    assert sum(reports) == 5 and max(reports) == 1


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
    for call in [lambda: trainer.run(1), trainer.weights, trainer.trained, trainer.snapshot]:
        with pytest.raises(ValueError, match="trainer 'short' is closed"):
            call()


def test_work_on_a_closed_trainer_is_refused_too():
    """As when one of several side by side is closed before its turn."""
    trainer = small()
    trainer.close()
    with pytest.raises(ValueError, match="trainer 'training' is closed; create a new one"):
        trainer.work(1, lambda finished, average: None, threading.Event())


def test_a_trainer_says_what_it_is_and_closes_itself_at_the_end_of_its_block(tmp_path):
    with small(name="mine", checkpoint_dir=tmp_path) as trainer:
        assert repr(trainer) == "<Trainer 'mine' of Quadratic: 0 meta-iterations, engine 'graph'>"
        trainer.run(2)
        assert repr(trainer) == "<Trainer 'mine' of Quadratic: 2 meta-iterations, engine 'graph'>"
    assert repr(trainer) == "<Trainer 'mine' of Quadratic: 2 meta-iterations, engine 'graph', closed>"
    with pytest.raises(ValueError, match="trainer 'mine' is closed"):
        trainer.weights()
    with pytest.raises(KeyError), small(checkpoint_dir=tmp_path):  # the first one has left the directory
        raise KeyError
    small(checkpoint_dir=tmp_path).close()


class Named:
    """A casting with a name of any type."""

    def __init__(self, name):
        self.name = name

    def __call__(self, gradients):
        return gradients


def with_a_variable(value):
    def build():
        tf.get_variable("mine", initializer=tf.constant(value), trainable=False)
        return one_rate()

    return build


def named_optimizer(name):
    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.01))

        def optimizer(gradients, state):
            return -rate * gradients, state

        optimizer.casting = Named(name)
        return optimizer

    return build


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"build_optimizer": named_optimizer(b"x")}, "config must hold JSON types alone: .*bytes"),
        ({"build_optimizer": named_optimizer(np.float32(1))}, "config must hold JSON types alone: .*float32"),
        ({"build_optimizer": named_optimizer("x" * 70000)}, "config must have at most 65536 bytes as JSON"),
        ({"name": "x" * 70000}, "config must have at most 65536 bytes as JSON"),
        (
            {"build_optimizer": with_a_variable("x")},
            "arrays must hold plain numbers of up to 64 bits, 'variables/mine' has dtype",
        ),
        (
            {"build_optimizer": with_a_variable(1j)},
            "arrays must hold plain numbers of up to 64 bits, 'variables/mine' has dtype complex128",
        ),
    ],
)
def test_what_no_file_can_hold_is_refused_at_the_start(changes, message):
    with pytest.raises(ValueError, match="trainer '.* could not be saved: " + message) as caught:
        small(**changes)
    assert len(str(caught.value)) < 500


def test_a_record_is_what_a_file_gives_back(tmp_path):
    """Tuples are lists there, and NaN is not even itself: neither makes another trainer of the same one."""

    def build():
        optimizer = named_optimizer("x")()
        optimizer.description = lambda: {"layers": (1, 2), "scale": float("nan"), 3: [float("nan")]}
        return optimizer

    with small(build_optimizer=build, checkpoint_dir=tmp_path) as trainer:
        trainer.run(1)
        assert trainer.history.config["optimizer"]["layers"] == [1, 2]
    assert len(small(build_optimizer=build).restore(tmp_path)) == 1


def test_a_record_that_just_fits_can_be_saved_as_everything(tmp_path):
    def named(length):
        return small(build_optimizer=one_rate, name="x" * length, checkpoint_dir=tmp_path)

    with pytest.raises(ValueError, match="at most 65536 bytes as JSON, got") as caught:
        named(65536)
    longest = 65536 - (int(str(caught.value).split()[-1]) - 65536)
    with pytest.raises(ValueError, match="at most 65536 bytes as JSON, got 65537"):
        named(longest + 1)
    with named(longest) as trainer:
        trainer.run(1)
        l2l.save(tmp_path / "trained", trainer.trained())
        trainer.history.save(tmp_path / "history")
        nonfinite.write(str(tmp_path), 10**11, trainer.history.config, {})


def test_a_batch_trains():
    history = small(batch=8, meta_loss="end", learning_rate=3e-3).run(200)
    assert history.meta_loss[-50:].mean() < 0.5 * history.meta_loss[:50].mean()


def test_two_threads_compute_what_one_does():
    one = small(batch=6, second_derivatives=False).run(10)
    for engine in ENGINES:
        two, again = (small(batch=6, engine=engine, threads=2, second_derivatives=False) for _ in range(2))
        assert_close_runs(two.run(10), one, 1e-4)
        again.run(10)
        assert_same_run(again, two)


def test_a_run_that_is_stuck_is_not_finished_in_silence():
    with pytest.warns(RuntimeWarning, match="training is stuck: the log average of the last loss was -0.3"):
        small(build_optimizer=lambda: one_rate(1e-6), learning_rate=1e-12, engine="xla").run(5000)


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
    trained = first.trained()
    first.run(1)
    for build in [first.trained(), trained._replace(weights=first.weights()), learned_momentum]:
        with pytest.raises(ValueError, match="is from another trainer: start"):
            small(build_optimizer=build).restore(tmp_path)


def test_weights_of_another_optimizer_are_no_start():
    with small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log")) as trainer:
        trained = trainer.trained()
    with pytest.raises(ValueError, match=r"build_optimizer was trained with casting .*log.*, built with"):
        small(build_optimizer=trained._replace(build=lambda: l2l.CoordinatewiseLSTM((5,), "none")))
    with pytest.raises(ValueError, match="build_optimizer must have the weights that it builds"):
        small(build_optimizer=trained._replace(build=lambda: l2l.CoordinatewiseLSTM((6,), "log")))


def test_a_call_of_the_engine_takes_less_than_half_a_second(monkeypatch):
    """So that Ctrl-C need not wait: twice as much after less than 0.2 s of work, half after more than 0.4."""
    asked, now, seconds = [], [0.0], [0.0]

    class Graph:
        def prepare(self):
            pass

        def run(self, most):
            asked.append(most)
            now[0] += 0.4 * seconds[0]
            return np.ones([most, 3])

    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    one = training.Training(Graph(), l2l.History(), None, None, "skip", None)
    calls = [(0.25, 9), (0.25, 9), (0.5, 9), (1.0, 9), (0.25, 3), (0.25, 9), (0.75, 9), (1.5, 9), (4.0, 9), (4.0, 9)]
    for seconds[0], most in [*calls, (4.0, 9), (4.0, 9), (0.75, 9)]:
        one._call_engine(most)
    assert asked == [1, 2, 4, 4, 3, 4, 8, 8, 4, 2, 1, 1, 1]
    assert one.history.seconds.sum() == now[0] and len(one.history) == sum(asked)


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


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda one: one.run(1), "run"),
        (lambda one: l2l.train_together([one], 1), "run"),
        (lambda one: one.restore("."), "restored"),
        (lambda one: one.close(), "closed"),
    ],
)
def test_a_callback_that_changes_the_trainer_is_refused_and_the_trainer_goes_on(change, what):
    with small() as trainer:
        with pytest.raises(ValueError, match="trainer 'training' cannot be %s by a callback of its run" % what):
            trainer.run(3, callbacks=[change])
        trainer.run(until=3)
        with small() as undisturbed:
            undisturbed.run(3)
            assert_same_run(trainer, undisturbed)


@pytest.mark.parametrize("callbacks", [print, "print", [1], None])
def test_what_is_no_list_of_callbacks_is_refused(callbacks):
    with small() as trainer, pytest.raises(TypeError, match=r"^callbacks"):
        trainer.run(1, callbacks=callbacks)


def test_what_is_prepared_is_said_before_and_a_stop_is_noticed_after_it(monkeypatch):
    stop, reports = threading.Event(), []
    with small() as trainer:

        def report(finished, text):
            reports.append((finished, text))
            stop.set()  # while it compiles, say

        assert trainer.work(10, report, stop) == 0
    assert reports == [(0, "starting")]
