"""Type hints: whatever is public has them, they name what exists, and a type checker finds them."""

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import l2l
from l2l import schedules, tables
from l2l.optimizers import rules
from l2l.sweeps import cells

ROOT = Path(__file__).resolve().parent.parent


def functions_of(value):
    """What is public of a class, inherited methods and properties too, or a function itself: `(name, function)`."""
    if not inspect.isclass(value):
        return [(value.__name__, value)]
    return [
        ("%s.%s" % (kind.__name__, name), one.fget if isinstance(one, property) else getattr(one, "__func__", one))
        for kind in value.__mro__
        for name, one in vars(kind).items()
        if not name.startswith("_") or name in ("__init__", "__new__", "__call__")
    ]


def public_functions():
    """All that users call, from name to function, without what decorates it."""
    values = [getattr(l2l, name) for name in l2l.__all__]
    values += [rules.Rule, schedules.Schedule, tables.Table, cells.Cell]  # whose objects functions return
    for room in (l2l.datasets, l2l.testing):
        own = [one for one in vars(room).values() if getattr(one, "__module__", None) == room.__name__]
        values += [one for one in own if not one.__name__.startswith("_")]
    pairs = [pair for value in values if callable(value) for pair in functions_of(value)]
    pairs = [(name, inspect.unwrap(one)) for name, one in pairs if inspect.isfunction(one)]
    return {name: one for name, one in pairs if one.__module__.startswith("l2l.") and one.__name__ != "<lambda>"}


FUNCTIONS = public_functions()


def test_every_parameter_and_every_result_has_a_hint():
    assert len(FUNCTIONS) > 140 and {"sgd", "Problem.loss", "Trainer.__init__", "mnist", "Run.run"} <= set(FUNCTIONS)
    missing = []
    for name, function in FUNCTIONS.items():
        names = [one for one in inspect.signature(function).parameters if one not in ("self", "cls")]
        missing += ["%s: %s" % (name, one) for one in [*names, "return"] if one not in function.__annotations__]
    assert not missing


def test_hints_name_what_their_module_knows_and_defaults_fit_them():
    """As far as Python can tell: numbers, text and truth values."""
    plain = {int: int, float: (int, float), str: str, bool: bool}
    for name, function in FUNCTIONS.items():
        hints = typing.get_type_hints(function)
        for parameter in inspect.signature(function).parameters.values():
            hint = hints.get(parameter.name)
            if parameter.default is not inspect.Parameter.empty and hint in plain:
                assert isinstance(parameter.default, plain[hint]), (name, parameter)
                assert isinstance(parameter.default, bool) == (hint is bool), (name, parameter)


def test_signatures_are_those_of_the_code():
    """What the library asks of functions by their signature is not disturbed by hints."""
    parameters = inspect.signature(l2l.adam).parameters
    assert list(parameters) == ["learning_rate", "beta1", "beta2", "epsilon"]
    assert parameters["beta1"].kind is inspect.Parameter.KEYWORD_ONLY

    def hinted(gradients: typing.Any, state: typing.Any, x: typing.Any) -> typing.Tuple[typing.Any, typing.Any]:
        return -0.1 * (gradients + 0 * x), ()

    problem = l2l.Quadratic(2)
    losses = l2l.evaluate(problem, {"hinted": hinted, "SGD": l2l.sgd(0.1)}, draws=2, steps=3, engine="graph")
    assert (losses["hinted"] == losses["SGD"]).all()


def test_the_package_says_that_it_has_hints():
    assert (Path(l2l.__file__).parent / "py.typed").read_text() == ""


GOOD = """
from typing import Any, Optional

import l2l


class Valley(l2l.Problem):
    def sample(self, num: int, seed: l2l.types.Seed = None) -> Any:
        return l2l.uniform([num, 2], -1.0, 1.0, seed=seed)

    def initial_position(self, draw: Any) -> Any:
        return draw

    def loss(self, x: Any, draw: Any) -> Any:
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


class Signs(l2l.Casting):
    name = "signs"

    def facts(self, gradients: Any, memory: Any, x: Any, shape: Any) -> Any:
        return x

    def encode(self, gradients: Any, memory: Optional[Any] = None, adapted: Any = (), facts: Any = None) -> Any:
        return gradients


def mine(gradients: Any, state: Any) -> Any:
    return gradients, state


with l2l.Trainer(Valley(), lambda: l2l.CoordinatewiseLSTM((20,), Signs()), learning_rate=1e-3) as trainer:
    trainer.run(until=10)
stages = [{"meta_iterations": 10}, {"meta_iterations": 10, "horizon": 40}]
with l2l.Curriculum(Valley(), l2l.CoordinatewiseLSTM, stages, validate_every=5) as curriculum:
    l2l.train_together([trainer, curriculum])
    l2l.save("curriculum", curriculum.trained())
tuned = l2l.tune(Valley(), l2l.adam, {"learning_rate": l2l.log_range(1e-4, 1)}, measure=lambda all: all[-1], budget=9)
rates = l2l.warmup(10, l2l.cosine_decay(0.1, 100))
losses = l2l.evaluate(Valley(), {"mine": mine, "Adam": l2l.adam(rates), "RNN": trainer.trained()}, draws=2)
trained = l2l.load("small_networks")
l2l.save("elsewhere", trained)
l2l.LearnedOptimizer(trained)
l2l.testing.check_problem(Valley())
"""
BAD = {
    "l2l.load(3)": "arg-type",
    'l2l.Quadratic("2")': "arg-type",
    "l2l.MLP(hidden=20)": "arg-type",
    "l2l.evaluate(l2l.sgd(), {})": "arg-type",
    "l2l.evaluate(l2l.Quadratic(), {}, step=3)": "call-arg",
    "l2l.learn(l2l.Quadratic(), None, l2l.Quadratic())": "arg-type",
    "l2l.log_range('low', 1)": "arg-type",
    "l2l.train_together([3])": "list-item",
    "l2l.measured_with() + 1": "operator",
}


@pytest.mark.rehearsal
def test_a_type_checker_finds_what_is_wrong_with_a_program_and_nothing_else(tmp_path):
    program = tmp_path / "program.py"
    bad = "\n".join("%s  # %s" % pair for pair in BAD.items())
    program.write_text(GOOD + bad + "\n")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", "--no-color-output"]
    command += ["--show-error-codes", "--no-error-summary", "--hide-error-context", "--cache-dir", str(tmp_path)]
    done = subprocess.run([*command, str(program)], cwd=str(ROOT), capture_output=True, text=True)
    first = GOOD.count("\n") + 1
    expected = ["program.py:%d: error [%s]" % (first + i, code) for i, code in enumerate(BAD.values())]
    assert [_short(line) for line in done.stdout.splitlines() if ": note:" not in line] == expected, done.stdout


def _short(line):
    """File, line and code of what mypy prints."""
    place, _, words = line.partition(": error: ")
    return "%s: error [%s" % (Path(place).name, words.rsplit("[", 1)[-1])
