"""A trained optimizer in TensorFlow's own ways to train: sessions, Keras, estimators, servers."""

import collections
import functools
import socket

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

import l2l
from l2l.graphs import session_with_threads
from l2l.optimizers import moving_rows

CASTINGS = {
    "default": "log",
    "log": l2l.log_cast(-20),
    "moments": l2l.moments_cast((0.5, 0.9)),
    "widening": l2l.widening_log_cast(),
    "ratio": l2l.ratio_cast(),
    "relative step": l2l.relative_step_cast(0.5),
}


def trained(casting="log", dtype=tf.float32, seed=0, **settings):
    """A network that nobody trained, with weights that move a position visibly."""

    def build():
        return l2l.CoordinatewiseLSTM((4, 3), casting, dtype=dtype, **settings)

    random = np.random.RandomState(seed)
    with tf.Graph().as_default():
        optimizer = build()
        shapes = [variable.shape.as_list() for variable in optimizer.variables]
        adapted = [np.array(value, dtype.as_numpy_dtype) for value in optimizer.casting.adapted]
    weights = [0.5 * random.normal(size=shape).astype(dtype.as_numpy_dtype) for shape in shapes]
    return l2l.Trained(build, weights, adapted)


@functools.lru_cache(maxsize=None)
def learned(casting="default", **settings):
    """A `LearnedOptimizer` for every test: it makes the function of a step once."""
    return l2l.LearnedOptimizer(trained(CASTINGS[casting], **settings))


class Bowls(l2l.Problem):
    """Sums of squares of tensors of each rank up to 4."""

    shapes = [[], [3], [2, 3], [2, 1, 3], [1, 2, 2, 2]]

    def sample(self, num, seed=None):
        return [l2l.normal([num, *shape], 1.0, seed=i) for i, shape in enumerate(self.shapes)]

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.add_n([tf.reduce_sum((i + 1) * tf.square(tensor)) for i, tensor in enumerate(x)])


@functools.lru_cache(maxsize=None)
def losses_by_the_library(casting, number):
    """Of so many steps by `unroll`."""
    problem = Bowls()
    with tf.Graph().as_default(), tf.Session() as session:
        draw = tf.nest.map_structure(lambda many: many[0], problem.sample(1))
        optimizer, load = trained(CASTINGS[casting]).create("trained")
        losses = l2l.unroll(problem, draw, optimizer, steps=number, loop="while").losses
        session.run(tf.global_variables_initializer())
        load(session)
        return session.run(losses)


def losses(optimizer, number, use_resource):
    """Of so many steps by `minimize`, from the same position."""
    problem = Bowls()
    draw = tf.nest.map_structure(lambda many: many[0], problem.sample(1))
    variables = [
        tf.get_variable("x%d" % i, initializer=value, use_resource=use_resource) for i, value in enumerate(draw)
    ]
    loss, found = problem.loss(variables, None), []
    train = optimizer.minimize(loss, var_list=variables)
    with tf.Session() as session:  # which optimizes graphs, as those of users do
        session.run(tf.global_variables_initializer())
        for _ in range(number):
            found.append(session.run(loss))
            session.run(train)
    return found


@pytest.mark.parametrize(
    "casting, use_resource",
    [("log", False), ("moments", True), ("widening", False), ("ratio", True), ("relative step", False)],
)
def test_it_moves_variables_of_every_rank_as_the_library_does(casting, use_resource):
    found = losses(learned(casting), 4, use_resource)
    np.testing.assert_allclose(found, losses_by_the_library(casting, 4), rtol=1e-5)
    assert len(set(found)) == 4


@pytest.mark.parametrize("use_resource, casting", [(False, "ratio"), (True, "relative step")])
def test_large_variables_are_moved_in_chunks_with_the_same_result(monkeypatch, use_resource, casting):
    monkeypatch.setattr(moving_rows, "CHUNK", 4)
    found = losses(learned(casting), 4, use_resource)
    np.testing.assert_allclose(found, losses_by_the_library(casting, 4), rtol=1e-5)


def test_no_tensor_of_a_step_is_larger_than_a_chunk_of_states(graph, monkeypatch):
    monkeypatch.setattr(moving_rows, "CHUNK", 100)
    variable = tf.get_variable("x", [1001], use_resource=True)
    optimizer = learned()
    before = set(graph.get_operations())
    optimizer.minimize(tf.nn.l2_loss(variable))
    made = [tensor for op in graph.get_operations() if op not in before for tensor in op.outputs]
    large = {tensor.op.type for tensor in made if (tensor.shape.num_elements() or 0) > 1001}
    assert large == {"BroadcastTo", "ReadVariableOp"}  # the first values of slots, and what reads them for others
    first = [tensor.op for tensor in made if tensor.op.type == "BroadcastTo"]
    assert not any(tf.contrib.util.constant_value(op.inputs[1]) is not None for op in first)  # or they would be kept
    assert not any(
        tensor.op.type == "ReadVariableOp" and tensor.consumers() for tensor in made if tensor.shape.ndims == 2
    )
    assert [size for size, _ in calls(graph)] == [91]  # eleven chunks as equal as they can be
    writes = [op for op in graph.get_operations() if op.type in ("ResourceScatterUpdate", "ResourceScatterNdAdd")]
    assert len(writes) == 5  # each waits for the states before, the update and, beside what it writes, states after
    assert all(len(set(op.control_inputs)) == 4 + 1 + 3 for op in writes if op.type == "ResourceScatterUpdate")


