"""The contract of a problem: what is checked of it, how a loss becomes that of a batch, where its data are."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested, Regression, Rosenbrock

import l2l
from l2l.problems.problem import (
    data_as_variables,
    data_in_graph,
    initial_position,
    loss_function,
    paths,
    sample,
)


class Given(l2l.Problem):
    """A problem whose draws, position and loss are given as functions."""

    def __init__(self, draws=tf.zeros, start=lambda draw: draw, loss=tf.square):
        self._draws, self._start, self._loss = draws, start, loss

    def sample(self, num, seed=None):
        return self._draws([num])

    def initial_position(self, draw):
        return self._start(draw)

    def loss(self, x, observed):
        return self._loss(x)


def rosenbrock(x):
    return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2


def rosenbrock_gradients(x):
    across = x[:, 1] - x[:, 0] ** 2
    return np.stack([-2 * (1 - x[:, 0]) - 400 * x[:, 0] * across, 200 * across], axis=1)


@pytest.mark.parametrize(
    "call, what",
    [
        (lambda problem: problem.draw(), "sample"),
        (lambda problem: problem.initial_position(None), "initial_position"),
        (lambda problem: problem.loss(None, None), "loss"),
    ],
)
def test_a_problem_that_defines_nothing_says_what_is_missing(call, what):
    with pytest.raises(NotImplementedError, match="^Problem does not define %s$" % what):
        call(l2l.Problem())


def test_draw_is_one_of_sample(run):
    """Of a seed below those of trainings and evaluations."""
    problem = Regression()
    many, one = run([sample(problem, 1, -(2**40) - 5), problem.draw(5)])
    assert many["key"].shape == (1,) and many["start"].shape == (1, 3)
    np.testing.assert_array_equal(many["start"][0], one["start"])
    np.testing.assert_array_equal(many["key"][0], one["key"])


@pytest.mark.parametrize(
    "draws, message",
    [
        (lambda shape: tf.zeros([]), r"sample must return tensors with a leading axis 3, got shape \(\)"),
        (lambda shape: tf.zeros([2, 5]), r"sample must return tensors with a leading axis 3, got shape \(2, 5\)"),
        (lambda shape: (tf.zeros(shape), tf.zeros([4])), r"a leading axis 3, got shape \(4,\)"),
        (
            lambda shape: tf.placeholder_with_default(np.zeros([3, 2]), [3, None]),
            r"sample must return tensors of static shape, got shape \(3, \?\)",
        ),
    ],
)
def test_samples_are_checked(draws, message):
    with pytest.raises(ValueError, match=message):
        sample(Given(draws), 3)


def test_a_sample_of_arrays_becomes_tensors(run):
    draws = sample(Given(lambda shape: [np.arange(3.0)]), 3)
    np.testing.assert_array_equal(run(draws[0]), [0, 1, 2])


@pytest.mark.parametrize("batch", [None, 3])
def test_positions_are_checked(batch):
    def start(draw):
        return {"a": draw, "b": tf.cast(draw, tf.int32)}

    draw = tf.zeros([] if batch is None else [batch])
    with pytest.raises(TypeError, match=r"^x\[1\] must have a floating-point dtype, got int32$"):
        initial_position(Given(start=start), draw, batch)
    with pytest.raises(TypeError, match=r"^x must have a floating-point dtype, got int32$"):
        initial_position(Given(start=lambda draw: tf.constant(1)), draw, batch)


def test_positions_of_one_draw_and_of_many(run):
    problem = Nested()
    draws = sample(problem, 3, 1)
    one, many = initial_position(problem, draws[0]), initial_position(problem, draws, 3)
    assert [tensor.shape.as_list() for tensor in tf.nest.flatten(one)] == [[2, 2], []]
    assert [tensor.shape.as_list() for tensor in tf.nest.flatten(many)] == [[3, 2, 2], [3]]
    starts, many = run([draws, many])
    np.testing.assert_array_equal(many["scalar"], starts)
    np.testing.assert_array_equal(many["matrix"], starts[:, None, None] * np.ones([1, 2, 2], np.float32))


def test_paths_name_the_tensors_of_a_position():
    x = tf.zeros([2])
    assert paths(x) == ["x"]
    assert paths((x, {"a": x})) == ["x[0]", "x[1]"]


def test_a_batch_of_the_readmes_rosenbrock_gives_each_draw_its_own_loss_and_gradient(run):
    """Were it not mapped, `x[0]` would be the first draw instead of the first coordinate."""
    problem = Rosenbrock()
    draws = sample(problem, 5, 1)
    x = initial_position(problem, draws, 5)
    losses = loss_function(problem, draws, 5)(x, tf.constant(0))
    assert losses.shape == [5]
    starts, losses, gradients, public = run([draws, losses, tf.gradients(losses, x)[0], problem.batch_loss(x, draws)])
    np.testing.assert_allclose(losses, rosenbrock(starts), rtol=1e-5)
    np.testing.assert_allclose(public, losses, rtol=1e-6)
    np.testing.assert_allclose(gradients, rosenbrock_gradients(starts), rtol=1e-4, atol=1e-4)


def test_a_batch_of_nested_positions(run):
    problem = Nested()
    draws = sample(problem, 3, 1)
    x = tf.nest.map_structure(lambda tensor: tensor + 0.5, initial_position(problem, draws, 3))
    starts, losses = run([draws, loss_function(problem, draws, 3)(x, tf.constant(0))])
    np.testing.assert_allclose(losses, 4 * (starts + 0.5) ** 2 + 0.25, rtol=1e-6)


def test_a_form_of_its_own_for_batches_is_used_unless_told_otherwise(run):
    class Doubled(l2l.Quadratic):
        def batch_loss(self, x, observed):
            return 2 * super().batch_loss(x, observed)

    problem = Doubled(2)
    draws = sample(problem, 3, 1)
    x, t = initial_position(problem, draws, 3), tf.constant(0)
    own, mapped = (loss_function(problem, draws, 3, by_draw)(x, t) for by_draw in [False, True])
    own, mapped = run([own, mapped])
    np.testing.assert_allclose(own, 2 * mapped, rtol=1e-6)


def test_what_a_base_iteration_sees_depends_on_it(run):
    problem = Regression()
    draws = sample(problem, 3, 1)
    x = initial_position(problem, draws, 3)
    t = tf.placeholder(tf.int32, [])
    together = loss_function(problem, draws, 3)(x, t)
    alone = [loss_function(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws))(x[i], t) for i in range(3)]
    losses = [run([together, tf.stack(alone)], {t: number}) for number in [0, 1]]
    for one, other in losses:
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert np.all(losses[0][0] != losses[1][0])


def test_a_batch_of_own_form_gets_what_observe_picked_for_each_draw(run):
    class Together(Regression):
        def batch_loss(self, x, observed):
            inputs, targets = observed
            assert inputs.shape == [3, self.size, self.features] and targets.shape == [3, self.size]
            return tf.reduce_mean(tf.square(tf.linalg.matvec(inputs, x) - targets), axis=1)

    problem = Together()
    draws = sample(problem, 3, 1)
    x = initial_position(problem, draws, 3)
    losses = [loss_function(problem, draws, 3, by_draw)(x, tf.constant(7)) for by_draw in [False, True]]
    np.testing.assert_allclose(*run(losses), rtol=1e-12)


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize(
    "loss, error, message",
    [
        (lambda x: tf.stack([x, x]), ValueError, r"loss must be a scalar \(shape \(\)\), got shape \(2,\)"),
        (lambda x: None, TypeError, "loss must be a tensor, got None"),
        (lambda x: tf.cast(x, tf.float64), TypeError, "loss must have the dtype of x, float32, got float64"),
        (lambda x: tf.constant(1), TypeError, "loss must have the dtype of x, float32, got int32"),
    ],
)
def test_losses_are_checked(batch, loss, error, message):
    draw = tf.zeros([] if batch is None else [batch])
    with pytest.raises(error, match=message):
        loss_function(Given(loss=loss), draw, batch)(draw, tf.constant(0))


def test_the_shape_of_a_form_for_batches_is_checked():
    class Summed(l2l.Quadratic):
        def batch_loss(self, x, observed):
            return tf.reduce_sum(super().batch_loss(x, observed))

    problem = Summed(2)
    draws = sample(problem, 3)
    with pytest.raises(
        ValueError, match=r"batch_loss must return a loss for each draw \(shape \(3,\)\), got shape \(\)"
    ):
        loss_function(problem, draws, 3)(initial_position(problem, draws, 3), tf.constant(0))


def number_of_constants(graph, values):
    """How often a graph, its functions included, holds an array of such values."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return sum(
        node.op == "Const" and np.array_equal(tf.make_ndarray(node.attr["value"].tensor), values) for node in nodes
    )


