"""Fixtures of all tests."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import stamina
from playwright.async_api import Browser, async_playwright, expect
from playwright.async_api import Error as PlaywrightError

from kombo_embed.sandbox import Sandbox
from tests.postgres import MISSING as NO_POSTGRES
from tests.postgres import PostgresServer, find_binaries, running_postgres
from tests.redis_server import RedisServer, running_redis
from tests.support import API_KEY, SQLITE_URL, WEBHOOK_SECRET, LogRecorder

TESTS = Path(__file__).parent
# Begun first where several processes share the files, so that none is left alone with one of them at the end.
LONG = (
    "browser/",
    "sandbox/test_connect_page.py",
    "journeys/test_crashes.py",
    "demo/test_server.py",
    "store/test_convergence.py",
    "test_benchmarks.py",
    "cli/",
    "journeys/test_over_the_wire.py",
)

# SQLAlchemy turns its own down to WARNING on import, so the root alone would not reach it.
LOUD_LIBRARIES = (
    "httpx",
    "httpcore",
    "aiosqlite",
    "asyncpg",
    "stamina",
    "sqlalchemy",
    "sqlalchemy.engine",
    "sqlalchemy.pool",
    "alembic",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, where pytest-xdist shares the tests; else files keep their order."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.path.relative_to(TESTS).as_posix().startswith(LONG))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the machine's KOMBO_ variables, an .env file, or another test's database."""
    for name in list(os.environ):
        if name.upper().startswith("KOMBO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def retry_without_waiting() -> Iterator[None]:
    """Calls to Kombo are tried again as often as ever, but at once."""
    with stamina.set_testing(testing=True, attempts=10, cap=True):
        yield


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The local Kombo, in this process."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    yield sandbox
    await sandbox.aclose()


@pytest.fixture
def kombo(sandbox: Sandbox) -> httpx.AsyncBaseTransport:
    """The network to the local Kombo."""
    return httpx.ASGITransport(sandbox.app)


# The flags keep Chromium from calling its maker, and let it run as root in a container.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


expect.set_options(timeout=30_000)  # a machine with much to do takes its time


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium, started once per test module."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        launched = None
        with suppress(PlaywrightError):
            launched = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        if launched is None:
            missing = "Chromium was not found; install it (Debian: apt-get install chromium) to run this test"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        yield launched
        await launched.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started once for all tests."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail(NO_POSTGRES)
        pytest.skip(NO_POSTGRES)
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a fresh PostgreSQL database that has our tables."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_database: str) -> str:
    """The URL of a fresh PostgreSQL database that has our tables."""
    return postgres.url(postgres_database)


@pytest.fixture
def sqlite_url() -> str:
    """The URL of a fresh SQLite file, in the test's own folder."""
    return SQLITE_URL


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database of each kind, one after the other."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def log() -> Iterator[LogRecorder]:
    """Everything that anybody logs, with all loggers at DEBUG."""
    recorder = LogRecorder()
    loggers = [logging.getLogger(name) for name in (None, *LOUD_LIBRARIES)]
    before = [logger.level for logger in loggers]
    loggers[0].addHandler(recorder)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield recorder
    loggers[0].removeHandler(recorder)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, empty."""
    yield from running_redis(tmp_path_factory.mktemp("redis"))
