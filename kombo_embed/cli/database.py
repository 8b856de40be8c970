"""``kombo-embed migrate`` and ``copy``, and what other commands open: the database, or the app's embed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from kombo_embed import KomboEmbed, Settings
from kombo_embed.cli.output import AsJson, exit_on_error, print_json, print_table
from kombo_embed.settings import RecordSettings
from kombo_embed.store.copying import CopiedRecords
from kombo_embed.store.copying import copy as copy_records
from kombo_embed.store.store import migrate as migrate_store
from kombo_embed.store.support import RecordsReader, missing_file, verify_file

Result = TypeVar("Result")


def migrate(*, as_json: AsJson = False) -> None:
    """Upgrade the database's tables to this version of kombo-embed."""
    with exit_on_error():
        version = asyncio.run(migrate_store(RecordSettings().database_url.get_secret_value()))
    if as_json:
        print_json({"version": version})
    else:
        typer.echo(f"The tables are at version {version}.")


def copy(
    *,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The database to copy.")],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="A database without records. It is migrated.")
    ],
    as_json: AsJson = False,
) -> None:
    """Copy all records to another database, for example from SQLite to PostgreSQL; stop the app before.

    The URLs are as in KOMBO_DATABASE_URL. The target gets everything or nothing.
    """
    with exit_on_error():
        copied = asyncio.run(_copy(source, target, with_progress=not as_json))
    if as_json:
        print_json({"version": copied.version, "tables": copied.rows, "rows": sum(copied.rows.values())})
        return
    rows = [[name, number] for name, number in copied.rows.items()]
    print_table(["Table", "Rows"], rows, if_empty="")
    typer.echo("Everything was copied. Set KOMBO_DATABASE_URL to the new database before you start the app.")


async def _copy(source: str, target: str, *, with_progress: bool) -> CopiedRecords:
    console = Console(stderr=True)
    is_shown = with_progress and console.is_terminal
    with console.status("Copying ...") if is_shown else nullcontext() as status:

        def print_progress(table: str, copied: int, total: int) -> None:
            if status is not None:
                status.update(f"Copying {table} ... {copied} of {total} rows")

        return await copy_records(source, target, on_progress=print_progress)


@asynccontextmanager
async def opened_embed(*, may_create: bool = False) -> AsyncIterator[KomboEmbed]:
    """Open the app's embed, without its login and reconciliation; ``may_create`` a database."""
    settings = Settings(auth="callable", reconcile_every="off")
    url = settings.database_url.get_secret_value()
    if not may_create:
        verify_file(url)
    elif (new_file := missing_file(url)) is not None:
        typer.echo(f"Creating a database at {new_file}. Is this the app's KOMBO_DATABASE_URL?", err=True)
    async with KomboEmbed(end_user=lambda _: None, settings=settings) as embed:
        yield embed


def read_records(query: Callable[[RecordsReader], Awaitable[Result]]) -> Result:
    """Run a query on the database that the settings name; print the reason and exit if that fails."""

    async def run() -> Result:
        settings = RecordSettings()
        url = settings.database_url.get_secret_value()
        async with RecordsReader(url, environment=settings.environment, clock=time).opened() as records:
            return await query(records)

    with exit_on_error():
        return asyncio.run(run())
