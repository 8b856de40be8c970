"""Fills a database with many events and deliveries, in a few statements."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Table, insert

from kombo_embed.store.tables import deliveries, ended_deliveries, events, outbox
from kombo_embed.store.transaction import Connection
from tests.store.samples import NOW

BATCH = 5_000


async def fill(
    connection: Connection,
    *,
    delivered: int = 0,
    dead: int = 0,
    in_one_lane: int = 0,
    later: int = 0,
    unclaimed: int = 0,
    in_outbox: int = 0,
) -> None:
    """Add events in these states, for a handler named ``busy``; ``later``: not due yet."""
    total = delivered + dead + in_one_lane + later + unclaimed
    await insert_many(connection, events, [event(number) for number in range(1, total + 1)])
    ended = [
        {
            "environment": "default",
            "event_row_id": number,
            "handler": "busy",
            "outcome": "dead" if number > delivered else "delivered",
            "ended_at": NOW,
            "failures": 0,
        }
        for number in range(1, delivered + dead + 1)
    ]
    await insert_many(connection, ended_deliveries, ended)
    pending = [delivery(number) for number in range(delivered + dead + 1, total + 1)]
    for index, row in enumerate(pending):
        if index < in_one_lane:
            row |= {"lane": "personio:one", "due_at": NOW if index == 0 else None}
        elif index < in_one_lane + later:
            row |= {"lane": f"personio:{index}", "due_at": NOW + timedelta(days=9999)}
        else:
            row |= {"handler": "", "type": "flow.failed", "lane": "personio:none", "due_at": None}
    await insert_many(connection, deliveries, pending)
    await insert_many(connection, outbox, [old(number) for number in range(1, in_outbox + 1)])


def event(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "environment": "default",
        "event_id": f"{number:032x}",
        "type": "kombo.event",
        "origin_id": f"customer-{number}",
        "integration_id": None,
        "data": {},
        "occurred_at": NOW,
    }


def delivery(number: int) -> dict[str, Any]:
    return {
        "environment": "default",
        "event_row_id": number,
        "type": "kombo.event",
        "handler": "busy",
        "attempts": 0,
        "failures": 0,
    }


def old(number: int) -> dict[str, Any]:
    """Return a row of the outbox of the previous version, which was delivered."""
    shared = {name: value for name, value in event(number).items() if name != "id"}
    return shared | {
        "event_id": f"old {number}",
        "attempts": 1,
        "done_handlers": [],
        "due_at": NOW,
        "delivered_at": NOW,
    }


async def insert_many(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), BATCH):
        await connection.execute(insert(table), rows[start : start + BATCH])
