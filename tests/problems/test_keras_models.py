"""Keras models as optimizees, compared with Keras's own `fit` and with its initializers."""

import copy

import numpy as np
import pytest
import tensorflow as tf
from trainers import learned_momentum

import l2l
from l2l.describe import describe
from l2l.problems import keras_models
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import sample

K, L = tf.keras.backend, tf.keras.layers
RATE, STEPS = 0.1, 2

_random = np.random.RandomState(0)
VECTORS, NUMBERS = _random.randn(12, 3), _random.randn(12)
SEQUENCES, IDS = _random.randn(12, 2, 2), _random.randint(0, 7, [12, 2])
IMAGES, DIGITS = (array[:12] for array in l2l.datasets.digits())


def sequential(*layers):
    """A function that builds a model of new layers; each is given as a function without arguments."""
    return lambda: tf.keras.Sequential([layer() for layer in layers])


def dense(units=1, activation=None, **more):
    return lambda: L.Dense(units, activation, **more)


def functional():
    """Two inputs through one layer, with everything that adds to a loss."""
    one, other = tf.keras.Input([3]), tf.keras.Input([3])
    shared = L.Dense(4, "tanh", kernel_regularizer="l2", activity_regularizer="l1")
    model = tf.keras.Model([one, other], L.Dense(1)(L.concatenate([shared(one), shared(other)])))
    model.add_loss(0.1 * tf.reduce_mean(model.output))
    return model


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = L.Dense(3, "tanh"), L.Dense(1)

    def call(self, inputs):
        return self.last(self.hidden(inputs))


def powers(y_true, y_pred):
    """Two stopped gradients that are none of a variance, as in those of a normalization, stay stopped."""
    aims = [tf.reduce_mean(2 * y_pred), tf.tanh(y_pred)]
    stopped = sum(tf.math.squared_difference(y_pred, tf.stop_gradient(one)) for one in aims)
    return tf.reduce_sum(tf.abs(y_true - y_pred) ** 1.5 + stopped, axis=-1)


CASES = {
    "labels": (
        sequential(L.Flatten, dense(5, "relu"), dense(10, "softmax")),
        "sparse_categorical_crossentropy",
        DIGITS,
    ),
    "classes": (sequential(L.Flatten, dense(10, "softmax")), "categorical_crossentropy", np.eye(10)[DIGITS]),
    "convolution": (
        sequential(
            lambda: L.Reshape([8, 8, 1]),
            lambda: L.Conv2D(3, 3, activation="relu"),
            L.MaxPool2D,
            L.Flatten,
            dense(10),
        ),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        DIGITS,
    ),
    "batch norm": (
        sequential(L.Flatten, dense(5), L.BatchNormalization, L.ReLU, dense(10, "softmax")),
        "sparse_categorical_crossentropy",
        DIGITS,
    ),
    "batch norm of images": (
        sequential(lambda: L.Reshape([8, 8, 1]), lambda: L.Conv2D(2, 3), L.BatchNormalization, L.Flatten, dense(10)),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        DIGITS,
    ),
    "GRU": (sequential(lambda: L.GRU(2), dense()), "mse", NUMBERS),
    "LSTM over masked embeddings": (
        sequential(
            lambda: L.Embedding(7, 2, mask_zero=True),
            lambda: L.LSTM(1, return_sequences=True),
            lambda: L.TimeDistributed(L.Dense(1)),
        ),
        "mse",
        _random.randn(12, 2, 1),
    ),
    "both directions": (
        sequential(lambda: L.Bidirectional(L.SimpleRNN(2)), dense(1, "sigmoid")),
        "binary_crossentropy",
        (NUMBERS > 0).astype(int),
    ),
    "several inputs": (functional, "mse", NUMBERS),
    "subclassed": (Subclassed, tf.keras.losses.Huber(0.5), NUMBERS),
    "frozen": (sequential(dense(4, "tanh", trainable=False, input_shape=[3]), dense()), powers, NUMBERS),
    "layer norm": (sequential(dense(4), L.LayerNormalization, dense(1, "tanh")), "mse", NUMBERS),
    "sum": (sequential(dense()), tf.keras.losses.MeanSquaredError(reduction="sum"), NUMBERS),
}
INPUTS = {
    **dict.fromkeys(["labels", "classes", "convolution", "batch norm", "batch norm of images"], IMAGES),
    **dict.fromkeys(["GRU", "both directions"], SEQUENCES),
    "LSTM over masked embeddings": IDS,
    "several inputs": [VECTORS, VECTORS[::-1].copy()],
}


