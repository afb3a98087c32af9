"""The mutations that `make mutants` tries: on a module of a few lines, and on all of the package's."""

import ast
import builtins
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mutate
import mutations
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "l2l").rglob("*.py"))

SOURCE = '''"""A docstring, 1 + 1."""
import os

__all__ = ["one", "other"]


def one(a, rate=0.1, batch=None, loop="python"):
    """Another, True."""
    if a < 2 and not batch:
        raise ValueError("a must be at least %d" % (1 + 1))
    elif 0 < a <= rate:  # or so
        a = {"key": 4 & a}
    a = a * rate
    rate = a in "iu"
    (b,) = [a] + [True]
    with os.fdopen(a):
        os.write(
            a, b=False, name="it"
        )
    while a["key"] == "x":
        break
    return (*a[:-1], b if batch else None)


def __repr__():
    return 1
'''

EXPECTED = [
    ("rate=0.1", "rate=0.2"),
    ("batch=None", "batch=1"),
    ('loop="python"', 'loop="pythonx"'),
    ("if a < 2 and not batch:", "if not (a < 2 and not batch):"),
    ("a < 2", "a <= 2"),
    ("a < 2", "a < 3"),
    ("a < 2", "a < 1"),
    ("a < 2 and not batch", "a < 2 or not batch"),
    ("a < 2 and not batch", "if not batch"),
    ("a < 2 and not batch", "if a < 2:"),
    ("not batch", "and batch"),
    ('raise ValueError("a must be at least %d" % (1 + 1))', "pass"),
    ("elif 0 < a <= rate:", "elif 1 < a <= rate:"),
    ("elif 0 < a <= rate:", "elif 0 <= a <= rate:"),
    ("elif 0 < a <= rate:", "elif 0 < a < rate:"),
    ("elif 0 < a <= rate:", "elif not (0 < a <= rate):"),
    ('{"key": 4 & a}', '{"keyx": 4 & a}'),
    ('{"key": 4 & a}', '{"key": 4 | a}'),
    ('{"key": 4 & a}', '{"key": a}'),
    ('{"key": 4 & a}', '{"key": 4}'),
    ('{"key": 4 & a}', '{"key": 5 & a}'),
    ('{"key": 4 & a}', '{"key": 3 & a}'),
    ('a = {"key": 4 & a}', "pass"),
    ("a = a * rate", "pass"),
    ("a * rate", "a / rate"),
    ('rate = a in "iu"', 'rate = a not in "iu"'),
    ("(b,) = [a] + [True]", "(b,) = [a] + [False]"),
    ("with os.fdopen(a):", "if True:"),
    ('os.write( a, b=False, name="it" )', "pass"),
    ('os.write( a, b=False, name="it" )', 'os.write( a, name="it" )'),
    ("b=False", "b=True"),
    ('a["key"] == "x"', 'a["keyx"] == "x"'),
    ('a["key"] == "x"', 'a["key"] == "xx"'),
    ('a["key"] == "x"', 'a["key"] != "x"'),
    ("break", "continue"),
    ("[:-1]", "[:1]"),
    ("[:-1]", "[:-2]"),
    ("[:-1]", "[:-0]"),
    ("b if batch else None", "b if not (batch) else None"),
]


def test_they_change_what_a_program_does_and_no_words():
    made = mutations.mutations_of("l2l/it.py", SOURCE)
    changes = {(one.before, one.after) for one in made}
    for before, after in EXPECTED:
        assert [pair for pair in changes if before in pair[0] and after in pair[1]], (before, after)
    assert len(made) == len(changes) == len(EXPECTED)
    for one in made:
        assert one.function == "one"
        compile(one.source, "it", "exec")


def test_a_mutation_leaves_the_rest_of_the_source_as_it_is():
    lines = SOURCE.split("\n")
    for one in mutations.mutations_of("l2l/it.py", SOURCE):
        now = one.source.split("\n")
        removed = len(lines) - len(now)  # a call of several lines became one
        assert now[: one.line - 1] == lines[: one.line - 1]
        assert now[one.line + 2 - removed :] == lines[one.line + 2 :]
        assert one.source != SOURCE


def test_functions_note_that_they_are_called():
    builtins.seen_in_test = set()
    module = {}
    exec(mutations.watched("l2l/it.py", SOURCE, "seen_in_test"), module)
    with pytest.raises(ValueError):
        module["one"](1)
    assert builtins.seen_in_test == {("l2l/it.py", "one")}
    assert module["one"].__doc__ == "Another, True."
    del builtins.seen_in_test


