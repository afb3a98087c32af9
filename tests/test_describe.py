"""What objects say of themselves: two that differ are told apart, and one says the same in every process."""

import abc
import array
import ast
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import importlib.machinery
import json
import operator
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import types
import unittest.mock

import cloudpickle
import numpy as np
import pytest
import tensorflow as tf
from other_problems import Regression, Rosenbrock

import l2l
from l2l.describe import (
    _is_own_module,
    describe,
    describe_code,
    digests_in,
    is_digest,
    same,
    without_code,
    without_names,
)
from l2l.optimizers import castings


def text_of(value):
    return json.dumps(describe("it", value), sort_keys=True)


def plus(x, number=1):
    return x + number


class Color(enum.Enum):
    red = 1
    blue = 2


@dataclasses.dataclass
class Data:
    one: object = 1


class Slots:
    __slots__ = ("_two", "one")

    def __init__(self, one):
        self.one = one


class Words(list):
    pass


class Own(l2l.Problem):
    def __init__(self, one):
        self.one = one


class Scaled:
    """Hands on what it does not have, such as `description`."""

    def __init__(self, inner, scale):
        self.inner, self.scale = inner, scale

    def __getattr__(self, name):
        if name == "inner":  # of a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.inner, name)


class Faster(l2l.optimizers.rules.Rule):
    """Inherits a `description` that knows nothing of `scale`."""

    def __init__(self, scale):
        super().__init__(l2l.sgd()._function, learning_rate=0.1)
        self.scale = scale


Pair = collections.namedtuple("Pair", "one two")


def typed(number):
    """A class that `exec` made without a `__name__`."""
    space = {}
    exec("class Own:\n    def loss(self, x):\n        return x + %d" % number, space)
    return space["Own"]


def structured(value):
    array = np.zeros(2, [("a", "f4"), ("b", "O")])
    array["b"][1] = value
    return array


def with_attributes(function, **attributes):
    for name, value in attributes.items():
        setattr(function, name, value)
    return function


class Numbers(np.ndarray):
    rate = 1


