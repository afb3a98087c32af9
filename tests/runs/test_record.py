"""What a record holds of the user's own code, and what `restore` and `sweep` say where it differs."""

import functools
import hashlib
import json
import re
import threading
import types

import numpy as np
import pytest
import tensorflow as tf
from sweeping import build, no_cluster
from trainers import learned_momentum, one_rate, recorded_graphs, small

import l2l
from l2l import archives
from l2l.describe import describe
from l2l.learning.settings import Settings
from l2l.optimizers.first_call import create, in_json
from l2l.optimizers.trained import names_of
from l2l.problems.binding import position_specs
from l2l.runs import nonfinite
from l2l.runs.checkpoints import check_same_trainer
from l2l.runs.recipe import Recipe
from l2l.runs.record import checked_record, record_of
from l2l.xla import xla_in_force


def own_quadratic(factor):
    """A problem class as it is typed into a notebook, and typed again with another number in its loss."""
    text = "class Own(l2l.Quadratic):\n    def loss(self, x, draw):\n        return %r * super().loss(x, draw)\n"
    space = {"l2l": l2l, "__name__": "__main__"}
    exec(text % factor, space)
    return space["Own"]


def by_rate(rate):
    def build():
        weight = tf.get_variable("weight", [], initializer=tf.constant_initializer(0.01))
        return lambda gradients, state: (-rate * weight * gradients, state)

    return build


def typed(constant):
    """A function that builds, whose code has another constant."""
    space = {"tf": tf}
    exec("def build():\n    w = tf.get_variable('w', [])\n    return lambda g, s: (-w * %r * g, s)\n" % constant, space)
    return space["build"]


LOCK = threading.Lock()


def scaled(losses, factor=1.0, more=None):
    return factor * losses[-1]


def casting(text):
    space = {"l2l": l2l, "tf": tf, "__name__": "__main__"}
    encode = "    def encode(self, gradients, memory=None, adapted=()):\n        return tf.expand_dims(%s, axis=1)\n"
    decode = "    def decode(self, outputs, gradients, memory, adapted):\n        return outputs\n"
    exec("class Mine(l2l.Casting):\n" + encode % text + decode, space)
    return functools.partial(l2l.CoordinatewiseLSTM, (2,), space["Mine"]())


def with_attribute(value):
    problem = l2l.Quadratic(2)
    problem.more = value
    return problem


def imitating(teacher, learner=learned_momentum):
    imitation = l2l.Imitation(l2l.Quadratic(2), teacher)
    return {"problem": imitation, "build_optimizer": imitation.build(learner), "second_derivatives": False}


# What a first trainer and one that differs are made of, what the error says, and whether it is code alone.
DIFFERENCES = {
    "lambdas": (
        {"meta_loss": lambda losses: losses[-1]},
        {"meta_loss": lambda losses: losses[0] + losses[-1]},
        "code of meta_loss differs",
        True,
    ),
    "partials": (
        {"meta_loss": functools.partial(scaled, factor=1.0)},
        {"meta_loss": functools.partial(scaled, factor=2.0)},
        r"meta_loss\.keywords\.factor=1\.0 there, 2\.0 here",
        False,
    ),
    "builders": (
        {"build_optimizer": typed(1.0)},
        {"build_optimizer": typed(2.0)},
        "code of build_optimizer differs",
        True,
    ),
    "closures": (
        {"build_optimizer": by_rate(1.0)},
        {"build_optimizer": by_rate(2.0)},
        r"build_optimizer\.closure\.rate=1\.0 there, 2\.0 here",
        False,
    ),
    "problems typed again": (
        {"problem": own_quadratic(1.0)(2)},
        {"problem": own_quadratic(2.0)(2)},
        "code of problem differs",
        True,
    ),
    "problems within": (
        {"problem": l2l.RandomlyScaled(own_quadratic(1.0)(2))},
        {"problem": l2l.RandomlyScaled(own_quadratic(2.0)(2))},
        r"code of problem_parameters\.problem differs",
        True,
    ),
    "teachers": (
        imitating(l2l.adam(0.03)),
        imitating(l2l.sgd(0.1)),
        r"problem_parameters\.teacher\.beta1=0\.9 there, None here",
        False,
    ),
    "learners": (
        imitating(l2l.sgd(0.1), lambda: l2l.CoordinatewiseLSTM((2,), "log")),
        imitating(l2l.sgd(0.1), lambda: l2l.CoordinatewiseLSTM((2,), "none")),
        r"optimizer\.learner\.casting\.kind='log' there, 'none' here",
        False,
    ),
    "castings": (
        {"build_optimizer": casting("gradients")},
        {"build_optimizer": casting("2 * gradients")},
        r"code of optimizer\.casting differs",
        True,
    ),
    "sets": (
        {"problem": with_attribute({1, 2})},
        {"problem": with_attribute({1, 3})},
        r"problem_parameters\.more\.set=\[1, 2\] there, \[1, 3\] here",
        False,
    ),
}


