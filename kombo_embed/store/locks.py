"""Who may work on what, where several transactions write at the same time (PostgreSQL)."""

from __future__ import annotations

import hashlib

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def hold(connection: AsyncConnection, *names: str) -> None:
    """Wait until no other transaction holds these names, and hold them until this one has ended.

    Under READ COMMITTED, whoever holds a name sees all that its earlier holders committed. So reading and
    then writing is safe, and rows that are numbered while it is held become visible in the order of their
    numbers. On SQLite a writing transaction is alone anyway.
    """
    if connection.dialect.name != "postgresql":
        return
    # The names are told apart by their lengths: nobody else's can be put together to give the same.
    told = "".join(f"{len(name)}:{name}" for name in ("kombo_embed", *names))
    key = int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big", signed=True)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))
