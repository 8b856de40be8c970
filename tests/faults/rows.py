"""The thirty faults of rows.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: what has to happen, the tests that show it (pytest's ids), and what they do not show."""

    number: int
    fault: str
    expected: str
    uncovered: str
    tests: tuple[str, ...]


def _read() -> tuple[Row, ...]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return tuple(Row(**one | {"tests": tuple(one["tests"])}) for one in tomllib.loads(text)["fault"])


ROWS = _read()
