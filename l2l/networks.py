"""Learned optimizers: coordinate-wise networks.

Every coordinate of the optimizee is one row of the network's batch: the rows share the
weights, and each has a state of its own. So a network trained on 2 coordinates runs on
any number of them.
"""

from collections import namedtuple

import tensorflow as tf

from l2l import _checks
from l2l import casting as castings


class CoordinatewiseLSTM:
    """An LSTM as an optimizer, `(gradients, state) -> (update, state)`.

    For each coordinate: `encode -> linear(H) -> LSTM(H) -> ... -> LSTM(H) -> linear(1) -> decode`.
    TensorFlow's `LSTMCell` with its defaults (forget bias 1, no peepholes); Glorot-uniform
    kernels, zero biases, zero states at the start. The defaults are Episode 1's: 2 layers of 20
    units, 8 arrays, 6,621 weights. Source: arXiv 1606.04474, section 2.1.

    The variables are created here, once, in the current default graph; calling the object
    any number of times shares them.

    Args:
      hidden: units of each LSTM layer, a sequence of positive integers.
      casting: "none", "log" or "log_and_sign", or a `Casting` such as `log_cast(-30)`.
      dtype: floating-point type of weights, gradients and updates.

    Attributes:
      variables: the weights, a list of variables.

    Raises:
      TypeError, ValueError: a layer that is not a positive integer, no layer, an unknown casting.
    """

    def __init__(self, hidden=(20, 20), casting="none", dtype=tf.float32):
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError("hidden must be a non-empty list or tuple of positive integers, got %r" % (hidden,))
        units = [_checks.positive_integer("hidden[%d]" % i, value) for i, value in enumerate(hidden)]
        self.casting = castings.get(casting)
        self.dtype = tf.as_dtype(dtype)
        with tf.variable_scope(None, default_name="coordinatewise_lstm", use_resource=True):
            self._input = tf.layers.Dense(units[0], dtype=self.dtype, name="input")
            self._layers = [
                tf.nn.rnn_cell.LSTMCell(size, dtype=self.dtype, name="lstm_%d" % i) for i, size in enumerate(units)
            ]
            self._output = tf.layers.Dense(1, dtype=self.dtype, name="output")
            # Built by hand, bottom up, so that no variable waits for the first call.
            self._input.build(tf.TensorShape([None, self.casting.features]))
            for layer, size in zip(self._layers, [units[0]] + units):
                layer.build(tf.TensorShape([None, size]))
            self._output.build(tf.TensorShape([None, units[-1]]))
        self._cell = tf.nn.rnn_cell.MultiRNNCell(self._layers)
        parts = [self._input] + self._layers + [self._output]
        self.variables = [variable for part in parts for variable in part.trainable_variables]

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
        if state is None:
            count = rows.shape[0].value or tf.shape(rows)[0]
            state = self._cell.zero_state(count, self.dtype)
        outputs, state = self._cell(self._input(self.casting.encode(rows)), state)
        updates = self.casting.decode(tf.squeeze(self._output(outputs), axis=1))
        sizes = [gradient.shape.num_elements() or tf.size(gradient) for gradient in flat]
        pieces = [tf.reshape(piece, tf.shape(gradient)) for piece, gradient in zip(tf.split(updates, sizes), flat)]
        return tf.nest.pack_sequence_as(gradients, pieces), state


Trained = namedtuple(
    "Trained",
    [
        "build",  # function without arguments that creates the optimizer and its variables
        "weights",  # arrays, in the order in which the variables are created
    ],
)
Trained.__doc__ = "A learned optimizer with its weights, outside any graph: what `Trainer.trained()` returns."
