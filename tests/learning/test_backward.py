"""The hand-written backward loop, against `tf.gradients` of the same base iterations written out, in float64."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested, Regression
from segment_helpers import assert_same, meta_gradient, results
from trainers import ENGINES, small

import l2l
from l2l.learning import backward


def lstm(hidden=(3,), casting="none"):
    return l2l.CoordinatewiseLSTM(hidden, casting, dtype=tf.float64)


def weight(name, shape=(), value=0.1):
    return tf.get_variable(name, shape, tf.float64, tf.constant_initializer(value), use_resource=True)


def compare(optimizer, problem=None, draw=None, rtol=1e-9, **more):
    """Everything that both loops make."""
    problem = l2l.Quadratic(2, tf.float64) if problem is None else problem
    batch = more.get("batch")
    if draw is None:
        draw = problem.draw(3) if batch is None else problem.sample(batch, 3)
    variables = tf.trainable_variables()
    arguments = problem, draw, optimizer, variables
    ours, theirs = results([meta_gradient(*arguments, loop=loop, **more) for loop in ["while", "python"]])
    assert_same(ours, theirs, rtol=rtol)
    assert any(np.any(gradient) for gradient in theirs[3 : 3 + len(variables)])


@pytest.mark.parametrize(
    "hidden, casting, steps, second_derivatives, most",
    [
        ((3,), "none", 2, True, 64),
        ((3,), "log", 5, True, 1),
        ((3, 4), "none", 3, False, 64),
        ((3, 4), "log_and_sign", 2, True, 64),
        ((3, 2, 4), "log", 3, False, 64),
    ],
)
def test_the_networks(monkeypatch, hidden, casting, steps, second_derivatives, most):
    monkeypatch.setattr(backward, "MOST_ROWS_KEPT", most)
    compare(lstm(hidden, casting), unroll_length=steps, second_derivatives=second_derivatives, carry_on=True)


def typed(gradients, state, rate, decay):
    """Momentum as one would type it into a cell, with what is learned given.

    The rate is gathered: its gradients are slices, of which the static shape is lost.
    """
    state = tf.zeros_like(gradients) if state is None else state
    state = tf.sigmoid(decay) * state + gradients
    return -tf.gather(rate, [0, 0]) * state, state


@pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices:UserWarning")  # of the gather
@pytest.mark.parametrize("steps, second_derivatives", [(2, True), (3, False), (5, True)])
def test_a_typed_in_optimizer_whose_first_state_is_none(steps, second_derivatives):
    rate, decay = weight("rate", [1]), weight("decay", (), -0.3)
    compare(
        lambda gradients, state: typed(gradients, state, rate, decay),
        unroll_length=steps,
        second_derivatives=second_derivatives,
        carry_on=True,
    )


def test_a_state_of_integers_and_none_beside_what_is_differentiated():
    rate = weight("rate")

    def counting(gradients, state):
        count, mean = (tf.constant(0), 0.5 * gradients) if state is None else (state["count"], state["mean"])
        mean = 0.9 * mean + rate * gradients
        after = {"count": count + 1, "hole": None, "mean": mean, "flag": tf.constant(True)}
        return -rate * mean / tf.cast(count + 1, tf.float64), after

    compare(counting, unroll_length=5, carry_on=True)


class Warm:
    """An optimizer whose first state is learned, as is a matrix product of its step."""

    coordinatewise = True

    def __init__(self):
        self.start, self.rate = weight("start", [3], 0.4), weight("rate", [3, 1], -0.2)

    def initial_state(self, x):
        return tf.tile(self.start[tf.newaxis], [x.shape[0].value, 1])

    def __call__(self, gradients, state):
        state = self.initial_state(gradients) if state is None else state
        state = 0.5 * state + tf.tanh(gradients)[:, tf.newaxis]
        return tf.squeeze(tf.matmul(state, self.rate), axis=1), state


@pytest.mark.parametrize("steps", [2, 4])
def test_an_initial_state_that_depends_on_a_trained_variable(steps):
    compare(Warm(), unroll_length=steps, carry_on=True)


class Bound:
    """An optimizer that computes tensors from its variables once an unroll: one of them a kernel, two of them not.

    It reads a part of the kernel itself too.
    """

    coordinatewise = True

    def __init__(self):
        self.kernel, self.rate, self.shift = weight("kernel", [2, 1], 0.3), weight("rate"), weight("shift", [2], 0.2)

    def __call__(self, gradients, state):
        return self.bind().plain_step(gradients, state, None)

    def bind(self):
        kernel, rate, shift = tf.tanh(self.kernel), tf.exp(self.rate), self.shift + 1

        def step(gradients, state, x, product):
            state = tf.zeros_like(gradients) if state is None else state
            state = 0.5 * state + gradients
            outputs = product(0, tf.stack([gradients, state], axis=1))
            update = -0.1 * rate * tf.squeeze(outputs, axis=1) * shift + 0.01 * self.rate * gradients
            return update + 0.02 * kernel[0, 0] * gradients, state

        return l2l.Bound(step, [kernel])


@pytest.mark.parametrize("steps, second_derivatives", [(3, True), (5, False)])
def test_what_is_bound_beside_kernels(steps, second_derivatives):
    compare(Bound(), unroll_length=steps, second_derivatives=second_derivatives, carry_on=True)


class TwoKernels:
    """An optimizer that uses its second kernel first; they have one shape, so that no shape tells them apart."""

    coordinatewise = True

    def __init__(self):
        self.kernels = [
            weight("first", [2, 2], [[0.3, 0.1], [0.2, -0.4]]),
            weight("second", [2, 2], [[1.0, 0.5], [0.1, 0.7]]),
        ]

    def __call__(self, gradients, state):
        return self.bind().plain_step(gradients, state, None)

    def initial_state(self, x):
        return tf.zeros_like(x)

    def bind(self):
        kernels = [tf.tanh(kernel) for kernel in self.kernels]

        def step(gradients, state, x, product):
            state = tf.zeros_like(gradients) if state is None else state
            hidden = tf.tanh(product(1, tf.stack([gradients, state], axis=1)))
            hidden.shape.assert_is_fully_defined()
            outputs = product(0, hidden)
            return -0.1 * outputs[:, 0], outputs[:, 1]

        return l2l.Bound(step, kernels)


class Unique(l2l.Quadratic):
    """Its loss has an op without a gradient, on the way from the draw, which nobody trains."""

    def loss(self, x, draw):
        scale = tf.unique(draw.scale).y
        scale.set_shape(draw.scale.shape)
        return super().loss(x, draw._replace(scale=scale))


@pytest.mark.parametrize("most", [1, 64])
def test_kernels_may_be_used_in_any_order(monkeypatch, most):
    monkeypatch.setattr(backward, "MOST_ROWS_KEPT", most)
    compare(TwoKernels(), Unique(2, tf.float64), unroll_length=3, carry_on=True)


def test_a_kernel_that_is_used_twice_is_refused(fixed_draw):
    class Twice(TwoKernels):
        def bind(self):
            bound = super().bind()
            return l2l.Bound(
                lambda g, state, x, product: bound.step(g, state, x, lambda i, one: product(0, one)), bound.kernels
            )

    optimizer = Twice()
    words = r"optimizer must multiply by each of its 2 kernels once a step, it used \[0, 0\]"
    with pytest.raises(ValueError, match=words):
        meta_gradient(
            l2l.Quadratic(2, tf.float64),
            fixed_draw(np.float64),
            optimizer,
            optimizer.kernels,
            unroll_length=3,
            loop="while",
        )


@pytest.mark.parametrize("optimizer", [lstm, Bound, Warm], ids=["lstm", "bound", "warm"])
def test_many_draws_at_once(optimizer):
    """Of the optimizers, one knows draws as rows; the others are mapped, or see all coordinates as one."""
    optimizer = optimizer()
    if not isinstance(optimizer, l2l.CoordinatewiseLSTM):
        optimizer.coordinatewise = False
    compare(optimizer, unroll_length=3, batch=3, carry_on=True, meta_loss="sum_log")


class Gathered(Nested):
    """Its gradients have slices."""

    def loss(self, x, draw):
        return super().loss({**x, "matrix": tf.gather(x["matrix"], [1, 0, 1])}, draw)


def test_nested_positions():
    compare(lstm(), Gathered(tf.float64), unroll_length=3, carry_on=True)


def test_minibatches_of_a_later_part_of_a_life():
    compare(TwoKernels(), Regression(), unroll_length=4, first=5, carry_on=True)


def test_a_nest_of_a_typed_in_optimizer():
    rate = weight("rate")

    def nested(gradients, state):
        state = gradients if state is None else tf.nest.map_structure(lambda a, b: 0.5 * a + b, state, gradients)
        return tf.nest.map_structure(lambda tensor: -rate * tensor, state), state

    compare(nested, Nested(tf.float64), unroll_length=4, carry_on=True)


def test_a_meta_loss_of_the_last_loss_alone():
    compare(TwoKernels(), unroll_length=4, meta_loss="end_log", second_derivatives=False)


def test_a_state_that_changes_in_a_loop_is_refused(fixed_draw):
    rate = weight("rate")

    def growing(gradients, state):
        return -rate * gradients, gradients if state is None else tf.concat([state, gradients], axis=0)

    with pytest.raises(ValueError, match="optimizer's state must keep its structure, shapes and dtypes"):
        meta_gradient(
            l2l.Quadratic(2, tf.float64), fixed_draw(np.float64), growing, [rate], unroll_length=4, loop="while"
        )


def build_too_early():
    """Computes with its variable once, where a compiled loop would never see it change."""
    rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(-2.0))
    positive = tf.exp(rate, name="computed_too_early")
    return lambda gradients, state: (-positive * gradients, state)


def build_in_time():
    rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(-2.0))
    return lambda gradients, state: (-tf.exp(rate) * gradients, state)


@pytest.mark.parametrize(
    "settings", [{}, {"unroll_length": 2}, {"unroll_length": 2, "batch": 2, "threads": 2}], ids=str
)
def test_what_is_computed_with_variables_when_they_are_created_is_refused_by_name(settings):
    """Also where there is no loop: the segment of two losses has one update."""
    words = r"the optimizer must not compute with its variables .* 'computed_too_early' is"
    with pytest.raises(ValueError, match=words):
        small(build_optimizer=build_too_early, engine="xla", **settings)


def test_op_by_op_it_follows_the_training():
    trainers = [small(build_optimizer=build, engine="graph") for build in [build_too_early, build_in_time]]
    one, other = (trainer.run(5).meta_loss for trainer in trainers)
    np.testing.assert_allclose(one, other, rtol=1e-6)


@tf.function
def either(x):
    """Half the squares, of which both branches are the same function."""
    return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.reduce_sum(x**2) / 2, lambda: tf.reduce_sum(x**2) / 2)


class Branching(l2l.Quadratic):
    """Half the squares as a `tf.function` with a `tf.cond`, which keeps what it traced first."""

    def loss(self, x, draw):
        return either(x)


def network():
    return l2l.CoordinatewiseLSTM((3,))


def test_a_tf_function_with_a_branch_has_no_second_derivative_that_xla_compiles():
    trainer = small(problem=Branching(2), build_optimizer=network, unroll_length=3, engine="xla")
    with pytest.raises(ValueError, match="engine='xla' cannot compile this problem"):
        trainer.run(1)


@pytest.mark.rehearsal
def test_a_tf_function_with_a_branch_trains_compiled_without_second_derivatives():
    settings = {"build_optimizer": network, "unroll_length": 3, "second_derivatives": False}
    trainers = [small(problem=Branching(2), engine=engine, **settings) for engine in ENGINES]
    one, other = (trainer.run(3).meta_loss for trainer in trainers)
    np.testing.assert_allclose(one, other, rtol=1e-5)
