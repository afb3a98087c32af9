"""Meta-optimizers and schedules of the meta-learning rate: in both engines, in records, across a resume."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from trainers import ENGINES, Listed, assert_same_run, learned_momentum, one_rate

import l2l
from l2l.learning.engines import CannotCompileError
from l2l.learning.settings import Settings


def momentum(rate):
    return tf.train.MomentumOptimizer(rate, 0.9)


class Unknown(tf.train.GradientDescentOptimizer):
    """Gradient descent with an op that XLA does not know."""

    def _resource_apply_dense(self, grad, handle):
        (first,) = tf.split(tf.unique(tf.reshape(grad, [1])).y, [1])
        return super()._resource_apply_dense(tf.reshape(first, []), handle)


class Falling(l2l.Problem):
    """`f(x) = x` from 0: where the update is one weight, its meta-gradient is 1, for every draw but a bad one."""

    def sample(self, num, seed=None):
        return l2l.uniform([num], 0.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return tf.zeros([1])

    def loss(self, x, draw):
        return x[0]


def one_update():
    weight = tf.get_variable("weight", [], initializer=tf.zeros_initializer())
    return lambda gradients, state: (weight * gradients, state)


def trainer(**changes):
    settings = {"unroll_length": 2, "engine": "graph", "learning_rate": 0.01, "weights_seed": 1, **changes}
    problem, build = settings.pop("problem", l2l.Quadratic(2)), settings.pop("build", learned_momentum)
    return l2l.Trainer(problem, build, **settings)


def falling(engine, number, **settings):
    """The weight after a training on `Falling`."""
    settings.update(problem=Falling(), build=one_update, meta_loss="end", engine=engine)
    with trainer(**settings) as one:
        one.run(number)
        return one.weights()[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_schedule_of_the_rate_sees_the_number_of_updates_within_a_call(engine):
    """With gradients of 1, momentum and a rate of `0.1 / (1 + n)`, in NumPy."""

    def rate(n):
        assert n.dtype == tf.int64 and n.shape == []
        return 0.1 / (1.0 + tf.cast(n, tf.float32))

    velocity, weight = 0.0, 0.0
    for n in range(7):
        velocity = 0.9 * velocity + 1
        weight -= 0.1 / (1 + n) * velocity
    # One call of the compiled engine is several meta-iterations.
    found = falling(engine, 7, learning_rate=rate, meta_optimizer=momentum)
    np.testing.assert_allclose(found, weight, rtol=1e-5)


def test_a_rate_that_decays_is_what_it_was_computed_as(run):
    """Float64, then float32, as every version has computed it: Episode 3's figures depend on it."""
    _rates, decay = [], l2l.exponential_decay(3e-3, 7)  # no parameter of what is trained

    def noting(rate):
        _rates.append(rate)
        return tf.train.GradientDescentOptimizer(rate)

    found = [falling("graph", n, learning_rate=decay, meta_optimizer=noting) for n in (1, 2, 9)]
    expected = np.cumsum([np.float32(3e-3 * 0.5 ** (n / 7)) for n in range(9)], dtype=np.float32)
    assert [-one for one in found] == [expected[0], expected[1], expected[8]]
    assert len(_rates) == 3 and {rate.dtype for rate in _rates} == {tf.float32}  # once a graph


@pytest.mark.parametrize("engine", ENGINES)
def test_only_updates_that_were_applied_count(engine):
    starts, bad_at = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], [-1, 0, -1]
    schedule = l2l.piecewise_constant([1], [0.01, 0.0])  # two updates, and no more
    settings = {"problem": Listed(starts, bad_at), "build": one_rate, "learning_rate": schedule, "engine": engine}
    weights = []
    with trainer(**settings) as one, pytest.warns(RuntimeWarning, match="changes no weight"):
        for _ in range(4):
            one.run(1)
            weights += one.weights()
        assert one.snapshot()["variables/meta_optimizer/updates"] == 3
    assert weights[0] == weights[1] != weights[2] == weights[3]


@pytest.mark.parametrize("engine", ["graph", pytest.param("xla", marks=pytest.mark.rehearsal)])
def test_a_resumed_training_goes_on_bit_for_bit(engine, tmp_path):
    """With slots and counters of other optimizers than Adam."""
    makers = {
        "momentum": (momentum, l2l.warmup(5, l2l.cosine_decay(0.1, 20))),
        "rmsprop": (functools.partial(tf.train.RMSPropOptimizer, momentum=0.5, centered=True), 0.01),
    }
    for name, (maker, rate) in makers.items():
        settings = {"learning_rate": rate, "meta_optimizer": maker, "engine": engine, "horizon": 6}
        folder = str(tmp_path / name)
        with trainer(**settings) as whole:
            whole.run(9)
            with trainer(checkpoint_dir=folder, **settings) as first:
                first.run(4)
            with trainer(**settings) as resumed:
                resumed.restore(folder)
                resumed.run(5)
                assert_same_run(resumed, whole)
            assert any("Momentum" in key or "RMSProp_2" in key for key in whole.snapshot())


