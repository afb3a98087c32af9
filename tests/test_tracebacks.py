"""An error in a user's function shows the user's line and a sentence, and little else."""

import _thread
import dataclasses
import os
import pickle
import queue
import re
import sys
import traceback
import warnings

import numpy as np
import pytest

import l2l
from l2l.mapping import first_line
from l2l.tracebacks import (
    first_of,
    levels_to_the_caller,
    place_in,
    place_of,
    short_traceback,
    without_converted_code,
    without_places,
)

import tensorflow as tf  # isort: skip

MOST_LINES = 10  # of a traceback: two for this test, for the call of l2l and for each of the user's, and the sentence


class Plane(l2l.Problem):
    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.reduce_sum(x**2)


class BadLoss(Plane):
    def loss(self, x, draw):
        return tf.matmul(x, draw)  # the mistake


class BadSample(Plane):
    def sample(self, num, seed=None):
        return tf.reshape(super().sample(num, seed), [num, 7])  # the mistake


class BadStart(Plane):
    def initial_position(self, draw):
        return helper(draw)


def helper(draw):
    return draw + tf.zeros([7])  # the mistake


@tf.function
def converted(x):
    return tf.matmul(x, x)  # the mistake


class BadFunction(Plane):
    def loss(self, x, draw):
        return converted(x)


class OtherDtype(Plane):
    data = np.zeros(2)

    def observe(self, draw, t, data):
        return data

    def loss(self, x, data):
        return x * data  # the mistake


class NoLoss(Plane):
    def loss(self, x, draw):
        pass


class Network:
    def __init__(self):
        self.weight = tf.get_variable("weight", [])

    def __call__(self, gradients, state):
        return -self.weight * gradients, ()


class BadStep(Network):
    def __call__(self, gradients, state):
        return gradients @ gradients, ()  # the mistake


class BadBuild(Network):
    def __init__(self):
        self.weight = tf.get_variable("weight", "three")  # the mistake


class BadLayer(Network):
    def __call__(self, gradients, state):
        return tf.keras.layers.Dense(2)(gradients), ()  # the mistake


def bad_rule(gradients, state):
    return gradients @ gradients, ()  # the mistake


def bad_meta_loss(losses):
    return undefined * losses[-1]  # noqa: F821, the mistake


def bad_schedule(meta_iteration):
    return {}["rate"]  # the mistake


def trainer(problem, build=Network, **more):
    return l2l.Trainer(problem, build, unroll_length=2, engine="graph", **more)


def raised(call):
    """The error, and its traceback as Python prints it."""
    with warnings.catch_warnings(), pytest.raises(Exception) as info:
        warnings.simplefilter("ignore")
        call()
    error = info.value
    return error, "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


def evaluated(problem, optimizer):
    return l2l.evaluate(problem, {"it": optimizer}, draws=20, steps=2, engine="graph")


def tuned(measure):
    return l2l.tune(Plane(), l2l.sgd, {"learning_rate": [0.1]}, measure=measure, budget=1, draws=2, engine="graph")