def test_another_chunk_is_taken_for_what_is_left_over(monkeypatch, run):
    """Of ten coordinates, by three."""
    results = []
    for chunk in [3, 100]:
        monkeypatch.setattr(moving_rows, "CHUNK", chunk)
        with tf.Graph().as_default() as graph:
            variable = tf.get_variable("x", initializer=np.arange(10, dtype=np.float32))
            train = learned().minimize(tf.nn.l2_loss(variable))
            with session_with_threads(graph) as session:
                session.run(tf.global_variables_initializer())
                for _ in range(3):
                    session.run(train)
                results.append(session.run(tf.global_variables()))
    assert len(results[0]) == len(results[1]) == 5
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_shapes_of_updates_and_states_are_known():
    functions = learned()._functions
    before = [tf.zeros([3, *spec.shape.as_list()[1:]]) for spec in functions.state]
    updates, states = functions.step(tf.zeros([3]), before, None, [])
    assert updates.shape == [3] and [state.shape for state in states] == [state.shape for state in before]
    assert [state.shape.as_list() for state in before] == [[3, 4], [3, 4], [3, 3], [3, 3]]


def test_double_precision():
    network = trained(dtype=tf.float64)
    x = tf.get_variable("x", initializer=np.array([0.5, -1.0]))
    train = l2l.LearnedOptimizer(network).minimize(tf.nn.l2_loss(x))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        assert session.run(x).dtype == np.float64 and not np.array_equal(session.run(x), [0.5, -1.0])


def calls(graph):
    """The number of coordinates in each step of a graph, and the devices that compute them."""
    steps = [op for op in graph.get_operations() if op.type == "PartitionedCall" and op.inputs]
    return [(op.inputs[0].shape[0].value, op.device) for op in steps]


def test_small_variables_move_together_as_they_do_alone():
    """Coordinates do not see each other, so all share a step. To rounding: their products have other sizes."""
    random, optimizer = np.random.RandomState(0), learned("ratio")
    start = [random.normal(size=shape).astype(np.float32) for shape in [[], [3], [0, 2], [7, 5], [4]]]
    results = []
    for together in [True, False]:
        with tf.Graph().as_default() as graph:
            variables = [tf.get_variable("x%d" % i, initializer=value) for i, value in enumerate(start)]
            loss = tf.add_n([tf.reduce_sum(tf.sin(variable)) for variable in variables])
            if together:
                train = optimizer.minimize(loss)
                assert calls(graph) == [(sum(value.size for value in start), "")]
                writes = [op for op in graph.get_operations() if op.type == "Assign" and "/update_" in op.name]
                assert {len(op.control_inputs) for op in writes} == {5 + 1 + 5}  # states, update, next states
            else:
                train = [optimizer.minimize(loss, var_list=[variable]) for variable in variables]
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                for _ in range(3):
                    session.run(train)
                results.append(session.run(variables))
    for one, other, before in zip(*results, start):
        assert one.size == 0 or not np.array_equal(one, before)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_what_moves_together_and_what_in_chunks(graph):
    """Variables of up to 1,024 coordinates of one device, up to 4,096 together; those of more than 4,096 in chunks."""
    sizes = [1024, 1024, 1025, 1024, 1023, 1, 2, 4096, 3]
    variables = [tf.get_variable("x%d" % i, [size]) for i, size in enumerate(sizes)]
    with tf.device("/cpu:1"):
        variables += [tf.get_variable("y%d" % i, [size]) for i, size in enumerate([2, 3])]
    gradients = list(map(tf.ones_like, variables))
    learned().apply_gradients(zip(gradients, variables))
    together = [(4096, ""), (5, ""), (5, "/device:CPU:1")]
    assert calls(graph) == [*together, (1025, ""), (4096, "")]
    assert not any(op.type == "LoopCond" for op in graph.get_operations())
    large = tf.get_variable("large", [4097])
    learned().apply_gradients([(tf.ones([4097]), large)])
    assert calls(graph)[-1][0] == 2049 and any(op.type == "LoopCond" for op in graph.get_operations())


