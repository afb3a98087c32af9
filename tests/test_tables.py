from xml.etree import ElementTree

import pytest

import l2l


def test_table_aligns_and_leaves_missing_values_empty():
    rows = [{"name": "a", "n": 20000, "figure": -6.051}, {"name": "longer", "n": None}]
    table = l2l.format_table(rows, {"name": "", "n": ",d", "figure": ".2f"})
    assert str(table) == repr(table) == "name         n  figure\na       20,000   -6.05\nlonger"


def test_a_notebook_shows_the_same_table_as_html():
    rows = [{"name": "a < b", "n": 20000, "figure": -6.051}, {"name": "longer", "n": None}]
    html = l2l.format_table(rows, {"name": "", "n": ",d", "figure": ".2f"})._repr_html_()
    table = ElementTree.fromstring(html)
    lines = [[cell.text or "" for cell in line] for line in table.iter("tr")]
    assert lines == [["name", "n", "figure"], ["a < b", "20,000", "-6.05"], ["longer", "", ""]]
    assert [cell.tag for cell in next(table.iter("tr"))] == ["th"] * 3
    sides = [cell.get("style") for cell in table.find("tbody")[0]]
    assert sides == ["text-align: left", "text-align: right", "text-align: right"]


def test_a_long_text_is_wrapped_in_a_notebook_which_would_let_it_scroll_sideways():
    html = l2l.format_table([{"short": "x" * 40, "long": "x" * 41}], {"short": "", "long": ""})._repr_html_()
    styles = [cell.get("style") for cell in ElementTree.fromstring(html).find("tbody")[0]]
    assert styles == ["text-align: left", "text-align: left; white-space: normal; min-width: 20em"]


def test_a_table_without_rows_is_its_column_names():
    assert str(l2l.format_table([], {"name": "", "figure": ".2f"})) == "name  figure"


def test_a_column_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match=r"^columns must be keys of the rows \(a, b\), got 'c', 'd'$"):
        l2l.format_table([{"b": 1}, {"a": 2}], {"c": "", "a": "", "d": ""})
