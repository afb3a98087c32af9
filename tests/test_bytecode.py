"""Digests of code: what a function does counts, and how it was typed does not."""

import inspect
import types

import pytest

from l2l.bytecode import digest, instructions


def code_of(text, name="f"):
    space = {}
    exec(compile(text, "cell", "exec"), space)
    return digest(instructions(space[name].__code__))


def test_a_digest_does_not_depend_on_an_order_and_stays_what_records_have():
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1}) == "c8caf5ad035ad1d6"
    assert digest({"a": 1, "b": [None, 2]}) != digest({"a": 1, "b": [2, None]})
    assert code_of(PLAIN) == "5efaab9faf08f64e"


async def coroutine():
    pass


async def generator_of_coroutines():
    yield 1


def generator(first, *, second, third):
    local = first
    yield local


def rest(*rest):
    local = rest
    return local


@types.coroutine
def generator_as_coroutine():
    yield 1


@pytest.mark.parametrize(
    "function, flags",
    [
        (code_of, 0),
        (rest, inspect.CO_VARARGS),
        (lambda **more: more, inspect.CO_VARKEYWORDS),
        (generator, inspect.CO_GENERATOR),
        (coroutine, inspect.CO_COROUTINE),
        (generator_as_coroutine, inspect.CO_GENERATOR | inspect.CO_ITERABLE_COROUTINE),
        (generator_of_coroutines, inspect.CO_ASYNC_GENERATOR),
    ],
)
def test_the_kind_of_a_function_and_the_names_of_its_arguments_count(function, flags):
    described, code = instructions(function.__code__), function.__code__
    assert described[0] == [code.co_argcount, code.co_kwonlyargcount, flags]
    assert described[1] == list(inspect.signature(function).parameters)


PLAIN = "def f(x, k=1, *rest, flag, **more):\n    return [x + k for k in rest if k in {'a', 'b', 1.5}]\n"


@pytest.mark.parametrize(
    "text",
    [
        "\n\n# a comment\n" + PLAIN,
        PLAIN.replace("return", "'''A docstring.'''\n    return"),
        PLAIN.replace("'a', 'b', 1.5", "1.5, 'b', 'a'"),
        PLAIN.replace("x + k for k in rest if k", "x   +   k   for k in rest\n      if k"),
        "def f_maker():\n    " + PLAIN.replace("\n", "\n    ") + "\n    return f\nf = f_maker()\n",
        PLAIN.replace("def f", "def g") + "f = g\n",
    ],
    ids=["place", "docstring", "order of a set", "spaces", "in a function", "name"],
)
def test_how_it_was_typed_does_not_count(text):
    assert code_of(text) == code_of(PLAIN)


@pytest.mark.parametrize(
    "one, other",
    [
        ("x + k", "x - k"),
        ("1.5", "1.25"),
        ("'a'", "'c'"),
        ("x + k", "x.k"),
        ("x + k", "abs(x)"),
        ("flag, **more", "other, **more"),
        (", *rest, flag", ", rest=(), *, flag"),
        ("for k in rest if", "for k in more if"),
        ("k in {'a'", "k not in {'a'"),
        ("[x + k for k in rest if k in {'a', 'b', 1.5}]", "(x + k for k in rest if k in {'a', 'b', 1.5})"),
        ("return", "yield"),
        ("x + k", "x.__doc__"),
    ],
)
def test_what_it_does_counts(one, other):
    assert one in PLAIN and code_of(PLAIN.replace(one, other)) != code_of(PLAIN)


@pytest.mark.parametrize(
    "one, other",
    [
        *[("x.__doc__", "y.__doc__"), ("'a'.__qualname__", "'b'.__qualname__")],
        *[("1", "1.0"), ("1", "True"), ("0.0", "-0.0"), ("'1'", "b'1'"), ("(1,)", "(1.0,)")],
    ],
)
def test_constants_and_names_that_look_alike_are_told_apart(one, other):
    assert code_of("f = lambda x=1, y=2: " + one) != code_of("f = lambda x=1, y=2: " + other)


def test_jumps_count_by_where_they_lead():
    """Beyond 255 constants an argument takes two instructions, which moves all offsets after it."""
    numbers = "\n    ".join("x = %d.5" % i for i in range(300))
    text = (
        "def f(x):\n    %s\n    while x:\n        x -= 1\n        if x: continue\n        break\n    return x\n"
        % numbers
    )
    assert code_of(text) == code_of(text.replace("def f(x):\n", "def f(x):\n    '''A docstring.'''\n"))
    assert code_of(text) != code_of(text.replace("if x: continue", "if not x: continue"))
    assert code_of(text) == "30b56ecd43f478cd"
    within = "def f(x):\n    if x:\n        x()\n        x()\n"  # whose instructions differ in nothing else
    assert code_of(within) != code_of("def f(x):\n    if x:\n        x()\n    x()\n")


CLASS = "def f():\n    class Own:\n        def loss(self, x):\n            return x\n    return Own\n"


def test_a_class_in_a_function_counts_by_its_methods():
    assert code_of(CLASS) == code_of(CLASS.replace("class Own:", "class Own:\n        '''What it is.'''"))
    assert code_of(CLASS) == code_of(CLASS.replace("def f", "def g") + "f = g\n")
    assert code_of(CLASS) != code_of(CLASS.replace("return x\n", "return -x\n"))
    one, other = (CLASS.replace("class Own:", "class Own:\n        limit = %d" % limit) for limit in [1, 2])
    assert len({code_of(text) for text in [CLASS, one, other]}) == 3
