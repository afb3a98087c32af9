"""Networks whose layers create their variables at the first call: trained, evaluated, saved, or refused in words."""

from collections import namedtuple

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import random_weights
from trainers import assert_close_runs, assert_same_run, learned_momentum, small

import l2l
from l2l.learning.segments import meta_gradient
from l2l.optimizers.first_call import create, from_json, in_json, is_of_another_graph
from l2l.problems.binding import position_specs

UNITS = 3


def notebook_network(coordinates=2):
    """The structure of the original notebook: two LSTMs between linear layers, one row for each coordinate."""
    lstms = tf.contrib.rnn.MultiRNNCell([tf.contrib.rnn.LSTMCell(UNITS) for _ in range(2)])
    network = tf.contrib.rnn.OutputProjectionWrapper(tf.contrib.rnn.InputProjectionWrapper(lstms, UNITS), 1)
    shared = tf.make_template("network", network)

    def optimizer(gradients, state):
        rows = gradients[:, tf.newaxis]
        if state is None:
            number = tf.shape(rows)[0] if coordinates is None else coordinates
            state = [[tf.zeros([number, UNITS])] * 2] * 2
        updates, state = shared(rows, state)
        return updates[:, 0], state

    return optimizer


def of_any_number():
    """The same for any number of coordinates, each on its own."""
    optimizer = notebook_network(None)
    optimizer.coordinatewise = True
    return optimizer


def same_network():
    return l2l.CoordinatewiseLSTM((UNITS, UNITS))


def keras_layers():
    hidden, output = tf.keras.layers.Dense(UNITS, "tanh"), tf.keras.layers.Dense(1)

    def optimizer(gradients, state):
        return tf.nest.map_structure(lambda one: output(hidden(one[..., tf.newaxis]))[..., 0], gradients), None

    return optimizer


def within_a_function(function=tf.function):
    """The variables of a `tf.function` are in no collection of trainable ones."""
    scale = tf.get_variable("scale", [], initializer=tf.constant_initializer(0.1))
    hidden, output = tf.keras.layers.Dense(UNITS, "tanh"), tf.keras.layers.Dense(1)
    network = function(lambda gradients: output(hidden(gradients[..., tf.newaxis]))[..., 0])

    def optimizer(gradients, state):
        return scale * network(gradients), state

    optimizer.coordinatewise = True
    return optimizer


class KerasModel(tf.keras.Model):
    coordinatewise = True

    def __init__(self):
        super().__init__()
        self.layer = tf.keras.layers.Dense(1)

    def call(self, gradients, state=None):
        return self.layer(gradients[..., tf.newaxis])[..., 0], None


def gru():
    """A cell and a layer of `tf.layers`; states of any number of rows, gradients of any shape."""
    cell, output = tf.nn.rnn_cell.GRUCell(UNITS), tf.layers.Dense(1)

    def optimizer(gradients, state):
        rows = tf.reshape(gradients, [-1, 1])
        state = cell.zero_state(tf.shape(rows)[0], tf.float32) if state is None else state
        outputs, state = cell(rows, state)
        return tf.reshape(output(outputs), tf.shape(gradients)), state

    optimizer.coordinatewise = True
    return optimizer


def layers_without_names():
    def optimizer(gradients, state):
        hidden = tf.layers.dense(gradients[..., tf.newaxis], UNITS, tf.tanh)
        return tf.layers.dense(hidden, 1)[..., 0], None

    return optimizer


def plain_variables():
    """`tf.get_variable`, once with reuse and once without a word of it."""

    def optimizer(gradients, state):
        with tf.variable_scope("network", reuse=tf.AUTO_REUSE):
            decay = tf.get_variable("decay", [], initializer=tf.constant_initializer(0.3))
        rate = tf.get_variable("rate", [], initializer=tf.random_uniform_initializer(0.01, 0.1))
        velocity = gradients if state is None else decay * state + gradients
        return -rate * velocity, velocity

    optimizer.coordinatewise = True
    return optimizer


def at_the_second_step():
    def optimizer(gradients, state):
        if state is None:
            return -0.1 * gradients, gradients
        velocity = tf.get_variable("decay", [], initializer=tf.constant_initializer(0.3)) * state + gradients
        return -0.1 * velocity, velocity

    return optimizer


