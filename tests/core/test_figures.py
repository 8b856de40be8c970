"""The figures that metrics observe are read in the background, and only while an exporter asks for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kombo_embed.core.figures import MAX_AGE_SECONDS, ObservedFigures
from kombo_embed.errors import StoreUnavailable
from kombo_embed.telemetry import INTEGRATIONS, LAG, PENDING, Figures
from tests.support import LogRecorder, ManualClock, eventually


class Reader:
    """A database whose figures are its number of reads."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.reads = 0

    async def read(self) -> Figures:
        self.reads += 1
        if self.failures:
            raise self.failures.pop(0)
        return Figures(self.reads, 2.5, {"ACTIVE": 3})


@asynccontextmanager
async def observed(reader: Reader, clock: ManualClock | None = None) -> AsyncIterator[ObservedFigures]:
    figures = ObservedFigures(reader, circuits=dict, clock=clock or ManualClock())
    figures.start()
    try:
        yield figures
    finally:
        await figures.aclose()


async def read(figures: ObservedFigures) -> None:
    figures.observe(PENDING)
    await eventually(lambda: bool(list(figures.observe(PENDING))))


async def test_nothing_is_read_before_an_exporter_asks() -> None:
    reader = Reader()
    async with observed(reader):
        for _ in range(10):
            await asyncio.sleep(0)
        assert reader.reads == 0


async def test_a_thread_that_asks_does_not_wait_and_gets_the_figures_of_the_last_read() -> None:
    reader, seen = Reader(), []
    async with observed(reader) as figures:
        for _ in range(2):
            thread = threading.Thread(target=lambda: seen.append(list(figures.observe(PENDING))))
            thread.start()
            await asyncio.to_thread(thread.join)
            await eventually(lambda: reader.reads == 1)
        assert seen == [[], [(1, {})]]
        assert list(figures.observe(LAG)) == [(2.5, {})]
        assert list(figures.observe(INTEGRATIONS)) == [(3, {"integration.status": "ACTIVE"})]
        assert reader.reads == 1  # for all of them


async def test_old_figures_are_not_exported() -> None:
    reader, clock = Reader(), ManualClock()
    async with observed(reader, clock) as figures:
        await read(figures)
        clock.advance(MAX_AGE_SECONDS)
        assert list(figures.observe(PENDING)) == [(1, {})]
        clock.advance(1)
        assert list(figures.observe(PENDING)) == []


async def test_a_failed_read_leaves_the_last_figures() -> None:
    reader = Reader()
    async with observed(reader) as figures:
        await read(figures)
        reader.failures.append(StoreUnavailable("down"))
        with pytest.raises(StoreUnavailable):  # which the store has logged
            await figures.run_once()
        assert list(figures.observe(PENDING)) == [(1, {})]


async def test_an_unexpected_failure_is_logged_and_does_not_end_the_reads(log: LogRecorder) -> None:
    reader = Reader(ZeroDivisionError())
    async with observed(reader) as figures:
        figures.observe(PENDING)
        await eventually(lambda: reader.reads == 1)
        await eventually(lambda: "figures.failed" in log.text())
        await figures.run_once()
        assert list(figures.observe(PENDING)) == [(2, {})]


async def test_an_exporter_may_ask_after_the_event_loop_has_ended() -> None:
    figures = await asyncio.to_thread(lambda: asyncio.run(_create()))
    assert list(figures.observe(PENDING)) == []


async def _create() -> ObservedFigures:
    return ObservedFigures(Reader(), circuits=dict, clock=ManualClock())
