import contextlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from trainers import ENGINES, SharedData, ToldTheHorizon, learned_momentum, one_rate, small

import l2l
from l2l.evaluation.graph import EvaluationGraph, drawn, seeds_of

GRAPH = sys.modules["l2l.evaluation.graph"]


def test_all_optimizers_see_the_same_draws():
    optimizers = {"slow": l2l.sgd(0.01), "fast": l2l.sgd(0.1)}
    losses = l2l.evaluate(l2l.Quadratic(2), optimizers, draws=50, steps=3, engine="graph")
    assert list(losses) == ["slow", "fast"]
    assert losses["slow"].shape == (50, 3)
    np.testing.assert_array_equal(losses["slow"][:, 0], losses["fast"][:, 0])
    assert len(set(losses["slow"][:, 0])) == 50
    assert np.all(losses["fast"][:, -1] < losses["slow"][:, -1])


def test_the_same_seed_gives_the_same_draws_and_another_gives_others():
    def first_losses(seed):
        return l2l.evaluate(l2l.Quadratic(2), {"SGD": l2l.sgd()}, draws=10, steps=2, seed=seed, engine="graph")["SGD"][
            :, 0
        ]

    np.testing.assert_array_equal(first_losses(4), first_losses(4))
    assert not np.any(first_losses(4) == first_losses(5))


@pytest.fixture
def shown(monkeypatch):
    """A list that gets all that progress lines are told."""
    told = []

    @contextlib.contextmanager
    def progress(total, description, **options):
        told.append((total, description))
        yield lambda finished, text: told.append((finished, text))

    monkeypatch.setattr(sys.modules["l2l.evaluation.evaluate"], "progress", progress)
    return told


@pytest.mark.parametrize("engine, needs", [("xla", [True]), ("graph", [])])
def test_xla_is_prepared_before_it_is_used_and_only_then(engine, needs, monkeypatch, shown):
    """Else a first evaluation compiles with flags that nobody measured, and one op by op warns of flags in vain."""
    prepared = []
    monkeypatch.setattr(sys.modules["l2l.evaluation.evaluate"], "prepare_xla", lambda: prepared.append(True))
    l2l.evaluate(l2l.Quadratic(2), {"a" * 30: l2l.sgd()}, draws=2, steps=3, engine=engine)
    assert prepared == needs
    doing = "building and compiling" if engine == "xla" else "building"
    assert shown == [(6, "evaluate " + "a" * 30), (0, doing), (6, "a" * 21 + "...")]


def test_sgd_on_many_draws_is_sgd_in_numpy():
    losses = l2l.evaluate(l2l.Quadratic(1), {"SGD": l2l.sgd()}, draws=20, steps=4)["SGD"].astype(np.float64)
    # In one dimension each step multiplies the loss by (1 - 0.2 scale^2)^2, and scale^2 is in [0.25, 2.25].
    ratios = losses[:, 1:] / losses[:, :-1]
    np.testing.assert_allclose(ratios, ratios[:, :1] * np.ones([1, 3]), rtol=1e-3)
    assert np.all((ratios > 0.55**2 * 0.99) & (ratios < 0.95**2 * 1.01))


def test_trained_optimizers_come_with_their_weights():
    trainer = small(meta_loss="end", learning_rate=0.01)
    untrained = trainer.trained()
    trainer.run(300)
    optimizers = {"before": untrained, "after": trainer.trained()}
    losses = l2l.evaluate(l2l.Quadratic(2), optimizers, draws=100, steps=4, engine="graph")
    assert losses["after"][:, -1].mean() < 0.5 * losses["before"][:, -1].mean()


