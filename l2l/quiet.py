"""TensorFlow's warnings about deprecated names: silent about what this package calls, as ever about all else."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator

import tensorflow.compat.v1 as tf
from tensorflow.python.util import deprecation

_lock = threading.Lock()
_inside = []  # what the switch was before, for each block that is open, in any thread


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within the block, or the function that it decorates, TensorFlow says nothing about deprecated functions.

    What it would have said once in a process, it still says when a user calls such a function afterwards. It does not
    look for deprecated arguments either, which takes a fifth of the time in which a graph is built.
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
    """Within the block, what TensorFlow's source files whose path contains `part` log in this thread is dropped."""
    here = threading.get_ident()

    def is_wanted(record):
        return record.thread != here or part not in record.pathname

    logger = tf.get_logger()
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