def recorded(**changes):
    """The record of a training, of which the optimizer alone is built."""
    arguments = {"problem": l2l.Quadratic(2), "unroll_length": 4, "weights_seed": 1, "draws_seed": 2, **changes}
    problem, build = arguments.pop("problem"), arguments.pop("build_optimizer", learned_momentum)
    name, engine = arguments.pop("name", "training"), arguments.pop("engine", "graph")
    recipe = Recipe(problem, build, Settings(**arguments), engine)
    with tf.Graph().as_default():
        like = functools.partial(position_specs, next(iter(recipe.problems.values())))
        optimizer, position = create(recipe.build_optimizer, like, "build_optimizer")
    graph = types.SimpleNamespace(
        optimizer=optimizer,
        position=None if position is None else in_json(position),
        variables=names_of(optimizer.variables),
        draws=[["float32", [2]]],
    )
    return checked_record(record_of(name, recipe, graph), {})


@pytest.mark.parametrize("name", list(DIFFERENCES))
def test_the_error_names_what_differs(name):
    settings, others, message, is_code = DIFFERENCES[name]
    one, other = (recorded(**each) for each in (settings, others))
    with pytest.raises(ValueError, match=r"^'file' is from another trainer: .*" + message) as caught:
        check_same_trainer("file", one, other, allow_changed_code=False)
    assert str(caught.value).endswith("; allow_changed_code=True goes on") == is_code
    check_same_trainer("file", one, json.loads(json.dumps(one)))
    if is_code:
        check_same_trainer("file", one, other, allow_changed_code=True)
    else:
        with pytest.raises(ValueError, match=message):
            check_same_trainer("file", one, other, allow_changed_code=True)


def test_the_record_says_what_is_trained():
    def mine():
        return l2l.CoordinatewiseLSTM((5,), "log")

    casting = {"kind": "log", "name": "log(-15)", "parameters": {"min_log_gradient": -15.0}}
    config = recorded(name="mine", meta_loss="end", build_optimizer=mine, horizon=8)
    code = config.pop("code")
    assert code.pop("build_optimizer") == describe("build_optimizer", mine)
    assert code == {
        "problem": None,
        "optimizer": None,
        "meta_loss": None,
        "horizon": None,
        "learning_rate": None,
        "meta_optimizer": None,
    }
    assert config == {
        "version": l2l.__version__,
        "name": "mine",
        "engine": "graph",
        "xla": None,
        "problem": "Quadratic",
        "problem_parameters": {"dims": 2, "dtype": "float32"},
        "draws": [["float32", [2]]],
        "optimizer": {
            "class": "CoordinatewiseLSTM",
            "hidden": [5],
            "casting": casting,
            "dtype": "float32",
            "input_layer": True,
            "output_scale": 1.0,
        },
        "casting": "log(-15)",
        "variables": ["kernel", "bias"] * 3,
        "start": None,
        "built_by": mine.__qualname__,
        "meta_loss": "end",
        "estimator": None,
        "unroll_length": 4,
        "horizon": 8,
        "learning_rate": 3e-4,
        "meta_optimizer": None,
        "clip_norm": 1.0,
        "second_derivatives": True,
        "batch": 1,
        "threads": 1,
        "weights_seed": 1,
        "draws_seed": 2,
    }


