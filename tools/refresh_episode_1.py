"""Makes the last full run of Episode 1 the committed one: notebook, results, figure and the README's table."""

import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

import episode_1  # noqa: E402, from there

BUILD = ROOT / "build" / "episode_1"


def compared(rows):
    """Summaries of the rows that the document has a figure for."""
    return [row for row in episode_1.summary(rows) if row["document"] is not None]


def readme_table(rows):
    """The README's table of results, in Markdown."""
    lines = ["| experiment | meta-iterations | document | median | lowest | highest |", "|---|---|---|---|---|---|"]
    line = "| {experiment} | {meta_iterations:,} | {document:.2f} | {median:.2f} | {lowest:.2f} | {highest:.2f} |"
    return "\n".join(lines + [line.format(**row) for row in compared(rows)])


def main():
    rows = json.loads((BUILD / "episode_1.json").read_text())["rows"]
    seeds = len({row["seed"] for row in rows} - {None})
    if len(compared(rows)) != len(episode_1.DOCUMENT) or seeds < 5:
        sys.exit("The run in %s is not one of full length with 5 seeds or more." % BUILD)
    cells = json.loads((BUILD / "episode_1.ipynb").read_text())["cells"]
    if any(cell["cell_type"] == "code" and not cell["execution_count"] for cell in cells):
        sys.exit("The run in %s did not finish." % BUILD)
    shutil.copy(str(BUILD / "episode_1.ipynb"), str(ROOT / "notebooks"))
    for name in ["episode_1.json", "convergence.png"]:
        shutil.copy(str(BUILD / name), str(ROOT / "results"))
    readme = ROOT / "README.md"
    table = re.compile(r"\| experiment \|.*?\n(?=\n)", re.DOTALL)
    readme.write_text(table.sub(readme_table(rows) + "\n", readme.read_text(), count=1))


if __name__ == "__main__":
    main()
