from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, func, insert, inspect, select, types, update

import kombo_embed
from kombo_embed.errors import ConfigurationError
from kombo_embed.store import migrations
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store, migrate
from kombo_embed.store.tables import metadata
from tests.postgres import PostgresServer
from tests.store.samples import fixed_clock, opened_store
from tests.support import SQLITE_URL

# SQLAlchemy does not reflect indexes on expressions on SQLite, and Alembic then does not compare them.
pytestmark = pytest.mark.filterwarnings("ignore:.*(expression-based|functional) index")

ROOT = Path(__file__).parents[2]
SCRIPTS = str(Path(migrations.__file__).parent)
REVISIONS = [step.revision for step in ScriptDirectory(SCRIPTS).walk_revisions()]
# Existing databases have these columns: a migration step may add some, but none may be renamed.
RELEASED_COLUMNS = {
    "integrations": (
        "id environment integration_id public_id origin_id tool category organization_name email "
        "status setup_status learnt_by connected_at updated_at state_updated_at deleted_at qa_status "
        "setup_updated_at qa_updated_at category_guessed duplicate_told_at"
    ),
    "minted_links": (
        "id environment origin_id email purpose integration_id category tool language minted_at "
        "expires_at watch_until"
    ),
    "completions": "environment activation_token_sha256 integration_id completed_at",
    "received_events": "environment event_id type integration_id data report received_at",
    "outbox": (
        "id environment event_id type origin_id integration_id integration data occurred_at attempts "
        "done_handlers due_at lease_owner lease_ends_at delivered_at failures given_up_at"
    ),
    "malformed_events": "environment body_sha256 body reason times first_received_at received_at",
    "dropped_links": "id environment drop_id origin_id dropped_at",
}
PROCESSES, ROUNDS = 8, 5
OPEN_ALL_AT_ONCE = """
import asyncio, multiprocessing, sys, time
from kombo_embed.store.store import Store

async def open_and_close(url):
    store = Store(url, environment="default", clock=time)
    await store.open()
    await store.check()
    await store.aclose()

def start(url, together):
    together.wait(30)
    asyncio.run(open_and_close(url))

forked = multiprocessing.get_context("fork")
for number in range(int(sys.argv[2])):
    together = forked.Barrier(int(sys.argv[1]))
    given = (f"sqlite+aiosqlite:///new-{number}.db", together)
    processes = [forked.Process(target=start, args=given) for _ in range(int(sys.argv[1]))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
"""

Result = TypeVar("Result")


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    name = postgres.create_database(template="template0")
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    return SQLITE_URL if request.param == "sqlite" else request.getfixturevalue("empty_postgres_url")


async def in_database(url: str, work: Callable[[Connection], Result]) -> Result:
    database = Database(url)
    try:
        async with database.migrating() as connection:
            return await connection.run_sync(work)
    finally:
        await database.aclose()


def upgrade_to(revision: str) -> Callable[[Connection], None]:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", SCRIPTS)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return upgrade


def insert_a_row_into_each_table(connection: Connection) -> None:
    tables = MetaData()
    tables.reflect(connection)
    for table in tables.tables.values():
        if table.name != migrations.VERSION_TABLE:
            row = {column.name: value_of(column.type) for column in table.columns}
            connection.execute(insert(table).values(row))


def value_of(kind: types.TypeEngine[Any]) -> object:
    match kind:
        case types.JSON():
            return []
        case types.DateTime():
            return datetime(2026, 1, 1, tzinfo=UTC)
        case types.Boolean():
            return True
        case types.Integer():
            return 1
        case types.LargeBinary():
            return b"x"
        case _:
            return "x"


def read_all(connection: Connection) -> dict[str, int]:
    return {name: len(connection.execute(table.select()).all()) for name, table in metadata.tables.items()}


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": migrations.VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
        },
    )
    return list(compare_metadata(context, metadata))


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_earlier_version_is_migrated_to_the_codes_tables_and_keeps_its_rows(
    empty_url: str, revision: str
) -> None:
    await in_database(empty_url, upgrade_to(revision))
    await in_database(empty_url, insert_a_row_into_each_table)
    before = set(await in_database(empty_url, lambda connection: inspect(connection).get_table_names()))
    assert await migrate(empty_url) == REVISIONS[0]
    assert await in_database(empty_url, differences) == []
    rows = await in_database(empty_url, read_all)
    assert {name for name, count in rows.items() if count} == before - {migrations.VERSION_TABLE}


