"""Digests of compiled code, the same in every process of one version of Python.

A digest tells what a function does, not how it was typed. It covers instructions with their constants and names, also
those of functions defined inside. It ignores comments, docstrings, line numbers, file names and the function's name.
Whatever the function calls by a global name counts by that name alone.
"""

import dis
import hashlib
import json
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_ITERABLE_COROUTINE,
    CO_VARARGS,
    CO_VARKEYWORDS,
)

# The flags of a code object that count: *args, **kwargs, generators and coroutines.
_FLAGS = CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR


def digest(value):
    """Returns 16 hexadecimal digits that follow from a value of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def instructions(code):
    """Returns a code object in JSON types, without whatever does not count."""
    found, numbers, lines = list(dis.get_instructions(code)), {}, []
    pairs = list(zip(found, [*found[1:], None]))
    number = 0
    for instruction, following in pairs:  # jumps lead to offsets, which an argument above 255 moves
        numbers[instruction.offset] = number
        number += _does_something(instruction, following)
    for instruction, following in pairs:
        if _does_something(instruction, following):
            lines.append([instruction.opname, _argument(instruction, following, numbers)])
    flags = code.co_flags & _FLAGS
    counts = [code.co_argcount, code.co_kwonlyargcount, flags]
    number = code.co_argcount + code.co_kwonlyargcount + bool(flags & CO_VARARGS) + bool(flags & CO_VARKEYWORDS)
    return [counts, list(code.co_varnames[:number]), lines]


def _does_something(instruction, following):
    sets_docstring = any(one is not None and _stores(one, "__doc__") for one in (instruction, following))
    return instruction.opname != "EXTENDED_ARG" and not sets_docstring


def _stores(instruction, name):
    return instruction.opname == "STORE_NAME" and instruction.argval == name


def _argument(instruction, following, numbers):
    if instruction.opcode in dis.hasconst:
        # The qualified names of functions and classes are constants too.
        is_name = following.opname == "MAKE_FUNCTION" or _stores(following, "__qualname__")
        return None if is_name else _constant(instruction.argval)
    if instruction.opcode in [*dis.hasjrel, *dis.hasjabs]:
        return numbers[instruction.argval]
    if instruction.opcode in [*dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hascompare]:
        return instruction.argval
    return instruction.arg


def _constant(value):
    if hasattr(value, "co_code"):
        return instructions(value)
    if isinstance(value, tuple):
        return [_constant(one) for one in value]
    if isinstance(value, frozenset):  # in an order that each process chooses
        return ["frozenset", *sorted(map(repr, value))]
    return "%s %r" % (type(value).__name__, value)
