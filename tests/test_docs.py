"""What the pages in docs/ state is true: the generated ones are current, and links have targets."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docs.generate.__main__ import stale_pages
from kombo_embed.settings import Settings
from kombo_embed.web.problems import STATUSES
from kombo_embed.web.routes import create_routes

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
AT_THE_TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2$", re.MULTILINE | re.DOTALL)


def test_the_generated_pages_are_current() -> None:
    assert stale_pages() == [], "run `make reference`"


def test_the_reference_lists_every_setting_and_every_route() -> None:
    async def never() -> Any:
        raise AssertionError

    settings = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `KOMBO_(\w+)` \|", settings, re.MULTILINE)
    assert sorted(documented) == sorted(name.upper() for name in Settings.model_fields)
    http = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")
    routes = create_routes(never)
    assert sorted(re.findall(r"^## (GET|POST|DELETE) (/\S+)$", http, re.MULTILINE)) == sorted(
        (next(iter((route.methods or set()) - {"HEAD"})), route.path) for route in routes
    )


def test_every_link_inside_the_repository_has_a_target() -> None:
    for page in [*AT_THE_TOP, *PAGES]:
        text = FENCED.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_the_twenty_questions_each_have_a_page() -> None:
    page = (DOCS / "questions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+)\. .+? \| .+? \| (.+) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    assert all("](" in links for _, links in rows)


@pytest.mark.integration
def test_the_site_is_built_without_a_warning_and_has_markdown_beside_each_page(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="`make docs` installs it")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        str(tmp_path),
    ]
    built = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)  # noqa: S603 - our own command
    assert built.returncode == 0, built.stderr
    listed = re.findall(
        r"^- \[.+\]\((.+)\)$", (tmp_path / "llms.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(listed) == len(PAGES)
    for name in listed:
        assert (tmp_path / name).stat().st_size > 0
        assert (tmp_path / name).with_suffix(".html").exists()
    shutil.rmtree(tmp_path)


def test_every_test_that_the_security_page_names_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"tests/[\w/.]+", page)
    assert named
    assert all((ROOT / name.rstrip(".")).exists() for name in named)


def test_the_table_of_errors_lists_all_codes_with_their_statuses() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = {
        code: {int(status) for status in statuses.split(", ")}
        for code, statuses in re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", page, re.MULTILINE)
    }
    known: dict[str, set[int]] = {}
    for kind, status in STATUSES.items():
        known.setdefault(kind.code, set()).add(status)
    assert documented == known
