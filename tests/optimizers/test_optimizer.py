"""The door: what the library makes of an optimizer, for a batch of draws, and with a first state."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import random_weights
from other_problems import Nested

import l2l
from l2l.graphs import load_variables
from l2l.nests import tensors_of
from l2l.optimizers.first_call import create
from l2l.optimizers.first_state import check_same_state, with_initial_state
from l2l.optimizers.optimizer import check_optimizer, check_pair, opened
from l2l.optimizers.over_draws import for_batch, is_vectorized


def normalized(gradients, state):
    """Momentum of gradients divided by their global norm: each coordinate depends on all of a draw."""
    flat = [gradient / (tf.global_norm(tf.nest.flatten(gradients)) + 1e-6) for gradient in tf.nest.flatten(gradients)]
    state = flat if state is None else [0.5 * old + new for old, new in zip(state, flat)]
    return tf.nest.pack_sequence_as(gradients, [-0.1 * tensor for tensor in state]), state


class Saying:
    """The same with an initial state of its own, and a count of the steps that is an integer."""

    def __call__(self, gradients, state):
        count, own, hole = self.initial_state(gradients) if state is None else state
        update, own = normalized(gradients, own)
        factor = 1 / tf.cast(count + 1, tf.float32)
        return tf.nest.map_structure(lambda tensor: factor * tensor, update), (count + 1, own, hole)

    def initial_state(self, x):
        return tf.constant(0), [0.3 * tensor for tensor in tf.nest.flatten(x)], None


def came_in(value, batch=None):
    return for_batch(opened("it", value), batch)


def one_step(optimizer, gradients, state, x=None):
    return optimizer.bind().plain_step(gradients, state, gradients if x is None else x)


def one_of(draws, i):
    return tf.nest.map_structure(lambda many: many[i], draws)


@pytest.mark.parametrize("loop, problem", [("python", Nested()), ("while", l2l.Quadratic(3))], ids=["nested", "loop"])
@pytest.mark.parametrize("optimizer", [normalized, Saying()], ids=["normalized", "saying"])
def test_one_that_mixes_coordinates_is_mapped_over_the_draws(run, problem, optimizer, loop):
    draws = problem.sample(3, 1)
    together = l2l.unroll(problem, draws, optimizer, steps=4, loop=loop, batch=3)
    alone = [l2l.unroll(problem, one_of(draws, i), optimizer, steps=4) for i in range(3)]
    expected, positions = [one.losses for one in alone], [one.x for one in alone]
    losses, x, expected, positions = run([together.losses, together.x, expected, positions])
    np.testing.assert_allclose(losses, np.transpose(expected), rtol=1e-5)
    for i, position in enumerate(positions):
        for ours, theirs in zip(tf.nest.flatten(x), tf.nest.flatten(position)):
            np.testing.assert_allclose(ours[i], theirs, rtol=1e-5)


def test_unmapped_its_draws_would_see_each_other(run):
    """So that the test above could fail."""
    gradients = tf.constant([[1.0, 2.0], [30.0, 40.0]])
    mapped, unmapped = run([one_step(came_in(normalized, 2), gradients, None)[0], normalized(gradients, None)[0]])
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), [0.1, 0.1], rtol=1e-5)
    assert np.linalg.norm(unmapped[0]) < 0.01


class Asks:
    """One that notes what it is told."""

    def __init__(self):
        self.told = []

    def __call__(self, gradients, state):
        raise AssertionError("an optimizer that binds is not called")

    def bind(self, horizon, batch):
        self.told.append((horizon, batch))
        return l2l.Bound(lambda gradients, state, x, product: (-0.1 * gradients, state))


def test_one_that_sees_batches_is_told_of_them_and_not_mapped():
    asks = Asks()
    assert came_in(asks, 3).sees_batches and came_in(l2l.rmsprop(), 3).sees_batches
    assert not came_in(normalized).sees_batches
    problem = l2l.Quadratic(2)
    l2l.learn(problem, problem.sample(3, 1), asks, steps=4, batch=3)
    l2l.unroll(problem, problem.draw(1), asks, steps=4, horizon=20)
    l2l.unroll(problem, problem.draw(1), asks, steps=4)
    came_in(asks).bind()
    with_initial_state(came_in(asks)).bind(horizon=7, batch=5)
    with_initial_state(came_in(asks)).bind()
    l2l.Grouped({"a": lambda: asks}).bind(8, 6)
    l2l.Grouped({"a": lambda: asks}).bind()
    opened("it", asks, rebuilt=lambda weights: came_in(asks)).bind(["a weight"], 9, 4)
    expected = [(4, 3), (20, None), (None, None), (None, None), (7, 5), (None, None), (8, 6), (None, None), (9, 4)]
    assert asks.told == expected


def test_one_that_binds_weights_gets_them_and_is_not_built_again():
    told = []

    def optimizer(gradients, state):
        raise AssertionError("an optimizer that binds is not called")

    optimizer.bind = lambda weights: told.append(weights) or l2l.Bound(l2l.sgd())
    for weights in [None, ["a weight"]]:
        opened("it", optimizer).bind(weights)
    assert told == [None, ["a weight"]]


@pytest.mark.parametrize("says_state", [False, True])
@pytest.mark.parametrize("settings", [{}, {"horizon": 6}, {"horizon": 6, "batch": 2}], ids=str)
def test_a_training_tells_the_length_of_a_whole_life_not_that_of_a_segment(settings, says_state):
    told = []

    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1))

        def rule(gradients, state):
            raise AssertionError("an optimizer that binds is not called")

        def bind(horizon):
            told.append(horizon)
            initial_state = tf.zeros_like if says_state else None
            step = lambda gradients, state, x, product: (-rate * gradients, gradients)  # noqa: E731
            return l2l.Bound(step, initial_state=initial_state)

        rule.bind = bind
        if says_state:
            rule.initial_state = tf.zeros_like
        return rule

    l2l.Trainer(l2l.Quadratic(2), build, unroll_length=3, engine="graph", **settings).close()
    assert set(told) - {None} == {settings.get("horizon", 3)}


def test_the_initial_states_of_a_batch_are_those_of_its_draws(run):
    mapped, x = came_in(Saying(), 3), tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    count, (own,), hole = mapped.initial_state(x)
    assert hole is None and count.shape == [3] and own.shape == [3, 2]
    _, (again,), _ = mapped.bind().initial_state(x)
    for each in run([own, again]):
        np.testing.assert_allclose(each, 0.3 * np.array([[1, 2], [3, 4], [5, 6]]), rtol=1e-6)
    assert came_in(normalized, 3).initial_state is None


def test_an_optimizer_may_say_nothing_of_its_initial_state():
    assert came_in(l2l.sgd()).initial_state is None
    assert came_in(Saying()).initial_state(tf.zeros([2]))[2] is None


def holes(gradients, state):
    """A state that mixes integers, None and tensors."""
    count, mean = (tf.constant(1), gradients) if state is None else (state[0] + 1, 0.9 * state[2] + gradients)
    return -0.1 * mean / tf.cast(count, gradients.dtype), [count, None, mean]


def no_state(gradients, state):
    return -0.1 * gradients, None


RULES = [l2l.sgd(), l2l.rmsprop(), l2l.adam(0.1), l2l.vsgd(), normalized, holes, no_state]
NAMES = ["sgd", "rmsprop", "adam", "vsgd", "normalized", "holes", "no state"]


@pytest.mark.parametrize("optimizer", RULES, ids=NAMES)
def test_with_an_initial_state_each_step_is_what_it_was(run, optimizer):
    able = with_initial_state(came_in(optimizer))
    x = tf.constant([0.5, -2.0, 1.0])
    state, able_state = None, able.initial_state(x)
    for gradients in [[1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.3, -1e-3, 5.0], [0.1, 2.0, 5.0]]:
        update, state = optimizer(tf.constant(gradients), state)
        able_update, next_state = one_step(able, tf.constant(gradients), able_state)
        tf.nest.assert_same_structure(able_state, next_state)
        able_state = next_state
        np.testing.assert_array_equal(*run([update, able_update]))
        for ours, theirs in zip(*run([tensors_of(state), tensors_of(able_state[1])])):
            np.testing.assert_array_equal(ours, theirs)


def test_each_coordinate_has_a_first_step_of_its_own(run):
    """Of an embedding's rows some are met later than others."""

    def counting(gradients, state):
        number = tf.ones_like(gradients) if state is None else state + 1
        return gradients / number, number

    able = with_initial_state(came_in(counting), rows=True)
    flags, counts = able.initial_state(tf.zeros([3]))
    assert able.initial_state(tf.zeros([1]))[0].shape == [1]
    update, (flags, _) = one_step(able, tf.ones([3]), (flags * [1, 0, 0], counts * [7, 1, 4]))
    np.testing.assert_allclose(run(update), [1, 1 / 2, 1 / 5])
    np.testing.assert_array_equal(run(flags), np.zeros(3))


