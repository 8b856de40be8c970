"""Targets 18 and 19: delivering events to handlers, and what an idle process asks of its database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from pydantic import SecretStr
from sqlalchemy import Engine, event

from benchmarks.bench import Bench
from benchmarks.growth import Measurement, cpu_ms_per_event, deliver_by_hand, events_per_second, measure
from benchmarks.report import Line, ratios, spread
from benchmarks.requests import API_KEY
from kombo_embed import Event, KomboEmbed, Settings

RETAINED = 1_000  # delivered events
RATE = Measurement("events per second that one process delivers, SQLite", "/s", [RETAINED], events_per_second)
CPU = Measurement(
    "CPU of a delivery / a handler call and two statements by hand",
    "ms",
    [RETAINED],
    cpu_ms_per_event,
)
IDLE = "statements per second of an idle process, SQLite"


async def measure_delivery(bench: Bench) -> list[Line]:
    """Deliver events of as many integrations to a handler that returns at once."""
    rate = await measure(bench.database_url(), RATE, RETAINED)
    ours = await measure(bench.database_url(), CPU, RETAINED)
    _, by_hand = await deliver_by_hand(bench.database_url(), events=bench.effort.deliveries)
    return [
        Line(18, RATE.name, (">=", 200), spread([rate]), unit="/s"),
        Line(18, CPU.name, ("<=", 3), ratios([ours], [by_hand])),
    ]


async def measure_idle(bench: Bench) -> list[Line]:
    """Count the statements of an app that nobody uses."""
    settings = Settings(api_key=SecretStr(API_KEY), database_url=SecretStr(bench.database_url()))
    embed = KomboEmbed(end_user=_nobody, settings=settings, http_transport=httpx.MockTransport(_refuse))
    embed.on("integration.connected")(_hear)
    with _counted() as statements:
        async with embed:
            await asyncio.sleep(2)
            before = len(statements)
            await asyncio.sleep(bench.effort.idle_seconds)
            rate = (len(statements) - before) / bench.effort.idle_seconds
    return [Line(19, IDLE, ("<=", 1), spread([rate]), unit="/s")]


async def _hear(_event: Event | object) -> None:
    return None


async def _nobody(_connection: object) -> None:
    return None


def _refuse(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(503)


@contextmanager
def _counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def record(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", record)
