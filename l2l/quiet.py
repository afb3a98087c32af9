"""TensorFlow's warnings about deprecated names: silent about the calls of this package, and no others."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator

import tensorflow.compat.v1 as tf
from tensorflow.python.util import deprecation

_lock = threading.Lock()
_inside = []  # the previous value of the switch, for each open block, in any thread


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silences TensorFlow's warnings about deprecated functions within the block, or the decorated function.

    TensorFlow gives some warnings once in a process. A user who calls such a function afterwards still gets them.
    Within the block TensorFlow does not look for deprecated arguments either, which takes a fifth of the time to build
    a graph.
    """
    with _lock:
        _inside.append(deprecation._PRINT_DEPRECATION_WARNINGS)
        deprecation._PRINT_DEPRECATION_WARNINGS = False
    try:
        yield
    finally:
        with _lock:
            before = _inside[0]
            _inside.pop()
            if not _inside:
                deprecation._PRINT_DEPRECATION_WARNINGS = before


@contextlib.contextmanager
def without_logs_of(part):
    """Drops, within the block and in this thread, the logs of TensorFlow's source files with `part` in their path."""
    here = threading.get_ident()

    def is_wanted(record):
        return record.thread != here or part not in record.pathname

    logger = tf.get_logger()
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
