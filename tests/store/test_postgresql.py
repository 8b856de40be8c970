from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import text

from kombo_embed.deliveries import DeliveryOutcome
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.store.database import RECOVERED_AFTER_SECONDS, Database
from kombo_embed.store.outbox import write_event
from kombo_embed.store.store import Store
from kombo_embed.store.transaction import Transaction
from tests.postgres import PostgresServer
from tests.store.samples import (
    NOW,
    complete,
    created,
    fixed_clock,
    opened_store,
    register,
    state_changed,
)
from tests.support import LogRecorder

OURS = "FROM pg_stat_activity WHERE application_name = 'kombo-embed'"
END_OURS = f"SELECT pg_terminate_backend(pid) {OURS}"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@asynccontextmanager
async def locked_table(
    postgres: PostgresServer, database: str, lock: str
) -> AsyncIterator[asyncpg.Connection]:
    """Another client's transaction that locks a table until the context ends, or until it is closed."""
    blocker = await postgres.connect(database)
    await blocker.execute(f"BEGIN; LOCK TABLE {lock}")
    try:
        yield blocker
    finally:
        await blocker.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only the server knows."""
    async with asyncio.timeout(30):
        while not await condition():
            pass


async def waits_for(postgres: PostgresServer, kind: str) -> bool:
    waiting = await postgres.aexecute("SELECT locktype FROM pg_locks WHERE NOT granted")
    return kind in {row["locktype"] for row in waiting}


@pytest.mark.parametrize(("default", "used"), [("off", "on"), ("remote_write", "remote_write")])
async def test_commits_are_flushed_to_disk_whatever_the_servers_defaults_are(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, default: str, used: str
) -> None:
    for setting in (f"synchronous_commit = {default}", "default_transaction_isolation = serializable"):
        await postgres.aexecute(f"ALTER DATABASE {postgres_database} SET {setting}")
    names = ("synchronous_commit", "transaction_isolation", "statement_timeout")
    async with opened_store(postgres_url) as store, store._database.writing() as connection:  # noqa: SLF001 - as it writes
        settings = [(await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert settings == [used, "read committed", "5s"]


async def test_connections_that_broke_while_idle_fail_no_call(postgres: PostgresServer, store: Store) -> None:
    await asyncio.gather(*(complete(store, f"token {number}") for number in range(5)))
    await postgres.aexecute(END_OURS)
    results = await asyncio.gather(*(complete(store, f"token {number}") for number in range(5, 10)))
    assert results == [False] * 5
    await postgres.aexecute(END_OURS)
    await store.check()


async def test_a_connection_that_breaks_within_a_transaction_fails_no_call(
    postgres: PostgresServer, store: Store
) -> None:
    attempts = []

    async def work() -> int:
        async with store._database.writing() as connection:  # noqa: SLF001 - to stop within the transaction
            attempts.append(1)
            if len(attempts) == 1:
                await postgres.aexecute(END_OURS)
            return int((await connection.execute(text("SELECT 7"))).scalar_one())

    assert await store._database.run_to_completion(work) == 7  # noqa: SLF001 - as above
    assert len(attempts) == 2


async def test_a_stopped_server_is_unavailable_until_it_runs_again(
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


async def test_the_beginning_and_the_end_of_an_outage_are_logged_once_each(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def events() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    clock = fixed_clock()
    async with opened_store(postgres_url, clock=clock) as store:
        await postgres.aexecute(END_OURS)
        await store.check()
        assert events() == []  # no call failed
        postgres.stop("immediate")
        try:
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.check()
        finally:
            postgres.start()
        assert events() == ["store.unavailable"]
        assert "KOMBO_DATABASE_URL" in vars(caplog.records[-1])["error"]
        await store.check()
        assert events() == ["store.unavailable"]  # it may fail again at once
        clock.advance(RECOVERED_AFTER_SECONDS)
        await store.check()
        await store.check()
        assert events() == ["store.unavailable", "store.recovered"]


async def test_connections_to_a_server_that_became_a_standby_are_dropped(
    postgres: PostgresServer, store: Store
) -> None:
    async def become(read_only: str) -> None:
        await postgres.aexecute(f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
        await postgres.aexecute("SELECT pg_reload_conf()")

        async def is_so() -> bool:
            [[current]] = await postgres.aexecute("SHOW default_transaction_read_only")
            return bool(current == read_only)

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


async def test_a_server_without_a_free_connection_is_unavailable(
    postgres: PostgresServer, store: Store
) -> None:
    await postgres.aexecute(END_OURS)
    limit = int((await postgres.aexecute("SHOW max_connections"))[0][0])
    results = await asyncio.gather(*(postgres.connect() for _ in range(limit)), return_exceptions=True)
    last, *others = [result for result in results if not isinstance(result, BaseException)]

    async def has_free_connections() -> bool:
        return int(await last.fetchval("SELECT count(*) FROM pg_stat_activity")) < limit / 2

    try:
        with pytest.raises(StoreUnavailable, match=r"no free connection: .* raise max_connections"):
            await complete(store)
    finally:
        await asyncio.gather(*(connection.close() for connection in others))
        await until(has_free_connections)
        await last.close()
    assert await complete(store)


async def test_a_server_that_does_not_answer_is_unavailable_after_the_deadline(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"postgresql+asyncpg://kombo:hush-hush@127.0.0.1:{port}/db"
    unanswered = Store(url, environment="default", clock=fixed_clock(), busy_seconds=1)
    async with opened_store(postgres_url, busy_seconds=1) as store:
        async with (
            locked_table(postgres, postgres_database, "kombo_embed_integrations"),
            asyncio.timeout(10),
        ):
            results = await asyncio.gather(complete(store), unanswered.open(), return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
        assert await complete(store)
    await unanswered.aclose()
    server.close()
    await server.wait_closed()


async def test_transactions_that_deadlock_are_retried(postgres_url: str) -> None:
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

    pair = [database.run_to_completion(lambda: write(1, 2)), database.run_to_completion(lambda: write(2, 1))]
    assert await asyncio.gather(*pair) == [1, 2]
    assert len(began) == 3
    await database.aclose()


async def test_an_integrations_later_event_is_numbered_after_its_earlier_one_is_committed(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, store: Store
) -> None:
    async with (
        locked_table(postgres, postgres_database, "kombo_embed_events IN SHARE MODE") as blocker,
        opened_store(postgres_url) as other,
    ):
        connecting = asyncio.create_task(store.save_event(*created("e1")))
        # The first one holds the integration's lock and waits to write its event.
        await until(lambda: waits_for(postgres, "relation"))
        completing = asyncio.create_task(complete(other))
        await until(lambda: waits_for(postgres, "advisory"))
        await blocker.close()
        await connecting
        assert await completing is False


async def test_a_state_that_arrives_while_its_integration_is_being_recorded_is_merged(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, store: Store
) -> None:
    async with (
        locked_table(postgres, postgres_database, "kombo_embed_completions IN SHARE MODE") as blocker,
        opened_store(postgres_url) as other,
    ):
        completing = asyncio.create_task(complete(store))
        # It has read the earlier states already, and has not committed yet.
        await until(lambda: waits_for(postgres, "relation"))
        receiving = asyncio.create_task(other.save_event(*state_changed("e1", "ACTIVE")))
        await until(lambda: waits_for(postgres, "advisory"))
        await blocker.close()
        await asyncio.gather(completing, receiving)
    [found] = await store.find_integrations("acme")
    assert found.status == "ACTIVE"


def test_without_the_driver_the_start_fails_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match="with its extra 'postgres'"):
        Database("postgresql+asyncpg://user:hush-hush@host/db")


def test_parameters_that_the_driver_cannot_use_are_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"KOMBO_DATABASE_URL .* cannot be used: loop, schema$"
    ) as caught:
        Database("postgresql+asyncpg://user:hush-hush@host/db?ssl=require&schema=kombo&loop=1")
    assert caught.value.__cause__ is None


async def test_neither_error_nor_log_nor_repr_has_the_password(log: LogRecorder) -> None:
    url = "postgresql+asyncpg://kombo:hush-hush@127.0.0.1:9/db"
    store = Store(url, environment="default", clock=fixed_clock())
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    await store.aclose()
    assert "store.unavailable" in log.text()
    for output in (str(caught.value), repr(caught.value), log.text(), repr(store), repr(store._database)):  # noqa: SLF001 - on purpose
        assert "hush-hush" not in output


@pytest.mark.parametrize("ahead", [-12, 12])
async def test_machines_whose_clocks_differ_do_not_lease_one_event_at_once(
    store: Store, postgres_url: str, ahead: int
) -> None:
    slots = await register(store, "integration.connected")
    await complete(store)
    ours = NOW + timedelta(minutes=1)  # long due
    theirs = ours + timedelta(seconds=ahead)
    async with opened_store(postgres_url) as other:
        [[leased]] = await store.outbox.take(slots, now=ours, lease_seconds=10)
        assert await other.outbox.take(slots, now=theirs, lease_seconds=10) == []
        await store.outbox.renew([leased], now=ours, lease_seconds=10)
        assert await other.outbox.take(slots, now=theirs, lease_seconds=10) == []
        await store.outbox.release([leased], now=ours)
        assert await other.outbox.take(slots, now=theirs, lease_seconds=10) != []


async def test_an_outcome_waits_for_a_writer_of_its_integration_and_no_lane_loses_its_head(
    store: Store, postgres_url: str
) -> None:
    slots = await register(store, "integration.connected", "integration.updated")
    await complete(store)
    [[first]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    async with opened_store(postgres_url) as other, other._database.writing() as connection:  # noqa: SLF001 - a writer
        writer = Transaction(connection, "default", NOW)
        await writer.lock("personio:x")
        data: dict[str, object] = {}
        integration = first.event.integration
        await write_event(writer, "integration.updated", origin_id="acme", integration=integration, data=data)
        # It has seen the unfinished head, and the outcome would not see its insert.
        outcomes = [DeliveryOutcome(first)]
        assert await store.outbox.save(outcomes, now=NOW, lease_seconds=10) == outcomes
    assert await store.outbox.save(outcomes, now=NOW, lease_seconds=10) == []
    [[second]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    assert second.event.type == "integration.updated"
