from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from kombo_embed import Event
from kombo_embed.events import handler as handlers
from kombo_embed.events.handler import SLOW_CALLS, Call, HandlerRunner
from kombo_embed.ports import EventHandler
from tests.support import eventually

EVENT = Event("e1", "integration.connected", datetime(2026, 1, 1, tzinfo=UTC), "acme", None)

Hang = Callable[[Event], Awaitable[None]]


class WithAsyncCall:
    """An object that is called like an async function, and that is none."""

    def __init__(self, hang: Hang) -> None:
        self._hang = hang

    async def __call__(self, event: Event) -> None:
        await self._hang(event)


def async_function(hang: Hang) -> EventHandler:
    return hang


def function_that_returns_an_awaitable(hang: Hang) -> EventHandler:
    def begin(event: Event) -> Awaitable[None]:
        return hang(event)

    return begin


@pytest.fixture(autouse=True)
def slow_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "SLOW", 0.0)


@asynccontextmanager
async def called_as_often_as_may_be(
    calls: HandlerRunner, handler: EventHandler, entered: Callable[[], int]
) -> AsyncIterator[list[asyncio.Task[Call]]]:
    """So many calls of a handler that it is left alone; entered, and not ended."""
    tasks = [asyncio.create_task(calls.call("handler", handler, EVENT)) for _ in range(SLOW_CALLS)]
    await eventually(lambda: entered() == SLOW_CALLS)
    assert not any(task.done() for task in tasks)
    yield tasks
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", [async_function, function_that_returns_an_awaitable, WithAsyncCall])
async def test_a_handler_of_any_kind_is_left_alone_while_it_awaits_in_as_many_calls_as_may_be(
    kind: Callable[[Hang], EventHandler],
) -> None:
    entered: list[Event] = []
    free = asyncio.Event()

    async def hang(event: Event) -> None:
        entered.append(event)
        await free.wait()

    calls, handler = HandlerRunner(), kind(hang)
    async with called_as_often_as_may_be(calls, handler, lambda: len(entered)) as tasks:
        async with asyncio.timeout(30):
            assert await calls.call("handler", handler, EVENT) is Call.POSTPONED
        free.set()
        assert await asyncio.gather(*tasks) == [Call.DONE] * SLOW_CALLS
    assert await calls.call("handler", handler, EVENT) is Call.DONE


async def test_a_thread_counts_until_it_ends_also_if_nobody_waits_for_it_any_more() -> None:
    entered: list[Event] = []
    free = threading.Event()

    def hang(event: Event) -> None:
        entered.append(event)
        free.wait()

    calls = HandlerRunner()
    async with called_as_often_as_may_be(calls, hang, lambda: len(entered)) as tasks:
        for task in tasks:
            task.cancel()
    try:
        assert await calls.call("handler", hang, EVENT) is Call.POSTPONED
    finally:
        free.set()
    async with asyncio.timeout(30):
        while await calls.call("handler", hang, EVENT) is not Call.DONE:  # noqa: ASYNC110 - a thread ends
            await asyncio.sleep(0)
