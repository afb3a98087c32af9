"""A learned optimizer with its weights, outside any graph and as a file."""

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import random_weights
from trainers import one_rate, small

import l2l
from l2l import archives
from l2l.optimizers.grouped import from_description
from l2l.optimizers.trained import FORMAT, _as_before, names_of


class Adapting(l2l.Casting):
    """A casting of one's own with a variable, of the test's module and not of the library."""

    adapted = (-3.0, 2.0)

    def encode(self, gradients, memory=None, adapted=()):
        return tf.expand_dims(gradients * adapted[0] + adapted[1], axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs


def build_adapting():
    return l2l.CoordinatewiseLSTM((3,), Adapting())


def update_of(trained, gradients=(0.3, -2e-4)):
    """What it makes of a gradient, in a graph of its own."""
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer, load = trained.create("trained")
        load(session)
        gradients = tf.constant(gradients, optimizer.variables[0].dtype.base_dtype)
        return session.run(optimizer.bind().plain_step(gradients, None, gradients)[0])


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def test_its_variables_are_resource_variables_as_those_of_a_training():
    """Whatever the scope is in which it is created: XLA needs them."""
    trained = l2l.Trained(lambda: one_rate(0.1), [np.float32(0.1)])
    with tf.Graph().as_default():
        trained.create("trained")
        (variable,) = tf.trainable_variables()
    assert variable.op.type == "VarHandleOp"


def build_odd():
    """Variables of several shapes and dtypes, one of which has nothing in it."""
    shapes = [("a", [2, 3], tf.float32), ("b", [], tf.float64), ("c", [0], tf.float32)]
    used = [tf.get_variable(name, shape, dtype, tf.zeros_initializer()) for name, shape, dtype in shapes]
    count = tf.get_variable("count", [], initializer=tf.zeros_initializer(), trainable=False)

    def optimizer(gradients, state):
        return -tf.reduce_sum(used[0]) * gradients, state

    optimizer.adapted = [count]
    return optimizer


def test_weights_saved_and_loaded(tmp_path):
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.float64(2), np.zeros([0], np.float32)]
    record = {"name": "mine", "meta_iterations": 3}
    l2l.save(tmp_path / "weights.npz", l2l.Trained(build_odd, weights, [np.float32(-1)], record))
    loaded = l2l.load(tmp_path / "weights.npz", build=build_odd)
    same(loaded.weights, weights)
    same(loaded.adapted, [np.float32(-1)])
    assert loaded.record == record and loaded.build is build_odd


@pytest.mark.parametrize("casting", ["none", "log", l2l.log_cast(-30), l2l.log_and_sign(10)], ids=str)
def test_a_file_of_the_librarys_own_networks_needs_nothing_else(tmp_path, casting):
    def build():
        return l2l.CoordinatewiseLSTM((3, 2), casting)

    optimizer = build()
    weights = [array.astype(np.float32) for array in random_weights(optimizer.variables)]
    trained = l2l.Trained(build, weights, record={"optimizer": optimizer.description(), "name": "first"})
    path = tmp_path / "optimizer.npz"
    l2l.save(path, trained)
    loaded = l2l.load(path)
    same(loaded.weights, weights)
    np.testing.assert_array_equal(update_of(loaded), update_of(trained))


def test_a_file_of_a_network_with_an_activation_has_it_and_a_file_without_the_key_has_none(tmp_path):
    weights = [array.astype(np.float32) for array in random_weights(l2l.CoordinatewiseLSTM((3,)).variables)]
    description, updates = l2l.CoordinatewiseLSTM((3,)).description(), []
    assert "input_activation" not in description
    for name, more in [("old", {}), ("new", {"input_activation": "elu"})]:
        l2l.save(tmp_path / name, l2l.Trained(None, weights, record={"optimizer": {**description, **more}}))
        loaded = l2l.load(tmp_path / name)
        own = l2l.Trained(lambda more=more: l2l.CoordinatewiseLSTM((3,), **more), weights)
        np.testing.assert_array_equal(update_of(loaded), update_of(own))
        updates.append(update_of(loaded))
    assert np.all(updates[0] != updates[1])


