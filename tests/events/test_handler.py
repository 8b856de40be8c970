from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from kombo_embed import Event
from kombo_embed.events.handler import MAX_SLOW_CALLS, HandlerResult, HandlerRunner
from kombo_embed.ports import EventHandler
from tests.support import eventually

EVENT = Event("e1", "integration.connected", datetime(2026, 1, 1, tzinfo=UTC), "acme", None)

Hang = Callable[[Event], Awaitable[None]]


class WithAsyncCall:
    """An object with an async ``__call__``, which is not a coroutine function."""

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


@asynccontextmanager
async def max_slow_calls(
    runner: HandlerRunner, handler: EventHandler, entered: Callable[[], int]
) -> AsyncIterator[list[asyncio.Task[HandlerResult]]]:
    """Start as many calls of a handler as may be slow at a time; they do not return."""
    tasks = [asyncio.create_task(runner.call("handler", handler, EVENT)) for _ in range(MAX_SLOW_CALLS)]
    await eventually(lambda: entered() == MAX_SLOW_CALLS)
    assert not any(task.done() for task in tasks)
    yield tasks
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", [async_function, function_that_returns_an_awaitable, WithAsyncCall])
async def test_calls_of_a_handler_are_postponed_while_too_many_of_its_calls_are_slow(
    kind: Callable[[Hang], EventHandler],
) -> None:
    entered: list[Event] = []
    free = asyncio.Event()

    async def hang(event: Event) -> None:
        entered.append(event)
        await free.wait()

    runner, handler = HandlerRunner(slow_seconds=0), kind(hang)
    async with max_slow_calls(runner, handler, lambda: len(entered)) as tasks:
        async with asyncio.timeout(30):
            assert await runner.call("handler", handler, EVENT) is HandlerResult.POSTPONED
        free.set()
        assert await asyncio.gather(*tasks) == [HandlerResult.DONE] * MAX_SLOW_CALLS
    assert await runner.call("handler", handler, EVENT) is HandlerResult.DONE


async def test_a_thread_counts_until_it_ends_even_if_its_caller_was_cancelled() -> None:
    entered: list[Event] = []
    free = threading.Event()

    def hang(event: Event) -> None:
        entered.append(event)
        free.wait()

    runner = HandlerRunner(slow_seconds=0)
    async with max_slow_calls(runner, hang, lambda: len(entered)) as tasks:
        for task in tasks:
            task.cancel()
    try:
        assert await runner.call("handler", hang, EVENT) is HandlerResult.POSTPONED
    finally:
        free.set()
    async with asyncio.timeout(30):
        while await runner.call("handler", hang, EVENT) is not HandlerResult.DONE:  # noqa: ASYNC110 - a thread ends
            await asyncio.sleep(0)
