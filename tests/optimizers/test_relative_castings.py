"""Castings that need no range: by their formulas, at the ends of float32, in files, and on both engines."""

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import elu, network, random_weights, zero_states
from trainers import small

import l2l
from l2l.optimizers.relative_castings import Step

TINY = float(np.finfo(np.float32).tiny)
BUILDERS = {
    "widening": l2l.widening_log_cast,
    "ratio": l2l.ratio_cast,
    "log_ratio": l2l.log_ratio_cast,
    "log_ratio_fixed": lambda: l2l.log_ratio_cast(-8),
    "moments": lambda: l2l.moments_cast(0.9),
    "moments_of_three": lambda: l2l.moments_cast((0.8, 0.9, 0.99), smallest=1e-3),
    "secant": l2l.secant_cast,
}
both_dtypes = pytest.mark.parametrize("dtype", [tf.float32, tf.float64])


def log_encoded(values, m):
    with np.errstate(divide="ignore"):
        return np.sign(values) * (np.log(np.abs(values) + TINY) - m) / -m


def log_decoded(outputs, m):
    return np.sign(outputs) * np.exp(-m * np.abs(outputs) + m)


def widened(m, values):
    return min(m, 0.99 * m + 0.01 * np.log(np.abs(values) + TINY).min())


class Widening:
    """The reference: the formulas as they stand, with a memory of its own."""

    m = -5.0

    def encode(self, g):
        return log_encoded(g, self.m)[:, None]

    def decode(self, o, g):
        return log_decoded(o, self.m)

    def remember(self, g, u):
        pass

    def adapted(self, g):
        return [widened(self.m, g)]


class Ratio:
    before = None

    def sizes(self, g):
        return np.abs(g if self.before is None else self.before) + TINY

    def ratios(self, g):
        return np.clip(g / self.sizes(g), -1e18, 1e18)

    def encode(self, g):
        return self.ratios(g)[:, None]

    def decode(self, o, g):
        return o * self.sizes(g)

    def remember(self, g, u):
        self.before = g

    def adapted(self, g):
        return []


class LogRatio(Ratio):
    m = -5.0

    def encode(self, g):
        return log_encoded(super().encode(g), self.m)

    def decode(self, o, g):
        return log_decoded(o, self.m) * self.sizes(g)

    def adapted(self, g):
        return [widened(self.m, self.ratios(g))]


class FixedLogRatio(LogRatio):
    m = -8.0

    def adapted(self, g):
        return []


class Moments:
    """As in the paper: the moments from 0, divided by `1 - beta^t`."""

    t, m, v = 0, 0.0, 0.0

    def __init__(self, beta=0.9):
        self.beta = beta

    def moments(self, g):
        return self.beta * self.m + (1 - self.beta) * g, self.beta * self.v + (1 - self.beta) * g**2

    def encode(self, g):
        mean, square = (moment / (1 - self.beta ** (self.t + 1)) for moment in self.moments(g))
        root = np.sqrt(np.where(square == 0, 1, square))
        return np.stack([mean / root, g / root], axis=1)

    def decode(self, o, g):
        return 0.1 * np.tanh(o)

    def remember(self, g, u):
        (self.m, self.v), self.t = self.moments(g), self.t + 1

    def adapted(self, g):
        return []


class MomentsOfThree:
    """The inputs of each beta beside those of the others; steps that fade for gradients of less than 1e-3."""

    def __init__(self):
        self.parts = [Moments(beta) for beta in (0.8, 0.9, 0.99)]

    def encode(self, g):
        return np.concatenate([part.encode(g) for part in self.parts], axis=1)

    def decode(self, o, g):
        last = self.parts[-1]
        root = np.maximum(np.sqrt(last.moments(g)[1] / (1 - last.beta ** (last.t + 1))), TINY)
        return 0.1 * np.tanh(o) * root / (root + 1e-3)

    def remember(self, g, u):
        for part in self.parts:
            part.remember(g, u)

    def adapted(self, g):
        return []


