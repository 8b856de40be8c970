"""What PostgreSQL can answer instead of working: the right advice, one log line, and recovery."""

from __future__ import annotations

import asyncio
import getpass
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text

from kombo_embed.errors import StoreUnavailable
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from tests.postgres import PostgresServer
from tests.store.samples import complete, opened_database, opened_store, read
from tests.support import make_host, person, running

ADA = person("ada@acme")
FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not write for ada@acme.example' USING ERRCODE = '{state}'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON kombo_embed_minted_links EXECUTE FUNCTION fail();
"""


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@asynccontextmanager
async def setting(postgres: PostgresServer, database: str, name: str, value: str) -> AsyncIterator[None]:
    """Change a default of a database, as far as connections are concerned that begin in the context."""
    await postgres.aexecute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    try:
        yield
    finally:
        await postgres.aexecute(f"ALTER DATABASE {database} RESET {name}")


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("53100", "The disk of the PostgreSQL server is full"),
        ("57014", "A statement took too long"),
        ("25006", "PostgreSQL accepts no writes"),
        ("42501", "lacks a privilege"),
        ("XX000", "Check that PostgreSQL runs"),
    ],
)
async def test_a_mint_whose_record_fails_is_503_and_the_log_has_the_remedy_once(
    postgres: PostgresServer,
    postgres_database: str,
    postgres_url: str,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    *,
    state: str,
    remedy: str,
) -> None:
    app, _ = make_host(httpx.ASGITransport(sandbox.app), database_url=postgres_url)
    async with running(app) as client:
        await postgres.run_script(FAIL.format(state=state), database=postgres_database)
        for _ in range(2):
            refused = await client.post("/kombo/links", headers=ADA, json={})
            assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
            assert int(refused.headers["retry-after"]) > 0
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.message for record in warnings] == ["store.unavailable"]
        assert f"({state})" in vars(warnings[0])["error"]
        assert remedy in vars(warnings[0])["error"]
        assert "ada@acme.example" not in vars(warnings[0])["error"]
        await postgres.run_script("DROP FUNCTION fail CASCADE", database=postgres_database)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200


async def test_health_fails_on_a_server_that_accepts_no_writes_and_recovers(
    postgres: PostgresServer, postgres_database: str, store: Store
) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kombo-embed'"
    async with setting(postgres, postgres_database, "default_transaction_read_only", "on"):
        await postgres.aexecute(end)
        with pytest.raises(StoreUnavailable, match=r"accepts no writes .* must lead to the primary"):
            await store.check()
    await store.check()
    assert await complete(store)


async def test_a_connection_that_idled_in_a_transaction_for_too_long_is_replaced(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    attempts = 0

    async def idle() -> int:
        nonlocal attempts
        attempts += 1
        async with database.reading() as connection:
            await connection.execute(text("SELECT 1"))
            if attempts == 1:
                await ended(postgres, postgres_database)
            return int((await connection.execute(text("SELECT 7"))).scalar_one())

    async with (
        setting(postgres, postgres_database, "idle_in_transaction_session_timeout", "50ms"),
        opened_database(postgres_url) as database,
    ):
        assert await database.run_to_completion(idle) == 7
    assert attempts == 2


async def ended(postgres: PostgresServer, database: str) -> None:
    """Wait until the server has ended all our connections to this database."""
    async with asyncio.timeout(30):
        while True:
            rows = await postgres.aexecute(
                "SELECT datname FROM pg_stat_activity WHERE application_name = 'kombo-embed'"
            )
            if database not in {row["datname"] for row in rows}:
                return


async def test_work_that_ran_into_the_servers_lock_timeout_is_retried(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    async with (
        setting(postgres, postgres_database, "lock_timeout", "50ms"),
        opened_store(postgres_url) as store,
    ):
        blocker = await postgres.connect(postgres_database)
        await blocker.execute("BEGIN; LOCK TABLE kombo_embed_completions IN SHARE MODE")
        completing = asyncio.create_task(complete(store))
        while not await postgres.aexecute("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not completing.done()
        while await postgres.aexecute("SELECT 1 FROM pg_locks WHERE NOT granted"):
            pass
        await blocker.close()
        assert await completing is True


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (
            "postgresql://kombo@/no_such_database?host={folder}",
            "database that KOMBO_DATABASE_URL names does not",
        ),
        ("postgresql://nobody-known@/postgres?host={folder}", "refuses this login"),
        ("postgresql://kombo@/postgres?host={folder}&sslmode=require&port=1", "Check that PostgreSQL runs"),
        ("postgresql://kombo@/postgres?host={folder}&options=-cno_such_setting%3D1", "options="),
    ],
)
async def test_a_login_that_fails_names_what_to_check(
    postgres: PostgresServer, url: str, remedy: str
) -> None:
    with pytest.raises(StoreUnavailable, match=remedy):
        async with opened_store(url.format(folder=postgres.folder)):
            pass


async def test_a_socket_url_without_a_user_logs_in_as_the_systems_user(
    postgres: PostgresServer, postgres_database: str
) -> None:
    user = getpass.getuser()
    await postgres.aexecute(f'CREATE ROLE "{user}" LOGIN')
    try:
        async with opened_database(f"postgresql:///{postgres_database}?host={postgres.folder}") as database:
            assert await read(database, text("SELECT current_user")) == user
    finally:
        await postgres.aexecute(f'DROP ROLE "{user}"')


async def test_the_search_path_of_the_url_applies_to_every_transaction(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    await postgres.run_script("CREATE SCHEMA tenant", database=postgres_database)
    database: Database
    async with opened_database(f"{postgres_url}&options=-csearch_path%3Dtenant") as database:
        assert await read(database, text("SELECT current_schema()")) == "tenant"


async def test_a_start_on_a_server_that_accepts_no_writes_fails_with_the_reason(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    async with setting(postgres, postgres_database, "default_transaction_read_only", "on"):
        with pytest.raises(StoreUnavailable, match="PostgreSQL accepts no writes"):
            async with opened_store(postgres_url):
                pass