def test_an_evaluated_loss_is_the_trainers(graph):
    """The weights arrive in the right places: the evaluated optimizer does what the trainer's does."""
    problem = l2l.Quadratic(2)
    trainer = small()
    losses = l2l.evaluate(problem, {"RNN": trainer.trained()}, draws=5, steps=4, seed=3, engine="graph")["RNN"]
    optimizer = learned_momentum()
    draws = problem.sample(5, -1 - 3)
    with tf.Session() as session:
        for variable, value in zip(tf.trainable_variables(), trainer.weights()):
            variable.load(value, session)
        for i in range(5):
            draw = l2l.problems.QuadraticDraw(draws.scale[i], draws.start[i])
            np.testing.assert_allclose(losses[i], session.run(l2l.learn(problem, draw, optimizer, steps=4)), rtol=1e-5)


def test_held_out_draws_are_not_those_of_a_training_with_the_same_seed():
    first = l2l.evaluate(l2l.Quadratic(2), {"SGD": l2l.sgd()}, draws=30, steps=2, seed=2, engine="graph")["SGD"][:, 0]
    trainer = small(draws_seed=2, meta_loss=lambda losses: losses[0] + 1e-20 * losses[-1], unroll_length=2)
    assert not set(first) & set(trainer.run(30).meta_loss.astype(np.float32))


def test_optimizers_whose_variables_have_the_same_names():
    one, other = l2l.Trained(one_rate, [np.float32(0.1)]), l2l.Trained(one_rate, [np.float32(0.2)])
    optimizers = {"0.1": one, "0.2": other, "SGD": l2l.sgd(0.2)}
    losses = l2l.evaluate(l2l.Quadratic(2), optimizers, draws=4, steps=3, engine="graph")
    np.testing.assert_allclose(losses["0.2"], losses["SGD"], rtol=1e-5)
    assert np.all(losses["0.1"][:, 1:] > 1.01 * losses["0.2"][:, 1:])


@pytest.mark.parametrize("steps", [1, 40])
def test_steps_may_differ_from_those_of_the_training(steps):
    losses = l2l.evaluate(l2l.Quadratic(7), {"RNN": small().trained()}, draws=2, steps=steps, engine="graph")
    assert losses["RNN"].shape == (2, steps)


def test_at_selects_base_iterations():
    problem, optimizers = l2l.Quadratic(2), {"RMSProp": l2l.rmsprop()}
    whole = l2l.evaluate(problem, optimizers, draws=5, steps=12, engine="graph")["RMSProp"]
    for at in [range(0, 12, 5), [11], [7, 0, 7], np.arange(12)]:
        some = l2l.evaluate(problem, optimizers, draws=5, steps=12, at=at, engine="graph")
        np.testing.assert_array_equal(some["RMSProp"], whole[:, list(at)])
        assert some.at.tolist() == list(at)


def by_norm(gradients, state):
    """Gradient descent whose step has the length 0.05, whatever the gradient: its coordinates are not on their own."""
    return -0.05 * gradients / (1e-6 + tf.norm(gradients)), state


@pytest.mark.parametrize(
    "optimizer",
    [l2l.rmsprop(), l2l.adam(0.1), l2l.vsgd(), by_norm],
    ids=["rmsprop", "adam", "vsgd", "one that mixes coordinates"],
)
def test_both_engines_evaluate_alike(optimizer):
    """To the rounding of 20 steps in float32, of losses that begin near 1."""
    xla, graph = evaluated_by_both(l2l.Quadratic(3), optimizer)
    np.testing.assert_allclose(xla, graph, rtol=1e-4, atol=1e-6)


def test_both_engines_evaluate_a_trained_network_alike():
    """In float64, since what a network does with small gradients makes roundings larger from step to step."""
    problem = l2l.Quadratic(3, tf.float64)
    trainer = small(
        problem=problem,
        build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), "log_and_sign", dtype=tf.float64),
        learning_rate=0.01,
    )
    trainer.run(100)
    xla, graph = evaluated_by_both(problem, trainer.trained())
    np.testing.assert_allclose(xla, graph, rtol=1e-9, atol=1e-14)


