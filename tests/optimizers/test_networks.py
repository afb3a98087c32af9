import numpy as np
import pytest
import tensorflow as tf

import l2l


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(x, state, kernel, bias):
    """TensorFlow's LSTMCell: gates i, j, f, o in this order, 1 added to the forget gate."""
    c, h = state
    i, j, f, o = np.split(np.concatenate([x, h], axis=1) @ kernel + bias, 4, axis=1)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
    h = sigmoid(o) * np.tanh(c)
    return h, (c, h)


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


@pytest.mark.parametrize("casting", ["none", "log", "log_and_sign"])
@pytest.mark.parametrize("hidden", [(20, 20), (7,), (3, 5, 4)])
def test_against_a_recomputation_in_numpy(run, casting, hidden):
    optimizer = l2l.CoordinatewiseLSTM(hidden, casting, dtype=tf.float64)
    assert len(optimizer.variables) == 2 * len(hidden) + 4
    gradients = [np.array([0.7, -1e-4, 0.0]), np.array([0.1, 2e-5, -3.0])]
    state, updates = None, []
    for gradient in gradients:
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)

    # Weights larger than the initial ones, so that no gate idles around its middle.
    random = np.random.RandomState(0)
    weights = [random.normal(size=variable.shape.as_list()) for variable in optimizer.variables]
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables, weights):
            variable.load(value, session)
        updates = session.run(updates)
        encoded = session.run([optimizer.casting.encode(tf.constant(gradient)) for gradient in gradients])

    (kernel_in, bias_in), (kernel_out, bias_out) = weights[:2], weights[-2:]
    states = [(np.zeros([3, size]), np.zeros([3, size])) for size in hidden]
    for values, update in zip(encoded, updates):
        values = values @ kernel_in + bias_in
        for layer in range(len(hidden)):
            kernel, bias = weights[2 + 2 * layer : 4 + 2 * layer]
            values, states[layer] = numpy_lstm(values, states[layer], kernel, bias)
        output = (values @ kernel_out + bias_out)[:, 0]
        expected = np.sign(output) * np.exp(15 * np.abs(output) - 15) if casting == "log" else output
        np.testing.assert_allclose(update, expected, rtol=1e-9)


def test_coordinates_do_not_see_each_other(run):
    optimizer = l2l.CoordinatewiseLSTM()

    def two_steps(gradients):
        _, state = optimizer(tf.constant(gradients), None)
        return optimizer(tf.constant(gradients), state)[0]

    both, first, second = run([two_steps([0.3, -2.0]), two_steps([0.3]), two_steps([-2.0])])
    np.testing.assert_allclose(both, np.concatenate([first, second]), rtol=1e-6)


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


def test_weights_saved_and_loaded(tmp_path):
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.float64(2), np.zeros([0])]
    l2l.save_weights(tmp_path / "weights.npz", l2l.Trained(l2l.CoordinatewiseLSTM, weights))
    loaded = l2l.load_weights(tmp_path / "weights.npz")
    for one, other in zip(weights, loaded):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert len(loaded) == 3
