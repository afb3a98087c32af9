"""`LearnedOptimizer` and `KerasOptimizer` with an optimizer of whole tensors: all variables move in one step."""

import collections
import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers import learned_optimizer, tensor_functions

keras = tf.keras


def controller(seed=0):
    """A network that nobody trained, whose weights use all that it sees."""
    random = np.random.RandomState(seed)
    shapes = [(19, 4), (4,), (4, 7), (7,)]
    return l2l.Trained(lambda: l2l.AdamController(4), [np.float32(random.normal(0, 0.5, shape)) for shape in shapes])


@functools.lru_cache(maxsize=None)
def learned(**settings):
    """A `LearnedOptimizer` for every test: it makes the function of a step once."""
    return l2l.LearnedOptimizer(controller(), **settings)


@functools.lru_cache(maxsize=None)
def planning():
    """One that plans eight steps, or what the tensor `steps:0` of the graph is fed with, and has a rate, `rate:0`."""

    def fed(name, value):
        with tf.name_scope(None):
            return tf.placeholder_with_default(value, [], name=name)

    return l2l.LearnedOptimizer(controller(), steps=lambda: fed("steps", 8), learning_rate=lambda: fed("rate", 1.0))


@pytest.fixture(autouse=True)
def op_by_op(monkeypatch):
    """Steps are not compiled but in the tests that ask for it: for two or three of them that would take longer."""
    monkeypatch.setattr(tensor_functions.TensorFunctions, "is_compiled", False)


@pytest.fixture
def compiled(op_by_op, monkeypatch):
    monkeypatch.setattr(tensor_functions.TensorFunctions, "is_compiled", True)


@pytest.fixture(params=["op by op", "compiled"])
def both(request, op_by_op, monkeypatch):
    monkeypatch.setattr(tensor_functions.TensorFunctions, "is_compiled", request.param == "compiled")


class Bowls(l2l.Problem):
    shapes = [[], [3], [2, 3], [2, 1, 2]]

    def sample(self, num, seed=None):
        return [l2l.normal([num, *shape], 1.0, seed=i) for i, shape in enumerate(self.shapes)]

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.add_n([tf.reduce_sum((i + 1) * tf.square(tensor)) for i, tensor in enumerate(x)])


def start():
    random = np.random.RandomState(3)
    return [random.normal(size=shape).astype(np.float32) for shape in Bowls.shapes]


def variables(use_resource=True, values=None):
    return [
        tf.get_variable("x%d" % i, initializer=value, use_resource=use_resource)
        for i, value in enumerate(start() if values is None else values)
    ]


def after(number, train, fetched, session=None):
    """What is fetched after so many steps, in a session that optimizes graphs, as those of users do."""
    with tf.Session() if session is None else session as session:
        session.run(tf.global_variables_initializer())
        for _ in range(number):
            session.run(train)
        return session.run(fetched)


def moved(number, optimizer, values=None, use_resource=True):
    """Positions after steps on bowls, in a graph of their own."""
    with tf.Graph().as_default():
        x = variables(use_resource, values)
        return after(number, optimizer.minimize(Bowls().loss(x, None)), x)


@functools.lru_cache(maxsize=None)
def positions_by_the_library(steps, number):
    """Of `start()` after so many steps on bowls."""
    with tf.Graph().as_default():
        optimizer, load = controller().create("trained")
        x = [tf.placeholder(tf.float32, value.shape) for value in start()]
        first = optimizer.bind(horizon=steps).initial_state([tf.constant(value) for value in start()])
        carried = [tf.placeholder(one.dtype, one.shape) for one in tensors_of(first)]
        bound, gradients = optimizer.bind(horizon=steps), tf.gradients(Bowls().loss(x, None), x)
        updates, state = bound.plain_step(gradients, with_tensors(first, carried), x)
        fetched = [[one + update for one, update in zip(x, updates)], tensors_of(state)]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            load(session)
            now = [start(), session.run(tensors_of(first))]
            for _ in range(number):
                now = session.run(fetched, dict(zip([*x, *carried], [*now[0], *now[1]])))
        return now[0]


@pytest.mark.parametrize("use_resource, steps, is_compiled", [(False, None, False), (True, 6, False), (True, 6, True)])
def test_it_moves_variables_as_the_library_does(use_resource, steps, is_compiled, op_by_op, monkeypatch):
    monkeypatch.setattr(tensor_functions.TensorFunctions, "is_compiled", is_compiled)
    found = moved(4, learned(steps=steps), start(), use_resource)
    for one, other, before in zip(found, positions_by_the_library(steps, 4), start()):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
        assert not np.array_equal(one, before)


