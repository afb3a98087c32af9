"""The network per tensor that controls Adam: against the formula in NumPy, in batches, at all scales, as a file."""

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers import adam_controller
from l2l.optimizers.adam_controller import ControllerState, from_description
from l2l.optimizers.controller_facts import TensorState
from l2l.optimizers.first_call import rebuilt
from l2l.optimizers.sheets import sheets_of

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

    def __call__(self, gradients, x, feed=()):
        feed = {**dict(zip([*self.g, *self.x, *self.before], [*gradients, *x, *self.state])), **dict(feed)}
        updates, self.state = self.session.run(self.fetched, feed)
        return updates


def mean(values):
    return np.sum(values) / max(values.size, 1)


def root(square):
    """The root of a mean square and that of its tensor's mean; floors keep what is divided by from zero."""
    whole = np.sqrt(mean(square))
    return np.sqrt(square) + 1e-7 * whole + 1e-30, whole


def noted(g, state, t):
    """What is remembered of a tensor after another gradient, but for the update."""
    last, m, m_long, v, v_long, agreement, climb = state
    adam = np.clip(g / root(v_long / (1 - 0.999 ** max(t - 1, 1)))[0], -1e15, 1e15)
    pairs = [(adam, last), (g, m), (g, m_long), (m, last), (g, last)]
    cosines = [np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-30) for a, b in pairs]
    m, m_long = 0.9 * m + 0.1 * g, 0.99 * m_long + 0.01 * g
    v, v_long = 0.95 * v + 0.05 * g * g, 0.999 * v_long + 0.001 * g * g
    return TensorState(last, m, m_long, v, v_long, 0.9 * agreement + 0.1 * np.array(cosines), climb)


def unbiased(state, t):
    means = [state.short_mean, state.long_mean, state.short_square, state.long_square]
    return [one / (1 - beta**t) for one, beta in zip(means, (0.9, 0.99, 0.95, 0.999))]


def facts(states, x, t, steps):
    """The 19 facts of each tensor."""
    log, n = np.log, len(x)
    agreement = np.array([state.agreement for state in states]) / (1 - 0.9**t)
    climb, found = np.array([state.climb[0] for state in states]), []
    for i, one in enumerate(x):
        short, long, short_square, long_square = unbiased(states[i], t)
        (spread, whole), (long_spread, long_whole) = root(short_square), root(long_square)
        sizes = [max(size, 1) for size in one.shape]
        found.append(
            [
                log(np.prod(sizes[:-1])) / 4 - 0.5,
                log(sizes[-1] if sizes else 1) / 4 - 0.5,
                1.0 if len(sizes) >= 2 else -1.0,
                log(np.sqrt(mean(np.clip(one, -1e15, 1e15) ** 2)) + 1e-4) / 3,
                log(np.sqrt(mean((short / spread) ** 2)) + 1e-3) + 0.7,
                log(np.sqrt(mean((long / long_spread) ** 2)) + 1e-3) + 1.5,
                log(t) / 3 - 1,
                2 * min(t / steps, 1.0) - 1,
                log(steps) / 2 - 3,
                log(whole / (long_whole + 1e-30) + 1e-3),
                *(3 * agreement[i, :4]),
                *(3 * agreement[:, :2].mean(axis=0)),
                climb[i] / 2,
                climb.mean() / 2,
                log(n) - 1,
            ]
        )
    return np.clip(found, -4, 4)


def controls(o, climb, fraction):
    """Climb, rate and shares of all tensors from the outputs `[n, 7]`."""
    climb = np.clip(climb + 0.1 * np.tanh(o[:, 1]), -6, 6)
    decay = (0.5 * (1 + np.cos(np.pi * fraction)) + 1e-3) ** np.exp(np.clip(o[:, 2], -3, 2))
    rate = 3e-3 * np.exp(np.clip(2 * o[:, 0], -8, 8) + climb) * decay
    return [climb, rate, *(1 / (1 + np.exp(np.array([1.5, 2.5, 1.0, 4.0]) - o[:, 3:]))).T]


def update(g, state, t, rate, s, r, q, c):
    short, long, short_square, long_square = unbiased(state, t)
    square = q * short_square + (1 - q) * long_square
    spread = (1 - c) * np.sqrt(square) + (c + 1e-7) * np.sqrt(mean(square)) + 1e-30
    return -rate * np.clip(((1 - s) * ((1 - r) * short + r * g) + s * long) / spread, -10, 10)


