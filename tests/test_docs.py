"""What the documents point at exists, and the code that they show runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_every_test_that_the_reliability_page_names_exists():
    page = (ROOT / "docs" / "reliability.md").read_text()
    files = list((ROOT / "tests").rglob("*.py"))
    defined = {path.name for path in files}
    for path in files:
        defined.update(re.findall(r"def (test_\w+)", path.read_text()))
    named = set(re.findall(r"\btest_\w+(?:\.py)?", page))
    assert len(named) > 25
    assert sorted(named - defined) == []


@pytest.mark.parametrize("document", ["README.md", "docs/reliability.md", "docs/extending.md"])
def test_every_local_link_leads_somewhere(document):
    path = ROOT / document
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("document", ["docs/extending.md"])
def test_the_code_of_a_page_runs_from_top_to_bottom(document, tmp_path):
    """All blocks in one namespace, as a reader types them in; an error names the line of the page."""
    page, code = (ROOT / document).read_text().splitlines(), []
    inside = False
    for line in page:
        if line.startswith("```"):
            inside = line.strip() == "```python"
            line = "```"
        code.append(line if inside and line != "```" else "")  # empty lines keep the page's numbers
    assert any(code)
    script = tmp_path / Path(document).with_suffix(".py").name
    script.write_text("\n".join(code) + "\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=str(tmp_path),
        env=dict(os.environ, MPLBACKEND="Agg"),
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()[-4000:]
