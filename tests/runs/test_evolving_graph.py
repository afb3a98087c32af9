"""Trainings with an estimator: exact pairs, one problem or several, resumed anywhere, in both engines."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l import graphs
from l2l.learning.evolution import unit_noise
from l2l.learning.settings import Settings
from l2l.runs.evolving_graph import EvolvingGraph
from l2l.runs.recipe import Recipe

TWO = {"two": l2l.Quadratic(2), "three": l2l.Quadratic(3)}


class _Rate:
    """Gradient descent with a rate that is learned, for a horizon of four; it is longer for longer ones."""

    def __init__(self, rate=0.1):
        self.rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(rate), use_resource=True)
        self.variables = [self.rate]

    def bind(self, weights=None, horizon=None):
        rate = (
            (self.rate if weights is None else weights[0]) * tf.cast(4 if horizon is None else horizon, tf.float32) / 4
        )
        return l2l.Bound(lambda gradients, state, x, product: (-rate * gradients, ()), initial_state=lambda x: ())

    def __call__(self, gradients, state):
        return self.bind().plain_step(gradients, state, gradients)


def trainer(estimator=None, problem=None, engine="graph", build=_Rate, **settings):
    settings = {"learning_rate": 1e-2, "draws_seed": 3, **settings}
    estimator = l2l.EvolutionStrategies(2) if estimator is None else estimator
    return l2l.Trainer(problem or TWO, build, "sum", estimator=estimator, engine=engine, **settings)


@pytest.mark.parametrize(
    "estimator, settings",
    [
        (l2l.EvolutionStrategies(2), {"horizon": lambda number: (3, 6 + number)}),
        (l2l.PES(2), {"unroll_length": 3, "horizon": (8, 12)}),
    ],
    ids=["whole", "persistent"],
)
def test_it_goes_on_bit_for_bit_with_any_number_of_threads(estimator, settings, tmp_path):
    with trainer(estimator, **settings) as training:
        whole_history, weights = training.run(6), training.weights()
    with trainer(estimator, checkpoint_dir=tmp_path, **settings) as training:
        training.run(2)
        if estimator.persistent:  # in the middle of a life, and before another one
            snapshot = training.snapshot()
            assert [snapshot["pairs/%d/places" % i][:, 1].tolist() for i in range(2)] == [[6, 6], [0, 0]]
    with trainer(estimator, checkpoint_dir=tmp_path, resume=True, threads=2, **settings) as training:
        history = training.run(4)
        assert all(np.array_equal(*pair) for pair in zip(training.weights(), weights))
    for column in set(history.columns) - {"seconds"}:
        np.testing.assert_array_equal(getattr(history, column), getattr(whole_history, column))
    assert set(history.problem) == {0, 1}
    unit = settings.get("unroll_length", 1)
    assert (history.horizon % unit == 0).all() and history.horizon.min() >= 3 and history.horizon.max() <= 12
    history.save(tmp_path / "history.npz")
    np.testing.assert_array_equal(l2l.History.load(tmp_path / "history.npz").horizon, history.horizon)
    assert "diverged" in history.to_frame()


def test_both_engines_compute_the_same():
    histories = []
    for engine in ["graph", "xla"]:
        with trainer(problem=l2l.Quadratic(2), horizon=4, engine=engine) as training:
            histories.append(training.run(2))
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        np.testing.assert_allclose(*[getattr(one, column) for one in histories], rtol=1e-3)


def test_it_learns():
    """From a rate that is far too small for a quadratic problem of this size."""
    estimator = l2l.EvolutionStrategies(4, sigma=0.005, clip=None)
    with trainer(estimator, l2l.Quadratic(2), build=lambda: _Rate(0.01), horizon=10, clip_norm=None) as training:
        history = training.run(12)
        trained = training.trained()
    fresh = trained._replace(weights=[np.float32(0.01)])
    losses = l2l.evaluate(l2l.Quadratic(2), {"fresh": fresh, "trained": trained}, draws=100, steps=10, engine="graph")
    assert losses["trained"].sum(axis=1).mean() < 0.5 * losses["fresh"].sum(axis=1).mean()
    assert not history.skipped.any()


class _Explodes(l2l.Quadratic):
    """A loss that is infinite as soon as anything has moved."""

    def loss(self, x, draw):
        start = self.initial_position(draw)
        return super().loss(x, draw) + 1e38 * 1e38 * tf.reduce_sum(tf.abs(x - start))


def test_members_that_diverge_are_counted_and_a_meta_iteration_of_none_else_changes_nothing():
    with trainer(problem=_Explodes(2), horizon=4) as training:
        before = training.weights()
        with pytest.warns(RuntimeWarning, match="meta-iteration 0 has meta-loss nan"):
            history = training.run(2)
        assert all(np.array_equal(*pair) for pair in zip(before, training.weights()))
    assert history.diverged.tolist() == [4, 4] and history.skipped.all()


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"horizon": (5, 2)}, ValueError, r"horizon must have its least first, got \(5, 2\)"),
        ({"horizon": (5, 2, 3)}, ValueError, r"horizon must be a number or a pair \(least, most\)"),
        ({"horizon": (0, 2)}, ValueError, r"horizon\[0\] must be a positive integer, got 0"),
        ({"batch": 2}, ValueError, "batch and second_derivatives must be left as they are with an estimator"),
        ({"second_derivatives": False}, ValueError, "batch and second_derivatives must be left"),
        ({"on_nonfinite": "raise"}, ValueError, "on_nonfinite must be one of skip, got 'raise'"),
        ({"estimator": "ES"}, TypeError, "estimator must be None, l2l.EvolutionStrategies"),
        ({"problem": {"a": 3}}, TypeError, r"problem\['a'\] must be a Problem"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        trainer(**settings)


class _InPython(l2l.Quadratic):
    """With an op that XLA has no code for."""

    batch_loss = l2l.Problem.batch_loss

    def loss(self, x, draw):
        one = tf.py_func(lambda: np.float32(1), [], tf.float32)
        one.set_shape([])
        return one * super().loss(x, draw)


@pytest.mark.parametrize("problem", [{"a": _InPython(2)}, {"a": _InPython(2), "b": _InPython(2)}], ids=len)
def test_what_xla_cannot_compile_is_said_before_it_runs(problem):
    settings = Settings(estimator=l2l.PES(1), unroll_length=2, horizon=2)
    graph = EvolvingGraph(Recipe(problem, _Rate, settings, "xla"), client=None)
    name = graph._chosen()[0]
    assert graph.to_prepare() == "building and compiling" + " %s" % name * (len(problem) > 1)
    with pytest.raises(ValueError, match="engine='xla' cannot compile this problem or optimizer; engine='graph' can"):
        graph.prepare()
    graph.close()


def test_it_begins_with_the_weights_of_a_trained_optimizer_and_frees_everything_in_the_end():
    recipe = Recipe(l2l.Quadratic(2), l2l.Trained(_Rate, [np.float32(0.7)]), Settings(estimator=l2l.PES(1)), "graph")
    graph = EvolvingGraph(recipe, client=None)
    assert graph.weights() == [np.float32(0.7)] and graph.to_prepare() is None
    graph.close()
    for freed in [graph.weights, lambda: graph._begun("Quadratic", [0]), lambda: graph._pool.submit(int)]:
        with pytest.raises(RuntimeError, match=r"closed|after shutdown"):
            freed()


class _Fails(l2l.Quadratic):
    """Its draws are built, and cannot be computed."""

    def sample(self, num, seed=None):
        with tf.control_dependencies([tf.debugging.Assert(False, ["no such draw"])]):
            return tf.nest.map_structure(tf.identity, super().sample(num, seed))


def test_pairs_that_cannot_begin_leave_no_session_open(monkeypatch):
    opened, closed = [], []
    start, close = graphs.OwnGraph.start, graphs.OwnGraph.close
    monkeypatch.setattr(graphs.OwnGraph, "start", lambda self, *args: opened.append(self) or start(self, *args))
    monkeypatch.setattr(graphs.OwnGraph, "close", lambda self: closed.append(self) or close(self))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no such draw"):
        EvolvingGraph(Recipe(_Fails(2), _Rate, Settings(estimator=l2l.PES(1)), "graph"), client=None)
    assert len(opened) > 1 and set(opened) == set(closed)


def test_the_record_says_of_what_shape_draws_and_the_gradients_of_a_first_call_are():
    def build():
        layer = tf.layers.Dense(1)
        return lambda gradients, state: (tf.reshape(layer(tf.reshape(gradients, [-1, 1])), gradients.shape), state)

    with trainer(problem={"three": l2l.Quadratic(3)}, build=build) as training:
        config = training.history.config
    assert config["position"] == ["float32", [3]] and config["draws"] == [[["float32", [3]], ["float32", [3]]]]


def test_a_meta_loss_from_which_nothing_can_be_learned_is_refused():
    with pytest.raises(ValueError, match="meta_loss must depend on"):
        l2l.Trainer(TWO, _Rate, lambda losses: losses[0], estimator=l2l.EvolutionStrategies(1), engine="graph")


def test_a_set_of_problems_needs_an_estimator():
    with pytest.raises(ValueError, match="a non-empty dict of problems where there is an estimator"):
        l2l.Trainer(TWO, l2l.AdamController)
    with pytest.raises(ValueError, match="a non-empty dict of problems"):
        l2l.Trainer({}, l2l.AdamController, estimator=l2l.EvolutionStrategies())


def test_what_adapts_is_refused():
    def build():
        return l2l.CoordinatewiseLSTM((3,), l2l.widening_log_cast())

    with pytest.raises(ValueError, match="estimator needs an optimizer that adapts nothing"):
        l2l.Trainer(l2l.Quadratic(2), build, estimator=l2l.EvolutionStrategies(1), engine="graph").run(1)


@pytest.mark.parametrize("dtype", [tf.float64, None], ids=["float64", "none"])
def test_weights_must_be_there_and_of_float32(dtype):
    def build():
        rate = 0.1 if dtype is None else tf.cast(tf.get_variable("rate", [], dtype), tf.float32)
        return lambda gradients, state: (-rate * gradients, state)

    with pytest.raises(ValueError, match="must create trainable variables"):
        l2l.Trainer(l2l.Quadratic(2), build, estimator=l2l.EvolutionStrategies(1), engine="graph")


def test_segments_of_one_base_iteration_are_enough_for_persistent_strategies():
    def last(losses):
        return losses[-1]

    with l2l.Trainer(
        l2l.Quadratic(2),
        l2l.AdamController,
        last,
        estimator=l2l.PES(1),
        unroll_length=1,
        horizon=2,
        engine="graph",
    ) as training:
        assert np.isfinite(training.run(2).meta_loss).all()


class _Moving(l2l.Problem):
    """`(x - a (1 + t))^2` with another `a` for each draw: it tells draws and base iterations apart."""

    def sample(self, num, seed=None):
        return l2l.uniform([num], 0.5, 1.5, seed=seed)

    def initial_position(self, draw):
        return tf.zeros([])

    def observe(self, draw, t, data):
        return draw * (1 + tf.cast(t, tf.float32))

    def loss(self, x, observed):
        return tf.square(x - observed)


@pytest.mark.parametrize("kind", [l2l.EvolutionStrategies, l2l.PES])
def test_a_training_is_that_of_numpy(kind, run):
    """Six meta-iterations: what is carried, what begins anew, clips, figures, the update."""
    pairs, sigma, clip, clip_norm, step, segment, horizon = 2, 0.05, 2.0, 10.0, 0.003, 2, 4
    with l2l.Trainer(
        _Moving(),
        _Rate,
        "sum",
        estimator=kind(pairs, sigma=sigma, clip=clip),
        unroll_length=segment,
        horizon=horizon,
        engine="graph",
        draws_seed=3,
        clip_norm=clip_norm,
        meta_optimizer=lambda rate: tf.train.GradientDescentOptimizer(rate),
        learning_rate=step,
    ) as training:
        history, trained = training.run(6), training.weights()[0]

    draws = run([_Moving().sample(pairs, tf.constant((3 << 32) | number, tf.int64)) for number in range(7)])
    persistent = kind is l2l.PES
    rate, pair_states = 0.1, None
    expected, clipped = [], 0
    for number in range(6):
        (directions,) = unit_noise(3, number, pairs, [[]])
        if not persistent or pair_states is None:
            pair_states = [{"a": a, "age": 0, "x": [0.0, 0.0], "sum": 0.0} for a in draws[number]]
        steps, gradient, ends, lasts = (segment if persistent else horizon), 0.0, [], []
        for state, direction in zip(pair_states, directions):
            own = []
            for sign, factor in enumerate([sigma, -sigma]):
                losses = []
                for t in range(state["age"], state["age"] + steps):
                    distance = state["x"][sign] - state["a"] * (1 + t)
                    losses.append(distance**2)
                    state["x"][sign] -= (rate + factor * direction) * 2 * distance
                own.append(sum(losses))
                lasts.append(losses[-1])
            state["sum"] += direction
            clipped += abs(own[0] - own[1]) > clip
            difference = np.clip(own[0] - own[1], -clip, clip)
            gradient += difference * (state["sum"] if persistent else direction) / (2 * sigma * pairs)
            state["age"] += steps
            ends += own
        expected.append([np.mean(ends), np.exp(np.mean(np.log(lasts))), abs(gradient)])
        rate -= step * gradient / max(1, abs(gradient) / clip_norm)
        if persistent and pair_states[0]["age"] >= horizon:
            pair_states = [{"a": a, "age": 0, "x": [0.0, 0.0], "sum": 0.0} for a in draws[number + 1]]
    found = np.stack([history.meta_loss, history.last_loss, history.gradient_norm], axis=1)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    np.testing.assert_allclose(trained, rate, rtol=1e-4)
    assert 0 < clipped < 12 and found[:, 2].max() > clip_norm > found[:, 2].min()  # both clips are seen


class _Start:
    """Its first update is learned, a weight that enters the first state alone; then it stands still."""

    def __init__(self):
        self.variables = [tf.get_variable("first", [], initializer=tf.constant_initializer(0.1), use_resource=True)]

    def bind(self, weights=None, horizon=None):
        (first,) = self.variables if weights is None else weights

        def initial_state(x):
            return first * tf.ones_like(x)

        def step(gradients, state, x, product):
            state = initial_state(gradients) if state is None else state
            return state, tf.zeros_like(state)

        return l2l.Bound(step, initial_state=initial_state)

    def initial_state(self, x):
        return self.bind().initial_state(x)

    def __call__(self, gradients, state):
        return self.bind().plain_step(gradients, state, gradients)


@pytest.mark.parametrize("estimator", [l2l.EvolutionStrategies(2), l2l.PES(2)], ids=["whole", "persistent"])
def test_a_state_that_is_learned_begins_with_the_weights_of_its_member(estimator):
    with trainer(estimator, _Moving(), build=_Start, unroll_length=3, clip_norm=None) as training:
        history = training.run(2)
    assert (history.gradient_norm > 0.1).all()


def test_pairs_that_diverge_begin_anew():
    with trainer(l2l.PES(2), _Explodes(2), unroll_length=2, horizon=6) as training:
        with pytest.warns(RuntimeWarning, match="has meta-loss nan"):
            training.run(1)
        places = training.snapshot()["pairs/0/places"]
    assert places.tolist() == [[1, 0, 6], [1, 0, 6]]  # the next meta-iteration's draws, from their start
