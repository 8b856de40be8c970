"""The tables' history, one file per step, run by Alembic in the transaction of `run`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

VERSION_TABLE = "kombo_embed_version"


def run(connection: Connection) -> None:
    """Bring the tables to this version of the package, in the connection's own transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
