"""Tables: aligned lines as text, HTML in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any, Dict, Sequence

_LONG = 40  # characters: longer texts are wrapped, where notebooks let tables scroll sideways


class Table:
    """Rows as a table: aligned lines as text, HTML in a notebook.

    Attributes:
      rows: list of dicts, from which the cells were made.
    """

    def __init__(self, rows: Sequence[Dict[str, Any]], lines: Sequence[Sequence[str]], aligned: Sequence[str]) -> None:
        """
        Args:
          rows: as above.
          lines: list of lists of strings of one length, the column names first.
          aligned: "<" (left) or ">" (right) for each column.
        """
        self.rows, self._lines, self._aligned = rows, lines, aligned

    def __str__(self):
        widths = [max(map(len, column)) for column in zip(*self._lines)]
        pads = [a + str(width) for a, width in zip(self._aligned, widths)]
        return "\n".join("  ".join(map(format, line, pads)).rstrip() for line in self._lines)

    __repr__ = __str__

    def _repr_html_(self):
        sides = ["left" if a == "<" else "right" for a in self._aligned]

        def cell(tag, text, side):
            wrapped = "; white-space: normal; min-width: 20em" if len(text) > _LONG else ""
            return '<%s style="text-align: %s%s">%s</%s>' % (tag, side, wrapped, escape(text), tag)

        def html(line, tag):
            return "<tr>%s</tr>" % "".join(cell(tag, text, side) for text, side in zip(line, sides))

        names, *rows = self._lines
        body = "\n".join(html(row, "td") for row in rows)
        return "<table>\n<thead>%s</thead>\n<tbody>\n%s\n</tbody>\n</table>" % (html(names, "th"), body)


def format_table(rows: Sequence[Dict[str, Any]], columns: Dict[str, str]) -> Table:
    """Formats rows as a table, with column names above; missing values are empty.

        print(l2l.format_table([{"name": "Adam", "loss": 0.0123}], {"name": "", "loss": ".3f"}))

    Args:
      rows: list of dicts.
      columns: dict from key to a `format` specification such as ",d" or ".2f"; "" for text.

    Returns:
      A `Table`: `str` or `print` give text, a notebook shows an HTML table.

    Raises:
      ValueError: no row has one of the columns.
    """
    unknown = [key for key in columns if rows and not any(key in row for row in rows)]
    if unknown:
        known = ", ".join(sorted({key for row in rows for key in row}))
        raise ValueError("columns must be keys of the rows (%s), got %s" % (known, ", ".join(map(repr, unknown))))

    def cell(row, key):
        value = row.get(key)
        return "" if value is None else format(value, columns[key])

    lines = [list(columns)] + [[cell(row, key) for key in columns] for row in rows]
    return Table(list(rows), lines, ["<" if specification == "" else ">" for specification in columns.values()])