def numpy_step(outputs, gradients, states, x, t, horizon):
    """Updates, next states and facts of a step by the docstring, in double precision; `outputs` of facts."""
    steps = 2 * t if horizon is None else horizon
    states = [noted(g, state, t) for g, state in zip(gradients, states)]
    seen, climb = facts(states, x, t, steps), np.array([state.climb[0] for state in states])
    chosen = controls(outputs(seen), climb, min(t / steps, 1.0))
    updates = [update(*each[:2], t, *each[2:]) for each in zip(gradients, states, *chosen[1:])]
    after = [
        state._replace(last=one, climb=climb) for state, one, climb in zip(states, updates, chosen[0][:, np.newaxis])
    ]
    return updates, after, seen


def numpy_steps(arrays, gradients, x, horizon):
    """The updates of each step, one tensor after the other."""
    kernel, bias, out_kernel, out_bias = (array.astype(np.float64) for array in arrays)
    x, found = [one.astype(np.float64) for one in x], []
    states = [TensorState(*[np.zeros_like(one)] * 5, np.zeros(5), np.zeros(1)) for one in x]
    for t, now in enumerate(gradients, start=1):
        updates, states, _ = numpy_step(
            lambda seen: np.tanh(seen @ kernel + bias) @ out_kernel + out_bias,
            [one.astype(np.float64) for one in now],
            states,
            x,
            t,
            horizon,
        )
        found.append(updates)
        x = [one + update for one, update in zip(x, updates)]
    return found


@pytest.mark.parametrize("planned", [None, 4])
def test_its_updates_are_those_of_the_formula(planned):
    """Also after the planned steps; small tensors are computed together, one of 4,097 coordinates alone."""
    shapes = [*SHAPES, (17, 241)] if planned else SHAPES
    horizon = tf.placeholder(tf.int32, []) if planned else None
    steps, feed = Steps(weights(), shapes, horizon), {horizon: planned} if planned else {}
    gradients, x = [tensors(i, shapes) for i in range(6)], tensors(9, shapes)
    for now, expected in zip(gradients, numpy_steps(weights(), gradients, x, planned)):
        updates = steps(now, x, feed)
        for one, other in zip(updates, expected):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-7)
        x = [one + update for one, update in zip(x, updates)]


def far():
    """Gradients, states and positions of tensors as no short run has them: at the floors and ends of all formulas."""

    def state(last, m, m_long, v, v_long, climb):
        agreement = np.linspace(-0.2, 0.25, 5) * (1 if climb > 0 else -1)
        return TensorState(*(np.array(one, np.float32) for one in (last, m, m_long, v, v_long, agreement, [climb])))

    tensors = [
        # Coordinates whose squares are zero, or far below the others.
        (
            [[1, 0], [2, 3]],
            [np.full([2, 2], 1e30)],
            [[[1, 2], [1, 1]], [[1, 1e-7], [1, 2]], [[1, 0], [3, 2]], [[1, 0], [2, 9]], [[4, 0], [0, 9]], 5.95],
        ),
        ([1e-36, 2e-37], [[1e-4, 3e-4]], [[1e-5, -3e-5], [1e-29, -3e-31], [1e-30, 0], [0, 0], [0, 0], -5.95]),
        # Norms whose products are near 1e-30.
        (
            [1e-15, 0, 5e-16],
            [[0, 0, 0]],
            [[2e-15, 0, 1e-16], [0, 2e-15, 1e-15], [1e-15, 0, 0], [1e-4, 1e-4, 1e-6], [1, 1, 1], 1.0],
        ),
        # The largest gradient, and one that Adam's denominator makes larger.
        ([5e14, 1e15, -7e14], [[1, 2, 3]], [[1, 2, 1], [1e15, 0, 0], [0, 0, 0], [1e30, 1, 1], [1, 0, 4], 0.3]),
        (1e-3, [1e-3], [-0.2, 1e-3, 2e-3, 1.0, 1.0, -1.0]),  # a mean that is little signal
        (-3.0, [20.0], [0.7, -5.0, 5.0, 1e-8, 1e-6, 0.0]),  # and more than any
        (np.zeros([0, 3]), [np.zeros([0, 3])], [*[np.zeros([0, 3])] * 5, 0.5]),
        ([[[2.0, 1.0]], [[1.0, -1.0]]], [np.ones([2, 1, 2])], [*[np.ones([2, 1, 2])] * 5, -0.7]),
    ]
    gradients, x = ([np.array(one, np.float32) for one in each] for each in zip(*[(g, x) for g, (x,), _ in tensors]))
    return gradients, [state(*own) for _, _, own in tensors], x


