"""The glossary defines terms that are in use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS = [
    term
    for cell in re.findall(
        r"^\| ([a-zA-Z -]+(?:, [a-z ]+)?) \| .", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE
    )
    for term in cell.split(", ")
    if term != "term"
]


def words(text: str) -> str:
    """Return a text in small letters, with identifiers split into words: MintLease and mint_lease alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[_\W]+", " ", spaced).lower()


@pytest.fixture(scope="module")
def usage() -> str:
    code = (ROOT / "kombo_embed").rglob("*.py")
    pages = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if page != GLOSSARY)]
    return " ".join(words(path.read_text(encoding="utf-8")) for path in [*code, *pages])


@pytest.mark.parametrize("term", TERMS)
def test_every_term_of_the_glossary_is_in_use(term: str, usage: str) -> None:
    assert f" {words(term)}" in usage


def test_no_term_is_defined_twice() -> None:
    assert len(TERMS) > 60
    assert len(TERMS) == len(set(TERMS))