def test_its_state_keeps_shapes_and_dtypes_and_goes_round_a_loop(run, fixed_draw):
    for optimizer in [l2l.adam(0.1), normalized, holes, no_state]:
        able = with_initial_state(came_in(optimizer))
        losses = [
            l2l.learn(l2l.Quadratic(2), fixed_draw(), each, steps=5, loop=loop)
            for each, loop in [(optimizer, "python"), (able, "python"), (able, "while")]
        ]
        plain, *others = run(losses)
        for other in others:
            np.testing.assert_allclose(other, plain, rtol=1e-6)


class _StateOfBound:
    """Sums gradients from 1 on, which its `Bound` alone says."""

    def bind(self, horizon):
        def step(gradients, state, x, product):
            return -0.01 * (state + gradients), state + gradients

        return l2l.Bound(step, initial_state=tf.ones_like)

    def __call__(self, gradients, state):
        raise AssertionError("it is bound")


@pytest.mark.parametrize("rows", [False, True])
def test_a_state_that_the_bound_alone_knows_is_begun_with(run, rows, fixed_draw):
    able = with_initial_state(came_in(_StateOfBound()), rows)
    settings = [(_StateOfBound(), "python"), (_StateOfBound(), "while"), (able, "python"), (able, "while")]
    losses = run([l2l.learn(l2l.Quadratic(2), fixed_draw(), one, steps=4, loop=loop) for one, loop in settings])
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-6)
    begun = able.bind(horizon=4).initial_state(tf.zeros([2]))
    first, second = run([begun[0], able.bind(horizon=4).plain_step(tf.zeros([2]), begun, None)[1][0]])
    assert np.all(first) and not np.any(second)