def test_a_variable_adds_few_ops(graph):
    """A model of many small variables reaches its first step soon; the step of each would be some 400 ops."""
    variables = [tf.get_variable("x%d" % i, [3]) for i in range(20)]
    gradients = [tf.ones([3])] * 20
    before = len(graph.get_operations())
    optimizer = learned()
    optimizer.apply_gradients(zip(gradients, variables))
    assert (len(graph.get_operations()) - before) / 20 < 10 * (1 + len(optimizer.get_slot_names()))


def test_a_subclass_that_changes_gradients():
    class Halved(l2l.LearnedOptimizer):
        def _apply_dense(self, grad, var):
            return super()._apply_dense(0.5 * grad, var)

    x, y = (tf.get_variable(name, initializer=np.ones(3, np.float32)) for name in ["x", "y"])
    gradient = tf.constant([1.0, -0.1, 3.0])
    halved = Halved(trained()).apply_gradients([(gradient, x)])
    train = learned().apply_gradients([(0.5 * gradient, y)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([halved, train])
        np.testing.assert_array_equal(*session.run([x, y]))


def test_its_weights_are_constants():
    """They are neither trained nor saved, and need no initializer."""
    x = tf.get_variable("x", [3])
    learned("widening").minimize(tf.nn.l2_loss(x))
    assert [variable.op.name for variable in tf.trainable_variables()] == ["x"]
    assert all(variable.op.name.startswith("x") for variable in tf.global_variables())


def test_nothing_of_the_callers_scope_reaches_it(graph):
    """Neither its weights nor its slots, which have the name of the scope alone."""

    def halved(getter, *args, **settings):
        return 0.5 * getter(*args, **settings)

    def refused(next_creator, **settings):
        raise AssertionError("the caller's creator was asked for %(name)s" % settings)

    network = trained(CASTINGS["widening"])
    with tf.variable_scope("model"):
        x, y = (tf.get_variable(name, initializer=np.ones(3, np.float32)) for name in ["x", "y"])
    gradient, counted = tf.constant([1.0, -0.1, 3.0]), tf.get_variable("counted", initializer=0, trainable=False)
    expected = l2l.LearnedOptimizer(network, name="plain").apply_gradients([(gradient, y)])
    before = set(tf.global_variables())
    scope = tf.variable_scope(
        "model",
        reuse=True,
        initializer=tf.ones_initializer(),
        regularizer=tf.nn.l2_loss,
        caching_device="/cpu:7",
        partitioner=tf.fixed_size_partitioner(2),
        custom_getter=halved,
        dtype=tf.float16,
        use_resource=True,
        constraint=tf.zeros_like,
    )
    waits = tf.control_dependencies([tf.assign_add(counted, 1)])
    with scope, waits, tf.device("/gpu:5"), tf.variable_creator_scope(refused):
        train = l2l.LearnedOptimizer(network).apply_gradients([(gradient, x)])
    slots = [variable for variable in tf.global_variables() if variable not in before]
    assert [slot.op.name for slot in slots] == ["model/model/x/LearnedOptimizer_state_%d" % i for i in range(4)]
    assert {(slot.device, slot.initializer.device, type(slot)) for slot in slots} == {("", "", type(x))}
    assert not graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    assert not any(op.device for op in graph.get_operations() if "PartitionedCall" in op.type)
    with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
        session.run(tf.global_variables_initializer())
        assert session.run(counted) == 0  # it is the step that the caller has wait for something, not the slots
        for _ in range(2):
            session.run([train, expected])
        assert session.run(counted) == 2
        np.testing.assert_array_equal(*session.run([x, y]))


def test_a_scope_of_the_same_name_keeps_its_settings():
    """They are left out while slots are made, and no longer."""
    with tf.variable_scope("model", dtype=tf.float64, custom_getter=lambda getter, *a, **k: getter(*a, **k)) as scope:
        x = tf.get_variable("x", [3], tf.float32)
        learned().minimize(tf.nn.l2_loss(x))
        assert tf.get_variable_scope() is scope and tf.get_variable("y", [3]).dtype.base_dtype == tf.float64


def in_parts(folder, cut, restore=None):
    """A matrix after three steps, cut by `(number of parts, axis)` or whole, and the path of what was saved."""
    start = np.linspace(-1, 1, 24).astype(np.float32).reshape(4, 6)

    def part(shape, dtype, partition_info):
        return tf.slice(start, partition_info.var_offset if cut else [0, 0], shape)

    with tf.Graph().as_default(), tf.Session() as session:
        partitioner = tf.fixed_size_partitioner(*cut) if cut else None
        with tf.variable_scope("model", partitioner=partitioner):
            matrix = tf.get_variable("x", [4, 6], initializer=part)
            whole = tf.convert_to_tensor(matrix)
            train = learned("ratio").minimize(tf.nn.l2_loss(whole))
        session.run(tf.global_variables_initializer())
        if restore is not None:
            tf.train.Saver().restore(session, restore)
        for _ in range(3):
            session.run(train)
        return session.run(whole), tf.train.Saver().save(session, str(folder / ("%s" % (cut,))))


def test_parts_of_a_variable_are_saved_and_restored(tmp_path):
    """Cut along the first axis, in any number of parts; along another, in the same."""
    whole, path = in_parts(tmp_path, None)
    further, _ = in_parts(tmp_path, (1, 0), path)
    for cut, others in [((2, 0), [None, (3, 0)]), ((2, 1), [(2, 1)])]:
        moved, path = in_parts(tmp_path, cut)
        np.testing.assert_allclose(moved, whole, rtol=1e-6)
        for other in others:
            np.testing.assert_allclose(in_parts(tmp_path, other, path)[0], further, rtol=1e-6)
    with pytest.raises(tf.errors.NotFoundError, match="LearnedOptimizer_state"):
        in_parts(tmp_path, (3, 1), path)


@pytest.mark.rehearsal
def test_a_canned_estimator_trains_with_it(tmp_path):
    """Canned estimators cut each of their variables, into one part where there are no parameter servers."""
    random = np.random.RandomState(0)
    data = {"x": random.normal(size=[8, 2]).astype(np.float32), "word": np.arange(8) % 4}
    inputs = tf.compat.v1.estimator.inputs.numpy_input_fn(data, np.arange(8) % 2, 4, num_epochs=None, shuffle=False)
    word = tf.feature_column.categorical_column_with_identity("word", 4)
    columns = [tf.feature_column.numeric_column("x", shape=[2]), tf.feature_column.embedding_column(word, 2)]
    optimizer = learned(output_scale=0.01)
    estimator = tf.estimator.DNNLinearCombinedClassifier(
        str(tmp_path),
        linear_feature_columns=[word],
        linear_optimizer=optimizer,
        dnn_feature_columns=columns,
        dnn_hidden_units=[3],
        dnn_optimizer=optimizer,
    )
    estimator.train(inputs, steps=2)
    assert estimator.get_variable_value("linear/linear_model/word/weights/LearnedOptimizer_state_0").shape == (4, 4)
    assert estimator.get_variable_value("dnn/hiddenlayer_0/kernel/LearnedOptimizer_state_3").shape == (12, 3)


def test_two_in_one_graph_keep_to_themselves():
    x, y = tf.get_variable("x", [3]), tf.get_variable("y", [3])
    one = l2l.LearnedOptimizer(trained(seed=1), name="one")
    other = l2l.LearnedOptimizer(trained(seed=2), name="other")
    first = one.minimize(tf.nn.l2_loss(x), var_list=[x])
    second = other.minimize(tf.nn.l2_loss(y), var_list=[y])
    both = [one.minimize(tf.nn.l2_loss(y), var_list=[y])]  # the same coordinates, with a state of another optimizer
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        start = session.run(x)
        y.load(start, session)
        session.run(first)
        session.run(second)
        moved = session.run([x, y])
        assert not np.array_equal(moved[0], moved[1]) and not np.array_equal(moved[0], start)
        y.load(start, session)
        session.run(both)
        np.testing.assert_array_equal(session.run(y), moved[0])
    names = [variable.op.name for variable in tf.global_variables()]
    assert len(set(names)) == len(names) == 2 + 3 * 4


def test_one_may_serve_two_graphs():
    optimizer, results = learned(), []
    for _ in range(2):
        with tf.Graph().as_default():
            x = tf.get_variable("x", initializer=np.ones(3, np.float32))
            train = optimizer.minimize(tf.nn.l2_loss(x))
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train)
                results.append(session.run(x))
    np.testing.assert_array_equal(*results)


def embedding(use_resource, optimizer, ids):
    """A table of 5 x 2, of which a loss sees the rows `ids`, and what trains it."""
    table = tf.get_variable(
        "table", initializer=np.arange(10, dtype=np.float32).reshape(5, 2), use_resource=use_resource
    )
    loss = tf.reduce_sum(tf.square(tf.nn.embedding_lookup(table, ids) - 0.5))
    return table, optimizer.minimize(loss, var_list=[table])


@pytest.mark.parametrize(
    "use_resource, chunk, casting",
    [(False, 3, "moments"), (True, 3, "relative step"), (False, 1 << 14, "relative step")],
)
def test_sparse_gradients_move_the_rows_that_they_name(monkeypatch, use_resource, chunk, casting):
    """Rows named twice have the sum of their gradients; all others stay, with their states. These rows are a tensor."""
    monkeypatch.setattr(moving_rows, "CHUNK", chunk)
    optimizer = learned(casting)
    ids = tf.placeholder(tf.int32, [None])
    table, train = embedding(use_resource, optimizer, ids)
    rows = tf.get_variable("rows", initializer=np.arange(10, dtype=np.float32).reshape(5, 2)[[1, 3]])
    factors = np.array([[2.0], [1.0]], np.float32)
    dense = optimizer.minimize(tf.reduce_sum(factors * tf.square(rows - 0.5)), var_list=[rows])
    slots = [optimizer.get_slot(table, name) for name in optimizer.get_slot_names()]
    of_rows = [optimizer.get_slot(rows, name) for name in optimizer.get_slot_names()]
    with session_with_threads(tf.get_default_graph()) as session:
        session.run(tf.global_variables_initializer())
        before = session.run([table, *slots])
        for _ in range(3):
            session.run([train, dense], {ids: [3, 1, 1]})
        after, expected = session.run([table, *slots]), session.run([rows, *of_rows])
        for one, other, start in zip(after, expected, before):
            one, start = (array.reshape(5, 2, -1) for array in (one, start))
            np.testing.assert_array_equal(one[[0, 2, 4]], start[[0, 2, 4]])
            np.testing.assert_allclose(one[[1, 3]], other.reshape(2, 2, -1), rtol=1e-5, atol=1e-7)
        session.run(train, {ids: []})  # which names none
        np.testing.assert_array_equal(session.run(table), after[0])


@pytest.mark.parametrize("use_resource", [False, True])
def test_with_decoupled_weight_decay(use_resource):
    """What decays, and then moves as it would without."""
    decayed = tf.contrib.opt.extend_with_decoupled_weight_decay(l2l.LearnedOptimizer)
    results = []
    for optimizer in [learned(), decayed(0.1, trained=trained())]:
        with tf.Graph().as_default(), tf.Session() as session:
            dense = [
                tf.get_variable("x%d" % i, initializer=np.arange(1.0, i, dtype=np.float32), use_resource=use_resource)
                for i in [3, 4]
            ]
            move = optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in dense])
            table, train = embedding(use_resource, optimizer, [3, 1, 1])
            session.run(tf.global_variables_initializer())
            start = session.run([*dense, table])
            session.run([move, train])
            results.append(session.run([*dense, table]))
    for i, (before, moved, decayed) in enumerate(zip(start, *results)):
        rows = slice(None) if i < 2 else [1, 3]
        expected = moved.copy()
        expected[rows] -= 0.1 * before[rows]
        np.testing.assert_allclose(decayed, expected, rtol=1e-5)


