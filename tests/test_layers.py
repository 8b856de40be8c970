"""Who may know whom: the house's plan, read from the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kombo_embed

PACKAGE = Path(kombo_embed.__file__).parent
GROUND = {"_version", "errors", "models", "reports"}
MAY_KNOW: dict[str, set[str]] = {
    "_version": set(),
    "errors": {"models"},  # by name only, while types are checked
    "models": {"errors"},
    "reports": set(),
    "spelling": set(),
    "hosts": set(),
    "clock": set(),
    "database_urls": set(),
    "ports": GROUND,
    "identity_settings": {"hosts"},
    "shared_settings": {"hosts"},
    "settings": GROUND | {"hosts", "spelling", "identity_settings", "shared_settings", "database_urls"},
    "kombo": GROUND | {"hosts", "ports"},
    "links": GROUND | {"ports"},
    "store": GROUND | {"ports"},
    "auth": GROUND | {"hosts", "ports"},
    "rates": GROUND | {"ports"},
    "handlers": GROUND | {"ports"},
    "hooks": GROUND | {"ports", "handlers"},
    "housekeeping": GROUND | {"ports"},
    "choice": GROUND | {"settings", "kombo"},
    "issuing": GROUND | {"ports", "settings", "kombo", "links"},
    "catalog": GROUND | {"ports", "kombo", "links"},
    "flow": GROUND | {"ports", "settings", "kombo", "links", "choice", "issuing", "redeliveries"},
    "redeliveries": {"ports"},
    "reconciling": GROUND | {"ports", "kombo"},
    "listening": set(),
    "serving": set(),
    "sandbox": GROUND | {"listening", "serving"},
    "testing": {"sandbox", "settings"},
}
# The top of the house may know everything below it; mount.py joins it all.
TOP = {"web", "embed", "fastapi", "demo", "cli", "commands", "__main__", "__init__"}
LIBRARIES = {
    "httpx": {"kombo", "sandbox", "auth", "testing"},
    "pytest": {"testing"},
    "authlib": {"auth"},
    "joserfc": {"auth"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "asyncpg": {"store"},
    "redis": {"links"},
    "cryptography": {"links"},
    "cachetools": {"catalog", "redeliveries"},
    "limits": {"rates"},
    "stamina": {"kombo", "store"},
    "pydantic": {"kombo", "settings", "identity_settings", "shared_settings", "web"},
    "pydantic_settings": {"settings", "identity_settings", "shared_settings"},
    "typer": {"cli", "commands"},
    "rich": {"commands"},
    "uvicorn": {"serving"},
    "fastapi": {"fastapi"},
}


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield parts[0], ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module, *, typing_too: bool) -> Iterator[str]:
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" and not typing_too:
            skipped.update(node.body)
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("room", "module", "tree"), [pytest.param(*m, id=m[1]) for m in modules()])
def test_a_room_knows_only_the_rooms_below_it(room: str, module: str, tree: ast.Module) -> None:
    known = {
        name.split(".")[1]
        for name in imports(tree, typing_too=True)
        if name.startswith("kombo_embed.") and name.split(".")[1] != room
    }
    if room in TOP:
        return
    rooms = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("__py")}
    assert known & rooms <= MAY_KNOW[room], module


@pytest.mark.parametrize(("room", "module", "tree"), [pytest.param(*m, id=m[1]) for m in modules()])
def test_each_library_lives_in_its_own_room(room: str, module: str, tree: ast.Module) -> None:
    used = {name.split(".")[0] for name in imports(tree, typing_too=False)}
    for library in used & LIBRARIES.keys():
        assert room in LIBRARIES[library], f"{module} imports {library}"


def test_there_are_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    names = {module: tree for _, module, tree in modules()}
    for module, tree in names.items():
        top_level = ast.Module(body=[n for n in tree.body if not isinstance(n, ast.If)], type_ignores=[])
        direct = [n for n in top_level.body if isinstance(n, ast.Import | ast.ImportFrom)]
        found = imports(ast.Module(body=list(direct), type_ignores=[]), typing_too=False)
        below = {name.removeprefix("kombo_embed.") for name in found if name.startswith("kombo_embed.")}
        graph[module] = {name for name in below if name in names and name != module}
    seen: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in seen:
            for below in graph[module]:
                visit(below, (*path, module))
            seen.add(module)

    for module in graph:
        visit(module, ())