def test_a_trainers_optimizer_saved_and_loaded(tmp_path):
    trainer = small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((3,), "log"), unroll_length=2)
    trainer.run(2)
    trained = trainer.trained()
    trainer.close()
    path = tmp_path / "optimizer.npz"
    l2l.save(path, trained)
    loaded = l2l.load(path)
    assert not tf.get_default_graph().get_operations()  # it was built elsewhere, for its checks
    same(loaded.weights, trained.weights)
    assert loaded.record == json.loads(json.dumps(trained.record))
    assert loaded.record["meta_iterations"] == 2 and loaded.record["problem"] == "Quadratic"
    losses = l2l.evaluate(l2l.Quadratic(2), {"one": trained, "other": loaded}, draws=3, steps=3, engine="graph")
    np.testing.assert_array_equal(losses["one"], losses["other"])


def test_a_file_of_another_optimizer_needs_its_function_and_names_it(tmp_path):
    trainer = small(build_optimizer=build_adapting, unroll_length=2)
    trainer.run(1)
    trained = trainer.trained()
    trainer.close()
    path = str(tmp_path / "optimizer.npz")
    l2l.save(path, trained)
    with pytest.raises(ValueError, match=r"build must be given for .*optimizer\.npz.* was built by 'build_adapting'"):
        l2l.load(path)
    loaded = l2l.load(path, build=build_adapting)
    same(loaded.weights, trained.weights)
    same(loaded.adapted, [np.float32(-3), np.float32(2)])
    np.testing.assert_array_equal(update_of(loaded), update_of(trained))


def test_what_was_adapted_is_loaded_into_the_adapted_variables():
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer = build_adapting()
        session.run(tf.global_variables_initializer())
        weights = session.run(optimizer.variables)
    both = np.array([(-3.0, 2.0), (-5.0, 1.0)], np.float32)
    updates = [update_of(l2l.Trained(build_adapting, weights, adapted)) for adapted in both]
    assert np.all(updates[0] != updates[1])
    with pytest.raises(ValueError, match=r"^trained must have the weights that it builds"):
        update_of(l2l.Trained(build_adapting, weights))


def test_weights_of_other_shapes_are_refused_by_name():
    trained = l2l.Trained(lambda: l2l.CoordinatewiseLSTM((3,)), [np.zeros([2, 2])])
    with pytest.raises(ValueError, match=r"^optimizers\['RNN'\] must have the weights that it builds"):
        trained.create("optimizers['RNN']")


def test_two_of_one_kind_live_in_one_graph():
    first = [np.full(shape, 0.1, np.float32) for shape in [(1, 2), (2,), (4, 8), (8,), (2, 1), (1,)]]
    second = [2 * array for array in first]
    trained = [l2l.Trained(lambda: l2l.CoordinatewiseLSTM((2,)), weights) for weights in [first, second]]
    gradients = tf.constant([1.0, -1.0])
    created = [each.create("trained") for each in trained]
    updates = [optimizer.bind().plain_step(gradients, None, gradients)[0] for optimizer, _ in created]
    with tf.Session() as session:
        for _, load in created:
            load(session)
        updates = session.run(updates)
    for each, update in zip(trained, updates):
        np.testing.assert_allclose(update, update_of(each, (1.0, -1.0)), rtol=1e-6)


def test_a_trained_optimizer_says_how_large_it_is():
    trained = l2l.Trained(None, [np.zeros([2, 3]), np.zeros([4])], record={"name": "mine"})
    assert repr(trained) == "<Trained optimizer of 10 weights, from 'mine'>"
    assert repr(trained._replace(record={})) == "<Trained optimizer of 10 weights>"
    assert trained.adapted == []


