"""Work that has nothing to wait for sets no timer; any other has a deadline, and may be cancelled."""

from __future__ import annotations

import asyncio

import pytest

from kombo_embed.web.deadlines import within

NEVER = 60  # seconds: a test that waits for it has failed
AT_ONCE = 0  # seconds


async def test_work_that_waits_for_nothing_is_done_without_a_deadline() -> None:
    async def work() -> int:
        return 7

    assert await within(AT_ONCE, work()) == 7


async def test_work_that_waits_several_times_gives_its_result() -> None:
    async def work() -> list[int]:
        done = []
        for number in range(3):
            await asyncio.sleep(0)
            done.append(number)
        return done

    assert await within(NEVER, work()) == [0, 1, 2]


async def test_what_work_raises_is_raised_whether_it_waited_or_not() -> None:
    async def work(pauses: int) -> None:
        for _ in range(pauses):
            await asyncio.sleep(0)
        raise LookupError

    for pauses in (0, 2):
        with pytest.raises(LookupError):
            await within(NEVER, work(pauses))


async def test_work_that_takes_too_long_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        await within(AT_ONCE, work())
    assert cancelled.is_set()


async def test_work_may_wait_on_after_it_was_told_to_stop() -> None:
    tidied_up = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied_up.set()

    task = asyncio.create_task(within(NEVER, work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied_up.is_set()