@pytest.mark.rehearsal
def test_both_engines_agree():
    for maker in (momentum, tf.train.AdagradOptimizer):
        weights = []
        for engine in ENGINES:
            settings = {"meta_optimizer": maker, "learning_rate": l2l.exponential_decay(0.1, 3), "batch": 2}
            with trainer(engine=engine, **settings) as one:
                one.run(6)
                weights.append(one.weights())
        np.testing.assert_allclose(*weights, rtol=1e-4)


def test_an_optimizer_may_go_through_the_pairs_more_than_once():
    with trainer(meta_optimizer=lambda rate: tf.contrib.opt.MovingAverageOptimizer(momentum(rate))) as one:
        one.run(2)
        assert "variables/r/ExponentialMovingAverage" in one.snapshot()


def test_what_xla_cannot_compile_is_refused_by_name():
    words = "engine='xla' cannot compile this problem, optimizer, meta_loss or meta_optimizer; engine='graph' can"
    with trainer(meta_optimizer=Unknown, engine="xla_or_graph") as one:
        with pytest.warns(RuntimeWarning, match=words + ".*Unique.*Going on with engine='graph'"):
            one.run(3)
        assert one.history.config["engine"] == "graph"
    with trainer(meta_optimizer=Unknown, engine="xla") as one, pytest.raises(CannotCompileError, match=words):
        one.run(1)


@pytest.mark.parametrize(
    "bad, message, engine",
    [
        (tf.keras.optimizers.SGD, "meta_optimizer must return a tf.train.Optimizer, got <.*SGD object", "xla"),
        (lambda rate: None, "meta_optimizer must return a tf.train.Optimizer, got None", "graph"),
        (lambda rate: tf.train.AdamOptimizer, "meta_optimizer must return a tf.train.Optimizer, got <class", "graph"),
    ],
)
def test_what_creates_no_optimizer_is_refused(bad, message, engine):
    with pytest.raises(TypeError, match="^" + message):
        trainer(meta_optimizer=bad, engine=engine)


@pytest.mark.parametrize(
    "bad, message",
    [
        (tf.train.AdamOptimizer(0.1), "meta_optimizer must be a function of the learning rate that creates one, got <"),
        (lambda: tf.train.AdamOptimizer(0.1), "meta_optimizer must be a function of one argument, the learning rate"),
        ("adam", "meta_optimizer must be callable, got 'adam'"),
    ],
)
def test_what_is_no_function_of_the_rate_is_refused(bad, message):
    with pytest.raises(TypeError, match="^" + message):
        Settings(meta_optimizer=bad)


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (lambda: lambda: 0.1, TypeError, "learning_rate must be a function of one argument, t, got"),
        (lambda: lambda n: None, TypeError, "the result of the schedule learning_rate must be a tensor, got None"),
        (lambda: lambda n: [0.1], ValueError, "the result of the schedule learning_rate must be a scalar tensor"),
        (lambda: tf.constant(0.1), TypeError, "learning_rate must be a positive number of float32, .* got <tf.Tensor"),
    ],
)
def test_what_is_no_rate_is_refused(bad, error, message):
    with pytest.raises(error, match="^" + message):
        trainer(learning_rate=bad())


def test_both_are_in_the_record():
    with trainer() as one:
        record = one.history.config
    assert record["learning_rate"] == 0.01 and record["meta_optimizer"] is None
    assert record["code"]["learning_rate"] is record["code"]["meta_optimizer"] is None
    schedule = l2l.warmup(5, 0.1)
    with trainer(learning_rate=schedule, meta_optimizer=momentum) as one:
        record = one.history.config
    assert record["learning_rate"] == schedule.description() and record["code"]["learning_rate"] is None
    assert record["meta_optimizer"] == "momentum" and set(record["code"]["meta_optimizer"]) == {"function", "code"}
    with trainer(learning_rate=lambda n: 0.1) as one:
        record = one.history.config
    assert record["learning_rate"].endswith("<lambda>") and "code" in record["code"]["learning_rate"]


def test_a_training_with_another_one_is_refused(tmp_path):
    def with_decay(decay):
        return lambda rate: tf.train.MomentumOptimizer(rate, decay)

    same = {"meta_optimizer": with_decay(0.9), "learning_rate": l2l.cosine_decay(0.1, 20)}
    with trainer(checkpoint_dir=str(tmp_path), **same) as one:
        one.run(1)
    others = [
        ({"meta_optimizer": None}, "meta_optimizer="),
        ({"meta_optimizer": with_decay(0.8)}, "decay=0.9 there, 0.8 here"),
        ({"meta_optimizer": lambda rate: tf.train.MomentumOptimizer(rate, 0.9)}, "meta_optimizer"),
        ({"learning_rate": 0.1}, "learning_rate="),
        ({"learning_rate": l2l.cosine_decay(0.1, 21)}, "learning_rate.decay_steps=20 there, 21 here"),
        ({"learning_rate": lambda n: 0.1}, "learning_rate="),
    ]
    for changes, message in others:
        with trainer(**{**same, **changes}) as one, pytest.raises(ValueError, match=message):
            one.restore(str(tmp_path))
    with trainer(**{**same, "meta_optimizer": with_decay(0.9)}) as one:
        one.restore(str(tmp_path))