def test_a_file_of_version_0_1_is_read_with_its_function(tmp_path):
    path = str(tmp_path / "old.npz")
    weights = [
        np.full(shape, 0.1 * i, np.float32) for i, shape in enumerate([(1, 2), (2,), (4, 8), (8,), (2, 1), (1,)])
    ]
    archives.write(path, {"weights": 6}, {str(i): array for i, array in enumerate(weights)})
    loaded = l2l.load(path, build=lambda: l2l.CoordinatewiseLSTM((2,)))
    same(loaded.weights, weights)
    assert loaded.adapted == [] and loaded.record == {}
    with pytest.raises(ValueError, match=r"build must be given for .*old\.npz.* was built by 'an unknown function'"):
        l2l.load(path)


def test_more_than_ten_arrays_keep_their_order(tmp_path):
    def build():
        variables = [tf.get_variable("v%d" % i, [1], initializer=tf.zeros_initializer()) for i in range(12)]
        return lambda gradients, state: (-variables[0] * gradients, state)

    weights = [np.full([1], i, np.float32) for i in range(12)]
    l2l.save(tmp_path / "a.npz", l2l.Trained(build, weights))
    same(l2l.load(tmp_path / "a.npz", build=build).weights, weights)


def test_a_newer_format_is_refused(tmp_path):
    path = str(tmp_path / "new.npz")
    archives.write(path, {"weights": 1, "format": FORMAT + 1, "record": {}}, {"weights/0": np.zeros(1)})
    with pytest.raises(ValueError, match="format 3, which a newer version of l2l wrote; this one reads up to 2"):
        l2l.load(path, build=l2l.CoordinatewiseLSTM)


@pytest.mark.parametrize(
    "config, arrays",
    [
        ({}, ["weights/0"]),
        ({"weights": "1", "format": 2}, ["weights/0"]),
        ({"weights": True, "format": 2}, ["weights/0"]),
        ({"weights": 1, "format": "2"}, ["weights/0"]),
        ({"weights": 1, "format": 0}, ["weights/0"]),
        ({"weights": 0, "format": 2}, []),
        ({"weights": -1, "format": 2}, ["weights/0"]),
        ({"weights": 2, "format": 2}, ["weights/0"]),
        ({"weights": 10**15, "format": 2}, ["weights/0"]),
        ({"weights": 1, "format": 2}, ["weights/1"]),
        ({"weights": 1, "format": 2}, ["0"]),
        ({"weights": 1, "format": 2}, ["weights/0", "adapted/1"]),
        ({"weights": 1, "format": 2}, ["weights/0", "other"]),
        ({"weights": 1, "format": 2, "record": []}, ["weights/0"]),
        ({"weights": 1}, ["weights/0"]),
        ({"weights": 1}, ["0", "1"]),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, config, arrays):
    path = str(tmp_path / "other.npz")
    archives.write(path, config, {name: np.zeros(1) for name in arrays})
    with pytest.raises(ValueError, match=r"other\.npz' must hold a trained optimizer, saved by l2l\.save"):
        l2l.load(path, build=l2l.CoordinatewiseLSTM)


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_a_damaged_file_is_refused(tmp_path, keep):
    path = tmp_path / "damaged.npz"
    l2l.save(path, l2l.Trained(None, [np.zeros([3, 3])]))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"damaged\.npz"):
        l2l.load(path, build=l2l.CoordinatewiseLSTM)


@pytest.mark.parametrize(
    "change",
    [
        {"class": "Mine"},
        {"hidden": 3},
        {"hidden": "3"},
        {"hidden": []},
        {"hidden": [0]},
        {"hidden": [None]},
        {"dtype": "no dtype"},
        {"dtype": None},
        {"dtype": "int32"},
        {"casting": None},
        {"casting": "log"},
        {"casting": {}},
        {"casting": {"kind": "log", "parameters": {"k": 1}}},
        {"casting": {"kind": "log", "parameters": {"min_log_gradient": "x"}}},
        {"casting": {"kind": "log", "parameters": {"min_log_gradient": 5}}},
    ],
    ids=str,
)
def test_a_record_that_describes_no_network_asks_for_the_function(tmp_path, change):
    path = str(tmp_path / "odd.npz")
    description = {**l2l.CoordinatewiseLSTM((3,)).description(), **change}
    l2l.save(path, l2l.Trained(None, [np.zeros(1)], record={"optimizer": description, "built_by": "me"}))
    with pytest.raises(ValueError, match=r"build must be given for .*odd\.npz.* was built by 'me'"):
        l2l.load(path)


