"""tools/find_python37 on machines of several kinds, and the Makefile's environment, all made of small stand-ins."""

import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import zstandard

FINDER = Path(__file__).resolve().parent.parent / "tools" / "find_python37"


@pytest.fixture
def machine(tmp_path):
    """A folder of commands that is the whole PATH; `add` puts a shell script there."""
    commands = tmp_path / "commands"
    commands.mkdir()

    def add(name, script):
        (commands / name).write_text("#!/bin/sh\n%s\n" % script)
        (commands / name).chmod(0o755)

    for name in ["cat", "mkdir", "ln", "chmod"]:
        (commands / name).symlink_to("/bin/" + name)
    machine.add, machine.path, machine.home = add, str(commands), tmp_path / "home"
    return machine


def find(machine, **environment):
    environment.update(PATH=machine.path, HOME=str(machine.home))
    command = ["/bin/sh", str(FINDER), str(machine.home / "conda-env")]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def put_python37(path):
    path.parent.mkdir(parents=True)
    path.symlink_to(os.path.realpath(sys.executable))


REAL = 'exec "%s" "$@"' % os.path.realpath(sys.executable)
OTHER_VERSION = "exit 1"  # what the version check answers


def test_python37_on_path(machine):
    machine.add("python3.7", REAL)
    done = find(machine)
    assert done.returncode == 0 and done.stdout == machine.path + "/python3.7\n"


def test_python3_that_is_a_37(machine):
    machine.add("python3", REAL)
    assert find(machine).stdout == machine.path + "/python3\n"


def test_under_pyenv_while_another_version_is_the_default(machine):
    machine.add("python3", OTHER_VERSION)
    machine.add("python3.7", "echo 'pyenv: python3.7: command not found' >&2; exit 127")  # a shim
    python = machine.home / ".pyenv" / "versions" / "3.7.16" / "bin" / "python3.7"
    put_python37(python)
    assert find(machine).stdout == "%s\n" % python


def test_pyenv_in_a_folder_of_its_own(machine, tmp_path):
    python = tmp_path / "elsewhere" / "versions" / "3.7.9" / "bin" / "python3.7"
    put_python37(python)
    assert find(machine, PYENV_ROOT=str(tmp_path / "elsewhere")).stdout == "%s\n" % python


def test_through_uv(machine):
    machine.add("real", REAL)
    find_it = '[ "$3" = --system ] && [ -e %s ] && echo %s/real' % (machine.home, machine.path)
    machine.add("uv", 'case "$2" in find) %s;; install) mkdir %s;; esac' % (find_it, machine.home))
    done = find(machine)
    assert done.returncode == 0 and done.stdout == machine.path + "/real\n"


def test_through_conda(machine):
    python = machine.home / "conda-env" / "bin" / "python3.7"
    machine.add("conda", "mkdir -p %s; ln -s %s %s" % (python.parent, os.path.realpath(sys.executable), python))
    done = find(machine)
    assert done.returncode == 0 and done.stdout == "%s\n" % python


# A newer Python with a pip that installs a stand-in for uv, whose Python is the one that runs the tests.
NEWER = """
case "$*" in
    *ensurepip*) exit 1 ;;
    -c*) exit 0 ;;
esac
echo "$*" >> "%(home)s-calls"
mkdir -p "%(folder)s/uv/bin"
%(make)s
"""
UV = """#!/bin/sh
echo "$*" >> "%(home)s-calls"
[ "$UV_PYTHON_INSTALL_DIR" = "%(folder)s/pythons" ] || exit 1
mkdir -p "%(folder)s/pythons/cpython-3.7.9/bin"
ln -s "%(real)s" "%(python)s"
"""