def test_it_works_within_a_program_that_xla_compiles(monkeypatch):
    """Small variables, large ones, and tables of which some rows are named twice."""
    monkeypatch.setattr(moving_rows, "CHUNK", 7)
    monkeypatch.setattr(moving_rows, "SMALL", 4)
    optimizer = learned("ratio")  # whose memory follows from the gradients alone
    large, middle = (
        tf.get_variable("v%d" % n, initializer=np.linspace(-1, 1, n, dtype=np.float32), use_resource=True)
        for n in [10, 6]
    )
    small = [tf.get_variable("small%d" % i, initializer=np.float32(i + 1), use_resource=True) for i in range(2)]
    ids = tf.placeholder(tf.int32, [5])

    def step(ids):
        loss = tf.add_n([tf.nn.l2_loss(variable) for variable in [large, middle, *small]])
        _, train = embedding(True, optimizer, ids)
        with tf.control_dependencies([train, optimizer.minimize(loss, var_list=[large, middle, *small])]):
            return tf.identity(loss)

    results = []
    for run in [step, lambda ids: tf.xla.experimental.compile(step, [ids])[0]]:
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            loss = run(ids)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            losses = [session.run(loss, {ids: [4, 1, 1, 0, 4]}) for _ in range(3)]
            results.append([losses, *session.run(tf.global_variables())])
    assert len(results[0]) == 1 + 5 * (1 + 5)
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_functions_and_conditions_of_the_users_own(monkeypatch):
    monkeypatch.setattr(moving_rows, "CHUNK", 4)
    optimizer = learned("ratio")
    variables = [
        tf.get_variable("x%d" % i, initializer=np.linspace(0.5, 1, 5, dtype=np.float32), use_resource=True)
        for i in range(3)
    ]
    losses = [tf.nn.l2_loss(variable) for variable in variables[:2]]
    train = optimizer.minimize(losses[0], var_list=variables[:1])

    def moved():
        with tf.control_dependencies([optimizer.minimize(losses[1], var_list=variables[1:2])]):
            return tf.constant(True)

    @tf.function(autograph=False)
    def function():
        optimizer.minimize(tf.nn.l2_loss(variables[2]), var_list=variables[2:])

    is_moved, flag = tf.placeholder(tf.bool, []), None
    flag, call = tf.cond(is_moved, moved, lambda: tf.constant(False)), function()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        start = session.run(variables[1])
        session.run(flag, {is_moved: False})
        np.testing.assert_array_equal(session.run(variables[1]), start)
        for _ in range(2):
            session.run([train, flag, call], {is_moved: True})
        one, *others = session.run(variables)
        for other in others:
            np.testing.assert_allclose(other, one, rtol=1e-6)


