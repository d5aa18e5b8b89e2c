"""What the documents show is tried: examples are accepted, and links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from unit.scorer_kit import Kit

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])


def test_the_example_policy_is_quoted_and_bound(tmp_path: Path) -> None:
    terms = json.loads((ROOT / "docs" / "examples" / "policy.json").read_text("utf-8"))
    kit = Kit(tmp_path)
    try:
        kit.enrol("a1", site="bottling")
        client = kit.client("acme", "insurer")
        quoted = client.post("/api/v1/policies/quote", json=terms)
        assert quoted.status_code == 200, quoted.text
        bound = client.post("/api/v1/policies", json=terms)
        assert bound.status_code == 201, bound.text
        assert bound.json()["premium"] == quoted.json()["premium"]
        assert client.post("/api/v1/policies", json=terms).status_code == 200, "twice is once"
    finally:
        kit.close()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(document: Path) -> None:
    named = re.findall(
        r"`((?:tests|docs|tools|docker|protocols|models|agent|scorer|plant)/[\w./-]+)`", document.read_text()
    )
    missing = [name for name in named if not (ROOT / name).exists() and name != "docker/site/"]
    assert missing == []
