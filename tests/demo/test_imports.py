from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kombo_embed
import kombo_embed.demo
import kombo_embed.sandbox

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("kombo_embed/demo/*.py"), *ROOT.glob("examples/*/*.py")]
PUBLIC = {
    *(f"kombo_embed.{name}" for name in kombo_embed.__all__),
    *(f"kombo_embed.sandbox.{name}" for name in kombo_embed.sandbox.__all__),
    "kombo_embed.fastapi.router",
}
# The demo's own modules, and what it shares with the command `sandbox`: server, protection, .env files.
DEMO = (
    "kombo_embed.demo.",
    "kombo_embed.sandbox.local_only.",
    "kombo_embed.sandbox.server",
    "kombo_embed.settings.read_env_file",
)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_demo_and_the_examples_import_public_names_only(path: Path) -> None:
    names = {name for name in imported(ast.parse(path.read_text("utf-8"))) if name.startswith("kombo_embed")}
    allowed = DEMO if path.parent.name == "demo" else ()
    assert {name for name in names if not name.startswith(allowed)} <= PUBLIC


def test_the_demos_list_of_integration_is_complete() -> None:
    from kombo_embed.demo.app import EVENT_TYPES  # noqa: PLC0415 - compared with the private original
    from kombo_embed.event import EVENT_CLASSES  # noqa: PLC0415 - as above

    assert set(EVENT_TYPES) == set(EVENT_CLASSES)