def test_no_such_file_and_no_trained_optimizer(tmp_path):
    with pytest.raises(FileNotFoundError):
        l2l.load(tmp_path / "missing.npz")
    with pytest.raises(TypeError, match=r"trained must be what trainer\.trained"):
        l2l.save(tmp_path / "a.npz", [np.zeros(1)])
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "optimizer.npz"
    l2l.save(path, l2l.Trained(None, [np.zeros(2)]))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="arrays must hold plain numbers"):
        l2l.save(path, l2l.Trained(None, [np.array(["text"])]))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


class Scaled(l2l.Casting):
    """A casting of one's own whose name says nothing of its parameter."""

    name = "mine"

    def __init__(self, scale):
        self.scale = scale

    def encode(self, gradients, memory=None, adapted=()):
        return gradients[:, tf.newaxis]

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return self.scale * outputs


def test_a_casting_of_ones_own_with_another_attribute_is_refused(tmp_path):
    one, other = (lambda scale=scale: l2l.CoordinatewiseLSTM((3,), Scaled(scale)) for scale in [1.0, 100.0])
    with small(build_optimizer=one, checkpoint_dir=str(tmp_path / "one")) as trainer:
        trainer.run(1)
        l2l.save(tmp_path / "it.npz", trainer.trained())
    l2l.load(tmp_path / "it.npz", one)
    with pytest.raises(ValueError, match=r"was trained with casting .*'scale': 1\.0.*, built with .*'scale': 100\.0"):
        l2l.load(tmp_path / "it.npz", other)
    with small(build_optimizer=other) as trainer, pytest.raises(ValueError, match=r"scale.*=1\.0 there, 100\.0 here"):
        trainer.restore(tmp_path / "one")


def test_another_casting_than_the_one_it_was_trained_with_is_refused(tmp_path):
    trained = small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((3,), "log")).trained()
    other = lambda: l2l.CoordinatewiseLSTM((3,), l2l.log_cast(-30))  # noqa: E731
    l2l.save(tmp_path / "it.npz", trained)
    with pytest.raises(ValueError, match=r"was trained with casting .*log\(-15\).*, built with .*log\(-30\)"):
        l2l.load(tmp_path / "it.npz", other)
    with pytest.raises(ValueError, match=r"optimizers\['it'\] was trained with casting"):
        l2l.evaluate(l2l.Quadratic(2), {"it": trained._replace(build=other)}, draws=2, steps=2, engine="graph")


def two_rates(*names):
    one, other = (tf.get_variable(name, [], initializer=tf.constant_initializer(0.1)) for name in names)
    return lambda gradients, state: (-one * gradients - other * tf.sign(gradients), state)


def test_weights_of_one_shape_are_told_apart_by_their_names(tmp_path):
    path = tmp_path / "rates.npz"
    with small(build_optimizer=lambda: two_rates("rate", "of_the_sign")) as trainer:
        l2l.save(path, trainer.trained())
    assert l2l.load(path, lambda: two_rates("rate", "of_the_sign")).record["variables"] == ["rate", "of_the_sign"]
    with pytest.raises(ValueError, match=r"was trained with variables \['rate', 'of_the_sign'\], built are \['of"):
        l2l.load(path, lambda: two_rates("of_the_sign", "rate"))


INSTEAD = [None, [], {}, "x", -1, 1e400, 10**30, [[[[]]]], {"a": {"a": {}}}, [3] * 600, [10**9], True]


