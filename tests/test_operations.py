"""What docs/operations.md says of the log is so."""

from __future__ import annotations

import re
from pathlib import Path

import kombo_embed

PACKAGE = Path(kombo_embed.__file__).parent
PAGE = PACKAGE.parent / "docs" / "operations.md"
NOT_DEPLOYED = {"sandbox", "demo"}
LOGGED = re.compile(r'\blogger\.(\w+)\(\s*"([a-z_]+\.(?:[a-z_]+|%s))')
REFUSED = re.compile(r'TokenRefused\("([a-z_]+)"\)')
LEVELS = {"exception": "error"}
# Names whose second half is a variable, and what that may be.
SEVERAL = {"hook.%s": ("busy", "stuck"), "bearer.%s": ("*",)}


def test_the_table_of_log_events_is_what_the_code_logs() -> None:
    table = re.findall(r"^\| `(\w+\.[\w*]+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    logged: dict[str, str] = {}
    for level, name in LOGGED.findall(_deployed_code()):
        for event in [name.replace("%s", half) for half in SEVERAL.get(name, ("%s",))]:
            logged[event] = LEVELS.get(level, level)
    assert dict(table) == logged


def test_the_row_of_refused_tokens_names_every_reason() -> None:
    [row] = re.findall(r"^\| `bearer\.\*` .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    reasons = set(REFUSED.findall(_deployed_code()))
    assert reasons
    assert reasons <= set(re.findall(r"`([a-z_]+)`", row))


def _deployed_code() -> str:
    paths = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in NOT_DEPLOYED]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)
