"""Ctrl-C that waits for a clean point."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def delayed_interrupt():
    """Within it the first Ctrl-C only sets the event that it yields; the second acts as usual."""
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # Signals reach the main thread alone; in a background job they may be ignored, and stay so.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupted
        return

    def on_interrupt(*_):
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
