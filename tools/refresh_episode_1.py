"""Makes the last full run of Episode 1 the committed one: notebook, results, figure and the README's table."""

import json
import re
import shutil
import sys
from pathlib import Path

from l2l import episode_1

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "episode_1"


def compared(rows):
    """The rows that the document has a figure for."""
    return [row for row in rows if row["document"] is not None]


def readme_table(rows):
    """The README's table of results, in Markdown."""
    lines = ["| experiment | meta-iterations | document | here |", "|---|---|---|---|"]
    line = "| {experiment} | {meta_iterations:,} | {document:.2f} | {average_log_result:.2f} |"
    return "\n".join(lines + [line.format(**row) for row in compared(rows)])


def main():
    rows = json.loads((BUILD / "episode_1.json").read_text())["rows"]
    if len(compared(rows)) != len(episode_1.DOCUMENT):
        sys.exit("The run in %s is not a full one: it lacks rows to compare with the document." % BUILD)
    shutil.copy(str(BUILD / "episode_1.ipynb"), str(ROOT / "notebooks"))
    for name in ["episode_1.json", "convergence.png"]:
        shutil.copy(str(BUILD / name), str(ROOT / "results"))
    readme = ROOT / "README.md"
    table = re.compile(r"\| experiment \|.*?\n(?=\n)", re.DOTALL)
    readme.write_text(table.sub(readme_table(rows) + "\n", readme.read_text(), count=1))


if __name__ == "__main__":
    main()
