"""A problem bound to draws: what is checked of it, how a loss becomes that of a batch."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Given, Nested, Regression, Rosenbrock

import l2l
from l2l.problems.binding import BoundProblem, paths, position_specs
from l2l.problems.problem import sample


def rosenbrock(x):
    return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2


def rosenbrock_gradients(x):
    across = x[:, 1] - x[:, 0] ** 2
    return np.stack([-2 * (1 - x[:, 0]) - 400 * x[:, 0] * across, 200 * across], axis=1)


@pytest.mark.parametrize("batch", [None, 3])
def test_positions_are_checked(batch):
    def start(draw):
        return {"a": draw, "b": tf.cast(draw, tf.int32)}

    draw = tf.zeros([] if batch is None else [batch])
    with pytest.raises(
        TypeError, match=r"^initial_position of Given must be float32 or float64, got int32 for x\['b'\]$"
    ):
        BoundProblem(Given(start=start), draw, batch).start()
    with pytest.raises(TypeError, match=r"^initial_position of Given must be float32 or float64, got int32 for x$"):
        BoundProblem(Given(start=lambda draw: tf.constant(1)), draw, batch).start()


def test_positions_of_one_draw_and_of_many(run):
    problem = Nested()
    draws = sample(problem, 3, 1)
    one, many = BoundProblem(problem, draws[0]).start(), BoundProblem(problem, draws, 3).start()
    assert [tensor.shape.as_list() for tensor in tf.nest.flatten(one)] == [[2, 2], []]
    assert [tensor.shape.as_list() for tensor in tf.nest.flatten(many)] == [[3, 2, 2], [3]]
    starts, many = run([draws, many])
    np.testing.assert_array_equal(many["scalar"], starts)
    np.testing.assert_array_equal(many["matrix"], starts[:, None, None] * np.ones([1, 2, 2], np.float32))


def test_specs_of_a_position_are_learned_in_a_graph_of_its_own(graph):
    specs = position_specs(Nested(tf.float64))
    assert specs == {"matrix": tf.TensorSpec([2, 2], tf.float64), "scalar": tf.TensorSpec([], tf.float64)}
    assert not graph.get_operations()


def test_what_is_active_is_asked_of_a_draw_and_of_each_of_many(run):
    problem = l2l.Mixture([l2l.Quadratic(1), l2l.Quadratic(2)])
    for many in [problem.sample(1, 1), problem.sample(4, 1)]:
        number = many["which"].shape.as_list()[0]
        one, active = BoundProblem(problem, tf.nest.map_structure(lambda one: one[0], many)).active(), None
        active, one, which = run([BoundProblem(problem, many, number).active(), one, many["which"]])
        np.testing.assert_array_equal(active, [which == 0, which == 1])
        assert one == (which[0] == 0, which[0] == 1)
    quadratic = l2l.RandomlyScaled(l2l.Quadratic(1))
    assert BoundProblem(quadratic, quadratic.sample(2, 1), 2).active() is None
    assert BoundProblem(quadratic, quadratic.draw(1)).active() is None


def test_paths_name_the_tensors_of_a_position():
    x = tf.zeros([2])
    assert paths(x) == ["x"]
    assert paths((x, {"b": [x], "a": x})) == ["x[0]", "x[1]['a']", "x[1]['b'][0]"]


def test_a_batch_of_the_readmes_rosenbrock_gives_each_draw_its_own_loss_and_gradient(run):
    """Were it not mapped, `x[0]` would be the first draw instead of the first coordinate."""
    problem = Rosenbrock()
    draws = sample(problem, 5, 1)
    bound = BoundProblem(problem, draws, 5)
    x = bound.start()
    losses = bound.loss(x, tf.constant(0))
    assert losses.shape == [5]
    starts, losses, gradients, public = run([draws, losses, tf.gradients(losses, x)[0], problem.batch_loss(x, draws)])
    np.testing.assert_allclose(losses, rosenbrock(starts), rtol=1e-5)
    np.testing.assert_allclose(public, losses, rtol=1e-6)
    np.testing.assert_allclose(gradients, rosenbrock_gradients(starts), rtol=1e-4, atol=1e-4)


def test_a_batch_of_nested_positions(run):
    problem = Nested()
    draws = sample(problem, 3, 1)
    bound = BoundProblem(problem, draws, 3)
    x = tf.nest.map_structure(lambda tensor: tensor + 0.5, bound.start())
    starts, losses = run([draws, bound.loss(x, tf.constant(0))])
    np.testing.assert_allclose(losses, 4 * (starts + 0.5) ** 2 + 0.25, rtol=1e-6)


def alone(problem, draws, x, t):
    """The losses of three draws, each bound alone."""
    singles = [BoundProblem(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws)) for i in range(3)]
    return tf.stack([one.loss(x[i], t) for i, one in enumerate(singles)])


@pytest.mark.parametrize("draw_by_draw", [False, True])
def test_a_form_of_its_own_for_batches_is_used(run, draw_by_draw):
    class Doubled(l2l.Quadratic):
        def batch_loss(self, x, observed):
            return 2 * super().batch_loss(x, observed)

    problem = Doubled(2)
    draws = sample(problem, 3, 1)
    bound, t = BoundProblem(problem, draws, 3, draw_by_draw=draw_by_draw), tf.constant(0)
    x = bound.start()
    own, others = run([bound.loss(x, t), alone(problem, draws, x, t)])
    np.testing.assert_allclose(own, 2 * others, rtol=1e-6)


def test_what_a_base_iteration_sees_depends_on_it(run):
    problem = Regression()
    draws = sample(problem, 3, 1)
    bound, t = BoundProblem(problem, draws, 3), tf.placeholder(tf.int32, [])
    x = bound.start()
    losses = [run([bound.loss(x, t), alone(problem, draws, x, t)], {t: number}) for number in [0, 1]]
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
    bound, t = BoundProblem(problem, draws, 3), tf.constant(7)
    x = bound.start()
    np.testing.assert_allclose(*run([bound.loss(x, t), alone(problem, draws, x, t)]), rtol=1e-12)


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize(
    "loss, error, message",
    [
        (
            lambda x: tf.stack([x, x]),
            ValueError,
            r"^loss of Given must be a scalar \(shape \(\)\), got shape \(2,\); tf.reduce_mean or .* makes one$",
        ),
        (lambda x: None, TypeError, "^loss of Given must be a tensor, got None"),
        (lambda x: tf.cast(x, tf.float64), TypeError, "^loss of Given must have the dtype of x, float32, got float64"),
        (lambda x: tf.constant(1), TypeError, "^loss of Given must have the dtype of x, float32, got int32"),
    ],
)
def test_losses_are_checked(batch, loss, error, message):
    draw = tf.zeros([] if batch is None else [batch])
    with pytest.raises(error, match=message):
        BoundProblem(Given(loss=loss), draw, batch).loss(draw, tf.constant(0))


def test_the_shape_of_a_form_for_batches_is_checked():
    class Summed(l2l.Quadratic):
        def batch_loss(self, x, observed):
            return tf.reduce_sum(super().batch_loss(x, observed))

    problem = Summed(2)
    draws = sample(problem, 3, 1)
    with pytest.raises(
        ValueError, match=r"^batch_loss of \w+ must return a loss for each draw \(shape \(3,\)\), got shape \(\)"
    ):
        bound = BoundProblem(problem, draws, 3)
        bound.loss(bound.start(), tf.constant(0))


def test_a_loss_on_the_whole_data_is_a_scalar():
    class PerExample(Regression):
        def observe_all(self, draw, data):
            return data[0], data[1][:, tf.newaxis, tf.newaxis]

        def loss(self, x, observed):
            inputs, targets = observed
            return tf.reduce_mean(tf.square(tf.linalg.matvec(inputs, x) - targets), axis=-1)

    bound = BoundProblem(PerExample(), PerExample().draw(1))
    with pytest.raises(
        ValueError, match=r"^loss of \w+ must be a scalar \(shape \(\)\) of observe_all too, got shape \(12, 1\)"
    ):
        bound.loss_on_whole_data(bound.start())


def test_an_error_of_a_loss_is_its_own_where_its_data_have_the_dtype_of_the_position():
    class Mistaken(Regression):
        data = {"inputs": np.zeros([4, 3], np.float32), "labels": np.zeros(4, np.int64)}

        def observe(self, draw, t, data):
            return data

        def loss(self, x, observed):
            raise TypeError("a mistake of its own")

    bound = BoundProblem(Mistaken(np.float32), Mistaken(np.float32).draw(1))
    bound.problem.data = Mistaken.data
    with pytest.raises(TypeError, match=r"^a mistake of its own$"):
        bound.loss(bound.start(), tf.constant(0))