def test_a_graph_holds_the_data_of_a_problem_once(graph, run):
    problem, other = Regression(), Regression(seed=1)
    first, again, others = data_in_graph(problem), data_in_graph(problem), data_in_graph(other)
    assert first[0] is again[0] and first[0] is not others[0]
    l2l.learn(problem, problem.draw(1), l2l.sgd(), 5)
    l2l.learn(problem, problem.draw(1), l2l.sgd(), 5, loop="while")
    assert number_of_constants(graph, problem.data[0]) == 1
    np.testing.assert_array_equal(run(first)[0], problem.data[0])
    with tf.Graph().as_default() as another:
        assert data_in_graph(problem)[0].graph is another
    assert data_in_graph(l2l.Quadratic(2)) is None


def test_the_graph_around_a_function_holds_the_data_once(graph, run):
    problem = Regression()

    def twice():
        return sum(l2l.learn(problem, problem.draw(1), l2l.sgd(), 3, loop=loop)[-1] for loop in ["python", "while"])

    outside = l2l.learn(problem, problem.draw(1), l2l.sgd(), 3)[-1]
    inside = tf.function(twice, autograph=False)()
    inside, outside = run([inside, outside])
    np.testing.assert_allclose(inside, 2 * outside, rtol=1e-12)
    assert number_of_constants(graph, problem.data[0]) == 1


