"""Single mutations of a module: what `tools/mutate.py` breaks, to see whether a test notices.

A mutation replaces a few characters of the source, and all else stays as it was written, so that nothing is lost where
a tree is written out again. The tree comes from parso, since Python 3.7's own does not know where its nodes end. Left
alone is what no test should pin: docstrings, messages, names of scopes and of types, `__all__`, `__repr__`, imports.

Why not mutmut (2.5.1, the last for Python 3.7) or cosmic-ray (8.3.14), which change the source in the same way: they
know a command and not which tests call what is mutated, so that each mutation takes a whole file of tests, or all of
them; they start Python and TensorFlow again for each; neither draws a sample of the 6,421 and 16,384 mutations that
they find here; and both mutate messages, which no test should pin.
"""

import ast
import re
from collections import namedtuple

import parso

Mutation = namedtuple(
    "Mutation",
    [
        "path",  # of the module
        "function",  # qualified name of the function it is in; "" for a module's or a class's own statements
        "line",
        "before",  # the statement, or what of it lies around the change, in one line
        "after",
        "source",  # of the whole module, mutated
    ],
)

SWAPS = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "//", "**": "*", "<<": ">>", ">>": "<<"}
SWAPS.update({"&": "|", "|": "&", "and": "or", "or": "and", "<": "<=", "<=": "<", ">": ">=", ">=": ">"})
SWAPS.update({"==": "!=", "!=": "==", "is": "is not", "is not": "is", "in": "not in", "not in": "in"})
ARITHMETIC = {"arith_expr", "term", "shift_expr", "expr", "and_expr", "power"}
EXACT = {"is", "is not", "==", "!=", "in", "not in"}
# Calls whose arguments are words for a reader, and keyword arguments that are, or say how something looks.
WORDS = {"warn", "wrong"}
NAMES = {"name", "default_name", "stacklevel", "unit", "unit_scale", "refresh", "mininterval", "delay", "reason"}
NAMES |= {"figsize", "alpha", "linewidth", "zorder", "markersize", "fontsize", "constrained_layout"}
NAMES |= {"indent", "precision", "separator"}
# What TensorFlow is told about a loop or a function for the sake of memory and time.
NAMES |= {"autograph", "back_prop", "parallel_iterations"}
STRINGS = {"string", "strings", "fstring"}
STATEMENTS = {"return_stmt", "assert_stmt", "global_stmt", "nonlocal_stmt", "import_name", "import_from"}


def mutations_of(path, source):
    """All mutations of a module, always in one order."""
    tree, offset = _parsed(source)
    found = []
    for node, function in _nodes(tree):
        for first, last, text in _changes(node):
            start, end = offset(first), offset(last)
            around = [offset(position) for position in _statement(tree.get_leaf_for_position(first))]
            before, after = _shown(source, around, start, end, text)
            found.append(Mutation(path, function, first[0], before, after, source[:start] + text + source[end:]))
    return found


def watched(path, source, called):
    """The module's source, in which each function first adds `(path, its qualified name)` to a set of `builtins`."""
    tree, offset = _parsed(source)
    notes = []
    for node, function in _nodes(tree):
        if node.type == "funcdef":
            note = "getattr(__import__('builtins'), %r, set()).add((%r, %r))" % (called, path, function)
            body = node.children[-1]
            if body.type == "suite":
                statements = body.children[1:]
                first = statements[_is_string(statements[0]) and len(statements) > 1]
                notes.append((offset(first.start_pos), note + "\n" + " " * first.start_pos[1]))
            else:  # in the line of the `def`
                notes.append((offset(body.start_pos), note + "; "))
    for start, note in sorted(notes, reverse=True):
        source = source[:start] + note + source[start:]
    return source