def test_through_a_uv_that_the_pip_of_a_newer_python_brings(machine, tmp_path):
    folder = machine.home / "conda-env"
    python = folder / "pythons" / "cpython-3.7.9" / "bin" / "python3.7"
    names = {"home": machine.home, "folder": folder, "python": python, "real": os.path.realpath(sys.executable)}
    (tmp_path / "uv").write_text(UV % names)
    (tmp_path / "uv").chmod(0o755)
    machine.add("python3", NEWER % {**names, "make": 'ln -s "%s" "%s/uv/bin/uv"' % (tmp_path / "uv", folder)})
    done = find(machine)
    assert done.returncode == 0 and done.stdout == "%s\n" % python, done.stderr
    assert "Bringing a Python 3.7 through uv" in done.stderr
    calls = Path(str(machine.home) + "-calls").read_text().splitlines()
    assert "--target %s/uv uv==0.5.31" % folder in calls[0] and calls[1] == "python install 3.7"
    assert find(machine).stdout == "%s\n" % python, "what was brought is found again"
    assert Path(str(machine.home) + "-calls").read_text().splitlines() == calls


def test_where_uv_cannot_be_brought_it_says_how_to_get_one(machine):
    machine.add("python3", NEWER % {"home": machine.home, "folder": machine.home, "make": "exit 1"})
    done = find(machine)
    assert done.returncode == 1 and done.stdout == "" and "No Python 3.7 was found" in done.stderr


