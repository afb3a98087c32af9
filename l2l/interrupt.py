"""Signals that wait for a clean point."""

import contextlib
import os
import signal
import socket
import threading

STOPPING = "stopping"  # what a progress line says once it is asked to


class Stop:
    """Whether a run was asked to stop, and by which signal; seen by all threads that run together."""

    def __init__(self):
        self._event, self.signal = threading.Event(), None
        self.set, self.is_set = self._event.set, self._event.is_set


@contextlib.contextmanager
def delayed_signals(terminate, acknowledge=lambda: None):
    """Delays the first Ctrl-C within the block: it only sets the `Stop` that is yielded. The second acts as usual.

    At the end the previous handlers are restored. A Ctrl-C that was ignored before stays ignored. A block within
    another, as of an evaluation in a callback, leaves signals to the outer one.

    Args:
      terminate: whether to delay SIGTERM too. If both arrive, SIGTERM counts, whichever was first.
      acknowledge: function that is called in another thread as soon as the first signal arrives.
    """
    stop, before, seen, is_over = Stop(), {}, set(), False
    if threading.current_thread() is threading.main_thread():  # signals reach it alone
        for number in [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]:
            handler = signal.getsignal(number)
            # In a background job Ctrl-C may be ignored, and stays so. None: someone outside Python handles it.
            if handler not in (None, signal.SIG_IGN) and not getattr(handler, "delays", False):
                before[number] = handler

    # The handlers stay until the end: a signal may be under way already, and a handler that Python finds in place of
    # the one that was there when it arrived would have to understand it.
    def on_signal(number, frame):
        if number in seen and not is_over:
            _as_usual(before[number], number, frame)
            return
        seen.add(number)
        stop.signal = signal.SIGTERM if signal.SIGTERM in seen else number
        stop.set()

    on_signal.delays = True
    try:
        for number in before:
            signal.signal(number, on_signal)
        with _noticed(set(before), acknowledge):
            yield stop
    finally:
        is_over = True  # from here on nothing may come between
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _noticed(numbers, acknowledge):
    """Calls a function as soon as one of these signals arrives.

    Python calls a signal handler only between two of its own instructions, so not while TensorFlow compiles for a
    minute. The number of a signal is written to a socket at once, and another thread reads it.
    """
    if not numbers:  # no signal reaches this thread
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def listen():
        is_first = True
        for number in iter(lambda: ours.recv(1), b""):
            with contextlib.suppress(OSError):  # nobody listened before, or whoever did has closed it
                os.write(before, number)  # for whoever else listens, such as an event loop
            if number[0] in numbers and is_first:
                is_first = False
                acknowledge()

    thread = threading.Thread(target=listen, daemon=True)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        thread.start()  # here: if it cannot, the socket's number must not stay behind, for another file to get it
        yield
    finally:
        try:
            signal.set_wakeup_fd(before)
        except (OSError, ValueError):  # whoever listened before has closed it
            signal.set_wakeup_fd(-1)
        theirs.close()
        if thread.ident is not None:
            thread.join()
        ours.close()


def _as_usual(handler, number, frame):
    """What a signal would have done to a handler."""
    if callable(handler):
        handler(number, frame)
    else:  # the system's default, which ends the process
        signal.signal(number, handler)
        os.kill(os.getpid(), number)


def leave(stop, message):
    """Ends a run as its signal asks: `KeyboardInterrupt` for Ctrl-C, `SystemExit` for SIGTERM; or not at all."""
    if stop.signal == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    if stop.signal is not None:
        raise KeyboardInterrupt(message)
