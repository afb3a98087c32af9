import builtins
import io
import json
import os
import platform
from xml.etree import ElementTree

import numpy as np

import l2l


def test_results_carry_versions_machine_and_date(tmp_path):
    path = tmp_path / "new folder" / "results.json"
    l2l.save_results(str(path), [{"experiment": "a", "figure": -1.5}, {"experiment": "b", "figure": float("nan")}])
    stored = json.loads(path.read_text())
    assert stored["rows"] == [{"experiment": "a", "figure": -1.5}, {"experiment": "b", "figure": None}]
    assert stored["versions"]["tensorflow"].startswith("1.15") and stored["versions"]["numpy"] == np.__version__
    assert set(stored["machine"]) == {"system", "processor", "cores"} and stored["machine"]["cores"] >= 1
    assert stored["date"][:2] == "20" and stored["date"].endswith("+00:00")


def test_the_processor_is_the_one_that_the_system_names(tmp_path, monkeypatch):
    """As Linux does; elsewhere Python is asked."""
    listed = "processor\t: 0\nmodel\t\t: 106\nmodel name\t: A processor: of 3 GHz\n"
    monkeypatch.setattr(builtins, "open", lambda path: io.StringIO({"/proc/cpuinfo": listed}[path]))
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/proc/cpuinfo")
    assert l2l.measured_with()["machine"]["processor"] == "A processor: of 3 GHz"
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(platform, "processor", lambda: "another")
    assert l2l.measured_with()["machine"]["processor"] == "another"


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


def test_a_table_without_rows_is_its_column_names():
    assert str(l2l.format_table([], {"name": "", "figure": ".2f"})) == "name  figure"
