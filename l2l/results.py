"""Results as data: rows with the versions, the machine and the date of their measurement."""

from __future__ import annotations

import datetime
import json
import os
import platform
from typing import Any, Dict, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import archives, checks
from l2l.types import PathLike
from l2l.version import __version__


def measured_with() -> Dict[str, Any]:
    """Returns `versions`, `machine` and `date`, with which results are saved.

        l2l.measured_with()["versions"]["tensorflow"]  # "1.15.5"

    Returns:
      A dict of JSON types; `date` is in UTC, as ISO 8601.
    """
    return {
        "versions": {
            "l2l": __version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
        "machine": {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()},
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _processor():
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def save_results(path: PathLike, rows: Sequence[Dict[str, Any]]) -> None:
    """Writes rows as JSON, with versions, machine and date; creates folders.

        l2l.save_results("results/rates.json", [{"learning_rate": 1e-3, "log_average": -5.3}])

    The file holds `{"rows": rows, "versions": ..., "machine": ..., "date": ...}`. It is written in one step: at any
    moment the path holds the old file or the whole new one.

    Args:
      path: file name.
      rows: list of dicts of JSON types. NaN and infinity become null, as JSON has neither.

    Raises:
      TypeError, ValueError: `path` is no path, or `rows` is no such list.
      OSError: it cannot be written. Nothing is left of it, and an old file of that name is unchanged.
    """
    path = os.path.abspath(checks.path("path", path))
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, dict) for row in rows):
        raise TypeError("rows must be a list of dicts, got %.200r" % (rows,))
    try:
        text = json.dumps(dict(rows=_finite(rows), **measured_with()), indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError("rows must hold JSON types alone: %.200s" % error) from None
    os.makedirs(os.path.dirname(path), exist_ok=True)
    archives.replace(path, lambda file: file.write(text.encode()))


def _finite(value):
    """The same without NaN and infinity."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
