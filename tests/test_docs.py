"""What the documents point at exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_every_test_that_the_reliability_page_names_exists():
    page = (ROOT / "docs" / "reliability.md").read_text()
    defined = {path.name for path in (ROOT / "tests").glob("*.py")}
    for path in (ROOT / "tests").glob("test_*.py"):
        defined.update(re.findall(r"def (test_\w+)", path.read_text()))
    named = set(re.findall(r"\btest_\w+(?:\.py)?", page))
    assert len(named) > 25 and named <= defined


@pytest.mark.parametrize("document", ["README.md", "docs/reliability.md"])
def test_every_local_link_leads_somewhere(document):
    path = ROOT / document
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()) if "://" not in link]
    assert links and all((path.parent / link).exists() for link in links)
