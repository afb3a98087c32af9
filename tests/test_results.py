import builtins
import errno
import io
import json
import os
import platform
import re

import numpy as np
import pytest

import l2l


def test_results_carry_versions_machine_and_date(tmp_path):
    path = tmp_path / "new folder" / "results.json"
    l2l.save_results(str(path), [{"experiment": "a", "figure": -1.5}, {"experiment": "b", "figure": float("nan")}])
    stored = json.loads(path.read_text())
    assert stored["rows"] == [{"experiment": "a", "figure": -1.5}, {"experiment": "b", "figure": None}]
    assert stored["versions"]["tensorflow"].startswith("1.15") and stored["versions"]["numpy"] == np.__version__
    assert stored["versions"]["python"] == platform.python_version() and set(stored["versions"]) >= {"l2l"}
    assert set(stored) == {"rows", "versions", "machine", "date"} and len(stored["versions"]) == 4
    assert set(stored["machine"]) == {"system", "processor", "cores"} and stored["machine"]["cores"] >= 1
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", stored["date"])


def test_the_processor_is_the_one_that_the_system_names(tmp_path, monkeypatch):
    """As Linux does; elsewhere Python is asked."""
    listed = "processor\t: 0\nmodel\t\t: 106\nmodel name\t: A processor: of 3 GHz\n"
    monkeypatch.setattr(builtins, "open", lambda path: io.StringIO({"/proc/cpuinfo": listed}[path]))
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/proc/cpuinfo")
    assert l2l.measured_with()["machine"]["processor"] == "A processor: of 3 GHz"
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(platform, "processor", lambda: "another")
    assert l2l.measured_with()["machine"]["processor"] == "another"
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "of 64 bits")
    assert l2l.measured_with()["machine"]["processor"] == "of 64 bits"


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"figure": 1.0}, {"figure": object()}], "rows must hold JSON types alone: Object of type object"),
        ([{"figure": np.float32(1)}], "rows must hold JSON types alone"),
        ([{("a", "b"): 1}], "rows must hold JSON types alone: keys must be"),
        ([1], "rows must be a list of dicts"),
        ({}, "rows must be a list of dicts"),
        ([{float("nan"): 1}], "rows must hold JSON types alone: Out of range float values"),
    ],
)
def test_rows_that_are_no_json_leave_the_old_file_as_it_was(tmp_path, rows, message):
    path = tmp_path / "results.json"
    l2l.save_results(path, [{"figure": [1.0, {"a": float("inf")}]}])
    before = path.read_bytes()
    assert json.loads(before.decode())["rows"] == [{"figure": [1.0, {"a": None}]}]
    with pytest.raises(TypeError, match=message):
        l2l.save_results(path, rows)
    assert path.read_bytes() == before and os.listdir(str(tmp_path)) == ["results.json"]


def test_a_disk_that_fails_leaves_the_old_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    l2l.save_results(str(path), [{"figure": 1.0}])
    before = path.read_bytes()

    def fails(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        l2l.save_results(str(path), [{"figure": 2.0}])
    assert path.read_bytes() == before and os.listdir(str(tmp_path)) == ["results.json"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    for path in [tmp_path, tmp_path / "pipe"]:
        with pytest.raises(OSError, match="Not a regular file"):
            l2l.save_results(path, [])
    with pytest.raises(TypeError, match="path must be a path"):
        l2l.save_results(3, [])
    assert os.listdir(str(tmp_path)) == ["pipe"]


def test_links_and_permissions_of_a_file_stay(tmp_path):
    file, link = tmp_path / "rows.json", tmp_path / "link.json"
    file.write_text("old")
    file.chmod(0o600)
    link.symlink_to(file)
    l2l.save_results(link, [{"a": 1}])
    assert link.is_symlink() and json.loads(file.read_text())["rows"] == [{"a": 1}]
    assert file.stat().st_mode & 0o777 == 0o600
