"""Tracebacks that end in the user's line: frames of this package and of TensorFlow are left out."""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import os
import re
import sys
import types
from typing import Any, Callable, TypeVar, cast

import tensorflow.compat.v1 as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])

# With "full" nothing is left out: for a report about a fault of this package.
VARIABLE = "L2L_TRACEBACKS"

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARIES = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = tuple(os.sep + folder + os.sep for folder in ("site-packages", "dist-packages"))
_OURS = ("l2l", "tensorflow", "tensorflow_core", "contextlib")


def short_traceback(function: _Function) -> _Function:
    """Decorates a function that calls a user's functions, to shorten their tracebacks.

    Between the call and those lines lie frames of this package, of TensorFlow's loops and of functions that it traces.
    Below them lie those of the op that refused: hundreds of lines in a notebook. They are left out. The message begins
    with the function that failed, and where. The error is the same object. IPython, which shows five lines of each
    frame, shows none of this package. With the environment variable `L2L_TRACEBACKS=full` nothing is left out.
    """

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)  # what it calls is left out here, up to your own lines
        except Exception as error:
            if os.environ.get(VARIABLE) != "full":
                with contextlib.suppress(Exception):  # an error of a strange class is shown as it is
                    _shorten(error)
            raise

    return cast(_Function, called)


def _shorten(error):
    """Removes from an error that is being raised the frames between the current one and the user's lines."""
    entry, before = error.__traceback__, getattr(error.__cause__ or error.__context__, "__traceback__", None)
    is_caught = before is not None and _is_users(before.tb_frame)  # by the user's code, which then raised this one
    lines, is_sentence = _users_lines(entry.tb_next), False
    if lines:
        _say_where(error, lines)
    else:
        # This package's sentence about an error in the user's code, or about the result of the user's function.
        lines = [] if is_caught else _users_lines(before)
        if isinstance(error, tf.errors.OpError):
            is_sentence = _say_which_op(error)
        elif isinstance(error, (TypeError, ValueError)):
            lines = lines or _innermost(entry.tb_next)
    if lines or is_sentence:
        if not is_caught:
            error.__cause__ = None  # which hides what came before, too
        for one, following in zip([entry, *lines], [*lines, None]):
            one.tb_next = following
    if lines or is_sentence or entry.tb_next is None:  # the last: it was called with other arguments than it has
        hide_in_ipython(error)


def hide_in_ipython(error):
    """Has IPython show an error without the frames of this package that are left, which Python shows in two lines."""
    if os.environ.get(VARIABLE) != "full" and not hasattr(error, "_render_traceback_"):
        vars(error)["_render_traceback_"] = _render_last_traceback


def _render_last_traceback():
    """Returns the traceback that IPython is about to show, as the list of texts that it expects of such a method."""
    error, following = sys.last_value, None
    entries = itertools.dropwhile(lambda one: not _is_users(one.tb_frame), _entries(error.__traceback__))  # IPython's
    for one in reversed([*entries]):
        if not one.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            following = types.TracebackType(following, one.tb_frame, one.tb_lasti, one.tb_lineno)
    shell = sys.modules["IPython"].get_ipython()
    return shell.InteractiveTB.structured_traceback(type(error), error, following, tb_offset=0)


def _entries(traceback):
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _users_lines(traceback):
    """The entries of a traceback that are the user's lines, a list."""
    return [one for one in _entries(traceback) if _is_users(one.tb_frame)]


def _innermost(traceback):
    """The last entry of a traceback, if it is a check of this package; a list."""
    return [one for one in [*_entries(traceback)][-1:] if one.tb_frame.f_code.co_filename.startswith(_PACKAGE)]


def _is_users(frame):
    return _is_users_file(frame.f_code.co_filename)


def _is_users_file(path):
    if path.startswith("<"):
        return not path.startswith(("<__array_function__", "<decorator", "<frozen"))
    path = os.path.abspath(path)
    installed = any(folder in path for folder in _INSTALLED)
    return not installed and not path.startswith((_PACKAGE, _LIBRARIES))