def _parsed(source):
    """The tree of a module, and a function from a position in it, `(line, column)`, to an index of the source."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return parso.parse(source), lambda position: starts[position[0] - 1] + position[1]


def _nodes(node, names=()):
    """`(node, qualified name of its function)` of all that may be mutated."""
    if _is_left_alone(node):
        return
    if node.type in ("funcdef", "classdef"):
        names = (*names, node.name.value)
    yield node, ".".join(names)
    if not _is_message(node):
        for child in getattr(node, "children", []):
            yield from _nodes(child, names)


def _is_left_alone(node):
    if node.type in ("import_name", "import_from") or _is_string(node):
        return True
    if node.type == "funcdef":
        return node.name.value == "__repr__"
    if node.type == "expr_stmt":
        return _code(node.children[0]) in ("__all__", "_FIELDS")
    if node.type == "argument":
        return node.children[1] == "=" and node.children[0].value in NAMES
    if node.type in ("trailer", "decorator") and "(" in node.children:
        name = _called(node)
        return name in WORDS or name.endswith(("Error", "Warning"))
    return False


def _is_message(node):
    """Whether a node is words for a reader: what is raised, what a `%` formats."""
    return node.type == "raise_stmt" or (
        node.type == "term" and node.children[1] == "%" and node.children[0].type in STRINGS
    )


def _is_string(node):
    return node.type == "simple_stmt" and node.children[0].type in STRINGS


def _called(call):
    """The last name of what a trailer or a decorator with parentheses calls, "" for none."""
    leaf = call.children[call.children.index("(")].get_previous_leaf()
    return leaf.value if leaf.type == "name" else ""


def _changes(node):
    """`(first, last, text)` of each mutation of a node itself: text that replaces what lies between two positions."""
    kind, children = node.type, getattr(node, "children", [])
    operands, operators = children[::2], children[1::2]
    if kind == "comparison" or (kind in ARITHMETIC and not any(_is_text(operand) for operand in operands)):
        for operator in operators:
            yield from _to(operator, SWAPS.get(_code(operator)))
    if kind == "expr_stmt" and operators[0].type == "operator" and not _is_text(children[2]):
        swapped = SWAPS.get(operators[0].value[:-1])
        yield from _to(operators[0], swapped and swapped + "=")
    if kind in ("and_test", "or_test"):
        yield from _to(node, (" %s " % SWAPS[operators[0].value]).join(map(_code, operands)))
    if kind in ("and_test", "or_test", "and_expr"):
        for i in range(len(operands)):
            yield from _without(operands, i)
    if kind in ("not_test", "factor") and children[0] in ("not", "-", "~"):
        yield children[0].start_pos, children[1].start_pos, ""
    if kind in ("if_stmt", "while_stmt", "test"):
        for word, test in zip(children, children[1:]):
            if word in ("if", "elif", "while") and not _is_inverted_anyway(test):
                yield from _to(test, "not (%s)" % _code(test))
    if kind in ("trailer", "decorator") and "(" in children:
        inside = children[children.index("(") + 1]
        arguments = [each for each in inside.children if each != ","] if inside.type == "arglist" else [inside]
        for i, argument in enumerate(arguments):
            if argument.type == "argument" and argument.children[1] == "=" and not _is_left_alone(argument):
                yield from _without(arguments, i)
    if kind == "with_stmt":
        items = children[1:-2:2]
        is_scope = all(_code(item).split("(")[0].endswith(("name_scope", "variable_scope")) for item in items)
        if not is_scope and all(item.type != "with_item" for item in items):
            yield node.start_pos, items[-1].end_pos, "if True"
    if kind in ("number", "string", "keyword"):
        for text in _other_values(node):
            yield from _to(node, text)
    if node.parent and node.parent.type == "simple_stmt":
        yield from _to(node, _instead_of(node))


def _to(node, text):
    return [(node.start_pos, node.end_pos, text)] if text else []


def _without(nodes, i):
    """One of several nodes left out, with what lies between it and the next, or for the last the one before."""
    if i + 1 < len(nodes):
        return [(nodes[i].start_pos, nodes[i + 1].start_pos, "")]
    return [((nodes[i - 1].end_pos if i else nodes[i].start_pos), nodes[i].end_pos, "")]


def _is_text(node):
    """Whether a node is a string, a list or a tuple, which have no arithmetic."""
    tuples = node.type == "atom" and (
        node.children[0] == "[" or getattr(node.children[1], "type", "") == "testlist_comp"
    )
    return node.type in STRINGS or tuples


def _is_inverted_anyway(test):
    """Whether one of the other changes makes the opposite of a condition."""
    return test.type == "not_test" or (test.type == "comparison" and _code(test.children[1]) in EXACT)


def _other_values(leaf):
    """What a constant becomes: a default, and strings that something is looked up by or compared with, too."""
    is_default = leaf.parent.type == "param" and leaf.parent.default is leaf
    if leaf.type == "number":
        value = ast.literal_eval(leaf.value)
        if isinstance(value, float):
            return [repr(2 * value or 1.0)]
        return [repr(value + 1)] + ([repr(value - 1)] if value > 0 else [])
    if leaf.type == "keyword":
        return {"True": ["False"], "False": ["True"], "None": ["1"] * is_default}.get(leaf.value, [])
    is_key = leaf.get_next_leaf() == ":" and leaf.parent.type in ("dictorsetmaker", "atom")
    is_index = leaf.parent.type == "trailer" and leaf.parent.children[0] == "["
    is_compared = leaf.parent.type == "comparison" and leaf is not leaf.parent.children[0]
    # Not the letters that something is one of, "iu" of a dtype's kind: one more letter is never met.
    is_compared = is_compared and leaf.get_previous_leaf() != "in"
    if is_default or is_key or is_index or is_compared:
        return [leaf.value[:-1] + "x" + leaf.value[-1]]
    return []


def _instead_of(statement):
    """What a simple statement becomes, None if it stays."""
    other = {"break": "continue", "continue": "break", "raise": "pass", "yield": "pass"}
    if statement.type == "keyword":
        return other.get(statement.value)
    is_expression = statement.type not in {"expr_stmt", "raise_stmt", "del_stmt", "newline", "operator", *STATEMENTS}
    if statement.parent.parent.type == "file_input" and not is_expression:
        return None
    if statement.type == "expr_stmt" and statement.children[1] == "=":
        targets, value = statement.children[:-1:2], statement.children[-1]
        names = {name for target in targets for name in _names(target)}
        plain = all(target.type in ("name", "testlist_star_expr") or target.children[0] == "(" for target in targets)
        return "pass" if names & set(_names(value)) or not plain else None
    return "pass" if is_expression or statement.type in ("expr_stmt", "raise_stmt", "del_stmt") else None


def _names(node):
    """The variables in a node: no attributes, no names of keyword arguments."""
    for child in getattr(node, "children", [node]):
        if child is node:
            is_attribute = node.get_previous_leaf() == "." if node.type == "name" else True
            is_argument = (
                node.parent.type == "argument" and node.parent.children[0] is node and node.get_next_leaf() == "="
            )
            if not is_attribute and not is_argument:
                yield node.value
        else:
            yield from _names(child)


def _code(node):
    return node.get_code(include_prefix=False)


def _statement(node):
    """Start and end of the statement that a node is in; of one with a body, of the lines up to their colon."""
    while node.parent.type not in ("suite", "file_input") and node.type not in ("simple_stmt", "decorator"):
        siblings = node.parent.children
        if any(each.type == "suite" for each in siblings):
            first = last = siblings.index(node)
            while first and siblings[first - 1].type != "suite":
                first -= 1
            while siblings[last] != ":":
                last += 1
            return siblings[first].start_pos, siblings[last].end_pos
        node = node.parent
    # The line's end is a part of a simple statement, and what comment is before it.
    return node.start_pos, (node.children[-2] if node.type == "simple_stmt" else node).end_pos


def _shown(source, around, start, end, text):
    """The statement before and after, each in a line without what is far from the change."""
    parts = [source[around[0] : start], source[start:end], text, source[end : max(end, around[1])]]
    lead, old, new, tail = (re.sub(r"\s+", " ", part) for part in parts)
    lead, tail = lead.lstrip(), tail.rstrip()
    lead = "... " + lead[-60:] if len(lead) > 60 else lead
    tail = tail[:30] + " ..." if len(tail) > 30 else tail
    return lead + old + tail, lead + new + tail