def test_slots_have_the_names_of_the_state_and_the_rest_is_the_optimizers(graph):
    with tf.variable_scope("model"):
        x = variables()
    before = set(tf.global_variables())
    optimizer = learned()
    assert optimizer.skipped is None
    optimizer.minimize(Bowls().loss(x, None))
    fields = ["last", "short_mean", "long_mean", "short_square", "long_square", "agreement", "climb"]
    assert optimizer.get_slot_names() == sorted(fields)
    assert optimizer.get_slot(x[2], "last").shape == [2, 3] and optimizer.get_slot(x[2], "climb").shape == [1]
    made = {one.op.name for one in set(tf.global_variables()) - before}
    slots = {"%s/LearnedOptimizer_%s" % (one.op.name, name) for one in x for name in fields}
    assert made == {"LearnedOptimizer_t", "LearnedOptimizer_steps_made", "LearnedOptimizer_skipped"} | slots
    assert not tf.local_variables() and len(tf.trainable_variables()) == len(x)
    writes = [op for op in graph.get_operations() if op.name.startswith("LearnedOptimizer/AssignVariableOp")]
    assert len(writes) == len(x) + len(made)
    for op in writes:  # after all gradients, positions, states and counts are read, and all that follows is computed
        (group,) = op.control_inputs
        assert len(group.control_inputs) >= len(x) + len(made) + len(writes)
        assert op.inputs[1].shape.is_fully_defined()
    assert optimizer.skipped.op.name == "LearnedOptimizer_skipped" and not tf.trainable_variables()[4:]


def test_a_name_or_path_is_loaded(tmp_path):
    trained = controller()._replace(build=l2l.AdamController, weights=wide())
    with l2l.graphs.own_graph():
        described = l2l.AdamController().description()
    path = tmp_path / "general.npz"
    l2l.save(path, trained._replace(record={"optimizer": described}))
    one, other = (moved(2, l2l.LearnedOptimizer(what, steps=5), start()[1:2]) for what in (path, trained))
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)


def wide(seed=0):
    random = np.random.RandomState(seed)
    return [np.float32(random.normal(0, 0.3, shape)) for shape in [(19, 16), (16,), (16, 7), (7,)]]


