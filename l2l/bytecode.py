"""Digests of compiled code, the same in every process of one version of Python.

A digest says what a function does and not how it was typed: instructions with their constants and names, and those of
functions defined in it. Comments, docstrings, line numbers, file names and the name of the function itself do not
count. What it calls by a global name counts by that name alone.
"""

import dis
import hashlib
import json

_FLAGS = 4 | 8 | 32 | 128 | 256 | 512  # of a code object: *args, **kwargs, generators and coroutines

_NO_BEHAVIOUR = {"__doc__", "__qualname__"}  # names that a class's body sets


def digest(value):
    """16 hexadecimal digits that follow from a value of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def instructions(code):
    """A code object in JSON types, without what does not count."""
    found, numbers, lines = list(dis.get_instructions(code)), {}, []
    number = 0
    for instruction in found:  # jumps lead to offsets, which an argument above 255 moves
        numbers[instruction.offset] = number
        number += instruction.opname != "EXTENDED_ARG"
    for instruction, following in zip(found, [*found[1:], None]):
        if instruction.opname != "EXTENDED_ARG":
            lines.append([instruction.opname, _argument(instruction, following, numbers)])
    counts = [code.co_argcount, code.co_kwonlyargcount, code.co_flags & _FLAGS]
    return [counts, list(code.co_varnames[: sum(counts[:2]) + sum(map(bool, (counts[2] & 4, counts[2] & 8)))]), lines]


def _argument(instruction, following, numbers):
    if instruction.opcode in dis.hasconst:
        # The qualified names of functions and classes, and a class's docstring, are constants too.
        is_name = following.opname == "MAKE_FUNCTION" or (
            following.opname == "STORE_NAME" and following.argval in _NO_BEHAVIOUR
        )
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
