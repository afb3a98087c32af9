"""The public names of the package with their signatures, as text: `make refresh-interface` writes public_interface.txt.

A name is public where `l2l`, a room, `l2l.testing` or `l2l.datasets` lists it in `__all__`. Of a public class these are
the public methods, properties and fields too, but for those that it takes unchanged from a public class. Type hints may
become more exact and are left out.
"""

import inspect
from pathlib import Path

import l2l

PATH = Path(__file__).resolve().parent / "public_interface.txt"
ROOMS = ["problems", "optimizers", "learning", "evaluation", "runs", "sweeps", "figures"]
PLACES = ["l2l", "l2l.testing", "l2l.datasets", *("l2l." + room for room in ROOMS)]


def public_names():
    """`{name: value}` in the order of the text; what a room has in common with `l2l` is listed once."""
    found = {}
    for place in PLACES:
        module = l2l
        for part in place.split(".")[1:]:
            module = getattr(module, part)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            is_listed = place != "l2l" and getattr(l2l, name, None) is value
            if not inspect.ismodule(value) and not is_listed:
                found["%s.%s" % (place, name)] = value
    return found


def signature(function):
    """As `inspect` has it, without hints."""
    found = inspect.signature(function)
    parameters = [each.replace(annotation=each.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=found.empty))


def members(cls, public):
    """Lines for what a class of the package has, but for what a public class above it has in the same way."""
    found, known = {}, {}
    for base in reversed(cls.__mro__):
        is_ours = base.__module__.startswith("l2l") or base.__name__ == cls.__name__  # a namedtuple below a class
        found.update(vars(base) if is_ours else {})
        known.update(vars(base) if is_ours and base is not cls and base in public else {})
    fields = getattr(cls, "_fields", ())
    yield from ("    .%s" % name for name in fields)
    for name, value in sorted(found.items()):
        is_above = name in known and known[name] is value
        if not name.startswith("_") and name not in fields and not is_above:
            function = getattr(value, "__func__", value)  # of a class method
            yield "    .%s%s" % (name, signature(function) if inspect.isfunction(function) else "")


def lines_of(name, value, public):
    if inspect.isclass(value):
        takes_anything = issubclass(value, Exception) and "__init__" not in vars(value)
        yield name if takes_anything else name + signature(value)
        yield from members(value, public)
    else:
        yield name + signature(value) if callable(value) else name


def interface():
    names = public_names()
    public = [value for value in names.values() if inspect.isclass(value)]
    return "".join(line + "\n" for name, value in names.items() for line in lines_of(name, value, public))


if __name__ == "__main__":
    PATH.write_text(interface())