def test_the_learning_rate_multiplies_updates_and_without_steps_every_step_is_half_way():
    """The only fact that is about the plan then is how long it is: twice what was made."""
    x = variables()
    train = planning().minimize(Bowls().loss(x, None))
    once = moved(1, learned())
    with tf.Session() as session:
        for rate in [1.0, 0.5, 0.0]:
            session.run(tf.global_variables_initializer())
            session.run(train, {"steps:0": 2, "rate:0": rate})
            for found, one, before in zip(session.run(x), once, start()):
                np.testing.assert_allclose(found - before, rate * (one - before), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("steps, shares", [(None, [0.5, 0.5, 0.5]), (2, [0.501, 0.001, 0.001])])
def test_weight_decay_is_that_of_adamw_at_its_usual_rate(steps, shares):
    """The second variable has no gradient to speak of."""
    x = tf.get_variable("x", initializer=np.float32([2.0, -4.0]))
    optimizer = l2l.LearnedOptimizer(constant(), steps=steps, learning_rate=0.5, weight_decay=10.0)
    expected = np.array([2.0, -4.0])
    for share in shares:
        expected = expected - 0.5 * (np.array([0.3, 0.0]) + 1e-3 * 10 * share * expected)
    train = optimizer.apply_gradients([(tf.constant([3.0, 0.0]), x)])
    np.testing.assert_allclose(after(3, train, x), expected, rtol=1e-6)


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_step_waits_for_what_a_subclass_does_before_it(use_resource):
    decayed, results = tf.contrib.opt.extend_with_decoupled_weight_decay(l2l.LearnedOptimizer), []
    for optimizer in (l2l.LearnedOptimizer(constant()), decayed(0.1, trained=constant())):
        with tf.Graph().as_default():
            x = variables(use_resource)
            results.append(after(1, optimizer.apply_gradients([(tf.ones_like(one), one) for one in x]), x))
    for plain, other, before in zip(*results, start()):
        np.testing.assert_allclose(other, plain - 0.1 * before, rtol=1e-5, atol=1e-6)


def constant(dtype=np.float32):
    """Gradient descent with a rate of its own, which is not coordinate-wise, and has no state."""

    def build():
        rate = tf.get_variable("rate", [], dtype)

        def optimizer(gradients, state):
            return tf.nest.map_structure(lambda gradient: -rate * gradient, gradients), state

        optimizer.initial_state = lambda x: ()
        return optimizer

    return l2l.Trained(build, [dtype(0.1)])


def test_a_gradient_that_is_not_finite_leaves_its_tensor_out(both):
    """With its state; others move. A variable counts."""
    x = variables()
    places = [tf.placeholder_with_default(np.ones(one.shape, np.float32), one.shape) for one in x]
    optimizer = learned(weight_decay=1.0)
    train = optimizer.apply_gradients(zip(places, x))
    slots = [[optimizer.get_slot(one, name) for name in optimizer.get_slot_names()] for one in x]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        before = session.run([x, slots])
        bad = np.float32([[1.0, np.nan, 1.0], [1.0, 1.0, 1.0]])
        session.run(train, {places[2]: bad, places[1]: np.float32([0, -np.inf, 0])})
        moved, skipped = session.run([[x, slots], optimizer.skipped])
        assert skipped == 2
        for i in range(4):
            same = [np.array_equal(a, b) for a, b in zip([moved[0][i], *moved[1][i]], [before[0][i], *before[1][i]])]
            assert all(same) if i in (1, 2) else not any(same[:6])
        session.run(train)
        assert (
            session.run(optimizer.skipped) == 2
            and np.isfinite(np.concatenate([v.ravel() for v in session.run(x)])).all()
        )
        assert not np.array_equal(session.run(x[2]), moved[0][2])


def test_a_gradient_whose_shape_nobody_knows():
    x, gradient = tf.get_variable("x", initializer=np.zeros(3, np.float32)), tf.placeholder(tf.float32)
    train = l2l.LearnedOptimizer(constant()).apply_gradients([(gradient, x)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {gradient: [1.0, 2.0, 3.0]})
        np.testing.assert_allclose(session.run(x), [-0.1, -0.2, -0.3], rtol=1e-6)
        with pytest.raises(tf.errors.InvalidArgumentError):  # it is not spread over all coordinates
            session.run(train, {gradient: [1.0]})


@pytest.mark.parametrize("use_resource", [False, True])
def test_sparse_gradients_become_dense(use_resource):
    """Rows named twice have the sum; all others move too, once they have a state."""
    value = np.arange(10, dtype=np.float32).reshape(5, 2)
    results = []
    for sparse in (True, False):
        with tf.Graph().as_default():
            table = tf.get_variable("table", initializer=value, use_resource=use_resource)
            rows = (
                tf.nn.embedding_lookup(table, [3, 1, 1])
                if sparse
                else tf.matmul(np.float32(np.eye(5)[[3, 1, 1]]), table)
            )
            train = learned().minimize(tf.reduce_sum(tf.square(rows - 0.5)))
            results.append(after(3, train, table))
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_where_more_steps_are_made_than_planned_it_says_so_once_for_each_plan(capfd, tmp_path):
    """In a session: also where fewer are planned later, and where what was restored has made more already."""
    x = variables()
    train = planning().apply_gradients([(tf.ones_like(one), one) for one in x])
    moves, said = [], []

    def step(session, steps):
        before = session.run(x[1])
        session.run(train, {"steps:0": steps})
        moves.append(np.abs(session.run(x[1]) - before).max())
        found = [line for line in capfd.readouterr().err.splitlines() if line.endswith("of all, with steps=")]
        said.append([float(word) for line in found for word in line.split() if word.isdigit()])

    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for steps in [3] * 6 + [5, 5, 20, 20, 9, 9, 0]:
            step(session, steps)
        path = tf.train.Saver().save(session, str(tmp_path / "model"))
    # It hears of the plans of 3, of 5 and of 9 steps, and of one that is none, in time.
    assert said == [[], [], [], [4, 3], [], [], [7, 5], [], [], [], [11, 9], [], [13, 1]]
    assert 0 < max(moves[3:6]) < 0.1 * moves[0] and np.isfinite(moves).all()
    del said[:]
    with tf.Session() as session:
        tf.train.Saver().restore(session, path)  # no initializer: all that there is was saved
        for steps in [9, 9, 20]:
            step(session, steps)
    assert said == [[14, 9], [], []]


def test_a_restored_training_goes_on_and_may_plan_other_steps(tmp_path):
    with tf.Graph().as_default():
        x = variables()
        train, saver = planning().minimize(Bowls().loss(x, None)), tf.train.Saver()

        def run(plans, restore=None, save=None):
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                if restore is not None:
                    saver.restore(session, restore)
                for steps in plans:
                    session.run(train, {"steps:0": steps})
                path = None if save is None else saver.save(session, str(tmp_path / save))
                return np.concatenate([value.ravel() for value in session.run(x)]), path

        whole, _ = run([8] * 5)
        _, path = run([8] * 2, save="half")
        np.testing.assert_array_equal(run([8] * 3, restore=path)[0], whole)
        replanned, _ = run([100] * 3, restore=path)
        assert not np.allclose(replanned, whole, rtol=1e-3)
        np.testing.assert_array_equal(run([8, 8, 100, 100, 100])[0], replanned)  # within one session


def test_a_monitored_session_goes_on_where_it_stopped(tmp_path, capfd):
    def steps(number, folder):
        with tf.Graph().as_default():
            x, step = variables(values=start()[1:2]), tf.train.create_global_step()
            train = learned(steps=4).minimize(tf.nn.l2_loss(x), global_step=step)
            hooks = [tf.train.StopAtStepHook(last_step=number)]
            with tf.train.MonitoredTrainingSession(checkpoint_dir=folder, hooks=hooks) as session:
                while not session.should_stop():
                    session.run(train)
        reader = tf.train.load_checkpoint(folder)
        assert reader.get_tensor("LearnedOptimizer_steps_made") == reader.get_tensor("global_step") == number
        return reader.get_tensor("x0")

    folder, other = str(tmp_path / "two"), str(tmp_path / "one")
    steps(2, folder)
    np.testing.assert_array_equal(steps(5, folder), steps(5, other))
    assert capfd.readouterr().err.count("5 steps are made, 4 were planned") == 2


def test_two_calls_have_states_of_their_own(graph):
    """As a canned estimator makes them, and as two optimizers of one name do."""
    values = [np.float32([i, 1, -i]) for i in (1, 2, 3)]
    x, optimizer = variables(values=values), learned(steps=4)
    trains = [optimizer.apply_gradients([(one, one)]) for one in x[:2]]
    trains.append(l2l.LearnedOptimizer(controller(), steps=4).apply_gradients([(x[2], x[2])]))
    optimizer.apply_gradients([(x[0], x[0])])  # which has the state of the first
    names = [one.op.name for one in tf.global_variables()]
    assert len(names) == len(set(names)) and sum("steps_made" in name for name in names) == 3
    assert sum("skipped" in name for name in names) == 2  # one for each optimizer
    assert sum(op.type == "VarHandleOp" and "said" in op.name for op in graph.get_operations()) == 3
    found = after(1, [trains[1:], trains[0]], x)
    for i in range(3):
        with tf.Graph().as_default():
            (one,) = variables(values=values[i : i + 1])
            alone = after(1, optimizer.apply_gradients([(one, one)]), one)
        np.testing.assert_allclose(found[i], alone, rtol=1e-6)


def test_constraints_hold_after_a_step():
    x = tf.get_variable(
        "x", initializer=np.float32([0.01, -0.5]), constraint=lambda v: tf.maximum(v, 0.0), use_resource=True
    )
    found = after(3, learned().apply_gradients([(tf.constant([5.0, -1.0]), x)]), x)
    assert (found >= 0).all() and found[1] > 0


def test_within_the_users_own_program_functions_and_conditions():
    optimizer = learned(steps=6)
    expected = moved(2, optimizer)

    def made(kind):
        with tf.variable_scope(kind):
            x = variables()

        def step():
            with tf.control_dependencies([optimizer.minimize(Bowls().loss(x, None), var_list=x)]):
                return tf.constant(1.0)

        if kind == "xla":
            return x, tf.xla.experimental.compile(step)
        if kind == "function":
            return x, tf.function(step, autograph=False)()
        return x, tf.cond(tf.placeholder_with_default(True, []), step, lambda: tf.constant(0.0))

    for kind in ("xla", "function", "cond"):
        with tf.Graph().as_default():
            x, train = made(kind)
            for one, other in zip(after(2, train, x), expected):
                np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=kind)


def test_replicas_of_a_mirrored_strategy_move_alike(capfd):
    """The last of them says that all planned steps are made."""
    strategy, optimizer = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]), learned(steps=2)
    y = tf.get_variable("y", initializer=np.ones(3, np.float32), use_resource=True)
    alone = l2l.LearnedOptimizer(controller(), steps=2, name="alone").apply_gradients([(4 * y, y)])
    with strategy.scope():
        x = tf.get_variable("x", initializer=np.ones(3, np.float32))
        strategy.experimental_run_v2(lambda: optimizer.minimize(lambda: 4 * tf.nn.l2_loss(x) / 2, var_list=[x]))
    _, train = tf.get_collection(tf.GraphKeys.TRAIN_OP)
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run([train, alone])
        for value in session.run(x.values):
            np.testing.assert_allclose(value, session.run(y), rtol=1e-5)
    assert capfd.readouterr().err.count("LearnedOptimizer: 3 steps are made, 2 were planned") == 1


