"""The lock that makes a directory one trainer's."""

import errno
import fcntl
import os
import stat


class DirectoryLock:
    """A directory, created if missing, that belongs to one trainer until `close` or the end of the process.

    The operating system locks the file `lock` in it. The file holds the number of the process.

    Args:
      directory: an absolute path.

    Raises:
      ValueError: another trainer, of this process or another, has the directory; it is no directory; or `lock` in it is
        not a regular file with one name, since whatever is written to a link overwrites someone else's file.
      OSError: it cannot be created or written to.
    """

    def __init__(self, directory):
        self._directory, self._path = directory, os.path.join(directory, "lock")
        try:
            os.makedirs(directory, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(
                "checkpoint_dir must be a directory, or the name of a new one, got %r (%s)"
                % (directory, error.strerror)
            ) from None
        try:
            self._file = open(self._path, "r+b", buffering=0, opener=_opener)  # noqa: SIM115, it stays open
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a directory, a socket
                raise self._refused() from None
            raise
        try:
            self._take()
        except BaseException:
            self._file.close()
            raise

    def _take(self):
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise self._refused()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = self._file.read(100).decode(errors="replace").strip()
            raise ValueError(
                "checkpoint_dir %r is in use by a trainer of %s; close() that one, or name another directory"
                % (self._directory, owner or "another process")
            ) from None
        self.check()
        self._file.truncate(0)
        self._file.write(b"process %d" % os.getpid())

    def _refused(self):
        return ValueError(
            "checkpoint_dir must hold no lock but a regular file that has no other name, got %r" % self._path
        )

    def check(self):
        """Refuses a directory that was removed or replaced since: it is no longer the trainer's.

        Raises:
          ValueError: the lock that the trainer holds is not the one in the directory.
        """
        try:
            is_held = os.path.samestat(os.stat(self._path, follow_symlinks=False), os.fstat(self._file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            is_held = False
        if not is_held:
            raise ValueError(
                "checkpoint_dir %r is no longer this trainer's: it, or the lock in it, was removed or replaced. "
                "Nothing more is written there; history and trained() still hold all that was computed"
                % self._directory
            )

    def close(self):
        """Frees the directory for another trainer."""
        self._file.close()


def _opener(path, _):
    """Not through a link, and without waiting for somebody to read a pipe."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
