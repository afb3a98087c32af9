"""Learned optimizers: coordinate-wise networks.

Every coordinate of the optimizee is one row of the network's batch. All rows share the weights, and each row has its
own state. So a network trained on 2 coordinates runs on any number of coordinates.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers import castings
from l2l.optimizers.casting import Casting
from l2l.optimizers.optimizer import Bound
from l2l.quiet import quietly
from l2l.types import Nest, State

NetworkState = namedtuple(
    "NetworkState",
    [
        "layers",  # (cell, hidden) of each LSTM layer, each [N, H]
        "memory",  # the casting's, a nest of tensors [N, ...], or None
    ],
)

# Limits for a network in a file. A larger layer has more weights than a file may hold, 2^31 bytes.
MOST_LAYERS, MOST_UNITS = 100, 8192

_ACTIVATIONS = {"elu": tf.nn.elu}


class CoordinatewiseLSTM:
    """An LSTM optimizer that treats each coordinate on its own.

    It is a function `(gradients, state) -> (update, state)`; with a casting that looks at positions, of `x` too.

        trainer = l2l.Trainer(problem, lambda: l2l.CoordinatewiseLSTM((20, 20), casting="log"))

    Each coordinate goes through `encode -> linear(H) -> LSTM(H) -> ... -> LSTM(H) -> linear(1) -> decode`.

    The LSTM is TensorFlow's `LSTMCell` with its defaults: gates in the order i, j, f, o, 1 added to the forget gate, no
    peepholes. Its kernels and biases have the same layout. Kernels start Glorot-uniform, biases and states start at
    zero. The defaults are those of Episode 1: 2 layers of 20 units, 8 arrays, 6,621 weights.

    Source: arXiv 1606.04474, section 2.1. The paper's network, with 5,141 weights, is

        CoordinatewiseLSTM((20, 20), log_and_sign(10), input_layer=False, output_scale=0.01)

    The 0.01 is only in the authors' code. RNNProp, arXiv 1703.03633, is

        CoordinatewiseLSTM((20, 20), moments_cast(), input_activation="elu")

    The constructor creates the variables in the current default graph. All calls share them.

    Args:
      hidden: units of each LSTM layer, a list or tuple of positive integers.
      casting: a name in `CASTINGS`, such as "none" or "log", or a `Casting`, such as `log_cast(-30)`.
      dtype: of weights, gradients and updates, float32 or float64.
      input_layer: False omits the first linear layer, so the first LSTM sees what the casting encodes.
      output_scale: factor of the last layer's output before it is decoded, a positive number.
      input_activation: activation of the input layer: None or "elu".

    Attributes:
      variables: the weights, a list of variables: kernel and bias of the input layer, of each LSTM layer and of the
        output layer.
      adapted: the casting's variables, which no gradient trains; a list, empty for most castings.
      casting: the `Casting`.
      takes_x: whether the casting looks at positions.

    Raises:
      TypeError, ValueError: `hidden` is empty or has an entry that is no positive integer; `casting`, `dtype` or
        `input_activation` is unknown; an `input_activation` without an input layer; `output_scale` is not positive.
        When it is called: the casting returns wrong shapes or dtypes.
    """

    coordinatewise = True

    @quietly()
    def __init__(
        self,
        hidden: Sequence[int] = (20, 20),
        casting: Union[str, Casting] = "none",
        *,
        dtype: tf.DType = tf.float32,
        input_layer: bool = True,
        output_scale: float = 1.0,
        input_activation: Optional[str] = None,
    ) -> None:
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError(
                "hidden must list the units of each layer, positive integers such as (20, 20), got %r" % (hidden,)
            )
        self._units = [checks.positive_integer("hidden[%d]" % i, value) for i, value in enumerate(hidden)]
        self.casting = castings.get(casting)
        self.dtype = checks.dtype("dtype", dtype)
        self._input_layer = checks.boolean("input_layer", input_layer)
        self._output_scale = checks.positive_float32("output_scale", output_scale)
        if input_activation is not None and (
            not isinstance(input_activation, str) or input_activation not in _ACTIVATIONS
        ):
            known = ", ".join(sorted(_ACTIVATIONS))
            raise ValueError("input_activation must be None or one of %s, got %r" % (known, input_activation))
        if input_activation is not None and not self._input_layer:
            raise ValueError("input_activation must be None without an input layer, got %r" % input_activation)
        self._input_activation = input_activation
        self._asked = {
            name: {"x", "facts"} & {*inspect.signature(getattr(self.casting, name)).parameters}
            for name in ["encode", "decode", "remember"]
        }
        self.takes_x = self.casting.facts is not None or any("x" in asked for asked in self._asked.values())
        self.variables = []
        with tf.variable_scope(None, default_name="coordinatewise_lstm", use_resource=True, dtype=self.dtype):
            inputs = self.casting.features
            if self._input_layer:
                self._create_layer("input", inputs, self._units[0])
                inputs = self._units[0]
            for i, (size, units) in enumerate(zip([inputs, *self._units], self._units)):
                self._create_layer("lstm_%d" % i, size + units, 4 * units)
            self._create_layer("output", self._units[-1], 1)
            self.adapted = [
                tf.get_variable("adapted_%d" % i, [], initializer=tf.constant_initializer(value), trainable=False)
                for i, value in enumerate(self.casting.adapted)
            ]

    def __repr__(self):
        number = sum(variable.shape.num_elements() for variable in self.variables)
        layers = ", ".join(map(str, self._units))
        return "<CoordinatewiseLSTM of layers of %s, casting %r: %s weights>" % (
            layers,
            self.casting.name,
            f"{number:,}",
        )

    def _create_layer(self, name, rows, columns):
        with tf.variable_scope(name):
            kernel = tf.get_variable("kernel", [rows, columns], initializer=tf.glorot_uniform_initializer())
            bias = tf.get_variable("bias", [columns], initializer=tf.zeros_initializer())
        self.variables += [kernel, bias]

    def __call__(self, gradients: Nest, state: State, x: Optional[Nest] = None) -> Tuple[Nest, State]:
        """Returns the update, with the structure of `gradients`, and the next state.

        Raises:
          TypeError: the gradients have another dtype than the weights.
          ValueError: the casting looks at positions, and `x` is None.
        """
        return self.bind().plain_step(gradients, state, x)

    def initial_state(self, x: Nest) -> NetworkState:
        """Returns the state before the first step at a position like `x`.

        It consists of zeros and the casting's first memory.
        """
        rows = _rows(tf.nest.map_structure(tf.zeros_like, x))
        zeros = [tf.zeros([_size(rows), units], self.dtype) for units in self._units]
        return NetworkState(tuple((zero, zero) for zero in zeros), self.casting.initial_memory(rows))

    def adapt(self, gradients: Nest, state: State, active: Optional[Nest] = None) -> List[tf.Tensor]:
        """Returns the next values of `adapted`, a list, at the end of a segment.

        If `active` says that some tensors are idle, the casting sees only the rows of the active ones, repeated to fill
        the places of the idle rows. So a minimum or maximum is that of the active rows, and a mean is too, up to one
        incomplete repetition.
        """
        values = [tf.convert_to_tensor(variable) for variable in self.adapted]
        rows, memory = _rows(gradients), state.memory
        if active is not None:
            picked = _active_rows(gradients, active)
            rows = tf.gather(rows, picked)
            memory = with_tensors(memory, [tf.gather(one, picked) for one in tensors_of(memory)])
        adapted = self.casting.adapt(rows, memory, tuple(values))
        shapes = [checks.tensor("adapt", one).shape for one in adapted] if isinstance(adapted, (list, tuple)) else None
        if shapes is None or len(shapes) != len(values) or not all(one.is_compatible_with([]) for one in shapes):
            raise ValueError(
                "adapt of %s must return a tuple of as many scalars as there are adapted values, %d, got %.200r"
                % (type(self.casting).__name__, len(values), adapted)
            )
        return list(adapted)

    def description(self) -> Dict[str, Any]:
        """Describes the network in JSON types; `from_description` builds it again.

        The key `input_activation` is missing if there is no such activation, as in older files.
        """
        activation = {} if self._input_activation is None else {"input_activation": self._input_activation}
        return {
            "class": type(self).__name__,
            "hidden": list(self._units),
            "casting": castings.described(self.casting),
            "dtype": self.dtype.name,
            "input_layer": self._input_layer,
            "output_scale": self._output_scale,
            **activation,
        }

    def bind(self, weights: Optional[Sequence[tf.Tensor]] = None, batch: Optional[int] = None) -> Bound:
        """Prepares the network for one unroll, as a `Bound`.

        Without an activation between them, the input layer and the first LSTM are one linear map:
        `(g W + b) K + c = g (W K) + (b K + c)`. It is computed here, once per unroll, which saves each step a matrix
        product.

        Since `tanh(x) = 2 sigmoid(2x) - 1`, the doubling also goes into the kernels, together with the forget gate's 1.
        A step then needs only one `sigmoid` over all gates.

        Args:
          weights: tensors to use in place of `variables`; None for the variables.
          batch: how many draws lie along a leading axis; None for one draw.
        """
        with tf.name_scope("bind"):
            tensors = [tf.convert_to_tensor(one) for one in (self.variables if weights is None else weights)]
            pairs, first = list(zip(tensors[::2], tensors[1::2])), []
            if self._input_activation is not None:
                first, pairs = pairs[:1], pairs[1:]
            elif self._input_layer:
                (kernel_in, bias_in), (kernel, bias), *rest = pairs
                from_input, from_hidden = kernel[: self._units[0]], kernel[self._units[0] :]
                folded = tf.concat([tf.matmul(kernel_in, from_input), from_hidden], axis=0)
                folded_bias = tf.squeeze(tf.matmul(bias_in[tf.newaxis], from_input), axis=0) + bias
                pairs = [(folded, folded_bias), *rest]
            *layers, (kernel_out, bias_out) = pairs
            if self._output_scale != 1:
                kernel_out, bias_out = self._output_scale * kernel_out, self._output_scale * bias_out
            gates = [self._gates(*layer, units) for layer, units in zip(layers, self._units)]
            kernels, biases = zip(*first, *gates, (kernel_out, bias_out))
            adapted = tuple(tf.convert_to_tensor(variable) for variable in self.adapted)

        def step(gradients, state, x, product, facts=None):
            state = self.initial_state(gradients) if state is None else state
            if self.takes_x and x is None:
                raise ValueError("casting %r looks at positions, call the network with an x" % self.casting)
            if self.casting.facts is not None and facts is None:
                facts = self._facts(gradients, state, x, batch)
            more = {"x": _rows(x) if self.takes_x else None, "facts": facts}
            return self._step(gradients, state, lambda i, inputs: product(i, inputs) + biases[i], adapted, more)

        def facts(gradients, state, x):
            return self._facts(gradients, state, x, batch)

        return Bound(step, kernels, None if self.casting.facts is None else facts)

    @quietly()
    def _facts(self, gradients, state, x, batch):
        """Returns the casting's facts of each tensor, repeated for all of its rows: a nest of tensors `[N]`."""
        flat, draws = tf.nest.flatten(gradients), batch or 1
        sizes = [_size(tensor) for tensor in flat]
        memory, parts = tensors_of(state.memory), []
        memories = zip(*[tf.split(one, sizes) for one in memory]) if memory else [[]] * len(flat)
        for gradient, position, size, own in zip(flat, tf.nest.flatten(x), sizes, memories):
            of_draws, per_draw = [tf.reshape(one, [draws, -1]) for one in (gradient, position)], size // draws
            own = [tf.reshape(one, [draws, per_draw, *one.shape[1:]]) for one in own]
            shape = gradient.shape.as_list()[0 if batch is None else 1 :]
            facts = self.casting.facts(of_draws[0], with_tensors(state.memory, own), of_draws[1], shape)
            parts.append(tf.nest.map_structure(lambda fact, size=per_draw: _repeated(fact, draws, size), facts))
        return tf.nest.map_structure(lambda *rows: tf.concat(rows, axis=0), *parts)

    def _check_cast(self, function, result, shape):
        result = checks.tensor("%s of %r" % (function, self.casting), result)
        if not result.shape.is_compatible_with(shape) or result.dtype != self.dtype:
            raise ValueError(
                "%s of %r must return shape %s and dtype %s, got shape %s and dtype %s"
                % (function, self.casting, tf.TensorShape(shape), self.dtype.name, result.shape, result.dtype.name)
            )

    def _gates(self, kernel, bias, units):
        """Returns kernel `[F + H, 4H]` and bias `[4H]` for `_lstm`: doubled for j, 1 added to the forget gate f."""
        dtype = self.dtype.as_numpy_dtype
        factors = np.repeat(np.array([1.0, 2.0, 1.0, 1.0], dtype), units)
        forget = np.repeat(np.array([0.0, 0.0, 1.0, 0.0], dtype), units)
        return kernel * factors, (bias + forget) * factors

    @quietly()
    def _step(self, gradients, state, product, adapted, more):
        for gradient in tf.nest.flatten(gradients):
            if gradient.dtype != self.dtype:
                raise TypeError(
                    "gradients must have the dtype of the weights, %s, got %s" % (self.dtype.name, gradient.dtype.name)
                )

        def asked(name):
            return {key: more[key] for key in self._asked[name]}

        rows = _rows(gradients)
        with tf.name_scope("encode"):
            outputs = self.casting.encode(rows, state.memory, adapted, **asked("encode"))
            self._check_cast("encode", outputs, [*rows.shape.as_list(), self.casting.features])
        layers, first = [], 0
        if self._input_activation is not None:
            with tf.name_scope("input"):
                outputs, first = _ACTIVATIONS[self._input_activation](product(0, outputs)), 1
        for i, (cell, hidden) in enumerate(state.layers):
            with tf.name_scope("lstm_%d" % i):
                layers.append(_lstm(product(first + i, tf.concat([outputs, hidden], axis=1)), cell))
                outputs = layers[-1][1]
        with tf.name_scope("output"):
            outputs = tf.squeeze(product(first + len(layers), outputs), axis=1)
        with tf.name_scope("decode"):
            updates = self.casting.decode(outputs, rows, state.memory, adapted, **asked("decode"))
            self._check_cast("decode", updates, rows.shape)
            memory = self.casting.remember(rows, state.memory, updates, **asked("remember"))
        return _like(gradients, updates), NetworkState(tuple(layers), memory)


