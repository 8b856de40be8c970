"""Work that a mount repeats in the background."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from kombo_embed.errors import StoreUnavailable


class PeriodicWork(ABC):
    """Repeats `run_once` from `start` to `aclose`, whatever it raises: the next run may succeed."""

    name: str  # of the task, for debuggers
    interval_seconds: float

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the periodic work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"kombo-embed {self.name}")

    async def aclose(self) -> None:
        """Stop. Another process, or the next start, continues."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abstractmethod
    async def run_once(self) -> object:
        """Do what is due."""

    @abstractmethod
    def log_failure(self, error: Exception) -> None:
        """Log an unexpected exception of a run."""

    async def pause(self) -> None:
        """Wait between two runs."""
        await asyncio.sleep(self.interval_seconds)

    async def _run(self) -> None:
        while True:
            try:
                await self.run_once()
            except StoreUnavailable:
                pass  # the store has logged it
            except Exception as error:  # noqa: BLE001 - logged
                self.log_failure(error)
            await self.pause()