def in_double(nest):
    return tf.nest.map_structure(lambda one: one.astype(np.float64), nest)


def test_a_step_is_that_of_the_formula_wherever_it_is_cut():
    """The facts, what is remembered, and the updates: for outputs within and out of their bounds."""
    seen, place, arrays = [], tf.placeholder(tf.float32, [7]), far()
    gradients, states, x = tf.nest.map_structure(tf.constant, arrays)

    def network(facts):
        seen.append(facts)
        return tf.unstack(tf.ones([len(x), 1]) * place, axis=-1)

    fetched = [seen, *adam_controller._step(gradients, ControllerState(tf.constant(2.0), states), x, network, 7, 0)]
    order = [i for sheet in sheets_of([one.shape.as_list() for one in x], 0) for i in sheet.members]
    cases = [[0.3, -0.4, 0.5, 0.2, 1, -0.7, 3], [10, 10, 10, -1, 2, 0, 4], [-10, -10, -10, 1, 0.5, 2, -200]]
    with tf.Session() as session:
        for outputs in cases:
            (found,), updates, after = session.run(fetched, {place: outputs})
            of_all = np.array([outputs] * len(x))
            expected, states, facts = numpy_step(lambda _, of_all=of_all: of_all, *in_double(arrays), 3, 7)
            for one, other in zip(updates, expected):
                np.testing.assert_allclose(one, other, rtol=5e-4, atol=1e-30)
            assert after.t == 3 and {*np.ravel(facts)} >= {4.0, -4.0}
            np.testing.assert_allclose(found, facts[order], rtol=1e-4, atol=1e-5)
            for one, other in zip(after.tensors, states):
                for name in one._fields[1:]:
                    atol = 1e-6 if name == "agreement" else 1e-37
                    np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=atol)


def test_controls_are_those_of_the_step():
    """Where all gradients of a tensor are equally large, the first update is the rate itself."""
    shapes = [(2,), (), (3, 2)]  # of two sheets
    optimizer = l2l.AdamController()
    x, gradients = tensors(1, shapes), [np.full(shape, -(2.0 ** (3 * i)), np.float32) for i, shape in enumerate(shapes)]
    x, gradients = ([tf.constant(one) for one in many] for many in (x, gradients))
    update, after = optimizer.bind(weights(), 7).plain_step(gradients, None, x)
    with tf.Session() as session:
        chosen = optimizer.controls(gradients, None, x, horizon=7, weights=weights())
        updates, climbs, controls = session.run([update, [one.climb[0] for one in after.tensors], chosen])
    np.testing.assert_allclose(controls.rate, [one.mean() for one in updates], rtol=1e-4)
    np.testing.assert_allclose(controls.climb, climbs, rtol=1e-6)
    assert len(set(controls.rate)) == 3 and all(0 < share < 1 for share in np.ravel(controls[2:]))


def test_a_batch_is_its_draws():
    draws = [tensors(seed) for seed in range(3)]
    batch, x = Steps(weights(), horizon=9, batch=3), [np.stack(many) for many in zip(*draws)]
    alone = Steps(weights(), horizon=9)
    states = [alone.state] * 3
    for t in range(3):
        now = [tensors(10 * t + seed) for seed in range(3)]
        together = batch([np.stack(many) for many in zip(*now)], x)
        for i in range(3):
            alone.state = states[i]
            for one, other in zip(alone(now[i], draws[i]), together):
                np.testing.assert_allclose(other[i], one, rtol=1e-4, atol=1e-8)
            states[i] = alone.state


def test_fresh_weights_are_adam_with_a_cosine_decay(run):
    """With its means mixed as they are at outputs of zero, which is no textbook Adam but close to it."""
    with tf.variable_scope("fresh"):
        optimizer = l2l.AdamController()
    kernel, *zeros = run(optimizer.variables)
    assert kernel.shape == (19, 16) and abs(kernel.std() * np.sqrt(19) - 1) < 0.2
    assert np.abs(kernel).max() > 0.5  # a normal distribution, not a uniform one
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
        for exponent in (-20, 20):
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
    for hidden in (1, 8192):
        from_description({"class": "AdamController", "hidden": hidden})
    for wrong in ({"hidden": 0}, {"hidden": 8193}, {"hidden": True}, {"hidden": 5, "more": 1}, {}):
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