# Each makes one of a kind from 1 or from 2.
KINDS = {
    "number": lambda n: n,
    "lambda": lambda n: (lambda x: x + 1) if n == 1 else (lambda x: x + 2),
    "closure": lambda n: lambda x: x + n,
    "default": lambda n: lambda x, y=n: x + y,
    "first of three defaults": lambda n: lambda x=n, y=0, z=0: x,
    "default by keyword": lambda n: lambda x, *, y=n: x + y,
    "closure in a closure": lambda n: lambda x: (lambda: n)(),
    "partial": lambda n: functools.partial(plus, number=n),
    "partial of a partial": lambda n: functools.partial(functools.partial(plus, n)),
    "method": lambda n: Data(n).__repr__,
    "method of a built-in": lambda n: ("a" * n).join,
    "built-in": lambda n: len if n == 1 else sum,
    "ufunc": lambda n: np.tanh if n == 1 else np.exp,
    "TensorFlow's": lambda n: tf.reduce_sum if n == 1 else tf.reduce_mean,
    "a library's object": lambda n: np.poly1d([n, 1]),
    "Keras": lambda n: tf.keras.initializers.RandomNormal(0, n),
    "Keras layer": lambda n: tf.keras.layers.Dense(1, activation=KINDS["lambda"](n)),
    "Keras Lambda": lambda n: tf.keras.layers.Lambda(KINDS["lambda"](n)),
    "cached": lambda n: functools.lru_cache()(KINDS["lambda"](n)),
    "tf.function": lambda n: tf.function(KINDS["lambda"](n)),
    "itemgetter": operator.itemgetter,
    "attribute of a function": lambda n: with_attributes(KINDS["lambda"](1), rate=n),
    "closure of a library": lambda n: with_attributes(KINDS["closure"](n), __module__="numpy"),
    "class": lambda n: type("Own", (), {"loss": KINDS["lambda"](n)}),
    "private property": lambda n: type("Own", (), {"_loss": property(KINDS["lambda"](n))}),
    "property": lambda n: type("Own", (), {"loss": property(KINDS["lambda"](n))}),
    "class method": lambda n: type("Own", (), {"loss": classmethod(KINDS["lambda"](n))}),
    "static method": lambda n: type("Own", (), {"loss": staticmethod(KINDS["lambda"](n))}),
    "inherited": lambda n: type("Own", (KINDS["class"](n),), {}),
    "special method": lambda n: type("Own", (), {"__call__": KINDS["lambda"](n)}),
    "class of no module": lambda n: type("Own", (), {"__module__": None, "loss": KINDS["lambda"](n)}),
    "names of two underscores": lambda n: type("Own", (), {"__before": (n,)}),
    "names before two underscores": lambda n: type("Own", (), {"after__": n}),
    "attribute of a class": lambda n: type("Own", (), {"one": n}),
    "constant of a class": lambda n: type("Own", (), {"_ONE": (n,)}),
    "instance of a class": lambda n: KINDS["class"](n)(),
    "dataclass": Data,
    "slots": Slots,
    "list of its own": lambda n: Words([n]),
    "tuple of its own": lambda n: type("Own", (tuple,), {})((n,)),
    "syntax tree": lambda n: ast.parse("x + %d" % n, mode="eval"),
    "class of a class": lambda n: type("Meta", (type,), {"loss": KINDS["lambda"](n)})("Own", (), {}),
    "class typed without a name": typed,
    "what is typed without a name": lambda n: typed(n)(),
    "array in a closure": lambda n: (lambda _array: lambda x: x + _array)(np.ones(n)),
    "handed on": lambda n: Scaled(l2l.adam(), n),
    "rule of its own": Faster,
    "named tuple": lambda n: Pair(n, n),
    "enum": Color,
    "set": lambda n: {n, 3},
    "frozen set": lambda n: frozenset({n, 3}),
    "dict by numbers": lambda n: {n: "a"},
    "kind of the key": lambda n: {1 if n == 1 else "1": "a"},
    "ordered": lambda n: collections.OrderedDict(a=n),
    "deque": lambda n: collections.deque([n]),
    "bytes": lambda n: b"%d" % n,
    "complex": lambda n: complex(0, n),
    "complex of NumPy": np.complex64,
    "fraction": lambda n: fractions.Fraction(n, 3),
    "decimal": decimal.Decimal,
    "date": lambda n: datetime.date(2020, 1, n),
    "mock": lambda n: unittest.mock.Mock(return_value=n),
    "range": range,
    "slice": slice,
    "pattern": lambda n: re.compile("a" * n),
    "path": lambda n: pathlib.Path("data") / str(n),
    "random": random.Random,
    "random state": np.random.RandomState,
    "array": lambda n: np.array([n]),
    "object array": lambda n: np.array([n, "a", None], dtype=object),
    "array of arrays": lambda n: np.array([np.ones(2), n * np.ones(3)], dtype=object),
    "masked": lambda n: np.ma.array([5, 5], mask=[n == 1, n == 2]),
    "structured": structured,
    "date array": lambda n: np.array(["2020-01-0%d" % n], "datetime64[D]"),
    "words": lambda n: np.array(["a%d" % n]),
    "dtype": lambda n: np.dtype("f%d" % (4 * n)),
    "TensorFlow's dtype": lambda n: tf.float32 if n == 1 else tf.float64,
    "shape": lambda n: tf.TensorShape([n]),
    "rule": l2l.adam,
    "rules": lambda n: l2l.adam(0.1) if n == 1 else l2l.sgd(0.1),
    "teacher": lambda n: l2l.Imitation(l2l.Quadratic(2), KINDS["rules"](n)),
    "learner": lambda n: l2l.Imitation(l2l.Quadratic(2), l2l.sgd()).build(lambda: l2l.CoordinatewiseLSTM((n,))),
    "problem": l2l.Quadratic,
    "problem within": lambda n: l2l.RandomlyScaled(l2l.Quadratic(n)),
    "groups": lambda n: functools.partial(l2l.Grouped, {"a": KINDS["closure"](n)}),
    "nested": lambda n: {"a": [{"b": Own({n})}]},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_two_of_a_kind_are_told_apart_and_equal_ones_are_not(kind):
    one, again, other = (text_of(KINDS[kind](n)) for n in (1, 1, 2))
    assert one == again != other
    assert " at 0x" not in one and len(one) < 1000


def test_tables_are_told_apart():
    pandas = pytest.importorskip("pandas")
    tables = [
        pandas.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pandas.DataFrame({"a": [1, 3], "b": ["x", None]}),
        pandas.DataFrame({"a": [1, 2], "b": ["y", None]}),
        pandas.DataFrame({"a": [1, 2], "c": ["x", None]}),
        pandas.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[5, 6]),
        pandas.DataFrame({"a": [1, 2, 3]}),
        pandas.Series([1.0, 2.0]),
        pandas.Series([1.0, 2.0], index=["a", "b"]),
        pandas.Series([1, 2]),
        pandas.Series(["a", "b"], dtype="category"),
        pandas.Series(["a", "b"], dtype=pandas.CategoricalDtype(["a", "b", "c"])),
        pandas.Timestamp("2020-01-01"),
        pandas.Timestamp("2020-01-02"),
    ]
    texts = [text_of(table) for table in tables]
    assert len(set(texts)) == len(tables)
    assert text_of(tables[0].copy()) == texts[0]


