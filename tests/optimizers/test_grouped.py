"""One optimizer for each group of tensors: what each sees, as one network or as several, trained, saved, refused."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from trainers import ENGINES, assert_close_runs, learned_momentum

import l2l
from l2l.nests import tensors_of
from l2l.optimizers.grouped import from_description
from l2l.optimizers.trained import Trained


class Pair(l2l.Problem):
    """Two groups whose losses have nothing to do with each other: `|a|^2` and `3 |b|^2`."""

    def __init__(self, weight=3.0):
        self.weight = weight

    def sample(self, num, seed=None):
        return l2l.uniform([num, 5], 0.5, 1.0, seed=seed)

    def initial_position(self, draw):
        return {"b": (draw[:2], {"c": draw[2]}), "a": tf.reshape(draw[3:], [1, 2])}

    def loss(self, x, draw):
        b, c = x["b"][0], x["b"][1]["c"]
        return tf.reduce_sum(x["a"] ** 2) + self.weight * (tf.reduce_sum(b**2) + c**2)


def network(hidden=(3,), casting="none"):
    return l2l.CoordinatewiseLSTM(hidden, casting)


BUILDERS = {"a": network, "b": functools.partial(network, (4, 2), l2l.widening_log_cast())}


def trainer(build=BUILDERS, problem=None, **changes):
    settings = {"unroll_length": 4, "weights_seed": 1, "draws_seed": 2, **changes}
    return l2l.Trainer(problem or Pair(), build, **settings)


def test_each_group_has_the_rule_that_it_was_given():
    builders = {"a": lambda: l2l.sgd(0.1), "b": lambda: l2l.sgd(0.01)}
    losses = l2l.evaluate(Pair(), {"both": l2l.Grouped(builders)}, draws=4, steps=6, engine="graph")["both"]
    starts = l2l.evaluate(Pair(0.0), {"one": l2l.sgd(0.1)}, draws=4, steps=1, engine="graph")["one"]
    ends = losses[:, :1] - starts
    t = np.arange(6)
    np.testing.assert_allclose(losses, starts * 0.8 ** (2 * t) + ends * 0.94 ** (2 * t), rtol=1e-5)


def test_a_group_sees_its_gradients_alone_and_its_variables_are_trained_by_them_alone(run):
    """With no loss in `b`, its network has no meta-gradient; and its state does not know of `a`."""
    grouped = l2l.Grouped({"a": network, "b": network})
    problem = Pair(0.0)
    draw = problem.draw(1)
    meta = l2l.meta_gradient(problem, draw, grouped, tf.trainable_variables(), unroll_length=2)
    gradients = dict(zip([variable.op.name for variable in tf.trainable_variables()], run(meta.gradients)))
    assert {name.split("/")[0] for name in gradients} == {"a", "b"}
    for name, gradient in gradients.items():
        assert np.any(gradient != 0) == name.startswith("a/"), name


def test_a_group_does_what_its_optimizer_would_do_alone(run):
    grouped = l2l.Grouped(BUILDERS)
    x = Pair().initial_position(Pair().draw(1))
    state = grouped.initial_state(x)
    update, after = grouped(x, state)
    assert list(update) == list(x)
    alone = [grouped.optimizers[name].bind().plain_step(x[name], state[name], x[name]) for name in ["a", "b"]]
    together = [(update[name], after[name]) for name in ["a", "b"]]
    for one, other in zip(*run([tensors_of(alone), tensors_of(together)])):
        np.testing.assert_array_equal(one, other)


@pytest.mark.rehearsal
def test_both_engines_train_groups_alike():
    """With an adapted variable in one of them, whose gradients are small, in batches and over segments."""
    trainers = [trainer(problem=Pair(1e-4), engine=engine, batch=3, horizon=8) for engine in ENGINES]
    one, other = (each.run(6) for each in trainers)
    assert_close_runs(one, other, 1e-3)
    for a, b in zip(*[each.trained().adapted for each in trainers]):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    assert trainers[0].trained().adapted[0] < -5.0


def test_one_group_is_its_optimizer():
    """The same meta-iterations as of the optimizer without groups, from the same weights."""

    class Single(Pair):
        def initial_position(self, draw):
            return {"all": super().initial_position(draw)}

        def loss(self, x, draw):
            return super().loss(x["all"], draw)

    settings = {"engine": "graph", "unroll_length": 2}
    with trainer(network, **settings) as one:
        start = one.trained()
        alone = one.run(3)
    grouped = Trained(functools.partial(l2l.Grouped, {"all": network}), start.weights)
    assert_close_runs(trainer(grouped, Single(), **settings).run(3), alone, 1e-5)


def test_variables_are_in_order_of_the_groups_names_whatever_the_order_of_the_dict():
    grouped = l2l.Grouped({"b": network, "c": learned_momentum, "a": network})
    variables = tf.trainable_variables()
    assert [variable.op.name[0] for variable in variables] == ["a"] * 6 + ["b"] * 6 + ["c"] * 2
    assert {variable.op.type for variable in variables} == {"VarHandleOp"}  # XLA knows no others
    assert grouped.coordinatewise is False and grouped.adapted == []


class Everywhere:
    """One that creates a variable wherever it can."""

    adapted = ("something",)

    def weight(self, name):
        with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
            return tf.get_variable(name, [], initializer=tf.zeros_initializer())

    def __call__(self, gradients, state):
        raise AssertionError("an optimizer that binds is not called")

    def initial_state(self, x):
        return x + self.weight("start")

    def bind(self):
        bound = self.weight("bound")
        return l2l.Bound(lambda gradients, state, x, product: (gradients + bound + self.weight("rate"), state))

    def adapt(self, gradients, state, active):
        return [(self.weight("adapting"), gradients, state, active)]


def test_what_a_group_creates_is_in_its_scope_and_it_adapts_by_its_own():
    grouped, plain = l2l.Grouped({"a": Everywhere, "b": lambda: l2l.sgd()}), {"a": tf.zeros([2]), "b": tf.zeros([3])}
    assert not hasattr(grouped, "initial_state")  # since one of them cannot say
    grouped = l2l.Grouped({"a": Everywhere, "b": Everywhere, "c": network})
    plain["c"] = tf.zeros([4])
    state = grouped.initial_state(plain)
    grouped(plain, state)
    found = grouped.adapt({"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}, {"a": 7, "b": 8, "c": 9})
    found += grouped.adapt({"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6})
    assert [more for _, *more in found] == [[1, 4, 7], [2, 5, 8], [1, 4, None], [2, 5, None]]
    assert grouped.adapted == ["something"] * 2
    names = {variable.op.name for variable in tf.global_variables() if variable.op.name[0] != "c"}
    assert names == {group + name for group in ("a/", "b/") for name in ("start", "bound", "rate", "adapting")}


def test_groups_are_saved_and_loaded_without_a_word_of_how_they_are_built(tmp_path):
    one = trainer(problem=Pair(1e-4), engine="graph", unroll_length=2, second_derivatives=False)
    one.run(2)
    l2l.save(tmp_path / "groups.npz", one.trained())
    loaded = l2l.load(tmp_path / "groups.npz")
    losses = l2l.evaluate(Pair(), {"before": one.trained(), "loaded": loaded}, draws=2, steps=3, engine="graph")
    np.testing.assert_array_equal(losses["before"], losses["loaded"])
    assert loaded.record["optimizer"]["class"] == "Grouped"
    assert len(loaded.adapted) == 1 and loaded.adapted[0] < -5  # which it was before gradients that small
    assert sorted(loaded.record["optimizer"]["groups"]) == ["a", "b"]


def test_groups_of_ones_own_optimizers_need_their_builders(tmp_path):
    """Some of which say neither what they are nor what their first state is."""
    builders = {"a": learned_momentum, "b": lambda: l2l.sgd(0.1)}
    one = trainer(builders, engine="graph", unroll_length=2)
    one.run(1)
    l2l.save(tmp_path / "own.npz", one.trained())
    with pytest.raises(ValueError, match=r"^build must be given for"):
        l2l.load(tmp_path / "own.npz")
    loaded = l2l.load(tmp_path / "own.npz", functools.partial(l2l.Grouped, builders))
    losses = l2l.evaluate(Pair(), {"loaded": loaded}, draws=3, steps=5, engine="graph")["loaded"]
    assert losses.shape == (3, 5)


def test_the_description_builds_the_same_again():
    description = l2l.Grouped(BUILDERS).description()
    with tf.variable_scope("again"):
        assert from_description(description)().description() == description
    one = description["groups"]["a"]
    from_description({**description, "groups": {"a%d" % i: one for i in range(100)}})  # as many as there may be


def test_the_papers_two_groups_train_a_convolutional_network():
    examples = l2l.Examples(np.random.RandomState(0).uniform(size=[6, 4, 4]).astype(np.float32), np.arange(6) % 3)
    problem = l2l.ConvNet(examples, channels=(2,), dense=(3,), batch_size=4)
    one = trainer(
        {"conv": network, "dense": network}, problem, engine="graph", unroll_length=2, second_derivatives=False
    )
    assert np.isfinite(one.run(2).meta_loss).all()
    assert len(one.weights()) == 2 * 6


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: l2l.Grouped([network]), TypeError, "builders must be a dict from group to function, got "),
        (lambda: l2l.Grouped({}), ValueError, "builders must have at least one group, got {}"),
        (lambda: trainer({}), ValueError, "builders must have at least one group"),
        (lambda: l2l.Grouped({"a b": network}), ValueError, "builders must have names of letters, .* got 'a b'"),
        (lambda: trainer({1: network}), ValueError, "builders must have names of letters, .* got 1"),
        (lambda: l2l.Grouped({"a": 3}), TypeError, r"builders\['a'\] must be callable, got 3"),
        (lambda: l2l.Grouped({"a": lambda: 3}), TypeError, r"builders\['a'\]'s result must be an optimizer"),
        (lambda: trainer({"a": network}), ValueError, r"optimizer has the groups 'a', so .* got \['a', 'b'\]"),
        (
            lambda: trainer(BUILDERS, l2l.Quadratic(2)),
            ValueError,
            "optimizer has the groups 'a', 'b', so the position must be a dict with these entries, got <tf.Tensor",
        ),
        (
            lambda: l2l.Grouped({"a": network}).initial_state({"a": tf.zeros([2]), "b": tf.zeros([2])}),
            ValueError,
            r"optimizer has the groups 'a', so .* got \['a', 'b'\]",
        ),
        (
            lambda: l2l.Grouped({"a": lambda: l2l.sgd()})({"a": tf.zeros([2]), "b": tf.zeros([2])}, None),
            ValueError,
            r"optimizer has the groups 'a', so .* got \['a', 'b'\]",
        ),
        (
            lambda: l2l.Grouped({"a": lambda: lambda gradients, state: gradients})({"a": tf.zeros([2])}, None),
            TypeError,
            "optimizer must return a pair",
        ),
        (
            lambda: trainer({"hidden": network, "output": network}, l2l.MLP(hidden=())),
            ValueError,
            "group 'hidden' of the position has no tensor",
        ),
    ],
)
def test_bad_groups(call, error, message):
    with pytest.raises(error, match="^" + message):
        call()