class Secant:
    g, u = 0.0, 0.0

    def encode(self, g):
        sums = np.abs(g) + np.abs(self.g)
        relation = np.sign(self.g) * g / np.where(sums == 0, 1, sums)
        return np.stack([relation, np.sign(g - self.g) * np.sign(self.u)], axis=1)

    def decode(self, o, g):
        with np.errstate(divide="ignore", invalid="ignore"):
            secant = np.abs(self.u) * np.minimum(np.abs(g / (g - self.g)), 10)
        return np.where(g == 0, 0, -np.sign(g) * np.where(self.u == 0, np.abs(g), secant) * o)

    def remember(self, g, u):
        self.g, self.u = g, u

    def adapted(self, g):
        return []


REFERENCES = {
    "widening": Widening,
    "ratio": Ratio,
    "log_ratio": LogRatio,
    "log_ratio_fixed": FixedLogRatio,
    "moments": Moments,
    "moments_of_three": MomentsOfThree,
    "secant": Secant,
}


# Among them: a coordinate that is 0 from the start, one that is 0 in between, and one that does not change.
GRADIENTS = [
    [0.7, -1e-4, 0.0, 0.5, 2.0],
    [0.1, 2e-5, 0.0, 0.0, 2.0],
    [-0.2, 1e-9, 0.0, -0.5, 2.0],
    [0.3, 1e-9, 1.0, 1e-12, -3.0],
]


@pytest.mark.parametrize("kind, activation", [*((kind, None) for kind in BUILDERS), ("moments", "elu")])
def test_the_formulas_in_numpy(kind, activation):
    optimizer = l2l.CoordinatewiseLSTM((3, 4), BUILDERS[kind](), dtype=tf.float64, input_activation=activation)
    reference = REFERENCES[kind]()
    assert optimizer.variables == tf.trainable_variables()
    state, updates, adapted = None, [], []
    for gradient in np.array(GRADIENTS):
        adapted.append(optimizer.adapt(tf.constant(gradient), state) if state else [])
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)
    weights = [0.5 * array for array in random_weights(optimizer.variables)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(optimizer.adapted) == [-5.0] * len(optimizer.adapted)
        for variable, value in zip(optimizer.variables, weights):
            variable.load(value, session)
        updates, adapted = session.run([updates, adapted])
    states = zero_states(5, (3, 4))
    for t, gradient in enumerate(np.array(GRADIENTS)):
        if t:
            np.testing.assert_allclose(adapted[t], reference.adapted(gradient), rtol=1e-10)
        with np.errstate(over="ignore"):  # in the sigmoid of a ratio of 1e18
            outputs, states = network(reference.encode(gradient), states, weights, elu if activation else lambda x: x)
        expected = reference.decode(outputs, gradient)
        np.testing.assert_allclose(updates[t], expected, rtol=1e-7)
        reference.remember(gradient, expected)


SIZES = [0.0, 1e-38, 2e-38, 1e-30, 1e-19, 1e-3, 1.0, 1e10, 1e30]


def steps_of(casting, dtype, gradients):
    """Inputs and updates of a few steps with outputs that depend on the inputs; derivatives of the last update."""
    m = [tf.constant(value, dtype) for value in casting.adapted]
    memory, results = casting.initial_memory(gradients[0]), []
    for gradient in gradients:
        inputs = casting.encode(gradient, memory, m)
        outputs = tf.tanh(tf.reduce_sum(inputs, axis=1)) + tf.constant(0.25, dtype)
        updates = casting.decode(outputs, gradient, memory, m)
        memory = casting.remember(gradient, memory, updates)
        results += [inputs, updates]
    derivatives = tf.gradients(results[-1], [*gradients, *m])
    return [*results, *casting.adapt(gradients[-1], memory, m), *[each for each in derivatives if each is not None]]


@pytest.mark.parametrize("kind", ["widening", "ratio", "log_ratio", "moments_of_three", "secant"])
@both_dtypes
def test_all_is_finite_at_the_ends_of_float32(kind, dtype):
    """Every pair of successive gradients, of both signs, and the second of them once more; float32 with XLA too."""
    casting, signed = BUILDERS[kind](), np.array([sign * size for size in SIZES for sign in [1, -1]])
    flat = np.array(np.meshgrid(signed, signed)).reshape(2, -1).astype(dtype.as_numpy_dtype)[[0, 1, 1]]
    feeds = [tf.placeholder(dtype, [flat.shape[1]]) for _ in flat]
    plain = compiled = steps_of(casting, dtype, feeds)

    def traced(*tensors):
        return steps_of(casting, dtype, tensors)

    if dtype == tf.float32:
        compiled = tf.xla.experimental.compile(lambda *tensors: tf.function(traced, autograph=False)(*tensors), feeds)
    with tf.Session() as session:
        one, other = session.run([plain, compiled], dict(zip(feeds, flat)))
    assert all(np.isfinite(array).all() for array in [*one, *other])
    for a, b in list(zip(one, other))[: 2 * len(flat)]:  # derivatives are differences of large numbers
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["ratio", "log_ratio", "moments", "secant"])
def test_the_inputs_do_not_depend_on_the_scale_of_the_gradients(kind):
    """And the updates have that scale, but for those that are steps of 0.1."""
    casting, gradients = BUILDERS[kind](), np.random.RandomState(0).normal(size=[4, 50])
    place = tf.placeholder(tf.float32, gradients.shape)
    steps = steps_of(casting, tf.float32, tf.unstack(place))[:8]
    with tf.Session() as session:
        results = [session.run(steps, {place: scale * gradients}) for scale in [1.0, 1e-25, 1e25]]
    for scale, result in zip([1.0, 1e-25, 1e25], results):
        for i, (one, other) in enumerate(zip(result, results[0])):
            factor = 1 if i % 2 == 0 or kind == "moments" else scale
            np.testing.assert_allclose(one / factor, other, rtol=2e-3, atol=1e-4)