@pytest.fixture
def doubles():
    K.set_floatx("float64")
    yield
    K.set_floatx("float32")


def fitted(build_model, loss, batches, draw, rate=RATE):
    """Losses and weights of Keras's own training from a draw's initial weights, a batch to each step."""
    with tf.Graph().as_default(), tf.Session():
        model = build_model()
        model.compile(tf.keras.optimizers.SGD(rate), loss)
        model.train_on_batch(*batches[0])  # which creates the weights
        others = [one for one in model.non_trainable_weights if "moving" not in one.name]
        K.batch_set_value(list(zip([*model.trainable_weights, *others], [*draw["weights"], *draw["fixed"]])))
        losses = [
            model.fit(*batch, batch_size=len(batch[1]), shuffle=False, verbose=0).history["loss"][0]
            for batch in batches
        ]
        return losses, K.batch_get_value(model.trainable_weights)


@pytest.mark.parametrize("case", CASES)
def test_gradient_descent_is_keras_own_fit(run, case):
    build_model, loss, targets = CASES[case]
    inputs = INPUTS.get(case, VECTORS)
    problem = l2l.KerasProblem(build_model, loss, (inputs, targets), batch_size=None)
    draw = problem.draw(1)
    done = l2l.unroll(problem, draw, l2l.sgd(RATE), steps=STEPS, second_derivatives=False)
    assert [one.shape.as_list() for one in done.x] == [one.shape.as_list() for one in draw["weights"]]
    draw, losses, weights = run([draw, done.losses, done.x])
    expected_losses, expected_weights = fitted(build_model, loss, [(inputs, targets)] * STEPS, draw)
    assert expected_losses[-1] != expected_losses[0] and len(weights) == len(expected_weights) == len(problem.names)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for ours, theirs in zip(weights, expected_weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["labels", "several inputs", "batch norm", "sum"])
def test_a_loss_on_all_examples_is_that_of_keras(run, case):
    """Keras writes the number of examples into shapes and means, so a minibatch's loss would not do."""
    build_model, loss, targets = CASES[case]
    inputs = INPUTS.get(case, VECTORS)
    problem = l2l.KerasProblem(build_model, loss, (inputs, targets), batch_size=5)
    draw = problem.draw(1)
    x, whole = problem.initial_position(draw), BoundProblem(problem, draw).loss_on_whole_data
    draw, ours, minibatch = run([draw, whole(x), BoundProblem(problem, draw).loss(x, tf.constant(0))])
    (theirs,), _ = fitted(build_model, loss, [(inputs, targets)], draw)
    assert ours == pytest.approx(theirs, rel=1e-5) and ours != pytest.approx(minibatch, rel=1e-3)


def test_a_loss_on_all_examples_has_the_dropout_of_the_first_base_iteration(run):
    """Of as many examples as a base iteration sees, it is the loss of that one."""
    build_model = sequential(dense(20, "tanh"), lambda: L.Dropout(0.5), dense(1))
    losses = []
    for batch_size in [None, 7]:
        problem = l2l.KerasProblem(build_model, "mse", (VECTORS, NUMBERS), batch_size=batch_size)
        bound = BoundProblem(problem, problem.draw(1))
        losses += run([bound.loss_on_whole_data(bound.start()), bound.loss(bound.start(), tf.constant(0))])
    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-6) != losses[3]