def test_replicas_of_a_mirrored_strategy_move_alike():
    strategy, optimizer = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]), learned()
    y = tf.get_variable("y", initializer=np.ones(3, np.float32), use_resource=True)
    alone = learned().apply_gradients([(2 * y, y)])
    with strategy.scope():
        x = tf.get_variable("x", initializer=np.ones(3, np.float32))

        def step():
            optimizer.minimize(lambda: 2 * tf.nn.l2_loss(x), var_list=[x])

        strategy.experimental_run_v2(step)
    _, train = tf.get_collection(tf.GraphKeys.TRAIN_OP)
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run([train, alone])
        expected = session.run(y)
        for value in session.run(x.values):
            np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_saved_and_restored_it_goes_on_bit_for_bit(tmp_path):
    def graph():
        random = np.random.RandomState(0)
        x = tf.get_variable("x", initializer=random.normal(size=[4, 3]).astype(np.float32))
        return x, learned("moments").minimize(tf.nn.l2_loss(x))

    with tf.Graph().as_default(), tf.Session() as session:
        x, train = graph()
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train)
        path = tf.train.Saver().save(session, str(tmp_path / "model"))
        for _ in range(3):
            session.run(train)
        expected = session.run(x)
    with tf.Graph().as_default(), tf.Session() as session:
        x, train = graph()
        tf.train.Saver().restore(session, path)  # no initializer: all that there is was saved
        for _ in range(3):
            session.run(train)
        np.testing.assert_array_equal(session.run(x), expected)


