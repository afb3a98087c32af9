"""Docstrings as Sphinx wants them: formulas become blocks, and the fields of a namedtuple get entries."""

import inspect
import re

_FIELD = re.compile(r'^\s+"(\w+)",(?:\s+# (.*))?$', re.MULTILINE)


def formulas_as_blocks(app, what, name, obj, options, lines):
    """Docstrings indent a formula below its sentence, without the two colons that reStructuredText wants there."""
    sentence, result = "", []
    for line in lines:
        if line.startswith("    ") and result and not result[-1] and sentence and not sentence.endswith("::"):
            result += ["::", ""]
            sentence = ""
        elif line and not line.startswith(" "):
            sentence = line
        elif line and result and result[-1]:
            sentence = ""  # a list or a section
        result.append(line)
    lines[:] = result


def fields_as_attributes(app, what, name, obj, options, lines):
    """A namedtuple has a comment beside each field. They become its section "Attributes"."""
    if what != "class" or not any("_fields" in vars(base) for base in obj.__mro__[:2]):
        return
    if any(line.strip() in ("Attributes:", "Args:") for line in lines):
        return
    source = inspect.getsource(inspect.getmodule(obj))
    (start,) = re.finditer(r'namedtuple\(\s*"%s"' % obj.__name__, source)
    comments = dict(_FIELD.findall(source[start.end() : source.index(")\n", source.index("],\n", start.end()))]))
    if lines and lines[0].startswith("%s(%s)" % (obj.__name__, ", ".join(obj._fields))):
        lines[:] = ["A namedtuple."]  # instead of the one that Python makes
    lines += ["", "Attributes:", *["  %s: %s" % (field, comments[field]) for field in obj._fields], ""]


def setup(app):
    app.connect("autodoc-process-docstring", fields_as_attributes, priority=300)
    app.connect("autodoc-process-docstring", formulas_as_blocks, priority=400)  # before napoleon reads the sections
    return {"parallel_read_safe": True}
