from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import text

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedState, WebhookEvent
from tests.postgres import PostgresServer
from tests.store.samples import complete, created
from tests.support import LogRecorder, ManualClock

OURS = "FROM pg_stat_activity WHERE application_name = 'kombo-embed'"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = Store(url, environment="default", clock=ManualClock())
    await store.open()
    yield store
    await store.aclose()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that can only be asked of the server."""
    async with asyncio.timeout(30):
        while not await condition():
            pass


@pytest.mark.parametrize(("default", "used"), [("off", "on"), ("remote_write", "remote_write")])
async def test_what_is_answered_is_flushed_to_disk_whatever_the_servers_defaults_are(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, default: str, used: str
) -> None:
    for setting in (f"synchronous_commit = {default}", "default_transaction_isolation = serializable"):
        await postgres.aexecute(f"ALTER DATABASE {postgres_database} SET {setting}")
    async with opened(postgres_url) as store, store._database.writing() as connection:  # noqa: SLF001 - as it writes
        names = ("synchronous_commit", "transaction_isolation", "statement_timeout")
        shown = [(await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert shown == [used, "read committed", "5s"]


async def test_connections_that_broke_while_idle_cost_no_call(postgres: PostgresServer, store: Store) -> None:
    await asyncio.gather(*(complete(store, f"token {number}") for number in range(5)))
    await postgres.aexecute(f"SELECT pg_terminate_backend(pid) {OURS}")
    results = await asyncio.gather(*(complete(store, f"token {number}") for number in range(5, 10)))
    assert results == [False] * 5
    await postgres.aexecute(f"SELECT pg_terminate_backend(pid) {OURS}")
    await store.check()


async def test_a_connection_that_breaks_within_a_transaction_costs_no_call(
    postgres: PostgresServer, store: Store
) -> None:
    attempts = []

    async def work() -> int:
        async with store._database.writing() as connection:  # noqa: SLF001 - to stop within the transaction
            attempts.append(1)
            if len(attempts) == 1:
                await postgres.aexecute(f"SELECT pg_terminate_backend(pid) {OURS}")
            return int((await connection.execute(text("SELECT 7"))).scalar_one())

    assert await store._database.finish(work) == 7  # noqa: SLF001 - as above
    assert len(attempts) == 2


async def test_while_the_server_is_down_it_is_told_and_afterwards_all_is_well(
    postgres: PostgresServer, store: Store
) -> None:
    assert await complete(store)
    postgres.stop("immediate")
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="Check that PostgreSQL runs"):
                await complete(store, "another token")
    finally:
        postgres.start()
    assert await complete(store, "another token") is False
    assert len(await store.find_integrations("acme")) == 1


async def test_an_outage_is_one_line_of_the_log_and_its_end_another(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    clock = ManualClock()
    store = Store(postgres_url, environment="default", clock=clock)
    await store.open()
    await postgres.aexecute(f"SELECT pg_terminate_backend(pid) {OURS}")
    await store.check()
    assert lines() == []  # nobody was refused
    postgres.stop("immediate")
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.check()
    finally:
        postgres.start()
    [gone] = lines()
    assert gone.startswith("store.unavailable: ")
    assert "KOMBO_DATABASE_URL" in gone
    await store.check()
    assert lines() == [gone]  # it may go again at once
    clock.advance(5)
    await store.check()
    await store.check()
    assert lines() == [gone, "store.back: the database can be used again"]
    await store.aclose()


async def test_connections_to_what_became_a_standby_are_left(postgres: PostgresServer, store: Store) -> None:
    async def become(kind: str) -> None:
        await postgres.aexecute(f"ALTER SYSTEM SET default_transaction_read_only = {kind}")
        await postgres.aexecute("SELECT pg_reload_conf()")

        async def is_so() -> bool:
            [[shown]] = await postgres.aexecute("SHOW default_transaction_read_only")
            return bool(shown == kind)

        await until(is_so)

    assert await complete(store)
    before = await postgres.aexecute(f"SELECT pid {OURS}")
    await become("on")
    try:
        with pytest.raises(StoreUnavailable):
            await complete(store, "another token")
    finally:
        await become("off")
    assert await complete(store, "another token") is False
    assert not {*before} & {*await postgres.aexecute(f"SELECT pid {OURS}")}


async def test_a_server_without_a_free_connection_is_told(postgres: PostgresServer, store: Store) -> None:
    await postgres.aexecute(f"SELECT pg_terminate_backend(pid) {OURS}")
    limit = int((await postgres.aexecute("SHOW max_connections"))[0][0])
    results = await asyncio.gather(*(postgres.connect() for _ in range(limit)), return_exceptions=True)
    last, *taken = [result for result in results if not isinstance(result, BaseException)]

    async def there_is_room() -> bool:
        return int(await last.fetchval("SELECT count(*) FROM pg_stat_activity")) < limit / 2

    try:
        with pytest.raises(StoreUnavailable):
            await complete(store)
    finally:
        await asyncio.gather(*(connection.close() for connection in taken))
        await until(there_is_room)
        await last.aclose()
    assert await complete(store)


async def test_who_does_not_answer_is_waited_for_until_the_deadline(
    postgres: PostgresServer, postgres_database: str, store: Store
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    blocker = await postgres.connect(postgres_database)
    await blocker.execute("BEGIN; LOCK TABLE kombo_embed_integrations")
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    silent = Store(
        f"postgresql+asyncpg://kombo:hush-hush@127.0.0.1:{port}/db",
        environment="default",
        clock=ManualClock(),
    )
    async with asyncio.timeout(30):
        results = await asyncio.gather(complete(store), silent.open(), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    await blocker.aclose()
    assert await complete(store)
    await silent.aclose()
    server.close()
    await server.wait_closed()


async def test_transactions_that_lock_each_other_out_are_done_again(postgres_url: str) -> None:
    database = Database(postgres_url)
    both_began = asyncio.Event()
    began: list[int] = []

    async def write(first: int, second: int) -> int:
        async with database.writing() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({first})"))
            began.append(first)
            if len(began) == 2:
                both_began.set()
            await both_began.wait()
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({second})"))
            return first

    pair = [database.finish(lambda: write(1, 2)), database.finish(lambda: write(2, 1))]
    assert await asyncio.gather(*pair) == [1, 2]
    assert len(began) == 3
    await database.aclose()


async def test_an_integrations_later_event_is_not_numbered_before_its_earlier_one_is_committed(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, store: Store
) -> None:
    blocker = await postgres.connect(postgres_database)
    await blocker.execute("BEGIN; LOCK TABLE kombo_embed_outbox IN SHARE MODE")
    async with opened(postgres_url) as other:
        connecting = asyncio.create_task(store.save_event(*created("e1")))
        # The first stands before its event's number, in possession of the integration.
        await until(lambda: waits_for(postgres, "relation"))
        completing = asyncio.create_task(complete(other))
        await until(lambda: waits_for(postgres, "advisory"))
        await blocker.aclose()
        assert await connecting == "acme"
        assert await completing is False


async def test_a_state_that_is_told_while_its_integration_is_being_recorded_is_not_lost(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, store: Store
) -> None:
    blocker = await postgres.connect(postgres_database)
    await blocker.execute("BEGIN; LOCK TABLE kombo_embed_completions IN SHARE MODE")
    state = ReportedState("personio:x", "ACTIVE", None, None)
    async with opened(postgres_url) as other:
        completing = asyncio.create_task(complete(store))
        # It has looked for what was told before already, and has not committed yet.
        await until(lambda: waits_for(postgres, "relation"))
        event = WebhookEvent("e1", "integration-state-changed", {})
        telling = asyncio.create_task(other.save_event(event, state))
        await until(lambda: waits_for(postgres, "advisory"))
        await blocker.aclose()
        await asyncio.gather(completing, telling)
    [found] = await store.find_integrations("acme")
    assert found.status == "ACTIVE"


async def waits_for(postgres: PostgresServer, kind: str) -> bool:
    waiting = await postgres.aexecute("SELECT locktype FROM pg_locks WHERE NOT granted")
    return kind in {row["locktype"] for row in waiting}


def test_without_its_driver_the_start_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match="with its extra 'postgres'"):
        Database("postgresql+asyncpg://user:hush-hush@host/db")


def test_parameters_that_the_driver_cannot_use_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot use: connect_timeout, statement_cache_size$"):
        Database(
            "postgresql+asyncpg://user:hush-hush@host/db"
            "?connect_timeout=3&ssl=require&statement_cache_size=none&command_timeout=9"
        )


async def test_a_url_for_pgbouncers_transaction_mode_works(postgres_url: str) -> None:
    async with opened(f"{postgres_url}&prepared_statement_cache_size=0&statement_cache_size=0") as store:
        assert await complete(store)
        assert len(await store.find_integrations("acme")) == 1


async def test_neither_error_nor_log_holds_the_password(log: LogRecorder) -> None:
    url = "postgresql+asyncpg://somebody:hush-hush@127.0.0.1:9/db"
    store = Store(url, environment="default", clock=ManualClock())
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    await store.aclose()
    assert "store.unavailable" in log.text()
    for told in (str(caught.value), repr(caught.value), log.text(), repr(store), repr(store._database)):  # noqa: SLF001 - on purpose
        assert "hush-hush" not in told


@pytest.mark.parametrize("ahead", [-12, 12])
async def test_machines_whose_clocks_differ_do_not_deliver_one_event_at_once(
    store: Store, postgres_url: str, ahead: int
) -> None:
    await complete(store)
    types, ours = ["integration.connected"], store._now() + timedelta(minutes=1)  # noqa: SLF001 - long due
    theirs = ours + timedelta(seconds=ahead)
    async with opened(postgres_url) as other:
        [taken] = await store.outbox.take(types, limit=1, now=ours, lease_seconds=10)
        assert await other.outbox.take(types, limit=1, now=theirs, lease_seconds=10) == []
        await store.outbox.renew([taken], now=ours, lease_seconds=10)
        assert await other.outbox.take(types, limit=1, now=theirs, lease_seconds=10) == []
        await store.outbox.renew([taken], now=ours, lease_seconds=0)
        assert await other.outbox.take(types, limit=1, now=theirs, lease_seconds=10) != []