def test_parts_of_a_variable_are_tensors():
    """Each has a slot of a cosine; slots like the variable are saved as one."""
    with tf.variable_scope("model", partitioner=tf.fixed_size_partitioner(2)):
        matrix = tf.get_variable("x", [4, 6])
    optimizer = learned()
    train = optimizer.minimize(tf.nn.l2_loss(tf.convert_to_tensor(matrix)))
    part = list(matrix)[1]
    assert optimizer.get_slot(part, "last")._save_slice_info.full_name == "model/x/LearnedOptimizer_last"
    assert optimizer.get_slot(part, "climb")._save_slice_info is None
    assert np.isfinite(after(2, train, list(matrix))).all()


@pytest.mark.rehearsal
def test_a_canned_estimator_trains_with_it_and_goes_on(tmp_path):
    random = np.random.RandomState(0)
    data = {"x": random.normal(size=[8, 2]).astype(np.float32), "word": np.arange(8) % 4}
    inputs = tf.compat.v1.estimator.inputs.numpy_input_fn(data, np.arange(8) % 2, 4, num_epochs=None, shuffle=False)
    word = tf.feature_column.categorical_column_with_identity("word", 4)
    columns = [tf.feature_column.numeric_column("x", shape=[2]), tf.feature_column.embedding_column(word, 2)]
    optimizer = l2l.LearnedOptimizer(controller(), steps=4)
    estimator = tf.estimator.DNNLinearCombinedClassifier(
        str(tmp_path),
        linear_feature_columns=[word],
        linear_optimizer=optimizer,
        dnn_feature_columns=columns,
        dnn_hidden_units=[3],
        dnn_optimizer=optimizer,
    )
    for _ in range(2):  # the second restores
        estimator.train(inputs, steps=2)
    names = estimator.get_variable_names()
    made = [estimator.get_variable_value(name) for name in names if "steps_made" in name]
    assert made == [4, 4] and "dnn/hiddenlayer_0/kernel/LearnedOptimizer_last" in str(names)


