"""Erasures: what `kombo_embed.core.erasure` does in the database, one short transaction per call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import delete

from kombo_embed.ports import Clock, ErasureBatch, ErasurePosition
from kombo_embed.store import audit, erasing
from kombo_embed.store.customer_rows import WITH_BODIES, Customer, marked, named
from kombo_embed.store.database import Database, read_only, run_to_completion
from kombo_embed.store.erasing import Rows
from kombo_embed.store.erasure_marks import (
    LOCK,
    find_key,
    make_key,
    mark_integrations,
    mark_origin,
)
from kombo_embed.store.part import StorePart
from kombo_embed.store.tables import integrations, link_invalidations
from kombo_embed.store.transaction import Transaction

Result = TypeVar("Result")


class Change(Protocol):
    """`Store`'s way to do work in a transaction and to apply what it invalidates."""

    async def __call__(
        self, work: Callable[[Transaction], Awaitable[Result]], *, actor: str | None = None
    ) -> Result:
        """Do work in a transaction that writes."""


class Erasures(StorePart):
    """Erases customers of one environment. All methods raise `StoreUnavailable`.

    ``change`` does work in a transaction that writes, and applies what it invalidates after the commit.
    """

    def __init__(self, database: Database, *, environment: str, clock: Clock, change: Change) -> None:
        super().__init__(database, environment=environment, clock=clock)
        self._change = change

    async def begin(self, origin_id: str, *, actor: str | None) -> Sequence[str]:
        """Mark a customer as erased; return the ids of all integrations that were ever erased with them.

        From here on no report about them is recorded. It waits for the transactions that are recording one.
        """
        return await self._change(lambda transaction: _begin(transaction, origin_id), actor=actor)

    @run_to_completion
    async def run_batch(self, origin_id: str, position: ErasurePosition, *, limit: int) -> ErasureBatch:
        """Remove up to ``limit`` rows of the customer that `begin` marked."""
        async with self._reading() as transaction:
            customer = Customer(self._environment, origin_id, await find_key(transaction) or b"")
            batch = await erasing.only_reads(transaction, customer, position, limit=limit)
        if batch is not None:
            return batch  # without the lock of the writers
        async with self._writing() as transaction:
            customer = Customer(self._environment, origin_id, await make_key(transaction))
            return await erasing.run_batch(transaction, customer, position, limit=limit)

    @run_to_completion
    async def finish(self, origin_id: str) -> Rows:
        """Remove the invalidations of the customer's links, once every process has applied them.

        The erasure's own one is not counted.
        """
        columns = link_invalidations.c
        ours = columns.environment == self._environment
        async with self._database.writing() as connection:
            which = delete(link_invalidations).where(ours, columns.origin_id == origin_id)
            return {link_invalidations.name: max(0, (await connection.execute(which)).rowcount - 1)}

    @read_only
    async def count(self, origin_id: str) -> Rows:
        """Count what an erasure would remove, as far as columns attribute it."""
        async with self._reading() as transaction:
            customer = Customer(self._environment, origin_id, await find_key(transaction) or b"")
            return await erasing.count(transaction, customer)

    @read_only
    async def count_in_bodies(self, origin_id: str, position: ErasurePosition, *, limit: int) -> ErasureBatch:
        """Count what an erasure would remove since its body names the customer, in one batch of bodies."""
        table = WITH_BODIES[position.part]
        async with self._reading() as transaction:
            customer = Customer(self._environment, origin_id, await find_key(transaction) or b"")
            rows, last = await erasing.count_in_bodies(
                transaction, customer, table, after=position.after, limit=limit
            )
        if last is not None:
            return ErasureBatch(rows, ErasurePosition(position.part, last))
        is_last = position.part + 1 == len(WITH_BODIES)
        return ErasureBatch(rows, None if is_last else ErasurePosition(position.part + 1))


async def _begin(transaction: Transaction, origin_id: str) -> Sequence[str]:
    await transaction.lock(LOCK)
    customer = Customer(transaction.environment, origin_id, await make_key(transaction))
    await mark_origin(transaction, customer.digest)
    query = named(integrations, customer)
    known = (await transaction.connection.execute(query)).scalars().all()
    await mark_integrations(transaction, customer.digest, known)
    transaction.invalidate(origin_id)
    await audit.write(transaction, "erased", origin_id=customer.pseudonym)
    return (await transaction.connection.execute(marked(customer))).scalars().all()
