"""Notebooks as pages of the site, with the outputs that are committed; nothing runs.

myst-nb needs an older nbclient than our notebooks do, and nbsphinx needs pandoc, which is no Python package. So a
notebook is written as MyST Markdown, which the parser of all other pages reads.
"""

import nbformat
from myst_parser.sphinx_ import Parser

ABOUT = """
:::{note}
This page is a notebook, `notebooks/%s`. `make lab` opens it in JupyterLab, where you can run and change it.
:::
"""


class NotebookParser(Parser):
    """The parser of Markdown, for a notebook."""

    supported = ("ipynb",)

    def parse(self, inputstring, document):
        name = document["source"].rpartition("/")[2]
        super().parse(as_markdown(nbformat.reads(inputstring, as_version=4), name), document)


def as_markdown(notebook, name):
    """The text of an `nbformat` node, cells and outputs in their order; below the first heading it says what it is."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.source:
            parts.append(_fenced("{code-block} python", cell.source))
            parts += [_output(output) for output in cell.outputs]
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, ABOUT % name, rest, *parts[1:]])


def _output(output):
    """Markdown for one output: a figure, a table, or text; nothing for a progress line."""
    data = output.get("data", {})
    if output.get("name") == "stderr":
        return ""
    if "image/png" in data:
        picture = '<img class="output" alt="The figure that this cell draws" src="data:image/png;base64,%s">'
        return _fenced("{raw} html", picture % data["image/png"].replace("\n", ""))
    if "text/html" in data:
        return _fenced("{raw} html", '<div class="output">%s</div>' % data["text/html"])
    return _fenced("{code-block} text\n:class: output", output.get("text") or data.get("text/plain", ""))


def _fenced(head, text):
    """A block of text; its fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    options = "\n" if "\n:" in head else ""
    return "%s%s\n%s%s\n%s" % (fence, head, options, text.rstrip("\n"), fence)


def setup(app):
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
