import functools
import pickle

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.graphs import session_with_threads
from l2l.optimizers import rules

STEPS = 12


def quadratic_losses(run, optimizer, draw, steps=STEPS):
    return run(l2l.learn(l2l.Quadratic(2), draw, optimizer, steps=steps))


def numpy_losses(rule, steps=STEPS):
    """The same on the fixed draw; `rule(gradient, step)` returns the update and may keep a state."""
    square, x, losses = np.array([0.25, 2.25]), np.array([1.0, -0.5]), []
    for t in range(steps):
        losses.append(np.sum(square * x**2))
        x = x + rule(2 * square * x, t)
    return np.array(losses)


def test_sgd_step_by_step(run, fixed_draw):
    expected = numpy_losses(lambda gradient, _: -0.1 * gradient)
    np.testing.assert_allclose(quadratic_losses(run, l2l.sgd(), fixed_draw()), expected, rtol=1e-5)


def test_rmsprop_step_by_step(run, fixed_draw):
    state = {"s": np.zeros(2)}

    def rule(gradient, _):
        state["s"] = 0.99 * state["s"] + 0.01 * gradient**2
        return -0.1 * gradient / (np.sqrt(state["s"]) + 1e-5)

    np.testing.assert_allclose(quadratic_losses(run, l2l.rmsprop(), fixed_draw()), numpy_losses(rule), rtol=1e-4)


def test_the_documents_own_functions_are_ours(run, fixed_draw):
    """As a user would type them into a cell."""

    def g_sgd(gradients, state, learning_rate=0.1):
        return -learning_rate * gradients, state

    def g_rms(gradients, state, learning_rate=0.1, decay_rate=0.99):
        if state is None:
            state = tf.zeros(2)
        state = decay_rate * state + (1 - decay_rate) * tf.pow(gradients, 2)
        return -learning_rate * gradients / (tf.sqrt(state) + 1e-5), state

    for typed, ours in [(g_sgd, l2l.sgd()), (g_rms, l2l.rmsprop())]:
        for loop in ["python", "while"]:
            losses = [l2l.learn(l2l.Quadratic(2), fixed_draw(), each, steps=8, loop=loop) for each in [typed, ours]]
            typed_losses, our_losses = run(losses)
            np.testing.assert_allclose(typed_losses, our_losses, rtol=1e-6)


def tensorflow_losses(optimizer, prepare=lambda optimizer, variable, session: None):
    """Losses of one of TensorFlow's own optimizers on the fixed draw."""
    x = tf.Variable([1.0, -0.5])
    loss = tf.reduce_sum(tf.square(tf.constant([0.5, 1.5]) * x))
    train = optimizer.minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prepare(optimizer, x, session)
        losses = []
        for _ in range(STEPS):
            losses.append(session.run(loss))
            session.run(train)
    return np.array(losses)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (l2l.sgd(0.2), lambda: tf.train.GradientDescentOptimizer(0.2)),
        (l2l.momentum(0.05, momentum=0.8), lambda: tf.train.MomentumOptimizer(0.05, 0.8)),
        (l2l.nesterov(0.05, momentum=0.8), lambda: tf.train.MomentumOptimizer(0.05, 0.8, use_nesterov=True)),
        (l2l.adam(), lambda: tf.train.AdamOptimizer()),
        (l2l.adam(0.1, beta1=0.5, beta2=0.9, epsilon=1e-3), lambda: tf.train.AdamOptimizer(0.1, 0.5, 0.9, 1e-3)),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adam(0.1)"],
)
def test_equivalence_with_tensorflow(run, fixed_draw, ours, theirs):
    expected = tensorflow_losses(theirs())
    np.testing.assert_allclose(quadratic_losses(run, ours, fixed_draw()), expected, rtol=1e-5)


def test_rmsprop_equals_tensorflows_started_from_zero(run, fixed_draw):
    # Theirs starts from ones, and adds epsilon under the root: without epsilon the two agree.
    def start_from_zero(optimizer, variable, session):
        optimizer.get_slot(variable, "rms").load(np.zeros(2), session)

    expected = tensorflow_losses(tf.train.RMSPropOptimizer(0.1, 0.99, epsilon=1e-20), start_from_zero)
    losses = quadratic_losses(run, l2l.rmsprop(0.1, decay=0.99, epsilon=1e-10), fixed_draw())
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def numpy_vsgd():
    """The rule of arXiv 1206.1106, written for one coordinate at a time and in float64."""
    memory = {}

    def rule(gradient, t):
        update = np.zeros_like(gradient)
        for i, g in enumerate(gradient):
            if t == 0:
                memory[i] = {"g": g, "u": 0.0, "mean": g, "square": g * g, "h": None, "tau": 1.0}
            one = memory[i]
            if one["u"] != 0:
                h = abs((g - one["g"]) / one["u"])
                one["h"] = h if one["h"] is None else (1 - 1 / one["tau"]) * one["h"] + h / one["tau"]
            one["mean"] = (1 - 1 / one["tau"]) * one["mean"] + g / one["tau"]
            one["square"] = (1 - 1 / one["tau"]) * one["square"] + g * g / one["tau"]
            certainty = one["mean"] ** 2 / one["square"]
            rate = 0.01 if one["h"] is None else certainty / one["h"]
            one["tau"] = (1 - certainty) * one["tau"] + 1
            one["g"], one["u"] = g, -rate * g
            update[i] = one["u"]
        return update

    return rule