def test_optimizers_of_ones_own():
    """A state of lists like the position, of a flag, and of what belongs to no tensor."""

    class Heavy:  # which creates its variable at its first call, and takes lists alone
        def initial_state(self, x):
            return {"velocity": [tf.zeros_like(one) for one in x], "norm": tf.zeros([])}

        def __call__(self, gradients, state):
            norm, rate = tf.linalg.global_norm(gradients), tf.get_variable("rate", [])
            velocity = [0.5 * v - rate * g / norm for v, g in zip(state["velocity"], gradients)]
            return velocity, {"velocity": velocity, "norm": norm}

    x = [tf.get_variable(name, initializer=np.float32(value)) for name, value in [("x", [3.0, 0.0]), ("y", 4.0)]]
    optimizer = l2l.LearnedOptimizer(l2l.Trained(Heavy, [np.float32(0.1)]))
    train = optimizer.apply_gradients([(tf.constant([3.0, 0.0]), x[0]), (tf.constant(4.0), x[1])])
    assert optimizer.get_slot_names() == ["velocity"] and tf.trainable_variables() == x
    one, other = after(2, train, x)
    np.testing.assert_allclose([one[0], one[1], other], [3 - 0.06 * 2.5, 0, 4 - 0.08 * 2.5], rtol=1e-6)


def test_flags_of_xla_are_set_where_a_step_will_be_compiled(monkeypatch):
    """They hold for all that a user compiles in the process."""
    calls = []
    monkeypatch.setattr(learned_optimizer, "set_xla_flags", lambda: calls.append("set"))
    monkeypatch.setattr(learned_optimizer, "prepare_allocator", lambda: calls.append("allocator"))
    l2l.LearnedOptimizer(constant())
    assert calls == ["allocator"]
    monkeypatch.undo()
    del calls[:]
    shapes = [(19, 16), (16,), (16, 7), (7,)]
    trained = l2l.Trained(l2l.AdamController, [np.zeros(shape, np.float32) for shape in shapes])
    assert tensor_functions.TensorFunctions(trained, 0.0).is_compiled
    for record, is_compiled in [
        ({}, False),
        ({"optimizer": "AdamController"}, False),
        ({"optimizer": {"class": "Mine"}}, False),
        ({"optimizer": {"class": "AdamController"}}, True),  # as that of a file
    ]:
        of_a_file = trained._replace(build=lambda: l2l.AdamController(16), record=record)
        assert tensor_functions.TensorFunctions(of_a_file, 0.0).is_compiled == is_compiled
    monkeypatch.setattr(learned_optimizer, "set_xla_flags", lambda: calls.append("set"))
    l2l.LearnedOptimizer(trained)
    assert calls == ["set"]


