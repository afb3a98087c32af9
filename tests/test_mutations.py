"""The mutations that `make mutants` tries: on a module of a few lines."""

import builtins
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import mutations  # isort: skip

SOURCE = '''"""A docstring, 1 + 1."""
import os

__all__ = ["one", "other"]


def one(a, rate=0.1, batch=None, loop="python"):
    """Another, True."""
    if a < 2 and not batch:
        raise ValueError("a must be at least %d" % (1 + 1))
    a = a * rate
    with os.fdopen(a):
        os.write(a, b=False)
    return a[-1]
'''

EXPECTED = [
    ("rate=0.1", "rate=0.2"),
    ("batch=None", "batch=1"),
    ("loop='python'", "loop='pythonx'"),
    ("if a < 2 and not batch:", "if not (a < 2 and not batch):"),
    ("a < 2", "a <= 2"),
    ("a < 2", "a < 3"),
    ("a < 2", "a < 1"),
    ("a < 2 and not batch", "a < 2 or not batch"),
    ("a < 2 and not batch", "not batch"),
    ("a < 2 and not batch", "a < 2"),
    ("not batch", "batch"),
    ("raise ValueError('a must be at least %d' % (1 + 1))", "pass"),
    ("a = a * rate", "pass"),
    ("a * rate", "a / rate"),
    ("with os.fdopen(a): ; os.write(a, b=False)", "os.write(a, b=False)"),
    ("os.write(a, b=False)", "pass"),
    ("os.write(a, b=False)", "os.write(a)"),
    ("b=False", "b=True"),
    ("a[-1]", "a[1]"),
    ("a[-1]", "a[-2]"),
    ("a[-1]", "a[-0]"),
]


def test_they_change_what_a_program_does_and_no_words():
    made = [mutations.mutated("l2l/it.py", SOURCE, place) for place in mutations.places_in(SOURCE)]
    changes = {(one.before, one.after) for one in made}
    for before, after in EXPECTED:
        assert [pair for pair in changes if before in pair[0] and after in pair[1]], (before, after)
    assert len(made) == len(changes) == len(EXPECTED)
    for one in made:
        assert one.function == "one"
        compile(one.source, "it", "exec")


def test_functions_note_that_they_are_called():
    builtins.seen_in_test = set()
    module = {}
    exec(mutations.watched("l2l/it.py", SOURCE, "seen_in_test"), module)
    with pytest.raises(ValueError):
        module["one"](1)
    assert builtins.seen_in_test == {("l2l/it.py", "one")}
    del builtins.seen_in_test
