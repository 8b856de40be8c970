"""A disk as a trace of system calls describes it: what is written, and what of it is durable."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALL = re.compile(r"^(\d+) +(.*)$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
ENDED = re.compile(r"^(\w+)\((\d+)<([^>]*)>(?:\(deleted\))?(?:, )?(.*)\)\s+= (\d+)")
WRITTEN = re.compile(r'^"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?, (\d+)(?:, (\d+))?$')
UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """A system call on a file, in the order in which calls ended."""

    name: str
    path: str
    data: bytes = b""
    offset: int | None = None


@dataclass(slots=True)
class File:
    """A file with what is durable, and what was written since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)
    exists: bool = False

    def sync(self) -> None:
        """Make everything durable."""
        for call in self.pending:
            _apply(self.durable, call)
        self.pending.clear()
        self.exists = True

    def after_power_loss(self, chance: random.Random | None = None) -> bytes:
        """Return what is left: what is durable, and of the rest nothing, or by chance some of it."""
        left = bytearray(self.durable)
        for call in self.pending if chance else ():
            if chance and chance.random() < 0.5:
                _apply(left, call)
        return bytes(left)


def read_trace(trace: Path) -> Iterator[Call]:
    """Read the output of ``strace -f -y -xx``; a call that was interrupted by others counts when it ended."""
    begun: dict[str, str] = {}
    for line in trace.read_text(encoding="ascii").splitlines():
        found = CALL.match(line)
        if found is None:
            continue
        thread, text = found.groups()
        if text.endswith(UNFINISHED):
            begun[thread] = text.removesuffix(UNFINISHED)
            continue
        if resumed := RESUMED.match(text):
            text = begun.pop(thread) + resumed[2]
        if (call := _parse(text)) is not None:
            yield call


def _parse(text: str) -> Call | None:
    ended = ENDED.match(text)
    if ended is None:
        return None
    name, _, path, arguments, _ = ended.groups()
    path = bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path
    if name == "ftruncate":
        return Call(name, path, offset=int(arguments))
    if name in {"write", "pwrite64"}:
        written = WRITTEN.match(arguments)
        assert written is not None, text[:200]
        offset = None if written[3] is None else int(written[3])
        return Call(name, path, bytes.fromhex(written[1].replace("\\x", "")), offset)
    return Call(name, path)


def _apply(content: bytearray, call: Call) -> None:
    at = call.offset or 0
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    if call.name == "ftruncate":
        del content[at:]
    else:
        content[at : at + len(call.data)] = call.data