def test_what_is_the_users_own_is_in_the_record_by_its_code():
    """And a start by the digest of its weights."""
    problem, build = own_quadratic(1.0)(2), typed(1.0)
    weights = [np.float32(1), np.float32([2, 3])]
    trained = l2l.Trained(build, weights[:1], weights[1:], {"name": "before", "meta_iterations": 7, "horizon": 4})
    config = recorded(problem=problem, build_optimizer=trained, engine="xla", meta_loss=scaled)
    assert config["start"] == {
        "name": "before",
        "meta_iterations": 7,
        "weights": hashlib.sha1(np.float32([1, 2, 3]).tobytes()).hexdigest(),
    }
    assert (config["engine"], config["xla"], config["meta_loss"]) == ("xla", xla_in_force(), "scaled")
    assert (config["problem"], config["problem_parameters"]) == ("Own", {"dims": 2, "dtype": "float32"})
    code, described = config["code"], describe("problem", problem)
    assert code["problem"] == {"class": described["class"], "code": described["code"]}
    assert code["optimizer"] is not None and code["meta_loss"] == describe("meta_loss", scaled)
    assert code["build_optimizer"] == describe("build_optimizer", build) and "position" not in config
    several = recorded(problem={"a": problem, "b": l2l.Quadratic(2)}, estimator=l2l.PES())
    assert (several["problem"], several["draws"]) == ({"a": "Own", "b": "Quadratic"}, config["draws"])
    assert several["code"]["problem"] == {"a": code["problem"], "b": None} and several["start"] is None


class Named:
    """A casting with a name of any type."""

    def __init__(self, name):
        self.name = name

    def __call__(self, gradients):
        return gradients


def with_a_variable(value):
    def build():
        tf.get_variable("mine", initializer=tf.constant(value), trainable=False)
        return one_rate()

    return build


def named_optimizer(name):
    def build():
        rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.01))

        def optimizer(gradients, state):
            return -rate * gradients, state

        optimizer.casting = Named(name)
        return optimizer

    return build


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"build_optimizer": named_optimizer(b"x")}, "config must hold JSON types alone: .*bytes"),
        ({"build_optimizer": named_optimizer(np.float32(1))}, "config must hold JSON types alone: .*float32"),
        ({"build_optimizer": named_optimizer("x" * 70000)}, "config must have at most 65536 bytes as JSON"),
        ({"name": "x" * 70000}, "config must have at most 65536 bytes as JSON"),
    ],
)
def test_what_no_file_can_hold_is_refused(changes, message):
    with pytest.raises(ValueError, match="trainer '.* could not be saved: " + message) as caught:
        recorded(**changes)
    assert len(str(caught.value)) < 500


