"""Validates database URLs without connecting and without repeating the URL, which holds a password."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

SQLITE = "sqlite+aiosqlite:///path/to/file.db"
POSTGRESQL = "postgresql+asyncpg://user:password@host/database"


def verify_database_url(url: str) -> None:
    """Return if the database URL can be used.

    Raises:
        ValueError: It cannot. The message gives the reason and an example, and quotes nothing of the URL.
    """
    fault = _fault_in(url)
    if fault is not None:
        raise ValueError(fault)


def _fault_in(url: str) -> str | None:
    scheme = url.partition(":")[0]
    if scheme == "sqlite+aiosqlite":
        in_a_file = re.fullmatch(r"sqlite\+aiosqlite:///[^?#]+", url) and not url.endswith("/:memory:")
        return None if in_a_file else f"SQLite must be in a file: {SQLITE}"
    if scheme == "postgresql+asyncpg":
        return _fault_in_postgresql(url)
    if scheme == "postgres" or scheme.partition("+")[0] == "postgresql":
        return f"the PostgreSQL driver is asyncpg: begin the URL with postgresql+asyncpg:// ({POSTGRESQL})"
    return f"must be {SQLITE} or {POSTGRESQL}"


def _fault_in_postgresql(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.netloc and len(parts.path) > 1 and not parts.fragment and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", url):
        return (
            f"must be a complete URL, with # / ? : @ and spaces in the password percent-encoded: {POSTGRESQL}"
        )
    if "sslmode" in parse_qs(parts.query):
        return "asyncpg names the parameter ssl: write ssl=require instead of sslmode=require"
    return None