def test_sparse_matrices_are_told_apart_by_what_they_hold():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.lil_matrix, sparse.dok_matrix]:
        one, again, other, larger = (
            text_of(kind(matrix)) for matrix in [np.eye(3), np.eye(3), 2 * np.eye(3), np.eye(4)]
        )
        assert one == again and len({one, other, larger}) == 3


def test_a_sparse_matrix_that_lists_a_place_twice_stays_as_it_is():
    sparse = pytest.importorskip("scipy.sparse")
    one = sparse.csr_matrix((np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 1))
    assert text_of(one) == text_of(sparse.csr_matrix([[3.0]])) and one.nnz == 2


def test_frozen_distributions_are_told_apart():
    stats = pytest.importorskip("scipy.stats")
    assert text_of(stats.norm(0, 1)) == text_of(stats.norm(0, 1)) != text_of(stats.norm(0, 2))
    assert text_of(stats.norm(0, 1).pdf) != text_of(stats.norm(0, 2).pdf)


def test_a_description_is_json_and_holds_class_and_public_attributes():
    assert describe("it", l2l.Quadratic(3)) == {"class": "Quadratic", "parameters": {"dims": 3, "dtype": "float32"}}

    class Mine(l2l.Problem):
        def __init__(self):
            self.number, self.name, self.nothing, self.flag = np.float32(0.5), "a", None, True
            self.nested = {"list": [1, (2.0, np.int64(3))], "dtype": tf.float64}
            self.function, self.object, self.path = plus, l2l.Quadratic(2), pathlib.Path("here")
            self.imported, self.rule, self.words = np.tanh, l2l.sgd(0.5), Words(["a"])
            self._private = threading.Lock()

    description = describe("it", Mine())
    assert json.loads(json.dumps(description)) == description
    assert description["class"] == "Mine" and re.fullmatch("[0-9a-f]{16}", description["code"])
    assert without_code(description["parameters"]) == {
        "number": 0.5,
        "name": "a",
        "nothing": None,
        "flag": True,
        "nested": {"list": [1, [2.0, 3]], "dtype": "float64"},
        "function": {"function": "plus"},
        "object": {"class": "Quadratic", "parameters": {"dims": 2, "dtype": "float32"}},
        "path": {"path": "here"},
        "imported": {"function": "tanh"},
        "rule": {"rule": "sgd", "learning_rate": 0.5},
        "words": {"class": "Words", "parameters": {}, "content": description["parameters"]["words"]["content"]},
    }
    assert len(digests_in(description)) == 3


