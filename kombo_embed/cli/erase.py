"""``kombo-embed erase``: remove a customer's personal data."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from kombo_embed.cli.database import opened_embed
from kombo_embed.cli.output import AsJson, exit_on_error, fail, print_json, print_table
from kombo_embed.integration import Erasure
from kombo_embed.models import is_origin_id
from kombo_embed.store.audit import COMMAND_LINE


def erase(
    origin_id: Annotated[str, typer.Argument(help="Your customer's id in your database.")],
    *,
    at_kombo: Annotated[
        bool, typer.Option("--at-kombo", help="Also delete the integrations at Kombo. This is final.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a customer's personal data from the database, and invalidate their links.

    It may be repeated: it continues an erasure that was interrupted.
    """
    if not is_origin_id(origin_id):
        fail("No customer can have this id.")
    with exit_on_error():
        erasure = asyncio.run(_erase(origin_id, at_kombo=at_kombo, dry_run=dry_run))
    if as_json:
        print_json(asdict(erasure))
    else:
        _print_erasure(erasure)
    if erasure.failed_at_kombo:
        raise typer.Exit(1)


async def _erase(origin_id: str, *, at_kombo: bool, dry_run: bool) -> Erasure:
    async with opened_embed() as embed:
        return await embed.erase(origin_id, at_kombo=at_kombo, dry_run=dry_run, actor=COMMAND_LINE)


def _print_erasure(erasure: Erasure) -> None:
    rows = [[name, number] for name, number in erasure.rows.items()]
    print_table(["Table", "Rows"], rows, if_empty="There is nothing to erase.")
    if erasure.dry_run:
        typer.echo("Nothing was changed.")
        return
    if erasure.deleted_at_kombo:
        typer.echo(f"Integrations deleted at Kombo: {erasure.deleted_at_kombo}.")
    for integration_id, code in erasure.failed_at_kombo.items():
        typer.echo(f"{integration_id}: not deleted at Kombo ({code})", err=True)
    if erasure.failed_at_kombo:
        typer.echo("Run the command again later to delete them at Kombo.", err=True)
