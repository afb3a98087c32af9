import numpy as np
import pytest
import tensorflow as tf
from trainers import Listed, SharedData, ToldTheHorizon, one_rate

import l2l
from l2l.evaluation import traces


def traced(optimizer, problem=None, **how):
    how = {"draws": 3, "steps": 4, **how}
    return l2l.trace(problem or l2l.Quadratic(2), {"it": optimizer}, **how)["it"]


def test_a_run_of_momentum_by_hand():
    """`f = |x|^2` from (1, -0.5) and (2, 0): gradients 2x, `v = 0.5 v + 2x`, updates -0.1 v."""
    one = traced(l2l.momentum(0.1, momentum=0.5), Listed([[1.0, -0.5], [2.0, 0.0]]), draws=2, steps=3, states=True)
    x, v = np.array([[1.0, -0.5], [2.0, 0.0]]), 0
    for t in range(3):
        v = 0.5 * v + 2 * x
        found = [one.positions[:, t], one.gradients[:, t], one.updates[:, t], one.states[:, t, :, 0]]
        for ours, expected in zip(found, [x, 2 * x, -0.1 * v, v]):
            np.testing.assert_allclose(ours, expected, rtol=1e-5)
        np.testing.assert_allclose(one.losses[:, t], (x**2).sum(axis=1), rtol=1e-5)
        x = x - 0.1 * v
    assert one.states.shape == (2, 3, 2, 1) and traced(l2l.sgd()).states is None


def by_norm(gradients, state):
    """An optimizer whose coordinates are not on their own, with a state that belongs to none of them."""
    step = tf.constant(0.1) if state is None else 0.9 * state
    norm = tf.sqrt(2 * tf.nn.l2_loss(gradients))  # which TensorFlow cannot vectorize
    return -step * gradients / (1e-6 + norm), step


def test_losses_are_those_of_an_evaluation():
    optimizers = {"secant": l2l.secant(), "norm": by_norm}
    how = {"problem": l2l.Quadratic(2), "optimizers": optimizers, "draws": 3, "steps": 6, "seed": 4}
    losses, found = l2l.evaluate(engine="graph", **how), l2l.trace(states=True, **how)
    assert list(found) == list(optimizers)
    for name, one in found.items():
        np.testing.assert_allclose(one.losses, losses[name], rtol=1e-5, atol=1e-12)
    assert found["norm"].states.shape == (3, 6, 2, 0)


def test_a_trained_network_comes_with_its_weights_and_all_its_memory():
    shapes = [(2, 5), (5,), (10, 20), (20,), (8, 12), (12,), (3, 1), (1,)]
    weights = [np.random.RandomState(i).normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)]
    trained = l2l.Trained(lambda: l2l.CoordinatewiseLSTM((5, 3), "secant"), weights)
    one = traced(trained, states=True)
    losses = l2l.evaluate(l2l.Quadratic(2), {"it": trained}, draws=3, steps=4, engine="graph")["it"]
    np.testing.assert_allclose(one.losses, losses, rtol=1e-5)
    assert one.states.shape == (3, 4, 2, 2 * 5 + 2 * 3 + 2)
    # What this casting remembers comes last: the gradient and the update.
    np.testing.assert_array_equal(one.states[..., -2], one.gradients)
    np.testing.assert_array_equal(one.states[..., -1], one.updates)


class Nested(l2l.Quadratic):
    """The coordinates in tensors of three shapes; with an op that TensorFlow cannot vectorize."""

    batch_loss = l2l.Problem.batch_loss

    def initial_position(self, draw):
        return {"a": tf.reshape(draw.start[:4], [2, 2]), "b": (draw.start[4], draw.start[5:])}

    def loss(self, x, draw):
        flat = tf.concat([tf.reshape(one, [-1]) for one in tf.nest.flatten(x)], axis=0)
        one = tf.py_func(lambda: np.float32(1), [], tf.float32)
        one.set_shape([])
        return one * super().loss(flat, draw)


