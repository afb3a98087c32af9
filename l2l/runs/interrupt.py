"""Signals that wait for a clean point."""

import contextlib
import signal
import threading


class Stop:
    """Whether a run was asked to stop, and by which signal; seen by all threads that run together."""

    def __init__(self):
        self._event, self.signal = threading.Event(), None
        self.set, self.is_set = self._event.set, self._event.is_set


@contextlib.contextmanager
def delayed_signals(terminate):
    """Within it the first Ctrl-C only sets the `Stop` that it yields; the second acts as usual.

    Args:
      terminate: whether to do the same with SIGTERM.
    """
    stop, before = Stop(), {}
    for number in [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]:
        handler = signal.getsignal(number)
        # In a background job Ctrl-C may be ignored, and stays so. None: someone outside Python handles it.
        if handler not in (None, signal.SIG_IGN):
            before[number] = handler

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(number, _):
        stop.signal = number
        stop.set()
        restore()

    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        before = {}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()


def leave(stop, message):
    """Ends a run as its signal asks: `KeyboardInterrupt` for Ctrl-C, `SystemExit` for SIGTERM; or not at all."""
    if stop.signal == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    if stop.signal is not None:
        raise KeyboardInterrupt(message)
