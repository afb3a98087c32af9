"""Names in backticks become links: to the entry of the reference, and those of source files to the source."""

import functools
import inspect
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

import l2l

_NAME = re.compile(r"(l2l\.)?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*\))?", re.DOTALL)
_PACKAGE = Path(l2l.__file__).parent
_MODULES = ["l2l", "l2l.testing", "l2l.datasets"]

# What the pages call an object of a class.
_OBJECTS = {
    "cell": "sweeps.cells.Cell",
    "curriculum": "Curriculum",
    "history": "History",
    "losses": "Evaluation",
    "sweep": "Sweep",
    "trained": "Trained",
    "trainer": "Trainer",
    "tuned": "Tuned",
}

_log = logging.getLogger(__name__)


def _parameters():
    """Names of parameters of all public functions and classes: in backticks `noise` means the argument."""
    public = [getattr(l2l, name) for name in l2l.__all__]
    return {name for value in public if callable(value) for name in inspect.signature(value).parameters}


_ARGUMENTS = _parameters()


def entry_of(text, objects, around=""):
    """The full name of the entry that a text in backticks means, or None.

    Args:
      text: such as "l2l.learn", "Quadratic(dims=2)" or "trainer.run(1000)".
      objects: those of Sphinx's domain of Python, by full name.
      around: the full name of the entry in which the text stands, if any.
    """
    match = _NAME.fullmatch(text)
    if not match:
        return None
    package, name, call = match.groups()
    first, _, rest = name.partition(".")
    candidates = ["%s.%s" % (module, name) for module in _MODULES]
    if not package:
        if not call and name in _ARGUMENTS:
            candidates = []
        if rest and first in _OBJECTS:
            candidates.append("l2l.%s.%s" % (_OBJECTS[first], rest))
        while "." in around:  # the class, if this is the entry of a method
            candidates.append("%s.%s" % (around, name))
            around = around.rpartition(".")[0]
    return next((candidate for candidate in candidates if candidate in objects), None)


def link_names(app, doctree, docname):
    """Wraps each literal that names an entry in a link to it; those of the changelog are names of their time."""
    if docname == "CHANGELOG":
        return
    objects = app.env.get_domain("py").objects
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext()
        if _has_parent(literal, (nodes.reference, nodes.title, addnodes.download_reference)):
            continue
        around = _entry_around(literal)
        name = entry_of(text, objects, around)
        if name is None and text.startswith("l2l.") and not text.endswith((".py", ".*")):
            _log.warning("nothing in the reference is called %s", text, location=literal, type="ref")
        if name is None or name == around:
            continue
        entry = objects[name]
        link = make_refnode(app.builder, docname, entry.docname, entry.node_id, literal.deepcopy(), name)
        literal.replace_self(link)


def _has_parent(node, kinds):
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _entry_around(node):
    """The full name of the entry in which the node stands, "" outside of all."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, addnodes.desc):
            return next((name for signature in node.findall(addnodes.desc_signature) for name in signature["ids"]), "")
    return ""


def show_all_sources(app, env):
    """Every module of the package gets a page of viewcode, not only those that have an entry."""
    for path in sorted(_PACKAGE.rglob("*.py")):
        if not env._viewcode_modules.get(_module(path)):
            analyzer = ModuleAnalyzer.for_module(_module(path))
            analyzer.find_tags()
            env._viewcode_modules[_module(path)] = analyzer.code, analyzer.tags, {}, "l2l"


def link_sources(app, doctree, docname):
    """Links to files of the package, and their names in backticks, lead to their pages of viewcode."""
    if app.builder.format != "html":
        return
    for link in list(doctree.findall(addnodes.download_reference)):
        path = Path(app.env.relfn2path(link["reftarget"], docname)[1])
        if path.suffix == ".py" and _PACKAGE in path.parents:
            link.replace_self(_link_to_source(app, docname, path, link.children))
    for literal in list(doctree.findall(nodes.literal)):
        path = _PACKAGE / re.sub("^l2l/", "", literal.astext())
        if path.suffix == ".py" and path.exists() and not _has_parent(literal, nodes.reference):
            literal.replace_self(_link_to_source(app, docname, path, [literal.deepcopy()]))


def _module(path):
    return ".".join([*path.relative_to(_PACKAGE.parent).parent.parts, path.stem]).replace(".__init__", "")


def _link_to_source(app, docname, path, children):
    page = app.builder.get_relative_uri(docname, "_modules/" + _module(path).replace(".", "/"))
    return nodes.reference("", "", *children, refuri=page, internal=True)


def resolve_types(app, env, node, contnode):
    """A name in a signature, as the code has it, leads to its public entry, and an alias to that of `l2l.types`."""
    objects, name = env.get_domain("py").objects, node.get("reftarget", "").rpartition(".")[2]
    full = next((full for full in ("l2l." + name, "l2l.types." + name) if full in objects), None)
    if node.get("refdomain") != "py" or full is None:
        return None
    entry = objects[full]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, nodes.Text(name), full)


def finish_signatures(app, doctree):
    """Marks long signatures, in which `site.css` gives each argument a line of its own.

    An entry gets more ids, with the module that defines it and with the package: viewcode leads back to one or the
    other, the same for all entries of a module.
    """
    for signature in doctree.findall(addnodes.desc_signature):
        if len(signature.astext()) > 90:
            signature["classes"].append("long")
        for name in signature["ids"][:1]:
            value = functools.reduce(lambda one, part: getattr(one, part, None), name.split(".")[1:], l2l)
            module = getattr(value, "__module__", None) or "l2l"
            others = dict.fromkeys("%s.%s" % (package, signature["fullname"]) for package in (module, "l2l"))
            signature["ids"] += [other for other in others if other != name]


def setup(app):
    app.connect("doctree-read", finish_signatures)
    app.connect("doctree-resolved", link_names)
    app.connect("env-updated", show_all_sources)
    app.connect("doctree-resolved", link_sources)
    app.connect("missing-reference", resolve_types)
    return {"parallel_read_safe": True}
