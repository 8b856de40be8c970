"""What the tests share: a manual clock, a host app, signed webhooks, and a recorder of log records."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import resource
import secrets
import socket
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from asgi_lifespan import LifespanManager
from sqlalchemy import Engine, create_engine, event
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from kombo_embed import EndUser, KomboEmbed, Settings, clock
from kombo_embed.kombo.webhooks import sign
from kombo_embed.ports import Clock
from kombo_embed.sandbox import Sandbox
from kombo_embed.store import migrations

API_KEY = "ks_dev_a-made-up-key"
WEBHOOK_SECRET = "whsec_made-up"
SANDBOX_URL = "http://localhost:8001"
SQLITE_URL = "sqlite+aiosqlite:///kombo_embed.db"
DATABASE = Path("kombo_embed.db")


class ManualClock(clock.ManualClock):
    """A clock that stands still until a test advances it, or steps its wall clock by changing ``now``."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        super().__init__(time=lambda: self.now, monotonic=lambda: 1000.0)

    @property
    def passed(self) -> float:
        """The seconds by which it was advanced."""
        return self.monotonic() - 1000.0


def make_settings(**values: Any) -> Settings:
    """Return settings for the in-process sandbox, with these overrides."""
    return Settings(
        **{
            "api_key": API_KEY,
            "api_url": f"{SANDBOX_URL}/v1",
            "webhook_secret": (WEBHOOK_SECRET,),
            "database_url": SQLITE_URL,
            **values,
        }
    )


async def end_user_from_header(connection: HTTPConnection) -> EndUser | None:
    """Return the end user of the tests' login: ``X-Person: ada@acme`` is Ada of the organization Acme."""
    person = connection.headers.get("x-person")
    if person is None:
        return None
    name, _, organization = person.partition("@")
    return EndUser(
        email=f"{name}@{organization}.example", organization_name=organization.title(), origin_id=organization
    )


@asynccontextmanager
async def running(app: ASGIApp, *, base_url: str = "http://app.example") -> AsyncIterator[httpx.AsyncClient]:
    """Start the app, yield a client that calls it in-process, and stop the app."""
    async with (
        LifespanManager(app, startup_timeout=30, shutdown_timeout=30) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url=base_url) as client,
    ):
        yield client


@functools.cache
def database_with_tables() -> bytes:
    """Return the bytes of a SQLite file with our tables."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.db"
        engine = create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            migrations.run(connection)
        engine.dispose()
        return file.read_bytes()


def make_host(
    kombo: httpx.AsyncBaseTransport | None,
    *,
    end_user: Callable[[HTTPConnection], Any] = end_user_from_header,
    link_options: Callable[[HTTPConnection, EndUser], Any] | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> tuple[Starlette, KomboEmbed]:
    """Return a Starlette app with kombo-embed installed; it calls Kombo over ``kombo``, or the network."""
    if "database_url" not in settings and not DATABASE.exists():
        DATABASE.write_bytes(database_with_tables())  # to migrate each time would take minutes in total
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


def webhook_request(event_id: str, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the content and headers of a signed webhook, as keyword arguments for httpx."""
    body = json.dumps({"id": event_id, "type": event_type, "data": data}).encode()
    return {"content": body, "headers": {"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}}


def deliver_webhooks(sandbox: Sandbox, app: ASGIApp) -> None:
    """Let the sandbox send its webhooks to this app, in-process."""
    sandbox.webhook_url = "http://app.example/kombo/webhooks"
    sandbox.webhook_transport = httpx.ASGITransport(app)


async def order_fault(sandbox: Sandbox, path: str, mode: str, times: int = 1, **more: Any) -> None:
    """Inject a fault into the sandbox's next calls of this path."""
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=SANDBOX_URL) as control:
        order = {"path": path, "mode": mode, "times": times, **more}
        (await control.post("/_sandbox/faults", json=order)).raise_for_status()


async def change_state(sandbox: Sandbox, integration_id: str, state: str) -> None:
    """Change an integration's state at the sandbox, and wait for its webhook."""
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=SANDBOX_URL) as control:
        change = {"integration_id": integration_id, "state": state}
        (await control.post("/_sandbox/state-change", json=change)).raise_for_status()
    await sandbox.settle()


def person(name: str) -> dict[str, str]:
    """Return the header that signs an end user in, for example ``ada@acme``."""
    return {"X-Person": name}


def minted(sandbox: Sandbox) -> int:
    """Return how many connection links were requested from the sandbox."""
    return sandbox.calls.get("POST /v1/connect/create-link", 0)


def exchanged(sandbox: Sandbox) -> int:
    """Return how often an activation token was exchanged at the sandbox."""
    return sandbox.calls.get("GET /v1/connect/integration-by-token/{token}", 0)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Simulate a full disk: no file of this process can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class LogRecorder(logging.Handler):
    """Records every log record with everything that a formatter could print."""

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
    """Poll until the condition holds, for what happens in another task, thread or process."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0.01)


def free_port() -> int:
    """Return a free port below the range from which the system assigns ports."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class ServerForTests(uvicorn.Server):
    """A uvicorn server that leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve the app by a real uvicorn on a free port; yield its base URL."""
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


# The statements that a caller wants to see; what runs in the background has a context of its own.
_STATEMENTS: ContextVar[list[str] | None] = ContextVar("statements", default=None)


@contextmanager
def recorded_statements() -> Iterator[list[str]]:
    """The statements that the caller executes within the context, on any database, transactions included.

    Those of the background work, which run at times of their own, are not among them.
    """

    def record(*arguments: Any) -> None:
        if (recorded := _STATEMENTS.get()) is not None:
            recorded.append(arguments[2])

    statements: list[str] = []
    event.listen(Engine, "before_cursor_execute", record)
    reset = _STATEMENTS.set(statements)
    try:
        yield statements
    finally:
        _STATEMENTS.reset(reset)
        event.remove(Engine, "before_cursor_execute", record)
