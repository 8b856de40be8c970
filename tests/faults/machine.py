"""What a process holds: memory, descriptors, tasks."""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds at a moment."""

    descriptors: int
    tasks: int


def held() -> Held:
    """Count what this process holds, after a garbage collection."""
    gc.collect()
    return Held(descriptors(os.getpid()), len(asyncio.all_tasks()))


def descriptors(pid: int) -> int:
    """Return how many file descriptors a process has open, sockets included."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
    return int(fields[1]) * PAGE_BYTES
