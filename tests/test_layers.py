"""The three dependency rules of CONTRIBUTING.md, read from the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kombo_embed

PACKAGE = Path(kombo_embed.__file__).parent
# Rule 1: each module imports only those before it.
GROUND = (
    "_version",
    "clock",
    "integration",
    "event",
    "errors",
    "models",
    "upstream",
    "urls",
    "database_url",
    "logs",
    "telemetry",
    "otel",
    "single_flight",
    "ports",
    "deliveries",
    "http_client",
)
# Rule 2: rooms import the ground and never each other.
ROOMS = {"kombo", "link_cache", "store", "auth", "events", "rate_limit"}
ABOVE_GROUND = {
    "settings": set[str](),
    "sandbox": set[str](),
    "lifetime": set[str](),
    "middleware": {"lifetime"},
    "core": {"settings", "kombo", "link_cache"},
    "web": {"core", "settings"} | ROOMS,
    # Above it all: these may import everything below.
    "composition": {"core", "settings", "web"} | ROOMS,
    "console": {"composition", "core", "lifetime", "middleware", "settings", "web"} | ROOMS,
    "embed": {"composition", "console", "lifetime", "middleware", "web", "settings", "core"},
    "fastapi": {"embed", "web", "auth"},
    "testing": {"embed", "sandbox", "settings"},
}
UNRESTRICTED = {"__init__", "__main__", "cli", "demo"}
# Rule 3: implementations that a setting chooses. Only the composition root imports them.
IMPLEMENTATIONS = {
    "auth.bearer",
    "auth.request_user",
    "auth.session",
    "events.dispatcher",
    "link_cache.failover",
    "link_cache.memory",
    "link_cache.redis",
    "link_cache.redis_client",
    "link_cache.redis_position",
    "rate_limit",
}
# The only modules that import a library.
LIBRARIES = {
    "alembic": {"store"},
    "asyncpg": {"store"},
    "authlib": {"auth"},
    "cachetools": {"core", "link_cache"},
    "cryptography": {"link_cache"},
    "fastapi": {"fastapi"},
    "httpx": {"http_client", "sandbox", "testing"},
    "jinja2": {"console"},
    "joserfc": {"auth"},
    "limits": {"rate_limit"},
    "opentelemetry": {"otel"},
    "pydantic": {"kombo", "link_cache", "sandbox", "settings", "web"},
    "pydantic_settings": {"settings"},
    "pytest": {"testing"},
    "redis": {"link_cache"},
    "rich": {"cli"},
    "sqlalchemy": {"store"},
    "stamina": {"kombo", "store"},
    "typer": {"cli"},
    "uvicorn": {"sandbox"},
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported_names(tree: ast.AST, *, for_typing: bool = True) -> Iterator[tuple[str, str]]:
    """Yield each import as a module and, with ``from``, a name in it that may be a module, too."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" and not for_typing:
            skipped.update(node.body)
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def own_imports(module: str) -> set[str]:
    """Return the package's modules that a module imports, for type checking and within functions included."""
    found = set()
    for base, name in imported_names(MODULES[module]):
        inner = base.removeprefix("kombo_embed").removeprefix(".") if base.startswith("kombo_embed") else None
        if inner is None:
            continue
        candidates = [f"{inner}.{name}".strip("."), inner, f"{inner}.__init__".strip(".")]
        found |= set([one for one in candidates if one in MODULES][:1])
    return found - {module, "__init__"}


def room_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("module", GROUND)
def test_ground_modules_import_only_ground_below_them(module: str) -> None:
    assert own_imports(module) <= set(GROUND[: GROUND.index(module)])


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) not in GROUND])
def test_rooms_import_only_what_the_rules_allow(module: str) -> None:
    room = room_of(module)
    if room in UNRESTRICTED:
        return
    allowed = {*GROUND, room} | (set() if room in ROOMS else ABOVE_GROUND[room])
    assert {room_of(name) for name in own_imports(module)} <= allowed


@pytest.mark.parametrize("module", list(MODULES))
def test_only_the_composition_root_imports_what_a_setting_chooses(module: str) -> None:
    chosen = {name for name in own_imports(module) & IMPLEMENTATIONS if room_of(name) != room_of(module)}
    assert not chosen or room_of(module) == "composition"


@pytest.mark.parametrize("module", list(MODULES))
def test_each_library_is_imported_in_its_own_room(module: str) -> None:
    used = {base.split(".")[0] for base, _ in imported_names(MODULES[module], for_typing=False)}
    for library in used & LIBRARIES.keys():
        assert room_of(module) in LIBRARIES[library] | {"demo"}, library


def test_no_import_cycle_exists_even_for_type_checking() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in finished:
            for below in sorted(own_imports(module)):
                visit(below, (*path, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


def test_at_most_twenty_three_modules_stand_at_the_top_level() -> None:
    assert len([name for name in MODULES if "." not in name and name != "__init__"]) <= 23
