"""Imitation: the position is the teacher's, the losses are distances from its updates, and the weights come near."""

import json

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested, Regression
from trainers import ENGINES, assert_close_runs, learned_momentum, one_rate

import l2l

SETTINGS = {"unroll_length": 5, "weights_seed": 1, "draws_seed": 2, "engine": "graph"}


def network():
    return l2l.CoordinatewiseLSTM((3,), l2l.widening_log_cast())


@pytest.mark.parametrize("problem", [l2l.Quadratic(2), l2l.Mixture([l2l.Quadratic(2), l2l.Quadratic(1)])])
def test_losses_are_distances_from_the_teachers_updates_along_its_path(run, problem):
    """Of a rate of 0.03 from one of 0.1 the distance is 0.7; the gradients are those at the teacher's positions."""
    imitation = l2l.Imitation(problem, l2l.sgd(0.1))
    draw = imitation.draw(1)
    optimizer = imitation.build(lambda: l2l.sgd(0.03))()
    done = l2l.unroll(imitation, draw, optimizer, steps=4)
    theirs = l2l.unroll(problem, draw["draw"], l2l.sgd(0.1), steps=4)
    losses, ours, theirs = run([done.losses, tf.nest.flatten(done.x["x"]), tf.nest.flatten(theirs.x)])
    np.testing.assert_allclose(losses, [0, 0.49, 0.49, 0.49], rtol=1e-5)
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one, other, rtol=1e-6)


class Asking:
    """Says its state, asks for the number of base iterations, and returns what it is told to."""

    def __init__(self, result):
        self.result, self.told = result, []

    def __call__(self, gradients, state):
        raise AssertionError("an optimizer that binds is not called")

    def initial_state(self, x):
        return tf.constant(0)

    def bind(self, horizon):
        self.told.append(horizon)
        return l2l.Bound(lambda gradients, state, x, product: self.result(gradients, state))


def test_learner_and_teacher_are_told_how_many_base_iterations_are_planned():
    learner, teacher = (Asking(lambda gradients, state: (-gradients, state)) for _ in range(2))
    imitation = l2l.Imitation(l2l.Quadratic(2), teacher)
    l2l.learn(imitation, imitation.draw(1), imitation.build(lambda: learner)(), steps=3)
    assert learner.told == teacher.told == [3]


@pytest.mark.parametrize("is_learner", [True, False])
def test_both_must_return_a_pair(is_learner):
    bad, rule = Asking(lambda gradients, state: gradients), l2l.sgd()
    imitation = l2l.Imitation(l2l.Quadratic(2), rule if is_learner else bad)
    with pytest.raises(TypeError, match=r"optimizer must return a pair \(update, state\), got"):
        l2l.learn(imitation, imitation.draw(1), imitation.build(lambda: bad if is_learner else rule)(), steps=2)


def test_learner_and_teacher_see_the_problems_position(run):
    """Both decay towards 0, by 0.2 and 0.5 of the position beside their rates: their distance is known by hand."""
    imitation = l2l.Imitation(l2l.Quadratic(2), lambda gradients, state, x: (-0.1 * gradients - 0.5 * x, state))
    optimizer = imitation.build(lambda: lambda gradients, state, x: (-0.1 * gradients - 0.2 * x, state))()
    gradients = {"error": tf.zeros([]), "x": tf.constant([1.0, -2.0])}
    x = {"error": tf.zeros([]), "x": tf.constant([4.0, 2.0])}
    update, _ = optimizer(gradients, optimizer.initial_state(gradients), x)
    error, moved = run([update["error"], update["x"]])
    np.testing.assert_allclose(moved, [-2.1, -0.8], rtol=1e-6)
    np.testing.assert_allclose(error, 0.3**2 * 20 / (2.1**2 + 0.8**2), rtol=1e-6)
    draw = imitation.draw(1)
    ours = l2l.unroll(imitation, draw, optimizer, steps=3).x["x"]
    theirs = l2l.unroll(l2l.Quadratic(2), draw["draw"], imitation.teacher, steps=3).x
    np.testing.assert_allclose(*run([ours, theirs]), rtol=1e-6)