def test_a_nest_of_positions_is_its_coordinates_in_turn():
    with pytest.warns(RuntimeWarning, match="Nested is computed draw by draw") as caught:
        nested = traced(l2l.adam(), Nested(7), states=True)
    assert len(caught) == 1  # it is found out once
    flat = traced(l2l.adam(), l2l.Quadratic(7), states=True)
    assert flat.states.shape == (3, 4, 7, 2)
    for ours, expected in zip(nested, flat):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


class InAMatrix(l2l.Quadratic):
    """The coordinates in one tensor of two dimensions."""

    batch_loss = l2l.Problem.batch_loss

    def initial_position(self, draw):
        return tf.reshape(draw.start, [2, 3])

    def loss(self, x, draw):
        return super().loss(tf.reshape(x, [-1]), draw)


def test_what_is_remembered_of_a_matrix_is_that_of_its_coordinates():
    def plain(gradients, state):
        velocity = gradients if state is None else 0.9 * state + gradients
        return -0.1 * velocity, velocity

    matrix, flat = (traced(plain, problem, states=True) for problem in [InAMatrix(6), l2l.Quadratic(6)])
    np.testing.assert_allclose(matrix.states, flat.states, rtol=1e-5)
    assert matrix.states.shape == (3, 4, 6, 1)


def test_an_optimizer_that_is_mapped_over_draws_shows_what_it_remembers_of_coordinates():
    def plain(gradients, state):
        velocity = gradients if state is None else 0.9 * state[0] + gradients
        return -0.1 * velocity, (velocity, tf.constant(1.0), tf.ones_like(velocity, tf.int32))

    optimizers = {"mapped": plain, "ours": l2l.momentum()}
    mapped, ours = l2l.trace(l2l.Quadratic(2), optimizers, draws=3, steps=3, states=True).values()
    assert mapped.states.shape == (3, 3, 2, 1)
    for one, other in zip(mapped, ours):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_data_are_seen():
    one = traced(l2l.sgd(), SharedData())
    for t in range(4):
        np.testing.assert_allclose(one.gradients[:, t], 2 * (t + 1) * one.positions[:, t] * [2, 3], rtol=1e-5)
    positions = np.float32([[1.0, 0.0], [1.0, 2.0], [0.0, -1.0]])
    np.testing.assert_allclose(traces.losses_at(SharedData(), positions, 0), [2, 14, 3], rtol=1e-6)


def test_losses_are_those_of_the_draw_whose_run_is_traced():
    one = traced(l2l.sgd(), Nested(7), draws=1, seed=5)
    np.testing.assert_allclose(traces.losses_at(Nested(7), one.positions[0], 5), one.losses[0], rtol=1e-5)


def test_responses_to_two_gradients_by_hand():
    gradients = np.float32([[1.0, -2.0, 1e-6], [3.0, 0.5, 1e2]])
    found = traces.responses({"momentum": l2l.momentum(), "secant": l2l.secant(), "norm": by_norm}, gradients)
    first = -0.1 * gradients[0]
    np.testing.assert_allclose(found["momentum"], [first, -0.1 * (0.9 * gradients[0] + gradients[1])], rtol=1e-6)
    second = -gradients[1] * first / (gradients[1] - gradients[0])
    np.testing.assert_allclose(found["secant"], [first, second], rtol=1e-5)
    # Each coordinate alone, whatever the optimizer would make of several.
    np.testing.assert_allclose(found["norm"], [[-0.1, 0.1, -0.05], [-0.09, -0.09, -0.09]], rtol=1e-5)


def test_responses_to_a_list():
    (answers,) = traces.responses({"SGD": l2l.sgd(0.1)}, [[1.0, -2.0], [3.0, 4.0]]).values()
    np.testing.assert_allclose(answers, [[-0.1, 0.2], [-0.3, -0.4]], rtol=1e-6)


def test_an_optimizer_that_cannot_be_vectorized_is_in_the_graph_a_few_times():
    calls = []

    def counted(gradients, state):
        calls.append(gradients)
        return by_norm(gradients, state)

    traces.responses({"it": counted}, np.ones([1, 500], np.float32))
    assert len(calls) < 10


