"""A transaction in progress, with what every module of the store does in one."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

import sqlalchemy
from sqlalchemy import ARRAY, BigInteger, CursorResult, Dialect, Executable, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

Result = TypeVar("Result")

SHARED = "shared"


class Connection(Protocol):
    """What the store uses of SQLAlchemy's `AsyncConnection`; on SQLite, `BlockingConnection` has it."""

    @property
    def dialect(self) -> Dialect:
        """Return SQLAlchemy's dialect."""

    async def execute(
        self,
        statement: Executable,
        parameters: Any = None,  # noqa: ANN401 - as SQLAlchemy's
        /,
    ) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement."""

    async def exec_driver_sql(self, statement: str, /) -> CursorResult[Any]:
        """Execute a text as it is."""

    async def run_sync(self, function: Callable[[sqlalchemy.Connection], Result], /) -> Result:
        """Call a function with SQLAlchemy's blocking connection."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction in progress on the rows of one Kombo environment; ``now`` is the time that it writes.

    ``changes`` are written at its end, for the caches of all processes: the origin ids whose integrations
    changed, and whether only lists of them are outdated, and no links. ``locked`` is what it has locked.
    """

    connection: Connection
    environment: str
    now: datetime
    actor: str | None = None  # the email of the end user who causes it
    changes: dict[str, bool] = field(default_factory=dict)
    locked: set[tuple[str, ...]] = field(default_factory=set)

    def invalidate(self, origin_id: str | None) -> None:
        """Invalidate an origin id's links, and lists, when the transaction commits."""
        if origin_id is not None:
            self.changes[origin_id] = False

    def invalidate_lists(self, origin_id: str | None) -> None:
        """Invalidate the lists of an origin id's integrations when the transaction commits."""
        if origin_id is not None:
            self.changes.setdefault(origin_id, True)

    async def lock(self, *names: str) -> None:
        """Lock a name of this environment until the transaction ends; see `advisory_lock`."""
        if names not in self.locked:
            await advisory_lock(self.connection, self.environment, *names)
            self.locked.add(names)

    async def lock_shared(self, shared: str, *others: tuple[str, ...]) -> None:
        """Share a lock, which waits only for transactions that do not share, then `lock` up to two names.

        One statement does it. It does nothing if the lock is shared already.
        """
        if self.connection.dialect.name != "postgresql" or (SHARED, shared) in self.locked:
            return
        keys = {"shared_key": _lock_key(self.environment, shared)}
        for position, names in enumerate(others):
            keys[f"key_{position}"] = _lock_key(self.environment, *names)
        await self.connection.execute(SHARED_LOCKS[len(others)], keys)
        self.locked.update([(SHARED, shared), *others])

    async def try_lock(self, names: Iterable[str]) -> set[str]:
        """Lock names of this environment as `lock` does, without waiting; return those that are locked now.

        A transaction that already waits for none can lock any number, in any order, without a deadlock.
        """
        if self.connection.dialect.name != "postgresql":
            return set(names)
        by_key = {_lock_key(self.environment, name): name for name in names}
        key = func.unnest(bindparam("keys", sorted(by_key), ARRAY(BigInteger))).column_valued("key")
        is_locked = func.pg_try_advisory_xact_lock(key)
        rows = (await self.connection.execute(select(key, is_locked))).all() if by_key else []
        return {by_key[one] for one, locked in rows if locked}

    async def insert_once(self, table: Table, **values: Any) -> bool:  # noqa: ANN401 - columns' values
        """Insert a row; return False, changing nothing, if a row with its key exists."""
        statement = _insert_once(self.connection.dialect.name, table)
        return (await self.connection.execute(statement, values)).first() is not None


ADVISORY_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))  # built once
SHARED_LOCKS = [
    # A list of columns is evaluated in its order.
    select(
        func.pg_advisory_xact_lock_shared(bindparam("shared_key", type_=BigInteger)),
        *(
            func.pg_advisory_xact_lock(bindparam(f"key_{position}", type_=BigInteger))
            for position in range(others)
        ),
    )
    for others in range(3)
]


async def advisory_lock(connection: Connection, *names: str) -> None:
    """Wait until no other transaction holds this lock, and hold it until the transaction ends.

    Under READ COMMITTED the holder sees everything that earlier holders committed. So it can read and then
    write, and rows numbered under the lock become visible in the order of their numbers. On SQLite a writing
    transaction is the only one, without a lock.
    """
    if connection.dialect.name != "postgresql":
        return
    await connection.execute(ADVISORY_LOCK, {"key": _lock_key(*names)})


def _lock_key(*names: str) -> int:
    # The lengths make the text unambiguous: ("ab", "c") and ("a", "bc") are different locks.
    # A name that was read from the database has U+FFFD for NUL: see columns.Words.
    parts = [name.replace("\x00", "\ufffd") for name in ("kombo_embed", *names)]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


@functools.cache
def _insert_once(dialect_name: str, table: Table) -> Executable:
    # Built once per table: with the values in it, SQLAlchemy would traverse the statement on each execution.
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing()
    returning: Executable = statement.returning(*table.primary_key.columns)
    return returning
