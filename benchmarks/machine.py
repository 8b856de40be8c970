"""The machine: what it is called in a table, and which of its cores does what."""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
from pathlib import Path

TMPFS = Path("/dev/shm")  # noqa: S108 - where Linux keeps its memory disk; folders in it get random names
THREADS = Path("/proc/self/task")


def describe() -> dict[str, object]:
    """What figures depend on, in words that name nobody."""
    return {
        "cores": _cores(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "event_loop": "uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        "http_parser": "httptools" if importlib.util.find_spec("httptools") else "h11",
        "databases_on": "memory" if _has_tmpfs() else "disk",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def pin_servers() -> None:
    """Leave the last core to whoever loads us, where there are two and the system can be told so."""
    _pin(slice(None, -1))


def pin_loader() -> None:
    """Keep to the last core, where there are two and the system can be told so."""
    _pin(slice(-1, None))


def folder_without_fsync() -> tempfile.TemporaryDirectory[str]:
    """A folder for databases, in memory where the system has such a disk, so that no fsync counts."""
    return tempfile.TemporaryDirectory(prefix="kombo-embed-bench-", dir=TMPFS if _has_tmpfs() else None)


def resident_bytes() -> int:
    """What this process occupies now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _pin(chosen: slice) -> None:
    if _cores() < 2 or not THREADS.is_dir():  # noqa: PLR2004 - one for each
        return
    cores = sorted(os.sched_getaffinity(0))[chosen]
    for thread in THREADS.iterdir():  # each has its own, and hands it on to those that it starts
        os.sched_setaffinity(int(thread.name), cores)


def _has_tmpfs() -> bool:
    return TMPFS.is_dir() and os.access(TMPFS, os.W_OK)


def _cores() -> int:
    # A system that cannot be told is treated as one with a single core: nothing is pinned.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