def test_derivatives_of_the_first_step_are_finite_and_the_same(run, fixed_draw):
    """Both branches are computed and one is picked; the other must not send a NaN backwards."""
    draw, gradients = fixed_draw(), []
    for optimizer in [l2l.rmsprop(), l2l.vsgd(), normalized, holes]:
        for each in [optimizer, with_initial_state(came_in(optimizer))]:
            losses = l2l.learn(l2l.Quadratic(2), draw, each, steps=3)
            gradients.append(tf.gradients(losses, draw.start)[0])
    gradients = run(gradients)
    assert np.isfinite(gradients).all()
    np.testing.assert_allclose(gradients[1::2], gradients[::2], rtol=1e-5)


def test_whether_it_can_be_vectorized():
    """That is found out without a word, for as many steps as are planned."""

    def in_a_loop(gradients, state):
        return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, 0.5 * y), (0, gradients))[1], None

    horizons, x = [], tf.zeros([2])
    bound = lambda gradients, state: None  # noqa: E731
    bound.bind = lambda horizon: horizons.append(horizon) or l2l.Bound(lambda g, s, x, product: (g, g))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_vectorized(came_in(normalized), x, 5) is True
        assert is_vectorized(came_in(bound), x, 5) is True and set(horizons) == {5}
        assert is_vectorized(came_in(Asks()), x, 5) is True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        assert is_vectorized(came_in(in_a_loop), x, 5) is False
    assert not [one for one in caught if one.category is RuntimeWarning]


