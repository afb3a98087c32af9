"""Networks on images against NumPy, their gradients against differences, and what a minibatch is."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.problems.classification import ACTIVATIONS

RANDOM = np.random.RandomState(0)
SIX = l2l.Examples(RANDOM.uniform(size=[6, 2, 3]), np.array([0, 2, 1, 2, 0, 1]))
IMAGES = l2l.Examples(RANDOM.uniform(size=[5, 4, 3, 2]), np.array([0, 1, 2, 1, 0]))

IN_NUMPY = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
}


def cross_entropy(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logs[np.arange(len(labels)), labels])


def mlp_in_numpy(x, examples, activation):
    values = examples.inputs.reshape([len(examples.labels), -1])
    for kernel, bias in x["hidden"]:
        values = IN_NUMPY[activation](values @ kernel + bias)
    return cross_entropy(values @ x["output"].kernel + x["output"].bias, examples.labels)


def convolved(values, kernel):
    """A 5 x 5 convolution, padded with zeros to keep the size."""
    padded = np.pad(values, [(0, 0), (2, 2), (2, 2), (0, 0)], "constant")
    height, width = values.shape[1:3]
    parts = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(5) for j in range(5)]
    return sum(parts)


def pooled(values):
    """The maximum over 2 x 2 pixels; at an odd edge over what there is."""
    number, height, width, depth = values.shape
    result = np.full([number, -(-height // 2), -(-width // 2), depth], -np.inf)
    for i in range(height):
        for j in range(width):
            result[:, i // 2, j // 2] = np.maximum(result[:, i // 2, j // 2], values[:, i, j])
    return result


def normalized(values, bias, is_normalized):
    axes = tuple(range(values.ndim - 1))
    if is_normalized:
        values = (values - values.mean(axis=axes)) / np.sqrt(values.var(axis=axes) + 1e-3)
    return values + bias


def conv_net_in_numpy(x, examples, is_normalized):
    values = examples.inputs if examples.inputs.ndim == 4 else examples.inputs[..., None]
    for kernel, bias in x["conv"]:
        values = pooled(np.maximum(normalized(convolved(values, kernel), bias, is_normalized), 0))
    values = values.reshape([len(values), -1])
    *hidden, (kernel, bias) = x["dense"]
    for one, other in hidden:
        values = np.maximum(normalized(values @ one, other, is_normalized), 0)
    return cross_entropy(values @ kernel + bias, examples.labels)


def loss_and_gradients(run, problem, examples):
    """At weights that are not small, on all examples: position, loss, and gradients like the position."""
    x = tf.nest.map_structure(lambda one: 30 * one, problem.initial_position(problem.draw(1)))
    loss = problem.loss(x, examples)
    flat = tf.nest.flatten(x)
    x, loss, gradients = run([flat, loss, tf.gradients(loss, flat)])
    pack = problem.shapes()
    return tf.nest.pack_sequence_as(pack, x), loss, gradients


def check_gradients(function, x, gradients, step=1e-6):
    """A few coordinates of each tensor against central differences."""
    flat = tf.nest.flatten(x)
    for tensor, gradient in zip(flat, gradients):
        for place in RANDOM.choice(tensor.size, min(4, tensor.size), replace=False):
            place = np.unravel_index(place, tensor.shape)
            before, values = tensor[place], []
            for change in [step, -step]:
                tensor[place] = before + change
                values.append(function(x))
            tensor[place] = before
            np.testing.assert_allclose(gradient[place], (values[0] - values[1]) / (2 * step), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_a_perceptron_is_that_of_numpy(run, hidden, activation):
    problem = l2l.MLP(SIX, hidden, activation=activation)
    x, loss, gradients = loss_and_gradients(run, problem, SIX)
    assert [layer.kernel.shape for layer in [*x["hidden"], x["output"]]] == list(zip([6, *hidden], [*hidden, 3]))
    np.testing.assert_allclose(loss, mlp_in_numpy(x, SIX, activation))
    check_gradients(lambda x: mlp_in_numpy(x, SIX, activation), x, gradients)


@pytest.mark.parametrize("is_normalized", [True, False])
@pytest.mark.parametrize("examples, channels, dense", [(IMAGES, (3, 2), (4,)), (SIX, (2,), ())])
def test_a_convolutional_network_is_that_of_numpy(run, is_normalized, examples, channels, dense):
    problem = l2l.ConvNet(examples, channels=channels, dense=dense, normalized=is_normalized)
    x, loss, gradients = loss_and_gradients(run, problem, examples)
    np.testing.assert_allclose(loss, conv_net_in_numpy(x, examples, is_normalized))
    check_gradients(lambda x: conv_net_in_numpy(x, examples, is_normalized), x, gradients)


def test_batch_normalization_is_by_the_minibatch_alone(run):
    """Inputs that are scaled and moved give the same loss, and an example's loss depends on the others."""
    problem = l2l.ConvNet(IMAGES, channels=(2,), dense=())
    kernel = RANDOM.normal(size=[5, 5, 2, 2])
    x = {
        "conv": (l2l.Layer(tf.constant(kernel), tf.zeros([2], tf.float64)),),
        "dense": (l2l.Layer(tf.constant(RANDOM.normal(size=[8, 3])), tf.zeros([3], tf.float64)),),
    }
    inputs = tf.constant(IMAGES.inputs)
    logits = [problem.logits(x, some) for some in [inputs, 1000 * inputs, 2000 * inputs, inputs[:2]]]
    plain, large, larger, two = run(logits)
    np.testing.assert_allclose(large, larger, rtol=1e-6)
    np.testing.assert_allclose(plain, large, rtol=0.05, atol=0.05)
    assert np.abs(two - plain[:2]).max() > 0.01
    assert [variable.op.name for variable in tf.global_variables()] == []  # there is no running mean