@pytest.mark.parametrize(
    "case", ["labels", "batch norm", "batch norm of images", "layer norm", "GRU", "several inputs"]
)
def test_the_second_derivative_is_that_of_the_loss(run, doubles, case):
    """Along a random direction, against differences of first derivatives."""
    build_model, loss, targets = CASES[case]
    problem = l2l.KerasProblem(build_model, loss, (INPUTS.get(case, VECTORS), targets), batch_size=None)
    draw = problem.draw(1)
    x = [tf.placeholder_with_default(one, one.shape) for one in BoundProblem(problem, draw).start()]
    assert {one.dtype for one in x} == {tf.float64}
    loss = BoundProblem(problem, draw).loss(x, tf.constant(0))
    gradients = [tf.convert_to_tensor(one) for one in tf.gradients(loss, x)]
    direction = [_random.randn(*one.shape.as_list()) for one in x]
    along = tf.add_n([tf.reduce_sum(one * other) for one, other in zip(gradients, direction)])
    second = [tf.convert_to_tensor(one) for one in tf.gradients(along, x)]
    start = run(x)
    near = [
        run(gradients, {place: one + step * other for place, one, other in zip(x, start, direction)})
        for step in [1e-6, -1e-6]
    ]
    for ours, (above, below) in zip(run(second), zip(*near)):
        np.testing.assert_allclose(ours, (above - below) / 2e-6, rtol=1e-4, atol=1e-6)


