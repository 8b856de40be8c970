"""The processes that are measured and the one that measures: started, asked, and ended here."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.1"
START_DEADLINE = 60  # seconds, on a machine with much else to do
ANSWER_DEADLINE = 180  # seconds, above the longest run
STOP_DEADLINE = 15  # seconds, above uvicorn's own patience
LINE_MAX_BYTES = 64 * 1024 * 1024
BACKLOG = 4096
_numbers = itertools.count()


class ProcessFailed(Exception):
    """A process did not start, or ended too early. The message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has used: CPU seconds, and bytes of memory that it occupies now."""

    cpu: float
    resident: int


class Child:
    """A Python module in a process of its own, spoken to by lines. Close it with `stop`."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, *command: str, folder: Path, environment: Mapping[str, str], descriptors: tuple[int, ...] = ()
    ) -> Child:
        """Start ``python -m`` with this command; its log goes into the folder."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("KOMBO_")}
        log = folder / f"{command[0]}-{next(_numbers)}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *command,
                cwd=folder,
                env={**kept, "PYTHONPATH": str(ROOT), **environment},
                stdin=PIPE,
                stdout=PIPE,
                stderr=errors,
                pass_fds=descriptors,
                limit=LINE_MAX_BYTES,
            )
        return cls(process, log)

    async def line(self, *, deadline: float) -> str:
        """The next line that it prints.

        Raises:
            ProcessFailed: It has ended, or says nothing.
        """
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        try:
            async with asyncio.timeout(deadline):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            raise ProcessFailed(f"{self._log.stem} ended or hangs:\n{log[-3000:]}")
        return line.decode().strip()

    async def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        """Send a line, and read the one that answers it.

        Raises:
            ProcessFailed: It has ended, or says nothing.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        await self._process.stdin.drain()
        answer: dict[str, Any] = json.loads(await self.line(deadline=ANSWER_DEADLINE))
        return answer

    def kill(self) -> None:
        """End it as a crash does, without a chance to tidy up."""
        self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End it, gently where that works."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the apps, serving."""

    name: str
    port: int
    child: Child

    @classmethod
    async def start(cls, name: str, *, folder: Path, environment: Mapping[str, str]) -> Worker:
        """Start the app of this name on a free port, and wait until it serves.

        Raises:
            ProcessFailed: It does not come up.
        """
        with socket.create_server((LOOPBACK, 0), backlog=BACKLOG) as listening:
            descriptor = listening.fileno()
            child = await Child.start(
                "benchmarks.worker",
                name,
                str(descriptor),
                folder=folder,
                environment=environment,
                descriptors=(descriptor,),
            )
            port = listening.getsockname()[1]
        try:
            while await child.line(deadline=START_DEADLINE) != "ready":
                pass
        except BaseException:
            await child.stop()
            raise
        return cls(name, port, child)

    async def used(self) -> Used:
        """What it has used so far."""
        return Used(**await self.child.ask({}))
