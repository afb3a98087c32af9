"""Keras models as optimizees: the position is the model's weights."""

from __future__ import annotations

import json
from typing import Any, Callable, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.problems.datasets import Examples
from l2l.problems.minibatches import fold, minibatch, noise, uniform_noise
from l2l.problems.problem import Problem
from l2l.problems.programs import cut_out, run
from l2l.problems.random_numbers import keys, moved
from l2l.types import Nest, Seed

_STREAM = 2**34  # above all streams of `uniform`, `normal` and `keys`
_STREAMS_OF_ONE = 2**16  # streams of one draw: more than a model has random ops

_STATELESS = {
    "RandomUniform": tf.random.stateless_uniform,
    "RandomStandardNormal": tf.random.stateless_normal,
    "TruncatedNormal": tf.random.stateless_truncated_normal,
}
_HASHED = {"RandomUniform": uniform_noise, "RandomStandardNormal": noise}


class KerasProblem(Problem):
    """The loss of a Keras model on a minibatch, as `model.fit` minimizes it.

        def build_model():
            return tf.keras.Sequential([tf.keras.layers.Dense(20, "relu"), tf.keras.layers.Dense(10, "softmax")])

        images = l2l.datasets.digits()
        images = images.inputs.reshape([-1, 64]), images.labels
        problem = l2l.KerasProblem(build_model, "sparse_categorical_crossentropy", images)

    **Position.** The model's weights, a list of tensors in the order of `model.trainable_weights`; `names` lists their
    names. The model's initializers give each draw its own initial weights. These depend on the draw's seed alone, not
    on the `seed` argument of an initializer. Weights of a layer with `trainable=False` keep their initial values.

    **Loss.** What `fit` minimizes: the mean loss of the minibatch, weighted by masks, plus the model's regularization.
    Random numbers of dropout and noise layers depend on the draw and the base iteration `t` alone, by the hash of
    `minibatch`; each layer gets different ones. Batch normalization uses mean and variance of the minibatch. Its moving
    averages are not part of the position, and nothing updates them.

    The problem calls `build_model` once, in a separate graph and session, so nothing of it reaches your graph or
    Keras's session.

    **Differences from** `fit`. TensorFlow 1.15 has no second derivatives of three things, or wrong ones. This class
    computes them by other ops:

    - It unrolls recurrent layers, so the graph grows with the length of the sequences.
    - It computes the cross-entropy of integer labels by `tf.nn.log_softmax`.
    - It does not fuse batch and layer normalization, and differentiates the mean inside the variance.

    Args:
      build_model: a function without arguments that returns a new `tf.keras.Model` (sequential, functional or
        subclassed) with one output.
      loss: the name of a Keras loss, or a function `(y_true, y_pred)`.
      examples: `(inputs, targets)`, arrays `[N, ...]` of numbers, or an `Examples`. For a model of several inputs,
        `inputs` is a list of arrays. As in `fit`, arrays `[N]` become `[N, 1]`, targets get the dtype of the model's
        output, and floating-point inputs get that of the model's input.
      batch_size: how many examples a base iteration sees, drawn uniformly and with replacement; a positive integer.
        With None each base iteration sees all examples, in their order.

    Attributes:
      build_model, batch_size: the arguments.
      keras_loss: the argument `loss`.
      names: names of the tensors of the position, such as `"dense/kernel"`.
      architecture: the model's configuration in JSON types; None if the model has none, like subclassed models.

    Raises:
      TypeError, ValueError: an argument is out of range, or the model is not a pure function of its weights. State,
        loops, custom gradients, constraints and weights that were set are refused.
    """

    def __init__(
        self,
        build_model: Callable[[], tf.keras.Model],
        loss: Union[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]],
        examples: Union[Examples, Tuple[Any, np.ndarray]],
        *,
        batch_size: Optional[int] = 32,
    ) -> None:
        self.build_model = checks.function_without_arguments("build_model", build_model)
        _check_loss(loss)
        self.keras_loss = _described_loss(loss)
        self.batch_size = None if batch_size is None else checks.positive_integer("batch_size", batch_size)
        inputs, targets = _checked_examples(examples)
        # Keras uses a default session if one is set. Without one it would replace its global session.
        session = tf.Session(graph=tf.Graph())
        with session, session.graph.as_default(), tf.variable_creator_scope(_reference_variable):
            self._build(inputs, targets, loss, session)

    def _build(self, inputs, targets, loss, session):
        """Builds the model and keeps what computes its loss and its initial weights."""
        tf.keras.backend.set_learning_phase(1)  # training, in this graph
        model = self.build_model()
        if not isinstance(model, tf.keras.Model):
            raise TypeError("build_model must return a tf.keras.Model, got %r" % (model,))
        if model.built and any(variable.graph is not session.graph for variable in model.weights):
            raise ValueError("build_model must build a new model when it is called, it returned one built before")
        self.architecture = _configuration(model)
        inputs = _as_in_fit(inputs, model.inputs)
        for layer in _layers_within(model):
            if isinstance(layer, tf.keras.layers.RNN):
                layer.unroll = True
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                layer.fused = False
        number = len(targets) if self.batch_size is None else self.batch_size
        given, total, targets, trained = _fitted(model, inputs, targets, number, loss)
        self.data = (inputs, targets)
        others = [variable for variable in _once(model.weights) if variable not in trained]
        weights = [variable.op.outputs[0] for variable in [*trained, *others]]
        program = _cut_out_loss(total, [*given, *weights])
        used = [one for one in [*trained, *others] if one.op.outputs[0].name in program.inputs]
        _check_use(trained, used, program.random)
        fixed = [variable for variable in used if variable not in trained]
        starts = [tf.identity(variable.initial_value) for variable in [*trained, *fixed]]
        self._initial = cut_out("an initializer of build_model's model", starts, [])
        self._dtypes = [start.dtype for start in starts]
        self._weights = [variable.op.outputs[0].name for variable in [*trained, *fixed]]
        self.names = [variable.op.name for variable in trained]
        # One program for each number of examples: Keras writes that number into shapes and means.
        self._losses = {number: (program, [tensor.name for tensor in given])}
        if number != len(targets):
            given, total, *_ = _fitted(model, inputs, targets, len(targets), loss)
            self._losses[len(targets)] = _cut_out_loss(total, [*given, *weights]), [tensor.name for tensor in given]

    def sample(self, num: int, seed: Seed = None) -> Nest:
        """Samples `num` draws: a key, and initial weights."""
        number = tf.random.uniform([], maxval=2**62, dtype=tf.int64) if seed is None else tf.cast(seed, tf.int64)
        first = moved(_STREAM)

        def weights(i):
            def drawn(place, one):
                stream = first + _STREAMS_OF_ONE * i + place
                return _STATELESS[one.op](one.shape, tf.stack([number, stream]), dtype=one.dtype)

            return run(self._initial, {}, drawn)

        # One draw after the other: a copy of the ops for each draw would make a graph of thousands.
        drawn = tf.map_fn(weights, tf.range(num, dtype=tf.int64), self._dtypes)
        trained = len(self.names)
        return {"key": keys(num, seed), "weights": drawn[:trained], "fixed": drawn[trained:]}

    def initial_position(self, draw: Nest) -> Nest:
        """Returns the initial weights, a list of tensors in the order of `names`."""
        return draw["weights"]

    def observe(self, draw: Nest, t: tf.Tensor, data: Optional[Nest]) -> Nest:
        """Returns the minibatch of base iteration `t`, the untrained weights, and a key if the loss needs one."""
        inputs, targets = data
        if self.batch_size is not None:
            places = minibatch(draw["key"], t, batch_size=self.batch_size, examples=targets.shape.as_list()[0])
            inputs, targets = [tf.gather(one, places) for one in inputs], tf.gather(targets, places)
        return self._observed(draw, t, inputs, targets)

    def observe_all(self, draw: Nest, data: Optional[Nest]) -> Nest:
        """Returns all examples and what else the loss needs; dropout and noise are those of base iteration 0."""
        return self._observed(draw, tf.constant(0), *data)

    def _observed(self, draw, t, inputs, targets):
        program, _ = self._losses[targets.shape.as_list()[0]]
        chance = {"key": draw["key"], "t": t} if program.random else {}
        return {"inputs": inputs, "targets": targets, "fixed": draw["fixed"], **chance}

    def loss(self, x: Nest, observed: Nest) -> tf.Tensor:
        """Computes what `fit` minimizes, a scalar."""
        program, places = self._losses[observed["targets"].shape.as_list()[0]]
        tensors = [*observed["inputs"], observed["targets"], *x, *observed["fixed"]]

        def hashed(place, one):
            return _HASHED[one.op](fold(observed["key"], place), observed["t"], one.shape, dtype=one.dtype)

        return run(program, dict(zip([*places, *self._weights], tensors)), hashed)[0]


