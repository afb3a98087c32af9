"""Figures change on purpose alone: what is drawn is compared with a text, number by number."""

import difflib
import re
import warnings

import drawn
import matplotlib.pyplot as plt
import numpy as np
import pytest

NUMBER = re.compile(r"(?<![\w#])-?\d+\.?\d*(?:e[+-]\d+)?(?!\w)")
PROMISED = dict(part.split("\n", 1) for part in drawn.PATH.read_text().rstrip("\n").split("== ")[1:])


def is_same(one, other):
    """Whether two lines have the same words, and numbers that agree to four digits."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    numbers = [list(map(float, NUMBER.findall(line))) for line in (one, other)]
    return np.allclose(*numbers, rtol=2e-4, atol=0)


@pytest.mark.parametrize("name", drawn.FIGURES)
def test_a_figure_shows_what_it_did(name):
    """If this fails on purpose: `make refresh-figures`, and look at what changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        figure = drawn.FIGURES[name]()
        assert warnings.filters == filters and plt.get_fignums() == []
        found = list(drawn.lines_of(figure))
    promised = PROMISED[name].splitlines()
    if len(found) == len(promised):
        found = [old if is_same(new, old) else new for new, old in zip(found, promised)]
    assert found == promised, "\n".join(difflib.unified_diff(promised, found, "promised", "found", n=0, lineterm=""))


def test_the_text_has_each_figure_and_no_other():
    assert list(PROMISED) == list(drawn.FIGURES)
