"""The connections to PostgreSQL: how many there are, how long one waits for one, and PgBouncer."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from kombo_embed.errors import StoreUnavailable
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.postgresql import POOL_SIZE
from kombo_embed.store.store import Store, migrate
from tests.postgres import PostgresServer
from tests.store.samples import complete, opened_database, opened_store, read
from tests.support import make_host, person, running

PREPARED = text("SELECT count(*) FROM pg_prepared_statements")


async def connections(postgres: PostgresServer, database: str) -> set[tuple[int, Any]]:
    """Return the process id and the start of each of our connections."""
    rows = await postgres.aexecute(
        "SELECT datname, pid, backend_start FROM pg_stat_activity WHERE application_name = 'kombo-embed'"
    )
    return {(row["pid"], row["backend_start"]) for row in rows if row["datname"] == database}


async def test_bursts_use_a_fixed_number_of_connections_and_a_second_one_opens_none(
    postgres: PostgresServer, postgres_database: str, postgres_url: str, sandbox: Sandbox
) -> None:
    app, _ = make_host(httpx.ASGITransport(sandbox.app), database_url=postgres_url, link_rate="1000/minute")

    async def burst(name: str) -> None:
        requests = (
            client.post("/kombo/links", headers=person(f"{name}{number}@acme"), json={})
            for number in range(60)
        )
        responses = await asyncio.gather(*requests)
        assert {response.status_code for response in responses} == {200}

    async with running(app) as client:
        await burst("ada")
        after_the_first = await connections(postgres, postgres_database)
        await burst("bob")
        assert await connections(postgres, postgres_database) == after_the_first
    assert len(after_the_first) == POOL_SIZE


async def test_several_mounts_of_one_process_share_the_connections_to_one_database(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(opened_store(postgres_url, environment=name))
            for name in ("eu", "us", "ca")
        ]
        await asyncio.gather(*(complete(store, f"token {n}") for store in stores for n in range(20)))
        assert len(await connections(postgres, postgres_database)) == POOL_SIZE
        await stores[0].aclose()
        await stores[1].check()  # it has still a use for them
        assert await connections(postgres, postgres_database)
    assert await connections(postgres, postgres_database) == set()


async def test_a_store_that_is_opened_again_joins_the_others(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    async with opened_store(postgres_url) as store, opened_store(postgres_url) as other:
        await store.aclose()
        await store.open()
        work = [complete(one, f"token {n}") for one in (store, other) for n in range(20)]
        await asyncio.gather(*work)
        assert len(await connections(postgres, postgres_database)) == POOL_SIZE


async def test_databases_with_other_urls_do_not_share(postgres_url: str) -> None:
    async with (
        opened_database(postgres_url) as one,
        opened_database(f"{postgres_url}&options=-cwork_mem%3D1MB") as other,
    ):
        work_mem = text("SHOW work_mem")
        assert [await read(one, work_mem), await read(other, work_mem)] == ["4MB", "1MB"]


async def test_a_wait_for_a_connection_ends_at_the_deadline_with_its_remedy(postgres_url: str) -> None:
    async with opened_database(postgres_url, busy_seconds=0.3) as database, AsyncExitStack() as busy:
        for _ in range(POOL_SIZE):
            await busy.enter_async_context(database.reading())
        began = time.monotonic()
        with pytest.raises(
            StoreUnavailable, match=f"All {POOL_SIZE} connections .* were busy .*more workers"
        ) as caught:
            await read(database, text("SELECT 1"))
        assert time.monotonic() - began < 3
        assert caught.value.retry_after > 0


async def test_statements_stay_prepared_without_a_pooler_and_are_unnamed_behind_one(
    postgres_url: str, pgbouncer_url: str
) -> None:
    async with opened_database(postgres_url) as direct, opened_database(pgbouncer_url) as pooled:
        for _ in range(3):
            named, unnamed = await read(direct, PREPARED), await read(pooled, PREPARED)
    assert named > 0
    assert unnamed == 0


@pytest.mark.parametrize(
    "parameters", ["pgbouncer=true", "statement_cache_size=0", "prepared_statement_cache_size=0"]
)
async def test_a_parameter_of_the_url_keeps_statements_unnamed(postgres_url: str, parameters: str) -> None:
    async with opened_database(f"{postgres_url}&{parameters}") as database:
        assert [await read(database, PREPARED) for _ in range(3)] == [0, 0, 0]


async def test_a_pooler_that_hides_itself_fails_no_call(postgres_url: str) -> None:
    """DEALLOCATE leaves the connection as one on which another client's statements are."""
    async with opened_store(postgres_url) as store:
        await complete(store)
        await asyncio.gather(*(_deallocate(store) for _ in range(POOL_SIZE)))
        assert await complete(store, "another token") is False
        assert await read(store._database, PREPARED) == 0  # noqa: SLF001 - no statement is named any more


async def _deallocate(store: Store) -> None:
    engine: Any = store._database.backend.engine  # noqa: SLF001 - to reach its connections
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        await driver.execute("DEALLOCATE ALL")


async def test_migrations_of_several_processes_run_through_a_pooler(
    postgres: PostgresServer, pgbouncer: Any
) -> None:
    name = await asyncio.to_thread(postgres.create_database, template="template0")
    try:
        versions = await asyncio.gather(*(migrate(pgbouncer.url(name)) for _ in range(4)))
        assert len(set(versions)) == 1
        async with opened_store(pgbouncer.url(name)) as store:
            assert await complete(store)
    finally:
        await asyncio.to_thread(postgres.drop_database, name)


async def test_what_the_pooler_refuses_is_named(pgbouncer_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"08P01.* ignore_startup_parameters"):
        async with opened_store(f"{pgbouncer_url}&options=-cwork_mem%3D1MB"):
            pass


def test_the_page_has_the_budget_of_connections() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) ", page.partition("### Connections")[2], re.MULTILINE)
    budget = {int(workers): (int(used), int(left)) for workers, used, left in rows}
    assert budget[14][1] > 20  # for the app's own
    for workers, (used, left) in budget.items():
        assert (used, left) == (workers * POOL_SIZE, 97 - workers * POOL_SIZE)
