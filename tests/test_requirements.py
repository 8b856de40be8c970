"""The lower bounds in pyproject.toml are those that `make test-lowest` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = ("demo.txt", "dev.txt", "docs.txt", "release.txt", "bench.txt", "lowest.txt")
# What is installed beside the package in any case; its tests are not about it.
TOOLS = {"bench", "check", "docs", "frameworks", "fuzz", "release"}


def bounds() -> dict[str, str]:
    """Return the lower bound of every requirement, by its name."""
    groups = PROJECT["dependency-groups"]
    requirements = [
        *PROJECT["project"]["dependencies"],
        *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra),
        *(one for name, group in groups.items() if name not in TOOLS for one in group),
    ]
    found: dict[str, str] = {}
    for requirement in requirements:
        matched = re.match(r"([a-z0-9-]+)(?:\[\w+\])?>=([\d.]+)", requirement)
        if matched:
            # A test tool may ask for a newer version than the package does: the tests then run on that one.
            found[matched[1]] = max(found.get(matched[1], "0"), matched[2], key=version)
    return found


def version(text: str) -> list[int]:
    numbers = [int(number) for number in text.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def test_every_requirement_has_a_lower_bound() -> None:
    for requirement in PROJECT["project"]["dependencies"]:
        assert ">=" in requirement


def test_the_tested_versions_are_the_lower_bounds() -> None:
    lowest = (ROOT / "requirements" / "lowest.txt").read_text(encoding="utf-8")
    tested = dict(re.findall(r"^([a-z0-9-]+)==([\d.]+)", lowest, re.MULTILINE))
    assert {name: version(tested[name]) for name in bounds()} == {
        name: version(bound) for name, bound in bounds().items()
    }


def test_versions_of_starlette_with_known_vulnerabilities_are_excluded() -> None:
    # CVE-2024-47874, CVE-2025-54121, CVE-2025-62727, CVE-2026-48710, CVE-2026-48817, PYSEC-2026-248 and
    # CVE-2026-54283; the last was mended in 1.3.1. 1.5.1 also limits the ranges of one request.
    assert version(bounds()["starlette"]) >= version("1.5.1")


@pytest.mark.parametrize("name", PINNED)
def test_pinned_requirements_have_hashes_and_name_no_registry(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