def from_description(description):
    """Returns a function that builds the network that `CoordinatewiseLSTM.description` describes.

    Raises:
      ValueError: the description is not of such a network, or its network is larger than any file; nothing is built to
        check this.
    """
    parts = description if isinstance(description, dict) else {}
    needed = {"class", "hidden", "casting", "dtype", "input_layer", "output_scale"}
    if parts.get("class") != CoordinatewiseLSTM.__name__ or not needed <= set(parts):
        raise ValueError("%.200r is no network of the library's own" % (description,))
    hidden = parts["hidden"]
    if not isinstance(hidden, list) or len(hidden) > MOST_LAYERS or not all(type(units) is int for units in hidden):
        raise ValueError("hidden must list the units of at most %d layers, got %.100r" % (MOST_LAYERS, hidden))
    if any(units > MOST_UNITS for units in hidden):
        raise ValueError("hidden must have at most %d units in a layer, got %.100r" % (MOST_UNITS, hidden))
    casting = castings.from_description(parts["casting"])
    settings = {key: parts[key] for key in ["dtype", "input_layer", "output_scale"]}
    settings["input_activation"] = parts.get("input_activation")
    return lambda: CoordinatewiseLSTM(tuple(hidden), casting, **settings)


def _lstm(gates, cell):
    """Makes one LSTM step: from gates `[N, 4H]`, scaled as in `_gates`, to the next `(cell, hidden)`, each `[N, H]`."""
    i, j, f, o = tf.split(tf.sigmoid(gates), 4, axis=1)
    cell = cell * f + i * (2 * j - 1)
    return cell, o * tf.tanh(cell)