def test_what_it_cannot_do_is_said():
    with pytest.raises(TypeError, match="trained must be what"):
        l2l.LearnedOptimizer(l2l.adam())
    with pytest.raises(FileNotFoundError):
        l2l.LearnedOptimizer("no_such_name")
    with pytest.raises(ValueError, match="steps must be"):
        l2l.LearnedOptimizer(controller(), steps=0)
    with pytest.raises(TypeError, match="steps must be"):
        l2l.LearnedOptimizer(controller(), steps="many")
    for name in ("learning_rate", "weight_decay"):
        with pytest.raises(ValueError, match=name + " must be a finite number, 0 or above"):
            l2l.LearnedOptimizer(controller(), **{name: -1.0})
    with pytest.raises(ValueError, match="weight_decay must be 0 for a coordinate-wise optimizer"):
        l2l.LearnedOptimizer("small_networks", weight_decay=0.1)
    with pytest.raises(ValueError, match="trained must have weights that are float32 or float64, got float16"):
        l2l.LearnedOptimizer(constant(np.float16))
    x = tf.get_variable("x", [3])
    for rate in [tf.ones([2]), lambda: tf.constant(True)]:
        with pytest.raises(ValueError, match="learning_rate must be a scalar number"):
            l2l.LearnedOptimizer(constant(), learning_rate=rate).minimize(tf.nn.l2_loss(x))
    for first, step, message in [
        (lambda x: (), lambda one: int("x"), "trained must hold .* coordinatewise = True: invalid literal"),
        (lambda x: [tf.zeros([])], lambda one: (), "coordinatewise = True: optimizer's state must keep its structure"),
        (
            lambda x: tf.placeholder_with_default([0.0], [None]),
            None,
            "True: .* an optimizer whose state has known shapes",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            l2l.LearnedOptimizer(wrong(first, step)).minimize(tf.nn.l2_loss(x))
    with pytest.raises(ValueError, match="it is float64, the weights are float32"):
        l2l.LearnedOptimizer(controller()).apply_gradients(
            [(tf.ones([1], tf.float64), tf.Variable([1.0], dtype=tf.float64))]
        )
    with pytest.raises(ValueError, match="one gradient for 'x:0', got several"):
        l2l.LearnedOptimizer(controller()).apply_gradients([(tf.ones([3]), x), (tf.ones([3]), x)])
    with pytest.raises(ValueError, match="gradient of 'x:0' must be float32 of shape"):
        l2l.LearnedOptimizer(controller()).apply_gradients([(tf.ones([4]), x)])


def wrong(first, step):
    """An optimizer of lists with this first state; its state after a step, or what fails, is `step(gradients)`."""

    def build():
        rate = tf.get_variable("rate", [])

        def optimizer(gradients, state):
            return [-rate * one for one in gradients], step(gradients[0])

        optimizer.initial_state = first
        return optimizer

    return l2l.Trained(build, [np.float32(0.1)])


def test_parts_of_a_state_are_named_and_belong_to_tensors():
    """Those of a list with an entry for each tensor; lists inside of an entry are no such lists."""
    Memory = collections.namedtuple("Memory", ["mean", "square"])
    a, b = tf.zeros([2]), tf.zeros([3], tf.int32)

    def state(number):
        return {
            "both": [Memory(a, [a, b]) for _ in range(number)],
            "flat": tuple([a] * number),
            "one": Memory(b, None),
            "b b": {0: a, 1: (a,)},
            "fixed": [a, a],
            "fixed_1": a,
        }

    def named(build):
        leaves = tensor_functions._named(tensor_functions._leaves(build(2), build(3), 2))
        assert all(leaf.spec in (tf.TensorSpec([2], tf.float32), tf.TensorSpec([3], tf.int32)) for leaf in leaves)
        return [(leaf.owner, leaf.name) for leaf in leaves]

    per_tensor = ["mean", "square_0", "square_1"]
    assert named(state) == [
        (None, "state_b b_0"),
        (None, "state_b b_1_0"),
        *[(i, name) for i in range(2) for name in per_tensor],
        (None, "fixed_0"),
        (None, "fixed_1"),
        (None, "fixed_1_"),
        *[(i, "flat") for i in range(2)],
        (None, "one_mean"),
    ]
    assert named(lambda number: [a] * number) == [(0, "state"), (1, "state")]
    assert named(lambda number: [[b, a]] * number) == [(i, name) for i in range(2) for name in ("state_0", "state_1")]
    assert named(lambda number: (a, b, None)) == [(None, "state_0"), (None, "state_1")]
    assert named(lambda number: a) == [(None, "state")]


def test_nothing_of_the_callers_scope_reaches_it(graph):
    """Neither the step nor the first state nor slots; what is said when steps are over is where the session is."""

    def refused(*arguments, **settings):
        raise AssertionError("the caller's scope was asked")

    with tf.device("/cpu:1"):
        x = tf.get_variable("x", initializer=np.float32([1, 2, 3]), use_resource=True)
    gradient, before = tf.ones([3]), set(graph.get_operations())
    scope = tf.variable_scope("model", custom_getter=refused, regularizer=tf.nn.l2_loss, dtype=tf.float16)
    with scope, tf.device("/gpu:5"), tf.variable_creator_scope(refused):
        learned(steps=4).apply_gradients([(gradient, x)])
    made = [op for op in graph.get_operations() if op not in before]
    assert not graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES) and len(tf.trainable_variables()) == 1
    devices = {type_: {op.device for op in made if op.type == type_} for type_ in ("PartitionedCall", "PrintV2")}
    assert devices == {"PartitionedCall": {"", "/device:CPU:1"}, "PrintV2": {""}}  # the first state's, and the step's
    slots = [variable for variable in tf.global_variables() if "/x/" in variable.op.name]
    assert len(slots) == 7 and all(slot.op.name.startswith("model/x/LearnedOptimizer_") for slot in slots)


def test_many_variables_add_few_ops(graph):
    shapes = [(3 + i, 2) if i % 2 else (3 + i,) for i in range(12)]
    x = [tf.get_variable("x%d" % i, shape, use_resource=True) for i, shape in enumerate(shapes)]
    optimizer = l2l.LearnedOptimizer(controller())
    optimizer.apply_gradients([(tf.ones(one.shape), one) for one in x])
    (function,) = [one for name, one in graph._functions.items() if "step" in name]
    assert len(function.definition.node_def) < 170 * 12


# Keras.


def keras_data():
    random = np.random.RandomState(0)
    x = random.normal(size=[32, 5]).astype(np.float32)
    return x, x[:, :1] - 0.5 * x[:, 1:2]


def keras_model(optimizer):
    layers = [keras.layers.Dense(4, "tanh", input_shape=(5,), kernel_initializer=keras.initializers.glorot_uniform(1))]
    layers.append(keras.layers.Dense(1, kernel_initializer=keras.initializers.glorot_uniform(2)))
    model = keras.Sequential(layers)
    model.compile(optimizer, "mse")
    return model


SETTINGS = {"batch_size": 8, "verbose": 0, "shuffle": False}


def saved(tmp_path):
    path = tmp_path / "general.npz"
    with l2l.graphs.own_graph():
        described = l2l.AdamController().description()
    l2l.save(path, l2l.Trained(l2l.AdamController, wide(), record={"optimizer": described}))
    return str(path)


def saved_rows(tmp_path):
    path = tmp_path / "rows.npz"
    with l2l.graphs.own_graph():
        network = l2l.CoordinatewiseLSTM((1,))
        weights = [np.zeros(variable.shape.as_list(), np.float32) for variable in network.variables]
    l2l.save(path, l2l.Trained(None, weights, record={"optimizer": network.description()}))
    return str(path)


def test_keras_trains_with_callbacks_and_loads_weights(tmp_path):
    x, y = keras_data()
    path = saved(tmp_path)
    with tf.Graph().as_default(), tf.Session().as_default():
        model = keras_model(l2l.KerasOptimizer(path, steps=40))
        plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1e9)
        losses = model.fit(x, y, epochs=3, callbacks=[plateau], **SETTINGS).history
        assert np.isfinite(losses["loss"]).all() and losses["lr"] == [1.0, 1.0, 0.5]
        model.fit(x, y, epochs=1, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.75)], **SETTINGS)
        assert keras.backend.get_value(model.optimizer.lr) == 0.75
        assert keras.backend.get_value(model.optimizer.iterations) == 16
        assert keras.backend.get_value(model.optimizer.skipped) == 0
        assert model.optimizer.get_config()["learning_rate"] == 0.75 and model.optimizer.get_config()["steps"] == 40
        model.save_weights(str(tmp_path / "weights"))
        expected = model.fit(x, y, epochs=1, **SETTINGS).history["loss"]
    with tf.Graph().as_default(), tf.Session().as_default():
        again = keras_model(l2l.KerasOptimizer(path, steps=80))
        again.load_weights(str(tmp_path / "weights"))
        assert keras.backend.get_value(again.optimizer.steps) == 80  # what is planned now
        keras.backend.set_value(again.optimizer.steps, 40)
        assert again.optimizer.get_config()["steps"] == 40
        assert again.fit(x, y, epochs=1, **SETTINGS).history["loss"] == expected