def test_vsgd_against_numpy_on_noisy_gradients(run):
    noise = np.random.RandomState(0).normal(size=[STEPS, 2])
    square = np.array([0.25, 2.25])
    rule, x, expected = numpy_vsgd(), np.array([1.0, -0.5]), []
    for t in range(STEPS):
        x = x + rule(2 * square * x + noise[t], t)
        expected.append(x)

    optimizer, x, state, positions = l2l.vsgd(), tf.constant([1.0, -0.5], tf.float64), None, []
    for t in range(STEPS):
        update, state = optimizer(2 * square * x + noise[t], state)
        x += update
        positions.append(x)
    np.testing.assert_allclose(run(positions), expected, rtol=1e-9)


def test_vsgd_without_noise_takes_newton_steps(run, fixed_draw):
    losses = quadratic_losses(run, l2l.vsgd(), fixed_draw(), steps=5)
    np.testing.assert_allclose(losses[1], numpy_losses(numpy_vsgd(), 2)[1], rtol=1e-5)  # the probe
    assert losses[2] < 1e-8 and losses[4] < 1e-20


def test_vsgd_survives_a_zero_gradient(run):
    optimizer, state = l2l.vsgd(), None
    updates = []
    for gradient in [[0.0, 1.0], [0.0, 0.5], [0.0, 0.0], [0.0, 0.0]]:
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)
    updates = run(updates)
    assert np.isfinite(updates).all()
    np.testing.assert_array_equal(np.array(updates)[:, 0], 0)


NAMES = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lamb", "vsgd", "secant"]
ALL = [getattr(l2l, name)() for name in NAMES]


@pytest.mark.parametrize("optimizer", ALL, ids=NAMES)
def test_nests_are_updated_tensor_by_tensor(run, optimizer):
    gradients = {"a": tf.constant([1.0, -2.0]), "b": (tf.constant([[3.0]]), tf.constant(0.5))}
    state = state_a = None
    for _ in range(2):
        update, state = optimizer(gradients, state, gradients)
        update_a, state_a = optimizer(gradients["a"], state_a, gradients["a"])
    tf.nest.assert_same_structure(update, gradients)
    assert update["b"][0].shape == [1, 1] and update["b"][1].shape == []
    np.testing.assert_array_equal(*run([update["a"], update_a]))


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), "1"])
@pytest.mark.parametrize(
    "rule, argument",
    [
        *[(rule, "learning_rate") for rule in [l2l.sgd, l2l.momentum, l2l.nesterov, l2l.rmsprop, l2l.adam, l2l.secant]],
        *[(rule, argument) for rule in [l2l.adamw, l2l.lamb] for argument in ["learning_rate", "epsilon"]],
        *[(rule, "epsilon") for rule in [l2l.rmsprop, l2l.adam]],
    ],
)
def test_rates_and_epsilons_are_checked(rule, argument, bad):
    with pytest.raises((TypeError, ValueError), match="^%s must be a positive" % argument):
        rule(**{argument: bad})


@pytest.mark.parametrize("bad", [1, -0.1, float("nan"), None])
@pytest.mark.parametrize(
    "rule, argument",
    [
        *[(rule, "momentum") for rule in [l2l.momentum, l2l.nesterov]],
        (l2l.rmsprop, "decay"),
        *[(rule, argument) for rule in [l2l.adam, l2l.adamw, l2l.lamb] for argument in ["beta1", "beta2"]],
    ],
)
def test_decays_are_checked(rule, argument, bad):
    with pytest.raises((TypeError, ValueError), match=r"^%s must be a number in \[0, 1\)" % argument):
        rule(**{argument: bad})


