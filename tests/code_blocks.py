"""The fenced blocks of the pages, and what runs the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "frontend_snippet" / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]
BLOCK = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Z_]+)=(.*)", re.DOTALL)
COMMENT = re.compile(r"(^|[ \t])#.*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages in these languages; all of them without any."""
    return [one for page in PAGES for one in _blocks_of(page) if not languages or one.language in languages]


def _blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        indent, language, code = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        plain = re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
        yield Block(page.relative_to(ROOT).as_posix(), line, language.strip(), plain)


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block of shell, without comments; assignments are words of a command."""
    code = COMMENT.sub("", block.code.replace("\\\n", " "))
    lexer = shlex.shlex(code, posix=True, punctuation_chars=";&|\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set(";&|\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [one for one in found if one]


def split_assignments(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a command begins with, or that it exports, and the rest of its words."""
    variables: dict[str, str] = {}
    rest = words[1:] if words[0] == "export" else words
    while rest and (match := ASSIGNMENT.fullmatch(rest[0])):
        variables[match[1]] = match[2]
        rest = rest[1:]
    return variables, rest