def test_a_function_that_asks_for_the_data_first_leaves_one_copy_too(graph, run):
    problem = Regression()

    def twice():
        return sum(l2l.learn(problem, problem.draw(1), l2l.sgd(), 3)[-1] for _ in range(2))

    run(tf.function(twice, autograph=False)())
    assert number_of_constants(graph, problem.data[0]) == 1


def test_data_as_variables_are_no_constants_and_hold_the_same(graph):
    problem = Regression()
    set_data = data_as_variables(problem)
    loss = l2l.learn(problem, problem.draw(1), l2l.sgd(), 3)
    assert number_of_constants(graph, problem.data[0]) == 0
    assert not tf.global_variables() and not tf.trainable_variables()
    with tf.Session() as session:
        set_data(session)
        for values, expected in zip(session.run(data_in_graph(problem)), problem.data):
            np.testing.assert_array_equal(values, expected)
        losses = session.run(loss)
    with tf.Graph().as_default(), tf.Session() as session:
        np.testing.assert_allclose(losses, session.run(l2l.learn(problem, problem.draw(1), l2l.sgd(), 3)), rtol=1e-12)


def test_a_problem_without_data_has_nothing_to_set(graph):
    data_as_variables(l2l.Quadratic(2))(None)
    assert not graph.get_operations()


def test_a_draw_is_the_first_of_a_block_of_one_whose_seed_no_training_has(run):
    problem = l2l.Quadratic(3)
    one, block = run([problem.draw(7), problem.sample(1, -(2**40) - 7)])
    for ours, expected in zip(one, block):
        np.testing.assert_array_equal(ours, expected[0])
