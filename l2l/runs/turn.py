"""One thread at a time: whose turn it is to use a trainer."""

import contextlib
import threading


class Turn:
    """Whose turn it is: that of a run, or for a moment that of any thread.

    While one thread reads or writes a few variables, others wait. While one runs, which may take hours, others are
    refused. The thread that runs may do as it likes, in a signal handler, say.

    Args:
      name: of the trainer, for error messages.
    """

    def __init__(self, name):
        self._name, self._lock, self._running = name, threading.RLock(), None

    @contextlib.contextmanager
    def moment(self):
        """Within it no other thread uses the trainer.

        Raises:
          ValueError: the trainer is running in another thread.
        """
        with self._lock:
            self._check()
            yield

    @contextlib.contextmanager
    def run(self):
        """The same for a long time."""
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
