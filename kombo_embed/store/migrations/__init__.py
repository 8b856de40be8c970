"""The tables' history, one file per step, run by Alembic in the transaction of `run`.

A step only ever adds: while a new version is rolled out, workers of the old one go on with the newer tables.
What no version that is in use needs any more is taken away one release later.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from kombo_embed.errors import ConfigurationError
from kombo_embed.store.tables import metadata

VERSION_TABLE = "kombo_embed_version"


def run(connection: Connection) -> str:
    """Bring the tables to this version of the package, in the connection's own transaction; tell which.

    Newer tables are left as they are, and so are those that a host's own Alembic keeps.

    Raises:
        ConfigurationError: The tables are a host's own Alembic's to keep, and are older than this version.
    """
    config = _config()
    found, head = _found(connection), _head(config)
    if found is not None and found > head:
        return found
    if found is None and _present(connection):
        _verify_columns(connection)
        return head
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return head


def verify(connection: Connection) -> None:
    """Return if the tables are those of this version of the package, or newer ones.

    Raises:
        ConfigurationError: They are missing, or older.
    """
    found, head = _found(connection), _head(_config())
    if found is not None and found < head:
        raise ConfigurationError(
            f"kombo-embed cannot start: the database's tables are at version {found}, and this is {head}. "
            "Run: kombo-embed migrate"
        )
    if found is None:
        if not _present(connection):
            raise ConfigurationError(
                "kombo-embed cannot start: its tables are missing from the database. Run: kombo-embed migrate"
            )
        _verify_columns(connection)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _head(config: Config) -> str:
    return ScriptDirectory.from_config(config).get_current_head() or ""


def _found(connection: Connection) -> str | None:
    # Steps are numbered, 0001 and so on: one that a later release will make is greater than all of ours.
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _present(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) & metadata.tables.keys()


def _verify_columns(connection: Connection) -> None:
    """For tables that a host's own Alembic keeps: nothing else tells their version."""
    inspector, present = inspect(connection), _present(connection)
    for name, table in metadata.tables.items():
        columns = {column["name"] for column in inspector.get_columns(name)} if name in present else set()
        lacking = sorted({column.name for column in table.columns} - columns)
        if lacking:
            raise ConfigurationError(
                f"kombo-embed cannot start: the table {name} lacks {', '.join(lacking)}. There is no table "
                f"{VERSION_TABLE}, so another Alembic keeps these: bring them up to date with that one."
            )