def some_at_once():
    scale, layer = tf.get_variable("scale", [], initializer=tf.constant_initializer(0.1)), tf.layers.Dense(1)
    return lambda gradients, state: (scale * layer(gradients[:, tf.newaxis])[:, 0], state)


class LearnedStart:
    """A learned initial state, and a rate that only a step asks for."""

    def initial_state(self, x):
        return tf.ones_like(x) * tf.get_variable("start", [], initializer=tf.constant_initializer(0.2))

    def __call__(self, gradients, state):
        velocity = 0.5 * state + gradients
        return -tf.get_variable("rate", [], initializer=tf.constant_initializer(0.05)) * velocity, velocity


NETWORKS = {
    "notebook": (notebook_network, 8),
    "Keras layers": (keras_layers, 4),
    "within a function": (within_a_function, 5),
    "Keras model": (KerasModel, 2),
    "GRU": (gru, 6),
    "layers without names": (layers_without_names, 4),
    "plain variables": (plain_variables, 2),
    "at the second step": (at_the_second_step, 1),
    "some at once": (some_at_once, 3),
    "learned start": (LearnedStart, 2),
}


def created(build):
    return create(build, lambda: tf.TensorSpec([2], tf.float32), "it", tf.variable_scope("scope", use_resource=True))


def untrained(build, seed=1):
    """A `Trained` with initial weights, and no record."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        variables = created(build).optimizer.variables
        session.run(tf.global_variables_initializer())
        return l2l.Trained(build, session.run(variables))


def weights_of(build, seed=0):
    with tf.Graph().as_default():
        return [0.5 * array.astype(np.float32) for array in random_weights(created(build).optimizer.variables, seed)]


@pytest.mark.parametrize("batch", [None, 2])
def test_the_notebooks_network_has_the_losses_and_meta_gradients_of_ours(batch):
    problem, weights = l2l.Quadratic(2), weights_of(same_network)
    draw = problem.draw(1) if batch is None else problem.sample(batch, 1)
    results = []
    for build in [notebook_network, same_network]:
        optimizer = created(build).optimizer
        variables = optimizer.variables
        meta = meta_gradient(problem, draw, optimizer, variables, meta_loss="sum", unroll_length=5, batch=batch)
        results.append((variables, [meta.losses, *meta.gradients]))
    with tf.Session() as session:
        for variables, _ in results:
            assert [v.shape.as_list() for v in variables] == [list(w.shape) for w in weights]
            for variable, value in zip(variables, weights):
                variable.load(value, session)
        theirs, ours = session.run([tensors for _, tensors in results])
    assert np.ptp(ours[0]) > 0.01  # it moves
    for one, other in zip(theirs, ours):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("engine, batch", [("graph", 2), ("xla", 1)])
def test_the_notebooks_network_trains_as_ours(engine, batch):
    weights, histories, ends = weights_of(same_network), [], []
    for build, on in [(notebook_network, engine), (same_network, "graph")]:
        settings = {"engine": on, "batch": batch, "learning_rate": 0.01, "unroll_length": 3}
        with small(build_optimizer=l2l.Trained(build, weights), **settings) as trainer:
            histories.append(trainer.run(3))
            ends.append(trainer.weights())
    assert_close_runs(*histories, 1e-3)
    for one, other, start in zip(*ends, weights):
        assert not np.array_equal(one, start)
        np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("notebook", "GRU", "learned start") else pytest.param(name, marks=pytest.mark.rehearsal)
        for name in NETWORKS
    ],
)
def test_every_kind_of_layer_trains_and_comes_back_from_a_file(name, tmp_path):
    build, number = NETWORKS[name]
    with small(build_optimizer=build, batch=2, learning_rate=0.01, unroll_length=3) as trainer:
        before = trainer.weights()
        trainer.run(2)
        trained = trainer.trained()
    assert len(before) == number
    moved = [not np.array_equal(*pair) for pair in zip(before, trained.weights)]
    assert all(moved)
    l2l.save(tmp_path / "it.npz", trained)
    loaded = l2l.load(tmp_path / "it.npz", build)
    both = {"trained": trained, "loaded": loaded, "untrained": trained._replace(weights=before)}
    losses = l2l.evaluate(l2l.Quadratic(2), both, draws=2, steps=3, engine="graph")
    np.testing.assert_array_equal(losses["loaded"], losses["trained"])
    assert not np.array_equal(losses["untrained"], losses["trained"])


def test_a_function_of_tensorflow_changes_nothing():
    weights, ends = [np.float32(array) for array in weights_of(within_a_function)], []
    for build in [within_a_function, lambda: within_a_function(lambda network: network)]:
        with small(build_optimizer=l2l.Trained(build, weights), learning_rate=0.01, unroll_length=2) as trainer:
            trainer.run(2)
            ends.append(trainer.weights())
    for one, other, start in zip(*ends, weights):
        np.testing.assert_allclose(one, other, rtol=1e-5)
        assert not np.array_equal(one, start)


@pytest.mark.rehearsal
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"notebook"}))
def test_every_kind_of_layer_is_compiled(name):
    build, _ = NETWORKS[name]
    runs = []
    for engine in ["graph", "xla"]:
        with small(build_optimizer=build, engine=engine, batch=2, horizon=8) as trainer:
            runs.append(trainer.run(3))
    assert_close_runs(*runs, 1e-3)


def test_a_training_continues_and_is_repeated_under_the_same_names(tmp_path):
    settings = {"build_optimizer": keras_layers, "unroll_length": 2, "horizon": 4}
    with small(checkpoint_dir=tmp_path / "points", **settings) as first:
        first.run(3)
        with small(**settings) as second:
            second.restore(tmp_path / "points")
            assert_same_run(first, second)
            first.run(2)
            second.run(2)
            assert_same_run(first, second)


@pytest.mark.parametrize(
    "build, number", [(same_network, 1), (learned_momentum, 2), (keras_layers, 1), (some_at_once, 2), (LearnedStart, 1)]
)
def test_it_is_built_a_second_time_only_where_nobody_knows_whether_a_call_creates_more(build, number):
    built = []
    created(lambda: built.append(1) or build())
    assert len(built) == number


def test_its_variables_are_resources_wherever_it_is_built():
    handles = []

    def build():
        rate = tf.get_variable("rate", [])
        handles.append(rate.handle)
        return lambda gradients, state: (-rate * gradients, state)

    created(build)
    assert len(handles) == 2


def test_all_that_it_does_sees_the_variables_of_the_first_call():
    """At which its first state is computed once."""
    starts = []

    def weight(name):
        return tf.get_variable(name, [], initializer=tf.constant_initializer(0.2))

    class Everywhere(LearnedStart):
        def initial_state(self, x):
            starts.append(x.shape.as_list())
            return super().initial_state(x)

        def bind(self, horizon):
            return l2l.Bound(lambda g, s, x, product: (weight("rate") * g, s + (horizon or 0)))

        def adapt(self, gradients, state):
            return [weight("rate") * gradients, weight("start") + state]

    optimizer = created(Everywhere).optimizer
    assert starts == [[2]]
    names = [variable.op.name for variable in tf.global_variables()]
    assert names == ["scope/start", "scope/rate"] and [one.op.name for one in optimizer.variables] == names
    x, bound = tf.ones([3]), optimizer.bind(horizon=5)
    states = [optimizer.initial_state(x), bound.initial_state(x)]
    update, state = bound.plain_step(x, states[0], x)
    adapted = optimizer.adapt(x, states[0])
    assert [variable.op.name for variable in tf.global_variables()] == names
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = session.run([*states, update, state, *adapted])
    np.testing.assert_allclose(found, np.float32([[0.2] * 3, [0.2] * 3, [0.2] * 3, [5.2] * 3, [0.2] * 3, [0.4] * 3]))


def test_variables_of_the_users_own_functions_are_not_taken_for_its_own():
    """They are in no collection of trainable ones, and stay out of it."""
    theirs = tf.keras.layers.Dense(1)
    tf.function(lambda x: theirs(x))(tf.zeros([1, 1]))
    assert len(tf.global_variables()) == 2 and not tf.trainable_variables()
    assert len(created(within_a_function).optimizer.variables) == 5 == len(tf.trainable_variables())


def test_a_learned_optimizer_that_creates_all_at_once_leaves_the_graph_as_it_was():
    """So do the seeds of what follows, and thereby its weights."""

    def names(create_it):
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            create_it()
            return [operation.name for operation in graph.get_operations()]

    for build in [learned_momentum, same_network]:

        def at_once(build=build):
            with tf.variable_scope("scope", use_resource=True):
                build()

        def through_the_door(build=build):
            assert created(build).position is None

        assert names(through_the_door) == names(at_once)


def test_initial_weights_follow_from_the_seed_and_from_no_engine():
    starts = []
    for engine, seed in [("graph", 1), ("xla", 1), ("graph", 2)]:
        with small(build_optimizer=gru, engine=engine, weights_seed=seed, unroll_length=2) as trainer:
            starts.append(trainer.weights())
    for one, other, third in zip(*starts):
        np.testing.assert_array_equal(one, other)
        assert not one.any() or (one == 1).all() or not np.array_equal(one, third)


class TwoGroups(l2l.Problem):
    def sample(self, num, seed=None):
        return l2l.uniform([num, 4], -1.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return {"a": draw[:2], "b": draw[2:]}

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x["a"])) + 2 * tf.reduce_sum(tf.square(x["b"]))


def test_each_group_has_variables_of_its_own_in_its_scope(tmp_path):
    builders = {"a": layers_without_names, "b": learned_momentum}
    with small(problem=TwoGroups(), build_optimizer=builders, batch=2, unroll_length=3) as trainer:
        names = list(trainer._training.graph._variables)
        before = trainer.weights()
        trainer.run(2)
        trained = trainer.trained()
    weights = [name for name in names if "Adam" not in name and "power" not in name]
    assert {name.split("/")[0] for name in weights if name.startswith(("a/", "b/"))} == {"a", "b"}
    assert len(trained.weights) == 4 + 2
    assert not any(np.array_equal(*pair) for pair in zip(before, trained.weights))
    l2l.save(tmp_path / "it.npz", trained)
    loaded = l2l.load(tmp_path / "it.npz", lambda: l2l.Grouped(builders))
    one, other = (
        l2l.evaluate(TwoGroups(), {"it": it}, draws=2, steps=3, engine="graph")["it"] for it in [trained, loaded]
    )
    np.testing.assert_array_equal(one, other)


def test_imitation_trains_it_and_its_weights_go_on():
    imitation = l2l.Imitation(l2l.Quadratic(2), l2l.adam(0.03))
    with small(
        problem=imitation,
        build_optimizer=imitation.build(notebook_network),
        second_derivatives=False,
        unroll_length=3,
    ) as trainer:
        trainer.run(2)
        trained = trainer.trained()._replace(build=notebook_network)
    with small(build_optimizer=trained, unroll_length=2) as trainer:
        for one, other in zip(trainer.weights(), trained.weights):
            np.testing.assert_array_equal(one, other)


def test_learn_creates_it_in_the_users_graph(run):
    """With a batch the first step is mapped over the draws while it creates variables."""
    problem, optimizer = l2l.Quadratic(2), notebook_network()
    draws = problem.sample(3, 1)
    together = l2l.learn(problem, draws, optimizer, steps=4, batch=3)
    alone = [
        l2l.learn(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws), optimizer, steps=4)
        for i in range(3)
    ]
    assert len(tf.trainable_variables()) == 8
    together, alone = run([together, alone])
    np.testing.assert_allclose(together, np.transpose(alone), rtol=1e-5)


def test_it_is_traced_and_answers():
    trained = untrained(of_any_number)
    assert l2l.evaluation.traces.trace(l2l.Quadratic(2), {"it": untrained(notebook_network)}, draws=2, steps=3)[
        "it"
    ].updates.any()
    assert l2l.evaluation.traces.responses({"it": trained}, np.ones([3, 4], np.float32))["it"].shape == (3, 4)


# `LearnedOptimizer`.


@pytest.mark.parametrize(
    "build",
    [pytest.param(of_any_number, marks=pytest.mark.rehearsal), gru, plain_variables, within_a_function],
)
def test_it_moves_variables_of_a_users_own(build):
    trained, start = untrained(build), np.random.RandomState(0).normal(size=5000).astype(np.float32)
    large, small_one = (tf.get_variable(name, initializer=start[:n]) for name, n in [("large", 5000), ("small", 6)])
    rows = tf.get_variable("rows", initializer=start[:20].reshape(10, 2))
    loss = tf.reduce_sum(tf.square(large)) + tf.nn.l2_loss(tf.gather(rows, [1, 3, 3])) + tf.nn.l2_loss(small_one)
    train = l2l.LearnedOptimizer(trained).minimize(loss)
    optimizer, load = trained.create("it", lambda: tf.TensorSpec([2], tf.float32))
    ends = []
    for x, factor in [(start, 2), (start[:6], 1)]:
        x, state = tf.constant(x), None
        for _ in range(3):
            update, state = optimizer.bind().plain_step(factor * x, state, x)
            x += update
        ends.append(x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        load(session)
        for _ in range(3):
            session.run(train)
        found, expected, moved = session.run([[large, small_one], ends, rows])
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert sorted(set(np.nonzero(moved != start[:20].reshape(10, 2))[0])) == [1, 3]


def of_static_shape():
    cell = tf.nn.rnn_cell.GRUCell(UNITS)

    def optimizer(gradients, state):
        state = tf.zeros([gradients.shape[0].value, UNITS]) if state is None else state
        outputs, state = cell(gradients[:, tf.newaxis], state)
        return outputs[:, 0], state

    optimizer.coordinatewise = True
    return optimizer


@pytest.mark.parametrize(
    "build, message",
    [
        (
            notebook_network,
            "trained must hold an optimizer for any number of coordinates, its state has a fixed size, for 2",
        ),
        (lambda: notebook_network(None), "or one that is coordinate-wise, and says so with coordinatewise = True"),
        (of_static_shape, "any number of coordinates, also where the graph does not know it"),
    ],
    ids=["fixed", "not coordinate-wise", "static"],
)
def test_what_does_not_serve_any_number_of_coordinates_is_refused(build, message):
    with pytest.raises(ValueError, match=message) as caught:
        l2l.LearnedOptimizer(untrained(build)).minimize(tf.nn.l2_loss(tf.get_variable("x", [2, 3])))
    assert "\n" not in str(caught.value)


# Refusals.


def every_call():
    return lambda gradients, state: (-tf.Variable(0.1, name="rate") * gradients, None)


def global_network():
    cell = notebook_network()
    with tf.Graph().as_default():
        cell(tf.zeros([2]), None)
    return lambda: cell


def in_a_collection_of_its_own():
    def optimizer(gradients, state):
        start = tf.constant_initializer(0.1)
        return -tf.get_variable("rate", [], initializer=start, collections=["mine"]) * gradients, None

    return optimizer


def of_two_dtypes():
    tf.get_variable("double", [], tf.float64)
    return learned_momentum()


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: l2l.sgd(),
            "build_optimizer must create trainable variables when called, or an optimizer that does so",
        ),
        (every_call, "creates its variables once, this one creates 'rate' at every call"),
        (global_network(), "build_optimizer must create a new network each time, with its cells and layers"),
        (lambda: notebook_network(5), r"failed when it was called first, with gradients of shape \(2,\): Dimension"),
        (lambda: lambda gradients, state: gradients, "optimizer must return a pair"),
        (lambda: KerasModel, "build_optimizer must create an optimizer, it returned the class"),
        (in_a_collection_of_its_own, "must create variables that TensorFlow knows as global ones, 'rate' is none"),
        (of_two_dtypes, "must create trainable variables of one dtype, got float32 and float64"),
    ],
    ids=["nothing", "every call", "global", "another size", "no pair", "class", "collection", "two dtypes"],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(build, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        small(build_optimizer=build)
    assert "\n" not in str(caught.value)


def with_state(next_state, **more):
    """A network that fails at a step whose state is not [2, 2]."""

    def network(gradients, state):
        rate, state = tf.get_variable("rate", []), tf.ones([2, 2]) if state is None else state
        return rate * gradients, next_state(tf.linalg.matmul(state, tf.ones([2, 2])))

    vars(network).update(more)
    return lambda: network


@pytest.mark.parametrize(
    "network, message",
    [
        (
            with_state(lambda state: {"m": state}),
            r"failed at its second step, with gradients of shape \(2,\) and the state {'m': float32 \(2, 2\)}: ",
        ),
        (
            with_state(lambda state: state[0], initial_state=lambda x: tf.ones([2, 2])),
            r"failed at its second step, .* \(2,\), after its state changed from float32 \(2, 2\) to float32 \(2,\): ",
        ),
        (
            with_state(lambda state: state[:1, :1]),
            r"failed at its second step, with gradients of shape \(2,\) and the state float32 \(1, 1\): ",
        ),
        (
            with_state(lambda state: state, initial_state=lambda x: [None, 3, np.ones(5)]),
            r"failed when it was called first, .* shape \(2,\) and the state \[None, 3, float64 \(5,\)\]: ",
        ),
    ],
    ids=["structure", "changed", "shape", "initial"],
)
def test_a_state_that_the_next_step_cannot_take_is_named(network, message):
    with pytest.raises(ValueError, match="^the optimizer of build_optimizer " + message):
        small(build_optimizer=network)


def changing_late(gradients, state):
    """Its state is `[2, 2]` and then `[2, 1]`, with which the third step fails."""
    state = tf.ones([2, 2]) if state is None else tf.linalg.matmul(state, state)[:, :1]
    return tf.get_variable("rate", []) * gradients, state


def test_a_state_that_changes_late_is_named():
    words = r"failed at its third step, .*, after its state changed from float32 \(2, 2\) to float32 \(2, 1\): "
    with pytest.raises(ValueError, match=words):
        small(build_optimizer=lambda: changing_late)


def with_a_long_state(gradients, state):
    """Its second state has 100 tensors, with which the third step fails."""
    state = [gradients] if state is None else state * 100
    return tf.get_variable("rate", []) * gradients if len(state) < 101 else undefined, state  # noqa: F821


def with_a_strange_state(gradients, state):
    """Keys that cannot be sorted are no nest of TensorFlow's."""
    return tf.get_variable("rate", []) * (gradients if state is None else undefined), {1: gradients, "a": gradients}  # noqa: F821


