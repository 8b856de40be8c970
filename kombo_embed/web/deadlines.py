"""A deadline that costs nothing where there is nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

Result = TypeVar("Result")


async def within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of this work, in time.

    A body is nearly always there when it is asked for. Then no timer is set, which would take longer than
    all of the reading.

    Raises:
        TimeoutError: It took longer; the work was cancelled.
    """
    begun = begin(work)
    if not isinstance(begun, Begun):
        return begun
    async with asyncio.timeout(seconds):
        return await begun


def begin(work: Coroutine[Any, Any, Result]) -> Result | Begun[Result]:
    """The result of work that has nothing to wait for; of other work, what is left when it begins to wait."""
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return cast("Result", done.value)
    return Begun(work, waits_for)


@dataclass(frozen=True, slots=True)
class Begun(Generic[Result]):
    """Work that has run, within the task that is running, up to the first thing that it has to wait for."""

    work: Coroutine[Any, Any, Result]
    waits_for: object

    def __await__(self) -> Generator[object, None, Result]:
        waits_for = self.waits_for
        while True:
            thrown: BaseException | None = None
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the work's to handle
                thrown = error
            try:
                waits_for = self.work.send(None) if thrown is None else self.work.throw(thrown)
            except StopIteration as done:
                return cast("Result", done.value)