def _fitted(model, inputs, targets, number, loss):
    """Compiles the model for `number` examples: placeholders, the loss that `fit` minimizes, targets, weights."""
    places = [tf.keras.Input(batch_shape=[number, *one.shape[1:]], dtype=one.dtype.name) for one in inputs]
    output = model(places if len(places) > 1 else places[0])
    if not isinstance(output, tf.Tensor):
        raise TypeError("build_model must build a model with one output, got %r" % (output,))
    targets = _as_in_fit([targets], [output])[0]
    target = tf.placeholder(targets.dtype, [number, *targets.shape[1:]])
    trained = _checked_weights(model)
    _check_shapes(loss, output.shape, target.shape)
    fitted = tf.keras.Model(places, output)
    fitted.compile("sgd", loss, target_tensors=[target])
    return [*places, target], tf.identity(fitted.total_loss), targets, trained


def _reference_variable(create, **arguments):
    """Creates a reference variable. Its first output is its value, so a tensor can replace it."""
    arguments["use_resource"] = False
    return create(**arguments)


def _checked_examples(examples):
    """Returns a list of arrays of inputs, and an array of targets."""
    if not isinstance(examples, (list, tuple)) or len(examples) != 2:
        raise TypeError("examples must be (inputs, targets) or an Examples, got %.200r" % (examples,))
    inputs, targets = examples
    arrays = [*(inputs if isinstance(inputs, (list, tuple)) else [inputs]), targets]
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.ndim:
            raise TypeError("examples must have arrays [N, ...] of numbers, got %.200r" % (array,))
        if not np.isfinite(array).all():
            raise ValueError("examples must be finite")
    if len(arrays) < 2 or len({len(array) for array in arrays}) > 1 or not len(targets):
        raise ValueError(
            "examples must have as many inputs as targets, at least one, got shapes %s"
            % ", ".join(str(list(array.shape)) for array in arrays)
        )
    return arrays[:-1], targets