def test_the_defaults_are_the_papers_on_scikit_learns_digits(run):
    problem = l2l.MLP()
    x = problem.initial_position(problem.draw(1))
    assert sum(tensor.shape.num_elements() for tensor in tf.nest.flatten(x)) == 1510
    assert (problem.batch_size, problem.stddev, problem.activation) == (128, 0.01, "sigmoid")
    conv = l2l.ConvNet(l2l.Examples(np.zeros([10, 32, 32, 3], np.float32), np.arange(10)))
    shapes = [shape.as_list() for shape in tf.nest.flatten(conv.shapes())]
    assert shapes[::2] == [[5, 5, 3, 16], [5, 5, 16, 16], [5, 5, 16, 16], [256, 32], [32, 10]]
    assert (conv.batch_size, conv.stddev, conv.normalized) == (128, 0.01, True)


def test_weights_are_normal_and_new_for_each_draw(run):
    draws = run(l2l.MLP(SIX, (4, 4), stddev=0.5).sample(500, 3))["weights"]
    flat = np.concatenate([one.reshape([500, -1]) for one in tf.nest.flatten(draws)], axis=1)
    assert flat.shape == (500, 6 * 4 + 4 + 4 * 4 + 4 + 4 * 3 + 3)
    assert abs(flat.std() / 0.5 - 1) < 5 / np.sqrt(2 * flat.size) and abs(flat.mean()) < 5 * 0.5 / np.sqrt(flat.size)
    assert np.abs(np.corrcoef(flat, rowvar=False) - np.eye(flat.shape[1])).max() < 5.5 / np.sqrt(500)


@pytest.mark.parametrize("seed", [None, 3])
def test_weights_can_start_as_kerass_do(run, seed):
    """Uniform, of the variance that Keras's initializer has, in dense and convolutional kernels; biases are 0."""
    for problem in [
        l2l.MLP(SIX, (5, 4), stddev="glorot"),
        l2l.ConvNet(IMAGES, channels=(2, 3), dense=(4,), stddev="glorot"),
    ]:
        for shape, drawn in zip(*map(tf.nest.flatten, [problem.shapes(), run(problem.sample(200, seed))["weights"]])):
            if len(shape) == 1:
                assert drawn.shape == (200, *shape.as_list()) and not drawn.any()
            else:
                limit = np.sqrt(6 / (np.prod(shape[:-2].as_list()) * sum(shape[-2:].as_list())))
                keras = run(tf.keras.initializers.glorot_uniform(1)([*shape[:-2], 50 * shape[-2], 50 * shape[-1]]))
                assert 0.99 < np.abs(drawn).max() / limit <= 1 and drawn.dtype == np.float64
                assert 0.98 < np.sqrt(50) * np.abs(keras).max() / limit <= 1
                assert drawn.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
                flat = drawn.reshape([200, -1])[:, :20]
                assert np.abs(np.corrcoef(flat, rowvar=False) - np.eye(flat.shape[1])).max() < 0.4


@pytest.mark.parametrize(
    "stddev, weights",
    [
        (
            0.5,
            [
                [0.7418281244060396],
                [-0.8661234716985189],
                [0.157600037742654, -0.661528706281317],
                [-0.3890872997451859, -0.37040796328519593],
            ],
        ),
        ("glorot", [[0.0], [1.6510956618723664], [0.0, 0.0], [0.8817338665283005, 0.4402527259218587]]),
    ],
)
def test_the_draws_of_a_seed_are_pinned(run, stddev, weights):
    """What a seed means does not change."""
    draws = run(l2l.MLP(l2l.Examples(np.ones([2, 1]), np.array([0, 1])), (1,), stddev=stddev).sample(1, 7))
    assert draws["key"].tolist() == [743002944]
    layers = [*draws["weights"]["hidden"], draws["weights"]["output"]]
    found = [one for layer in layers for one in [layer.bias.ravel(), layer.kernel.ravel()]]
    for one, other in zip(found, weights):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def test_layers_of_one_shape_start_with_other_weights(run):
    for deviation in [0.01, "glorot"]:
        layers = run(l2l.MLP(SIX, (4, 4, 4), stddev=deviation).sample(200, 3))["weights"]["hidden"]
        one, other = layers[1].kernel.ravel(), layers[2].kernel.ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(one.size)


