import json

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import elu, network, random_weights, zero_states

import l2l
from l2l.optimizers.networks import NetworkState, from_description
from l2l.optimizers.optimizer import opened


def test_episode_1_has_8_arrays_and_6621_weights():
    variables = l2l.CoordinatewiseLSTM().variables
    shapes = [tuple(variable.shape.as_list()) for variable in variables]
    assert shapes == [(1, 20), (20,), (40, 80), (80,), (40, 80), (80,), (20, 1), (1,)]
    assert sum(np.prod(shape) for shape in shapes) == 6621
    assert variables == tf.trainable_variables()


def test_initial_weights_are_glorot_uniform_and_zero(run):
    for value in run(l2l.CoordinatewiseLSTM().variables):
        if value.ndim == 1:
            np.testing.assert_array_equal(value, 0)
        else:
            limit = np.sqrt(6 / sum(value.shape))
            assert 0.8 * limit < np.abs(value).max() <= limit


@pytest.mark.parametrize("hidden, casting", [((20, 20), "log"), ((7,), "none"), ((3, 5, 4), "log_and_sign")])
def test_against_a_recomputation_in_numpy(hidden, casting):
    optimizer = l2l.CoordinatewiseLSTM(hidden, casting, dtype=tf.float64)
    assert len(optimizer.variables) == 2 * len(hidden) + 4
    gradients = [np.array([0.7, -1e-4, 0.0]), np.array([0.1, 2e-5, -3.0])]
    state, updates = None, []
    for gradient in gradients:
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)

    weights = random_weights(optimizer.variables)
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables, weights):
            variable.load(value, session)
        updates, layers = session.run([updates, state.layers])
        encoded = session.run([optimizer.casting.encode(tf.constant(gradient)) for gradient in gradients])

    states = zero_states(3, hidden)
    for values, update in zip(encoded, updates):
        output, states = network(values, states, weights)
        expected = np.sign(output) * np.exp(15 * np.abs(output) - 15) if casting == "log" else output
        np.testing.assert_allclose(update, expected, rtol=1e-9)
    for ours, expected in zip(layers, states):
        for one, other in zip(ours, expected):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-13)  # some lie near 0, a difference of others


@pytest.mark.parametrize("build", [lambda: l2l.CoordinatewiseLSTM((3,), "widening"), l2l.AdamController])
def test_a_scope_of_the_users_changes_no_variable(run, build):
    """They are of float32 and resources, which XLA and loops need, with the initial values that are documented."""
    with tf.variable_scope("mine", dtype=tf.float64, initializer=tf.ones_initializer(), use_resource=False):
        optimizer = build()
    every = [*optimizer.variables, *getattr(optimizer, "adapted", [])]
    assert {(one.op.type, one.dtype.base_dtype) for one in every} == {("VarHandleOp", tf.float32)}
    kernel, *_ = run(optimizer.variables)
    assert np.unique(kernel).size == kernel.size


def test_coordinates_do_not_see_each_other(run):
    optimizer = l2l.CoordinatewiseLSTM()
    assert optimizer.coordinatewise is True

    def two_steps(gradients):
        _, state = optimizer(tf.constant(gradients), None)
        return optimizer(tf.constant(gradients), state)[0]

    both, first, second = run([two_steps([0.3, -2.0]), two_steps([0.3]), two_steps([-2.0])])
    np.testing.assert_allclose(both, np.concatenate([first, second]), rtol=1e-5)


def test_a_nest_is_one_batch_of_coordinates(run):
    optimizer = l2l.CoordinatewiseLSTM()
    matrix, scalar = tf.constant([[0.3, -2.0], [0.1, 0.0]]), tf.constant(0.5)
    nested, _ = optimizer({"matrix": matrix, "scalar": scalar}, None)
    flat, _ = optimizer(tf.constant([0.3, -2.0, 0.1, 0.0, 0.5]), None)
    nested, flat = run([nested, flat])
    np.testing.assert_allclose(nested["matrix"], flat[:4].reshape(2, 2), rtol=1e-6)
    np.testing.assert_allclose(nested["scalar"], flat[4], rtol=1e-6)


def test_a_shape_unknown_until_run_time(run):
    optimizer = l2l.CoordinatewiseLSTM()
    gradients = tf.placeholder(tf.float32, [None, 2])
    update, _ = optimizer(gradients, None)
    assert run(update, {gradients: np.ones([3, 2])}).shape == (3, 2)