@pytest.mark.parametrize(
    "value, expected",
    [
        ({2, "a", (1,)}, {"set": ["a", 2, [1]]}),
        ({1: "a", "b": 2}, {"items": [["b", 2], [1, "a"]]}),
        (b"ab", {"bytes": 2, "checksum": "9e83486d"}),
        (np, {"module": "numpy"}),
        (np.poly1d, {"class": "numpy.poly1d"}),
        (importlib.machinery.ModuleSpec, {"class": "_frozen_importlib.ModuleSpec"}),
        ("a".join, {"function": "join", "self": "a"}),
        (str.join, {"function": "str.join"}),
        (array.array("b", [1, 2]), {"class": "array.array", "content": "e870e71991e3fc2a"}),
        (
            type("Numeric", (), {"__module__": "numpy", "description": lambda self: 1})(),
            {"class": "numpy.Numeric", "content": "aa1a5bb6a30ac7d2"},
        ),
        (
            np.ma.array([1, 2], "i1", mask=[True, False]),
            {"masked": "int8 [2], checksum b6cc4292", "mask": "bool [2], checksum 58c223be"},
        ),
    ],
    ids=lambda value: type(value).__name__,  # a set has its elements in another order in each process
)
def test_what_is_not_the_users_own_is_described_by_name_and_content(value, expected):
    assert describe("it", value) == expected


def test_an_array_of_a_class_of_ones_own_has_a_class_and_parameters_too():
    one = np.arange(2.0).view(Numbers)
    one.rate, one._cache = 2, 3
    described = describe("it", one)
    assert without_code(described) == {
        "class": "Numbers",
        "array": "float64 [2], checksum 4e6187d5",
        "parameters": {"rate": 2},
    }
    assert len(described["code"]) == 16
    assert describe("it", structured(1)).startswith("[('a', '<f4'), ('b', 'O')] [2], checksum ")
    assert describe("it", with_attributes(lambda: 1, rate=2, _cache=3))["attributes"] == {"rate": 2}


LIBRARIES = os.path.dirname(os.__file__)


@pytest.mark.parametrize(
    "path, is_own",
    [
        ("/home/me/mine.py", True),
        ("mine.py", True),
        (None, True),
        (LIBRARIES + "_of_mine/mine.py", True),
        (LIBRARIES + "/mine.py", False),
        ("/home/me/site-packages/mine.py", False),
        ("/usr/lib/python3/dist-packages/mine/mine.py", False),
    ],
    ids=lambda value: os.path.basename(str(value)),
)
def test_a_module_is_the_users_own_unless_it_is_installed(path, is_own, monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(__file__=path))
    assert _is_own_module("mine") is is_own
    assert ("code" in describe("it", type("Mine", (), {"__module__": "mine"}))) is is_own


def test_arrays_are_told_apart_by_a_checksum():
    one, again, other = (describe("it", Regression(seed=seed)) for seed in [0, 0, 1])
    assert one == again != other
    assert len(json.dumps(one)) < 500  # not the numbers themselves
    assert one["parameters"]["data"][0].startswith("float64 [12, 3], checksum ")
    numbers = np.arange(6.0)
    texts = [text_of(array) for array in [numbers, numbers.reshape(2, 3), numbers.astype(np.float32), -numbers]]
    assert len(set(texts)) == 4
    # Two layouts in memory of the same numbers are the same array.
    assert text_of(numbers.reshape(2, 3).T) == text_of(numbers.reshape(2, 3).T.copy())


def test_data_of_the_class_itself_count_too():
    class Mine(l2l.Problem):
        data = np.arange(3)

    assert "int64 [3], checksum" in describe("it", Mine())["parameters"]["data"]


def test_an_object_says_it_itself():
    class Mine:
        def __init__(self, rate):
            self.rate, self.lock = rate, threading.Lock()

        def description(self):
            return {"rate": self.rate}

    described = describe("it", Mine(0.5))
    assert described == {"class": "Mine", "code": described["code"], "description": {"rate": 0.5}}
    with pytest.raises(TypeError, match=r"^description of Mine must return JSON types: "):
        describe("it", Mine(np.ones(2)))


def test_what_is_called_code_is_a_digest_beside_a_class_or_a_function_alone():
    for kind in ["class", "function"]:
        one = {kind: "Mine", "code": "0" * 16, "more": 1}
        assert is_digest(one, "code") and not is_digest(one, "more") and digests_in([one]) == ["0" * 16]
        assert without_code([one]) == [{kind: "Mine", "more": 1}]
    assert without_code({"code": 3, "more": 1}) == {"code": 3, "more": 1} and digests_in({"code": 3, "more": 1}) == []
    assert not any(is_digest(one, "code") for one in [{"class": "Mine"}, ["code", "class"], "code", None])


