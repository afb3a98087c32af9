"""Formulas as MathML, which browsers show without a script from the network."""

from latex2mathml.converter import convert


def visit_inline(self, node):
    self.body.append(convert(node.astext()))
    node.children = []


def visit_block(self, node):
    self.body.append('<div class="math">%s</div>' % convert(node.astext(), display="block"))
    node.children = []


def depart(self, node):
    pass


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, depart), (visit_block, depart))
    return {"parallel_read_safe": True}
