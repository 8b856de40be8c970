from __future__ import annotations

import asyncio

from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.errors import StoreUnavailable


class Failing(PeriodicWork):
    """Work that fails in two ways before it succeeds."""

    name = "test"
    interval_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = [StoreUnavailable("gone"), RuntimeError("a bug")]
        self.logged: list[Exception] = []
        self.succeeded = asyncio.Event()

    async def run_once(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.succeeded.set()

    def log_failure(self, error: Exception) -> None:
        self.logged.append(error)


async def test_work_goes_on_after_any_failure_and_logs_those_that_the_store_has_not_logged() -> None:
    work = Failing()
    work.start()
    try:
        await asyncio.wait_for(work.succeeded.wait(), timeout=10)
    finally:
        await work.aclose()
    assert [str(error) for error in work.logged] == ["a bug"]


async def test_closing_ends_the_work_and_is_possible_before_its_start() -> None:
    await Failing().aclose()
    work = Failing()
    work.start()
    await asyncio.wait_for(work.succeeded.wait(), timeout=10)
    await work.aclose()
    work.succeeded.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not work.succeeded.is_set()
