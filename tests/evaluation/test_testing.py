"""The conformance checks accept what is right, and say in words what is wrong."""

import re
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager.function import defun
from trainers import learned_momentum

import l2l
from l2l.evaluation import testing
from l2l.evaluation.testing import check_optimizer, check_problem


class Valley(l2l.Problem):
    """A problem that keeps its contract, to be broken by subclasses."""

    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], 0.1, 1.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return (1 - x[0]) ** 2 + tf.reduce_sum(tf.square(x))


class Unseeded(Valley):
    def sample(self, num, seed=None):
        return tf.random.uniform([num, 2])


class Constant(Valley):
    def sample(self, num, seed=None):
        return tf.ones([num, 2])


class Random(Valley):
    def loss(self, x, draw):
        return super().loss(x, draw) * tf.random.uniform([])


class Infinite(Valley):
    def loss(self, x, draw):
        return super().loss(x, draw) / 0.0


class FiniteWithoutGradient(Valley):
    """At base iteration 0 alone."""

    def observe(self, draw, t, data):
        return draw, tf.cast(t, tf.float32)

    def loss(self, x, observed):
        draw, t = observed
        return super().loss(x, draw) + tf.sqrt(t + tf.reduce_sum(tf.square(x - draw)))


class Mixed(Valley):
    def batch_loss(self, x, draw):
        return tf.reduce_sum(tf.square(x)) * tf.ones([x.shape[0].value])


class OnceDifferentiable(Valley):
    def loss(self, x, draw):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant(0), logits=x)


class Looped(Valley):
    def loss(self, x, draw):
        return super().loss(x, draw) * tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y * x[0]), (0, 1.0))[1]


class InPython(Valley):
    def loss(self, x, draw):
        one = tf.py_func(lambda: np.float32(1), [], tf.float32)
        one.set_shape([])
        return one * super().loss(x, draw)


@pytest.fixture
def compiled_for_xla_alone(monkeypatch, request):
    """What is not about XLA need not wait for it: the same ops then run in the session."""
    if "python" not in request.node.name.lower():
        monkeypatch.setattr(testing, "_compiled", lambda function, inputs: function(*inputs))