def test_minibatches_are_those_of_the_draw_and_the_base_iteration(run):
    build_model, loss, _ = CASES["labels"]
    problem = l2l.KerasProblem(build_model, loss, l2l.Examples(IMAGES, DIGITS), batch_size=4)
    draw = problem.draw(1)
    done = l2l.unroll(problem, draw, l2l.sgd(RATE), steps=STEPS, second_derivatives=False)
    places = [l2l.minibatch(draw["key"], t, batch_size=4, examples=12) for t in range(STEPS)]
    draw, losses, weights, places = run([draw, done.losses, done.x, places])
    assert not np.array_equal(places[0], places[1])
    expected_losses, expected_weights = fitted(build_model, loss, [(IMAGES[p], DIGITS[p]) for p in places], draw)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for ours, theirs in zip(weights, expected_weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def weights_of(run, initializer, number=50, seed=3, shape=(6, 6)):
    problem = l2l.KerasProblem(
        sequential(dense(shape[1], kernel_initializer=initializer, bias_initializer="ones")),
        "mse",
        (np.ones([2, shape[0]]), np.ones([2, shape[1]])),
    )
    kernels, biases = run(sample(problem, number, seed)["weights"])
    assert kernels.shape == (number, *shape) and (biases == 1).all()
    return kernels


@pytest.mark.parametrize(
    "initializer, figures",
    [
        ("glorot_uniform", lambda w: [np.abs(w).max() <= np.sqrt(0.5), w.std() * np.sqrt(6)]),
        ("he_normal", lambda w: [np.abs(w).max() <= 2 * np.sqrt(1 / 3) / 0.87, w.std() * np.sqrt(3)]),
        (tf.keras.initializers.RandomNormal(0.0, 0.5), lambda w: [np.abs(w).max() > 1.4, 2 * w.std()]),
        ("orthogonal", lambda w: [np.allclose(w @ w.transpose(0, 2, 1), np.eye(6), atol=1e-5), w.std() * np.sqrt(6)]),
        (tf.constant_initializer(2.5), lambda w: [(w == 2.5).all(), 1]),
        ("identity", lambda w: [(w == np.eye(6)).all(), 1]),
        (lambda shape, **_: 3.0 + tf.random.uniform(shape), lambda w: [3 <= w.min() < w.max() < 4, w.std() * 12**0.5]),
    ],
    ids=["Glorot", "He", "normal", "orthogonal", "constant", "identity", "custom"],
)
def test_initial_weights_are_those_of_the_initializers(run, initializer, figures):
    within, deviation = figures(weights_of(run, initializer))
    assert within and abs(deviation - 1) < 0.06


def test_initial_weights_follow_from_the_seed_alone(run):
    one, again, other = (weights_of(run, "glorot_uniform", seed=seed) for seed in [3, 3, 4])
    np.testing.assert_array_equal(one, again)
    seeded = weights_of(run, tf.keras.initializers.glorot_uniform(seed=7))
    np.testing.assert_array_equal(one, seeded)
    some = [array.ravel() for array in [one[0], one[1], other[0]]]
    assert len(set(np.concatenate(some))) == 3 * 36
    problem = l2l.KerasProblem(sequential(dense(use_bias=False)), "mse", (VECTORS, NUMBERS))
    (kernels,) = problem.sample(1)["weights"]
    assert kernels.shape == [1, 3, 1]
    with tf.Session() as session:
        assert len({tuple(session.run(kernels).ravel()) for _ in range(60)}) == 60


def test_layers_of_one_shape_start_with_other_weights(run):
    problem = l2l.KerasProblem(sequential(dense(3), dense(3)), "mse", (VECTORS, VECTORS))
    one, _, other, _ = run(problem.draw(1)["weights"])
    assert not set(one.ravel()) & set(other.ravel())


def test_the_initial_weights_of_a_seed_are_pinned(run):
    """What a seed means does not change."""
    problem = l2l.KerasProblem(sequential(dense(), dense()), "mse", (np.ones([2, 1]), np.ones(2)))
    draws = run(problem.sample(2, 7))
    assert draws["key"].tolist() == [743002944, 1643808497]
    assert [one.ravel().tolist() for one in draws["weights"]] == [
        [-0.967931866645813, 0.8674901723861694],
        [0.0, 0.0],
        [-0.21212780475616455, 0.9347528219223022],
        [0.0, 0.0],
    ]
    kernels = weights_of(run, "glorot_uniform", 2)
    assert kernels[:, 0, :2].tolist() == [
        [-0.3174896836280823, -0.4555248022079468],
        [0.582292377948761, 0.5223907828330994],
    ]


def masks_of(run, draws, ts, rate=0.25):
    """What dropout leaves of ones in two layers, `[draws, ts, examples, units]` each, and the problem."""

    def both():
        inputs = tf.keras.Input([40])
        return tf.keras.Model(inputs, L.concatenate([L.Dropout(rate)(inputs), L.Dropout(rate)(inputs)]))

    def build_model():
        inputs = tf.keras.Input([40])
        return tf.keras.Model(inputs, L.Multiply()([both()(inputs), Weights()(inputs)]))

    class Weights(L.Layer):
        def build(self, shape):
            self.weight = self.add_weight("weight", [30, 80], initializer="ones")

        def call(self, inputs):
            return self.weight

    def summed(y_true, y_pred):
        return tf.reduce_sum(y_pred)

    problem = l2l.KerasProblem(build_model, summed, (np.ones([30, 40]), np.ones(30)), batch_size=None)
    some = sample(problem, draws, 5)
    bound = BoundProblem(problem, some, draws)
    x = bound.start()

    def gradients(*ts):
        losses = [bound.loss(x, t) for t in ts]
        return [tf.gradients(loss, x)[0] for loss in losses]

    plain = tf.stack(gradients(*[tf.constant(t) for t in ts]), axis=1)
    compiled = tf.xla.experimental.compile(gradients, [tf.constant(ts[0])])
    plain, (compiled,) = run([plain, compiled])
    np.testing.assert_array_equal(plain[:, 0], compiled)
    return np.split(plain, 2, axis=-1)


def test_dropout_follows_from_the_draw_and_the_base_iteration_in_every_engine(run):
    """The gradient of a sum of products is the mask."""
    one, other = masks_of(run, 2, [0, 1, 0])
    for masks in [one, other]:
        np.testing.assert_array_equal(masks[:, 0], masks[:, 2])
        np.testing.assert_allclose(np.unique(masks), [0, 1 / 0.75])
        assert abs(np.mean(masks == 0) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / masks[:, :2].size)
    pairs = [(one[0, 0], one[0, 1]), (one[0, 0], one[1, 0]), (one[0, 0], other[0, 0]), (one[0, 0], one[0, 0, ::-1])]
    for mask, another in pairs:
        assert abs(np.corrcoef(mask.ravel(), another.ravel())[0, 1]) < 5 / np.sqrt(mask.size)


def test_noise_follows_from_the_draw_and_the_base_iteration(run, doubles):
    """The loss is the mean square of the noise, in the dtype of the model."""
    problem = l2l.KerasProblem(
        sequential(dense(50, kernel_initializer="zeros"), lambda: L.GaussianNoise(0.5)),
        "mse",
        (np.ones([40, 1]), np.zeros([40, 50])),
        batch_size=None,
    )
    draw = problem.draw(1)
    loss = BoundProblem(problem, draw).loss
    losses = run([loss(draw["weights"], tf.constant(t)) for t in [0, 1, 0]])
    assert losses[0] == losses[2] != losses[1] and losses[0].dtype == np.float64
    np.testing.assert_allclose(losses, 0.25, rtol=5 * np.sqrt(2 / 2000))


@pytest.fixture(scope="module")
def mixed():
    """A model that is quick to compile, with minibatches and random numbers."""
    build_model = sequential(dense(2, "tanh", use_bias=False), lambda: L.Dropout(0.3), dense(use_bias=False))
    return l2l.KerasProblem(build_model, "mse", (VECTORS, NUMBERS), batch_size=4)


def test_it_keeps_the_contract_of_a_problem(mixed):
    l2l.testing.check_problem(mixed, steps=2)


@pytest.mark.rehearsal
def test_it_trains_op_by_op_and_compiled(mixed):
    figures = []
    for engine in ["graph", "xla"]:
        trainer = l2l.Trainer(
            mixed, learned_momentum, unroll_length=2, batch=2, weights_seed=1, draws_seed=2, engine=engine
        )
        trainer.run(3)
        figures.append([trainer.history.meta_loss, trainer.history.gradient_norm])
    assert np.all(figures[0][1] > 0)
    np.testing.assert_allclose(*figures, rtol=1e-3)


def test_convolutions_are_computed_together_too(run):
    """Draw by draw, since TensorFlow cannot vectorize over kernels."""
    build_model, loss, targets = CASES["batch norm of images"]
    problem = l2l.KerasProblem(build_model, loss, (IMAGES, targets), batch_size=4)
    draws, t = sample(problem, 2, 1), tf.constant(0)
    bound = BoundProblem(problem, draws, 2)
    with pytest.warns(RuntimeWarning, match="^KerasProblem is computed draw by draw"):
        losses = bound.loss(bound.start(), t)
    singles = [BoundProblem(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws)) for i in range(2)]
    losses, alone = run([losses, [one.loss(one.start(), t) for one in singles]])
    np.testing.assert_allclose(losses, alone, rtol=1e-5)
    assert losses[0] != losses[1]