def test_a_state_is_named_in_few_words_and_whatever_it_is():
    with pytest.raises(ValueError, match="after its state changed") as caught:
        small(build_optimizer=lambda: with_a_long_state)
    assert len(str(caught.value)) < 800
    with pytest.raises(ValueError, match=r"failed at its second step, .* the state \{1: .*undefined"):
        small(build_optimizer=lambda: with_a_strange_state)


def test_a_network_that_cannot_be_built_again_is_refused_by_the_name_of_the_argument(graph):
    builds = []

    def build():
        builds.append(len(builds))
        return learned_momentum() if len(builds) == 1 else 3

    created = create(build, lambda: tf.TensorSpec([2], tf.float32), "mine")
    with pytest.raises(TypeError, match=r"^mine's result must be callable, got 3"):
        created.optimizer.bind([tf.zeros([])])


def test_evaluate_does_not_take_initial_weights_for_trained_ones():
    with pytest.raises(TypeError, match=r"optimizers\['it'\] must be a function .* without variables"):
        l2l.evaluate(l2l.Quadratic(2), {"it": notebook_network()}, draws=2, steps=3)
    with pytest.raises(TypeError, match=r"optimizers\['it'\] must be a function .* without variables"):
        l2l.evaluate(l2l.Quadratic(2), {"it": global_network()()}, draws=2, steps=3)
    with pytest.raises(TypeError, match="without variables"):
        l2l.evaluate(l2l.Quadratic(2), {"it": LearnedStart()}, draws=2, steps=3)
    with pytest.raises(TypeError, match="without variables"):
        l2l.evaluation.traces.trace(l2l.Quadratic(2), {"it": notebook_network()}, draws=2, steps=3)


