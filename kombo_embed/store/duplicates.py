"""Duplicates: integrations that are equal in origin id, tool and category, which Kombo does not prevent."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from sqlalchemy import RowMapping, bindparam, exists, func, select, tuple_, update

from kombo_embed.store import erasure_marks
from kombo_embed.store.outbox import write_event
from kombo_embed.store.queries import OLDEST_FIRST, from_row, not_deleted
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction

DUPLICATES_NAMED = 10  # the oldest ones, in an event
SAME = ("origin_id", "tool", "category")  # in what duplicates are equal
OTHER = integrations.alias("other")
KEY = ("environment", *SAME, "integration_id")
# Whether another row equals the one that is inserted; its columns are also the parameters ``of_...``.
HAS_EQUAL = exists().where(
    OTHER.c.deleted_at.is_(None),
    OTHER.c.category_guessed.is_(False),
    OTHER.c.integration_id != bindparam("of_integration_id", type_=OTHER.c.integration_id.type),
    *(OTHER.c[name] == bindparam(f"of_{name}", type_=OTHER.c[name].type) for name in KEY[:-1]),
)
OLDEST_OTHER = (
    select(integrations)
    .where(
        integrations.c.environment == bindparam("environment"),
        integrations.c.deleted_at.is_(None),
        *(integrations.c[name] == bindparam(f"same_{name}") for name in SAME),
        integrations.c.category_guessed.is_(False),
        integrations.c.id != bindparam("same_id"),
    )
    .order_by(*OLDEST_FIRST)
    .limit(1)
)


async def report_duplicates(transaction: Transaction, row: RowMapping) -> None:
    """Write `integration.duplicate`, once, for the newer one if another integration equals this one.

    All but the oldest of several were reported before.
    """
    if row["deleted_at"] is not None or row["origin_id"] is None or row["category"] is None:
        return
    await transaction.lock(erasure_marks.ORIGIN, row["origin_id"])
    same = {f"same_{name}": row[name] for name in (*SAME, "id")} | {"environment": transaction.environment}
    oldest = (await transaction.connection.execute(OLDEST_OTHER, same)).mappings().first()
    if oldest is None or row["category_guessed"]:
        return
    newer = max(row, oldest, key=itemgetter("connected_at", "id"))
    if newer["duplicate_told_at"] is None:
        # An integration's events are numbered while it is locked.
        await transaction.lock(newer["integration_id"])
        mark = update(integrations).where(integrations.c.id == newer["id"])
        await transaction.connection.execute(mark.values(duplicate_told_at=transaction.now))
        about = {"origin_id": newer["origin_id"], "integration": from_row(newer)}
        data = await _describe(transaction, newer)
        await write_event(transaction, "integration.duplicate", **about, data=data)


async def _describe(transaction: Transaction, newer: RowMapping) -> dict[str, object]:
    place = tuple_(newer["connected_at"], newer["id"])
    equal = _equal(transaction, newer).where(tuple_(*OLDEST_FIRST) <= place)
    count = equal.with_only_columns(func.count())
    oldest = equal.order_by(*OLDEST_FIRST).limit(DUPLICATES_NAMED)
    named = list((await transaction.connection.execute(oldest)).mappings())
    return {
        "integration_ids": [one["integration_id"] for one in named],
        "public_ids": [one["public_id"] for one in named],
        "count": (await transaction.connection.execute(count)).scalar_one(),
    }


def _equal(transaction: Transaction, row: RowMapping) -> Any:  # noqa: ANN401 - as `not_deleted`
    same = [integrations.c[name] == row[name] for name in SAME]
    return not_deleted(transaction, *same, integrations.c.category_guessed.is_(False))
