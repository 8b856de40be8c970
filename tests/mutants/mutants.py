"""The mutants of mutants.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard, the change that breaks it, and the tests that must fail then."""

    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> str:
        """Break the guard in a copy of the tree; return the file's text of before."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text


def _read() -> tuple[Mutant, ...]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return tuple(Mutant(**one | {"tests": tuple(one["tests"])}) for one in tomllib.loads(text)["mutant"])


MUTANTS = _read()
