"""Fixtures of all tests, and the selection of the integration tests."""

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
from tests.pgbouncer import MISSING as NO_PGBOUNCER
from tests.pgbouncer import PgBouncer, find_pgbouncer, running_pgbouncer
from tests.postgres import MISSING as NO_POSTGRES
from tests.postgres import PostgresServer, find_binaries, running_postgres
from tests.redis_server import RedisServer, running_redis
from tests.support import API_KEY, SQLITE_URL, WEBHOOK_SECRET, LogRecorder
from tests.telemetry import Recorded, set_up

TESTS = Path(__file__).parent
# Whole files of the integration tests that do not mark themselves: paths below tests/, or folders.
INTEGRATION = (
    "browser/test_accessibility_in_chromium.py",
    "browser/test_demo_in_chromium.py",
    "browser/test_element_in_chromium.py",
    "browser/test_end_user_words_in_chromium.py",
    "browser/test_framework_examples_in_chromium.py",
    "browser/test_integrations_in_chromium.py",
    "browser/test_lost_completions_in_chromium.py",
    "browser/test_nested_dialogs_in_chromium.py",
    "cli/test_erase_command.py",
    "contract/test_official_typescript_sdk.py",
    "core/test_details.py",
    "core/test_periodic_reconcile.py",
    "demo/test_server.py",
    "events/test_upkeep.py",
    "journeys/test_crashes.py",
    "journeys/test_details_after_crashes.py",
    "journeys/test_erasure.py",
    "journeys/test_every_secret.py",
    "journeys/test_failing_inserts.py",
    "journeys/test_restart.py",
    "journeys/test_secrets_in_logs.py",
    "journeys/test_servers.py",
    "journeys/test_similar_origin_ids.py",
    "journeys/test_transactions.py",
    "link_cache/test_attacks.py",
    "link_cache/test_processes.py",
    "link_cache/test_redis_position.py",
    "link_cache/test_redis_servers.py",
    "sandbox/test_app_process.py",
    "sandbox/test_connect_page.py",
    "sandbox/test_server.py",
    "sandbox/test_state_page.py",
    "store/test_copying.py",
    "store/test_delivery_order.py",
    "store/test_erasure.py",
    "store/test_migrations.py",
    "store/test_outbox_drain.py",
    "store/test_pools.py",
    "store/test_postgresql_failures.py",
    "store/test_privileges.py",
    "store/test_tls.py",
    "test_environment.py",
)
# Started first when several processes share the files, so that no long file is left for the end.
LONG = (
    "browser/",
    "simulation/",
    "sandbox/test_connect_page.py",
    "journeys/test_crashes.py",
    "journeys/test_details_after_crashes.py",
    "demo/test_server.py",
    "store/test_convergence.py",
    "cli/",
    "journeys/test_failing_inserts.py",
)

# SQLAlchemy sets its own loggers to WARNING on import, so setting the root's level would not reach them.
LIBRARY_LOGGERS = (
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


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the integration tests of `INTEGRATION`; under pytest-xdist, sort long files to the front."""
    paths = {item: item.path.relative_to(TESTS).as_posix() for item in items}
    for item, path in paths.items():
        if path.startswith(INTEGRATION):
            item.add_marker(pytest.mark.integration)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not paths[item].startswith(LONG))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's KOMBO_ variables, .env files, and other tests' databases."""
    for name in list(os.environ):
        if name.upper().startswith("KOMBO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def retry_without_waiting() -> Iterator[None]:
    """Retry calls to Kombo as often as in production, without backoff."""
    with stamina.set_testing(testing=True, attempts=10, cap=True):
        yield


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Start the local sandbox in this process."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    yield sandbox
    await sandbox.aclose()


@pytest.fixture
def kombo(sandbox: Sandbox) -> httpx.AsyncBaseTransport:
    """Return the transport to the local sandbox."""
    return httpx.ASGITransport(sandbox.app)


# Without background traffic; --no-sandbox lets it run as root in a container.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP *.test 127.0.0.1",  # names that are not loopback's, on this machine
]


expect.set_options(timeout=30_000)  # for a busy machine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start a real Chromium, once per process; tests that use it run on the session's event loop."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        launched = None
        with suppress(PlaywrightError):
            launched = await playwright.chromium.launch(
                executable_path=executable,
                args=CHROMIUM_FLAGS,
                ignore_default_args=["--disable-back-forward-cache"],  # as end users' browsers have it
            )
        if launched is None:
            missing = "Chromium was not found; install it (Debian: apt-get install chromium) to run this test"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        yield launched
        await launched.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a real PostgreSQL, once per process."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail(NO_POSTGRES)
        pytest.skip(NO_POSTGRES)
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """Start a real PgBouncer in transaction mode, once per process."""
    program = find_pgbouncer()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(NO_PGBOUNCER)
        pytest.skip(NO_PGBOUNCER)
    with running_pgbouncer(program, postgres) as pooler:
        yield pooler


@pytest.fixture
def nginx() -> str:
    """Return the path of nginx."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        missing = "nginx was not found; install it (Debian: apt-get install nginx-light) to run this test"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """Return the name of a fresh PostgreSQL database that has our tables."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_database: str) -> str:
    """Return the URL of a fresh PostgreSQL database that has our tables."""
    return postgres.url(postgres_database)


@pytest.fixture
def pgbouncer_url(pgbouncer: PgBouncer, postgres_database: str) -> str:
    """Return the URL of a fresh PostgreSQL database behind PgBouncer."""
    return pgbouncer.url(postgres_database)


@pytest.fixture
def sqlite_url() -> str:
    """Return the URL of a fresh SQLite file, in the test's own folder."""
    return SQLITE_URL


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh database; the test runs once per kind."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def log() -> Iterator[LogRecorder]:
    """Record all log records, with all loggers at DEBUG."""
    recorder = LogRecorder()
    loggers = [logging.getLogger(name) for name in (None, *LIBRARY_LOGGERS)]
    before = [logger.level for logger in loggers]
    loggers[0].addHandler(recorder)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield recorder
    loggers[0].removeHandler(recorder)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Record the spans and metrics of the test by OpenTelemetry's SDK."""
    recorded = set_up()
    recorded.exporter.clear()
    recorded.sampler.is_on = True
    yield recorded
    recorded.sampler.is_on = False


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, started once for all tests."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """A real Redis, empty and running."""
    yield redis_process
    redis_process.reset()