def test_a_monitored_session_goes_on_where_it_stopped(tmp_path):
    def steps(number, folder):
        with tf.Graph().as_default():
            x = tf.get_variable("x", initializer=np.ones(3, np.float32))
            step = tf.train.create_global_step()
            train = learned().minimize(tf.nn.l2_loss(x), global_step=step)
            hooks = [tf.train.StopAtStepHook(last_step=number)]
            with tf.train.MonitoredTrainingSession(checkpoint_dir=folder, hooks=hooks) as session:
                while not session.should_stop():
                    session.run(train)
        reader = tf.train.load_checkpoint(folder)
        return reader.get_tensor("x"), int(reader.get_tensor("global_step"))

    folder, other = str(tmp_path / "two"), str(tmp_path / "one")
    steps(2, folder)
    value, at = steps(5, folder)
    expected, _ = steps(5, other)
    assert at == 5
    np.testing.assert_array_equal(value, expected)


def test_an_estimator_trains_with_it_and_goes_on(tmp_path):
    images = l2l.datasets.digits()

    def inputs():
        data = tf.data.Dataset.from_tensor_slices((images.inputs.reshape(-1, 64), images.labels)).repeat().batch(64)
        return data.make_one_shot_iterator().get_next()

    def model(features, labels, mode):
        logits = tf.layers.dense(tf.layers.dense(features, 8, tf.sigmoid), 10)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        train = learned(output_scale=0.01).minimize(loss, tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    config = tf.estimator.RunConfig(tf_random_seed=1)
    for steps in [3, 2]:
        tf.estimator.Estimator(model, str(tmp_path), config).train(inputs, steps=steps)
    names = tf.estimator.Estimator(model, str(tmp_path), config).get_variable_names()
    assert sum("LearnedOptimizer" in name for name in names) == 4 * 4
    assert tf.train.load_checkpoint(str(tmp_path)).get_tensor("global_step") == 5


def keras_model(optimizer):
    layers = [tf.keras.layers.Dense(6, "relu", input_shape=(64,)), tf.keras.layers.Dense(10, "softmax")]
    model = tf.keras.Sequential(layers)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_keras_model_is_trained_saved_and_loaded(tmp_path):
    images = l2l.datasets.digits()
    x, y = images.inputs.reshape(-1, 64)[:256], images.labels[:256]
    settings = {"batch_size": 64, "verbose": 0, "shuffle": False}
    with tf.Graph().as_default(), tf.Session().as_default():
        model = keras_model(learned(output_scale=0.01))
        losses = model.fit(x, y, epochs=2, **settings).history["loss"]
        assert np.isfinite(losses).all() and losses[0] != losses[1]
        predicted = model.predict(x)
        model.save(str(tmp_path / "model.h5"))
        model.save_weights(str(tmp_path / "weights"))  # in TensorFlow's format, which has the optimizer's states
        expected = model.fit(x, y, epochs=1, **settings).history["loss"]
    with tf.Graph().as_default(), tf.Session().as_default():
        loaded = tf.keras.models.load_model(str(tmp_path / "model.h5"))
        np.testing.assert_allclose(loaded.predict(x), predicted, rtol=1e-5)
    with tf.Graph().as_default(), tf.Session().as_default():
        again = keras_model(learned(output_scale=0.01))
        again.load_weights(str(tmp_path / "weights"))
        assert again.fit(x, y, epochs=1, **settings).history["loss"] == expected


def test_a_step_on_a_parameter_server():
    cluster, worker = parameter_server_and_worker()
    with tf.device(tf.train.replica_device_setter(cluster=cluster)):
        x = tf.get_variable("x", initializer=np.ones([3], np.float32))
        train = learned().minimize(tf.nn.l2_loss(x))
    assert {variable.device for variable in tf.global_variables()} == {"/job:ps/task:0"}
    with tf.Session(worker.target) as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        assert not np.array_equal(session.run(x), np.ones(3))


def parameter_server_and_worker():
    """Two servers of this process, at free ports."""
    ports = []
    for _ in range(2):
        with socket.socket() as listening:
            listening.bind(("localhost", 0))
            ports.append(listening.getsockname()[1])
    cluster = tf.train.ClusterSpec({job: ["localhost:%d" % port] for job, port in zip(["ps", "worker"], ports)})
    _, worker = (tf.train.Server(cluster, job_name=job) for job in ["ps", "worker"])
    return cluster, worker


def test_what_it_cannot_do_is_said(monkeypatch):
    with pytest.raises(ValueError, match="weights that it builds"):
        l2l.LearnedOptimizer(trained()._replace(weights=[np.zeros(3, np.float32)] * 6))
    groups = l2l.Trained(lambda: l2l.Grouped({"a": trained().build, "b": trained().build}), trained().weights * 2)
    with pytest.raises(ValueError, match="for positions that are one tensor"):
        l2l.LearnedOptimizer(groups)
    for steps, error in [(0, ValueError), ("many", TypeError)]:
        with pytest.raises(error, match="steps must be a positive integer"):
            l2l.LearnedOptimizer(trained(), steps=steps)
    two = l2l.Trained(lambda: None, [np.float32(1), np.float64(1)])
    with pytest.raises(ValueError, match=r"trained must have weights of one dtype, got \['float32', 'float64'\]"):
        l2l.LearnedOptimizer(two)
    optimizer = learned()
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="create it with use_resource=True"):
        patch.setattr(control_flow_util, "ENABLE_CONTROL_FLOW_V2", True)
        optimizer.apply_gradients([(tf.ones([5000]), tf.get_variable("large", [5000]))])
    wide = tf.get_variable("wide", [3], tf.float64)
    with pytest.raises(ValueError, match="cannot move 'wide:0': it is float64, the weights are float32"):
        optimizer.minimize(tf.nn.l2_loss(wide), var_list=[wide])
    with pytest.raises(ValueError, match="cannot move 'wide:0': it is float64, the weights are float32"):
        optimizer.apply_gradients([(tf.ones([3]), wide)])
    shapeless = tf.Variable(tf.placeholder_with_default([1.0], [None]), validate_shape=False, name="shapeless")
    with pytest.raises(ValueError, match="its shape must be known"):
        optimizer.apply_gradients([(tf.ones([1]), shapeless)])
    x = tf.get_variable("x", [3])
    with pytest.raises(ValueError, match="one gradient for 'x:0', got several"):
        optimizer.apply_gradients([(tf.ones([3]), x), (tf.ones([3]), x)])
    with pytest.raises(
        ValueError, match=r"gradient of 'x:0' must be float32 of shape \(3,\), got float32 of shape \(4,"
    ):
        optimizer.apply_gradients([(tf.ones([4]), x)])
    with pytest.raises(ValueError, match=r"gradient of 'x:0' must be float32 of shape \(3,\), got float64 of shape"):
        optimizer.apply_gradients([(tf.ones([3], tf.float64), x)])
    table = tf.get_variable("table", [5, 3])
    with pytest.raises(ValueError, match=r"gradient of 'table:0' must be float32 of shape \(\?, 3\), got"):
        optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([2, 2]), [0, 1]), table)])


