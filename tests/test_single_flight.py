from __future__ import annotations

import asyncio

import pytest

from kombo_embed.single_flight import SingleFlight


async def test_concurrent_callers_of_a_key_share_one_piece_of_work() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    done, runs = asyncio.Event(), 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        await done.wait()
        return runs

    waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    done.set()
    assert await asyncio.gather(*waiting) == [(1, False), *[(1, True)] * 4]
    assert await flights.join("key", work) == (2, False)


async def test_the_work_continues_when_all_callers_leave_and_its_failure_is_not_logged() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    started, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def work() -> int:
        started.set()
        try:
            await go_on.wait()
            raise ValueError("failed")
        finally:
            ended.set()

    caller = asyncio.create_task(flights.join("key", work))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await ended.wait()
    await asyncio.sleep(0)
    assert complaints == []


async def test_closing_cancels_the_work_that_still_runs() -> None:
    flights: SingleFlight[str, None] = SingleFlight()
    started, cancelled = asyncio.Event(), False

    async def work() -> None:
        nonlocal cancelled
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    caller = asyncio.create_task(flights.join("key", work))
    await started.wait()
    await flights.aclose()
    assert cancelled
    with pytest.raises(asyncio.CancelledError):
        await caller