def test_problems_of_keras_problems(run, mixed):
    other = l2l.KerasProblem(sequential(dense()), "mae", (VECTORS, NUMBERS))
    problem = l2l.Mixture([l2l.RandomlyScaled(mixed), other])
    bound = BoundProblem(problem, sample(problem, 2, 1), 2)
    losses = run(bound.loss(bound.start(), tf.constant(0)))
    assert losses.shape == (2,) and np.isfinite(losses).all()


def test_two_within_another_problem_have_weights_of_their_own(run, mixed):
    within = l2l.Mixture([mixed, l2l.Mixture([mixed])]).sample(1, 3)["draws"]
    draws = [within[0], within[1]["draws"][0], mixed.sample(1, 3)]
    kernels = [run(draw["weights"][0]) for draw in draws]
    assert all(not np.array_equal(kernels[i], kernels[i - 1]) for i in range(3))


def test_nothing_reaches_the_users_graph_and_keras_session(mixed):
    model = tf.keras.Sequential([L.Dense(1, input_shape=[3])])
    session, weights = K.get_session(), model.get_weights()
    before = len(tf.get_default_graph().get_operations())
    problem = l2l.KerasProblem(sequential(dense(input_shape=[3])), "mse", (VECTORS, NUMBERS))
    assert problem.names == ["dense/kernel", "dense/bias"]  # as in a graph without layers
    assert len(tf.get_default_graph().get_operations()) == before
    assert K.get_session() is session and not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])
    variables = len(tf.global_variables())
    draw = mixed.draw(1)
    bound = BoundProblem(mixed, draw)
    bound.loss(bound.start(), tf.constant(0))
    assert len(tf.global_variables()) == variables
    types = {op.type for op in tf.get_default_graph().get_operations()[before:]}
    assert not types & {"VariableV2", "VarHandleOp", "Assign", "AssignSub", "RandomUniform"}