def test_where_ratios_and_gradients_are_cut(run):
    """The ratio of 1 to 0 is 1e18, and a gradient above 1e36 counts as 1e36."""
    g, memory = tf.constant([1.0, -1.0, 0.5]), tf.constant([0.0, 0.0, 2.0])
    large = tf.constant([3e38, -2e36, 1e35])
    moments = l2l.moments_cast(0.5)
    found = [l2l.ratio_cast().encode(g, memory), moments.remember(large, moments.initial_memory(large), None)[0].mean]
    ratios, means = run(found)
    np.testing.assert_allclose(ratios[:, 0], [1e18, -1e18, 0.25], rtol=1e-5)
    np.testing.assert_allclose(means, [5e35, -5e35, 5e34], rtol=1e-6)


@both_dtypes
def test_secant_steps_find_zero_and_rest_there(dtype):
    """Within 40 steps on `sum_i c_i x_i^2 / 2`."""
    casting, x = l2l.secant_cast(), np.array([0.7, -0.3, 1e-20, 0.0, 1e8, -1.0], dtype.as_numpy_dtype)
    position, *before = places = [tf.placeholder(dtype, x.shape) for _ in range(3)]
    gradient, memory = tf.constant([0.5, 4.5, 2.0, 1.0, 3.0, 1e-3], dtype) * position, Step(*before)
    update = casting.decode(tf.ones_like(gradient), gradient, memory)
    after = [position + update, *casting.remember(gradient, memory, update)]
    with tf.Session() as session:
        values = [x, np.zeros_like(x), np.zeros_like(x)]
        for _ in range(40):
            values = session.run(after, dict(zip(places, values)))
            assert values[0][3] == 0
    assert (np.abs(values[0]) < 1e-36).all()