def _repeated(fact, draws, size):
    """Repeats a fact of each draw's tensor, `[B]`, for all of its coordinates: `[B n]`."""
    return tf.reshape(tf.broadcast_to(fact[:, tf.newaxis], [draws, size]), [-1])


def _size(tensor):
    """Returns how many numbers a tensor has: an integer if the graph knows it."""
    return tensor.shape.num_elements() or tf.size(tensor)


def _rows(nest):
    """Returns all coordinates of a nest of tensors, a row each: `[N]`."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tf.nest.flatten(nest)], axis=0)


def _active_rows(gradients, active):
    """Returns `N` indices that cycle through the active rows; the shape is static, as XLA needs it."""
    masks = tf.nest.map_structure(lambda a, g: tf.where(a, tf.ones_like(g), tf.zeros_like(g)), active, gradients)
    is_active = _rows(masks) > 0
    count = _size(is_active)
    places = tf.range(count)
    _, order = tf.nn.top_k(tf.where(is_active, count - places, tf.zeros_like(places)), count)  # the active ones first
    number = tf.maximum(tf.reduce_sum(tf.cast(is_active, tf.int32)), 1)
    return tf.gather(order, tf.math.floormod(places, number))


def _like(nest, rows):
    """Inverts `_rows`: returns a nest like this one from rows `[N]`."""
    flat = tf.nest.flatten(nest)
    sizes = [_size(tensor) for tensor in flat]
    pieces = [tf.reshape(piece, tf.shape(tensor)) for piece, tensor in zip(tf.split(rows, sizes), flat)]
    return tf.nest.pack_sequence_as(nest, pieces)