def fixed(number):
    return lambda gradients, state: (gradients * np.ones(number, np.float32), None)


ANY = "trained must hold an optimizer for positions that are one tensor, of any number of coordinates"
FIXED = "trained must hold an optimizer for any number of coordinates, its state has a fixed size, for %d of them"


@pytest.mark.parametrize(
    "step, first, message",
    [
        (
            lambda g, s: (g * tf.ones([g.shape[0].value]), s),
            tf.zeros_like,
            ANY + ", also",
        ),
        (fixed(2), None, FIXED % 2),
        (fixed(3), None, FIXED % 3),
        (lambda g, s: (g, s), lambda x: tf.constant(0), ANY + ": its state must have a row for each coordinate, got"),
        (lambda g, s: (g, s), lambda x: tf.zeros([5]), FIXED % 5),
        (lambda g, s: (tf.reduce_sum(g), s), tf.zeros_like, ANY + ": its update must have the shape of the gradients"),
        (lambda g, s: (g, (s,)), tf.zeros_like, ANY + ": The two structures don't have the same"),
    ],
    ids=["asks how many", "two", "three", "no rows", "other rows", "other update", "another structure"],
)
def test_what_is_not_for_any_number_of_coordinates_is_refused(step, first, message):
    def build():
        rate = tf.get_variable("rate", [])

        def optimizer(gradients, state):
            update, state = step(gradients, state)
            return rate * update, state

        optimizer.coordinatewise = True
        if first is not None:
            optimizer.initial_state = first
        return optimizer

    with pytest.raises(ValueError, match="^" + message):
        l2l.LearnedOptimizer(l2l.Trained(build, [np.float32(0.1)]))


