"""Single mutations of a module: what `tools/mutate.py` breaks, to see whether a test notices.

They are made from the syntax tree. Left alone is what no test should pin: docstrings, messages, names of scopes and
of types, `__all__`, `__repr__`, imports.
"""

import ast
import difflib
from collections import namedtuple

import astor

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

SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
# Calls whose arguments are words for a reader, and keyword arguments that are, or say how something looks.
WORDS = {"warn", "wrong"}
NAMES = {"name", "default_name", "stacklevel", "unit", "unit_scale", "refresh", "mininterval", "delay", "reason"}
NAMES |= {"figsize", "alpha", "linewidth", "zorder", "markersize", "fontsize", "constrained_layout"}
NAMES |= {"indent", "precision", "separator"}
TEXT = (ast.Str, ast.List, ast.ListComp, ast.Tuple, ast.JoinedStr)


def places_in(source):
    """How a module can be mutated: a list of `(number of the node, number of the change)`, always in one order."""
    nodes = enumerate(_nodes(ast.parse(source)))
    return [(i, k) for i, (node, _, is_default) in nodes for k in range(len(_changes(node, is_default)))]


def mutated(path, source, place):
    """The `Mutation` at one of the places, or None where it changes nothing."""
    i, k = place
    tree = ast.parse(source)
    before = code_of(tree).splitlines()
    node, function, is_default = list(_nodes(tree))[i]
    line, change = _changes(node, is_default)[k]
    change()
    code = code_of(tree)
    before, after = _difference(before, code.splitlines())
    return Mutation(path, function, line, before, after, code) if before != after else None


def watched(path, source, called):
    """The module's source, in which each function first adds `(path, its qualified name)` to a set of `builtins`."""
    tree = ast.parse(source)
    for node, name, _ in list(_nodes(tree)):
        if isinstance(node, ast.FunctionDef):
            note = "getattr(__import__('builtins'), %r, set()).add((%r, %r))" % (called, path, name)
            node.body[:0] = ast.parse(note).body
    return code_of(tree)


def code_of(tree):
    """A module's source, each simple statement in one line, without comments."""
    return astor.to_source(tree, pretty_string=lambda text, *_, **__: repr(text), pretty_source="".join)


def _nodes(tree):
    """`(node, qualified name of its function, whether it is an argument's default)` of all that may be mutated."""

    def visit(node, name, is_default):
        if _is_left_alone(node):
            return
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = name + [node.name]
        yield node, ".".join(name), is_default
        for field, value in ast.iter_fields(node):
            if _holds_words(node, field):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, name, field in ("defaults", "kw_defaults"))

    return visit(tree, [], False)


def _is_left_alone(node):
    if isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "name", None) == "__repr__":
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Str):
        return True
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id in ("__all__", "_FIELDS")
    if isinstance(node, ast.keyword):
        return node.arg in NAMES
    return False


def _holds_words(node, field):
    """Messages, and names for a reader: what is raised, what a `%` formats, arguments of some calls."""
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return isinstance(node.left, ast.Str)
    if isinstance(node, ast.Call) and field in ("args", "keywords"):
        name = _called(node)
        return name in WORDS or name.endswith(("Error", "Warning"))
    return False