def test_a_minibatch_has_images_and_labels_that_belong_together(run):
    examples = l2l.Examples(np.arange(50.0).reshape([50, 1]), np.arange(50) % 3)
    problem = l2l.MLP(examples, (), batch_size=30)
    data = l2l.Examples(*map(tf.constant, examples))
    draw = problem.draw(1)
    first, again, later = run([problem.observe(draw, t, data) for t in [3, 3, 4]])
    assert first.inputs.shape == (30, 1) and len(np.unique(first.inputs)) > 15
    np.testing.assert_array_equal(first.inputs[:, 0] % 3, first.labels)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert np.any(first.inputs != later.inputs)


def test_a_problem_has_the_dtype_of_its_inputs(run):
    for dtype in [np.float32, np.float64]:
        problem = l2l.MLP(SIX._replace(inputs=SIX.inputs.astype(dtype)), (2,))
        losses = l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=1)
        assert losses.dtype == dtype and np.isfinite(run(losses)).all()


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(l2l.MLP(SIX, (3, 2), activation="relu", batch_size=4), id="MLP"),
        pytest.param(
            l2l.ConvNet(IMAGES, channels=(2,), dense=(3,), batch_size=4), id="ConvNet", marks=pytest.mark.rehearsal
        ),
    ],
)
def test_they_keep_the_contract_of_a_problem(problem):
    """Both engines compute the same."""
    l2l.testing.check_problem(problem)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: l2l.MLP(hidden=20), TypeError, "hidden must be a sequence of positive integers, got 20"),
        (lambda: l2l.MLP(hidden=(20, 0)), ValueError, r"hidden\[1\] must be a positive integer, got 0"),
        (
            lambda: l2l.MLP(activation="swish"),
            ValueError,
            "activation must be one of elu, relu, sigmoid, tanh, got 'swish'",
        ),
        (lambda: l2l.MLP(batch_size=0), ValueError, "batch_size must be a positive integer, got 0"),
        (lambda: l2l.MLP(stddev="he"), ValueError, "stddev must be a positive number or 'glorot', got 'he'"),
        (lambda: l2l.MLP(stddev=0), ValueError, "stddev must be a positive finite number, got 0"),
        (
            lambda: l2l.MLP((1, 2)),
            TypeError,
            r"examples must be an Examples\(inputs, labels\), as from .*, got \(1, 2\)",
        ),
        (lambda: l2l.ConvNet(channels=()), ValueError, r"channels must have at least one convolution, got \(\)"),
        (lambda: l2l.ConvNet(normalized=1), TypeError, "normalized must be True or False, got 1"),
        (
            lambda: l2l.ConvNet(SIX._replace(inputs=SIX.inputs.reshape([6, 6]))),
            ValueError,
            r"examples must have inputs of shape \[N, height, width\] or .*, got \[6, 6\]",
        ),
        (
            lambda: l2l.Classification(SIX, batch_size=2, stddev=0.1).shapes(),
            NotImplementedError,
            "Classification does not define shapes",
        ),
        (
            lambda: l2l.Classification(SIX, batch_size=2, stddev=0.1).logits(None, None),
            NotImplementedError,
            "Classification does not define logits",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match="^%s$" % message):
        call()


def test_second_derivatives_flow_through_batch_normalisation(run):
    """They are the differences of the first ones; in float64, where those are exact enough."""
    random = np.random.RandomState(0)
    examples = l2l.Examples(random.rand(6, 4, 4), np.arange(6) % 3)
    problem = l2l.ConvNet(examples, channels=(2,), dense=(3,), batch_size=6, stddev=0.5)
    x = problem.initial_position(problem.draw(1))
    flat = tf.nest.flatten(x)
    values = run(flat)
    places = [tf.placeholder(one.dtype, one.shape) for one in flat]
    inputs = l2l.Examples(tf.constant(examples.inputs), tf.constant(examples.labels, tf.int32))
    gradients = tf.gradients(problem.loss(tf.nest.pack_sequence_as(x, places), inputs), places)
    directions = [random.normal(size=value.shape) for value in values]
    along = sum(tf.reduce_sum(one * way) for one, way in zip(gradients, directions))
    products = tf.gradients(along, places)
    with tf.Session() as session:

        def at(step, tensors):
            moved = [value + step * way for value, way in zip(values, directions)]
            return session.run(tensors, dict(zip(places, moved)))

        differences = [(up - down) / 2e-6 for up, down in zip(at(1e-6, gradients), at(-1e-6, gradients))]
        for ours, expected in zip(at(0, products), differences):
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