def changed(value):
    """Each value of a nest of JSON types with one part left out, or with a third of the others in its place."""
    if isinstance(value, dict):
        for i, (key, part) in enumerate(value.items()):
            rest = {name: one for name, one in value.items() if name != key}
            yield rest
            yield from ({**rest, key: other} for other in [*INSTEAD[i % 3 :: 3], *changed(part)])


def test_whatever_a_record_says_a_file_is_refused_in_words_or_loaded(tmp_path):
    """Also where a function is given, which is compared with what the record says."""
    path = str(tmp_path / "odd.npz")
    one = l2l.CoordinatewiseLSTM((1,), "log").description()
    record = {"optimizer": {"class": "Grouped", "groups": {"a": one}}}
    build = from_description(record["optimizer"])
    with tf.Graph().as_default():
        build()
        variables = tf.trainable_variables()
        weights = [np.zeros(variable.shape.as_list(), np.float32) for variable in variables]
        record["variables"] = names_of(variables)
    l2l.save(path, l2l.Trained(build, weights, record=record))
    config, arrays = archives.read(path)
    assert l2l.load(path).record == record
    others = list(changed(config))
    for i, other in enumerate(others):
        archives.write(path, other, arrays)
        with contextlib.suppress(ValueError):
            assert isinstance(l2l.load(path, None if i % 4 else build), l2l.Trained)
    assert len(others) > 80


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden": [3] * 600}, r"hidden must list the units of at most 100 layers"),
        ({"hidden": [10**9]}, r"hidden must have at most 8192 units in a layer"),
    ],
)
def test_what_is_larger_than_any_file_is_refused_before_it_is_built(change, message, monkeypatch):
    description = {**l2l.CoordinatewiseLSTM((3,)).description(), **change}
    monkeypatch.setattr(tf.compat.v1, "get_variable", None)
    for one in [description, {"class": "Grouped", "groups": {"a": description}}]:
        with pytest.raises(ValueError, match=message):
            from_description(one)


def test_groups_that_are_none_or_too_many_are_refused():
    one = l2l.CoordinatewiseLSTM((3,)).description()
    for groups in [None, [], {}, {"a%d" % i: one for i in range(101)}]:
        with pytest.raises(ValueError, match="groups must be a dict of 1 to 100 optimizers"):
            from_description({"class": "Grouped", "groups": groups})
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        from_description({"class": "Grouped", "groups": {"a b": one}})


def test_a_record_whose_description_is_no_dict_is_refused_where_a_function_is_given(tmp_path):
    build = lambda: l2l.CoordinatewiseLSTM((1,))  # noqa: E731
    with tf.Graph().as_default():
        build()
        weights = [np.zeros(variable.shape.as_list(), np.float32) for variable in tf.trainable_variables()]
    l2l.save(tmp_path / "odd.npz", l2l.Trained(build, weights, record={"optimizer": [1]}))
    with pytest.raises(ValueError, match=r"must have a record that describes an optimizer, got \[1\]"):
        l2l.load(tmp_path / "odd.npz", build)


def describing(description):
    """Builds an optimizer with one weight that says of itself what it is; None for one that says nothing."""

    def build():
        rate = tf.get_variable("rate", [], initializer=tf.zeros_initializer())

        def optimizer(gradients, state):
            return -rate * gradients, state

        if description is not None:
            optimizer.description = lambda: description
        return optimizer

    return build


ONE, OTHER = {"class": "One", "of": 3}, {"class": "Other", "of": 3}
IMITATING, ANOTHER = ({"class": "Imitating", "learner": one, "teacher": {}} for one in (ONE, OTHER))


