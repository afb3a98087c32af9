"""The lock of a directory: what it holds, what it refuses, and what it leaves behind."""

import errno
import fcntl
import os
import stat

import pytest

from l2l.runs import directory_lock
from l2l.runs.directory_lock import DirectoryLock


def test_the_file_holds_the_number_of_the_process_and_nothing_else(tmp_path):
    for content in [None, "process 123456 of before"]:
        path = tmp_path / str(content) / "lock"
        if content is not None:
            path.parent.mkdir()
            path.write_text(content)
        lock = DirectoryLock(str(path.parent))
        assert path.read_bytes() == b"process %d" % os.getpid()
        lock.close()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "None" / "lock").stat().st_mode) == 0o666 & ~umask


def test_a_lock_that_a_link_leads_to_is_not_there(tmp_path):
    lock = DirectoryLock(str(tmp_path / "run"))
    lock.check()
    (tmp_path / "run" / "lock").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is no longer this trainer's"):
        lock.check()
    lock.close()


@pytest.mark.parametrize("content, owner", [(b"\xff 1\n", "\N{REPLACEMENT CHARACTER} 1"), (b"", "another process")])
def test_whoever_has_it_is_named_as_far_as_it_says_so(content, owner, tmp_path):
    (tmp_path / "lock").write_bytes(content)
    with (tmp_path / "lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"checkpoint_dir .* is in use by a trainer of %s; close\(\)" % owner):
            DirectoryLock(str(tmp_path))
    DirectoryLock(str(tmp_path)).close()


def test_a_directory_that_goes_while_it_is_taken_is_refused(tmp_path, monkeypatch):
    def flock(*arguments):
        (tmp_path / "lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ValueError, match="is no longer this trainer's"):
        DirectoryLock(str(tmp_path))


def test_what_the_system_refuses_is_its_own_error(tmp_path, monkeypatch):
    def opener(*arguments):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(directory_lock, "_opener", opener)
    with pytest.raises(OSError, match="broken"):
        DirectoryLock(str(tmp_path))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_what_is_refused_is_closed(tmp_path):
    (tmp_path / "precious").write_text("")
    os.link(str(tmp_path / "precious"), str(tmp_path / "lock"))
    with pytest.raises(ValueError) as caught:
        DirectoryLock(str(tmp_path))
    links = ["/proc/self/fd/" + name for name in os.listdir("/proc/self/fd")]
    assert str(tmp_path / "lock") not in [os.readlink(link) for link in links if os.path.lexists(link)]
    assert "must hold no lock but a regular file" in str(caught.value)  # which keeps the lock's object alive