CALLS = {
    "loss": (lambda: trainer(BadLoss()), ValueError, "loss of BadLoss failed, line"),
    "sample": (lambda: trainer(BadSample()), ValueError, "sample of BadSample failed, line"),
    "start": (lambda: trainer(BadStart()), ValueError, "initial_position of BadStart failed, line"),
    "tf.function": (lambda: trainer(BadFunction()), ValueError, "loss of BadFunction failed, line"),
    "dtype": (lambda: trainer(OtherDtype()), TypeError, "perhaps since its data have dtype float64"),
    "step": (lambda: trainer(Plane(), BadStep), ValueError, "__call__ of BadStep failed, line"),
    "build": (lambda: trainer(Plane(), BadBuild), TypeError, "__init__ of BadBuild failed, line"),
    "layer": (lambda: trainer(Plane(), BadLayer), ValueError, "__call__ of BadLayer failed, line"),
    "meta-loss": (
        lambda: trainer(Plane(), meta_loss=bad_meta_loss),
        NameError,
        "bad_meta_loss failed, line",
    ),
    "schedule": (lambda: trainer(Plane(), learning_rate=bad_schedule), KeyError, "bad_schedule failed, line"),
    "estimator": (
        lambda: l2l.Trainer(BadLoss(), Network, estimator=l2l.PES(), engine="graph"),
        ValueError,
        "loss of BadLoss failed, line",
    ),
    "rule": (lambda: evaluated(Plane(), bad_rule), ValueError, "bad_rule failed, line"),
    "trace": (lambda: l2l.trace(BadLoss(), {"it": l2l.sgd()}), ValueError, "loss of BadLoss failed, line"),
    "picture": (lambda: l2l.plot_updates({"it": bad_rule}), ValueError, "bad_rule failed, line"),
    "learn": (lambda: l2l.learn(BadLoss(), BadLoss().draw(0), l2l.sgd()), ValueError, "loss of BadLoss failed, line"),
    "measure": (lambda: tuned(lambda losses: losses["the mistake"]), IndexError, "a lambda failed, line"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_mistake_of_the_users_shows_its_line_and_a_sentence_and_few_lines_beside(name):
    call, kind, words = CALLS[name]
    error, text = raised(call)
    assert type(error) in (kind, getattr(l2l.optimizers.first_call, "FirstCallError", kind)), text
    assert words in str(error) and "of test_tracebacks.py" in str(error)
    assert "the mistake" in text
    lines = text.split("\n")[4:]  # without this test's own
    assert len(lines) <= MOST_LINES, text
    assert text.count("Traceback") == 1 and "tensorflow_core" not in text


def test_what_a_function_returned_is_refused_in_few_lines():
    error, text = raised(lambda: trainer(NoLoss()))
    assert str(error) == "loss of NoLoss must be a tensor, got None"
    assert len(text.split("\n")) <= 4 + MOST_LINES


def test_everything_is_there_where_one_asks_for_it(monkeypatch):
    monkeypatch.setenv("L2L_TRACEBACKS", "full")
    error, text = raised(lambda: trainer(BadLoss()))
    assert len(text.split("\n")) > 30 and not str(error).startswith("loss of BadLoss")


CELL = """
class Bad(Plane):
    def loss(self, x, draw):
        return tf.matmul(x, draw)"""

CELLS = {
    "the user's function": (
        CELL + "\nl2l.learn(Bad(), Bad().draw(0), l2l.sgd())",
        2,
        "loss of Bad failed, line 3 of the cell",
    ),
    "a check of many": ("l2l.testing.check_problem(BadLoss())", 1, "BadLoss breaks its contract"),
    "a wrong argument": ("l2l.Trainer(Plane(), 3)", 1, "build_optimizer must be callable, got 3"),
    "an unknown argument": ("l2l.Trainer(Plane(), Network, unrol_length=3)", 1, "unexpected keyword argument"),
    "an unknown attribute": ("Plane().lossy", 1, "'Plane' object has no attribute 'lossy'"),
}


@pytest.fixture
def ipython(monkeypatch, tmp_path):
    """A shell like that of a notebook, in this process."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the shell has one of its own
    for name in ["last_type", "last_value", "last_traceback"]:
        monkeypatch.setattr(sys, name, None, raising=False)
    settings = {"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "NoColor"}}
    names = {name: value for name, value in globals().items() if not name.startswith("__")}
    yield InteractiveShell.instance(config=Config(settings), user_ns=names)
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("name", CELLS)
def test_a_notebook_shows_the_users_lines_alone(name, ipython, monkeypatch, capsys):
    cell, number, words = CELLS[name]
    ipython.run_cell(cell)
    shown = capsys.readouterr().out
    assert words in shown
    assert shown.count("---> ") == number and shown.count("<ipython-input") == number  # the frames
    if name != "an unknown argument":  # which concerns the call
        monkeypatch.setenv("L2L_TRACEBACKS", "full")
        ipython.run_cell(cell)
        assert os.path.dirname(l2l.__file__) in capsys.readouterr().out


def test_a_notebook_shows_an_error_of_the_packages_own_in_full(ipython, capsys):
    ipython.user_ns["call"] = short_traceback(chain((OURS, "a"), (THEIRS, "b"), error=RuntimeError("no")))
    ipython.run_cell("call()")
    shown = capsys.readouterr().out
    assert OURS in shown and THEIRS in shown


class OwnError(Exception):
    """One that is not made from a sentence."""


class Raises(Plane):
    def loss(self, x, draw):
        raise OwnError("one", 2)


class NoKey(Plane):
    def __init__(self, key):
        self._key = key

    def loss(self, x, draw):
        return {}[self._key]


@pytest.mark.parametrize(
    "key, said",
    [
        ("inputs", "no key 'inputs'"),
        ("sepal length", "no key 'sepal length'"),
        (3, "no key 3"),
        ("None is there", "None is there"),
    ],
)
def test_a_missing_key_is_said_in_words_without_quotes_around(key, said):
    error, text = raised(lambda: trainer(NoKey(key)))
    assert type(error) is KeyError
    assert re.fullmatch(r"loss of NoKey failed, line \d+ of test_tracebacks.py: " + said, str(error))
    assert text.endswith("KeyError: " + str(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    error, _ = raised(lambda: l2l.testing.check_problem(NoKey(key)))
    assert ": %s (line " % said in str(error)


class Imports(Plane):
    def loss(self, x, draw):
        import none_of_this_name  # noqa: F401


def test_a_missing_module_is_said_with_its_place():
    error, _ = raised(lambda: trainer(Imports()))
    assert type(error) is ModuleNotFoundError and error.name == "none_of_this_name"
    assert re.fullmatch(r"loss of Imports failed, line \d+ of .*: No module named 'none_of_this_name'", str(error))


class Catches(Plane):
    def loss(self, x, draw):
        try:
            return {}["x"]
        except KeyError:
            raise ValueError("not there")  # noqa: B904


def test_an_error_of_the_users_own_stays_what_it_is():
    error, text = raised(lambda: trainer(Raises()))
    assert type(error) is OwnError and error.args == ("one", 2)
    assert len(text.split("\n")) <= 4 + MOST_LINES


def test_what_the_user_caught_before_is_shown():
    error, text = raised(lambda: trainer(Catches()))
    assert "KeyError: 'x'" in text and "During handling" in text and str(error).endswith(": not there")


class RunsIntoIt(Plane):
    def loss(self, x, draw):
        number = 2 + tf.cast(tf.reduce_sum(tf.abs(x)) < 0.5, tf.int32)
        return tf.reduce_sum(tf.reshape(x, [number]) ** 2)  # the mistake


def test_an_error_that_the_user_handles_has_no_part_in_another():
    def call():
        try:
            int("nine")
        except ValueError:
            trainer(Plane(), 3)

    error, text = raised(call)
    assert type(error) is TypeError and "During handling" in text
    assert text.split("During handling")[1].count('int("nine")') == 0


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    number: int


class RaisesFrozen(Plane):
    def loss(self, x, draw):
        raise FrozenError(3)


class RendersItselfError(ValueError):
    def _render_traceback_(self):
        return ["rendered"]


class RaisesRendering(Plane):
    def loss(self, x, draw):
        raise RendersItselfError("no")


def test_errors_of_strange_classes_stay_what_they_are(ipython, capsys):
    error, _ = raised(lambda: trainer(RaisesFrozen()))
    assert error == FrozenError(3)
    ipython.run_cell("trainer(RaisesRendering())")
    assert capsys.readouterr().out.strip() == "rendered"


def test_wherever_ipython_begins_to_show_an_error_the_users_line_is_there(ipython, capsys):
    ipython.run_cell("try:\n    trainer(BadLoss())\nexcept ValueError:\n    get_ipython().showtraceback(tb_offset=0)")
    shown = capsys.readouterr().out
    assert "trainer(BadLoss())" in shown and "the mistake" in shown and "interactiveshell.py" not in shown


def test_an_op_that_fails_when_it_runs_is_the_users_line():
    error, text = raised(lambda: trainer(RunsIntoIt(), draws_seed=3).run(200))
    assert isinstance(error, tf.errors.InvalidArgumentError)
    assert "(line " in str(error) and "the mistake)" in str(error)
    assert len(text.split("\n")) <= 4 + MOST_LINES


class NotForXla(Plane):
    def loss(self, x, draw):
        text = tf.as_string(x[0])  # the mistake
        return tf.reduce_sum(x**2) + 0 * tf.cast(tf.strings.length(text), tf.float32)


def test_an_op_that_xla_has_no_code_for_is_the_users_line():
    error, text = raised(lambda: l2l.evaluate(NotForXla(), {"it": l2l.sgd()}, draws=1, steps=2))
    assert "engine='xla' cannot compile" in str(error) and "= tf.as_string(x[0])  # the mistake)" in str(error)
    assert len(text.split("\n")) <= 4 + MOST_LINES


def test_sentences_name_the_line():
    error, _ = raised(lambda: l2l.testing.check_problem(BadLoss()))
    assert "a draw alone cannot be computed: Shape must be rank 2" in str(error)
    assert "return tf.matmul(x, draw)  # the mistake)" in str(error)
    error, _ = raised(lambda: l2l.testing.check_optimizer(BadStep))
    assert "__call__ of BadStep failed, line" in str(error)
    assert not re.search(r"\b(\d{2,}|line)\b", without_places(str(error)))


class ForOneTensor:
    def __call__(self, gradients, state):
        weight = tf.get_variable("weight", [1])
        return gradients[:, None][:, 0] * weight, ()  # the mistake


def test_a_sentence_about_a_sentence_names_the_line_once():
    error, _ = raised(lambda: l2l.testing.check_optimizer(ForOneTensor))
    assert "it must take a nest of gradients" in str(error) and str(error).count("the mistake") == 1


LIBRARIES = os.path.dirname(os.__file__)
OURS, THEIRS, PYTHONS = os.path.dirname(l2l.__file__) + "/a.py", "/x/site-packages/a.py", LIBRARIES + "/a.py"


def made(path, name, *lines, module="", line=1, **space):
    """A function as though it stood in a file, at a line of it."""
    space = {"__name__": module, **space}
    exec(compile("\n" * (line - 1) + "def %s():\n %s" % (name, "\n ".join(lines)), path, "exec"), space)
    return space[name]


def chain(*places, error=None):
    """A function that calls others, at the `(path, name)` of each, of which the last raises an error."""
    *calling, (path, name) = places
    function = made(path, name, "raise error", error=error)
    for i, (path, name) in enumerate(reversed(calling)):
        function = made(path, name, "return inner()", inner=function, line=10 * i + 10)
    return function


def frames_of(function):
    """The error that a function raises through the decorator, and the names of the frames below that."""
    with pytest.raises(Exception) as caught:
        short_traceback(function)()
    first, second, *frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert (first, second) == ("frames_of", "called")
    return caught.value, frames


MIXED = [(OURS, "a"), ("mine.py", "b"), (THEIRS, "c"), ("mine.py", "d"), (OURS, "e"), ("<cell>", "f"), (PYTHONS, "g")]


def test_the_users_frames_stay_and_the_message_names_first_and_last():
    error, frames = frames_of(chain(*MIXED, error=ValueError("no")))
    assert frames == ["b", "d", "f"] and error.args == ("b failed, line 11 of <cell>: no",)
    error, frames = frames_of(short_traceback(chain(*MIXED, error=ValueError("no"))))
    assert frames == ["b", "d", "f"] and error.args == ("b failed, line 11 of <cell>: no",)
    assert place_of(error) == ""  # since it says so
    error, frames = frames_of(chain(*MIXED[:2], error=ValueError("no")))
    assert frames == ["b"] and error.args == ("b failed, line 2 of mine.py: no",)


@pytest.mark.parametrize("error", [ValueError("no", 2), ValueError(), ValueError(3), OwnError("no"), OSError(2, "no")])
def test_an_error_that_is_no_sentence_of_pythons_keeps_what_it_has(error):
    arguments = error.args
    found, frames = frames_of(chain(*MIXED, error=error))
    assert found is error and frames == ["b", "d", "f"] and error.args == arguments


@pytest.mark.parametrize(
    "path, error, frames",
    [
        (OURS, TypeError("no"), "d"),
        (OURS, ValueError("no"), "d"),
        (OURS, RuntimeError("no"), "abcd"),
        (THEIRS, ValueError("no"), "abcd"),
    ],
    ids=["ours", "ours of a value", "another error of ours", "theirs"],
)
def test_of_what_the_package_refuses_the_check_alone_stays(path, error, frames):
    found, left = frames_of(chain((OURS, "a"), (THEIRS, "b"), (OURS, "c"), (path, "d"), error=error))
    assert left == list(frames) and found.args == ("no",)
    with pytest.raises(TypeError, match="unexpected keyword"):
        short_traceback(made(OURS, "a", "pass"))(none=1)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
@pytest.mark.parametrize(
    "how",
    [
        ["try: users()", "except KeyError as error: raise sentence from error"],
        ["try: users()", "except KeyError: raise sentence from None"],
        ["try: users()", "except KeyError: raise sentence"],
        ["try: users()", "except KeyError as error: stored = error", "raise sentence from stored"],
        [
            *["try: users()", "except KeyError as error: stored = error"],
            *["try: {}['x']", "except KeyError: raise sentence from stored"],
        ],
    ],
)
def test_a_sentence_about_an_error_of_the_users_shows_the_users_lines(how, kind):
    users = chain(*MIXED, error=KeyError("mine"))
    error, frames = frames_of(made(OURS, "a", *how, users=users, sentence=kind("sentence")))
    assert frames == ["b", "d", "f"] and error.args == ("sentence",)
    assert error.__cause__ is None and error.__suppress_context__


def test_what_came_before_is_shown_where_the_user_caught_it_alone():
    caught = ["try: {}['x']", "except KeyError as error: raise ValueError('no') from error"]
    error, frames = frames_of(made(OURS, "a", "return inner()", inner=made("mine.py", "b", *caught)))
    assert frames == ["b"] and type(error.__cause__) is KeyError
    error, frames = frames_of(made(OURS, "a", "return inner()", inner=made(OURS, "b", *caught)))
    assert frames == ["b"] and error.__cause__ is None and error.__suppress_context__
    error, frames = frames_of(made(OURS, "a", "raise ValueError('no') from KeyError('never raised')"))
    assert frames == ["a"] and error.__cause__ is None


@pytest.mark.parametrize(
    "path, is_users",
    [
        ("mine.py", True),
        ("/home/me/mine.py", True),
        ("<stdin>", True),
        ("<ipython-input-3-0a>", True),
        (LIBRARIES + "_of_mine/a.py", True),
        (os.path.dirname(OURS) + "_of_mine/a.py", True),
        (OURS, False),
        (os.path.relpath(OURS), False),
        (PYTHONS, False),
        (THEIRS, False),
        ("/usr/lib/python3/dist-packages/a.py", False),
        ("<frozen importlib._bootstrap>", False),
        ("<__array_function__ internals>", False),
        ("<decorator-gen-12>", False),
    ],
    ids=lambda value: os.path.basename(str(value)),
)
def test_whose_a_file_is(path, is_users):
    _, frames = frames_of(chain((path, "a"), (THEIRS, "b"), error=RuntimeError()))
    assert frames == ["a"] if is_users else frames == ["a", "b"]


def test_a_place_is_that_of_the_last_line_of_the_users():
    try:
        chain(*MIXED, error=ValueError("no"))()
    except ValueError as error:
        assert place_of(error) == " (line 11 of <cell>)"
    with tf.Graph().as_default():
        tensor = made("mine.py", "d", "return one()", line=7, one=lambda: tf.constant(1.0))()
    assert re.fullmatch(
        r" \(line \d+ of test_tracebacks.py: tensor = .*\)", place_of(tf.errors.OpError(None, tensor.op, "", 1))
    )
    assert place_of(ValueError("no")) == ""


def test_an_op_that_a_text_names_is_found_in_a_graph_and_its_functions(graph):
    x = tf.constant(1.0, name="scope/here.x-1")
    tf.function(lambda x: tf.square(x, name="within"), autograph=False)(x)
    for text in ["no {{node scope/here.x-1}} is", "no (node `scope/here.x-1` is"]:
        assert re.fullmatch(r" \(line \d+ of test_tracebacks.py: x = tf.constant.*\)", place_in(graph, text))
    assert "tf.square(x" in place_in(graph, "{{node within}}")
    assert place_in(graph, "{{node none}}") == place_in(graph, "no node") == ""


@pytest.mark.parametrize(
    "text, line",
    [
        ("one", "one"),
        ("\n  one  \n two\n", "one"),
        ("", ""),
        (" \n", ""),
        ("2 root error(s) found.", "2 root error(s) found."),
        ("2 root error(s) found.\n  (0) one", "one"),
        ("12 root error(s) found.\n  (0) one\n (1) two", "one"),
        ("one\n2 root error(s) found.", "one"),
    ],
)
def test_the_first_line_that_says_something(text, line):
    assert first_of(text) == line


CONVERTED = """
in converted code:
    relative to /home/me:

    mine.py:12 loss  *
        y = inner(x)
    mine.py:34 inner  *
        return x @ x
    site-packages/tensorflow_core/math_ops.py:180 wrapper
        return target(*args, **kwargs)

    ValueError: Shape must be rank 2
"""


def test_of_converted_code_the_users_last_line_is_said():
    assert without_converted_code(CONVERTED) == "Shape must be rank 2 (line 34 of mine.py: return x @ x)"
    assert without_converted_code("in converted code:\n\n  a.py:1 f\n  x\n\n  tf.E: no") == "no"
    assert first_line(ValueError()) == "ValueError"
    for text in ["", "one\n two", "one\nin converted code:"]:
        assert without_converted_code(text) == text


def test_the_first_caller_outside_is_counted():
    function = made("a.py", "a", "return levels()", module="l2l.one", levels=levels_to_the_caller)
    assert function() == 2
    for module in ["tensorflow.python.x", "contextlib", "tensorflow_core", "l2l"]:
        function = made("a.py", "a", "return inner()", module=module, inner=function)
    assert function() == 6
    assert made("a.py", "a", "return levels()", module="l2l_of_mine", levels=levels_to_the_caller)() == 1
    found = queue.Queue()  # where nobody outside calls
    _thread.start_new_thread(
        made("a.py", "a", "found.put(levels())", module="l2l", levels=levels_to_the_caller, found=found), ()
    )
    assert found.get(timeout=60) == 1


def test_a_cell_of_a_notebook_is_called_so():
    for path in ["<ipython-input-3-0a>", "/tmp/ipykernel_17/2508.py"]:
        try:
            exec(compile("1 / 0", path, "exec"))
        except ZeroDivisionError as error:
            assert first_line(error).startswith("division by zero (line 1 of the cell")


def test_of_several_ops_that_fail_the_first_ones_error_is_said():
    text = "2 root error(s) found.\n  (0) Invalid argument: one\n\t [[node a]]\n  (1) Invalid argument: two"
    assert first_line(tf.errors.InvalidArgumentError(None, None, text)) == "Invalid argument: one"
    assert first_line(ValueError("2 root error(s) found.")) == "2 root error(s) found."


def test_messages_without_places_have_no_number_of_a_line():
    for place in ["the cell", "mine.py", "my file.py"]:
        assert without_places("loss failed, line 12 of %s: no 3 (line 7 of %s: x)" % (place, place)) == "loss no 3"


def test_a_warning_names_the_line_that_called():
    class Forgets(Plane):
        def sample(self, num, seed=None):
            return tf.reshape(tf.range(2.0 * num), [num, 2])

    with pytest.warns(RuntimeWarning, match="does not use its seed") as found:
        evaluated(Forgets(), l2l.sgd())
    assert [one.filename for one in found if "its seed" in str(one.message)] == [__file__]