@pytest.mark.parametrize(
    "trained, built, message",
    [
        (None, ONE, None),
        (None, None, None),
        (ONE, None, None),
        (ONE, ONE, None),
        (ONE, OTHER, "it was trained with class 'One', built with 'Other'$"),
        (ONE, {"class": "One"}, "it was trained with of 3, built with None$"),
        (ONE, {"class": "Other"}, "it was trained with class 'One', built with 'Other'; of 3, built with None$"),
        (IMITATING, IMITATING, None),
        (IMITATING, ONE, None),
        (IMITATING, None, None),
        (IMITATING, ANOTHER, "it was trained with learner {.*'One'.*}, built with {.*'Other'.*}$"),
        (IMITATING, OTHER, "it was trained with class 'One', built with 'Other'$"),
        (ONE, IMITATING, "it was trained with class 'One', built with 'Imitating'; learner None"),
        ({"class": "One", "learner": 3}, ONE, "it was trained with learner 3, built with None; of None"),
    ],
)
def test_what_was_trained_is_compared_with_what_is_built(trained, built, message):
    """As far as both say what they are; one that imitated may be built as itself."""
    for more in [{}, {"version": "0.3"}]:
        record = {**more, **({} if trained is None else {"optimizer": trained})}
        with contextlib.ExitStack() as stack:
            if message is not None:
                stack.enter_context(pytest.raises(ValueError, match="^" + message))
            with tf.Graph().as_default():
                l2l.Trained(describing(built), [np.float32(0.1)], record=record).create("it")


def test_records_of_version_0_2_have_numbers_and_arrays_alone_of_the_users_own_castings():
    numbers = {"a": 1.5, "n": 2, "yes": True, "w": "float32 [3], checksum 1234"}
    own = {"kind": None, "name": "mine", "parameters": {**numbers, "s": "text", "l": [1]}, "more": "x"}
    others = {"log": {"kind": "log", "parameters": {"s": "t"}}, "odd": {"kind": None, "parameters": [3]}}
    others["none"] = {"name": "mine", "parameters": {"s": "text"}}
    before = {"kind": None, "name": "mine", "parameters": numbers}
    assert _as_before({"casting": own, **others}) == {"casting": before, **others}
    assert _as_before(None) is None
    trained = l2l.Trained(describing({"casting": own}), [np.float32(0.1)], record={"optimizer": {"casting": before}})
    trained.create("it")
    with pytest.raises(ValueError, match="it was trained with casting"), tf.Graph().as_default():
        trained._replace(record={"version": "0.3", **trained.record}).create("it")


def test_a_position_that_is_given_counts_more_than_that_of_the_record():
    seen = []

    def build():
        def optimizer(gradients, state):
            seen.append(gradients.shape.as_list())
            return -tf.get_variable("rate", [], initializer=tf.zeros_initializer()) * gradients, state

        return optimizer

    trained = l2l.Trained(build, [np.float32(0.1)], record={"position": ["float32", [2]]})
    trained.create("it", lambda: tf.TensorSpec([5], tf.float32))
    assert seen == [[5]] * 3
    trained.create("it")
    assert seen == [[5]] * 3 + [[2]] * 3


def test_a_file_whose_class_was_the_users_own_needs_its_function(tmp_path):
    """Whatever its description looks like."""
    l2l.save(tmp_path / "it", l2l.Trained(None, [np.float32(0.1)], record={"optimizer": ONE, "built_by": "me"}))
    assert l2l.load(tmp_path / "it", describing(ONE)).weights == [np.float32(0.1)]
    network = l2l.CoordinatewiseLSTM((1,))
    weights = [np.zeros(variable.shape.as_list(), np.float32) for variable in network.variables]
    for code in [None, {}, {"optimizer": None}, {"optimizer": "a digest"}]:
        record = {"optimizer": network.description(), "built_by": "me", "code": code}
        l2l.save(tmp_path / "it", l2l.Trained(None, weights, record=record))
        if code == {"optimizer": "a digest"}:
            with pytest.raises(ValueError, match=r"^build must be given for .* was built by 'me'"):
                l2l.load(tmp_path / "it")
        else:
            assert l2l.load(tmp_path / "it").record == record
