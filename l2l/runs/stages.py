"""The stages of a curriculum: what each trains, checked before anything is trained."""

import contextlib
from collections import namedtuple

from l2l import checks
from l2l.learning.settings import Settings
from l2l.runs.recipe import Recipe

# The settings that a stage may replace, beside `problem` and `build_optimizer`.
OF_STAGES = [name for name in Settings._fields if name not in ("estimator", "weights_seed", "draws_seed")]


Stage = namedtuple(
    "Stage",
    [
        "meta_iterations",  # at most
        "recipe",  # a `Recipe` of the stage as a training
    ],
)


def checked_stages(stages, recipe):
    """Returns the stages as a list of `Stage`; stage `i` has `draws_seed + i`.

    Args:
      stages: list of dicts, as for `Curriculum`.
      recipe: a `Recipe` with the default problem, builder and settings of all stages; the horizon in its settings may
        be None.

    Raises:
      TypeError, ValueError: no stages, a stage that is no dict, or whatever is wrong with one; the message begins with
        its number.
    """
    if not isinstance(stages, (list, tuple)):
        raise TypeError("stages must be a list of dicts, such as [{'meta_iterations': 1000}], got %r" % (stages,))
    if not stages:
        raise ValueError("stages must have at least one stage, got %r" % (stages,))
    known, checked = ["meta_iterations", "problem", "build_optimizer", *OF_STAGES], []
    for i, stage in enumerate(stages):
        if not isinstance(stage, dict):
            raise TypeError("stages[%d] must be a dict, such as {'meta_iterations': 1000}, got %r" % (i, stage))
        with in_stage(i):
            unknown = [key for key in stage if key not in known]
            if unknown:
                raise TypeError("a stage has no setting %r; there are %s" % (unknown[0], ", ".join(known)))
            if "meta_iterations" not in stage:
                raise TypeError("meta_iterations is missing, got %r" % (stage,))
            own = {key: value for key, value in stage.items() if key in OF_STAGES}
            settings = Settings(**{**recipe.settings, **own, "draws_seed": recipe.settings["draws_seed"] + i})
            problem, build = (stage.get(name, getattr(recipe, name)) for name in ("problem", "build_optimizer"))
            one = Recipe(problem, build, settings, recipe.engine)
            if one.start is not None:
                raise TypeError(
                    "build_optimizer must be a function, since stages go on with the weights, got %r" % (one.start,)
                )
            number = checks.positive_integer("meta_iterations", stage["meta_iterations"])
            checked.append(Stage(number, one if i else one._replace(start=recipe.start)))
    return checked


@contextlib.contextmanager
def in_stage(number):
    """Has errors about an argument say which stage it belongs to."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind("stages[%d]: %s" % (number, error)) from error


def joint_record(stages, records, validation):
    """Returns the record of all stages: that of the first, with the differences of each under `stages`.

    Args:
      stages: list of `Stage`.
      records: of each stage alone, a list of dicts.
      validation: a `Validation`, or None.
    """
    first = records[0]
    differences = [
        {key: one.get(key) for key in {**first, **one} if key != "start" and one.get(key) != first.get(key)}
        for one in records
    ]
    joint = {
        **first,
        "stages": [{"meta_iterations": one.meta_iterations, **more} for one, more in zip(stages, differences)],
        "validation": None if validation is None else validation.description(),
        "begun": [{"first": 0, "start": first["start"]}],
    }
    if validation is not None:
        joint["code"] = {**first["code"], "measure": validation.code()}
    return joint


def checked_begun(path, history, stages):
    """Returns how many stages have begun, from a checkpoint.

    Raises:
      ValueError: the checkpoint says something impossible about them.
    """
    begun = history.config.get("begun")
    is_list = isinstance(begun, list) and 0 < len(begun) <= len(stages)
    firsts = [one.get("first") for one in begun if isinstance(one, dict) and "start" in one] if is_list else []
    if not is_list or len(firsts) < len(begun) or not all(type(first) is int for first in firsts) or firsts[0] != 0:
        raise ValueError("%r is no checkpoint: its stages that have begun are %.200r" % (path, begun))
    lengths = [last - first for first, last in zip(firsts, [*firsts[1:], len(history)])]
    if any(not 0 <= length <= stage.meta_iterations for length, stage in zip(lengths, stages)):
        raise ValueError("%r is no checkpoint: its stages have %r meta-iterations" % (path, lengths))
    return len(begun)
