from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from kombo_embed import Event
from kombo_embed.deliveries import EventHandler
from kombo_embed.events.handler import HandlerRunner
from tests.support import eventually

EVENT = Event("e1", "integration.connected", datetime(2026, 1, 1, tzinfo=UTC), "acme", None)


def fail(_event: Event) -> None:
    json.loads("ada@acme.example")  # fails in a library


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


@pytest.mark.parametrize("kind", [async_function, function_that_returns_an_awaitable, WithAsyncCall])
async def test_an_async_call_ends_at_its_deadline_and_leaves_nothing_behind(
    kind: Callable[[Hang], EventHandler],
) -> None:
    ended: list[Event] = []

    async def hang(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(event)

    runner = HandlerRunner(deadline_seconds=0.3)  # a thread has to start meanwhile
    error = await runner.call("handler", kind(hang), EVENT) or ""
    assert error.startswith(f"TimeoutError at {__name__}.")
    assert "hang" in error
    assert ended == [EVENT]
    assert runner.abandoned("handler") == 0


async def test_a_thread_counts_until_it_ends_after_its_call_exceeded_the_deadline() -> None:
    free = threading.Event()

    def hang(_event: Event) -> None:
        free.wait()

    runner = HandlerRunner(deadline_seconds=0.01)
    try:
        for count in (1, 2):
            assert await runner.call("handler", hang, EVENT) == "TimeoutError"
            assert runner.abandoned("handler") == count
        assert runner.abandoned("another") == 0
    finally:
        free.set()
    await eventually(lambda: runner.abandoned("handler") == 0)


async def test_a_thread_counts_until_it_ends_if_its_caller_was_cancelled() -> None:
    entered, free = threading.Event(), threading.Event()

    def hang(_event: Event) -> None:
        entered.set()
        free.wait()

    runner = HandlerRunner()
    task = asyncio.create_task(runner.call("handler", hang, EVENT))
    await eventually(entered.is_set)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert runner.abandoned("handler") == 1
    free.set()
    await eventually(lambda: runner.abandoned("handler") == 0)


async def test_a_call_returns_the_type_and_the_place_of_its_error_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_later(_event: Event) -> None:
        raise asyncio.CancelledError

    runner = HandlerRunner()
    line = fail.__code__.co_firstlineno + 1
    described = f"JSONDecodeError at {__name__}.fail:{line}"
    assert await runner.call("sync", fail, EVENT) == described
    [record] = caplog.records
    assert record.getMessage() == "hook.failed"
    assert (vars(record)["event_id"], vars(record)["handler"]) == ("e1", "sync")
    assert vars(record)["error"] == described
    assert await runner.call("handler", fail_later, EVENT) == "CancelledError"
    assert await runner.call("handler", print, EVENT) is None