def test_calls_share_the_weights_and_two_optimizers_do_not():
    one, other = l2l.CoordinatewiseLSTM(), l2l.CoordinatewiseLSTM()
    one(tf.zeros([2]), None)
    one(tf.zeros([5]), None)
    assert len(tf.trainable_variables()) == 16
    assert not set(one.variables) & set(other.variables)


def test_gradients_of_another_dtype_are_refused():
    with pytest.raises(TypeError, match="gradients must have the dtype of the weights, float32, got float64"):
        l2l.CoordinatewiseLSTM()(tf.zeros([2], tf.float64), None)


def test_the_state_has_a_row_for_each_coordinate_and_no_weights():
    optimizer = l2l.CoordinatewiseLSTM((3, 5), "log_and_sign")
    x = {"matrix": tf.zeros([2, 2]), "scalar": tf.zeros([])}
    _, state = optimizer(x, None)
    assert isinstance(state, NetworkState) and state.memory is None
    assert [[tensor.shape.as_list() for tensor in pair] for pair in state.layers] == [[[5, 3]] * 2, [[5, 5]] * 2]
    assert len(tf.nest.flatten(state)) == 5  # cell and hidden of two layers, and no memory


def test_the_initial_state_is_that_of_a_first_step(run):
    optimizer = l2l.CoordinatewiseLSTM((3, 5))
    x = [tf.ones([2, 2]), tf.ones([])]
    initial = optimizer.initial_state(x)
    first, said = optimizer(x, None), optimizer(x, initial)
    tf.nest.assert_same_structure(first[1], initial)
    assert [one.shape for one in tf.nest.flatten(initial)[:-1]] == [one.shape for one in tf.nest.flatten(first[1])[:-1]]
    values, first, said = run([initial.layers, (first[0], first[1].layers), (said[0], said[1].layers)])
    assert all(not np.any(value) for value in tf.nest.flatten(values))
    for one, other in zip(tf.nest.flatten(first), tf.nest.flatten(said)):
        np.testing.assert_array_equal(one, other)


def test_the_initial_state_for_a_shape_unknown_until_run_time(run):
    x = tf.placeholder(tf.float32, [None, 2])
    state = l2l.CoordinatewiseLSTM((3,)).initial_state(x)
    assert run(state.layers, {x: np.ones([4, 2])})[0][0].shape == (8, 3)


def test_bound_it_computes_the_same_and_uses_each_kernel_once(run):
    """The unroll's loop may replace the products, so all that multiplies weights with rows goes through them."""
    optimizer = l2l.CoordinatewiseLSTM((3, 5, 4), "log")
    bound, gradients = optimizer.bind(), tf.constant([0.3, -2.0])
    used = []

    def product(i, inputs):
        used.append((i, inputs.shape.as_list()))
        return tf.matmul(inputs, bound.kernels[i])

    state, bound_state = None, optimizer.initial_state(gradients)
    for _ in range(2):
        update, state = optimizer(gradients, state)
        bound_update, bound_state = bound.step(gradients, bound_state, None, product)
    shapes = [kernel.shape.as_list() for kernel in bound.kernels]
    assert [columns for _, columns in shapes] == [12, 20, 16, 1]
    assert used == 2 * [(i, [2, rows]) for i, (rows, _) in enumerate(shapes)]
    np.testing.assert_array_equal(*run([update, bound_update]))


def test_an_optimizer_that_does_not_bind_has_no_kernels(run):
    bound, gradients = opened("it", l2l.sgd(0.5)).bind(), tf.constant([1.0, 2.0])
    assert bound.kernels == []
    np.testing.assert_array_equal(run(bound.step(gradients, None, None, None)[0]), [-0.5, -1.0])


@pytest.mark.parametrize("casting", ["none", l2l.log_cast(-30), l2l.log_and_sign(10)], ids=str)
def test_what_a_description_describes_is_the_same_network(run, casting):
    optimizer = l2l.CoordinatewiseLSTM((3, 5), casting, dtype=tf.float64)
    description = json.loads(json.dumps(optimizer.description()))
    again = from_description(description)()
    assert again.description() == optimizer.description()
    assert again.dtype == tf.float64 and again.casting.name == optimizer.casting.name
    weights = random_weights(optimizer.variables)
    gradients = tf.constant([0.3, -2e-4], tf.float64)
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables + again.variables, weights + weights):
            variable.load(value, session)
        updates = session.run([optimizer(gradients, None)[0], again(gradients, None)[0]])
    np.testing.assert_array_equal(*updates)