@pytest.mark.rehearsal
def test_a_keras_model_is_loaded_with_its_optimizer(tmp_path):
    x, y = keras_data()
    with tf.Graph().as_default(), tf.Session().as_default():
        model = keras_model(l2l.KerasOptimizer(saved(tmp_path), steps=40, learning_rate=0.75))
        model.fit(x, y, epochs=2, **SETTINGS)
        model.save(str(tmp_path / "folder"), save_format="tf")
        model.save(str(tmp_path / "model.h5"))
        expected = model.fit(x, y, epochs=1, **SETTINGS).history["loss"]
    with tf.Graph().as_default(), tf.Session().as_default():
        known = {"KerasOptimizer": l2l.KerasOptimizer}
        loaded = keras.models.load_model(str(tmp_path / "model.h5"), custom_objects=known)
        np.testing.assert_allclose(loaded.fit(x, y, epochs=1, **SETTINGS).history["loss"], expected, rtol=1e-6)
    with tf.Graph().as_default(), tf.Session().as_default():
        loaded = keras.models.load_model(str(tmp_path / "folder"))
        assert np.isfinite(loaded.fit(x, y, epochs=1, **SETTINGS).history["loss"])
        assert keras.backend.get_value(loaded.optimizer.iterations) == 4  # a new optimizer


def test_files_of_keras_models_keep_what_they_say(tmp_path):
    """In .h5 format the state too, although the new names of layers have another alphabetical order."""
    x, y = keras_data()
    h5, folder, weights = (str(tmp_path / name) for name in ("model.h5", "folder", "weights"))
    random = np.random.RandomState(4)
    with tf.Graph().as_default(), tf.Session().as_default():
        model = keras_model(l2l.KerasOptimizer(saved_rows(tmp_path), steps=40, learning_rate=0.75, clipnorm=2.0))
        model._make_train_function()
        model.optimizer.set_weights([random.randint(9, size=one.shape) for one in model.optimizer.get_weights()])
        expected, configuration = model.test_on_batch(x, y), model.optimizer.get_config()
        model.save(folder, save_format="tf")
        model.save_weights(weights)
        model.save(h5)
        loaded = keras.models.load_model(h5)
        names = [[one.name.split("/")[0] for one in many.weights] for many in (model, loaded)]
        assert names == [["dense"] * 2 + ["dense_1"] * 2, ["dense_2"] * 2 + ["dense_1_1"] * 2]
        slots = [[one.name.split("/") for one in many.optimizer.weights] for many in (model, loaded)]
        slots = [[path for path in many if "dense" in path[0]] for many in slots]
        renamed = dict(zip(*names))
        assert [[renamed[first], *rest] for first, *rest in slots[0]] == slots[1] and len(slots[1]) == 4 * 2
        for one, other in zip(model.optimizer.get_weights(), loaded.optimizer.get_weights()):
            np.testing.assert_array_equal(one, other)
    names = [[name for name, _ in tf.train.list_variables(path)] for path in (folder + "/variables/variables", weights)]
    assert [sum("state_0" in name for name in many) for many in names] == [0, 4]
    with tf.Graph().as_default(), tf.Session().as_default():
        loaded = keras.models.load_model(folder, custom_objects={"KerasOptimizer": l2l.KerasOptimizer})
        assert loaded.optimizer.get_config() == configuration
        np.testing.assert_allclose(loaded.test_on_batch(x, y), expected, rtol=1e-5)


