"""tools/find_python37 on machines of several kinds, made of small stand-ins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    machine.add(
        "uv",
        'case "$2" in find) [ -e %(home)s ] && echo %(path)s/real;; install) mkdir %(home)s;; esac'
        % {"home": machine.home, "path": machine.path},
    )
    done = find(machine)
    assert done.returncode == 0 and done.stdout == machine.path + "/real\n"


def test_through_conda(machine):
    python = machine.home / "conda-env" / "bin" / "python3.7"
    machine.add("conda", "mkdir -p %s; ln -s %s %s" % (python.parent, os.path.realpath(sys.executable), python))
    done = find(machine)
    assert done.returncode == 0 and done.stdout == "%s\n" % python


def test_without_any_it_says_how_to_get_one(machine):
    machine.add("python3", OTHER_VERSION)
    done = find(machine)
    assert done.returncode == 1 and done.stdout == ""
    assert "No Python 3.7 was found" in done.stderr and "pyenv install 3.7" in done.stderr