@pytest.mark.parametrize("rows", [False, True])
def test_with_an_initial_state_what_it_returns_is_checked_and_it_adapts_from_its_own_state(rows):
    x, flag = tf.zeros([2]), tf.ones([2]) if rows else tf.constant(True)
    no_pair = with_initial_state(came_in(lambda gradients, state: gradients), rows)
    with pytest.raises(TypeError, match="optimizer must return a pair"):
        no_pair.initial_state(x)
    with pytest.raises(TypeError, match="optimizer must return a pair"):
        one_step(no_pair, x, (flag, x))
    growing = with_initial_state(came_in(lambda g, state: (g, g if state is None else tf.concat([state, g], 0))), rows)
    with pytest.raises(ValueError, match="optimizer's state must keep its structure, shapes and dtypes"):
        one_step(growing, x, growing.initial_state(x))
    adapting, seen = lambda gradients, state: None, []
    adapting.adapt = lambda gradients, state, active: seen.append((gradients, state, active))
    with_initial_state(came_in(adapting), rows).adapt("gradients", ("flag", "own"), "active")
    with_initial_state(came_in(adapting), rows).adapt("gradients", ("flag", "own"))
    came_in(adapting).adapt("gradients", "own")
    assert seen == [("gradients", "own", "active"), ("gradients", "own", None), ("gradients", "own", None)]


def test_which_states_are_alike():
    a, b, unknown = tf.zeros([2]), tf.zeros([3]), tf.placeholder(tf.float32)
    for one, other in [(None, None), (a, a), (unknown, unknown), ([a, None, (b,)],) * 2, ([a], [np.float32([1, 2])])]:
        check_same_state(one, other)
    unlike = [(a, b), (a, None), (a, unknown), ([a], (a,)), ([a, b], [b, a]), (a, tf.zeros([2], tf.float64)), (a, "x")]
    for one, other in unlike:
        with pytest.raises(ValueError, match="optimizer's state must keep its structure, shapes and dtypes"):
            check_same_state(one, other)


def test_one_that_says_so_itself_is_left_as_it_is():
    for one in [came_in(l2l.CoordinatewiseLSTM((3,))), came_in(Saying())]:
        assert with_initial_state(one) is one


def test_whether_it_is_coordinatewise_is_kept():
    assert with_initial_state(came_in(l2l.sgd())).coordinatewise is True
    assert with_initial_state(came_in(normalized)).coordinatewise is False
    assert with_initial_state(came_in(normalized, 3)).sees_batches is True


def test_with_an_initial_state_a_batch_is_still_mapped(run):
    problem = l2l.Quadratic(2)
    draws = problem.sample(3, 1)
    orders = [with_initial_state(came_in(normalized)), normalized]
    *losses, expected = run([l2l.learn(problem, draws, each, steps=4, batch=3) for each in orders])
    for each in losses:
        np.testing.assert_allclose(each, expected, rtol=1e-6)


@pytest.mark.parametrize("maker", [l2l.sgd, l2l.adam, l2l.vsgd, l2l.CoordinatewiseLSTM])
def test_what_makes_an_optimizer_is_not_taken_for_one(maker):
    with pytest.raises(TypeError, match=r"^it must be an optimizer, not what makes one: call it first"):
        check_optimizer("it", maker)


def test_what_can_be_called_with_gradients_and_a_state_is_an_optimizer():
    def typed(gradients, state=None, rate=0.1):
        return -rate * gradients, state

    for optimizer in [
        l2l.sgd(),
        typed,
        max,
        lambda gradients, state, x: gradients,
        lambda gradients, state, *, x: gradients,
    ]:
        assert check_optimizer("it", optimizer) is optimizer
    for wrong in [lambda gradients: gradients, lambda gradients, state, more: gradients]:
        with pytest.raises(TypeError, match=r"^it must take two arguments, gradients and state"):
            check_optimizer("it", wrong)
    with pytest.raises(TypeError, match=r"^it must be an optimizer, a function"):
        check_optimizer("it", 3)


class OwnError(TypeError):
    """An error that its author has worded."""


def raises(error):
    raise error


