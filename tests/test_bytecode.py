"""Digests of code: what a function does counts, and how it was typed does not."""

import pytest

from l2l.bytecode import digest, instructions


def code_of(text, name="f"):
    space = {}
    exec(compile(text, "cell", "exec"), space)
    return digest(instructions(space[name].__code__))


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
    ],
)
def test_what_it_does_counts(one, other):
    assert one in PLAIN and code_of(PLAIN.replace(one, other)) != code_of(PLAIN)


@pytest.mark.parametrize(
    "one, other", [("1", "1.0"), ("1", "True"), ("0.0", "-0.0"), ("'1'", "b'1'"), ("(1,)", "(1.0,)")]
)
def test_constants_that_are_equal_are_told_apart(one, other):
    assert code_of("f = lambda: " + one) != code_of("f = lambda: " + other)


def test_jumps_count_by_where_they_lead():
    """Beyond 255 constants an argument takes two instructions, which moves all offsets after it."""
    numbers = "\n    ".join("x = %d.5" % i for i in range(300))
    text = (
        "def f(x):\n    %s\n    while x:\n        x -= 1\n        if x: continue\n        break\n    return x\n"
        % numbers
    )
    assert code_of(text) == code_of(text.replace("def f(x):\n", "def f(x):\n    '''A docstring.'''\n"))
    assert code_of(text) != code_of(text.replace("if x: continue", "if not x: continue"))


CLASS = "def f():\n    class Own:\n        def loss(self, x):\n            return x\n    return Own\n"


def test_a_class_in_a_function_counts_by_its_methods():
    assert code_of(CLASS) == code_of(CLASS.replace("class Own:", "class Own:\n        '''What it is.'''"))
    assert code_of(CLASS) == code_of(CLASS.replace("def f", "def g") + "f = g\n")
    assert code_of(CLASS) != code_of(CLASS.replace("return x\n", "return -x\n"))