def test_which_part_of_the_whole_slot_is_that_of_a_part():
    """The slot has a row for each coordinate, and five numbers in it."""
    place = collections.namedtuple("Part", ["full_shape", "var_offset", "var_shape"])
    slot = tf.placeholder(tf.float32, [6, 5])
    for part, expected in [
        (place([4, 3], [1, 0], [2, 3]), ([12, 5], [3, 0], [6, 5])),
        (place([4, 3, 2], [2, 0, 0], [1, 3, 2]), ([24, 5], [12, 0], [6, 5])),
        (place([1, 4, 3], [0, 1, 0], [1, 2, 3]), ([12, 5], [3, 0], [6, 5])),
        (place([2, 3], [0, 0], [2, 3]), ([6, 5], [0, 0], [6, 5])),
        (place([2, 6], [0, 3], [2, 3]), None),
        (place([2, 6, 1], [0, 3, 0], [2, 3, 1]), None),
    ]:
        assert moving_rows._place(part, slot) == expected


def test_coordinates_of_places(run):
    for shape in [(7,), (3, 4), (2, 3, 1, 5)]:
        rows = np.arange(np.prod(shape))
        found = run(moving_rows._coordinates(tf.constant(rows), tf.TensorShape(shape)))
        np.testing.assert_array_equal(found, np.transpose(np.unravel_index(rows, shape)))


def test_a_network_of_ones_own(run):
    """What treats each coordinate alone, and has a row of state for each, serves as well."""

    class Momentum:
        coordinatewise = True

        def __init__(self):
            self.rate = tf.Variable(0.0, name="rate")

        def initial_state(self, x):
            return tf.nest.map_structure(tf.zeros_like, x)

        def __call__(self, gradients, state):
            state = self.initial_state(gradients) if state is None else state
            velocity = tf.nest.map_structure(lambda v, g: 0.5 * v - self.rate * g, state, gradients)
            return velocity, velocity

    x = tf.get_variable("x", initializer=np.array([1.0, 2.0], np.float32))
    optimizer = l2l.LearnedOptimizer(l2l.Trained(Momentum, [np.float32(0.1)]), learning_rate=0.5)
    train = optimizer.minimize(tf.nn.l2_loss(x))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run(train)
        # The rate multiplies the update, and not what is remembered.
        np.testing.assert_allclose(session.run(x), [1 - 0.05 - 0.5 * (0.05 + 0.095), 2 - 0.1 - 0.05 - 0.095], rtol=1e-6)


def decaying():
    """Gradient descent with weight decay and a warm-up over a tenth of all steps, whose rates were learned."""
    rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1), use_resource=True)
    decay = tf.get_variable("decay", [], initializer=tf.constant_initializer(0.02), use_resource=True)

    class Decaying:
        coordinatewise, takes_x = True, True

        def __call__(self, gradients, state, x):
            return self.bind(None).plain_step(gradients, state, x)

        def initial_state(self, x):
            return tf.zeros_like(x)

        def bind(self, horizon):
            def step(gradients, state, x, product):
                factor = 1.0 if horizon is None else tf.minimum((state + 1) / (0.1 * horizon), 1.0)
                return -factor * (rate * gradients + decay * x), state + 1

            return l2l.Bound(step)

    return Decaying()


@pytest.mark.parametrize("chunk", [3, 1 << 12])
@pytest.mark.parametrize("horizon", [None, 30])
def test_one_that_looks_at_the_position_and_asks_for_the_number_of_steps(monkeypatch, chunk, horizon):
    monkeypatch.setattr(moving_rows, "CHUNK", chunk)
    x = np.array([1.0, -2.0, 0.5, 3.0, 0.0])
    variables = [tf.get_variable(name, initializer=tf.constant(x, tf.float32)) for name in ("x", "y")]
    optimizer = l2l.LearnedOptimizer(l2l.Trained(decaying, [np.float32(0.1), np.float32(0.02)]), steps=horizon)
    train = optimizer.minimize(sum(tf.reduce_sum(tf.square(one)) for one in variables))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(4):
            session.run(train)
            factor = 1.0 if horizon is None else min((step + 1) / (0.1 * horizon), 1.0)
            x = x - factor * (0.1 * 2 * x + 0.02 * x)
            for found in session.run(variables):
                np.testing.assert_allclose(found, x, rtol=1e-5)