def described(**changes):
    return {**l2l.CoordinatewiseLSTM((3,)).description(), **changes}


@pytest.mark.parametrize(
    "description",
    [
        lambda: None,
        lambda: "CoordinatewiseLSTM",
        lambda: {},
        lambda: described(**{"class": "Mine"}),
        lambda: described(casting={"kind": None, "name": "Mine", "parameters": {}}),
        lambda: described(casting={"kind": "mine", "name": "Mine", "parameters": {}}),
        lambda: described(casting={"kind": "log", "name": "log", "parameters": {"k": 1.0}}),
        lambda: described(casting={"kind": ["log"], "name": "log", "parameters": {}}),
        lambda: described(casting={"kind": "log", "name": "log", "parameters": None}),
        lambda: described(casting={"kind": "log", "name": "log", "parameters": {"min_log_gradient": "x"}}),
        lambda: {"class": "CoordinatewiseLSTM"},
        lambda: described(hidden=(3,)),
        lambda: described(hidden=[2.0]),
        lambda: described(casting="log"),
    ],
)
def test_what_is_none_of_the_librarys_own_is_refused(description):
    with pytest.raises(ValueError):
        from_description(description())


def test_the_largest_network_that_a_file_describes():
    """Nothing is built to find that out."""
    description = described()
    for hidden in [[1] * 100, [8192]]:
        assert callable(from_description({**description, "hidden": hidden}))
    for hidden, message in [([1] * 101, "at most 100 layers"), ([8193], "at most 8192 units")]:
        with pytest.raises(ValueError, match=message):
            from_description({**description, "hidden": hidden})


def test_a_subclass_is_not_taken_for_the_network_itself():
    class Mine(l2l.CoordinatewiseLSTM):
        pass

    with pytest.raises(ValueError, match="is no network of the library's own"):
        from_description(Mine((3,)).description())


def test_most_castings_adapt_nothing():
    optimizer = l2l.CoordinatewiseLSTM((3,), "log")
    assert optimizer.adapted == []
    assert optimizer.adapt(tf.zeros([2]), optimizer.initial_state(tf.zeros([2]))) == []


def papers():
    """The network of arXiv 1606.04474 and its authors' code."""
    return l2l.CoordinatewiseLSTM((20, 20), l2l.log_and_sign(10), input_layer=False, output_scale=0.01)


def test_the_papers_network_has_5141_weights():
    variables = papers().variables
    shapes = [tuple(variable.shape.as_list()) for variable in variables]
    assert shapes == [(22, 80), (80,), (40, 80), (80,), (20, 1), (1,)]
    assert sum(np.prod(shape) for shape in shapes) == 5141
    assert variables == tf.trainable_variables()


@pytest.mark.parametrize(
    "hidden, input_layer, output_scale", [((4,), False, 1), ((4,), True, 2.0), ((3, 5), False, 0.01)]
)
def test_without_input_layer_and_with_a_scale_against_numpy(hidden, input_layer, output_scale):
    casting = l2l.log_and_sign(7)
    optimizer = l2l.CoordinatewiseLSTM(
        hidden, casting, dtype=tf.float64, input_layer=input_layer, output_scale=output_scale
    )
    gradients = [np.array([0.7, -1e-4, 0.0]), np.array([0.1, 2e-5, -3.0])]
    state, updates = None, []
    for gradient in gradients:
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)
    weights = random_weights(optimizer.variables)
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables, weights):
            variable.load(value, session)
        updates = session.run(updates)
        encoded = session.run([casting.encode(tf.constant(gradient)) for gradient in gradients])
    if not input_layer:  # the reference has one: the identity
        weights = [np.eye(2), np.zeros(2), *weights]
    states = zero_states(3, hidden)
    for values, update in zip(encoded, updates):
        output, states = network(values, states, weights)
        np.testing.assert_allclose(update, output_scale * output, rtol=1e-9)