def _called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _changes(node, is_default):
    """Pairs of a line and a function that mutates the node in place."""
    changes, here = [], getattr(node, "lineno", 0)

    def to(field, value, line=here):
        changes.append((line, lambda: setattr(node, field, value)))

    def becomes(other):
        def change():
            node.__class__ = other.__class__
            node.__dict__ = {**node.__dict__, **other.__dict__}

        changes.append((here, change))

    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in SWAPS:
        operands = [getattr(node, field, None) for field in ("left", "right", "value")]
        if not any(isinstance(operand, TEXT) for operand in operands):
            to("op", SWAPS[type(node.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        becomes(node.left)
        becomes(node.right)
    if isinstance(node, ast.BoolOp):
        to("op", SWAPS[type(node.op)]())
        for i in range(len(node.values)):
            to("values", node.values[:i] + node.values[i + 1 :])
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        to("ops", [SWAPS[type(node.ops[0])]()])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        becomes(node.operand)
    if isinstance(node, (ast.If, ast.IfExp, ast.While)) and not _is_inverted_anyway(node.test):
        to("test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Num) and not isinstance(node.n, complex):
        to("n", node.n + 1 if isinstance(node.n, int) else 2 * node.n or 1.0)
        if isinstance(node.n, int) and node.n > 0:
            to("n", node.n - 1)
    if isinstance(node, ast.NameConstant):
        if node.value is None:
            if is_default:
                becomes(ast.Num(1))
        else:
            to("value", not node.value)
    if isinstance(node, ast.Str) and is_default:
        to("s", node.s + "x")
    if isinstance(node, (ast.Compare, ast.Dict, ast.Subscript)):
        for text in _names_in(node):
            changes.append((here, lambda text=text: setattr(text, "s", text.s + "x")))
    if isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            if keyword.arg not in NAMES and keyword.arg is not None:
                to("keywords", node.keywords[:i] + node.keywords[i + 1 :])
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        for i, statement in enumerate(statements if isinstance(statements, list) else []):
            for other in _instead_of(statement, node):
                to(field, statements[:i] + other + statements[i + 1 :], statement.lineno)
    return changes


def _is_inverted_anyway(test):
    """Whether one of the other changes makes the opposite of a condition."""
    exact = (ast.Is, ast.IsNot, ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    return isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and isinstance(test.ops[0], exact))


def _names_in(node):
    """Strings that something is looked up by, or compared with."""
    if isinstance(node, ast.Subscript):
        candidates = [getattr(node.slice, "value", None)]
    else:
        candidates = node.keys if isinstance(node, ast.Dict) else node.comparators
    return [each for each in candidates if isinstance(each, ast.Str)]


def _instead_of(statement, parent):
    """Lists of statements that a statement becomes."""
    if isinstance(parent, ast.Module) and not isinstance(statement, ast.Expr):
        return []
    if isinstance(statement, (ast.Break, ast.Continue)):
        return [[ast.Continue() if isinstance(statement, ast.Break) else ast.Break()]]
    if isinstance(statement, ast.With) and all(item.optional_vars is None for item in statement.items):
        is_scope = all(getattr(item.context_expr, "func", None) for item in statement.items) and all(
            _called(item.context_expr) in ("name_scope", "variable_scope") for item in statement.items
        )
        return [] if is_scope else [statement.body]
    is_effect = isinstance(statement, (ast.Raise, ast.Delete, ast.AugAssign))
    if isinstance(statement, ast.Expr):
        is_effect = not isinstance(statement.value, ast.Str)
    if isinstance(statement, ast.Assign):
        used = {each.id for each in ast.walk(statement.value) if isinstance(each, ast.Name)}
        names = {each.id for target in statement.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        is_effect = bool(names & used) or any(not isinstance(each, (ast.Name, ast.Tuple)) for each in statement.targets)
    return [[ast.Pass()]] if is_effect else []


def _difference(before, after):
    """What differs between two lists of lines, as two lines without what is far from the change."""
    removed, added = [], []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            removed += before[i:j]
            added += after[k:m]
    one, other = (" ; ".join(line.strip() for line in lines) or "(nothing)" for lines in (removed, added))
    shortest = min(len(one), len(other))
    start = next((i for i in range(shortest) if one[i] != other[i]), shortest)
    end = next((i for i in range(shortest - start) if one[-1 - i] != other[-1 - i]), shortest - start)
    first, last = max(0, start - 60), max(0, end - 30)
    return tuple(
        ("... " if first else "") + line[first : len(line) - last] + (" ..." if last else "") for line in (one, other)
    )
