"""Workers are replaced one by one under load, from the version before the last migration, and back again.

The old version is taken from git: the commit before the newest step of migrations/versions was added.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from kombo_embed.store.migrations import VERSION_TABLE
from tests.faults.sizes import size
from tests.faults.workers import ROOT, browser, environment
from tests.support import free_port, person, served

pytestmark = pytest.mark.integration

WORKERS = size(small=2, full=4)
CLIENTS = size(small=3, full=8)
PAUSE_SECONDS = size(small=1, full=10)  # between two replacements
VERSIONS = "kombo_embed/store/migrations/versions"
HOST = """
from starlette.applications import Starlette
from kombo_embed import EndUser, KomboEmbed

async def end_user(connection):
    name, _, customer = connection.headers.get("x-person", "nobody@nowhere").partition("@")
    return EndUser(email=f"{name}@{customer}.example", organization_name=customer, origin_id=customer)

app = Starlette()
embed = KomboEmbed(end_user=end_user)
embed.install(app)

@embed.on("integration.connected")
async def first_sync(event):
    with open("events", "a") as events:
        events.write(f"{event.integration.integration_id} {event.id}\\n")
"""
Record = Callable[[str, object], None]


def git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S603 - ours


@pytest.fixture
def old_version(tmp_path: Path) -> Path:
    """Return a folder with the package as it was before the newest migration."""
    newest = max(path.name for path in (ROOT / VERSIONS).glob("0*.py"))
    try:
        added = (
            git("log", "--diff-filter=A", "--format=%H", "-1", "--", f"{VERSIONS}/{newest}").decode().strip()
        )
        packed = git("archive", f"{added}^", "kombo_embed")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of git is not here")
    folder = tmp_path / "old"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)  # noqa: S603, S607 - ours
    return folder


@dataclass
class Fleet:
    """Workers behind a balancer that sends nothing to one that is about to stop."""

    folder: Path
    environ: dict[str, str]
    workers: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    in_rotation: list[int] = field(default_factory=list)
    turn: int = 0

    async def add(self, package: Path) -> None:
        """Start a worker with this version of the package."""
        port = free_port()
        command = (sys.executable, "-m", "uvicorn", "upgraded_host:app", "--port", str(port))
        self.workers[port] = await asyncio.create_subprocess_exec(
            *(*command, "--log-level", "error"),
            cwd=self.folder,
            env={**os.environ, **self.environ, "PYTHONPATH": f"{package}:{self.folder}"},
        )
        async with asyncio.timeout(60), browser(f"http://127.0.0.1:{port}") as client:
            while True:
                try:
                    assert (await client.get("/kombo/health")).status_code == 200
                except httpx.TransportError:
                    assert self.workers[port].returncode is None
                    await asyncio.sleep(0.05)
                else:
                    break
        self.in_rotation.append(port)

    async def remove_oldest(self) -> None:
        """Stop the worker that was started first, as an orchestrator does."""
        port = self.in_rotation.pop(0)
        process = self.workers.pop(port)
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()

    def url(self) -> str:
        """Return the address of the next worker."""
        self.turn += 1
        return f"http://127.0.0.1:{self.in_rotation[self.turn % len(self.in_rotation)]}"


@asynccontextmanager
async def fleet(folder: Path, environ: dict[str, str]) -> AsyncIterator[Fleet]:
    (folder / "upgraded_host.py").write_text(HOST, encoding="utf-8")
    workers = Fleet(folder, environ)
    try:
        yield workers
    finally:
        for process in workers.workers.values():
            process.terminate()
        for process in workers.workers.values():
            await process.wait()


@dataclass
class Load:
    """Customers that connect a tool each, one after another."""

    workers: Fleet
    sandbox: Sandbox
    statuses: Counter[int] = field(default_factory=Counter)
    completed: dict[str, str] = field(default_factory=dict)

    async def run(self, client: httpx.AsyncClient, number: int) -> None:
        count = 0
        while True:
            count += 1
            origin_id = f"customer-{number}-{count}"
            who = person(f"ada@{origin_id}")
            link = (await self._post(client, "/kombo/links", who, {})).json()["link"]
            flow = await self.sandbox.complete(link, "personio")
            token = {"activation_token": flow.activation_token}
            await self._post(client, "/kombo/completions", who, token)
            self.completed[flow.integration_id] = origin_id

    async def _post(
        self, client: httpx.AsyncClient, path: str, who: dict[str, str], body: dict[str, str]
    ) -> httpx.Response:
        response = await client.post(self.workers.url() + path, headers=who, json=body)
        self.statuses[response.status_code] += 1
        assert response.is_success, response.text
        return response


async def test_workers_are_replaced_under_load_without_an_error_and_back(
    sandbox: Sandbox, tmp_path: Path, old_version: Path, record_property: Record
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        fleet(tmp_path, environment(kombo_url)) as workers,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        for _ in range(WORKERS):
            await workers.add(old_version)
        before = schema_version(tmp_path)
        load = Load(workers, sandbox)
        running = [asyncio.create_task(load.run(client, number)) for number in range(CLIENTS)]
        for package in [ROOT] * WORKERS + [old_version] * WORKERS:
            await workers.add(package)  # the first new one migrates, beside three old ones
            await asyncio.sleep(PAUSE_SECONDS)
            await workers.remove_oldest()
            assert [task for task in running if task.done()] == []
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await until_handled(tmp_path / "events", load)
    assert set(load.statuses) <= {200, 201}
    assert before < schema_version(tmp_path)
    with closing(sqlite3.connect(tmp_path / "kombo_embed.db")) as database, database:
        found = dict(database.execute("SELECT integration_id, origin_id FROM kombo_embed_integrations"))
    assert load.completed.items() <= found.items()
    record_property(
        "figure", f"{load.statuses.total():,} requests during {2 * WORKERS} replacements: no 5xx, 0 lost"
    )


def schema_version(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "kombo_embed.db")) as database, database:
        [(version,)] = database.execute(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - our own table
    return str(version)


def read_events(file: Path) -> set[tuple[str, ...]]:
    """Return integrations with the events that reached the handler."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {tuple(line.split()) for line in lines}


async def until_handled(file: Path, load: Load) -> None:
    """Wait until each integration has reached its handler, under one event."""
    async with asyncio.timeout(60):
        while True:
            events = read_events(file)
            if load.completed.keys() <= {integration_id for integration_id, _ in events}:
                break
            await asyncio.sleep(0.2)
    assert len(events) == len({integration_id for integration_id, _ in events})