def test_the_record_tells_two_of_them_apart():
    def problem(units=2, loss="mse", rate=0.5, examples=(VECTORS, NUMBERS), **more):
        return l2l.KerasProblem(sequential(dense(units), lambda: L.Dropout(rate), dense()), loss, examples, **more)

    huber = tf.keras.losses.Huber
    problems = [
        *[problem(), problem(3), problem(rate=0.25), problem(batch_size=8), problem(loss="mae")],
        *[problem(loss=huber(1.0)), problem(loss=huber(2.0)), problem(examples=(VECTORS + 1, NUMBERS))],
    ]
    records = [describe("problem", one) for one in problems]
    assert all(one not in records[:i] for i, one in enumerate(records))
    assert describe("problem", problem()) == describe("problem", copy.deepcopy(problems[0])) == records[0]
    assert l2l.KerasProblem(Subclassed, "mse", (VECTORS, NUMBERS)).architecture is None
    config = {"name": "huber_loss", "reduction": "auto", "delta": 2.0}
    assert problems[6].keras_loss == {"class": huber, "config": config} and problems[4].keras_loss == "mae"


def existing():
    with tf.Graph().as_default():
        return tf.keras.Sequential([L.Dense(1, input_shape=[3])])


def with_weights():
    model = tf.keras.Sequential([L.Dense(1, input_shape=[3])])
    model.set_weights([np.ones([3, 1]), np.ones([1])])
    return model


def two_outputs():
    inputs = tf.keras.Input([3])
    return tf.keras.Model(inputs, [L.Dense(1)(inputs), L.Dense(1)(inputs)])


def with_lambda(function):
    return sequential(dense(), lambda: L.Lambda(function))


@pytest.mark.parametrize(
    "error, message, changes",
    [
        (TypeError, "build_model must be a function without arguments, got <", {"build_model": with_lambda}),
        (TypeError, "build_model must return a tf.keras.Model, got 3", {"build_model": lambda: 3}),
        (ValueError, "build_model must build a new model when it is called", {"build_model": existing}),
        (TypeError, "build_model must build a model with one output, got ", {"build_model": two_outputs}),
        (ValueError, "build_model must build a model with trainable weights", {"build_model": sequential(L.ReLU)}),
        (
            ValueError,
            "build_model must not set, load or update weights that the loss uses, it assigns to 'dense/kernel'",
            {"build_model": with_weights},
        ),
        (
            ValueError,
            "build_model must build a model without constraints, 'sequential/dense/kernel' has one",
            {"build_model": sequential(dense(kernel_constraint="non_neg"))},
        ),
        (
            TypeError,
            "weight 'sequential/dense/kernel' must be float32 or float64, got float16",
            {"build_model": sequential(dense(dtype="float16"))},
        ),
        (
            ValueError,
            "build_model must not set, load or update weights that the loss uses, it assigns to 'sequential/batch_norm",
            {"build_model": sequential(lambda: L.BatchNormalization(renorm=True), dense())},
        ),
        (
            ValueError,
            r"build_model's model may use uniform and normal .* not those of the op TruncatedNormal \('seq",
            {"build_model": with_lambda(lambda x: x + tf.random.truncated_normal([32, 1]))},
        ),
        (
            ValueError,
            r"the loss of build_model's model cannot use the op RandomGamma \('seq.* chance of another kind",
            {"build_model": with_lambda(lambda x: x + tf.random.gamma([32, 1], 1.0))},
        ),
        (
            ValueError,
            r"the loss of build_model's model cannot use the op IdentityN \('seq.* it is a tf.custom_gradient",
            {"build_model": with_lambda(tf.nn.swish)},
        ),
        (
            ValueError,
            r"the loss of build_model's model cannot use the op \w+ \('loss/.* it is a loop or a condition",
            {"loss": "hinge"},
        ),
        (
            ValueError,
            "the loss of build_model's model cannot use the op .* it is state",
            {"build_model": sequential(lambda: L.GRU(2, stateful=True), dense()), "examples": (SEQUENCES, NUMBERS)},
        ),
        (TypeError, "loss must be the name of a Keras loss or a function .*, got 3", {"loss": 3}),
        (ValueError, "loss must be the name of a Keras loss or a function .*, got 'mes'", {"loss": "mes"}),
        (TypeError, r"examples must be \(inputs, targets\) or an Examples, got 3", {"examples": 3}),
        (TypeError, r"examples must be \(inputs, targets\) or an Examples, got \(array", {"examples": (VECTORS,)}),
        (TypeError, r"examples must have arrays \[N, ...\] of numbers, got None", {"examples": (VECTORS, None)}),
        (TypeError, r"examples must have arrays \[N, ...\] .*'a'", {"examples": (VECTORS, np.array(["a"] * 12))}),
        (TypeError, r"examples must have arrays \[N, ...\] .*array\(1\)$", {"examples": (VECTORS, np.array(1))}),
        (ValueError, "examples must be finite", {"examples": (VECTORS, NUMBERS * np.inf)}),
        (
            ValueError,
            r"examples must have as many inputs as targets, .* \[12, 3\], \[3\]",
            {"examples": (VECTORS, NUMBERS[:3])},
        ),
        (ValueError, r"examples must have as many inputs as targets, .* \[12\]$", {"examples": ([], NUMBERS)}),
        (ValueError, "examples must have as many inputs .* at least one", {"examples": (VECTORS[:0], NUMBERS[:0])}),
        *(
            (
                ValueError,
                r"examples must have targets of the shape of the model's output, \[3\], for the loss %s, got \[1\]"
                % name,
                {"build_model": sequential(dense(3)), "loss": loss},
            )
            for loss, name in [("mse", "mean_squared_error"), (tf.keras.losses.Huber(), "Huber")]
        ),
        (
            ValueError,
            "examples must have inputs for each of the model's 2, got 1",
            {"build_model": functional},
        ),
        (ValueError, "batch_size must be a positive integer, got 0", {"batch_size": 0}),
    ],
)
def test_what_it_cannot_do_is_refused_in_words(error, message, changes):
    arguments = {"build_model": sequential(dense()), "loss": "mse", "examples": (VECTORS, NUMBERS), **changes}
    with pytest.raises(error, match="^" + message):
        l2l.KerasProblem(**arguments)


