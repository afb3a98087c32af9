"""The HTML page of a notebook: one file that needs no network and no script, formulas included."""

import posixpath
import re

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# nbconvert's page without its scripts, which it would fetch from the network, and with a style of its own: what is
# too wide for a narrow window scrolls by itself, and the column of cell numbers gives way.
TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style type="text/css">
body.jp-Notebook { max-width: 1100px; margin: 0 auto; overflow: auto; }
.jp-OutputArea-child { display: flex; }
.jp-OutputPrompt { flex: 0 0 var(--jp-cell-prompt-width); }
.jp-OutputPrompt:empty { padding: var(--jp-code-padding); border: var(--jp-border-width) solid transparent; }
.jp-OutputArea-output { flex: 1 1 0; min-width: 0; }
.jp-MarkdownOutput { min-width: 0; overflow-wrap: break-word; }
.jp-RenderedHTMLCommon table { display: block; width: max-content; max-width: 100%; overflow-x: auto; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { white-space: nowrap; }
.jp-InputArea-editor .highlight, .jp-RenderedText pre { overflow-x: auto; }
math[display="block"] { overflow-x: auto; overflow-y: hidden; padding: 2px 0; }
@media (max-width: 700px) {
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
  .jp-Notebook .jp-Cell { padding-left: 0; padding-right: 0; }
}
</style>
{%- endblock -%}
"""


class _Renderer(IPythonRenderer):
    """Markdown as HTML, formulas as MathML; links that are relative to `folder` lead there from the page."""

    def __init__(self, folder):
        super().__init__(escape=False)
        self._folder = folder

    def link(self, text, url, title=None):
        if not re.match(r"[a-z]+:|#|/", url):
            url = posixpath.normpath(posixpath.join(self._folder, url))
        return super().link(text, url, title)

    def block_math(self, body):
        return convert(body, display="block")

    def inline_math(self, body):
        return convert(body)

    def latex_environment(self, name, body):
        return convert("\\begin{%s}%s\\end{%s}" % (name, body, name), display="block")


class _Exporter(HTMLExporter):
    folder = ""

    def markdown2html(self, source):
        return MarkdownWithMath(renderer=_Renderer(self.folder)).render(source)


def title(notebook):
    """The notebook's first heading, without its marks; "Notebook" if it has none."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("#"):
                    return line.lstrip("# ")
    return "Notebook"


def page(notebook, folder=""):
    """The HTML text of a notebook, an `nbformat` node; its title is the notebook's first heading.

    `folder` is the way from the page to the folder of the notebook, whose links are relative to itself.
    """
    exporter = _Exporter(raw_template=TEMPLATE)
    exporter.folder = folder
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title(notebook)}})
    return html
