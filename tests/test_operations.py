"""What docs/operations.md states about logs is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import kombo_embed

PACKAGE = Path(kombo_embed.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "operations.md").read_text(encoding="utf-8")
NOT_DEPLOYED = {"sandbox", "demo"}
# Repetitions of an event at DEBUG are not documented.
METHODS: dict[str, str | None] = {
    "debug": None,
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
}
EVENT_NAME = re.compile(r"[a-z_]+\.[a-z_]+")
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| (\w+) \| .* \|([^|]*)\|$", re.MULTILINE)


@dataclass
class Logged:
    """How the code logs one event; None where that is not a literal."""

    levels: set[str | None] = field(default_factory=set)
    fields: set[str] | None = field(default_factory=set)


def log_calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in NOT_DEPLOYED:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"), attr=method)) if (
                    method in METHODS or method == "log"
                ):
                    yield path, node, method


def message(call: ast.Call, method: str) -> str | None:
    argument = call.args[1 if method == "log" else 0]
    return str(argument.value) if isinstance(argument, ast.Constant) else None


def logged_events() -> dict[str, Logged]:
    events: dict[str, Logged] = {}
    for _, call, method in log_calls():
        event = events.setdefault(message(call, method) or "", Logged())
        event.levels.add(METHODS.get(method))
        extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), ast.Dict([], []))
        if event.fields is None or not isinstance(extra, ast.Dict):
            event.fields = None
        else:
            event.fields |= {str(key.value) for key in extra.keys if isinstance(key, ast.Constant)}
    return events


def test_every_log_message_is_a_literal_event_name_without_arguments() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path, call, method in log_calls()
        if EVENT_NAME.fullmatch(message(call, method) or "") is None
        or len(call.args) != (2 if method == "log" else 1)
    ]
    assert wrong == []


def test_the_table_lists_the_events_that_the_code_logs_with_their_levels() -> None:
    documented = {name: level for name, level, _ in ROW.findall(PAGE)}
    logged = logged_events()
    assert documented.keys() == logged.keys()
    for name, event in logged.items():
        assert event.levels - {None} <= {documented[name]}, name


def test_the_table_lists_the_fields_of_each_event() -> None:
    documented = {name: set(re.findall(r"`(\w+)`", fields)) for name, _, fields in ROW.findall(PAGE)}
    for name, event in logged_events().items():
        assert event.fields is None or documented[name] == event.fields, name


def test_the_row_of_rejected_tokens_names_every_reason() -> None:
    [row] = re.findall(r"^\| `bearer\.rejected` .*$", PAGE, re.MULTILINE)
    sources = [path.read_text(encoding="utf-8") for path in (PACKAGE / "auth").glob("*.py")]
    reasons = set(re.findall(r'TokenRefused\("([a-z_]+)"\)', "\n".join(sources)))
    assert reasons
    assert reasons <= set(re.findall(r"`([a-z_]+)`", row))


def test_the_logging_configuration_on_the_page_prints_events_with_their_fields() -> None:
    [program] = re.findall(r"```python\n(import logging\.config\n.*?)```", PAGE, re.DOTALL)
    program += "logging.getLogger('kombo_embed.auth').info('jwks.fetched', extra={'usable_keys': 2})"
    # A process of its own, because the configuration is global.
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    [line] = result.stderr.splitlines()
    assert line.endswith("INFO kombo_embed.auth jwks.fetched usable_keys=2")