def test_a_partial_says_its_arguments():
    described = describe("it", functools.partial(plus, 1, number=2))
    assert without_code(described) == {"partial": {"function": "plus"}, "arguments": [1], "keywords": {"number": 2}}


def test_a_variable_that_is_not_set_yet_does_not_count():
    described = []

    def function():
        return later

    described.append(describe("it", function))
    later = 1
    described.append(describe("it", function))
    assert "closure" not in described[0] and described[1]["closure"] == {"later": 1}


def test_numbers_without_a_value_survive():
    values = {"nan": float("nan"), "infinity": [float("inf"), -float("inf")]}
    again = json.loads(json.dumps(describe("it", values)))
    assert same(again, values) and not same(again, {**values, "nan": float("inf")})
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert same([1, {"a": 2.0}], (1.0, {"a": 2})) and not same([1], [True]) and not same(2**60, 2**60 + 1)
    assert same(10**14, 1e14) and not same(2**53, 2**53 + 1)  # where floats are no longer exact


def test_cycles_end(monkeypatch):
    loop, other = [1], [1]
    loop.append({"again": loop})
    other.append({"again": [1, other]})
    assert describe("it", loop) == [1, {"again": {"above": 2}}] and text_of(loop) != text_of(other)
    one = Slots(None)
    one.one = [one.__init__, one]
    assert text_of(one) == text_of(one)

    def recursive(x):
        return recursive(x - 1) if x else x

    assert describe("it", recursive)["closure"] == {"recursive": {"above": 1}}
    deep = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(TypeError, match=r"^it\[0\]\[0\].* must be nested less deeply than 60 levels$"):
        describe("it", deep)
    monkeypatch.setattr("l2l.describe._DEEPEST", 2)
    assert describe("it", [[[1]]]) == [[[1]]]
    with pytest.raises(TypeError, match=r"^it\[0\]\[0\]\[0\] must be nested less deeply than 2 levels$"):
        describe("it", [[[[]]]])


def test_what_is_shared_costs_once_and_what_has_no_end_in_sight_is_refused(monkeypatch):
    one = KINDS["closure"](1)
    function = functools.reduce(lambda inner, _: lambda x: inner(inner(x)), range(50), one)
    assert text_of(function) == text_of(function)
    many = [1]
    for _ in range(30):  # 2^30 numbers
        many = [many, many]
    with pytest.raises(TypeError, match=r"^it\[0\]\[0\].* must hold fewer than 200000 values$"):
        describe("it", many)
    # What is known from elsewhere says the same, also where it refers to what lies above it.
    loop = Slots(None)
    loop.one = [[loop], [loop]]
    inner = {"above": 3}
    assert describe("it", [loop, loop])[1]["parameters"]["one"] == [[inner], [inner]]
    assert describe("it", [loop.one, loop])[1] == describe("it", [loop, loop])[1]
    # What is shared counts again and again among the values, of which numbers are none.
    pair = [[], 1]
    monkeypatch.setattr("l2l.describe._MOST", 5)
    assert describe("it", [pair, pair]) == [[[], 1], [[], 1]]
    assert describe("it", [[], [], [], []]) == [[], [], [], []]
    for many in [[pair, pair, []], [pair, pair, pair], [[], [], [], [], []]]:
        with pytest.raises(TypeError, match=r"must hold fewer than 5 values$"):
            describe("it", many)


