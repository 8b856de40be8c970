"""The tables' history, one file per step, run by Alembic in the transaction of `run`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

VERSION_TABLE = "kombo_embed_version"


def run(connection: Connection) -> str:
    """Bring the tables to this version of the package, in the connection's own transaction; tell which."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return ScriptDirectory.from_config(config).get_current_head() or ""