def test_a_step_of_vsgd_from_a_state_that_remembers(run):
    """Coordinates that remember; that know no curvature yet; that did not move; whose gradients are all zero."""
    g = np.array([0.3, -2.0, 0.5, 0.0])
    previous, moved = np.array([1.0, -1.0, 0.5, 0.0]), np.array([-0.2, 0.4, 0.0, 0.0])
    mean, square = np.array([0.8, -0.5, 0.6, 0.0]), np.array([1.2, 2.0, 0.5, 0.0])
    curvature, tau = np.array([2.0, 0.0, 1.5, 0.0]), np.array([4.0, 2.5, 3.0, 2.0])
    state = [rules.VsgdState(*map(tf.constant, [previous, moved, mean, square, curvature, tau]))]
    update, (after,) = l2l.vsgd()(tf.constant(g), state)
    update, after = run([update, after])

    mean, square = (1 - 1 / tau) * mean + g / tau, (1 - 1 / tau) * square + g**2 / tau
    curvature = np.array([0.75 * 2.0 + 0.25 * 0.7 / 0.2, 1.0 / 0.4, 1.5, 0.0])
    certainty = np.array([*(mean**2)[:3] / square[:3], 0.0])
    expected = np.array([*(-certainty * g)[:3] / curvature[:3], 0.0])
    np.testing.assert_allclose(update, expected, rtol=1e-12)
    expected = [g, expected, mean, square, curvature, (1 - certainty) * tau + 1]
    for ours, theirs in zip(after, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_vsgd_probes_where_it_knows_no_curvature(run):
    """A first step, and later ones of a coordinate whose gradient has never changed."""
    optimizer, state, updates = l2l.vsgd(), None, []
    for gradient in [[2.0], [2.0], [2.0], [1.0]]:
        update, state = optimizer(tf.constant(gradient, tf.float64), state)
        updates.append(update)
    updates = np.ravel(run(updates))
    # At last the gradient fell by 1 over a step of 0.02: a curvature of 50.
    np.testing.assert_allclose(updates, [-0.02, -0.02, -0.02, -1 / 50], rtol=1e-12)


def numpy_secant(rate):
    """One coordinate at a time, in float64."""
    before = {}

    def rule(gradient, t):
        update = -rate * gradient
        for i, g in enumerate(gradient):
            if t > 0 and g != before["g"][i] and before["u"][i] != 0:
                update[i] = -g * before["u"][i] / (g - before["g"][i])
        before.update(g=gradient, u=update)
        return update

    return rule


def test_secant_against_numpy_on_other_gradients_than_linear_ones(run):
    """The roots of x^3 + x - 1 and of sin x, and a coordinate whose gradient never changes."""
    x, rule, expected = np.array([1.0, -0.5, 2.0]), numpy_secant(0.2), []
    ours, optimizer, state, positions = tf.constant(x), l2l.secant(0.2), None, []
    for t in range(7):
        x = x + rule(np.array([x[0] ** 3 + x[0] - 1, np.sin(x[1]), 0.5]), t)
        gradient = tf.stack([ours[0] ** 3 + ours[0] - 1, tf.sin(ours[1]), tf.constant(0.5, tf.float64)])
        update, state = optimizer(gradient, state)
        ours += update
        positions.append(ours)
        expected.append(x)
    np.testing.assert_allclose(run(positions), expected, rtol=1e-7, atol=1e-14)
    np.testing.assert_allclose(expected[-1], [0.6823278, 0, 2 - 0.7], atol=1e-6)


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_secant_is_at_the_minimum_of_a_separable_quadratic_after_two_updates(engine):
    losses = l2l.evaluate(l2l.Quadratic(2), {"secant": l2l.secant()}, draws=100, steps=8, engine=engine)["secant"]
    assert losses[:, 1].mean() > 0.1 and np.all(losses[:, 2] < 1e-9) and np.all(losses[:, 3] < 1e-20)
    assert np.all(losses[:, -1] == 0)  # rounding leaves 1e-7 of a coordinate each time, down to the end of float32


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_of_secant_at_the_ends_of_float32(run, compiled):
    """Gradients and updates whose product is no float32; none that changed; none that moved; zeros; a NaN."""
    tiny = np.finfo(np.float32).tiny  # which does not count as 0
    g = np.float32([1e-20, 3e-38, 1e30, 1e-25, 1e-20, 0.5, 0, 0, 1.18e-38, 1e-30, np.nan, tiny])
    before = np.float32([3e-20, 9e-38, -1e30, 1, 1e-20, 0.7, 0, 1, 1.19e-38, -1e20, 1, 0])
    moved = np.float32([2e-20, 9e-38, -1e-30, 0.4, 1e-20, 0, 0, 1, 1e-38, 1e20, 1, 0.5])
    places = [tf.placeholder(tf.float32, g.shape) for _ in range(3)]

    def step(gradient, *state):
        update, _ = l2l.secant(0.1)(gradient, [rules.SecantState(*state)])
        return update

    update = tf.xla.experimental.compile(step, places)[0] if compiled else step(*places)
    update = run(update, dict(zip(places, [g, before, moved])))
    # The last two zeros: a rate of 0.1 gives 1.18e-39, a quotient is 1e-50.
    expected = [1e-20, 4.5e-38, 5e-31, 4e-26, -1e-21, -0.05, 0, 0, 0, 0, np.nan, -0.5]
    np.testing.assert_allclose(update, np.float32(expected), rtol=1e-6)


def test_secant_goes_to_a_maximum_as_the_method_does(run):
    """The gradient -2x of -x^2: a first step of 0.1 leads from 1 to 1.2, the second to 0."""
    optimizer, state, x = l2l.secant(), None, tf.constant(1.0, tf.float64)
    for _ in range(2):
        update, state = optimizer(-2 * x, state)
        x += update
    np.testing.assert_allclose(run(x), 0, atol=1e-12)


def test_a_rule_is_a_value():
    rule = l2l.adam(0.03)
    assert rule.name == "adam" and rule.coordinatewise is True
    assert rule.hyperparameters == {"learning_rate": 0.03, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    assert repr(rule) == "adam(learning_rate=0.03, beta1=0.9, beta2=0.999, epsilon=1e-08)"
    assert repr(l2l.vsgd()) == "vsgd()"
    assert rule.description() == {"rule": "adam", **rule.hyperparameters}
    assert eval(repr(rule), {"adam": l2l.adam}) == rule
    assert len({*ALL, *[l2l.sgd(), l2l.sgd(0.2), l2l.secant(), l2l.nesterov(momentum=0.8)]}) == len(ALL) + 2
    assert l2l.momentum() != l2l.nesterov() and l2l.sgd() != l2l.secant() and rule != "adam"


@pytest.mark.parametrize("optimizer", ALL, ids=NAMES)
def test_a_rule_is_the_same_in_another_process(run, optimizer):
    again = pickle.loads(pickle.dumps(optimizer))
    assert again == optimizer and hash(again) == hash(optimizer)
    gradients = tf.constant([1.0, -2.0])
    np.testing.assert_array_equal(*run([each(gradients, None, gradients)[0] for each in (again, optimizer)]))


@pytest.mark.parametrize("name", NAMES)
def test_what_makes_a_rule_is_none_itself(name):
    with pytest.raises(TypeError, match="call it first"):
        l2l.evaluate(l2l.Quadratic(2), {"it": getattr(l2l, name)}, draws=1, steps=1, engine="graph")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("sgd", "vsgd", "secant")])
