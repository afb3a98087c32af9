"""Makes the last full run of Episode 1 the committed one: notebook, results, figure, table of docs/findings.md."""

import json
import shutil
import sys

import readme

BUILD = readme.ROOT / "build" / "episode_1"


def main():
    rows = json.loads((BUILD / "episode_1.json").read_text())["rows"]
    seeds = len({row["seed"] for row in rows})
    if len(readme.compared(rows)) != len(readme.episode_1.DOCUMENT) or seeds < 5:
        sys.exit("The run in %s is not one of full length with 5 seeds or more." % BUILD)
    cells = json.loads((BUILD / "episode_1.ipynb").read_text())["cells"]
    if any(cell["cell_type"] == "code" and not cell["execution_count"] for cell in cells):
        sys.exit("The run in %s did not finish." % BUILD)
    shutil.copy(str(BUILD / "episode_1.ipynb"), str(readme.ROOT / "notebooks"))
    for name in ["episode_1.json", "convergence.png"]:
        shutil.copy(str(BUILD / name), str(readme.ROOT / "results"))
    readme.main()


if __name__ == "__main__":
    main()
