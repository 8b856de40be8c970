"""Programs that tests start as processes of their own, such as servers that serve an app."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx


@asynccontextmanager
async def serving(
    *command: str, url: str, environ: Mapping[str, str], cwd: Path | None = None, output: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a server until the context ends; it has to answer at the URL first."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        cwd=cwd,
        stdout=output,
        stderr=output and asyncio.subprocess.STDOUT,
    )
    try:
        await _until_it_answers(process, url)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.communicate()


async def _until_it_answers(process: asyncio.subprocess.Process, url: str) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert process.returncode is None, "the process ended"
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