def test_hyperparameters_after_the_rate_are_named(name):
    with pytest.raises(TypeError, match="positional argument"):
        getattr(l2l, name)(0.1, 0.9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_guarded_roots_are_the_same_numbers(run, dtype):
    """Bit for bit those of a root without a guard; NaN stays NaN."""
    values = np.array([0.0, 1e-45, 1e-38, 1.2e-38, 1e-30, 0.3, 4.0, 1e30, np.inf, np.nan], dtype)
    place = tf.constant(values)
    root = rules.root(place)
    ours, plain, slope = run([root, tf.sqrt(place), tf.gradients(root, place)[0]])
    np.testing.assert_array_equal(ours, plain)
    assert slope[0] == 0 and np.isfinite(slope[:-2]).all() and slope[6] == 0.25


def scaled(rule):
    """A factor learned on top of a rule."""
    factor = tf.get_variable("factor", [], initializer=tf.constant_initializer(0.1))

    def optimizer(gradients, state):
        update, state = rule(gradients, state, gradients)
        return tf.nest.map_structure(lambda one: factor * one, update), state

    return optimizer


# All rules and castings but those that are linear in the gradients, and those whose formulas another one has in it.
CURVED = [l2l.rmsprop(), l2l.adam(), l2l.lamb(), l2l.vsgd(), l2l.secant()]
CASTINGS = {name: l2l.CASTINGS[name]() for name in l2l.CASTINGS if name not in ("none", "ratio", "moments")}
CASTINGS["moments, fading"] = l2l.moments_cast([0.5, 0.9], smallest=1e-8)
# What three steps see of six coordinates: one moves always, four now and then, one never.
SEEN = np.array([[1, 1, 1, 0, 0, 0], [0.5, 0, 0, 0.5, 0, 0], [-0.3, 0, 0.2, 0.1, 0.1, 0]], np.float32)


def through(casting):
    """A casting around weights alone, instead of a network."""
    weights = tf.get_variable("weights", [casting.features], initializer=tf.constant_initializer(0.3))
    adapted = tuple(map(tf.constant, casting.adapted))

    def optimizer(gradients, memory):
        memory = casting.initial_memory(gradients) if memory is None else memory
        outputs = tf.reduce_sum(weights * casting.encode(gradients, memory, adapted), axis=1)
        more = {}
        if casting.facts is not None:
            x = gradients[tf.newaxis]
            more["facts"] = casting.facts(x, None, x, [gradients.shape[0].value]) * tf.ones_like(gradients)
        update = casting.decode(outputs, gradients, memory, adapted, **more)
        return update, casting.remember(gradients, memory, update)

    return optimizer


@pytest.mark.rehearsal
@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_derivatives_are_finite_where_gradients_are_exactly_zero(engine):
    """Of what is learned on top of a rule, and around a casting, and of the gradients themselves."""
    builders = {rule.name: functools.partial(scaled, rule) for rule in CURVED}
    builders.update((name, functools.partial(through, casting)) for name, casting in CASTINGS.items())
    with tf.Graph().as_default(), tf.variable_scope("it", use_resource=True):
        seen = [tf.placeholder(tf.float32, [6]) for _ in SEEN]

        def derivatives(*seen):
            found = []
            for i, build in enumerate(builders.values()):
                with tf.variable_scope("optimizer_%d" % i, reuse=True):
                    optimizer = build()
                (weight,), state, total = tf.trainable_variables("it/optimizer_%d/" % i), None, 0.0
                for gradient in seen:
                    update, state = optimizer(gradient, state)
                    total += tf.reduce_sum(update + tf.square(update))
                found += [total, *tf.gradients(total, [weight, *seen])]
            return found

        for i, build in enumerate(builders.values()):
            with tf.variable_scope("optimizer_%d" % i):
                build()  # which creates the variables
        found = derivatives(*seen) if engine == "graph" else tf.xla.experimental.compile(derivatives, seen)
        with session_with_threads(tf.get_default_graph()) as session:
            session.run(tf.global_variables_initializer())
            found = session.run(found, dict(zip(seen, SEEN)))
    for i, name in enumerate(builders):
        total, learned, *of_seen = found[5 * i : 5 * i + 5]
        assert np.isfinite(total) and np.isfinite(learned).all() and np.any(learned), name
        assert np.isfinite(of_seen).all() and np.any(of_seen), name


class Resting(l2l.Quadratic):
    """A coordinate that rests at the minimum, and one that sees nothing at every second base iteration."""

    def initial_position(self, draw):
        return tf.stack([0.0, super().initial_position(draw)[1]])

    def observe(self, draw, t, data):
        return tf.nest.map_structure(lambda one: one * tf.cast(t % 2, tf.float32), draw)


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_a_rate_on_top_of_adam_and_rmsprop_is_trained(engine):
    def build():
        with tf.variable_scope("adam"):
            adam = scaled(l2l.adam(1.0))
        with tf.variable_scope("rmsprop"):
            rmsprop = scaled(l2l.rmsprop(1.0))

        def optimizer(gradients, state):
            first, second = (None, None) if state is None else state
            (one, first), (other, second) = adam(gradients, first), rmsprop(gradients, second)
            return one + other, (first, second)

        return optimizer

    trainer = l2l.Trainer(Resting(2), build, unroll_length=3, horizon=6, engine=engine)
    before = trainer.weights()
    history = trainer.run(10)
    assert not history.skipped.any() and np.isfinite(history.gradient_norm).all()
    assert all(np.isfinite(one) and one != other for one, other in zip(trainer.weights(), before))


# Every rule with hyperparameters, and a value for each of them that is not its default.
HYPERPARAMETERS = {
    "sgd": {"learning_rate": 0.2},
    "momentum": {"learning_rate": 0.2, "momentum": 0.8},
    "nesterov": {"learning_rate": 0.2, "momentum": 0.8},
    "rmsprop": {"learning_rate": 0.2, "decay": 0.9, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.2, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
    "adamw": {"learning_rate": 0.2, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
    "lamb": {"learning_rate": 0.2, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
    "secant": {"learning_rate": 0.2},
}
GRADIENTS = np.random.RandomState(1).normal(size=[4, 3])


def updates_of(optimizer, gradients):
    """Its updates for these gradients, one after the other, at one position, and its last state."""
    state, updates, x = None, [], tf.constant(np.array([0.5, -1.0, 2.0], gradients.dtype))
    for gradient in gradients:
        update, state = optimizer(tf.constant(gradient), state, x)
        updates.append(update)
    return tf.stack(updates), state


def falling(t):
    return 0.2 / (1.0 + tf.cast(t, tf.float32))


@pytest.mark.parametrize("name, dtype", [*((name, np.float32) for name in HYPERPARAMETERS), ("adamw", np.float64)])
def test_hyperparameters_may_be_tensors_and_schedules(run, name, dtype):
    make, values, gradients = getattr(l2l, name), HYPERPARAMETERS[name], GRADIENTS.astype(dtype)
    of_numbers, state = updates_of(make(**values), gradients)
    of_functions, counted = updates_of(make(**{key: lambda t, one=one: one for key, one in values.items()}), gradients)
    assert isinstance(state, list) and isinstance(counted, rules.ScheduledState)
    assert isinstance(counted.states, list) and counted.t.dtype == tf.int32 and counted.t.shape == []
    tensors = {key: tf.constant(one, tf.float64) for key, one in values.items()}
    variables = {key: tf.Variable(one, use_resource=one > 0.5) for key, one in values.items()}
    others = [updates_of(make(**tensors), gradients)[0], updates_of(make(**variables), gradients)[0]]
    expected, same, t, *others = run([of_numbers, of_functions, counted.t, *others])
    np.testing.assert_array_equal(same, expected)  # bit for bit
    assert t == len(gradients)
    for other in others:
        np.testing.assert_allclose(other, expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(HYPERPARAMETERS))
def test_a_schedule_sees_the_number_of_steps_before(run, name):
    """With gradients that stay the same each rule's update is proportional to the rate."""
    gradients = np.repeat(GRADIENTS[:1], 4, axis=0)
    scheduled, _ = updates_of(getattr(l2l, name)(falling), gradients)
    constant, _ = updates_of(getattr(l2l, name)(0.2), gradients)
    scheduled, constant = run([scheduled, constant])
    np.testing.assert_allclose(scheduled, constant / np.arange(1, 5)[:, np.newaxis], rtol=1e-6)


def test_schedules_of_decays_against_numpy(run):
    decays, mean, square, power = 0.9 - 0.1 * np.arange(4), 0.0, 0.0, 1.0
    velocity, expected = 0.0, []
    for decay, gradient in zip(decays, GRADIENTS):
        velocity = decay * velocity + gradient
        mean, square = decay * mean + (1 - decay) * gradient, 0.99 * square + 0.01 * gradient**2
        power *= decay
        expected.append([-0.1 * velocity, mean, square, power])

    def decay(t):
        return 0.9 - 0.1 * tf.cast(t, tf.float64)

    ours, _ = updates_of(l2l.momentum(momentum=decay), GRADIENTS)
    _, adam = updates_of(l2l.adam(beta1=decay, beta2=0.99), GRADIENTS)
    ours, adam = run([ours, adam.states[0]])
    np.testing.assert_allclose(ours, [row[0] for row in expected], rtol=1e-12)
    for one, other in zip(adam, expected[-1][1:]):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_schedule_goes_on_where_an_unroll_is_continued(run, fixed_draw):
    optimizer, problem = l2l.momentum(falling), l2l.Quadratic(2)
    for loop in ["python", "while"]:
        start = l2l.unroll(problem, fixed_draw(), optimizer, steps=3, loop=loop)
        more = l2l.unroll(problem, fixed_draw(), optimizer, x=start.x, state=start.state, steps=3, first=3, loop=loop)
        whole = l2l.learn(problem, fixed_draw(), optimizer, steps=6)
        parts, whole, t = run([tf.concat([start.losses, more.losses], axis=0), whole, more.state.t])
        np.testing.assert_allclose(parts, whole, rtol=1e-6)
        assert t == 6


def learned():
    """A rule with a schedule of a variable, and with a variable."""
    log_rate, decay = tf.get_variable("log_rate", initializer=-2.3), tf.get_variable("decay", initializer=0.5)
    return l2l.momentum(lambda t: tf.exp(log_rate), momentum=decay)


def learned_by_hand():
    log_rate, decay = tf.get_variable("log_rate", initializer=-2.3), tf.get_variable("decay", initializer=0.5)

    def optimizer(gradients, velocity):
        velocity = gradients if velocity is None else decay * velocity + gradients
        return -tf.exp(log_rate) * velocity, velocity

    optimizer.coordinatewise = True
    return optimizer


@pytest.mark.parametrize("batch", [None, 3])
def test_the_meta_gradient_of_hyperparameters_is_that_of_an_optimizer_by_hand(run, batch):
    problem, found = l2l.Quadratic(2), []
    draw = l2l.problems.QuadraticDraw(*tf.unstack(tf.constant(GRADIENTS.astype(np.float32)[:, :2])[:2]))
    if batch:
        draw = problem.sample(batch, seed=0)
    for name, build in [("a", learned), ("b", learned_by_hand)]:
        with tf.variable_scope(name):
            optimizer = build()
        variables = tf.trainable_variables(name + "/")
        meta = l2l.meta_gradient(problem, draw, optimizer, variables, unroll_length=5, batch=batch, carry_on=True)
        found += [meta.gradients, meta.losses, meta.x]
    found = run(found)
    assert np.abs(found[0]).min() > 1e-4
    for ours, theirs in zip(found[:3], found[3:]):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_hyperparameters_are_trained_by_both_engines():
    settings = {"unroll_length": 4, "horizon": 8, "batch": 2, "learning_rate": 0.01}
    weights = []
    for build, engine in [(learned, "graph"), (learned_by_hand, "graph"), (learned, "xla")]:
        with l2l.Trainer(l2l.Quadratic(2), build, engine=engine, **settings) as trainer:
            before = trainer.weights()
            trainer.run(6)
            weights.append(trainer.weights())
            trained = trainer.trained()
    assert np.abs(np.subtract(weights[0], before)).min() > 0.01
    assert weights[0] == weights[1]
    np.testing.assert_allclose(weights[2], weights[0], rtol=1e-5)
    losses = l2l.evaluate(l2l.Quadratic(2), {"it": trained}, draws=3, steps=4, engine="graph")["it"]
    assert np.all(np.isfinite(losses))


def test_a_rule_with_tensors_and_schedules_is_a_value():
    rate, other = tf.constant(0.1), tf.constant(0.1)
    variable = tf.get_variable("rate", initializer=0.1)
    assert l2l.sgd(rate) == l2l.sgd(rate) != l2l.sgd(other) and l2l.sgd(falling) == l2l.sgd(falling) != l2l.sgd(0.2)
    assert len({l2l.sgd(rate), l2l.sgd(rate), l2l.sgd(falling), l2l.sgd(falling), l2l.sgd(variable)}) == 3
    assert repr(l2l.sgd(falling)) == "sgd(learning_rate=%r)" % falling
    described = {"rule": "sgd", "learning_rate": {"tensor": "float32", "shape": []}}
    assert l2l.sgd(rate).description() == l2l.sgd(variable).description() == described


def test_the_description_of_a_rule_tells_schedules_apart():
    def schedule(factor, rate=None):
        def of_rate(t):
            return factor * (0.1 if rate is None else rate)

        return l2l.sgd(of_rate).description()

    assert schedule(0.5) == schedule(0.5) != schedule(0.6)
    assert set(schedule(0.5)["learning_rate"]) == {"function", "code", "closure"}
    assert set(schedule(0.5, tf.constant(0.1))["learning_rate"]) == {"function", "code"}
    assert schedule(0.5, tf.constant(0.1)) != schedule(0.6, tf.constant(0.1))


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (lambda: tf.constant([0.1, 0.2]), ValueError, r"learning_rate must be a scalar tensor, got shape \(2,\)"),
        (lambda: tf.constant(True), TypeError, "learning_rate must be a scalar tensor of numbers, got dtype bool"),
        (lambda: tf.Variable([0.1]), ValueError, r"learning_rate must be a scalar tensor, got shape \(1,\)"),
        (lambda: lambda: 0.1, TypeError, "learning_rate must be a function of one argument, t, got <function"),
        (lambda: lambda t: None, TypeError, "the result of the schedule learning_rate must be a tensor, got None"),
        (lambda: lambda t: "0.1", TypeError, "the result of the schedule learning_rate must be .* got dtype string"),
        (lambda: lambda t: True, TypeError, "the result of the schedule learning_rate must be .* got dtype bool"),
        (lambda: lambda t: [0.1, 0.2], ValueError, r"the result of the schedule learning_rate .* got shape \(2,\)"),
        (lambda: lambda t: 0.1 / (1 + t), TypeError, r"the schedule learning_rate failed for t, a scalar int32 tensor"),
    ],
)
def test_bad_tensors_and_schedules_are_refused(bad, error, message):
    with pytest.raises(error, match="^" + message):
        l2l.sgd(bad())(tf.constant([1.0]), None)


def trajectory(run, optimizer, gradient_of, x, steps=STEPS):
    """Positions of a rule that looks at where it is, in float64."""
    x, state, positions = tf.nest.map_structure(lambda one: tf.constant(one, tf.float64), x), None, []
    for _ in range(steps):
        update, state = optimizer(gradient_of(x), state, x)
        x = tf.nest.map_structure(tf.add, x, update)
        positions.append(x)
    return run(positions)


def numpy_lamb(x, gradient_of, rate, beta1, beta2, epsilon, weight_decay, trust):
    """Adam's direction with the uncorrected root, plus decay; with `trust` as long as the tensor. One tensor."""
    mean, square, positions = 0.0, 0.0, []
    for t in range(1, STEPS + 1):
        gradient = gradient_of(x)
        mean, square = beta1 * mean + (1 - beta1) * gradient, beta2 * square + (1 - beta2) * gradient**2
        direction = mean / (1 - beta1**t) / ((np.sqrt(square) + epsilon) / np.sqrt(1 - beta2**t)) + weight_decay * x
        ratio = np.linalg.norm(x) / np.linalg.norm(direction) if trust else 1.0
        x = x - rate * ratio * direction
        positions.append(x)
    return positions


@pytest.mark.parametrize("trust", [False, True], ids=["adamw", "lamb"])
def test_rules_with_weight_decay_against_numpy_tensor_by_tensor(run, trust):
    values = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4, "weight_decay": 0.3}
    rule = (l2l.lamb if trust else l2l.adamw)(0.05, **values)
    start = {"a": np.array([1.0, -0.5]), "b": np.array([[3.0, 0.1], [0.2, -7.0]])}

    def gradient_of(x):
        return 2 * x + 0.5

    ours = trajectory(run, rule, lambda x: tf.nest.map_structure(gradient_of, x), start)
    for name in start:
        expected = numpy_lamb(start[name], gradient_of, 0.05, *values.values(), trust)
        np.testing.assert_allclose([one[name] for one in ours], expected, rtol=1e-9)
    assert rule.coordinatewise is not trust
    assert pickle.loads(pickle.dumps(rule)).coordinatewise is not trust


def test_adamw_equals_tensorflows_whose_decay_is_not_scaled_by_the_rate():
    betas = {"beta1": 0.5, "beta2": 0.75}  # of which 1 minus it is exact too
    x, place = tf.Variable([1.0, -0.5, 2.0]), tf.placeholder(tf.float32, [3])
    train = tf.contrib.opt.AdamWOptimizer(0.1 * 0.3, learning_rate=0.1, **betas).apply_gradients([(place, x)])
    ours, state, rule, positions = tf.constant([1.0, -0.5, 2.0]), None, l2l.adamw(0.1, weight_decay=0.3, **betas), []
    gradients = GRADIENTS.astype(np.float32)
    for gradient in gradients:
        update, state = rule(tf.constant(gradient), state, ours)
        ours += update
        positions.append(ours)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for gradient, expected in zip(gradients, session.run(positions)):
            session.run(train, {place: gradient})
            np.testing.assert_allclose(session.run(x), expected, rtol=1e-5)


def test_without_decay_adamw_is_adam(run):
    one, _ = updates_of(l2l.adamw(0.1, weight_decay=0), GRADIENTS)
    other, _ = updates_of(l2l.adam(0.1), GRADIENTS)
    np.testing.assert_allclose(*run([one, other]), rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_of_lamb_where_norms_are_zero(run, compiled):
    """A ratio of 1, and derivatives that are finite, at a position of zeros, without a gradient, and at both.

    A norm far below 1 is none of these.
    """
    x = np.float32([[0, 0], [1, 2], [0, 0], [1, 2], [1e-30, 0], [1e-3, 2e-3]])
    g = np.float32([[1, -2], [0, 0], [0, 0], [3, 1], [1, 1], [1e-6, 0]])
    places = [tf.placeholder(tf.float32, x.shape) for _ in range(2)]

    def step(x, g):
        update = tf.stack(l2l.lamb(0.1, weight_decay=0)(tf.unstack(g), None, tf.unstack(x))[0])
        return [update, *tf.gradients(tf.square(update) + update, [x, g])]

    results = tf.xla.experimental.compile(step, places) if compiled else step(*places)
    update, *derivatives = run(results, dict(zip(places, [x, g])))
    length = 0.1 * np.sqrt(5 / 2)
    expected = [[-0.1, 0.1], [0, 0], [0, 0], [-length, -length], [-0.1, -0.1], [-1e-4 * np.sqrt(5), 0]]
    np.testing.assert_allclose(update, expected, rtol=1e-4)
    assert np.isfinite(derivatives).all() and np.any(derivatives[0][3])


@pytest.mark.parametrize("make", [l2l.adamw, l2l.lamb])
def test_rules_that_look_at_the_position_need_one(make):
    with pytest.raises(ValueError, match=r"^\w+ looks at the position: call it with \(gradients, state, x\), got no x"):
        make()(tf.constant([1.0]), None)
    with pytest.raises(ValueError, match=r"^x must have the structure of the gradients, .* got"):
        make()(tf.constant([1.0]), None, [tf.constant([1.0])])
    with pytest.raises(ValueError, match=r"^weight_decay must be a finite number, 0 or above, got -1"):
        make(weight_decay=-1)