@pytest.mark.parametrize(
    "step, error, words, is_of_none",
    [
        (lambda g, s: 0.9 * s + g, TypeError, "'float' and 'NoneType'", True),
        (lambda g, s, x: x * s, ValueError, "None values not supported.", True),
        (lambda g, s: s.mean, AttributeError, "'NoneType' object has no attribute 'mean'", True),
        (lambda g, s: raises(TypeError("in converted code:\n a NoneType\n")), TypeError, " a NoneType", True),
        (lambda g, s: raises(ValueError("no rate")), ValueError, "no rate", False),
        (lambda g, s: raises(OwnError("NoneType")), OwnError, "NoneType", False),
        (lambda g, s: raises(TypeError("NoneType", 1)), TypeError, "('NoneType', 1)", False),
    ],
)
def test_an_error_about_none_says_that_the_state_is_none_at_the_first_step(step, error, words, is_of_none):
    with pytest.raises(error) as info:
        one_step(opened("it", step), tf.ones([2]), None)
    assert str(info.value).endswith(words + is_of_none * "; the state is None at the first step")


def test_an_error_about_none_at_a_later_step_says_nothing_of_the_first():
    with pytest.raises(TypeError, match=r"'NoneType' and 'int'$"):
        one_step(opened("it", lambda gradients, state: (None * 2, state)), tf.ones([2]), tf.ones([2]))


def test_what_is_no_pair():
    for pair in [(1, 2), [1, 2]]:
        check_pair(pair)
    for other in [(1,), (1, 2, 3), "ab", {1: 2, 3: 4}, None]:
        with pytest.raises(TypeError, match=r"^optimizer must return a pair \(update, state\), got "):
            check_pair(other)


@pytest.mark.parametrize("changed", [lambda a, b: [a, b], lambda a, b: ((a,), b), lambda a, b: (a, b, None)])
def test_a_state_of_another_structure_is_refused_in_a_loop(changed):
    """The same tensors in other places, so that each would be taken for another."""

    def optimizer(gradients, state):
        parts = (gradients, gradients) if state is None else tf.nest.flatten(state)[:2]
        return -0.1 * gradients, tuple(parts) if state is None else changed(*parts)

    problem = l2l.Quadratic(2)
    with pytest.raises(ValueError, match="optimizer's state must keep its structure, shapes and dtypes"):
        l2l.unroll(problem, problem.draw(1), optimizer, steps=4, loop="while")


def test_what_an_optimizer_adapts_is_the_mean_over_draws_number_by_number():
    def optimizer(gradients, state):
        return -0.1 * gradients / tf.norm(gradients), state

    optimizer.adapted = [tf.get_variable("sizes", [2], initializer=tf.zeros_initializer(), trainable=False)]
    optimizer.adapt = lambda gradients, state: [tf.abs(gradients)]
    gradients = tf.constant([[1.0, -2.0], [3.0, 6.0]])
    (adapted,) = came_in(optimizer, 2).adapt(gradients, None)
    with tf.Session() as session:
        np.testing.assert_allclose(session.run(adapted), [2, 4])


# --- looking at the position


def decayed(gradients, state, x):
    """Gradient descent with weight decay, of nests."""
    return tf.nest.map_structure(lambda g, p: -0.1 * g - 0.02 * p, gradients, x), ()


def drawn_together(gradients, state, x):
    """Not coordinate-wise: the decay is relative to the size of a draw's position."""
    size = tf.sqrt(sum(tf.reduce_sum(tf.square(one)) for one in tf.nest.flatten(x)) + 1e-6)
    return tf.nest.map_structure(lambda g, p: -0.1 * g - 0.02 * p / size, gradients, x), ()


def in_numpy(optimizer, scale, start, steps):
    """The losses of the two on `sum((scale x)^2)`."""
    x, losses = start.copy(), []
    for _ in range(steps):
        losses.append(np.sum(np.square(scale * x)))
        size = np.sqrt(np.sum(np.square(x)) + 1e-6) if optimizer is drawn_together else 1.0
        x = x - 0.1 * 2 * scale**2 * x - 0.02 * x / size
    return losses