@pytest.mark.parametrize("problem", [l2l.Quadratic(2), Valley()], ids=["quadratic", "valley"])
def test_a_problem_that_keeps_its_contract_passes(problem, capsys, monkeypatch):
    prepared, prepare = [], testing.prepare_xla
    monkeypatch.setattr(testing, "prepare_xla", lambda: prepared.append(prepare()))
    start = time.process_time()  # of this process alone, however busy the machine is
    check_problem(problem)
    assert len(prepared) == 1 and time.process_time() - start < 3
    said = capsys.readouterr().out
    assert re.match(r"%s keeps its contract, found in \d+\.\d s\. Tried:\n- sample: " % type(problem).__name__, said)
    assert "- 4 base iterations of gradient descent: each draw alone, all in a batch, and compiled by XLA\n" in said


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "problem, sentences",
    [
        (Unseeded, ["sample must follow from its seed alone"]),
        (Constant, ["sample must use its seed"]),
        (Random, ["loss and observe must be pure", "a batch of draws must have", "XLA must compute the same losses"]),
        (
            Infinite,
            [
                "loss must be finite at the initial position, got [inf inf inf]",
                "loss must have finite gradients at the initial position",
            ],
        ),
        (FiniteWithoutGradient, ["loss must have finite gradients at the initial position"]),
        (
            Mixed,
            [
                "a batch of draws cannot be computed: batch_loss of Mixed must be loss",
                "a batch of draws must have the losses of each draw alone",
                "XLA must compute the same losses",
            ],
        ),
        (OnceDifferentiable, ["loss has no second derivative"]),
        (Looped, ["loss has no second derivative"]),
        (InPython, ["XLA cannot compile it, so train with engine='graph': Detected unsupported operations"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_problem_that_breaks_it_is_told_how(problem, sentences, compiled_for_xla_alone, recwarn):
    with pytest.raises(ValueError, match="%s breaks its contract" % problem.__name__) as caught:
        check_problem(problem())
    lines = str(caught.value).split("\n")[1:]
    assert [line[2:][: len(sentence)] for line, sentence in zip(lines, sentences)] == sentences, lines
    assert len(lines) == len(sentences), lines
    assert len([one for one in recwarn if "draw by draw" in str(one.message)]) <= 1  # it is found out once


def mixing(gradients, state):
    """All coordinates of a draw shrink together, which is right as long as it does not claim to be coordinate-wise."""
    length = tf.global_norm(tf.nest.flatten(gradients))
    return tf.nest.map_structure(lambda gradient: -0.1 * gradient / length, gradients), None


@pytest.mark.parametrize(
    "build",
    [
        l2l.sgd,
        l2l.vsgd,
        lambda: mixing,
        pytest.param(lambda: l2l.CoordinatewiseLSTM((3,), "log_and_sign"), marks=pytest.mark.rehearsal),
        learned_momentum,
    ],
    ids=["sgd", "vsgd", "mixing", "lstm", "variables of its own"],
)
def test_an_optimizer_that_keeps_its_contract_passes(build, capsys):
    start = time.process_time()
    check_optimizer(build)
    assert build is not l2l.sgd or time.process_time() - start < 3
    said = capsys.readouterr().out
    name = "the optimizer" if build.__name__ == "<lambda>" else build.__name__
    assert said.startswith(name + " keeps its contract, found in ")
    assert "- 4 steps in a row, as a loop, and continued after 2" in said
    assert ("trainable variables" in said) == bool(count_of_variables(build))


def count_of_variables(build):
    with tf.Graph().as_default():
        build()
        return len(tf.trainable_variables())


def claims_to_be_coordinatewise():
    def optimizer(gradients, state):
        return mixing(gradients, state)

    optimizer.coordinatewise = True
    return optimizer


def remembers_outside_its_state():
    calls = []

    def optimizer(gradients, state):
        calls.append(None)
        return -0.1 * gradients / len(calls), state

    optimizer.coordinatewise = True
    return optimizer


def goes_otherwise_in_a_loop():
    def optimizer(gradients, state):
        rate = 0.1 if tf.get_default_graph()._get_control_flow_context() is None else 0.2
        return -rate * gradients, state

    optimizer.coordinatewise = True
    return optimizer


def has_a_variable_of_no_use():
    rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1))
    tf.get_variable("idle", [], initializer=tf.zeros_initializer())
    return lambda gradients, state: (-rate * gradients, None)


class StartsElsewhere(l2l.CoordinatewiseLSTM):
    def initial_state(self, x):
        state = super().initial_state(x)
        return state._replace(layers=tf.nest.map_structure(tf.ones_like, state.layers))

    def bind(self):
        bound = super().bind()

        def step(gradients, state, x, product):
            state = super(StartsElsewhere, self).initial_state(gradients) if state is None else state
            return bound.step(gradients, state, x, product)

        return bound._replace(step=step)


def starts_with_a_pair():
    def optimizer(gradients, state):
        return tf.nest.map_structure(lambda one: -0.1 * one, gradients), tf.zeros([]) if state is None else state

    optimizer.initial_state = lambda x: (tf.zeros([]), tf.zeros([]))
    optimizer.coordinatewise = True
    return optimizer


class ForgetsAKernel(l2l.CoordinatewiseLSTM):
    def bind(self):
        bound = super().bind()
        return bound._replace(kernels=[*bound.kernels, bound.kernels[0]])


def in_python():
    def optimizer(gradients, state):
        one = tf.py_func(lambda: np.float32(0.1), [], tf.float32)
        one.set_shape([])
        return -one * gradients, None

    return optimizer


def noisy():
    return lambda gradients, state: (
        tf.nest.map_structure(lambda one: -0.1 * one * tf.random.uniform([]), gradients),
        None,
    )


def knows_no_nests():
    return lambda gradients, state: (-0.1 * gradients, None)


def knows_nests_in_its_first_step_only():
    def optimizer(gradients, state):
        velocity = gradients if state is None else 0.9 * state + gradients
        return tf.nest.map_structure(lambda one: -0.1 * one, velocity), velocity

    return optimizer


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "build, sentence",
    [
        (knows_no_nests, "it must take a nest of gradients where the position is one"),
        (knows_nests_in_its_first_step_only, "it must take a nest of gradients where the position is one"),
        (noisy, "its update must follow from gradients and state alone"),
        (claims_to_be_coordinatewise, "it is not coordinate-wise"),
        (remembers_outside_its_state, "is something that changes from step to step not in the state?"),
        (goes_otherwise_in_a_loop, "a loop must give the losses of steps in a row"),
        (has_a_variable_of_no_use, "no meta-gradient reaches the variable 'idle'"),
        (lambda: StartsElsewhere((3,)), "the first step from initial_state must be the first step with state=None"),
        (starts_with_a_pair, "initial_state must have the structure of the states that steps return"),
        (lambda: ForgetsAKernel((3,)), "a step must multiply by each of its 3 kernels once, it used [0, 1]"),
        (in_python, "XLA cannot compile it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_optimizer_that_breaks_it_is_told_how(build, sentence):
    with pytest.raises(ValueError, match="breaks its contract") as caught:
        check_optimizer(build)
    assert sentence in str(caught.value), caught.value


def rms_of_two(gradients, state, learning_rate=0.1, decay_rate=0.99):
    """The notebook's, whose state has as many places as its problem has coordinates."""
    state = tf.zeros(2) if state is None else state
    state = decay_rate * state + (1 - decay_rate) * tf.square(gradients)
    return -learning_rate * gradients / (tf.sqrt(state) + 1e-5), state


def fixed_and_learned():
    rate, layer = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.1)), tf.layers.Dense(1)

    def optimizer(gradients, state):
        state = tf.zeros([5, 1]) if state is None else state
        rows = tf.concat([gradients[:, tf.newaxis], state], axis=1)
        return rate * layer(rows)[:, 0], state

    return optimizer


def fails_in_a_batch():
    def optimizer(gradients, state):
        return -0.1 * tf.ensure_shape(gradients, [3]), None

    optimizer.coordinatewise = True
    return optimizer


def of_another_graph():
    with tf.Graph().as_default():
        rate = tf.constant(0.1)
    return lambda gradients, state: (-rate * gradients, state)


@pytest.mark.parametrize(
    "build, sentence",
    [
        (lambda: rms_of_two, "its state has a fixed size, for 2 coordinates, and the check uses another number"),
        (fixed_and_learned, "its state has a fixed size, for 5 coordinates, and the check uses another number"),
        (fails_in_a_batch, "in a batch of 3 draws it fails with gradients of shape (3, 3): optimizer failed, line"),
        (of_another_graph, "this one uses some of another graph"),
        (lambda: lambda gradients, state: gradients, "optimizer must return a pair (update, state)"),
        (lambda: lambda gradients, state: (gradients[0], state), "optimizer's update must have shape (3,)"),
        (lambda: lambda gradients, state: (gradients * "a", state), "with gradients of shape (3,): Input 'y' of 'Mul'"),
        (lambda: lambda gradients, state: (-tf.Variable(0.1) * gradients, state), "creates its variables once"),
    ],
    ids=["fixed", "fixed and learned", "batch", "graph", "pair", "update", "dtype", "variables"],
)
def test_what_tensorflow_refuses_is_said_in_a_line(build, sentence):
    with pytest.raises(ValueError, match="breaks its contract") as caught:
        check_optimizer(build)
    lines = str(caught.value).split("\n")
    assert any(sentence in line for line in lines), caught.value
    assert all(line.startswith("- ") for line in lines[1:])


def test_layers_that_create_their_variables_at_the_first_call_pass():
    def build():
        layer = tf.layers.Dense(1)

        def optimizer(gradients, state):
            return tf.nest.map_structure(
                lambda one: tf.reshape(layer(tf.reshape(one, [-1, 1])), one.shape), gradients
            ), None

        return optimizer

    check_optimizer(build, steps=3)


@pytest.mark.parametrize("build, wrong", [(l2l.sgd, 0), (learned_momentum, 2)], ids=["losses", "meta-gradients"])
def test_it_is_noticed_where_xla_computes_something_else(build, wrong, monkeypatch):
    def compiled(function, inputs):
        results = defun(function, autograph=False)(*inputs)
        return [1.01 * one if i == wrong else one for i, one in enumerate(results)]

    def meta_gradient(*arguments, loop, **more):
        assert loop == "while"  # as where XLA trains
        return l2l.meta_gradient(*arguments, loop=loop, **more)

    monkeypatch.setattr(testing, "_compiled", compiled)
    monkeypatch.setattr(testing, "meta_gradient", meta_gradient)
    with pytest.raises(ValueError, match=r"contract:\n- XLA must compute the same .*, it does not$"):
        check_optimizer(build)


def test_what_cannot_even_be_built_for_xla_is_said(monkeypatch):
    def compiled(function, inputs):
        raise NotImplementedError("no code for it")

    monkeypatch.setattr(testing, "_compiled", compiled)
    for check in [lambda: check_problem(Valley()), lambda: check_optimizer(l2l.sgd)]:
        with pytest.raises(ValueError, match=r"contract:\n- (XLA cannot compile .*: )?no code for it \(line"):
            check()


@pytest.mark.parametrize(
    "which, sentences",
    [
        ({"loop": "while"}, ["a loop must give the losses of steps in a row", "XLA must compute the same losses"]),
        ({"first": 2}, ["an unroll that is continued must give the losses of one that is not"]),
        ({"batch": 3}, ["a batch of draws must have the losses of each draw alone"]),
    ],
    ids=str,
)
def test_each_unroll_is_compared(which, sentences, monkeypatch, compiled_for_xla_alone):
    """Where one kind alone has other losses, that kind is named, and no other."""

    def unroll(*arguments, **more):
        done = l2l.unroll(*arguments, **more)
        ((name, value),) = which.items()
        return done._replace(losses=1.01 * done.losses) if more.get(name) == value else done

    monkeypatch.setattr(testing, "unroll", unroll)
    with pytest.raises(ValueError, match="breaks its contract") as caught:
        check_optimizer(l2l.sgd)
    lines = str(caught.value).split("\n")[1:]
    assert [line[2:][: len(sentence)] for line, sentence in zip(lines, sentences)] == sentences, lines
    assert len(lines) == len(sentences), lines


def test_for_xla_a_problem_is_in_a_loop(monkeypatch, compiled_for_xla_alone):
    def unroll_bound(*arguments, loop, **more):
        done = unroll(*arguments, loop=loop, **more)
        return done._replace(losses=1.01 * done.losses) if loop == "while" else done

    unroll = testing.unroll_bound
    monkeypatch.setattr(testing, "unroll_bound", unroll_bound)
    with pytest.raises(ValueError, match=r"contract:\n- XLA must compute the same losses, it does not$"):
        check_problem(Valley())


class Unsized(Valley):
    def initial_position(self, draw):
        return tf.placeholder_with_default(draw, [None])


@pytest.mark.filterwarnings("ignore:Unsized is computed draw by draw")
def test_a_position_of_unknown_size_is_named(compiled_for_xla_alone):
    with pytest.raises(ValueError, match=r"initial_position must have static shapes, got .*\(\?,\)"):
        check_problem(Unsized())


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(TypeError, match="problem must be a Problem"):
        check_problem(Valley)
    with pytest.raises(TypeError, match="build must be a function without arguments"):
        check_optimizer(mixing)
    with pytest.raises(ValueError, match="steps must be at least 3, got 2"):
        check_optimizer(l2l.sgd, steps=2)
    with pytest.raises(TypeError, match="build's result must be callable, got 3"):
        check_optimizer(lambda: 3)


def test_losses_that_are_no_numbers_at_all_can_be_compared():
    nothing = np.full(3, np.nan)
    assert testing._close([nothing], [nothing]) and not testing._close([np.zeros(3)], [nothing])
    assert testing._close([np.zeros(3), np.ones(2)], [np.full(3, 9e-6), np.ones(2)])
    assert not testing._close([np.zeros(3), np.ones(2)], [np.zeros(3), np.full(2, 1.1)])
    assert testing._close([np.full(2, 1e-3)], [np.full(2, 1.0005e-3)])
    assert testing._close([np.array([0.0, 1e3])], [np.array([5e-3, 1e3])])
    assert testing._unchanged(nothing, nothing) and testing._unchanged(np.ones(2), np.ones(2))
    assert not testing._unchanged(np.ones(2), np.zeros(2))