def _as_in_fit(arrays, tensors):
    """Converts arrays to the dtypes and ranks that `fit` gives them; `tensors` is None for inputs not known yet."""
    if tensors and len(tensors) != len(arrays):
        raise ValueError("examples must have inputs for each of the model's %d, got %d" % (len(tensors), len(arrays)))
    converted = []
    for array, tensor in zip(arrays, tensors or [None] * len(arrays)):
        dtype = np.dtype(tf.keras.backend.floatx()) if array.dtype.kind == "f" else array.dtype
        array = array.astype(dtype if tensor is None else tensor.dtype.as_numpy_dtype)
        known_rank_1 = tensor is not None and tensor.shape.ndims == 1
        converted.append(array[:, np.newaxis] if array.ndim == 1 and not known_rank_1 else array)
    return converted


def _layers_within(layer):
    """Returns a layer and all layers inside it, at any depth."""
    found = [layer]
    for inner in getattr(layer, "_layers", []):  # `submodules` fails on a model that was compiled
        found += _layers_within(inner)
    return found


def _configuration(model):
    try:
        described = json.loads(model.to_json())
    except NotImplementedError:
        return None
    return {name: described[name] for name in ["class_name", "config"]}


def _check_loss(loss):
    allowed = "loss must be the name of a Keras loss or a function (y_true, y_pred), got %r" % (loss,)
    if not isinstance(loss, str) and not callable(loss):
        raise TypeError(allowed)
    try:
        tf.keras.losses.get(loss)
    except ValueError:
        raise ValueError(allowed) from None