def test_a_file_without_the_position_is_refused_in_a_sentence(tmp_path):
    trained = untrained(notebook_network)
    l2l.save(tmp_path / "it.npz", trained)
    with pytest.raises(ValueError, match="created no variables when it was built, and the record") as caught:
        l2l.load(tmp_path / "it.npz", notebook_network)
    assert "\n" not in str(caught.value)
    damaged = trained._replace(record={"position": ["float32", [-1]]})
    l2l.save(tmp_path / "it.npz", damaged)
    with pytest.raises(ValueError, match="record must say what a position is like"):
        l2l.load(tmp_path / "it.npz", notebook_network)


def test_what_fails_with_a_batch_alone_says_its_shape():
    """The notebook's network is coordinate-wise, but takes vectors of gradients alone."""

    def build():
        optimizer = notebook_network()
        optimizer.coordinatewise = True
        return optimizer

    with pytest.raises(ValueError, match=r"the optimizer failed with gradients of shape \(3, 2\): .*ust be") as caught:
        small(build_optimizer=build, batch=3)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_users_own_stays_what_it_is():
    class OwnError(ValueError):
        pass

    def build():
        network = notebook_network()

        def optimizer(gradients, state):
            if gradients.shape.ndims == 2:
                raise OwnError("one", 2)
            return network(gradients, state)

        optimizer.coordinatewise = True
        return optimizer

    with pytest.raises(OwnError) as caught:
        small(build_optimizer=build, batch=3)
    assert caught.value.args == ("one", 2)