def newer_python():
    """A Python of 3.8 or newer with pip, on PATH or under pyenv; None if there is none."""
    candidates = [shutil.which("python3.%d" % minor) for minor in range(8, 14)]
    candidates += sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    for candidate in filter(None, candidates):
        check = "import sys, pip; print(sys.executable); sys.exit(sys.version_info < (3, 8))"
        done = subprocess.run([str(candidate), "-c", check], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()  # and not what pyenv puts in its place
    return None


@pytest.mark.rehearsal
def test_the_real_uv_brings_a_python_from_a_mirror_or_is_skipped_without_a_newer_python(machine, tmp_path):
    newer = newer_python()
    if newer is None:
        pytest.skip("no Python of 3.8 or newer here")
    release = tmp_path / "mirror" / "20200822"
    release.mkdir(parents=True)
    archive = release / "cpython-3.7.9-x86_64-unknown-linux-gnu-pgo-20200823T0036.tar.zst"
    left_out = ("/test", "/tests", "/site-packages", "/__pycache__", "/share", "/lib2to3", "/idlelib")
    with zstandard.open(str(archive), "wb") as compressed, tarfile.open(fileobj=compressed, mode="w|") as tar:
        source = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
        tar.add(source, "python/install", filter=lambda one: None if one.name.endswith(left_out) else one)
    machine.add("python3", 'exec "%s" "$@"' % newer)
    (Path(machine.path) / "tar").symlink_to(shutil.which("tar"))
    kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))}
    done = find(machine, UV_PYTHON_INSTALL_MIRROR=(tmp_path / "mirror").as_uri(), **kept)
    assert done.returncode == 0, done.stderr
    python = done.stdout.strip()
    assert python.startswith(str(machine.home / "conda-env" / "pythons"))
    version = subprocess.run([python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True)
    assert version.stdout == "(3, 7)\n"


def test_an_environments_python_does_not_count(machine):
    # The project's own, say, activated while it is about to be made anew.
    machine.add("python3.7", 'exec "%s" "$@"' % sys.executable)
    assert sys.prefix != sys.base_prefix, "the tests run in an environment"
    assert find(machine).returncode == 1


def test_without_any_it_says_how_to_get_one(machine):
    machine.add("python3", OTHER_VERSION)
    done = find(machine)
    assert done.returncode == 1 and done.stdout == ""
    assert "No Python 3.7 was found" in done.stderr and "pyenv install 3.7" in done.stderr


# What a shell or make would take for something else than a part of a name.
NAMES = ["two  spaces", "`touch ran`", "$(touch ran)", "$$", "5$", 'a "quoted" word', "it's", "a#b", "a,b)", "a\\b"]


@pytest.fixture(params=["a folder with spaces"])
def project(tmp_path, request):
    """A folder with this Makefile, where Python is a script that only writes down how it was called."""
    folder = tmp_path / request.param
    (folder / "tools").mkdir(parents=True)
    shutil.copy(str(FINDER.parent.parent / "Makefile"), str(folder))
    for name in ["requirements.txt", "setup.py"]:
        (folder / name).write_text("")
    python = folder / "stand in python"
    python.write_text(
        '#!/bin/sh\necho "$*" >> calls\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "stand in python" "$3/bin/python"; fi\n'
    )
    finder = folder / "tools" / "find_python37"
    finder.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD/stand in python"\n')
    for script in [python, finder]:
        script.chmod(0o755)
    return folder


def make(folder, target):
    """Calls make; returns its exit code and how Python was called."""
    (folder / "calls").write_text("")
    done = subprocess.run(["make", target], cwd=str(folder), capture_output=True)
    return done.returncode, (folder / "calls").read_text().splitlines()


def touch(path):
    """Makes a file newer than everything else, as an edit does."""
    os.utime(str(path), (time.time() + 10, time.time() + 10))


def test_the_environment_is_made_once(project):
    code, calls = make(project, "test")
    assert code == 0
    assert calls[0] == "-m venv .venv" and calls[-1] == "-m pytest -n 2 --dist worksteal"
    assert any("--requirement requirements.txt" in call for call in calls)
    assert make(project, "test") == (0, ["-m pytest -n 2 --dist worksteal"])


@pytest.mark.parametrize("project", NAMES, indirect=True)
def test_a_folder_may_have_any_name(project):
    code, calls = make(project, "environment")
    assert code == 0 and calls[0] == "-m venv .venv"
    assert make(project, "environment") == (0, [])
    assert not list(project.parent.rglob("ran")), "the folder's name was run"
    project.rename(project.parent / "moved")
    assert make(project.parent / "moved", "environment")[1][0] == "-m venv .venv"


@pytest.mark.parametrize("project", ["$HOME", "a $of_no_value"], indirect=True)
def test_a_folder_where_python_would_install_elsewhere_is_refused(project):
    done = subprocess.run(["make", "environment"], cwd=str(project), capture_output=True, text=True)
    assert done.returncode != 0 and "dollar sign" in done.stderr
    assert not (project / "calls").exists()


NOTEBOOKS = sorted(path.stem for path in (FINDER.parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_has_a_command(project, name):
    run = "tools/run_notebook.py notebooks/%s.ipynb build/%s" % (name, name)
    assert make(project, name.replace("_", "-"))[1][-1] == run


def test_jupyterlab_starts_for_root_too_and_serves_the_whole_project(project):
    # Containers often run as root, for whom JupyterLab refuses to start unless it is told. What notebooks link to lies
    # beside their folder.
    start = "--LabApp.default_url=/lab/tree/notebooks/quickstart.ipynb"
    assert make(project, "lab")[1][-1] == "-m jupyterlab --allow-root " + start


@pytest.mark.parametrize("name", ["requirements.txt", "setup.py"])
def test_a_changed_requirements_file_is_noticed(project, name):
    make(project, "environment")
    assert make(project, "environment") == (0, [])
    touch(project / name)
    assert make(project, "environment")[1][0] == "-m venv .venv"


def test_a_moved_folder_is_noticed(project):
    make(project, "environment")
    project.rename(project.parent / "moved")
    assert make(project.parent / "moved", "environment")[1][0] == "-m venv .venv"


def test_an_interrupted_installation_is_not_taken_for_a_finished_one(project):
    python = (project / "stand in python").read_text()
    (project / "stand in python").write_text(python + 'case "$*" in *--requirement*) exit 1;; esac\n')
    assert make(project, "environment")[0] != 0
    (project / "stand in python").write_text(python)
    assert make(project, "environment")[1][0] == "-m venv .venv"


def test_without_a_python37_make_fails_and_leaves_the_old_environment(project):
    make(project, "environment")
    (project / "tools" / "find_python37").write_text("#!/bin/sh\nexit 1\n")
    touch(project / "requirements.txt")
    code, calls = make(project, "test")
    assert code != 0 and calls == []
    assert (project / ".venv" / "bin" / "python").exists()
