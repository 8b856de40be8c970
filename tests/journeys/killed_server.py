"""A real server that tests kill with -9 and start again, and requests that are repeated until it answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kombo_embed.kombo.webhooks import sign
from tests.support import API_KEY, WEBHOOK_SECRET, free_port


@dataclass
class Server:
    """The app in a process of its own, always on the same port."""

    port: int
    environment: dict[str, str]
    folder: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "uvicorn", "crashing_host:app", "--port", str(self.port)),
                *("--app-dir", str(Path(__file__).parent), "--log-level", "warning"),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


def make_server(folder: Path, database_url: str) -> Server:
    """Return the app of `tests.journeys.crashing_host` with this database; its events are in the folder."""
    environment = {
        **os.environ,
        "KOMBO_API_KEY": API_KEY,
        "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KOMBO_DATABASE_URL": database_url,
        "EVENTS_FILE": str(folder / "events.jsonl"),
    }
    return Server(free_port(), environment, folder)


def signed(event_id: str, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"id": event_id, "type": type_, "data": data}).encode()
    return {"content": body, "headers": {"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}}


async def repeat(client: httpx.AsyncClient, path: str, **request: Any) -> httpx.Response:
    while True:
        with suppress(httpx.HTTPError):
            answer = await client.post(path, **request)
            if answer.status_code < 300:
                return answer
            assert answer.status_code >= 500, answer.text
        await asyncio.sleep(0.02)


async def until_healthy(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get("/kombo/health")).status_code == 200:
                    return
            await asyncio.sleep(0.02)


def handled(server: Server) -> Counter[tuple[str, str, str]]:
    """Count the events of each type, integration and handler."""
    file = server.folder / "events.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    events = {(one["handler"], one["id"]): one for one in map(json.loads, lines)}
    return Counter((one["type"], one["integration_id"], handler) for (handler, _), one in events.items())