def test_a_variable_without_a_name_is_named_as_tensorflow_does():
    with pytest.raises(ValueError, match="creates its variables once, this one creates 'Variable' at every call"):
        created(lambda: lambda gradients, state: (-tf.Variable(0.1) * gradients, None))


def test_errors_that_say_that_a_graph_is_another():
    finished = tf.Graph()
    with finished.as_default():
        theirs = tf.constant(1.0)
    finished.finalize()
    for fail in [lambda: theirs + tf.constant(1.0), lambda: theirs + 1.0]:
        with pytest.raises((RuntimeError, ValueError)) as caught:
            fail()
        assert is_of_another_graph(caught.value)
    assert not is_of_another_graph(ValueError("Dimensions must be equal"))


# The record.

Point = namedtuple("Point", ["x", "y"])


def test_a_position_in_json_comes_back():
    matrix, scalar = tf.TensorSpec([2, 3], tf.float32), tf.TensorSpec([], tf.float64)
    for like in [
        matrix,
        [matrix, (scalar,)],
        {"b": matrix, "a": {"c": [scalar]}},
        {1: tf.TensorSpec([0, 2], tf.float32)},
        (Point(scalar, matrix),),
    ]:
        again = from_json(in_json(like))
        tf.nest.assert_same_structure(again, like)
        assert tf.nest.flatten(again) == tf.nest.flatten(like)
    assert in_json({(1, 2): matrix}) is None and in_json([matrix, None]) is None
    assert position_specs(l2l.Quadratic(3)) == tf.TensorSpec([3], tf.float32)


