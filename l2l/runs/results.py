"""Results as data: rows with the versions, the machine and the date that they were measured with."""

import datetime
import json
import os
import platform
from html import escape

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import archives, checks
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

    Written in one step: at any moment there is either what was there before, or all of the new file.

    Args:
      path: file name.
      rows: list of dicts of JSON types. NaN and infinity become null, as JSON has neither.

    Raises:
      TypeError, ValueError: `path` is no path, or `rows` is no such list.
      OSError: it cannot be written. Nothing is left of it, and a file of that name is as it was.
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


class Table:
    """Lines of cells: as text an aligned line each, in a notebook an HTML table."""

    def __init__(self, lines, aligned):
        """
        Args:
          lines: list of lists of strings of one length, the column names first.
          aligned: "<" (left) or ">" (right) for each column.
        """
        self._lines, self._aligned = lines, aligned

    def __str__(self):
        widths = [max(map(len, column)) for column in zip(*self._lines)]
        pads = [a + str(width) for a, width in zip(self._aligned, widths)]
        return "\n".join("  ".join(map(format, line, pads)).rstrip() for line in self._lines)

    __repr__ = __str__

    def _repr_html_(self):
        sides = ["left" if a == "<" else "right" for a in self._aligned]

        def html(line, tag):
            cell = '<{0} style="text-align: {1}">{2}</{0}>'
            return "<tr>%s</tr>" % "".join(cell.format(tag, side, escape(text)) for text, side in zip(line, sides))

        names, *rows = self._lines
        body = "\n".join(html(row, "td") for row in rows)
        return "<table>\n<thead>%s</thead>\n<tbody>\n%s\n</tbody>\n</table>" % (html(names, "th"), body)


def format_table(rows, columns):
    """The rows as a table, a line each under a line of column names; missing values are empty.

    Args:
      rows: list of dicts.
      columns: dict from key to a `format` specification such as ",d" or ".2f"; "" for text.

    Returns:
      A `Table`: `str` or `print` give text, a notebook shows an HTML table.

    Raises:
      ValueError: a column that no row has.
    """
    unknown = [key for key in columns if rows and not any(key in row for row in rows)]
    if unknown:
        known = ", ".join(sorted({key for row in rows for key in row}))
        raise ValueError("columns must be keys of the rows (%s), got %s" % (known, ", ".join(map(repr, unknown))))

    def cell(row, key):
        value = row.get(key)
        return "" if value is None else format(value, columns[key])

    lines = [list(columns)] + [[cell(row, key) for key in columns] for row in rows]
    return Table(lines, ["<" if specification == "" else ">" for specification in columns.values()])
