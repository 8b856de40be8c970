"""The migrations, one file per step, which Alembic runs in the transaction of `run`.

A step only adds: during a rollout, workers of the old version continue with the newer tables. A step may
remove what the previous release did not use any more.
"""

from __future__ import annotations

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from kombo_embed.errors import ConfigurationError
from kombo_embed.store.tables import metadata

VERSION_TABLE = "kombo_embed_version"
MIGRATE = "Run: kombo-embed migrate, as the role that owns the tables"


def run(connection: Connection) -> str:
    """Migrate the tables to this package's version within the connection's transaction; return the version.

    Newer tables, and tables that a host's own Alembic manages, are not changed. Raises `ConfigurationError`
    if the latter are older than this version.
    """
    current, head = _current(connection), _head()
    if current is not None and current >= head:
        return current
    if current is None and _present(connection):
        _verify_columns(connection)
        return head
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return head


def verify(connection: Connection) -> None:
    """Raise `ConfigurationError` if the tables are missing, or older than this package's version."""
    current, head = _current(connection), _head()
    if current is not None and current < head:
        raise ConfigurationError(
            f"kombo-embed cannot start: the database's tables are at version {current}, and this is {head}. "
            f"{MIGRATE}"
        )
    if current is None and not _present(connection):
        raise ConfigurationError(
            f"kombo-embed cannot start: its tables are missing from the database. {MIGRATE}"
        )
    if current is None:
        _verify_columns(connection)


def is_newer(connection: Connection) -> bool:
    """Return whether a later version of this package has migrated the tables."""
    current = _current(connection)
    return current is not None and current > _head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


@functools.cache
def _head() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _current(connection: Connection) -> str | None:
    # Steps are numbered, 0001 and so on, so versions compare as texts, also those of later releases.
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _present(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) & metadata.tables.keys()


def _verify_columns(connection: Connection) -> None:
    """Verify tables that a host's own Alembic manages by their columns: they have no version of ours."""
    inspector, present = inspect(connection), _present(connection)
    for name, table in metadata.tables.items():
        columns = {column["name"] for column in inspector.get_columns(name)} if name in present else set()
        missing = sorted({column.name for column in table.columns} - columns)
        if missing:
            raise ConfigurationError(
                f"kombo-embed cannot start: the table {name} lacks {', '.join(missing)}. There is no table "
                f"{VERSION_TABLE}, so another Alembic manages these tables: upgrade them with that one."
            )