@pytest.mark.parametrize("path", MODULES)
def test_every_module_survives_what_is_written_into_it(path):
    """Without the notes it is the module, and what is mutated is Python, of another meaning."""
    source = (ROOT / path).read_text()
    whole = ast.parse(source)
    noted = ast.parse(mutations.watched(path, source, "seen"))
    functions = [node for node in ast.walk(noted) if isinstance(node, ast.FunctionDef) and node.name != "__repr__"]
    for function in functions:
        place = isinstance(getattr(function.body[0], "value", None), ast.Str)  # after the docstring
        assert "__import__" in ast.dump(function.body.pop(place)), function.name
    assert ast.dump(noted) == ast.dump(whole)
    for one in mutations.mutations_of(path, source)[::50]:  # all of them: 15 seconds
        assert ast.dump(ast.parse(one.source)) != ast.dump(whole), one[:5]


@pytest.fixture
def project(tmp_path):
    """A copy of the project with few tests, where the tool finds and writes its files."""
    for name in ["l2l", "tools"]:
        shutil.copytree(str(ROOT / name), str(tmp_path / name), ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "problems").mkdir(parents=True)
    for name in ["pyproject.toml", "tests/conftest.py", "tests/problems/test_random_numbers.py"]:
        shutil.copy(str(ROOT / name), str(tmp_path / name))
    return tmp_path


def run_tool(project, *arguments):
    command = [sys.executable, "tools/mutate.py", *arguments]
    done = subprocess.run(command, cwd=str(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    return done.returncode, done.stdout.decode()


@pytest.mark.rehearsal
def test_some_mutations_of_the_package_die(project):
    code, output = run_tool(project, "--only", "random_numbers", "--number", "3")
    assert code == 0 and "3 of 3 mutations died, 100.0%" in output, output
    assert output.count("  tests/problems/test_random_numbers.py::test_") == 3, output


@pytest.mark.rehearsal
def test_a_mutation_that_no_test_sees_survives_unless_it_is_listed(project):
    (project / "l2l" / "it.py").write_text("def twice(x):\n    return 2 * x\n")
    test = "from l2l.it import twice\n\n\ndef test_it():\n    assert twice(2) == 4\n"
    (project / "tests" / "test_it.py").write_text(test.replace("2) == 4", "0) == 0"))
    (project / "tests" / "problems" / "test_random_numbers.py").unlink()
    with (project / "tools" / "equivalent_mutants.txt").open("a") as file:
        file.write("\nl2l/it.py twice\n- return 2 * x\n+ return 3 * x\nWhatever the reason.\n")
        file.write("\nl2l/it.py once\n- return x\n+ pass\nOf a function that is gone.\n")
    code, output = run_tool(project, "--only", "it.py")
    assert code == 1 and output.endswith("1 of 2 mutations died, 50.0%\n"), output
    assert "\nl2l/it.py twice, line 2\n- return 2 * x\n+ return 1 * x\n" in output, output
    assert "no such mutation: l2l/it.py once\n- return x\n+ pass\n" in output and "mutation: l2l/plots" not in output
    (project / "tests" / "test_it.py").write_text(test)
    code, output = run_tool(project, "--again")
    assert code == 0 and output.endswith("1 of 1 mutations died, 100.0%\n"), output


def test_a_module_that_is_no_python_is_named(project):
    (project / "l2l" / "it.py").write_text("def one(a):\n    return *a, 1\n")
    code, output = run_tool(project, "--number", "1")
    said = "RuntimeError: l2l/it.py: Python refuses the code, invalid syntax (it.py, line 2): return *a, 1"
    assert code == 1 and said in output, output


def test_a_mutation_that_is_no_python_is_named(project):
    """As a flaw of the tool would make one."""
    with (project / "tools" / "mutations.py").open("a") as file:
        file.write('\nSWAPS["*"] = "*)"\n')
    (project / "l2l" / "it.py").write_text("def one(a):\n    return 2 * a\n")
    code, output = run_tool(project, "--only", "it.py")
    assert code == 1
    assert "RuntimeError: l2l/it.py, line 2, return 2 * a -> return 2 *) a: Python refuses the code, " in output, output


def test_a_worker_that_fails_says_why(tmp_path, capsys):
    def work(number, copy):
        if number == 1:
            raise KeyError("what went wrong")
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return [number, copy.name]

    copies = [tmp_path / ("copy-%d" % i) for i in range(3)]
    assert mutate.in_parallel(copies[:1], work) == [[0, "copy-0"]]
    with pytest.raises(RuntimeError, match=r"KeyError: 'what went wrong'(.|\n)*copy-2: its process died"):
        mutate.in_parallel(copies, work)


@pytest.mark.rehearsal
def test_where_no_test_passes_nothing_is_counted(project):
    # Which it has while the tool looks at what tests call, and not after that.
    test = "import builtins\n\n\ndef test_it():\n    assert hasattr(builtins, %r)\n"
    (project / "tests" / "test_it.py").write_text(test % mutate.CALLED)
    (project / "tests" / "problems" / "test_random_numbers.py").unlink()
    code, output = run_tool(project, "--number", "1", "--workers", "1")
    assert code == 1 and "RuntimeError: no test passes without a mutation:" in output, output
    assert "AssertionError: assert False" in output
    assert not (project / "build" / "mutants" / "report.json").exists()
