"""The coordinate-wise LSTM in NumPy, as a reference."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, state, kernel, bias):
    """TensorFlow's LSTMCell: gates i, j, f, o in this order, 1 added to the forget gate."""
    c, h = state
    i, j, f, o = np.split(np.concatenate([x, h], axis=1) @ kernel + bias, 4, axis=1)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
    h = sigmoid(o) * np.tanh(c)
    return h, (c, h)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def network(inputs, states, weights, activation=lambda x: x):
    """From the inputs `[N, F]` of a step and the layers' states the outputs `[N]` and the next states."""
    values, after = activation(inputs @ weights[0] + weights[1]), []
    for layer, state in enumerate(states):
        values, state = lstm(values, state, *weights[2 + 2 * layer : 4 + 2 * layer])
        after.append(state)
    return (values @ weights[-2] + weights[-1])[:, 0], after


def zero_states(rows, hidden):
    return [(np.zeros([rows, units]), np.zeros([rows, units])) for units in hidden]


def random_weights(variables, seed=0):
    """Weights larger than the initial ones, so that no gate idles around its middle."""
    random = np.random.RandomState(seed)
    return [random.normal(size=variable.shape.as_list()) for variable in variables]