def test_responses_in_the_dtype_of_the_weights_of_a_network_that_is_built_for_one_coordinate():
    def build():
        layer = tf.layers.Dense(1, use_bias=False)
        return lambda gradients, state: (-layer(gradients[tf.newaxis])[0], state)

    trained = l2l.Trained(build, [np.float32([[0.5]])])
    np.testing.assert_array_equal(traces.responses({"it": trained}, np.ones([2, 3]))["it"], np.full([2, 3], -0.5))


class TwoDtypes(l2l.Quadratic):
    def initial_position(self, draw):
        return draw.start, tf.cast(draw.start, tf.float64)

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x[0])) + tf.cast(tf.reduce_sum(x[1]), tf.float32)

    batch_loss = l2l.Problem.batch_loss


class Wrong(l2l.Quadratic):
    def batch_loss(self, x, draw):
        return 2 * self.loss(x, draw)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"problem": 3}, TypeError, "problem must be a Problem"),
        ({"problem": TwoDtypes(2)}, ValueError, "positions of TwoDtypes must have one dtype, got float32 and float64"),
        ({"problem": Wrong(2)}, ValueError, "batch_loss of Wrong must be loss of each draw"),
        ({"optimizers": {}}, ValueError, "optimizers must be a non-empty dict from name to optimizer, got {}"),
        ({"optimizers": {"a": l2l.sgd}}, TypeError, r"optimizers\['a'\] must be an optimizer, not what makes one"),
        ({"draws": 0}, ValueError, "draws must be a positive integer, got 0"),
        ({"steps": 1.0}, TypeError, "steps must be a positive integer, got 1.0"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0"),
        ({"states": 1}, TypeError, "states must be True or False, got 1"),
    ],
)
def test_arguments_of_trace_are_checked(arguments, error, message):
    with pytest.raises(error, match="^" + message):
        l2l.trace(**{"problem": l2l.Quadratic(2), "optimizers": {"a": l2l.sgd()}, **arguments})


@pytest.mark.parametrize("bad", [np.ones(3, np.float32), np.ones([2, 0]), np.ones([2, 3], int)])
def test_gradients_that_are_answered_are_checked(bad):
    with pytest.raises(ValueError, match=r"^gradients must be floats of shape \[T, N\], got shape"):
        traces.responses({"a": l2l.sgd()}, bad)


def test_weights_that_were_never_trained_are_worth_a_warning():
    with pytest.warns(RuntimeWarning, match=r"optimizers\['it'\] was never trained"):
        traced(l2l.Trained(one_rate, [np.float32(0.5)], record={"meta_iterations": 0}), draws=1, steps=1)


@pytest.mark.parametrize("coordinatewise", [False, True])
def test_an_optimizer_is_told_how_many_base_iterations_there_are_and_where_it_is(coordinatewise):
    it = ToldTheHorizon(coordinatewise)
    one = traced(it)
    np.testing.assert_allclose(one.updates, -(one.gradients + one.positions) / 4, rtol=1e-5, atol=1e-7)
    gradients, x = np.float32([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.zeros(2)
    for update, gradient in zip(traces.responses({"it": it}, gradients)["it"], gradients):
        np.testing.assert_allclose(update, -(gradient + x) / 3, rtol=1e-5)
        x += update


def test_an_optimizer_with_variables_is_refused_before_any_other_runs():
    calls = []

    def counted(gradients, state):
        calls.append(1)
        return -gradients, state

    def makes_variables(gradients, state):
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            return -tf.get_variable("rate", []) * gradients, state

    gradients, message = np.ones([2, 2], np.float32), r"^optimizers\['b'\] must be a function .* without variables"
    trained = l2l.Trained(lambda: calls.append(1) or one_rate(), [np.float32(0.1)])
    with pytest.raises(TypeError, match=message):
        l2l.trace(l2l.Quadratic(2), {"a": trained, "c": counted, "b": l2l.CoordinatewiseLSTM()})
    with pytest.raises(TypeError, match=message):
        traces.responses({"a": trained, "c": counted, "b": l2l.CoordinatewiseLSTM()}, gradients)
    assert not calls
    for answer in [lambda: traced(makes_variables), lambda: traces.responses({"it": makes_variables}, gradients)]:
        with pytest.raises(TypeError, match=r"^optimizers\['it'\] must be a function .* without variables"):
            answer()
