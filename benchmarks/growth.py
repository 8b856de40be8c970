"""``python -m benchmarks.growth``: what events cost when many others exist, and by which factor it grows.

Each measurement is a function of `MEASUREMENTS`, which runs at several sizes on SQLite and PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kombo_embed import Event, Integration
from kombo_embed.deliveries import DeliveryOutcome, EventHandlers
from kombo_embed.events.dispatcher import Dispatcher
from kombo_embed.store.outbox import write_event
from kombo_embed.store.store import Store, migrate
from kombo_embed.store.transaction import Transaction
from tests.postgres import find_binaries, running_postgres
from tests.store.large import fill

ROUNDS = 10
TAKEN = 20
FAST = 500
MANY = 2_000
LEASE_SECONDS = 3600
PATIENCE_SECONDS = 120
NEXT_BY_HAND = "SELECT id, data FROM event WHERE done = 0 ORDER BY id LIMIT :count"
START = datetime(2026, 1, 1, tzinfo=UTC)
INTEGRATION = Integration("", "public", "acme", "personio", None, None, None, None, None, START, START)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement: its name, its unit, its sizes, and a function from a store and a size to a figure.

    ``by_hand`` measures the same written by hand.
    """

    name: str
    unit: str
    sizes: Sequence[int]
    run: Callable[[Store, int], Awaitable[float]]
    by_hand: Callable[[str], Coroutine[Any, Any, float]] | None = None  # in an empty database


async def ms_per_delivery(store: Store, retained: int) -> float:
    """Take and finish events, each of another integration, while delivered ones are retained."""
    await _fill(store, delivered=retained)
    await store.outbox.register({"fast": ["kombo.event"]}, now=_now())
    await _write(store, ROUNDS * TAKEN, lane=None)
    return await _deliver_all(store, ROUNDS * TAKEN)


async def ms_per_idle_look(store: Store, waiting: int) -> float:
    """Look while deliveries wait that are not due yet."""
    await _fill(store, later=waiting)
    await store.outbox.register({"busy": ["kombo.event"], "fast": ["kombo.event"]}, now=_now())
    return await _looks(store, {"busy": TAKEN, "fast": TAKEN})


async def ms_per_look_with_unclaimed(store: Store, unclaimed: int) -> float:
    """Look while events wait that have no handler."""
    await _fill(store, unclaimed=unclaimed)
    await store.outbox.register({"fast": ["kombo.event"]}, now=_now())
    return await _looks(store, {"fast": TAKEN})


async def ms_per_delivery_of_a_lane(store: Store, backlog: int) -> float:
    """Take and finish the first events of one integration's backlog."""
    await _fill(store, in_one_lane=backlog)
    await store.outbox.register({"busy": ["kombo.event"]}, now=_now())
    return await _deliver_all(store, min(backlog, ROUNDS * TAKEN), name="busy")


async def seconds_behind_slow(store: Store, waiting: int) -> float:
    """Deliver 500 events of a fast handler while so many of one that takes two seconds wait."""

    async def slow(_event: Event) -> None:
        await asyncio.sleep(2)

    return await _starve(store, slow, waiting)


async def seconds_behind_failing(store: Store, waiting: int) -> float:
    """Deliver 500 events of a fast handler while so many of one that always fails wait."""

    async def fail(_event: Event) -> None:
        raise RuntimeError

    return await _starve(store, fail, waiting)


async def events_per_second(store: Store, retained: int) -> float:
    """Deliver events of as many integrations to a handler that returns at once."""
    await _fill(store, delivered=retained)
    handlers, seen = EventHandlers(), list[Event]()
    handlers.add("kombo.event", seen.append, name="fast")
    await store.outbox.register(handlers.types_by_name(), now=_now())
    await _write(store, MANY, lane=None)
    return MANY / await _until_delivered(store, handlers, lambda: len(seen) == MANY)


async def cpu_ms_per_event(store: Store, retained: int) -> float:
    """Return the CPU time of this process per event, as `events_per_second` delivers them."""
    started = time.process_time()
    await events_per_second(store, retained)
    return (time.process_time() - started) * 1000 / MANY