@pytest.mark.parametrize(
    "make, place",
    [
        (threading.Lock, "it.one"),
        (lambda: (i for i in [1]), "it.one"),
        (lambda: sys.stdout, "it.one"),
        (lambda: tf.constant(1), "it.one"),
        (lambda: tf.Session(graph=tf.Graph()), "it.one['_graph']"),
        (threading.Event, "it.one['_cond']['_lock']"),
        (lambda: {"a": [1, threading.Lock()]}, "it.one['a'][1]"),
        (lambda: {threading.Lock()}, "it.one"),
        (lambda: np.array([threading.Lock()]), "it.one"),
        (lambda: functools.partial(plus, threading.Lock()), "it.one[0]"),
        (lambda: Own(threading.Lock()), "it.one.one"),
        (lambda: np.frompyfunc(plus, 1, 1), "it.one"),
        (lambda: KINDS["closure"](threading.Lock()), "variable n of it.one"),
        (lambda: KINDS["default"](threading.Lock()), "argument y of it.one"),
        (lambda: (lambda lock: lambda x, y=lock, z=1: x)(threading.Lock()), "argument y of it.one"),
        (lambda: type("Own", (), {"lock": threading.Lock()}), "Own.lock"),
        (lambda: threading.Lock().acquire, "the object of it.one"),
        (tf.keras.Model, "it.one"),
        (lambda: tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))]), "it.one"),
    ],
)
def test_what_cannot_be_described_is_refused_with_its_name(make, place):
    message = (
        "^%s must be something that the record of a training can tell from others, got .*; give its class a method "
    )
    with pytest.raises(TypeError, match=message % re.escape(place)) as caught:
        describe("it", Own(make()))
    assert "description(), or keep it under a name that begins with an underscore" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_is_no_parameter_may_be_anything():
    class Mine(l2l.Problem):
        _lock, _cache, _ufunc = threading.Lock(), {}, np.frompyfunc(plus, 1, 1)

        def __init__(self):
            self._file, _open = sys.stdout, threading.Lock()
            self.function = lambda: _open

    first = text_of(Mine())
    Mine._cache["a"] = 1
    assert text_of(Mine()) == first


def everything():
    """Functions and classes as they may be typed into a notebook."""
    scale, words = 2.5, frozenset(["one", "two", "three"])

    class Base(abc.ABC):
        """A docstring."""

        __slots__ = ()
        limit = {"a", "b", "c"}

        @abc.abstractmethod
        def loss(self, x):
            pass

    class Mine(Base):
        __slots__ = ("color", "size", "table")
        _constant = (1, "a", None)

        def __init__(self, size):
            super().__init__()
            self.size, self.color, self.table = size, Color.red, {1: {"x", "y", "z"}}

        def loss(self, x, *, power=3):
            def inner(y):
                return y**power if y in {"p", "q", "r", 7.5} else scale * y

            return [inner(one) for one in x]

        @property
        def double(self):
            return 2 * self.size

        @staticmethod
        def of(x):
            return x in words

        @classmethod
        def make(cls):
            return cls(3)

    @dataclasses.dataclass
    class Setting:
        rate: float = 0.5

    @functools.wraps(plus)
    def wrapped(*args, **kwargs):
        return plus(*args, **kwargs)

    mine = Mine(4)
    return [
        *[Mine, mine, mine.loss, Setting, Setting(0.1), wrapped, lambda losses: scale * losses[-1], words],
        *[functools.partial(mine.loss, power=2), np.array([mine, "a"], object), KINDS["closure"]({"u", "v", "w"})],
        *[Pair(1, 2), Color, l2l.adam(0.1), l2l.Imitation(l2l.Quadratic(2), l2l.sgd(0.1))],
    ]


def test_another_process_says_the_same(tmp_path, monkeypatch):
    """Of what cloudpickle sends there by value, as from a notebook, with another order of sets."""
    for kind in [Color, Data, Pair, plus]:
        monkeypatch.setattr(kind, "__module__", "__main__")  # so that they are not imported there
    # As in a notebook, whose kernel is installed.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/site-packages/ipykernel_launcher.py", raising=False)
    objects = everything()
    expected = [describe("it", one) for one in objects]
    (tmp_path / "objects").write_bytes(cloudpickle.dumps(objects))
    script = (
        "import json, pickle, sys\n"
        "from l2l.describe import describe\n"
        "objects = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(json.dumps([describe('it', one) for one in objects]))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "objects")],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        cwd=str(tmp_path),
    )
    for one, here, there in zip(objects, expected, json.loads(done.stdout.decode())):
        assert there == json.loads(json.dumps(here)), one


