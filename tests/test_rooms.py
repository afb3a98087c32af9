"""The rooms of the package import one way: each only from those above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "l2l"
BELOW_ALL = {
    *[
        "archives",
        "averages",
        "bytecode",
        "checks",
        "clusters",
        "describe",
        "graphs",
        "interrupt",
        "mapping",
        "nests",
        "process",
        "progress",
    ],
    *["quiet", "results", "schedules", "tables", "tracebacks", "types", "vectorizing", "version", "xla"],
}
ROOMS = ["problems", "optimizers", "learning", "evaluation", "runs", "sweeps", "figures"]


def imported(path):
    """The parts of the package that a module imports from: `problems`, `checks`, ..."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "l2l":
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("l2l."):
            found.add(node.module.split(".")[1])
    return found


def test_all_lies_in_a_room_or_below_all():
    assert {path.stem for path in PACKAGE.glob("*.py")} == BELOW_ALL | {"__init__"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {PACKAGE, *(PACKAGE / room for room in ROOMS)}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_itself_and_from_those_above_it(room):
    allowed = BELOW_ALL | set(ROOMS[: ROOMS.index(room) + 1])
    for path in (PACKAGE / room).glob("*.py"):
        assert imported(path) <= allowed, path


@pytest.mark.parametrize("module", sorted(BELOW_ALL))
def test_what_lies_below_the_rooms_imports_from_none(module):
    assert imported(PACKAGE / (module + ".py")) <= BELOW_ALL


def test_every_module_has_tensorflows_names_that_are_not_deprecated():
    """The first deprecated one would be logged, and a user's own no more."""
    paths = list(PACKAGE.rglob("*.py"))
    assert len(paths) > 50 and not [path for path in paths if "import tensorflow as tf" in path.read_text()]
