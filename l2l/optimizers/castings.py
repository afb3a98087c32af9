"""The castings of the library by name, and as descriptions in files.

`casting.py` has the contract. The castings of `log_castings.py` see each gradient alone, those of
`relative_castings.py` see it relative to what they remember, and those of `tensor_castings.py` look at whole tensors.
"""

from typing import Callable, Dict

from l2l import checks
from l2l.describe import describe
from l2l.optimizers.casting import Casting
from l2l.optimizers.log_castings import log_and_sign, log_cast, no_casting, widening_log_cast
from l2l.optimizers.relative_castings import log_ratio_cast, moments_cast, ratio_cast, secant_cast
from l2l.optimizers.tensor_castings import relative_step_cast

CASTINGS: Dict[str, Callable[..., Casting]] = {
    "none": no_casting,
    "log": log_cast,
    "log_and_sign": log_and_sign,
    "widening": widening_log_cast,
    "ratio": ratio_cast,
    "log_ratio": log_ratio_cast,
    "moments": moments_cast,
    "secant": secant_cast,
    "relative_step": relative_step_cast,
}


# The functions of a casting, with their arguments.
_FUNCTIONS = {
    "initial_memory": ("gradients",),
    "encode": ("gradients", "memory", "adapted"),
    "decode": ("outputs", "gradients", "memory", "adapted"),
    "remember": ("gradients", "memory", "updates"),
    "adapt": ("gradients", "memory", "adapted"),
}

# Further parameters that `encode`, `decode` and `remember` may have.
_MORE = ("x", "facts")


def get(casting):
    """Returns a `Casting` unchanged, or the casting of that name with its default parameters.

    Raises:
      ValueError: the name is not in `CASTINGS`.
      TypeError: `casting` is neither a name nor a `Casting`, or its methods take other arguments.
    """
    if isinstance(casting, Casting):
        checks.signatures(casting, _FUNCTIONS, _MORE)
        if casting.facts is not None:
            checks.signatures(casting, {"facts": ("gradients", "memory", "x", "shape")})
        return casting
    if not isinstance(casting, str):
        raise TypeError("casting must be a Casting or one of %s, got %r" % (", ".join(sorted(CASTINGS)), casting))
    return CASTINGS[checks.one_of("casting", casting, CASTINGS)]()


def described(casting):
    """Describes a casting in JSON types; `from_description` makes it again if it is one of the library's.

    The description of a custom casting includes all public attributes and its code, to distinguish castings of one
    name.
    """
    kind = casting.kind if type(casting).__module__.startswith("l2l.") else None  # a user's subclass is custom
    described = {"kind": kind, "name": casting.name, "parameters": dict(casting.parameters)}
    if kind is None:
        own = describe("casting", casting)
        described["parameters"].update(own.pop("parameters", {}))
        described["parameters"].pop("parameters", None)
        described.update(own)
    return described


def from_description(description):
    """Makes the casting of a description that `described` returned.

    Raises:
      ValueError: it is not a casting of the library, or the casting does not have these parameters.
    """
    parts = description if isinstance(description, dict) else {}
    kind, parameters = parts.get("kind"), parts.get("parameters")
    if not isinstance(kind, str) or kind not in CASTINGS or not isinstance(parameters, dict):
        raise ValueError("casting %.100r is none of the library's own" % (description,))
    try:
        return CASTINGS[kind](**parameters)
    except TypeError as error:  # a parameter of another name or type
        raise ValueError("casting %r has other parameters: %s" % (kind, error)) from None
