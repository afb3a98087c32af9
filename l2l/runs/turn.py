"""One thread at a time: whose turn it is to use a trainer."""

import contextlib
import threading


class Turn:
    """Lets one thread at a time use a trainer: for a whole run, or for a moment.

    While one thread reads or writes a few variables, others wait. During a run, which may take hours, other threads are
    refused. The running thread may do anything, for example in a signal handler.

    Args:
      name: of the trainer, for error messages.
    """

    def __init__(self, name):
        self._name, self._lock, self._running = name, threading.RLock(), None

    @contextlib.contextmanager
    def moment(self):
        """Keeps other threads away within the block.

        Raises:
          ValueError: the trainer is running in another thread.
        """
        with self._lock:
            self._check()
            yield

    @contextlib.contextmanager
    def run(self):
        """The same for a long time: other threads are refused instead of waiting."""
        current = threading.current_thread()
        try:
            with self._lock:
                self._check()
                self._running = current
            yield
        finally:
            if self._running is current:
                self._running = None

    def _check(self):
        running = self._running
        if running not in (None, threading.current_thread()) and running.is_alive():
            raise ValueError(
                "trainer %r is running in another thread; wait until that run ends, or create a trainer for each thread"
                % self._name
            )