@pytest.mark.parametrize("loop", ["python", "while"])
@pytest.mark.parametrize("optimizer", [decayed, drawn_together])
def test_a_parameter_named_x_gets_the_position(run, optimizer, loop):
    problem = l2l.Quadratic(3)
    draws = problem.sample(4, 1)
    losses = [l2l.learn(problem, draws, optimizer, steps=6, loop=loop, batch=4)]
    losses += [l2l.learn(problem, one_of(draws, i), optimizer, steps=6, loop=loop) for i in range(4)]
    (together, *alone), draws = run([losses, draws])
    expected = [in_numpy(optimizer, scale, start, 6) for scale, start in zip(draws.scale, draws.start)]
    np.testing.assert_allclose(together.T, expected, rtol=1e-5)
    np.testing.assert_allclose(alone, expected, rtol=1e-5)


def test_only_a_parameter_of_that_name_gets_it():
    def with_defaults(gradients, state, learning_rate=0.1, decay=0.99):
        return -learning_rate * gradients, state

    assert came_in(decayed).takes_x and came_in(l2l.adam()).takes_x
    for other in [with_defaults, lambda *arguments: (arguments[0], arguments[1]), max, normalized]:
        assert not came_in(other).takes_x


@pytest.mark.parametrize("engine", ["graph", pytest.param("xla", marks=pytest.mark.rehearsal)])
def test_it_is_evaluated_and_traced_at_positions(engine):
    problem = l2l.Quadratic(2)
    losses = l2l.evaluate(problem, {"it": decayed, "other": drawn_together}, draws=3, steps=5, engine=engine)
    traces = l2l.trace(problem, {"it": decayed, "other": drawn_together}, draws=3, steps=5)
    for name, found in traces.items():
        np.testing.assert_allclose(found.losses, losses[name], rtol=1e-5)
    np.testing.assert_allclose(
        traces["it"].updates, -0.1 * traces["it"].gradients - 0.02 * traces["it"].positions, rtol=1e-5
    )


# --- other weights


def built():
    """A rule with two weights, and a number that no gradient trains."""
    rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1), use_resource=True)
    decay = tf.get_variable("decay", [2], initializer=tf.constant_initializer(0.01), use_resource=True)
    fixed = tf.get_variable("fixed", [], initializer=tf.constant_initializer(2.0), trainable=False, use_resource=True)

    def rule(gradients, state, x):
        return -rate * gradients - fixed * decay * x, state

    rule.adapted = [fixed]
    rule.adapt = lambda gradients, state: [fixed + 1]
    return rule


def layered():
    """Variables that are created at the first call."""
    return tf.make_template("it", lambda g, s: (tf.layers.dense(g[:, tf.newaxis], 1, use_bias=True)[:, 0], s))


BUILDERS = {
    "rule": built,
    "layers": layered,
    "network": lambda: l2l.CoordinatewiseLSTM((3,), "widening"),
    "relative steps": lambda: l2l.CoordinatewiseLSTM((3,), "relative_step"),
    "groups": lambda: l2l.Grouped({"a": lambda: l2l.CoordinatewiseLSTM((2,)), "b": built}),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_tensors_stand_in_for_the_weights_of_any_builder(name):
    """As an estimator perturbs them: the same as if the variables had these values, with a gradient to them."""
    x = {"a": tf.constant([0.5, -1.0]), "b": tf.constant([2.0, 1.0])} if name == "groups" else tf.constant([0.5, -1.0])
    like = tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), x)
    optimizer = create(BUILDERS[name], lambda: like, "build").optimizer
    assert {variable.op.type for variable in tf.global_variables()} == {"VarHandleOp"}  # XLA knows no others
    number = len(tf.global_variables())
    others = [tf.constant(value, tf.float32) for value in random_weights(optimizer.variables)]

    def update(bound):
        state = None if bound.initial_state is None else bound.initial_state(x)
        first, state = bound.plain_step(x, state, x)
        return tf.nest.flatten([first, bound.plain_step(x, state, x)[0]])

    perturbed = update(optimizer.bind(others))
    assert len(tf.global_variables()) == number
    gradients = tf.gradients(perturbed, others)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        ours, gradients = session.run([perturbed, gradients])
        load_variables(session, optimizer.variables, session.run(others))
        for one, other in zip(ours, session.run(update(optimizer.bind()))):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