def test_secant_steps_grow_tenfold_at_most_and_turn_where_the_output_is_negative(run):
    """On a slope that does not bend there is no secant step; of its size no more than 10 times the last is taken."""
    casting, gradient = l2l.secant_cast(), tf.constant([0.5, -0.5])
    memory, updates = casting.initial_memory(gradient), []
    for output in [1.0, 1.0, -0.5]:
        updates.append(casting.decode(tf.fill([2], output), gradient, memory))
        memory = casting.remember(gradient, memory, updates[-1])
    expected = [[-0.5, 0.5], [-5, 5], [25, -25]]
    np.testing.assert_allclose(run(updates), expected, rtol=1e-5)


def test_an_update_of_zero_leaves_a_way_out(run):
    """Where the last update was 0 there is no secant, and the step is that of a first one."""
    casting, gradient = l2l.secant_cast(), tf.constant([0.5])
    memory = casting.remember(gradient, casting.initial_memory(gradient), tf.zeros([1]))
    inputs, update = run([casting.encode(gradient, memory), casting.decode(tf.ones([1]), gradient, memory)])
    np.testing.assert_allclose(inputs, [[0.5, 0]])
    np.testing.assert_allclose(update, [-0.5])


def test_moments_of_an_infinite_gradient_stay_for_all_to_see(run):
    casting, memory, inputs = l2l.moments_cast(0.9), None, []
    for gradient in [1.0, np.inf, 1.0, 0.0]:
        gradient = tf.constant([gradient, 1.0])
        memory = casting.initial_memory(gradient) if memory is None else memory
        inputs.append(casting.encode(gradient, memory))
        memory = casting.remember(gradient, memory, None)
    inputs = np.array(run(inputs))
    assert np.isfinite(inputs[0]).all() and np.isfinite(inputs[:, 1]).all() and np.isnan(inputs[1:, 0, 0]).all()


@pytest.mark.rehearsal
@pytest.mark.parametrize("kind", ["log_ratio", "moments", "secant"])  # which do all that the others do
def test_they_keep_the_contract_of_an_optimizer(kind):
    """Nests, batches, loops, unrolls that are continued, and XLA."""
    activation = "elu" if kind == "moments" else None
    l2l.testing.check_optimizer(
        lambda: l2l.CoordinatewiseLSTM((3,), BUILDERS[kind](), input_activation=activation), steps=3
    )


@pytest.mark.parametrize("kind", ["widening", "log_ratio", "moments"])  # of the others `check_optimizer` sees it all
@pytest.mark.rehearsal
def test_they_are_trained_alike_by_both_engines(kind):
    """In a batch, from segment to segment of each draw; with an activation too."""
    activation = "elu" if kind == "moments" else None
    results = []
    for engine in ["graph", "xla"]:
        with small(
            build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), BUILDERS[kind](), input_activation=activation),
            engine=engine,
            unroll_length=2,
            horizon=6,
            batch=2,
        ) as trainer:
            history = trainer.run(30)
            results.append((history, trainer.snapshot(), trainer.trained()))
    (graph, graph_end, graph_trained), (xla, xla_end, xla_trained) = results
    assert not graph.skipped.any() and not xla.skipped.any()
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        np.testing.assert_allclose(getattr(xla, column), getattr(graph, column), rtol=1e-3)
    for key in graph_end:
        np.testing.assert_allclose(xla_end[key], graph_end[key], rtol=1e-3, atol=1e-5)
    adapts = kind in ["widening", "log_ratio"]
    assert len(graph_trained.adapted) == len(xla_trained.adapted) == adapts
    assert all(value <= -5 for value in graph_trained.adapted)


def test_a_file_of_one_needs_nothing_else(tmp_path):
    with small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((3,), "log_ratio"), unroll_length=2) as trainer:
        trainer.run(2)
        trained = trainer.trained()
    l2l.save(tmp_path / "it.npz", trained)
    loaded = l2l.load(tmp_path / "it.npz")
    assert loaded.adapted == trained.adapted
    losses = l2l.evaluate(l2l.Quadratic(2), {"one": trained, "other": loaded}, draws=3, steps=3, engine="graph")
    np.testing.assert_array_equal(losses["one"], losses["other"])
