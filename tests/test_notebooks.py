"""The notebooks and the README run; what is committed of them agrees with the recorded results."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import episode_1
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in nbformat.read(str(path), as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_with_shortened_runs(path, tmp_path):
    environment = dict(os.environ, L2L_LENGTH="0.002")
    command = [sys.executable, "tools/run_notebook.py", str(path.relative_to(ROOT)), str(tmp_path)]
    done = subprocess.run(command, cwd=str(ROOT), env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()[-3000:] + done.stderr.decode()[-3000:]

    outputs = [output for cell in code_cells(tmp_path / path.name) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings in the notebook"
    assert "image/png" in (tmp_path / path.name).with_suffix(".html").read_text()

    rows = json.loads((tmp_path / path.name).with_suffix(".json").read_text())["rows"]
    assert sum(row["meta_iterations"] for row in rows if row["experiment"] == "RNN_log30_end_log_res") == 300
    assert "RNN_log30_end_log_res" in done.stdout.decode() and "RNN_log30_end_log_res:" in done.stderr.decode()


def test_a_failing_notebook_fails_and_leaves_what_it_did(tmp_path):
    cells = [nbformat.v4.new_code_cell("print('first')"), nbformat.v4.new_code_cell("raise RuntimeError('on purpose')")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), str(tmp_path / "bad.ipynb"))
    command = [sys.executable, "tools/run_notebook.py", str(tmp_path / "bad.ipynb"), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True)
    assert done.returncode != 0 and b"on purpose" in done.stderr
    assert code_cells(tmp_path / "out" / "bad.ipynb")[0].outputs[0]["text"] == "first\n"


def test_the_committed_notebook_was_executed_and_shows_the_committed_results():
    cells = code_cells(ROOT / "notebooks" / "episode_1.ipynb")
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    rows = json.loads((ROOT / "results" / "episode_1.json").read_text())["rows"]
    assert cells[-1].outputs[0]["text"].rstrip("\n") == episode_1.table(rows)


def test_an_earlier_runs_outputs_do_not_survive(tmp_path):
    cell = nbformat.v4.new_code_cell("raise RuntimeError")
    late = nbformat.v4.new_code_cell("1", execution_count=7, outputs=[nbformat.v4.new_output("stream", text="old")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, late]), str(tmp_path / "bad.ipynb"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.json").write_text("{}")
    command = [sys.executable, "tools/run_notebook.py", str(tmp_path / "bad.ipynb"), str(tmp_path / "out")]
    subprocess.run(command, cwd=str(ROOT), capture_output=True)
    assert not (tmp_path / "out" / "old.json").exists()
    late = code_cells(tmp_path / "out" / "bad.ipynb")[1]
    assert late.outputs == [] and late.execution_count is None


def test_the_readme_shows_the_committed_results():
    rows = json.loads((ROOT / "results" / "episode_1.json").read_text())["rows"]
    readme = (ROOT / "README.md").read_text()
    compared = [row for row in episode_1.summary(rows) if row["document"] is not None]
    assert len(compared) == len(episode_1.DOCUMENT)
    for row in compared:
        line = "| {experiment} | {meta_iterations:,} | {document:.2f} | {median:.2f} | {lowest:.2f} | {highest:.2f} |"
        assert line.format(**row) in readme  # as `make refresh-episode-1` writes it


def test_the_readmes_example_runs_as_printed(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    environment = dict(os.environ, MPLBACKEND="Agg")
    command = [sys.executable, "-W", "error::UserWarning", "-c", example]
    done = subprocess.run(command, cwd=str(tmp_path), env=environment, capture_output=True)
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    # Nothing but progress: no warning of TensorFlow's.
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line]
    assert all(line.startswith(("RNN", "evaluate ")) for line in lines), errors
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_importing_prints_nothing():
    command = [sys.executable, "-c", "import l2l"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and done.stdout == b""