async def deliver_by_hand(url: str, *, events: int = ROUNDS * TAKEN) -> tuple[float, float]:
    """Read an event, call a handler and mark the event, one after another.

    Return the elapsed time and the CPU time of this process per event, in ms.
    """
    async with _outbox_by_hand(url) as engine:
        async with engine.begin() as connection:
            rows = [{"data": json.dumps({"number": number})} for number in range(events)]
            await connection.execute(text("INSERT INTO event (data, done) VALUES (:data, 0)"), rows)
        elapsed, used = time.perf_counter(), time.process_time()
        for _ in range(events):
            async with engine.begin() as connection:
                [event] = await connection.execute(text(NEXT_BY_HAND), {"count": 1})
                json.loads(event.data)
                await connection.execute(text("UPDATE event SET done = 1 WHERE id = :id"), {"id": event.id})
        elapsed, used = time.perf_counter() - elapsed, time.process_time() - used
    return elapsed * 1000 / events, used * 1000 / events


async def ms_per_delivery_by_hand(url: str) -> float:
    """Return the elapsed time per event of `deliver_by_hand`."""
    return (await deliver_by_hand(url))[0]


async def events_per_second_by_hand(url: str) -> float:
    """Return how many events `deliver_by_hand` delivers."""
    return 1000 / await ms_per_delivery_by_hand(url)


async def ms_per_look_by_hand(url: str) -> float:
    """Look for events where none waits."""
    async with _outbox_by_hand(url) as engine:
        started = time.perf_counter()
        for _ in range(ROUNDS):
            async with engine.begin() as connection:
                (await connection.execute(text(NEXT_BY_HAND), {"count": TAKEN})).all()
    return (time.perf_counter() - started) * 1000 / ROUNDS