def test_the_meta_gradient_is_that_of_the_distance_alone(run):
    """For a rate `r` and a teacher's of 0.1 the losses are `(r - 0.1)^2 / 0.01`: three of them count."""
    imitation = l2l.Imitation(l2l.Quadratic(2), l2l.sgd(0.1))
    optimizer = imitation.build(lambda: one_rate(0.03))()
    for second_derivatives in [True, False]:
        settings = {"unroll_length": 4, "second_derivatives": second_derivatives}
        meta = l2l.meta_gradient(imitation, imitation.draw(1), optimizer, tf.trainable_variables(), **settings)
        np.testing.assert_allclose(run(meta.gradients[0]), 3 * 2 * (0.03 - 0.1) / 0.01, rtol=1e-4)


@pytest.mark.parametrize(
    "problem, batch, build", [(Nested("float32"), 1, network), (Regression(np.float32), 3, learned_momentum)]
)
@pytest.mark.rehearsal
def test_both_engines_imitate_alike(problem, batch, build):
    """Teachers with a state, positions of several tensors, minibatches, batches, segments, adapted variables."""
    imitation = l2l.Imitation(problem, l2l.adam(0.01))
    settings = {**SETTINGS, "unroll_length": 3, "batch": batch, "horizon": 6, "second_derivatives": False}
    trainers = [l2l.Trainer(imitation, imitation.build(build), **{**settings, "engine": engine}) for engine in ENGINES]
    assert_close_runs(*[trainer.run(4) for trainer in trainers], 2e-3)


def test_a_rate_becomes_the_teachers_and_goes_on_as_an_optimizer():
    imitation = l2l.Imitation(l2l.Quadratic(2), l2l.momentum(0.1, momentum=0.5))
    rate = l2l.exponential_decay(0.05, 15)
    trainer = l2l.Trainer(imitation, imitation.build(learned_momentum), learning_rate=rate, **SETTINGS)
    trainer.run(100)
    trained = trainer.trained()._replace(build=learned_momentum)
    np.testing.assert_allclose(trained.weights, [0.1, 0.5], rtol=0.05)
    rules = {"it": trained, "teacher": l2l.momentum(0.1, momentum=0.5)}
    losses = l2l.evaluate(l2l.Quadratic(2), rules, draws=3, steps=5, engine="graph")
    np.testing.assert_allclose(losses["it"], losses["teacher"], rtol=0.1)
    l2l.Trainer(l2l.Quadratic(2), trained, **SETTINGS).run(2)


def test_a_network_with_adapted_variables_goes_on_as_itself():
    """What is idle takes no part: a gradient of zero would take the number by 0.8 a meta-iteration towards -87."""
    imitation = l2l.Imitation(l2l.Mixture([l2l.Quadratic(2), l2l.Quadratic(1)]), l2l.adam())
    settings = {**SETTINGS, "unroll_length": 2}
    trainer = l2l.Trainer(imitation, imitation.build(network), **settings)
    trainer.run(5)
    trained = trainer.trained()._replace(build=network)
    (number,) = trained.adapted
    assert -5.5 < number <= -5
    assert np.isfinite(l2l.Trainer(l2l.Quadratic(2), trained, **settings).run(2).meta_loss).all()


class Steep(l2l.Problem):
    """`1e8 + x` and infinity, with a gradient of 1."""

    def sample(self, num, seed=None):
        levels = np.resize(np.float32([1e8, np.inf]), num)
        return {"start": l2l.uniform([num], 1.0, 2.0, seed=seed), "level": tf.constant(levels)}

    def initial_position(self, draw):
        return draw["start"]

    def loss(self, x, draw):
        return x + draw["level"]


