"""The progress line: a widget in a notebook, else a line on standard error. Its failures never stop the work."""

import contextlib
import os
import sys
import threading
from time import perf_counter

from tqdm.std import tqdm

MOST_CHARACTERS = 40  # of what stands before the bar
TICK = 1.0  # seconds after which it is drawn again without a report

# As tqdm's own, but with the speed last: a terminal of 80 columns may cut that off.
FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}, {rate_fmt}]"

# "text" shows a line in a notebook too, for programs that run notebooks and show the line in a terminal.
VARIABLE = "L2L_PROGRESS"


class _StandardError:
    """The current standard error; silent for good after its first failure: a full disk, a broken pipe, no stream.

    tqdm must not see a failure: it would continue to write, at the latest when it is closed or deleted.
    """

    def __init__(self):
        self._stream = sys.stderr  # None where the process began with it closed
        self.encoding = getattr(self._stream, "encoding", None)
        self._silent = False

    def write(self, text):
        self._unless_silent("write", text)

    def flush(self):
        self._unless_silent("flush")

    def fileno(self):
        """Where tqdm asks for the width of the terminal."""
        return self._stream.fileno()

    def _unless_silent(self, method, *arguments):
        if not self._silent:
            try:
                getattr(self._stream, method)(*arguments)
            except Exception:
                self._silent = True


class _Silent:
    """The differences of both kinds of line from tqdm's."""

    monitor_interval = 0  # no thread of tqdm's that refreshes it

    def refresh(self, **ignored):
        """As tqdm's, but raises nothing, such as for a wrong `TQDM_ASCII`, and Ctrl-C leaves no lock taken."""
        try:
            with self._lock:
                self.display()
        except Exception:
            self.disable = True


class _Line(_Silent, tqdm):
    def __init__(self, **options):
        super().__init__(file=_StandardError(), **options)
        self.is_alive = _is_terminal()  # a file gets news only


def _is_terminal():
    try:
        return sys.stderr.isatty()
    except Exception:  # it is closed, or there is none
        return False


def in_notebook():
    """Whether a notebook's kernel runs this process."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Note:
    """A text that replaces a widget and is empty at the end; a saved notebook would keep an empty widget."""

    is_alive, start_t, last_print_t = True, 0.0, 0.0

    def __init__(self, desc, **options):
        from IPython.display import display

        self._before = self._text = desc
        self._handle = display({"text/plain": desc}, raw=True, display_id=True)

    def set_postfix_str(self, text, refresh):
        self._text = "%s, %s" % (self._before, text)

    def refresh(self):
        self._handle.update({"text/plain": self._text}, raw=True)

    def close(self):
        self._text = ""
        self.refresh()


def _line(options):
    """A widget in a notebook that has ipywidgets, else text. In a file, None if there is no total."""
    if in_notebook() and os.environ.get(VARIABLE) != "text":
        with contextlib.suppress(Exception):  # whatever is wrong with its widgets
            if options["total"] is None:
                return _Note(**options)
            from tqdm import notebook  # here, since it imports all of Jupyter's

            if notebook.IProgress is not None:
                return type("_Widget", (_Silent, notebook.tqdm), {"is_alive": True})(**options)
    return _Line(**options) if options["total"] is not None or _is_terminal() else None


class _Progress:
    """A line that appears after `delay` seconds, and its text; for any thread."""

    def __init__(self, delay, options):
        self._lock, self._delay, self._options = threading.RLock(), delay, options
        self._line, self._finished, self._text, self._waits = None, 0, "", False
        self._created = self._begun = self._since = self._held = perf_counter()
        self._is_there()

    def report(self, finished, text):
        """Adds what was finished since the last report. A report of 0 says what begins, with a clock."""
        with self._lock:
            self._hold()
            self._waits, self._since, self._text = not finished, perf_counter(), text
            self._finished += finished
            if self._is_there():
                self._line.set_postfix_str(text, refresh=False)
                if finished:
                    finished, self._finished = self._finished, 0
                    self._line.update(finished)
                else:
                    self._line.refresh()

    def tick(self):
        """Draws the line again if a clock runs on it."""
        with self._lock:
            self._hold()
            if self._is_there() and (self._waits or self._line.is_alive):
                if self._waits:
                    clock = "%d s" % (perf_counter() - self._since)
                    self._line.set_postfix_str(", ".join(filter(None, [self._text, clock])), refresh=False)
                self._line.refresh()

    def close(self):
        with self._lock:
            if self._line is not None:
                self._line.close()

    def _hold(self):
        """Keeps the time of waiting out of the time that is left."""
        now = perf_counter()
        if self._waits:
            self._begun += now - self._held
            if self._line is not None:
                self._line.start_t += now - self._held
                self._line.last_print_t += now - self._held
        self._held = now

    def _is_there(self):
        """Whether the line exists; it is created when its time has come."""
        if self._line is None and perf_counter() - self._created >= self._delay:
            self._line = _line(self._options)
            if self._line is not None:
                self._line.start_t -= perf_counter() - self._begun
                self._line.last_print_t = self._line.start_t
        return self._line is not None


@contextlib.contextmanager
def progress(total, description, *, delay=0.0, **options):
    """Shows now and then how much of `total` is done, the time left and a short text.

    In a notebook with ipywidgets it is a widget, elsewhere a line on standard error. A report of 0 says what is about
    to begin, such as "compiling". A clock then runs until the next report, and the time left does not count it.

    Args:
      total: a positive integer.
      description: text before the bar, such as `title` returns.
      delay: seconds before anything is shown. If the work is over by then, nothing is shown.
      options: of tqdm.

    Yields:
      `report(finished, text)`, for any thread; `finished` counts what was done since the last report. A report of 0
      shows at once.
    """
    # Two at a time take turns on one line: a notebook knows nothing of a line above.
    defaults = {"position": 0, "unit": "it", "bar_format": FORMAT, "mininterval": 0.25, "miniters": 1}
    line = _Progress(delay, {**defaults, "dynamic_ncols": True, "total": total, "desc": description, **options})
    is_over = threading.Event()

    def tick():
        while not is_over.wait(TICK):
            line.tick()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield line.report
    finally:
        is_over.set()
        thread.join()
        line.close()


@contextlib.contextmanager
def waiting(description, text):
    """Shows what the block waits for, with a clock, if it takes more than a second."""
    name = "%s: %s" % (shortened(description, MOST_CHARACTERS), text)
    with progress(None, name, delay=1.0, leave=False, bar_format="{desc}{postfix}") as report:
        report(0, "")
        yield


def title(names, kind):
    """Joins the different ones of some names; if they are too long for a line, gives their number: "18 trainings".

    Args:
      names: list of strings.
      kind: what the names are names of, in the plural.

    Returns:
      A string of at most about 40 characters.
    """
    different = list(dict.fromkeys(names))
    if len(different) == 1:
        return shortened(different[0], MOST_CHARACTERS)
    joined = " + ".join(different)
    return joined if len(joined) <= MOST_CHARACTERS else "%d %s" % (len(names), kind)


def shortened(name, most):
    """Returns a name on one line, cut to `most` characters."""
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 3] + "..."
