"""The recipe of a training: one value from which its graph, its record and a replay are made."""

import functools
from collections import namedtuple

from l2l import checks
from l2l.optimizers.grouped import Grouped, checked_builders
from l2l.optimizers.trained import Trained


class Recipe(
    namedtuple(
        "Recipe",
        [
            "problem",  # a `Problem`; or, with an estimator, a dict of problems by name
            "build_optimizer",  # function without arguments that creates the learned optimizer
            "settings",  # a `Settings`
            "engine",  # "xla" or "graph"
            "start",  # the `Trained` whose weights the training begins with; None for initial ones
        ],
    )
):
    """All that defines a training.

    Args:
      problem: as for `Trainer`.
      build_optimizer: a function, a dict of functions by group, or a `Trained`, as for `Trainer`.
      settings, engine: as above.

    Raises:
      TypeError, ValueError: `problem` or `build_optimizer` is something else.
    """

    def __new__(cls, problem, build_optimizer, settings, engine):
        if not isinstance(problem, dict):
            checks.problem("problem", problem)
        elif not problem or settings.estimator is None:
            raise ValueError(
                "problem must be a Problem, or a non-empty dict of problems where there is an estimator, got %r"
                % (problem,)
            )
        else:
            problem = {str(name): checks.problem("problem[%r]" % name, one) for name, one in problem.items()}
        start = build_optimizer if isinstance(build_optimizer, Trained) else None
        build = start.build if start else build_optimizer
        if isinstance(build, dict):
            build = functools.partial(Grouped, checked_builders(build))
        build = checks.function_without_arguments("build_optimizer", build)
        return super().__new__(cls, problem, build, settings, engine, start)

    @property
    def problems(self):
        """The problems by name; one alone has the name of its class."""
        return self.problem if isinstance(self.problem, dict) else {type(self.problem).__name__: self.problem}
