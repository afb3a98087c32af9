"""Results as data: rows with the versions, the machine and the date that they were measured with."""

import datetime
import json
import os
import platform

import numpy as np
import tensorflow as tf

from l2l.version import __version__


def measured_with():
    """A dict with `versions`, `machine` and `date` (UTC, ISO 8601)."""
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


def save_results(path, rows):
    """Writes `{"rows": rows, "versions": ..., "machine": ..., "date": ...}` as JSON; folders are created.

    Args:
      path: file name.
      rows: list of dicts of JSON types. NaN and infinity become null, as JSON has neither.
    """
    rows = [{key: _finite(value) for key, value in row.items()} for row in rows]
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump(dict(rows=rows, **measured_with()), file, indent=1, allow_nan=False)
        file.write("\n")


def _finite(value):
    return None if isinstance(value, float) and not np.isfinite(value) else value


def format_table(rows, columns):
    """The rows as text, a line each under a line of column names; missing values are empty.

    Args:
      rows: list of dicts.
      columns: dict from key to a `format` specification such as ",d" or ".2f"; "" for text.
    """

    def cell(row, key):
        value = row.get(key)
        return "" if value is None else format(value, columns[key])

    lines = [list(columns)] + [[cell(row, key) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    aligned = ["<" if columns[key] == "" else ">" for key in columns]
    texts = ("  ".join(format(c, a + str(w)) for c, a, w in zip(line, aligned, widths)) for line in lines)
    return "\n".join(text.rstrip() for text in texts)