def test_code_that_holds_variables_counts_without_their_values(graph):
    class Mine:
        def __init__(self, rate):
            self.weight = tf.get_variable("weight", [], initializer=tf.constant_initializer(1.0))
            self.rate, self.cell = rate, tf.nn.rnn_cell.LSTMCell(3)

        def __call__(self, gradients, state):
            return -self.rate * self.weight * gradients, state

    def build(rate):
        with tf.variable_scope(None, default_name="it"):
            return Mine(rate)

    one, again, other = (describe_code(build(rate)) for rate in [0.1, 0.1, 0.2])
    assert one == again != other and one["class"] == "Mine" and set(one) == {"class", "code"}
    variable = tf.get_variable("other", [])
    functions = [describe_code(lambda g, s, rate=rate: (-rate * variable * g, s)) for rate in [0.1, 0.1, 0.2]]
    assert functions[0] == functions[1] != functions[2] and functions[0]["function"] == "<listcomp>.<lambda>"
    for ours in [3, l2l.CoordinatewiseLSTM((2,)), l2l.adam(), l2l.Grouped({"a": lambda: l2l.CoordinatewiseLSTM((2,))})]:
        assert describe_code(ours) is None
    subclass = type("CoordinatewiseLSTM", (l2l.CoordinatewiseLSTM,), {})
    assert describe_code(subclass((2,)))["class"] == "CoordinatewiseLSTM"


CODES = {
    "lambda": "a3856f533ca85cf2",
    "closure": "0ed2d03770e647e5",
    "default": "c32df51064ac4468",
    "default by keyword": "7096b7ca51b53436",
    "class": "e737dd96b2ae55b4",
    "property": "76bb890e70f576dc",
    "class method": "e737dd96b2ae55b4",
    "static method": "e737dd96b2ae55b4",
    "inherited": "b68eeb1a2f1af816",
    "special method": "9399ea9934172830",
    "attribute of a class": "f04f3084f6608f88",
    "constant of a class": "202c8959098c6827",
    "instance of a class": "ba69b453c026a5f2",
    "dataclass": "60aca1ac4057a403",
    "slots": "97583998b35e51a9",
    "list of its own": "504af09d8ed2f402",
    "class of a class": "3841b1623b2f9875",
    "array in a closure": "91487261347796bc",
    "named tuple": "e8bec5d0df64469e",
    "cached": "a3856f533ca85cf2",
    "method": "5ac6063660f89cfc",
    "enum": "9e74f71c0b655f14",
    "holds a lock": "b74c3339db0f80b9",
    "holds a tensor": "1023ee9fe35148e3",
}


def test_digests_of_code_are_those_that_records_of_before_have(monkeypatch):
    made = {
        **{kind: KINDS[kind](1) for kind in CODES if kind in KINDS},
        "holds a lock": KINDS["closure"](threading.Lock()),
        "holds a tensor": KINDS["closure"](tf.zeros([2])),
    }
    assert {kind: describe_code(one)["code"] for kind, one in made.items()} == CODES


def test_the_same_function_may_have_two_names():
    one, other = describe("it", KINDS["closure"](1)), describe("it", KINDS["closure"](1))
    other["function"] = "another"
    assert without_names([one]) == without_names([other]) and one != other


def test_castings_of_ones_own_are_told_apart_by_their_code():
    def mine(factor, base=l2l.Casting, more=0):
        class Mine(base):
            def __init__(self):
                self.factor = factor

            def encode(self, gradients, memory=None, adapted=()):
                return tf.expand_dims(gradients * (factor + more), axis=1)

        return Mine()

    one, again, other, changed = (castings.described(mine(*each)) for each in [(1,), (1,), (2,), (1, l2l.Casting, 1)])
    assert one == again and one != other and one != changed and one["parameters"] == {"factor": 1}
    ours = castings.described(mine(1, type(l2l.no_casting())))
    assert ours["kind"] is None and "code" in ours  # else a file would be read as the library's own
    with pytest.raises(ValueError, match="is none of the library's own"):
        castings.from_description(ours)


def test_problems_are_told_apart_by_their_code():
    class Mine(Rosenbrock):
        def loss(self, x, draw):
            return 2.0 * super().loss(x, draw)

    first = describe("it", Mine())

    class Mine(Rosenbrock):  # as in a notebook
        def loss(self, x, draw):
            return 3.0 * super().loss(x, draw)

    second = describe("it", Mine())
    assert first["code"] != second["code"] and without_code(first) == without_code(second)
    assert "code" not in describe("it", l2l.Rosenbrock())
