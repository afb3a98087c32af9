import json

import numpy as np

import l2l


def test_results_carry_versions_machine_and_date(tmp_path):
    path = tmp_path / "new folder" / "results.json"
    l2l.save_results(str(path), [{"experiment": "a", "figure": -1.5}, {"experiment": "b", "figure": float("nan")}])
    stored = json.loads(path.read_text())
    assert stored["rows"] == [{"experiment": "a", "figure": -1.5}, {"experiment": "b", "figure": None}]
    assert stored["versions"]["tensorflow"].startswith("1.15") and stored["versions"]["numpy"] == np.__version__
    assert stored["machine"]["cores"] >= 1
    assert stored["date"][:2] == "20" and stored["date"].endswith("+00:00")


def test_table_aligns_and_leaves_missing_values_empty():
    rows = [{"name": "a", "n": 20000, "figure": -6.051}, {"name": "longer", "n": None}]
    text = l2l.format_table(rows, {"name": "", "n": ",d", "figure": ".2f"})
    assert text == "name         n  figure\na       20,000   -6.05\nlonger"
