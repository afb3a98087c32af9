"""The update: clipping, Adam, and where nothing is applied."""

import numpy as np
import pytest
import tensorflow as tf
from segment_helpers import comes_after

import l2l
from l2l.learning.settings import Settings
from l2l.learning.updates import MetaOptimizer


def variable(value, name="weight", trainable=True):
    value = np.asarray(value, np.float32)
    return tf.get_variable(
        name, value.shape, initializer=tf.constant_initializer(value), trainable=trainable, use_resource=True
    )


def meta(gradients, meta_loss=1.0, last_loss=1.0, adapted=()):
    """A meta-gradient of given numbers."""
    losses = tf.constant([2.0, 1.0])
    return l2l.MetaGradient(
        losses,
        tf.convert_to_tensor(meta_loss),
        tf.convert_to_tensor(last_loss),
        [tf.convert_to_tensor(gradient) for gradient in gradients],
        None,
        None,
        [tf.convert_to_tensor(value) for value in adapted],
    )


@pytest.mark.parametrize("clip_norm, expected", [(1.0, [0.6, 0.8]), (2.5, [1.5, 2.0]), (5.0, [3, 4]), (10.0, [3, 4])])
def test_clipping_by_global_norm(run, clip_norm, expected):
    gradients, norm = run(l2l.clipped([tf.constant(3.0), tf.constant([4.0, 0.0])], clip_norm))
    assert norm == 5
    np.testing.assert_allclose([gradients[0], gradients[1][0]], expected, rtol=1e-6)
    assert gradients[1][1] == 0


def test_without_clipping_gradients_are_as_they_are(run):
    ours, norm = l2l.clipped([tf.constant(3.0), tf.constant([4.0, 0.0])], None)
    update = l2l.update(meta([3.0]), [variable(0.0)], tf.train.GradientDescentOptimizer(1.0), clip_norm=None)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        ours, norm = session.run([ours, norm])
        assert ours[0] == 3 and ours[1].tolist() == [4, 0] and norm == 5
        assert session.run(update) == (3.0, True)
        assert session.run(tf.trainable_variables()) == [-3.0]


def test_a_zero_gradient_stays_zero(run):
    gradients, norm = run(l2l.clipped([tf.zeros([2])]))
    assert norm == 0
    np.testing.assert_array_equal(gradients[0], [0, 0])


@pytest.mark.parametrize("clip_norm", [0, -1.0, float("nan"), float("inf"), "1"])
def test_the_norm_to_clip_at_is_checked(clip_norm):
    with pytest.raises((TypeError, ValueError), match="clip_norm must be a positive number of float32"):
        l2l.clipped([tf.zeros([])], clip_norm)
    with pytest.raises((TypeError, ValueError), match="clip_norm must be a positive number of float32"):
        l2l.update(meta([0.0]), [variable(0.0)], tf.train.AdamOptimizer(), clip_norm=clip_norm)


def test_a_clipped_gradient_is_applied():
    weights = [variable(0.0, "a"), variable([0.0, 0.0], "b")]
    update = l2l.update(meta([3.0, [4.0, 0.0]]), weights, tf.train.GradientDescentOptimizer(1.0))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(update) == (5.0, True)
        a, b = session.run(weights)
    np.testing.assert_allclose([a, *b], [-0.6, -0.8, 0.0], rtol=1e-6)


NAN, INF = np.float32(np.nan), np.float32(np.inf)


@pytest.mark.parametrize(
    "figures",
    [
        {"gradients": [NAN, 1.0]},
        {"gradients": [1.0, INF]},
        {"gradients": [1e30, 1e30]},  # whose norm overflows
        {"gradients": [1.0, 1.0], "meta_loss": NAN},
        {"gradients": [1.0, 1.0], "meta_loss": INF},
        {"gradients": [1.0, 1.0], "meta_loss": -INF},
        {"gradients": [1.0, 1.0], "last_loss": NAN},
        {"gradients": [1.0, 1.0], "last_loss": INF},
        {"gradients": [1.0, 1.0], "adapted": [NAN]},
    ],
    ids=str,
)
def test_nothing_is_applied_where_a_figure_is_not_finite(figures):
    weights, adapted = [variable(2.0, "a"), variable(3.0, "b")], [variable(-1.0, "c", trainable=False)]
    update = l2l.update(meta(**{"adapted": [-5.0], **figures}), weights, tf.train.AdamOptimizer(), adapted=adapted)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(tf.global_variables())
        assert len(before) > 3  # Adam's own are among them
        assert not session.run(update.applied)
        assert session.run(tf.global_variables()) == before