def _described_loss(loss):
    """Returns a Keras loss as given; for an object its class and configuration, by which records tell two apart."""
    return {"class": type(loss), "config": loss.get_config()} if isinstance(loss, tf.keras.losses.Loss) else loss


def _check_shapes(loss, output, target):
    """Refuses targets whose shape differs from the output: most of Keras's losses would broadcast them."""
    loss = tf.keras.losses.get(loss)  # resolves a name
    name = getattr(loss, "__name__", type(loss).__name__)
    own = str(getattr(loss, "__module__", None)).startswith("tensorflow")
    if own and "sparse" not in name.lower() and output.as_list() != target.as_list():
        raise ValueError(
            "examples must have targets of the shape of the model's output, %s, for the loss %s, got %s"
            % (output.as_list()[1:], name, target.as_list()[1:])
        )


def _check_use(trained, used, random):
    """Refuses a loss that ignores a trained weight, or that depends on a weight that the model sets itself."""
    for variable in trained:
        if variable not in used:
            raise ValueError("build_model's model must use every weight in its loss, not so %r" % variable.op.name)
    for variable in used:
        for op in variable.op.outputs[0].consumers():
            if op.type.startswith(("Assign", "Scatter")) and op is not variable.initializer:
                raise ValueError(
                    "build_model must not set, load or update weights that the loss uses, it assigns to %r; they come "
                    "from initializers, such as tf.constant_initializer(array)" % variable.op.name
                )
    for one in random:
        if one.op not in _HASHED:
            raise ValueError(
                "build_model's model may use uniform and normal random numbers in its loss, not those of the op %s (%r)"
                % (one.op, one.name)
            )


def _checked_weights(model):
    """Returns the trainable weights of a model.

    Raises:
      ValueError: there is none, or one has a constraint.
      TypeError: a weight is neither float32 nor float64.
    """
    weights = _once(model.trainable_weights)
    if not weights:
        raise ValueError("build_model must build a model with trainable weights, it has none")
    for variable in weights:
        if variable.constraint is not None:
            raise ValueError("build_model must build a model without constraints, %r has one" % variable.op.name)
        if variable.dtype.base_dtype not in (tf.float32, tf.float64):
            raise TypeError("weight %r must be float32 or float64, got %s" % (variable.op.name, variable.dtype.name))
    return weights


def _once(variables):
    """Returns the variables in order, without repetitions (from shared layers)."""
    return [variable for i, variable in enumerate(variables) if variable not in variables[:i]]


def _cut_out_loss(total, inputs):
    """Returns the program of a loss that can be differentiated twice."""
    _correct_second_derivatives(total.graph)
    return cut_out("the loss of build_model's model", [total], inputs)


def _correct_second_derivatives(graph):
    """Replaces ops that have no second derivative, or a wrong one.

    The cross-entropy of integer labels has none. `tf.nn.moments` stops the gradient from the variance to the mean. That
    gradient is 0, but stopping it also drops a second derivative that is not 0.
    """
    for op in graph.get_operations():
        if op.type == "SparseSoftmaxCrossEntropyWithLogits":
            logits, labels = op.inputs
            _, classes = logits.shape.as_list()
            picked = tf.one_hot(labels, classes, dtype=logits.dtype)
            losses = -tf.reduce_sum(picked * tf.nn.log_softmax(logits), axis=1)
            for consumer in op.outputs[0].consumers():
                for i, tensor in enumerate(consumer.inputs):
                    if tensor is op.outputs[0]:
                        consumer._update_input(i, losses)
        elif op.type == "SquaredDifference" and op.inputs[1].op.type == "StopGradient":
            mean = op.inputs[1].op.inputs[0]
            if mean.op.type == "Mean" and mean.op.inputs[0] is op.inputs[0]:
                op._update_input(1, mean)