def test_variables_that_no_file_can_hold_are_refused_at_the_start(monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    expected = (
        "trainer 'training' could not be saved: arrays must hold plain numbers of up to 64 bits, 'variables/mine' has"
    )
    for value, dtype in [("x", r"\|S1"), (1j, "complex128")]:
        with pytest.raises(ValueError, match="%s dtype %s" % (expected, dtype)):
            small(build_optimizer=with_a_variable(value))
    with pytest.raises(RuntimeError, match="closed"):
        graphs[0].weights()


def test_a_record_is_what_a_file_gives_back(tmp_path):
    """Tuples are lists there, and NaN is not even itself: neither makes another trainer of the same one."""

    def build():
        optimizer = named_optimizer("x")()
        optimizer.description = lambda: {"layers": (1, 2), "scale": float("nan"), 3: [float("nan")]}
        return optimizer

    with small(build_optimizer=build, checkpoint_dir=tmp_path) as trainer:
        trainer.run(1)
        assert trainer.history.config["optimizer"]["layers"] == [1, 2]
    assert len(small(build_optimizer=build).restore(tmp_path)) == 1


def test_a_record_that_just_fits_can_be_saved_as_everything(tmp_path):
    def named(length):
        return small(build_optimizer=one_rate, name="x" * length, checkpoint_dir=tmp_path)

    with pytest.raises(ValueError, match="at most 65536 bytes as JSON, got") as caught:
        named(65536)
    longest = 65536 - (int(str(caught.value).split()[-1]) - 65536)
    with pytest.raises(ValueError, match="at most 65536 bytes as JSON, got 65537"):
        named(longest + 1)
    with named(longest) as trainer:
        trainer.run(1)
        l2l.save(tmp_path / "trained", trainer.trained())
        trainer.history.save(tmp_path / "history")
        nonfinite.write(str(tmp_path), 10**11, trainer.history.config, {})


def test_restore_goes_on_with_other_code_if_it_is_told_to(tmp_path):
    settings, others, message, _ = DIFFERENCES["lambdas"]
    with small(**settings, checkpoint_dir=tmp_path) as trainer:
        trainer.run(2)
    other = small(**others)
    code = other.history.config["code"]
    with pytest.raises(ValueError, match="is from another trainer: " + message):
        other.restore(tmp_path)
    assert len(other.restore(tmp_path, allow_changed_code=True)) == 2
    assert other.history.config["code"] == code  # which goes on from here


def test_where_other_code_is_never_allowed_nothing_says_that_it_can_be(tmp_path):
    settings, others, message, _ = DIFFERENCES["lambdas"]
    other = small(**others)
    path = nonfinite.write(str(tmp_path), 0, recorded(**settings), {})
    with pytest.raises(ValueError, match=message + "$"):
        other.replay(path)


def test_the_same_code_typed_again_is_the_same_trainer(tmp_path):
    def settings():
        return {
            "problem": own_quadratic(1.0)(2),
            "build_optimizer": typed(1.0),
            "meta_loss": lambda losses: losses[-1],
        }

    with small(**settings(), checkpoint_dir=tmp_path) as trainer:
        trainer.run(2)
    assert len(small(**settings()).restore(tmp_path)) == 2
    with pytest.raises(TypeError, match=r"^allow_changed_code must be True or False, got 1"):
        trainer.restore(tmp_path, allow_changed_code=1)


def test_weights_are_loaded_by_a_function_that_was_typed_again(tmp_path):
    trainer = small(build_optimizer=casting("gradients"))
    l2l.save(tmp_path / "mine.npz", trainer.trained())
    loaded = l2l.load(tmp_path / "mine.npz", casting("2 * gradients"))
    np.testing.assert_array_equal(loaded.weights[0], trainer.weights()[0])


def test_files_from_before_there_were_digests_are_read(tmp_path):
    class Mine(l2l.Casting):
        def __init__(self, factor):
            self.factor, self.function = factor, scaled

        def encode(self, gradients, memory=None, adapted=()):
            return tf.expand_dims(self.factor * gradients, axis=1)

        def decode(self, outputs, gradients=None, memory=None, adapted=()):
            return outputs

    trained = small(build_optimizer=lambda: l2l.CoordinatewiseLSTM((2,), Mine(3.0))).trained()
    record = {key: value for key, value in trained.record.items() if key not in ("version", "code")}
    casting = {"kind": None, "name": "Mine", "parameters": {"factor": 3.0, "function": "scaled"}}
    record["optimizer"] = {**record["optimizer"], "casting": casting}
    l2l.save(tmp_path / "old.npz", trained._replace(record=record))
    l2l.load(tmp_path / "old.npz", lambda: l2l.CoordinatewiseLSTM((2,), Mine(3.0)))
    with pytest.raises(ValueError, match=r"was trained with casting .*3\.0"):
        l2l.load(tmp_path / "old.npz", lambda: l2l.CoordinatewiseLSTM((2,), Mine(2.0)))


class CoordinatewiseLSTM(l2l.CoordinatewiseLSTM):
    """Has the library's name, and other updates."""

    def __call__(self, gradients, state):
        update, state = super().__call__(gradients, state)
        return -update, state


def test_a_network_with_the_librarys_name_is_not_taken_for_it(tmp_path):
    l2l.save(tmp_path / "mine.npz", small(build_optimizer=lambda: CoordinatewiseLSTM((2,))).trained())
    with pytest.raises(ValueError, match=r"^build must be given for .* and is none of the library's own"):
        l2l.load(tmp_path / "mine.npz")
    assert l2l.load(tmp_path / "mine.npz", lambda: CoordinatewiseLSTM((2,))).weights


@pytest.mark.parametrize(
    "settings, place",
    [
        ({"problem": with_attribute(LOCK)}, "problem.more"),
        ({"meta_loss": functools.partial(scaled, more=LOCK)}, "meta_loss['more']"),
        ({"build_optimizer": lambda lock=LOCK: one_rate()}, "argument lock of build_optimizer"),
    ],
)
def test_what_cannot_be_described_is_refused(settings, place):
    with pytest.raises(TypeError, match=r"^%s must be something that the record" % re.escape(place)):
        recorded(**settings)


def test_a_sweep_mixes_no_cells_of_other_code(tmp_path, monkeypatch):
    def of(factor):
        problem = own_quadratic(factor)(2)
        return lambda checkpoint_dir, **settings: build(checkpoint_dir, problem=problem, **settings)

    with no_cluster(monkeypatch):
        l2l.sweep(of(1.0), {"weights_seed": [1]}, 3, directory=tmp_path)
        with pytest.raises(
            ValueError, match=r"weights_seed=1-.* is from another trainer: code of problem differs; allow"
        ):
            l2l.sweep(of(2.0), {"weights_seed": [1]}, 3, directory=tmp_path)
        l2l.sweep(of(2.0), {"weights_seed": [2]}, 3, directory=tmp_path)
        for seeds in [[1, 2], [2, 1]]:  # whichever comes first
            with pytest.raises(ValueError, match=r"weights_seed=1-.* is from another trainer: code of problem differs"):
                l2l.sweep(of(2.0), {"weights_seed": seeds}, 3, directory=tmp_path)
        with pytest.raises(RuntimeError, match="code of problem differs"):  # nor does it train the old one on
            l2l.sweep(of(2.0), {"weights_seed": [1]}, 5, directory=tmp_path)
        sweep = l2l.sweep(of(2.0), {"weights_seed": [1, 2]}, 5, directory=tmp_path, allow_changed_code=True)
    assert [row["meta_iterations"] for row in sweep.rows] == [5, 5]
    with pytest.raises(TypeError, match=r"^allow_changed_code must be True or False"):
        l2l.sweep(of(2.0), {"weights_seed": [1, 2]}, 5, directory=tmp_path, allow_changed_code="yes")


def test_cells_of_one_code_are_compared_once(tmp_path, monkeypatch):
    def rates(checkpoint_dir, rate):
        return build(checkpoint_dir, build_optimizer=by_rate(rate))

    built = []
    with no_cluster(monkeypatch):
        l2l.sweep(rates, {"rate": [0.1, 0.2, 0.3]}, 2, directory=tmp_path)
        l2l.sweep(
            lambda checkpoint_dir, rate: built.append(rate) or rates(checkpoint_dir, rate),
            {"rate": [0.1, 0.2, 0.3]},
            2,
            directory=tmp_path,
        )
    assert built == [0.1]


def test_a_sweep_says_which_version_computed_a_cell(tmp_path, monkeypatch):
    with no_cluster(monkeypatch):
        sweep = l2l.sweep(build, {"weights_seed": [1, 2]}, 2, directory=tmp_path)
        assert "version" not in str(sweep)
        path = sweep.cells[1].directory + "/result.npz"
        config, arrays = archives.read(path)
        assert config["trainer"]["version"] == l2l.__version__
        config["trainer"]["version"] = "0.9"
        archives.write(path, config, arrays)
        sweep = l2l.sweep(build, {"weights_seed": [1, 2]}, 2, directory=tmp_path)
    assert [row["version"] for row in sweep.rows] == [l2l.__version__, "0.9"]
    assert str(sweep).splitlines()[0].endswith("version") and str(sweep).splitlines()[2].endswith("0.9")
