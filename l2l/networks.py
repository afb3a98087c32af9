"""Learned optimizers: coordinate-wise networks.

Every coordinate of the optimizee is one row of the network's batch: the rows share the
weights, and each has a state of its own. So a network trained on 2 coordinates runs on
any number of them.
"""

from collections import namedtuple

import tensorflow as tf

from l2l import _checks, archives
from l2l import casting as castings

NetworkState = namedtuple(
    "NetworkState",
    [
        "weights",  # what every step of an unroll computes with, the same at each
        "layers",  # (cell, hidden) of each LSTM layer, each [N, H]
    ],
)


class CoordinatewiseLSTM:
    """An LSTM as an optimizer, `(gradients, state) -> (update, state)`.

    For each coordinate: `encode -> linear(H) -> LSTM(H) -> ... -> LSTM(H) -> linear(1) -> decode`.
    The LSTM is that of TensorFlow's `LSTMCell` with its defaults (gates in the order i, j, f, o, 1
    added to the forget gate, no peepholes), and its kernels and biases have the same layout.
    Glorot-uniform kernels, zero biases, zero states at the start. The defaults are Episode 1's:
    2 layers of 20 units, 8 arrays, 6,621 weights. Source: arXiv 1606.04474, section 2.1.

    The variables are created here, once, in the current default graph; calling the object
    any number of times shares them.

    Args:
      hidden: units of each LSTM layer, a sequence of positive integers.
      casting: "none", "log" or "log_and_sign", or a `Casting` such as `log_cast(-30)`.
      dtype: floating-point type of weights, gradients and updates.

    Attributes:
      variables: the weights, a list of variables: kernel and bias of the input layer, of each
        LSTM layer and of the output layer.

    Raises:
      TypeError, ValueError: a layer that is not a positive integer, no layer, an unknown casting.
    """

    def __init__(self, hidden=(20, 20), casting="none", dtype=tf.float32):
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError("hidden must be a non-empty list or tuple of positive integers, got %r" % (hidden,))
        self._units = [_checks.positive_integer("hidden[%d]" % i, value) for i, value in enumerate(hidden)]
        self.casting = castings.get(casting)
        self.dtype = tf.as_dtype(dtype)
        self.variables = []
        with tf.variable_scope(None, default_name="coordinatewise_lstm", use_resource=True, dtype=self.dtype):
            self._create_layer("input", self.casting.features, self._units[0])
            for i, (size, units) in enumerate(zip(self._units[:1] + self._units, self._units)):
                self._create_layer("lstm_%d" % i, size + units, 4 * units)
            self._create_layer("output", self._units[-1], 1)

    def _create_layer(self, name, rows, columns):
        with tf.variable_scope(name):
            kernel = tf.get_variable("kernel", [rows, columns], initializer=tf.glorot_uniform_initializer())
            bias = tf.get_variable("bias", [columns], initializer=tf.zeros_initializer())
        self.variables += [kernel, bias]

    def __call__(self, gradients, state):
        """The update, with the structure of `gradients`, and the next state.

        Raises:
          TypeError: gradients of another dtype than the weights.
        """
        flat = tf.nest.flatten(gradients)
        for gradient in flat:
            if gradient.dtype != self.dtype:
                raise TypeError(
                    "gradients must have the dtype of the weights, %s, got %s" % (self.dtype.name, gradient.dtype.name)
                )
        rows = tf.concat([tf.reshape(gradient, [-1]) for gradient in flat], axis=0)
        weights, layers = self._start(rows) if state is None else state
        hidden, next_layers = self.casting.encode(rows), []
        for (kernel, bias), layer in zip(weights[:-1], layers):
            layer = _lstm(hidden, layer, kernel, bias)
            next_layers.append(layer)
            hidden = layer[1]
        kernel, bias = weights[-1]
        updates = self.casting.decode(tf.squeeze(tf.matmul(hidden, kernel) + bias, axis=1))
        sizes = [gradient.shape.num_elements() or tf.size(gradient) for gradient in flat]
        pieces = [tf.reshape(piece, tf.shape(gradient)) for piece, gradient in zip(tf.split(updates, sizes), flat)]
        return tf.nest.pack_sequence_as(gradients, pieces), NetworkState(weights, tuple(next_layers))

    def _start(self, rows):
        """The state before the first step.

        Nothing lies between the input layer and the first LSTM, so the two are one linear map:
        `(g W + b) K + c = g (W K) + (b K + c)`. It is computed here, once an unroll, which
        saves each step a matrix product.
        """
        tensors = [tf.convert_to_tensor(variable) for variable in self.variables]
        (kernel_in, bias_in), (kernel, bias), *rest = list(zip(tensors[::2], tensors[1::2]))
        from_input, from_hidden = kernel[: self._units[0]], kernel[self._units[0] :]
        first_kernel = tf.concat([tf.matmul(kernel_in, from_input), from_hidden], axis=0)
        first_bias = tf.squeeze(tf.matmul(bias_in[tf.newaxis], from_input), axis=0) + bias
        count = rows.shape[0].value or tf.shape(rows)[0]
        zeros = [tf.zeros([count, units], self.dtype) for units in self._units]
        return NetworkState(((first_kernel, first_bias), *rest), tuple((zero, zero) for zero in zeros))


def _lstm(inputs, state, kernel, bias):
    """One step of an LSTM: inputs `[N, F]`, state `(cell, hidden)`, each `[N, H]`; the next state."""
    cell, hidden = state
    gates = tf.matmul(tf.concat([inputs, hidden], axis=1), kernel) + bias
    i, j, f, o = tf.split(gates, 4, axis=1)
    cell = cell * tf.sigmoid(f + 1) + tf.sigmoid(i) * tf.tanh(j)
    return cell, tf.sigmoid(o) * tf.tanh(cell)


Trained = namedtuple(
    "Trained",
    [
        "build",  # function without arguments that creates the optimizer and its variables
        "weights",  # arrays, in the order in which the variables are created
    ],
)
Trained.__doc__ = "A learned optimizer with its weights, outside any graph: what `Trainer.trained()` returns."


def save_weights(path, trained):
    """Writes the weights of a `Trained` to an archive, see `l2l.archives`: a NumPy `.npz` file, nothing pickled.

    Raises:
      TypeError: `trained` is no `Trained`.
    """
    if not isinstance(trained, Trained):
        raise TypeError("trained must be what trainer.trained() returns, got %r" % (trained,))
    archives.write(path, {"weights": len(trained.weights)}, {"%d" % i: w for i, w in enumerate(trained.weights)})


def load_weights(path):
    """The weights from such a file, a list of arrays, for `Trained(build, weights)`. No code in the file runs.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file that holds no weights, or is damaged.
    """
    config, arrays = archives.read(path)
    number = config.get("weights")
    if type(number) is not int or set(arrays) != {"%d" % i for i in range(len(arrays))} or number != len(arrays):
        raise ValueError("%r must hold weights, saved by save_weights" % str(path))
    return [arrays["%d" % i] for i in range(number)]
