"""Settings of the documentation: `make docs`.

The source is the whole project, so that a link such as `../notebooks/paper.ipynb` leads to the same file from
JupyterLab, from a code host and on the site.
"""

import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

import l2l  # noqa: E402, from there

project = "l2l"
release = version = l2l.__version__
copyright = "the authors of l2l"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "notebooks/*.ipynb", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = ["**.ipynb_checkpoints"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "docstrings",
    "formulas",
    "names",
    "notebook_pages",
]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(tensorflow|tf|np|numpy|matplotlib|distributed|os)\..*"),  # their pages are on the network
    ("py:class", r"(.*\.)?(Any|Callable|namedtuple)"),
    # Objects that users hand on without a look inside.
    (
        "py:class",
        r"(.*\.)?(ControllerState|Horizon|LogRange|MetaOptimizer|Named|NearOne|NetworkState|Optimizer|Run|Schedule)",
    ),
]

html_theme = "furo"
html_title = "l2l %s" % release
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_additional_pages = {"index": "to_front_page.html"}
html_show_sourcelink = html_copy_source = False

# In docstrings single backticks mark code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Written as here, not as what they stand for; `reference/types.md` says what that is.
autodoc_type_aliases = {
    name: "l2l.types.%s" % name for name in vars(l2l.types) if name[0].isupper() and not hasattr(typing, name)
}
napoleon_use_rtype = False

# Section titles are places that links may lead to, as on the pages of a repository.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_math_renderer = "mathml"