def test_an_activation_behind_the_input_layer_against_numpy():
    hidden = (3, 5)
    optimizer = l2l.CoordinatewiseLSTM(hidden, "log_and_sign", dtype=tf.float64, input_activation="elu")
    gradients = [np.array([0.7, -1e-4, 0.0]), np.array([0.1, 2e-5, -3.0])]
    state, updates = None, []
    for gradient in gradients:
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)
    weights = random_weights(optimizer.variables)
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables, weights):
            variable.load(value, session)
        updates = session.run(updates)
        encoded = session.run([optimizer.casting.encode(tf.constant(gradient)) for gradient in gradients])
    states = zero_states(3, hidden)
    for values, update in zip(encoded, updates):
        output, states = network(values, states, weights, elu)
        np.testing.assert_allclose(update, output, rtol=1e-9)


def test_with_an_activation_the_input_layer_is_a_kernel_of_its_own():
    plain = l2l.CoordinatewiseLSTM((3, 5), "log_and_sign")
    active = l2l.CoordinatewiseLSTM((3, 5), "log_and_sign", input_activation="elu")
    assert [variable.shape for variable in active.variables] == [variable.shape for variable in plain.variables]
    shapes = [[kernel.shape.as_list() for kernel in each.bind().kernels] for each in [plain, active]]
    assert shapes == [[[5, 12], [8, 20], [5, 1]], [[2, 3], [6, 12], [8, 20], [5, 1]]]


def test_rnnprop_has_6641_weights():
    optimizer = l2l.CoordinatewiseLSTM((20, 20), l2l.moments_cast(), input_activation="elu")
    assert sum(np.prod(variable.shape.as_list()) for variable in optimizer.variables) == 6641


def test_a_description_names_an_activation_only_where_there_is_one():
    """So a network without one is described as it was before there were any, in files and in checkpoints."""
    active = l2l.CoordinatewiseLSTM((3,), input_activation="elu")
    assert described() == {
        "class": "CoordinatewiseLSTM",
        "hidden": [3],
        "casting": {"kind": "none", "name": "none", "parameters": {}},
        "dtype": "float32",
        "input_layer": True,
        "output_scale": 1.0,
    }
    assert active.description() == {**described(), "input_activation": "elu"}
    for optimizer in [active, l2l.CoordinatewiseLSTM((3,))]:
        assert from_description(optimizer.description())().description() == optimizer.description()


@pytest.mark.parametrize("build", [papers, lambda: l2l.CoordinatewiseLSTM((2,), output_scale=5)])
def test_a_network_described_has_its_input_layer_and_scale(build):
    optimizer = build()
    description = json.loads(json.dumps(optimizer.description()))
    again = from_description(description)()
    assert again.description() == description
    assert [variable.shape for variable in again.variables] == [variable.shape for variable in optimizer.variables]
    assert (description["input_layer"], description["output_scale"]) in [(False, 0.01), (True, 5.0)]


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), 1e-40, 1e39, "1", None, True])
def test_the_scale_of_outputs_is_checked(bad):
    with pytest.raises((TypeError, ValueError), match=r"^output_scale must be a positive number of float32"):
        l2l.CoordinatewiseLSTM((2,), output_scale=bad)


@pytest.mark.parametrize("bad", [0, 1, None, "no"])
def test_whether_there_is_an_input_layer_is_checked(bad):
    with pytest.raises(TypeError, match=r"^input_layer must be True or False"):
        l2l.CoordinatewiseLSTM((2,), input_layer=bad)


@pytest.mark.parametrize("bad", [tf.int32, tf.float16, tf.bfloat16, "int", None])
def test_the_dtype_is_checked(bad):
    with pytest.raises((TypeError, ValueError), match=r"^dtype must be"):
        l2l.CoordinatewiseLSTM((2,), dtype=bad)