@asynccontextmanager
async def _outbox_by_hand(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            number = "SERIAL" if engine.dialect.name == "postgresql" else "INTEGER"
            columns = f"id {number} PRIMARY KEY, data TEXT, done INTEGER"
            await connection.execute(text(f"CREATE TABLE event ({columns})"))
            await connection.execute(text("CREATE INDEX waiting ON event (id) WHERE done = 0"))
        yield engine
    finally:
        await engine.dispose()


MEASUREMENTS = [
    Measurement(
        "take and finish, delivered events retained",
        "ms",
        (1_000, 100_000, 1_000_000),
        ms_per_delivery,
        ms_per_delivery_by_hand,
    ),
    Measurement(
        "idle look, deliveries not due", "ms", (20, 2_000, 20_000), ms_per_idle_look, ms_per_look_by_hand
    ),
    Measurement(
        "idle look, events without a handler",
        "ms",
        (1_000, 10_000, 100_000),
        ms_per_look_with_unclaimed,
        ms_per_look_by_hand,
    ),
    Measurement(
        "take and finish, backlog of one integration",
        "ms",
        (500, 2_000, 5_000),
        ms_per_delivery_of_a_lane,
        ms_per_delivery_by_hand,
    ),
    Measurement(
        "last of 500 fast events behind a 2 s handler", "s", (100, 2_000, 10_000), seconds_behind_slow
    ),
    Measurement(
        "last of 500 fast events behind a failing one", "s", (100, 2_000, 10_000), seconds_behind_failing
    ),
    Measurement(
        "events per second, delivered events retained",
        "/s",
        (1_000, 100_000, 1_000_000),
        events_per_second,
        events_per_second_by_hand,
    ),
]


async def measure(url: str, measurement: Measurement, size: int) -> float:
    """Measure at one size, in a database of its own."""
    await migrate(url)
    store = Store(url, environment="default", clock=time)
    await store.open()
    gc.collect()
    try:
        return await measurement.run(store, size)
    finally:
        await store.aclose()


async def _fill(store: Store, **rows: int) -> None:
    async with store._database.writing() as connection:  # noqa: SLF001 - many at once
        await connection.execute(text("SELECT 1"))
        await fill(connection, **rows)
        if connection.dialect.name == "postgresql":
            highest = "SELECT greatest(max(id), 1) FROM kombo_embed_events"
            await connection.execute(text(f"SELECT setval('kombo_embed_events_id_seq', ({highest}))"))


async def _write(store: Store, count: int, *, lane: str | None, event_type: str = "kombo.event") -> None:
    async with store._database.writing() as connection:  # noqa: SLF001 - many in one transaction
        transaction = Transaction(connection, "default", datetime.now(UTC))
        for number in range(count):
            about = replace(INTEGRATION, integration_id=lane or f"{event_type}:{number}")
            await write_event(transaction, event_type, origin_id="acme", integration=about, data={})


async def _deliver_all(store: Store, count: int, *, name: str = "fast") -> float:
    started, left = time.perf_counter(), count
    while left > 0:
        taken = await store.outbox.take({name: TAKEN}, now=_now(), lease_seconds=LEASE_SECONDS)
        outcomes = [
            DeliveryOutcome(one, successor=successor)
            for lane in taken
            for one, successor in itertools.zip_longest(lane, lane[1:])
        ]
        left -= len(outcomes)
        await store.outbox.save(outcomes, now=_now(), lease_seconds=LEASE_SECONDS)
    return (time.perf_counter() - started) * 1000 / count


async def _looks(store: Store, slots: dict[str, int]) -> float:
    await store.outbox.take(slots, now=_now(), lease_seconds=LEASE_SECONDS)  # to warm up
    started = time.perf_counter()
    for _ in range(ROUNDS):
        await store.outbox.take(slots, now=_now(), lease_seconds=LEASE_SECONDS)
    return (time.perf_counter() - started) * 1000 / ROUNDS


async def _starve(store: Store, other: Callable[[Event], Awaitable[None]], waiting: int) -> float:
    handlers, seen = EventHandlers(), list[Event]()
    handlers.add("integration.updated", other, name="other")
    handlers.add("kombo.event", seen.append, name="fast")
    await store.outbox.register(handlers.types_by_name(), now=_now())
    await _write(store, waiting, lane=None, event_type="integration.updated")
    await _write(store, FAST, lane=None)
    return await _until_delivered(store, handlers, lambda: len(seen) >= FAST)


async def _until_delivered(store: Store, handlers: EventHandlers, condition: Callable[[], bool]) -> float:
    dispatcher = Dispatcher(store.outbox, handlers, clock=time)
    started = time.perf_counter()
    await dispatcher.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():  # noqa: ASYNC110 - handlers count, and set no event
                await asyncio.sleep(0.005)
        return time.perf_counter() - started
    finally:
        await dispatcher.aclose()


def _now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def main() -> None:
    """Measure and print, a line for each measurement and database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the sizes, for a quick run")
    parser.add_argument("--only", help="measurements whose name contains this")
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # of the handler that fails
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binaries = find_binaries()
        postgres = stack.enter_context(running_postgres(binaries)) if binaries else None
        for number, measurement in enumerate(MEASUREMENTS):
            if options.only and options.only not in measurement.name:
                continue
            sizes = [max(1, int(size * options.scale)) for size in measurement.sizes]
            for kind in ("SQLite", "PostgreSQL"):
                if kind == "PostgreSQL" and postgres is None:
                    print(f"{measurement.name}, {kind}: not installed")
                    continue
                urls = (
                    f"sqlite+aiosqlite:///{folder}/{number}-{one}.db"
                    if kind == "SQLite" or postgres is None
                    else postgres.url(postgres.create_database())
                    for one in [*sizes, "hand"]
                )
                figures = [asyncio.run(measure(next(urls), measurement, size)) for size in sizes]
                by_hand = asyncio.run(measurement.by_hand(next(urls))) if measurement.by_hand else None
                print(_line(measurement, kind, sizes, figures, by_hand=by_hand), flush=True)


def _line(
    measurement: Measurement,
    kind: str,
    sizes: Sequence[int],
    figures: Sequence[float],
    *,
    by_hand: float | None,
) -> str:
    at = " / ".join(f"{size:,}" for size in sizes)
    values = " / ".join(f"{figure:.2f}" for figure in figures)
    growth = figures[-1] / figures[0] if figures[0] else 0.0
    line = f"{measurement.name}, {kind}, at {at}: {values} {measurement.unit}; factor {growth:.2f}"
    if by_hand is None:
        return line
    return f"{line}; by hand {by_hand:.2f} {measurement.unit}, the largest {figures[-1] / by_hand:.2f}x of it"


if __name__ == "__main__":
    main()