def test_adapted_variables_get_their_values():
    weight, adapted = variable(0.0), [variable(-1.0, "a", trainable=False), variable(4.0, "b", trainable=False)]
    # Each new value is made of both old ones: none may be changed before all are known.
    values = [adapted[0] + adapted[1], adapted[0] - adapted[1]]
    update = l2l.update(meta([0.5], adapted=values), [weight], tf.train.AdamOptimizer(), adapted=adapted)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for expected in [[3, -5], [-2, 8], [6, -10]]:
            assert session.run(update.applied)
            assert session.run(adapted) == expected


def test_figures_are_those_before_the_update():
    weight = variable(3.0)
    figures = meta([1.0], meta_loss=2 * weight, last_loss=weight * weight)
    figures = figures._replace(losses=tf.stack([weight, weight * weight]))
    update = l2l.update(figures, [weight], tf.train.GradientDescentOptimizer(1.0))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run([update.applied, figures.meta_loss, figures.last_loss, weight.initialized_value()])[:3] == [
            True,
            6.0,
            9.0,
        ]
        assert session.run(weight) == 2
    operations = tf.get_default_graph().get_operations()
    (change,) = [op for op in operations if op.type == "ResourceApplyGradientDescent"]
    assert {figures.losses.op.name, figures.meta_loss.op.name} <= comes_after(change)


@pytest.mark.parametrize("number, adapted", [(1, 0), (3, 0), (2, 1)])
def test_as_many_variables_as_gradients(number, adapted):
    weights = [variable(0.0, "w%d" % i) for i in range(number)]
    adapted = [variable(0.0, "a%d" % i, trainable=False) for i in range(adapted)]
    with pytest.raises(
        ValueError,
        match="must be as many as the gradients and adapted values, 2 and 0, got %d and %d" % (number, len(adapted)),
    ):
        l2l.update(meta([1.0, 2.0]), weights, tf.train.AdamOptimizer(), adapted=adapted)


class NumpyAdam:
    """Adam, arXiv 1412.6980, with epsilon added to the uncorrected root and TensorFlow's defaults, in float64."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, rate):
        self.rate, self.t, self.mean, self.mean_square = rate, 0, 0.0, 0.0

    def step(self, gradient):
        self.t += 1
        self.mean = self.beta1 * self.mean + (1 - self.beta1) * gradient
        self.mean_square = self.beta2 * self.mean_square + (1 - self.beta2) * gradient**2
        rate = self.rate * np.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        return -rate * self.mean / (np.sqrt(self.mean_square) + self.epsilon)


def test_several_whole_meta_iterations_against_numpy():
    """Meta-gradient, clipping and Adam on a learned learning rate for each coordinate, for which all is known by hand.

    With `x1 = x0 - r g(x0)`, `g = 2 s^2 x`, the meta-loss "end" of two losses is `sum (s x1)^2`.
    """
    problem, weight = l2l.Quadratic(2), variable([0.1, 0.02])
    draw = l2l.problems.QuadraticDraw(tf.constant([0.5, 1.5]), tf.placeholder(tf.float32, [2]))
    adam = tf.train.AdamOptimizer(3e-4)
    gradient = l2l.meta_gradient(
        problem, draw, lambda g, state: (-weight * g, state), [weight], meta_loss="end", unroll_length=2
    )
    update = l2l.update(gradient, [weight], adam, clip_norm=0.5)
    random, reference = np.random.RandomState(0), NumpyAdam(3e-4)
    rate, square = np.array([0.1, 0.02]), np.array([0.25, 2.25])
    norms = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(12):
            start = random.uniform(-1, 1, size=2).astype(np.float32)
            figures = session.run(
                [gradient.meta_loss, gradient.last_loss, update.gradient_norm, update.applied], {draw.start: start}
            )
            x = start * (1 - 2 * rate * square)
            by_hand = 2 * square * x * start * -2 * square
            norm = np.linalg.norm(by_hand)
            norms.append(norm)
            np.testing.assert_allclose(figures, [np.sum(square * x**2)] * 2 + [norm, 1], rtol=1e-5)
            rate = rate + reference.step(by_hand / max(1, norm / 0.5))
            # TensorFlow holds 1 - 0.999 in float32: 1e-5 of error in the mean square.
            np.testing.assert_allclose(session.run(weight), rate, rtol=1e-5)
    assert min(norms) < 0.5 < max(norms)  # so that some were clipped, and some were not


def test_the_number_of_updates_is_no_weight():
    """A regularizer, or an optimizer of the user's own in the same graph, would find it among the trainable ones."""
    MetaOptimizer(Settings(learning_rate=l2l.exponential_decay(0.1, 10)))
    assert tf.trainable_variables() == [] and len(tf.global_variables()) == 1