def test_keras_moves_as_the_other_face_does_and_a_second_fit_may_plan_other_steps(capfd, compiled):
    x, y = keras_data()
    weights = []
    for make in (l2l.LearnedOptimizer, l2l.KerasOptimizer):
        with tf.Graph().as_default(), tf.Session().as_default():
            model = keras_model(make(controller(), steps=8, learning_rate=0.5, weight_decay=2.0))
            model.fit(x, y, epochs=2, **SETTINGS)
            weights.append(model.get_weights())
            if make is l2l.LearnedOptimizer:
                continue
            said, how = [], "with keras.backend.set_value(model.optimizer.steps, total)\n"
            for steps in (12, 12, 20, 3):
                keras.backend.set_value(model.optimizer.steps, steps)
                model.fit(x, y, epochs=1, **SETTINGS)
                said.append(capfd.readouterr().err.count(how))
            assert said == [0, 1, 0, 1]
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "variables, known, within", [(8, True, False), (9, True, False), (8, False, False), (8, True, True)]
)
def test_xla_compiles_a_step_of_up_to_eight_variables(variables, known, within, compiled, monkeypatch, graph):
    """If it has all that the optimizer consists of, and the step is in nothing that XLA compiles anyway."""
    calls, call = [], tensor_functions._compiled_call

    def noted(function, inputs):
        calls.append(function)
        return call(function, inputs)

    monkeypatch.setattr(tensor_functions, "_compiled_call", noted)
    monkeypatch.setattr(tensor_functions.TensorFunctions, "is_compiled", known)
    several = [tf.get_variable("x%d" % i, [2], use_resource=True) for i in range(variables)]
    optimizer = l2l.LearnedOptimizer(constant())

    def step():
        with tf.control_dependencies([optimizer.apply_gradients([(tf.ones([2]), one) for one in several])]):
            return tf.constant(1.0)

    if within:
        tf.xla.experimental.compile(step)
    else:
        step()
    assert len(calls) == (variables == 8 and known and not within)
    ops = graph.get_operations()
    assert sum(op.type == "XlaLaunch" for op in ops) == len(calls)
    assert all(op.inputs[1].shape.is_fully_defined() for op in ops if op.type == "AssignVariableOp")


def test_a_configuration_has_all_that_it_was_given(tmp_path):
    path, of_rows = saved(tmp_path), saved_rows(tmp_path)
    given = {"learning_rate": 0.5, "weight_decay": 2.0, "steps": 30, "name": "it"}
    for trained, settings in [
        (path, given),
        (path, {**given, "steps": None}),
        (of_rows, {**given, "weight_decay": 0.0}),
    ]:
        assert l2l.KerasOptimizer(trained, **settings).get_config() == {"trained": trained, **settings}


def test_it_shows_what_it_was_made_with(tmp_path):
    trained = saved(tmp_path)
    for make, given, text in [
        (l2l.LearnedOptimizer, trained, repr(trained)),
        (l2l.KerasOptimizer, pathlib.Path(trained), repr(trained)),
        (l2l.KerasOptimizer, controller(), "<Trained optimizer of 115 weights>"),
    ]:
        shown = repr(make(given, steps=30, weight_decay=0.5))
        assert shown == "<%s of %s, made with steps=30, learning_rate=1.0, weight_decay=0.5>" % (make.__name__, text)
    shown = repr(l2l.LearnedOptimizer(trained, steps=tf.constant(3), learning_rate=lambda: 1.0))
    assert shown.endswith(", made with steps=Tensor, learning_rate=function, weight_decay=0.0>")
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 5, 0.5)
    assert "steps=None, learning_rate=ExponentialDecay," in repr(l2l.KerasOptimizer(trained, learning_rate=schedule))


def test_what_keras_cannot_have():
    with pytest.raises(NotImplementedError, match="include_optimizer=False, or save_weights_only=True"):
        l2l.KerasOptimizer(controller()).get_config()
    for settings in [{}, {"steps": 5}]:
        with pytest.raises(TypeError, match="trained must be what"):
            l2l.KerasOptimizer(3, **settings)
    with pytest.raises(ValueError, match="learning_rate must be"):
        l2l.KerasOptimizer(controller(), learning_rate=-1.0)
    with pytest.raises(ValueError, match="steps must be"):
        l2l.KerasOptimizer(controller(), steps=0)