def _say_where(error, lines):
    """Begins the message of one of Python's own errors with the user's function that failed, and where."""
    if type(error).__module__ != "builtins" or len(error.args) != 1:
        return  # whoever defines errors knows what is in them
    if not isinstance(error.args[0], str) and not isinstance(error, KeyError):
        return
    if not getattr(error, "_says_where", False):
        error._says_where = True
        function = _function_of(lines[0].tb_frame)
        line = _line_of(lines[-1].tb_frame.f_code.co_filename, lines[-1].tb_lineno)
        said = "%s failed, %s: %s" % (function, line, without_converted_code(message_of(error)))
        error.args = (Unquoted(said) if isinstance(error, KeyError) else said,)
        if isinstance(error, ImportError):
            error.msg = said  # which it shows, not `args`


class Unquoted(str):
    """A text that is shown without quotes, also within a container or by a `KeyError`."""

    def __repr__(self):
        return str(self)


def message_of(error):
    """Returns what an error says; of a `KeyError`, which says nothing but the key, that there is no such key."""
    if type(error) is KeyError and len(error.args) == 1:
        key = error.args[0]
        is_sentence = isinstance(key, str) and key.count(" ") > 1
        return str(key) if is_sentence else "no key %r" % (key,)
    return str(getattr(error, "message", error))


def _function_of(frame):
    name, owner = frame.f_code.co_name, frame.f_locals.get("self")
    if name == "<lambda>":
        return "a lambda"
    return name if owner is None else "%s of %s" % (name, type(owner).__name__)


def _line_of(path, number):
    in_cell = path.startswith("<ipython-input") or os.path.basename(os.path.dirname(path)).startswith("ipykernel_")
    return "line %d of %s" % (number, "the cell" if in_cell else os.path.basename(path))


def place_of(error):
    """Returns where in the user's code an error arose, as " (line 12 of mine.py: y = x @ x)"; "" if unknown."""
    if getattr(error, "_says_where", False):
        return ""
    lines = _users_lines(error.__traceback__)
    if lines:
        return _place(lines[-1].tb_frame.f_code.co_filename, lines[-1].tb_lineno)
    return _place_of_op(getattr(error, "op", None))


def without_places(text):
    """Returns a message without the lines of code that it names; their numbers say nothing about tensors."""
    return re.sub(r" failed, line \d+ of [^:\n]+:| \(line \d+ of .*\)", "", text)


def place_in(graph, text):
    """The same for an op that a message of XLA names, which belongs to a graph or one of its functions."""
    name = re.search(r"(?:{{node |node `)([\w./-]+)", text)
    for one in [graph, *[function.graph for function in graph._functions.values() if hasattr(function, "graph")]]:
        with contextlib.suppress(KeyError, AttributeError):
            return _place_of_op(one.get_operation_by_name(name.group(1)))
    return ""


def _place(path, number):
    text = linecache.getline(path, number).strip()
    return " (%s%s)" % (_line_of(path, number), ": " + text if text else "")


def _place_of_op(op):
    """Where the user created an op."""
    places = [frame[:2] for frame in op.traceback if _is_users_file(frame[0])] if op is not None else []
    return _place(*places[-1]) if places else ""


def _say_which_op(error):
    """Has TensorFlow's error about an op say where the user created it, instead of the whole stack at that time."""
    place = place_of(error)
    if place:
        error._message, error._op = first_of(error.message) + place, None
    return bool(place)


def first_of(text):
    """Returns the first line of a message that says something; "" if none does."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and re.fullmatch(r"\d+ root error\(s\) found\.", lines[0]):  # TensorFlow lists them below
        return re.sub(r"^\(\d+\) ", "", lines[1])
    return lines[0] if lines else ""


def without_converted_code(text):
    """Shortens an error from a `tf.function` or a Keras layer to its last line and the user's line."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines or lines[0] != "in converted code:":
        return text
    said = re.sub(r"^[\w.]+: ", "", lines[-1])
    # TensorFlow marks a line that it has converted with a star, and shows it below.
    own = [re.fullmatch(r"(\S+):(\d+) \S+\s+\*", line) for line in lines]
    places = [(match.group(1), int(match.group(2)), lines[i + 1]) for i, match in enumerate(own) if match]
    return "%s (%s: %s)" % (said, _line_of(*places[-1][:2]), places[-1][2]) if places else said


def levels_to_the_caller():
    """Returns the `stacklevel` with which a warning names the first caller outside this package and TensorFlow."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    return level