async def test_the_released_columns_keep_their_names(empty_url: str) -> None:
    await migrate(empty_url)

    def columns(connection: Connection) -> dict[str, set[str]]:
        inspector = inspect(connection)
        return {
            name: {column["name"] for column in inspector.get_columns(f"kombo_embed_{name}")}
            for name in RELEASED_COLUMNS
        }

    found = await in_database(empty_url, columns)
    for name, released in RELEASED_COLUMNS.items():
        assert set(released.split()) <= found[name]


async def test_the_partial_indexes_have_their_conditions(empty_url: str) -> None:
    await migrate(empty_url)

    def conditions(connection: Connection) -> dict[str, str]:
        dialect = connection.dialect.name
        indexes = inspect(connection).get_indexes("kombo_embed_outbox")
        found = {str(one["name"]): one.get("dialect_options", {}).get(f"{dialect}_where") for one in indexes}
        return {name: str(where).strip("()") for name, where in found.items() if where is not None}

    found = await in_database(empty_url, conditions)
    for name in ("ix_kombo_embed_outbox_waiting", "ix_kombo_embed_outbox_integration"):
        assert found[name].startswith("delivered_at IS NULL")


async def test_repeated_and_concurrent_migrations_change_nothing(empty_url: str) -> None:
    assert set(await asyncio.gather(*(migrate(empty_url) for _ in range(4)))) == {REVISIONS[0]}
    assert await in_database(empty_url, differences) == []


def test_several_processes_can_start_at_once_on_a_new_sqlite_file(tmp_path: Path) -> None:
    program = [sys.executable, "-c", OPEN_ALL_AT_ONCE, str(PROCESSES), str(ROUNDS)]
    done = subprocess.run(  # noqa: S603 - our own program
        program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_on_postgresql_a_start_before_the_migration_fails_and_names_the_command(
    empty_postgres_url: str,
) -> None:
    store = Store(empty_postgres_url, environment="default", clock=fixed_clock())
    with pytest.raises(ConfigurationError, match=r"tables are missing.*kombo-embed migrate"):
        await store.open()
    await migrate(empty_postgres_url)
    await in_database(empty_postgres_url, at_version("0000"))
    with pytest.raises(ConfigurationError, match=r"version 0000, and this is .*kombo-embed migrate"):
        await store.open()
    await store.aclose()


async def test_an_older_version_starts_on_newer_tables_and_does_not_change_them(empty_url: str) -> None:
    await migrate(empty_url)
    await in_database(empty_url, at_version("9999"))
    async with opened_store(empty_url) as store:
        await store.check()
    assert await migrate(empty_url) == "9999"


async def test_tables_of_a_hosts_own_alembic_are_used_and_not_migrated(empty_url: str) -> None:
    await in_database(empty_url, kombo_embed.metadata.create_all)
    async with opened_store(empty_url) as store:
        await store.check()
    await migrate(empty_url)
    names = await in_database(empty_url, lambda connection: inspect(connection).get_table_names())
    assert set(names) == set(metadata.tables)
    await in_database(
        empty_url,
        lambda connection: connection.exec_driver_sql("ALTER TABLE kombo_embed_outbox DROP COLUMN data"),
    )
    with pytest.raises(ConfigurationError, match="kombo_embed_outbox lacks data"):
        await store.open()
    await store.aclose()


async def test_the_version_of_a_hosts_own_alembic_in_the_same_database_is_kept(empty_url: str) -> None:
    def host_migrates(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('of-the-host')")

    await in_database(empty_url, host_migrates)
    await migrate(empty_url)

    def host_version(connection: Connection) -> object:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()

    assert await in_database(empty_url, host_version) == "of-the-host"


async def test_a_hosts_autogenerate_ignores_our_tables_as_the_documentation_says(empty_url: str) -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n# env\.py(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(f"#{program}", "how-it-works.md", "exec"), names)  # noqa: S102 - our own page
    await migrate(empty_url)

    def propose(connection: Connection, **options: object) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), MetaData()))

    include = names["include_object"]
    assert await in_database(empty_url, lambda connection: propose(connection, include_object=include)) == []
    assert await in_database(empty_url, propose) != []


def at_version(version: str) -> Callable[[Connection], None]:
    def change(connection: Connection) -> None:
        tables = MetaData()
        tables.reflect(connection, only=[migrations.VERSION_TABLE])
        table = tables.tables[migrations.VERSION_TABLE]
        connection.execute(update(table).values(version_num=version))
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1

    return change
