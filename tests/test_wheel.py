"""The package as a wheel, in an environment that has nothing else, outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent


def called(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name not in ["PYTHONPATH", "L2L_LENGTH"]}
    done = subprocess.run(list(map(str, command)), cwd=str(cwd), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.rehearsal
def test_the_quickstart_runs_where_nothing_but_the_wheel_is_installed(tmp_path):
    """Its code as a program, since there is no Jupyter; with the weights that come with the package."""
    called("git", "clone", "-q", ROOT, tmp_path / "clone", cwd=tmp_path)
    called(sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", tmp_path, cwd=tmp_path / "clone")
    called(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python, (wheel,) = tmp_path / "empty" / "bin" / "python", tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 1_000_000
    assert "l2l/py.typed" in zipfile.ZipFile(str(wheel)).namelist()
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--constraint"]
    called(*pip, ROOT / "requirements.txt", wheel, cwd=tmp_path)
    cells = nbformat.read(str(ROOT / "notebooks" / "quickstart.ipynb"), as_version=4).cells
    lines = "\n".join(cell.source for cell in cells if cell.cell_type == "code").splitlines()
    program = tmp_path / "quickstart.py"
    program.write_text("\n".join(line for line in lines if not line.startswith("%")) + "\nprint(l2l.__file__)\n")
    printed = called(python, "-W", "ignore", program, cwd=tmp_path)
    assert "mean squared error" in printed and printed.splitlines()[-1].startswith(str(tmp_path / "empty"))