def test_the_distance_does_not_depend_on_the_size_of_the_loss(run):
    """Op by op and compiled: where the loss is added and taken off again, float32 leaves 0 of it, or NaN.

    Of a batch, and with second derivatives: a learner that is mapped over the draws picks them from gradients, which
    are functions within XLA.
    """
    imitation = l2l.Imitation(Steep(), l2l.sgd(0.1))
    draws = imitation.sample(2, 1)
    with tf.variable_scope("trained", use_resource=True):
        optimizer = imitation.build(lambda: one_rate(0.03))()

    def meta_gradient(loop, *tensors):
        draw, variables = tf.nest.pack_sequence_as(draws, tensors), tf.trainable_variables()
        meta = l2l.meta_gradient(imitation, draw, optimizer, variables, unroll_length=3, loop=loop, batch=2)
        return [meta.losses, *meta.gradients]

    function = tf.function(lambda *tensors: meta_gradient("while", *tensors), autograph=False)
    tensors = tf.nest.flatten(draws)
    compiled = tf.xla.experimental.compile(lambda *inputs: function(*inputs), tensors)
    for losses, gradient in run([meta_gradient("python", *tensors), compiled]):
        np.testing.assert_allclose(losses, [[0, 0], [0.49, 0.49], [0.49, 0.49]], rtol=1e-5)
        np.testing.assert_allclose(gradient, 2 * 2 * (0.03 - 0.1) / 0.01, rtol=1e-5)


def test_without_a_seed_each_sample_is_another(run):
    imitation = l2l.Imitation(l2l.Quadratic(2), l2l.sgd())
    one, other = run([imitation.sample(3)["draw"].start, imitation.sample(3)["draw"].start])
    assert np.all(one != other)


def test_the_record_says_who_learns_from_whom():
    imitation = l2l.Imitation(l2l.Quadratic(2), network())
    description = json.loads(json.dumps(imitation.build(network)().description()))
    assert description == {"class": "Imitating", "learner": network().description(), "teacher": network().description()}


def test_where_the_teacher_does_not_move_there_is_no_distance(run):
    def still(gradients, state):
        return 0 * gradients, state

    imitation = l2l.Imitation(l2l.Quadratic(2), still)
    optimizer = imitation.build(lambda: one_rate(0.03))()
    meta = l2l.meta_gradient(imitation, imitation.draw(1), optimizer, tf.trainable_variables(), unroll_length=3)
    losses, gradients = run([meta.losses, meta.gradients])
    np.testing.assert_array_equal(losses, [0, 0, 0])
    np.testing.assert_array_equal(gradients, [0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: l2l.Imitation(3, l2l.sgd()), r"problem must be a Problem, such as Quadratic\(2\), got 3"),
        (lambda: l2l.Imitation(l2l.Quadratic(2), 3), "teacher must be an optimizer, a function"),
        (lambda: l2l.Imitation(l2l.Quadratic(2), l2l.sgd), "teacher must be an optimizer, not what makes one"),
        (
            lambda: l2l.Imitation(l2l.Quadratic(2), l2l.sgd()).build(lambda: 3)(),
            "build_optimizer's result must be",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(TypeError, match="^" + message):
        call()


@pytest.mark.parametrize("scale", [1e-36, 1e-24, 1e24, 1e36])
def test_updates_whose_squares_are_no_floats_have_a_distance(run, scale):
    """The teacher's rate is 0.1 and the learner's 0.03, whatever the size of the gradients."""
    imitation = l2l.Imitation(l2l.Quadratic(2), l2l.sgd(0.1))
    optimizer = imitation.build(lambda: one_rate(0.03))()
    gradients = {"error": tf.zeros([]), "x": tf.constant([0.5, -2.0]) * scale}
    update, _ = optimizer(gradients, optimizer.initial_state(gradients))
    (derivative,) = tf.gradients(update["error"], tf.trainable_variables())
    np.testing.assert_allclose(run([update["error"], derivative]), [0.49, 2 * (0.03 - 0.1) / 0.01], rtol=1e-4)


def test_where_the_teacher_stays_the_distance_is_0(run):
    imitation = l2l.Imitation(l2l.Quadratic(2), l2l.sgd(0.1))
    optimizer = imitation.build(lambda: one_rate(0.03))()
    gradients = {"error": tf.zeros([]), "x": tf.zeros([2])}
    update, _ = optimizer(gradients, optimizer.initial_state(gradients))
    (derivative,) = tf.gradients(update["error"], tf.trainable_variables())
    np.testing.assert_array_equal(run([update["error"], derivative]), [0, 0])