class Odd(l2l.Casting):
    """What it encodes and decodes is given."""

    features = 2

    def __init__(self, encode=lambda rows: tf.stack([rows, rows], axis=1), decode=lambda outputs: outputs):
        self._encode, self._decode = encode, decode

    def encode(self, gradients, memory=None, adapted=()):
        return self._encode(gradients)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return self._decode(outputs)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"encode": lambda rows: rows}, ValueError, r"encode of .* must return shape \(3, 2\) and dtype float32, got"),
        ({"encode": lambda rows: rows[:, tf.newaxis]}, ValueError, r"shape \(3, 2\) .* got shape \(3, 1\)"),
        ({"encode": lambda rows: tf.zeros([3, 2], tf.float64)}, ValueError, "got shape .* and dtype float64"),
        ({"encode": lambda rows: None}, TypeError, "encode of .* must be a tensor, got None"),
        ({"decode": lambda outputs: outputs[:, tf.newaxis]}, ValueError, r"decode of .* must return shape \(3,\) and"),
        ({"decode": lambda outputs: outputs[:2]}, ValueError, r"got shape \(2,\)"),
        ({"decode": lambda outputs: tf.cast(outputs, tf.float64)}, ValueError, "dtype float32, got .* dtype float64"),
        ({"decode": lambda outputs: None}, TypeError, "decode of .* must be a tensor, got None"),
    ],
)
def test_what_a_casting_returns_is_checked(changes, error, message):
    l2l.CoordinatewiseLSTM((2,), Odd())(tf.zeros([3]), None)
    with pytest.raises(error, match=message):
        l2l.CoordinatewiseLSTM((2,), Odd(**changes))(tf.zeros([3]), None)


class Mean(l2l.Casting):
    """Adapts to the mean of gradients and of what it remembers, a row of two numbers."""

    adapted = (0.0, 0.0)

    def initial_memory(self, gradients):
        return tf.zeros([gradients.shape[0].value, 2])

    def encode(self, gradients, memory=None, adapted=()):
        return tf.expand_dims(gradients, axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs

    def adapt(self, gradients, memory, adapted):
        return tf.reduce_mean(gradients), tf.reduce_mean(memory)


@pytest.mark.parametrize("casting", [Mean(), "widening", "log_ratio"])
def test_what_is_adapted_follows_from_the_active_rows(run, casting):
    """Of a batch of two draws: the first moves `a`, the second `b`; as many rows are active as idle."""
    optimizer = l2l.CoordinatewiseLSTM((2,), casting)
    gradients = {"a": tf.constant([[1.0, 2.0], [0.0, 0.0]]), "b": tf.constant([[0.0, 0.0], [4.0, 0.5]])}
    active = {"a": tf.constant([True, False]), "b": tf.constant([False, True])}
    rows = [0, 1, 6, 7]
    state = optimizer.initial_state(gradients)
    some = None
    if state.memory is not None:
        memory = np.random.RandomState(0).uniform(1, 2, size=state.memory.shape.as_list()).astype(np.float32)
        state, some = state._replace(memory=tf.constant(memory)), tf.constant(memory[rows])
    alone = optimizer.adapt(tf.constant([1.0, 2.0, 4.0, 0.5]), state._replace(memory=some))
    ours, compiled, expected = run(
        [
            optimizer.adapt(gradients, state, active),
            tf.xla.experimental.compile(lambda: optimizer.adapt(gradients, state, active)),
            alone,
        ]
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    np.testing.assert_allclose(compiled, expected, rtol=1e-6)
    if state.memory is None:  # of the same rows the graph may not know the number
        unknown = {name: tf.placeholder_with_default(one, [None, 2]) for name, one in gradients.items()}
        unknown_active = {name: tf.placeholder_with_default(one, [None]) for name, one in active.items()}
        np.testing.assert_allclose(run(optimizer.adapt(unknown, state, unknown_active)), expected, rtol=1e-6)


def test_what_is_adapted_where_few_rows_are_active_or_none(run):
    optimizer = l2l.CoordinatewiseLSTM((2,), Mean())
    gradients = [tf.constant([[3.0], [2.0], [1.0]]), tf.constant([[7.0], [8.0], [9.0]])]
    state = optimizer.initial_state(gradients)
    idle, last = tf.constant([False] * 3), tf.constant([False, False, True])
    one, none = run([optimizer.adapt(gradients, state, [last, idle]), optimizer.adapt(gradients, state, [idle, idle])])
    np.testing.assert_allclose(one, [1, 0])
    assert np.isfinite(none).all()


def test_a_network_says_its_layers_and_its_number_of_weights():
    one = l2l.CoordinatewiseLSTM((4, 3), casting="log")
    number = sum(np.prod(variable.shape.as_list()) for variable in one.variables)
    assert repr(one) == "<CoordinatewiseLSTM of layers of 4, 3, casting 'log(-15)': %d weights>" % number
    assert repr(l2l.AdamController()) == "<AdamController of 16 hidden units: 439 weights>"
    assert repr(l2l.Grouped({"a": l2l.sgd, "b": lambda: one})) == "<Grouped of a: sgd(learning_rate=0.1), b: %r>" % one