def evaluated_by_both(problem, optimizer):
    return [l2l.evaluate(problem, {"it": optimizer}, draws=8, steps=20, engine=engine)["it"] for engine in ENGINES]


class Counted(l2l.Quadratic):
    """A loss that grows with the base iteration, so that a part of an evaluation has to know where it begins."""

    batch_loss = l2l.Problem.batch_loss

    def observe(self, draw, t, data):
        return draw, tf.cast(1 + t, tf.float32)

    def loss(self, x, observed):
        draw, factor = observed
        return factor * super().loss(x, draw)


@pytest.mark.parametrize("engine, optimizer", [("graph", "momentum"), ("xla", "trained")])
def test_in_parts_it_is_what_it_is_in_one(engine, optimizer, monkeypatch):
    """Three draws to a part, of seven; three base iterations to a call, of twenty: none of them comes out even."""
    optimizer = l2l.momentum(0.01) if optimizer == "momentum" else small().trained()
    arguments = {"problem": Counted(2), "optimizers": {"it": optimizer}, "draws": 7, "steps": 20, "engine": engine}
    whole = l2l.evaluate(**arguments)["it"]
    monkeypatch.setattr(GRAPH, "MOST_COORDINATES", 6)
    monkeypatch.setattr(GRAPH, "MOST_LOSSES", 10)
    at = [19, 2, 3, 10, *range(20)]
    np.testing.assert_allclose(l2l.evaluate(at=at, **arguments)["it"], whole[:, at], rtol=1e-5)


def test_as_many_draws_and_base_iterations_are_computed_at_once_as_are_allowed(monkeypatch):
    monkeypatch.setattr(GRAPH, "MOST_COORDINATES", 6)
    monkeypatch.setattr(GRAPH, "MOST_LOSSES", 24)
    draws, reports = drawn(l2l.Quadratic(2), 7, seeds_of(0), 20), []
    graph = EvaluationGraph(l2l.Quadratic(2), l2l.sgd(), "it", draws, 20, "graph")
    graph.losses_and_positions(np.arange(20), reports.append)
    assert reports == 2 * [3 * 7, 3 * 7, 3 * 6] + [7, 7, 6]  # calls of at most eight, all nearly alike
    graph.close()
    with pytest.raises(RuntimeError, match="closed"):
        graph.losses_and_positions(np.arange(20), reports.append)
    monkeypatch.setattr(GRAPH, "examined", lambda problem, number, seeds, steps, batch: batch)
    batch_of, of_two = drawn(None, 9, None, None), drawn(None, 2, None, None)
    assert [batch_of(coordinates) for coordinates in [0, 1, 2, 3, 6, 7]] == [6, 6, 3, 2, 1, 1]
    assert [of_two(coordinates) for coordinates in [1, 6]] == [2, 1]


class Wrong(l2l.Quadratic):
    """A form for many draws that is not the one for each of them."""

    def batch_loss(self, x, draw):
        return tf.reduce_sum(tf.square(draw.scale * x), axis=-1) + tf.reduce_mean(x)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_loss_that_is_not_the_loss_is_refused(engine):
    with pytest.raises(ValueError, match="batch_loss of Wrong must be loss of each draw; for 4 draws it has losses"):
        l2l.evaluate(Wrong(2), {"SGD": l2l.sgd()}, draws=4, steps=2, engine=engine)


class InPython(l2l.Quadratic):
    """A quadratic with an op that XLA has no code for."""

    batch_loss = l2l.Problem.batch_loss

    def loss(self, x, draw):
        one = tf.py_func(lambda: np.float32(1), [], tf.float32)
        one.set_shape([])
        return one * super().loss(x, draw)


@pytest.fixture
def closed(monkeypatch):
    """A list that gets every evaluation graph that is closed."""
    graphs, close = [], EvaluationGraph.close
    monkeypatch.setattr(EvaluationGraph, "close", lambda self: graphs.append(self) or close(self))
    return graphs


