"""What the tests share: a clock to move, a host app, and a recorder of everything that is logged."""

from __future__ import annotations

import asyncio
import functools
import logging
import resource
import secrets
import socket
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from asgi_lifespan import LifespanManager
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from kombo_embed import EndUser, KomboEmbed, Settings
from kombo_embed.ports import Clock
from kombo_embed.sandbox import Sandbox
from kombo_embed.store import migrations

API_KEY = "ks_dev_a-made-up-key"
WEBHOOK_SECRET = "whsec_made-up"
SANDBOX_URL = "http://localhost:8001"
SQLITE_URL = "sqlite+aiosqlite:///kombo_embed.db"
DATABASE = Path("kombo_embed.db")


@dataclass
class ManualClock:
    """Time that stands still until it is moved."""

    now: float = 1_790_000_000.0
    passed: float = field(default=0.0)

    def time(self) -> float:
        return self.now + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def advance(self, seconds: float) -> None:
        self.passed += seconds


def make_settings(**values: Any) -> Settings:
    """Settings for the in-process sandbox; every one can be overridden."""
    return Settings(
        **{
            "api_key": API_KEY,
            "api_url": f"{SANDBOX_URL}/v1",
            "webhook_secret": (WEBHOOK_SECRET,),
            "database_url": SQLITE_URL,
            **values,
        }
    )


def who_the_header_names(connection: HTTPConnection) -> EndUser | None:
    """The tests' login: ``X-Person: ada@acme`` is Ada of the organisation Acme."""
    person = connection.headers.get("x-person")
    if person is None:
        return None
    name, _, organization = person.partition("@")
    return EndUser(
        email=f"{name}@{organization}.example", organization_name=organization.title(), origin_id=organization
    )


@asynccontextmanager
async def running(app: ASGIApp, *, base_url: str = "http://app.example") -> AsyncIterator[httpx.AsyncClient]:
    """The app, started and later stopped, with a client that calls it in-process."""
    async with (
        LifespanManager(app, startup_timeout=30, shutdown_timeout=30) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url=base_url) as client,
    ):
        yield client


@functools.cache
def database_with_tables() -> bytes:
    """A SQLite file as the first start leaves it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.db"
        engine = create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            migrations.run(connection)
        engine.dispose()
        return file.read_bytes()


def make_host(
    kombo: httpx.AsyncBaseTransport,
    *,
    end_user: Callable[[HTTPConnection], Any] = who_the_header_names,
    link_options: Callable[[HTTPConnection, EndUser], Any] | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> tuple[Starlette, KomboEmbed]:
    """A Starlette app with kombo-embed installed, calling ``kombo``."""
    if "database_url" not in settings and not DATABASE.exists():
        DATABASE.write_bytes(database_with_tables())  # to make them anew each time would take minutes in all
    embed = KomboEmbed(
        end_user=end_user,
        link_options=link_options,
        settings=make_settings(**settings),
        http_transport=kombo,
        clock=clock,
    )
    app = Starlette()
    embed.install(app)
    return app, embed


def deliver_webhooks(sandbox: Sandbox, app: ASGIApp) -> None:
    """Have the sandbox send its webhooks to this app, in-process."""
    sandbox.webhook_url = "http://app.example/kombo/webhooks"
    sandbox.webhook_transport = httpx.ASGITransport(app)


async def order_fault(sandbox: Sandbox, path: str, mode: str, times: int = 1, **more: Any) -> None:
    """Have the sandbox spoil its next calls of this path."""
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=SANDBOX_URL) as control:
        order = {"path": path, "mode": mode, "times": times, **more}
        (await control.post("/_sandbox/faults", json=order)).raise_for_status()


async def change_state(sandbox: Sandbox, integration_id: str, state: str) -> None:
    """Have the sandbox change an integration's state, and tell so by webhook."""
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=SANDBOX_URL) as control:
        change = {"integration_id": integration_id, "state": state}
        (await control.post("/_sandbox/state-change", json=change)).raise_for_status()
    await sandbox.settle()


def person(name: str) -> dict[str, str]:
    """The header that signs somebody in, for example ``ada@acme``."""
    return {"X-Person": name}


def minted(sandbox: Sandbox) -> int:
    """How often the sandbox was asked for a connection link."""
    return sandbox.calls.get("POST /v1/connect/create-link", 0)


def exchanged(sandbox: Sandbox) -> int:
    """How often the sandbox was asked what an activation token stands for."""
    return sandbox.calls.get("GET /v1/connect/integration-by-token/{token}", 0)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does, by a limit of this process: no file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class LogRecorder(logging.Handler):
    """Keeps every log record with all that a formatter could make of it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        extra = {name: value for name, value in vars(record).items() if name != "args"}
        self.lines.append(f"{record.name} {record.getMessage()} {record.args!r} {extra!r} {trace}")

    def text(self) -> str:
        return "\n".join(self.lines)


async def eventually(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for something that cannot be waited for: it happens beyond a socket or a process."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.01)


def free_port() -> int:
    """A port for a server that has to be told one, below those that the system gives to others meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class ServerForTests(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The app under a real uvicorn on a free port; gives its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = ServerForTests(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
        serving = asyncio.create_task(server.serve([bound]))
        try:
            await eventually(lambda: server.started or serving.done())
            assert server.started, "the server did not start"
            yield f"http://localhost:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
