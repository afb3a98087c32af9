"""Settings of the documentation: `make docs`."""

import l2l

project = "l2l"
release = version = l2l.__version__
copyright = "the authors of l2l"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Learning to learn by gradient descent by gradient descent",
    "page_width": "1100px",
}
html_show_sourcelink = False

# In docstrings single backticks mark code.
default_role = "code"
autodoc_member_order = "bysource"
# Docstrings say in words what an argument may be, more exactly than its type hint: hints are for editors and checkers.
autodoc_typehints = "none"
napoleon_use_rtype = False

# Section titles are places that links may lead to, as on the pages of a repository.
myst_heading_anchors = 3


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


def setup(app):
    app.connect("autodoc-process-docstring", formulas_as_blocks, priority=400)  # before napoleon reads the sections
