"""What is released: wheel and source archive, outside the checkout; what other Pythons are told; versions and CI."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml

import l2l

ROOT = Path(__file__).resolve().parent.parent


def called(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name not in ["PYTHONPATH", "L2L_LENGTH"]}
    done = subprocess.run(list(map(str, command)), cwd=str(cwd), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder):
    """Wheel and source archive of what is committed, as `make dist` builds them, below the folder."""
    called("git", "clone", "-q", ROOT, folder / "clone", cwd=folder)
    called("make", "-o", ".venv/ready", "dist", "PYTHON=%s" % sys.executable, cwd=folder / "clone")
    (wheel,), (archive,) = ((folder / "clone" / "build" / "dist").glob(kind) for kind in ["*.whl", "*.tar.gz"])
    return wheel, archive


@pytest.mark.rehearsal
def test_the_wheel_that_make_dist_builds_is_whole_and_so_is_the_archive(tmp_path):
    wheel, archive = built(tmp_path)
    assert wheel.name == "l2l-%s-py3-none-any.whl" % l2l.__version__
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "--no-index"]
    called(*pip, "--target", tmp_path / "empty", wheel, cwd=tmp_path)
    program = "import l2l; print(l2l.__file__, l2l.__version__, *l2l.pretrained())"
    found, version, *names = called(sys.executable, "-W", "ignore", "-c", program, cwd=tmp_path / "empty").split()
    assert Path(found).parent == tmp_path / "empty" / "l2l" and version == l2l.__version__
    assert names == list(l2l.pretrained())

    with tarfile.open(str(archive)) as tar:
        tar.extractall(str(tmp_path))
    source = tmp_path / ("l2l-" + l2l.__version__)
    tracked = called("git", "ls-files", cwd=tmp_path / "clone").splitlines()
    assert [name for name in tracked if not (source / name).exists()] == []
    called("make", "-o", ".venv/ready", "dist", "PYTHON=%s" % sys.executable, cwd=source)
    again = source / "build" / "dist" / wheel.name
    assert zipfile.ZipFile(str(again)).namelist() == zipfile.ZipFile(str(wheel)).namelist()


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 8), (3, 13)])
def test_another_python_is_told_how_to_get_a_3_7(version):
    """What pip shows of setup.py, where the Python is another one."""
    program = "import sys; sys.version_info = %r; exec(open('setup.py').read())" % (version,)
    done = subprocess.run([sys.executable, "-c", program], cwd=str(ROOT), capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("l2l needs Python 3.7, ") and "this is Python %d.%d." % version in done.stderr
    assert "pyenv install 3.7" in done.stderr and len(done.stderr.splitlines()) == 1


def test_every_python_can_read_that_sentence():
    """Python 2.7 reads the whole file first: no syntax that is newer, before or after."""
    text = (ROOT / "setup.py").read_text()
    assert text.isascii()
    for node in ast.walk(ast.parse(text)):
        newer = (ast.Starred, ast.JoinedStr, ast.AnnAssign, ast.Nonlocal, ast.AsyncFunctionDef)
        assert not isinstance(node, newer), node.lineno
        assert getattr(node, "returns", None) is None and not getattr(node, "kwonlyargs", [])


def test_version_and_date_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (heading, *_) = re.findall("^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading == "%s - %s" % (l2l.__version__, citation["date-released"])
    assert citation["version"] == l2l.__version__ and citation["license"] == "Apache-2.0"


def test_hosted_ci_runs_what_ci_run_runs():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


@pytest.mark.rehearsal
def test_the_quickstart_runs_where_nothing_but_the_wheel_is_installed(tmp_path):
    """Its code as a program, since there is no Jupyter; with the weights that come with the package."""
    wheel, _ = built(tmp_path)
    called(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
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
