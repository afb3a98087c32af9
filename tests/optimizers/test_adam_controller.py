"""The network per tensor that controls Adam: against the formula in NumPy, in batches, at all scales, as a file."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.adam_controller import from_description
from l2l.optimizers.first_call import rebuilt

SHAPES = [(3, 2), (2,), (), (2, 1, 2), (4, 2)]


def weights(scale=0.5, hidden=16, seed=0):
    random = np.random.RandomState(seed)
    shapes = [(19, hidden), (hidden,), (hidden, 7), (7,)]
    return [random.normal(0, scale, shape).astype(np.float32) for shape in shapes]


def tensors(seed, shapes=SHAPES):
    random = np.random.RandomState(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


class Steps:
    """Steps of the optimizer in a session, from arrays to arrays."""

    def __init__(self, arrays, shapes=SHAPES, horizon=None, batch=None):
        lead = [] if batch is None else [batch]
        self.x, self.g = ([tf.placeholder(tf.float32, [*lead, *shape]) for shape in shapes] for _ in range(2))
        optimizer = rebuilt(lambda: l2l.AdamController(arrays[1].size), None, arrays, [])
        bound = optimizer.bind(horizon=horizon, batch=batch)
        first = bound.initial_state(self.x)
        self.before = [tf.placeholder(one.dtype, one.shape) for one in tensors_of(first)]
        self.state = [np.zeros(one.shape.as_list(), np.float32) for one in tensors_of(first)]
        updates, after = bound.plain_step(self.g, with_tensors(first, self.before), self.x)
        self.fetched, self.session = [updates, tensors_of(after)], tf.Session()

    def __call__(self, gradients, x, feed=None):
        feed = {**dict(zip([*self.g, *self.x, *self.before], [*gradients, *x, *self.state])), **(feed or {})}
        updates, self.state = self.session.run(self.fetched, feed)
        return updates


def numpy_steps(arrays, gradients, x, horizon):
    """The updates of each step, by the docstring, in double precision, one tensor after the other."""
    kernel, bias, out_kernel, out_bias = (array.astype(np.float64) for array in arrays)
    mean, log = np.mean, np.log

    def cosine(a, b):
        norms = np.sqrt(np.sum(a * a) * np.sum(b * b))
        return np.sum(a * b) / norms if norms else 0.0

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    n, x = len(x), [one.astype(np.float64) for one in x]
    last, m, m_long, v, v_long = ([np.zeros_like(one) for one in x] for _ in range(5))
    agreement, climb, found = np.zeros((n, 5)), np.zeros(n), []
    for t, now in enumerate(gradients, start=1):
        now = [one.astype(np.float64) for one in now]
        steps = 2 * t if horizon is None else horizon
        fraction = min(t / steps, 1.0)
        for i, g in enumerate(now):
            adam = np.sqrt(v_long[i] / (1 - 0.999 ** max(t - 1, 1)))
            adam = g / (adam if t > 1 else 1.0)
            pairs = [(adam, last[i]), (g, m[i]), (g, m_long[i]), (m[i], last[i]), (g, last[i])]
            agreement[i] = 0.9 * agreement[i] + 0.1 * np.array([cosine(*pair) for pair in pairs])
            m[i], m_long[i] = 0.9 * m[i] + 0.1 * g, 0.99 * m_long[i] + 0.01 * g
            v[i], v_long[i] = 0.95 * v[i] + 0.05 * g * g, 0.999 * v_long[i] + 0.001 * g * g
        unbiased = agreement / (1 - 0.9**t)
        facts, parts = [], []
        for i in range(n):
            means = [m[i] / (1 - 0.9**t), m_long[i] / (1 - 0.99**t), v[i] / (1 - 0.95**t), v_long[i] / (1 - 0.999**t)]
            parts.append(means)
            shape = x[i].shape
            facts.append(
                [
                    log(np.prod(shape[:-1])) / 4 - 0.5,
                    log(shape[-1] if shape else 1) / 4 - 0.5,
                    1.0 if len(shape) >= 2 else -1.0,
                    log(np.sqrt(mean(x[i] ** 2)) + 1e-4) / 3,
                    log(np.sqrt(mean(means[0] ** 2 / means[2])) + 1e-3) + 0.7,
                    log(np.sqrt(mean(means[1] ** 2 / means[3])) + 1e-3) + 1.5,
                    log(t) / 3 - 1,
                    2 * fraction - 1,
                    log(steps) / 2 - 3,
                    log(np.sqrt(mean(means[2]) / mean(means[3])) + 1e-3),
                    *(3 * unbiased[i, :4]),
                    *(3 * unbiased[:, :2].mean(axis=0)),
                    climb[i] / 2,
                    climb.mean() / 2,
                    log(n) - 1,
                ]
            )
        o = np.tanh(np.clip(facts, -4, 4) @ kernel + bias) @ out_kernel + out_bias
        climb = np.clip(climb + 0.1 * np.tanh(o[:, 1]), -6, 6)
        decay = (0.5 * (1 + np.cos(np.pi * fraction)) + 1e-3) ** np.exp(np.clip(o[:, 2], -3, 2))
        rate = 3e-3 * np.exp(np.clip(2 * o[:, 0], -8, 8) + climb) * decay
        for i, (g, (short, long, short_square, long_square)) in enumerate(zip(now, parts)):
            s, r, q, c = sigmoid(o[i, 3:] - np.array([1.5, 2.5, 1.0, 4.0]))
            square = q * short_square + (1 - q) * long_square
            spread = (1 - c) * np.sqrt(square) + c * np.sqrt(mean(square))
            direction = (1 - s) * ((1 - r) * short + r * g) + s * long
            last[i] = -rate[i] * np.clip(direction / spread, -10, 10)
        found.append([one.copy() for one in last])
        x = [one + update for one, update in zip(x, last)]
    return found


@pytest.mark.parametrize("horizon", [None, 4, "a tensor"])
def test_its_updates_are_those_of_the_formula(horizon):
    """Also after the planned steps; small tensors are computed together, one of 4,097 coordinates alone."""
    shapes = [*SHAPES, (17, 241)] if horizon == 4 else SHAPES
    place = tf.placeholder(tf.int32, [])
    steps = Steps(weights(), shapes, place if horizon == "a tensor" else horizon)
    planned = 4 if horizon == "a tensor" else horizon
    gradients, x = [tensors(i, shapes) for i in range(6)], tensors(9, shapes)
    for now, expected in zip(gradients, numpy_steps(weights(), gradients, x, planned)):
        updates = steps(now, x, {place: 4} if horizon == "a tensor" else None)
        for one, other in zip(updates, expected):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-7)
        x = [one + update for one, update in zip(x, updates)]


def test_controls_are_those_of_the_step():
    """Where all gradients of a tensor are equally large, the first update is the rate itself."""
    shapes = [(2,), (17, 241), (), (3, 2), (20, 20)]  # of several sheets
    optimizer = l2l.AdamController()
    x, gradients = tensors(1, shapes), [np.full(shape, -(2.0 ** (3 * i)), np.float32) for i, shape in enumerate(shapes)]
    x, gradients = ([tf.constant(one) for one in many] for many in (x, gradients))
    state = optimizer.initial_state(x)
    update, after = optimizer.bind(weights(), 7).plain_step(gradients, state, x)
    with tf.Session() as session:
        chosen = optimizer.controls(gradients, None, x, horizon=7, weights=weights())
        updates, climbs, controls = session.run([update, [one.climb[0] for one in after.tensors], chosen])
    np.testing.assert_allclose(controls.rate, [one.mean() for one in updates], rtol=1e-4)
    np.testing.assert_allclose(controls.climb, climbs, rtol=1e-6)
    assert len(set(controls.rate)) == 5 and all(0 < share < 1 for share in np.ravel(controls[2:]))


def test_a_batch_is_its_draws():
    draws = [tensors(seed) for seed in range(3)]
    batch, x = Steps(weights(), horizon=9, batch=3), [np.stack(many) for many in zip(*draws)]
    alone = [Steps(weights(), horizon=9) for _ in draws]
    for t in range(3):
        now = [tensors(10 * t + seed) for seed in range(3)]
        together = batch([np.stack(many) for many in zip(*now)], x)
        for i in range(3):
            for one, other in zip(alone[i](now[i], draws[i]), together):
                np.testing.assert_allclose(other[i], one, rtol=1e-4, atol=1e-8)


def test_fresh_weights_are_adam_with_a_cosine_decay(run):
    """With its means mixed as they are at outputs of zero, which is no textbook Adam but close to it."""
    with tf.variable_scope("fresh"):
        optimizer = l2l.AdamController()
    kernel, *zeros = run(optimizer.variables)
    assert kernel.shape == (19, 16) and abs(kernel.std() * np.sqrt(19) - 1) < 0.2
    assert not any(array.any() for array in zeros)
    assert sum(array.size for array in (kernel, *zeros)) == 439
    steps, g = Steps([kernel, *zeros], [(2, 2)], horizon=5), [np.float32([[1, -2], [1e-3, 40]])]
    for t in range(1, 7):  # of constant gradients, all means are the gradient
        decay = 0.5 * (1 + np.cos(np.pi * min(t / 5, 1))) + 1e-3
        common = 1 / (1 + np.exp(4.0))
        spread = (1 - common) * np.abs(g[0]) + common * np.sqrt(np.mean(g[0] ** 2))
        np.testing.assert_allclose(steps(g, g)[0], -3e-3 * decay * g[0] / spread, rtol=2e-4)


def test_the_scale_of_the_loss_does_not_matter():
    """The first 100 steps on a small network, to 1e-3."""
    random = np.random.RandomState(0)
    inputs, targets = random.normal(size=(32, 4)).astype(np.float32), random.normal(size=(32, 1)).astype(np.float32)
    start = [0.5 * one for one in tensors(1, [(4, 8), (8,), (8, 1), (1,)])]
    optimizer, factor = rebuilt(l2l.AdamController, None, weights(0.1), []), tf.placeholder(tf.float32, [])

    def loss(x):
        return tf.reduce_mean(tf.square(tf.matmul(tf.tanh(tf.matmul(inputs, x[0]) + x[1]), x[2]) + x[3] - targets))

    bound = optimizer.bind(horizon=100)
    state = bound.initial_state([tf.constant(one) for one in start])

    def body(t, losses, x, flat):
        now = loss(x)
        updates, after = bound.plain_step(tf.gradients(factor * now, x), with_tensors(state, flat), x)
        x = [one + update for one, update in zip(x, updates)]
        return t + 1, losses.write(t, now), x, tensors_of(after)

    losses = tf.TensorArray(tf.float32, 100)
    loop = [0, losses, [tf.constant(one) for one in start], tensors_of(state)]
    losses = tf.while_loop(lambda t, *_: t < 100, body, loop, back_prop=False)[1].stack()
    with tf.Session() as session:
        expected = session.run(losses, {factor: 1.0})
        assert expected[-1] < 0.7 * expected[0]
        for exponent in (-20, -7, 20):
            np.testing.assert_allclose(session.run(losses, {factor: 2.0**exponent}), expected, rtol=1e-3)


def test_finite_gradients_give_finite_updates():
    """Zeros, the largest and the smallest, alone and after each other; empty tensors and scalars too."""
    shapes = [(3, 2), (), (0, 3), (1,), (5000,)]
    steps = Steps(weights(), shapes)
    x = [np.full(shape, 1e30, np.float32) for shape in shapes]
    for size in (0.0, 1e38, 1e-38, 1.0, -3e38, 1e-45, 1e20, 0.0):
        gradients = [np.full(shape, size, np.float32) for shape in shapes]
        gradients[0] = np.float32([[size, 0], [-size, 1e-38], [1, size]])
        updates = steps(gradients, x)
        assert all(np.isfinite(one).all() for one in [*updates, *steps.state])
        assert max(np.abs(one).max() for one in updates if one.size) <= 0.03 * np.exp(14)


def test_it_is_described_saved_and_loaded(tmp_path):
    optimizer = l2l.AdamController(hidden=5)
    description = optimizer.description()
    assert description == {"class": "AdamController", "hidden": 5}
    with tf.Graph().as_default():
        assert from_description(description)().description() == description
    trained = l2l.Trained(lambda: l2l.AdamController(5), weights(hidden=5), record={"optimizer": description})
    l2l.save(tmp_path / "one.npz", trained)
    loaded = l2l.load(tmp_path / "one.npz")
    for one, other in zip(loaded.weights, trained.weights):
        np.testing.assert_array_equal(one, other)
    with tf.Graph().as_default():
        assert loaded.create("loaded")[0].given.description() == description
    for wrong in ({"hidden": 0}, {"hidden": 1 << 20}, {"hidden": True}, {"hidden": 5, "more": 1}, {}):
        with pytest.raises(ValueError, match="hidden must be a number of units"):
            from_description({"class": "AdamController", **wrong})


def test_what_it_cannot_do_is_said():
    with pytest.raises(ValueError, match="hidden must be"):
        l2l.AdamController(0)
    with pytest.raises(TypeError, match="hidden must be"):
        l2l.AdamController("many")
    optimizer, g = l2l.AdamController(), [tf.ones([2])]
    with pytest.raises(ValueError, match="looks at the position"):
        optimizer(g, None)
    with pytest.raises(TypeError, match="gradients must be float32"):
        optimizer([tf.ones([2], tf.float64)], None, g)
    with pytest.raises(ValueError, match="x must have the structure of the gradients"):
        optimizer(g, None, {"x": g[0]})
