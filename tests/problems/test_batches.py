"""A batch is compared with single draws: what TensorFlow vectorizes, and a problem's own form for many."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested
from tensorflow.python.ops.parallel_for.pfor import _pfor_converter_registry, wrap

import l2l
from l2l.problems.batches import check_batch
from l2l.problems.problem import sample


class Own(l2l.Quadratic):
    """A quadratic whose form for batches is given, as a function of the right losses."""

    def __init__(self, batch_loss):
        super().__init__(2)
        self._batch_loss = batch_loss

    def batch_loss(self, x, draw):
        return self._batch_loss(super().batch_loss(x, draw))


def check(problem, batch=3, **arguments):
    """Whether a batch of the problem has to be computed draw by draw."""
    draws = sample(problem, batch, 1)
    agreement = check_batch(problem, draws, batch, **arguments)
    with tf.Session() as session:
        return agreement(session, {})


def with_gradient(values, gradient_of):
    """These values, with the gradient of other ones."""
    return gradient_of - tf.stop_gradient(gradient_of) + tf.stop_gradient(values)


@pytest.mark.parametrize("right", [lambda losses: losses, lambda losses: losses * (1 + 1e-6)])
def test_a_right_form_is_accepted(right):
    assert not check(Own(right), second_derivatives=True)
    assert not check(l2l.Quadratic(2))


@pytest.mark.parametrize(
    "wrong, what",
    [
        (lambda losses: 1.01 * losses, "losses"),
        (lambda losses: losses[::-1], "losses"),
        (lambda losses: losses + 0 * losses[0] + 1e-2, "losses"),
        (lambda losses: tf.fill([3], tf.reduce_mean(losses)), "losses"),
        (lambda losses: tf.stop_gradient(losses), "gradients"),
        (lambda losses: with_gradient(losses, 2 * losses), "gradients"),
        (lambda losses: with_gradient(losses, tf.fill([3], losses[0])), "gradients"),
        (lambda losses: losses * np.array([1, 1, np.nan], np.float32), "losses"),
        (lambda losses: losses * np.array([1.01, 1, 1], np.float32), "losses"),
    ],
)
def test_a_wrong_form_is_found(wrong, what):
    with pytest.raises(
        ValueError,
        match=r"batch_loss of Own must be loss of each draw; for 3 draws it has %s \[.+\], and loss has \[.+\]" % what,
    ):
        check(Own(wrong))


def test_a_form_that_is_right_at_the_start_alone_is_found():
    class RightAtTheStart(l2l.Quadratic):
        def initial_position(self, draw):
            return tf.zeros_like(draw.start)

        def batch_loss(self, x, draw):
            return super().batch_loss(x, draw) + tf.reduce_sum(tf.square(x), axis=1)

    with pytest.raises(ValueError, match="batch_loss of RightAtTheStart must be loss of each draw"):
        check(RightAtTheStart(2))


def test_small_losses_are_compared_on_their_own_scale():
    class Small(l2l.Quadratic):
        def loss(self, x, draw):
            return 1e-10 * super().loss(x, draw)

        def batch_loss(self, x, draw):
            return 1.01e-10 * super().batch_loss(x, draw)

    with pytest.raises(ValueError, match="batch_loss of Small must be loss of each draw"):
        check(Small(2))


def test_second_derivatives_that_there_are_none_of_are_not_compared():
    class Labels(l2l.Quadratic):
        batch_loss = l2l.Problem.batch_loss

        def loss(self, x, draw):
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant(0), logits=x)

    with pytest.warns(RuntimeWarning, match="Labels is computed draw by draw"):
        assert check(Labels(2), second_derivatives=True)


def test_losses_that_are_infinite_or_nan_in_both_forms_agree():
    class Bad(l2l.Quadratic):
        def loss(self, x, draw):
            return super().loss(x, draw) * np.float32(np.nan)

    check(Bad(2))


def test_nests_are_compared_tensor_by_tensor():
    class NestedTogether(Nested):
        def batch_loss(self, x, draw):
            return tf.reduce_sum(tf.square(x["matrix"]), axis=[1, 2]) + tf.square(x["scalar"] - draw)

    class WrongNested(NestedTogether):
        def batch_loss(self, x, draw):
            losses = super().batch_loss(x, draw)
            return with_gradient(losses, losses + x["scalar"])

    check(NestedTogether())
    with pytest.raises(ValueError, match=r"batch_loss of WrongNested .* has gradients"):
        check(WrongNested())


def test_the_draws_to_compare_may_be_fed():
    problem = Own(lambda losses: tf.where(losses > 100, 2 * losses, losses))
    draws = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape), sample(problem, 3, 1))
    agreement = check_batch(problem, draws, 3)
    ones = np.ones([3, 2])
    with tf.Session() as session:
        agreement(session, {draws.scale: ones, draws.start: ones})
        with pytest.raises(ValueError, match="batch_loss of Own"):
            agreement(session, {draws.scale: ones, draws.start: 100 * ones})


def test_losses_of_zero_agree():
    class Flat(l2l.Quadratic):
        def loss(self, x, draw):
            return 0 * super().loss(x, draw)

        def batch_loss(self, x, draw):
            return 0 * super().batch_loss(x, draw)

    check(Flat(2))


@tf.custom_gradient
def rounded(x):
    """To quarters, with the gradient of no rounding."""
    return tf.round(4 * x) / 4, lambda gradient: gradient


@tf.custom_gradient
def reversed_gradient(x):
    return tf.identity(x), lambda gradient: -gradient


def in_a_function(x):
    return tf.function(rounded, autograph=False)(x)


def in_a_loop(x):
    """The number of turns depends on the position."""
    turns = 2 + tf.cast(3 * tf.abs(x[0]), tf.int32)
    return tf.while_loop(lambda i, y: i < turns, lambda i, y: (i + 1, 0.5 * y), (0, x))[1]


class Through(l2l.Problem):
    """A square behind a function of the position."""

    def __init__(self, function):
        self.function = function

    def sample(self, num, seed=None):
        return l2l.uniform([num, 3], -1.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(self.function(x) - 0.3))


DRAW_BY_DRAW = {
    "custom gradient": (rounded, "custom gradient of the op IdentityN"),
    "reversal": (reversed_gradient, "custom gradient of the op IdentityN"),
    "custom gradient in a function": (in_a_function, "custom gradient"),
    "scan": (lambda x: tf.scan(lambda sum, one: 0.5 * sum + one, x), "a loop, the op LoopCond"),
    "loop as long as the draw says": (in_a_loop, "a loop, the op LoopCond"),
    "gather in batches": (
        lambda x: tf.gather(tf.stack([x, 2 * x]), [[0, 2], [1, 1]], batch_dims=1),
        "would ignore the batch_dims of the op GatherV2",
    ),
    "cond": (lambda x: tf.cond(x[0] > 0, lambda: x, lambda: 2 * x), "Switch"),
}


@pytest.mark.parametrize("function, words", DRAW_BY_DRAW.values(), ids=DRAW_BY_DRAW)
def test_what_tensorflow_would_vectorize_wrongly_is_computed_draw_by_draw(run, function, words):
    """The losses of gradient descent in a batch are then those of each draw alone, and one warning names the op."""
    problem = Through(function)
    draws = problem.sample(2, 1)
    with pytest.warns(RuntimeWarning, match="^Through is computed draw by draw, not vectorized") as caught:
        losses = l2l.learn(problem, draws, l2l.sgd(0.1), steps=2, batch=2)
    messages = [str(one.message) for one in caught if one.category is RuntimeWarning]
    assert len(messages) == 1 and words in messages[0]
    losses, alone = run([losses, [l2l.learn(problem, draws[i], l2l.sgd(0.1), steps=2) for i in range(2)]])
    np.testing.assert_allclose(losses.T, alone, rtol=1e-5)
    assert (losses[-1] != losses[0]).any()


@pytest.mark.parametrize(
    "function",
    [lambda x: tf.norm(x)[tf.newaxis], lambda x: tf.squeeze(tf.reduce_sum(x, keepdims=True))[tf.newaxis], rounded],
    ids=["norm", "squeeze", "custom gradient"],
)
def test_one_draw_is_not_vectorized_and_needs_no_warning(function, recwarn):
    problem = Through(function)
    losses = l2l.evaluate(problem, {"SGD": l2l.sgd(0.1)}, draws=1, steps=2, engine="graph")["SGD"]
    assert not [one for one in recwarn if one.category is RuntimeWarning]
    with tf.Graph().as_default(), tf.Session() as session:
        alone = l2l.learn(problem, problem.sample(1, -1)[0], l2l.sgd(0.1), steps=2)
        np.testing.assert_allclose(losses[0], session.run(alone), rtol=1e-5)


def fails_when_it_runs(x):
    return tf.reshape(x, tf.placeholder_with_default([-1, 2], [2]))


def wrong_second_derivative(x):
    y, moved = tf.nn.softplus(x), x - tf.stop_gradient(x)
    return y + 3 * moved**2


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda x: 1.1 * tf.nn.softplus(x), "vectorized, its losses would be"),
        (lambda x: tf.stop_gradient(tf.nn.softplus(x)), "vectorized, its gradients would be"),
        (wrong_second_derivative, "vectorized, its second derivatives would be"),
        (fails_when_it_runs, r"vectorized, the op Reshape \('check_batch_\d+/.*'\) fails"),
    ],
)
def test_a_wrong_vectorized_form_that_nobody_knows_of_is_found(monkeypatch, wrong, words):
    def converter(pfor_input):
        return wrap(wrong(pfor_input.stacked_input(0)), True)

    monkeypatch.setitem(_pfor_converter_registry, "Softplus", converter)
    with pytest.warns(RuntimeWarning, match=words):
        assert check(Through(tf.nn.softplus), second_derivatives=True)


class OwnSquare(Through):
    """The function is that of the start; the loss has a form of its own for many draws."""

    def __init__(self, function, factor=1.0):
        super().__init__(function)
        self._factor = factor

    def initial_position(self, draw):
        return self.function(draw)

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x))

    def batch_loss(self, x, draw):
        return self._factor * tf.reduce_sum(tf.square(x), axis=1)


def test_a_start_that_is_vectorized_wrongly_is_not_taken_for_a_wrong_loss(monkeypatch):
    def converter(pfor_input):
        return wrap(1.1 * tf.nn.softplus(pfor_input.stacked_input(0)), True)

    monkeypatch.setitem(_pfor_converter_registry, "Softplus", converter)
    with pytest.warns(RuntimeWarning, match="vectorized, its initial positions would be"):
        assert check(OwnSquare(tf.nn.softplus))


def test_the_first_base_iteration_is_compared_and_no_other():
    """There may be no other."""

    class OfOneStep(Through):
        def observe(self, draw, t, data):
            with tf.device("/cpu:0"):
                return tf.gather(tf.reshape(draw, [1, 3]), t)

        def loss(self, x, draw):
            return tf.reduce_sum(tf.square(x - draw))

    assert not check(OfOneStep(None))


def test_a_failure_within_a_loop_leaves_nothing_behind():
    """TensorFlow has no second derivative of a loop, neither of one draw's nor of an own form's."""

    class Looped(Through):
        def batch_loss(self, x, draw):
            return tf.map_fn(lambda one: self.loss(one, None), x)

    with pytest.warns(RuntimeWarning, match="^Through is computed draw by draw"):
        assert check(Through(DRAW_BY_DRAW["scan"][0]), batch=2, second_derivatives=True)
    with pytest.raises(ValueError, match=r"^second_derivatives must be False for a loss .*: Second-order"):
        check(Looped(tf.square), batch=2, second_derivatives=True)


def test_a_draw_that_cannot_be_computed_is_an_error_in_a_sentence():
    def gathered(x):
        with tf.device("/cpu:0"):
            return tf.gather(x, 3 + tf.cast(0 * x[0], tf.int32))

    with pytest.raises(ValueError, match=r"^loss of Through cannot be computed: .*not in"):
        check(Through(gathered))


def test_an_own_form_is_compared_beside_a_start_that_has_to_be_computed_draw_by_draw():
    with pytest.warns(RuntimeWarning, match="OwnSquare is computed draw by draw") as caught:
        assert check(OwnSquare(rounded))
    assert len(caught) == 1
    sentence = r"^batch_loss of OwnSquare must be loss of each draw; for 3 draws it has losses"
    with pytest.raises(ValueError, match=sentence), pytest.warns(RuntimeWarning):
        check(OwnSquare(rounded, 1.1))


def test_a_training_in_a_batch_has_the_meta_gradient_of_its_draws():
    """Without the custom gradient nothing would be learned: the gradient of rounding is 0."""
    settings = {"unroll_length": 3, "batch": 3, "engine": "graph", "second_derivatives": False}
    with pytest.warns(RuntimeWarning, match="Through is computed draw by draw"):
        trainer = l2l.Trainer(Through(rounded), lambda: l2l.CoordinatewiseLSTM((2,)), **settings)
    assert trainer.run(1).gradient_norm[0] > 0
