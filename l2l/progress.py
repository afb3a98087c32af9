"""The progress line on standard error. To show it never stops what it is about."""

import contextlib
import sys
import threading

from tqdm import tqdm

MOST_CHARACTERS = 40  # of what stands before the bar

# As tqdm's own, but with the speed last: a terminal of 80 columns may cut that off.
FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}, {rate_fmt}]"


class _StandardError:
    """Standard error as it is now; silent for good after the first failure: a full disk, a broken pipe, no stream.

    tqdm must not see a failure: it would go on writing, at the latest when it is closed or deleted.
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


class _Line(tqdm):
    monitor_interval = 0  # no thread that refreshes it: every report does, when half a second has passed

    def refresh(self, nolock=False, lock_args=None):
        """As tqdm's, but raises nothing, such as for a wrong `TQDM_ASCII`, and Ctrl-C leaves no lock taken."""
        try:
            with self._lock:
                self.display()
        except Exception:
            self.disable = True


@contextlib.contextmanager
def progress(total, description, **options):
    """Shows on standard error, every half a second, what is done of `total`, the time left and a short text.

    Args:
      total: a positive integer.
      description: what stands before the bar, such as what `title` returns.
      options: of tqdm.

    Yields:
      `report(finished, text)`, for any thread, `finished` being how many since the last report; at 0 it shows at once.
    """
    lock = threading.Lock()
    # Two at a time take turns on one line: a notebook knows nothing of a line above.
    options.update(position=0, unit="it", bar_format=FORMAT, mininterval=0.5, miniters=1, dynamic_ncols=True)
    with _Line(total=total, desc=description, file=_StandardError(), **options) as line:

        def report(finished, text):
            with lock:
                line.set_postfix_str(text, refresh=not finished)  # what is about to begin is said at once
                line.update(finished)

        yield report


def title(names, kind):
    """The different ones among some names, or, where they are too long for a line, their number: "18 trainings".

    Args:
      names: list of strings.
      kind: what they are names of, in the plural.

    Returns:
      A string of at most about 40 characters.
    """
    different = list(dict.fromkeys(names))
    if len(different) == 1:
        return shortened(different[0], MOST_CHARACTERS)
    joined = " + ".join(different)
    return joined if len(joined) <= MOST_CHARACTERS else "%d %s" % (len(names), kind)


def shortened(name, most):
    """A name on one line, cut to so many characters."""
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 3] + "..."
