"""A deadline that costs nothing where there is nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


async def within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of this work, in time.

    A body is nearly always there when it is asked for. Then no timer is set, which would take longer than
    all of the reading.

    Raises:
        TimeoutError: It took longer; the work was cancelled.
    """
    begun = _Begun(work)
    if begun.finished:
        return begun.result()
    async with asyncio.timeout(seconds):
        await begun
    return begun.result()


class _Begun(Generic[Result]):
    """Work that has run, within the task that is running, up to the first thing that it has to wait for."""

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        self._work = work
        self._results: list[Result] = []
        self._waits_for: object = None
        self._advance(None)

    @property
    def finished(self) -> bool:
        return bool(self._results)

    def result(self) -> Result:
        return self._results[0]

    def __await__(self) -> Generator[object, None, None]:
        while not self.finished:
            thrown: BaseException | None = None
            try:
                yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - it is the work's to handle
                thrown = error
            self._advance(thrown)

    def _advance(self, thrown: BaseException | None) -> None:
        try:
            self._waits_for = self._work.send(None) if thrown is None else self._work.throw(thrown)
        except StopIteration as done:
            self._results.append(done.value)
