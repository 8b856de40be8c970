"""``kombo-embed migrate``, and database access for other commands, which never create a database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from kombo_embed.cli.output import AsJson, exit_on_error, print_json
from kombo_embed.settings import RecordSettings
from kombo_embed.store.store import migrate as migrate_store
from kombo_embed.store.support import RecordsReader

Result = TypeVar("Result")


def migrate(*, as_json: AsJson = False) -> None:
    """Upgrade the database's tables to this version of kombo-embed."""
    with exit_on_error():
        version = asyncio.run(migrate_store(RecordSettings().database_url.get_secret_value()))
    if as_json:
        print_json({"version": version})
    else:
        typer.echo(f"The tables are at version {version}.")


def read_records(query: Callable[[RecordsReader], Awaitable[Result]]) -> Result:
    """Run a query on the database that the settings name; print the reason and exit if that fails."""

    async def run() -> Result:
        settings = RecordSettings()
        url = settings.database_url.get_secret_value()
        async with RecordsReader(url, environment=settings.environment, clock=time).opened() as records:
            return await query(records)

    with exit_on_error():
        return asyncio.run(run())