@pytest.mark.parametrize(
    "bad",
    [None, 3, "x", [], {}, ["float32", [2.5]], ["float32", [-1]], ["float32", ["3"]], ["float32", [True]]]
    + [["float32", [None]], ["float32", 2], ["int32", [2]], ["x", [2]], {"dict": 3}, {"set": []}, {"list": [3]}]
    + [{"namedtuple": ["a b", ["x"], [["float32", []]]]}, {"namedtuple": ["A", ["x", "y"], [["float32", []]]]}],
)
def test_what_describes_no_position_is_refused(bad):
    with pytest.raises(ValueError, match="record must say what a position is like"):
        from_json(bad)


@pytest.mark.parametrize("coordinatewise, batched", [(False, [2]), (True, [3, 2])])
def test_gradients_have_the_shapes_that_the_page_states(coordinatewise, batched):
    """docs/extending.md has a table of them."""
    seen = []

    def build():
        layer = tf.layers.Dense(1)

        def optimizer(gradients, state):
            seen.append(gradients.shape.as_list())
            return layer(gradients[..., tf.newaxis])[..., 0], None

        optimizer.coordinatewise = coordinatewise
        return optimizer

    with small(build_optimizer=build) as trainer:
        trained = trainer.trained()._replace(record={})
    assert seen[:3] == [[2]] * 3  # the first call
    assert {tuple(shape) for shape in seen} == {(2,)}
    with small(build_optimizer=build, batch=3):
        assert seen[-1] == batched
    l2l.evaluate(l2l.Quadratic(2), {"it": trained}, draws=3, steps=2, engine="graph")
    assert seen[-1] == batched