def test_what_xla_cannot_compile_says_so_and_runs_without(closed):
    optimizers = {"SGD": l2l.sgd()}
    words = "engine='xla' cannot compile this problem or optimizer; engine='graph' can"
    with pytest.warns(RuntimeWarning, match="draw by draw"), pytest.raises(ValueError, match=words):
        l2l.evaluate(InPython(2), optimizers, draws=2, steps=2)
    assert len(closed) == 1
    with pytest.warns(RuntimeWarning, match="InPython is computed draw by draw") as caught:
        ours = l2l.evaluate(InPython(2), optimizers, draws=2, steps=2, engine="graph")["SGD"]
    assert len(caught) == 1  # it is found out once
    plain = l2l.evaluate(l2l.Quadratic(2), optimizers, draws=2, steps=2, engine="graph")["SGD"]
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_data_is_seen_by_every_draw(engine):
    losses = l2l.evaluate(SharedData(), {"SGD": l2l.sgd(0.1)}, draws=3, steps=2, engine=engine)["SGD"]
    with tf.Session() as session:
        x = session.run(SharedData().sample(3, -1))
    np.testing.assert_allclose(losses[:, 0], (x**2 * [2, 3]).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(losses[:, 1], ((x * [0.6, 0.4]) ** 2 * [4, 6]).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_draw_and_one_step(engine):
    problem = l2l.Quadratic(3)
    losses = l2l.evaluate(problem, {"SGD": l2l.sgd()}, draws=1, steps=1, seed=4, engine=engine)["SGD"]
    with tf.Session() as session:
        draw = session.run(problem.sample(1, -1 - 4))
    np.testing.assert_allclose(losses, np.sum((draw.scale * draw.start) ** 2, axis=1)[:, np.newaxis], rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_positions_are_those_after_all_updates_and_no_more(engine, monkeypatch):
    """The last call of a part would have time for more base iterations than are left."""
    monkeypatch.setattr(GRAPH, "MOST_COORDINATES", 6)
    monkeypatch.setattr(GRAPH, "MOST_LOSSES", 10)

    class FirstCoordinate(l2l.Quadratic):
        """Its loss shows where it is: the first coordinate."""

        def loss(self, x, draw):
            return x[..., 0] + 0 * x[..., 1]

    arguments = {"problem": FirstCoordinate(2), "optimizers": {"it": l2l.momentum(0.01)}, "draws": 7, "engine": engine}
    evaluation = l2l.evaluate(steps=20, **arguments)
    ends = evaluation.positions
    assert ends["it"].shape == (7, 2) and evaluation["it"].shape == (7, 20)
    after = l2l.evaluate(steps=21, **arguments)["it"][:, 20]
    np.testing.assert_allclose(ends["it"][:, 0], after, rtol=1e-5, atol=1e-6)


def test_positions_keep_the_structure_of_the_problems():
    class Nested(l2l.Quadratic):
        def initial_position(self, draw):
            return {"a": draw.start[:1], "b": draw.start[1]}

        def loss(self, x, draw):
            return tf.square(x["a"][0]) + tf.square(x["b"])

        batch_loss = l2l.Problem.batch_loss

    evaluation = l2l.evaluate(Nested(2), {"SGD": l2l.sgd()}, draws=3, steps=1, engine="graph")
    positions = evaluation.positions["SGD"]
    assert positions["a"].shape == (3, 1) and positions["b"].shape == (3,)
    # One step of 0.1 leaves 0.8 of each coordinate.
    left = positions["a"][:, 0] ** 2 + positions["b"] ** 2
    np.testing.assert_allclose(left, 0.64 * evaluation["SGD"][:, 0], rtol=1e-5)


def test_weights_that_were_never_trained_are_worth_a_warning(recwarn):
    trainer = small()
    arguments = {"draws": 2, "steps": 2, "engine": "graph"}
    with pytest.warns(RuntimeWarning, match=r"optimizers\['it'\] was never trained: its weights are the initial ones"):
        l2l.evaluate(l2l.Quadratic(2), {"it": trainer.trained()}, **arguments)
    recwarn.clear()
    trainer.run(1)
    l2l.evaluate(l2l.Quadratic(2), {"it": trainer.trained()}, **arguments)
    assert not [warning for warning in recwarn if "never trained" in str(warning.message)]


def test_trained_optimizers_of_one_kind_share_what_is_built(closed):
    """And have their own weights and adapted values all the same, whatever comes between them."""
    built = []

    def build():
        built.append(1)
        return l2l.CoordinatewiseLSTM((3,), l2l.widening_log_cast())

    random, shapes = np.random.RandomState(0), [one.shape.as_list() for one in build().variables]
    one, other = (
        l2l.Trained(build, [random.normal(size=shape).astype(np.float32) for shape in shapes], [np.float32(least)])
        for least in [-5.0, -9.0]
    )
    arguments = {"draws": 3, "steps": 4, "engine": "graph"}
    alone = [l2l.evaluate(l2l.Quadratic(2), {"it": each}, **arguments)["it"] for each in [one, other]]
    for emptied in [built, closed]:
        emptied.clear()
    slow = l2l.Trained(one_rate, [np.float32(0.01)])
    optimizers = {"one": one, "other": other, "SGD": l2l.sgd(0.01), "again": one, "slow": slow}
    together = l2l.evaluate(l2l.Quadratic(2), optimizers, **arguments)
    assert len(built) == 2 and len(closed) == 4
    for name, expected in [("one", alone[0]), ("other", alone[1]), ("again", alone[0]), ("slow", together["SGD"])]:
        np.testing.assert_array_equal(together[name], expected)
    assert np.any(alone[0] != alone[1])
    wrong = other._replace(weights=other.weights[:-1])
    with pytest.raises(ValueError, match=r"^optimizers\['wrong'\] must have the weights that it builds"):
        l2l.evaluate(l2l.Quadratic(2), {"one": one, "wrong": wrong}, **arguments)


@pytest.mark.parametrize("draws", [2, 20])
def test_an_optimizer_is_told_how_many_base_iterations_there_are(draws):
    def quarter(gradients, state, x):
        return -(gradients + x) / 4, state

    optimizers = {"it": ToldTheHorizon(), "quarter": quarter}
    losses = l2l.evaluate(l2l.Quadratic(2), optimizers, draws=draws, steps=4, engine="graph")
    np.testing.assert_array_equal(losses["it"], losses["quarter"])


def test_an_optimizer_that_cannot_be_vectorized_sees_few_draws_at_once(monkeypatch):
    """Written out once for each of a thousand draws, it would fill the memory."""
    assert GRAPH.MOST_DRAW_BY_DRAW == 16
    monkeypatch.setattr(GRAPH, "MOST_DRAW_BY_DRAW", 2)

    def in_a_loop(gradients, state):
        return -0.1 * tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, 0.5 * y), (0, gradients))[1], None

    def plain(gradients, state):
        return -0.025 * gradients, None

    with pytest.warns(RuntimeWarning, match="optimizer is computed draw by draw"):
        losses = l2l.evaluate(l2l.Quadratic(2), {"loop": in_a_loop, "plain": plain}, draws=5, steps=3, engine="graph")
    np.testing.assert_allclose(losses["loop"], losses["plain"], rtol=1e-5)
    draws = drawn(l2l.Quadratic(2), 5, seeds_of(0), 3)

    def at_once(optimizer, draws):
        one = EvaluationGraph(l2l.Quadratic(2), optimizer, "it", draws, 3, "graph")
        one.close()
        return one._draws.batch

    assert at_once(plain, draws) == 5
    with pytest.warns(RuntimeWarning):
        assert at_once(in_a_loop, draws) == 2
        assert at_once(in_a_loop, draws._replace(batch=1)) == 1