def test_a_weight_that_the_loss_does_not_use_is_refused():
    class Idle(Subclassed):
        def call(self, inputs):
            self.hidden(inputs)
            return self.last(inputs)

    with pytest.raises(
        ValueError, match=r"^build_model's model must use every weight in its loss, not so 'idle/dense/kernel'$"
    ):
        l2l.KerasProblem(Idle, "mse", (VECTORS, NUMBERS))


def test_a_compiled_model_and_a_layer_that_asks_for_the_learning_phase_serve(run):
    """`compile` sets nothing here; `in_train_phase` is in training."""

    def build_model():
        doubled = L.Lambda(lambda x: K.in_train_phase(2 * x, x))
        model = tf.keras.Sequential([L.Dense(1, kernel_initializer="ones", input_shape=[3]), doubled])
        model.compile("adam", "mae", metrics=["mae", "accuracy"])
        return model

    problem = l2l.KerasProblem(build_model, "mse", (VECTORS, NUMBERS), batch_size=None)
    draw = problem.draw(1)
    loss = run(BoundProblem(problem, draw).loss(draw["weights"], tf.constant(0)))
    np.testing.assert_allclose(loss, np.mean((2 * VECTORS.sum(axis=1) - NUMBERS) ** 2), rtol=1e-5)


def test_examples_have_the_dtypes_and_ranks_that_fit_would_give_them():
    numbers, rows = np.arange(3), np.ones([3, 2])
    floats, plain = keras_models._as_in_fit([numbers, rows], [tf.placeholder(tf.float32, [None, 1])] * 2)
    assert floats.dtype == plain.dtype == np.float32 and floats.shape == (3, 1) and plain.shape == (3, 2)
    (vector,) = keras_models._as_in_fit([numbers], [tf.placeholder(tf.float64, [None])])
    assert vector.dtype == np.float64 and vector.shape == (3,)
    numbers, rows = keras_models._as_in_fit([numbers, rows], None)
    assert numbers.dtype == np.int64 and numbers.shape == (3, 1) and rows.dtype == np.float32
    with pytest.raises(ValueError, match="examples must have inputs for each of the model's 1, got 2"):
        keras_models._as_in_fit([numbers, rows], [tf.placeholder(tf.float32, [None, 1])])
