"""The tables' history, one file per step, run by Alembic in the transaction of `run`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

VERSION_TABLE = "kombo_embed_version"


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this version of the package."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision() == _script(connection)[1].get_current_head()


def run(connection: Connection) -> str:
    """Bring the tables to this version of the package, in the connection's own transaction; tell which."""
    config, script = _script(connection)
    command.upgrade(config, "head")
    return script.get_current_head() or ""


def _script(connection: Connection) -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config, ScriptDirectory.from_config(config)
