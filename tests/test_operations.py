"""What docs/operations.md says of the log is so."""

from __future__ import annotations

import re
from pathlib import Path

import kombo_embed

PACKAGE = Path(kombo_embed.__file__).parent
PAGE = PACKAGE.parent / "docs" / "operations.md"
NOT_DEPLOYED = {"sandbox", "demo"}
LOGGED = re.compile(r'\blogger\.(\w+)\(\s*"([a-z_]+\.[a-z_]+)\b')
LEVELS = {"exception": "error"}


def test_the_table_of_log_events_is_what_the_code_logs() -> None:
    told = dict(re.findall(r"^\| `(\w+\.\w+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    logged: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in NOT_DEPLOYED:
            found = LOGGED.findall(path.read_text(encoding="utf-8"))
            logged.update({event: LEVELS.get(level, level) for level, event in found})
    assert told == logged
