"""``kombo-embed reconcile``: have Kombo say what webhooks that were lost would have told."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from kombo_embed.cli.output import print_json, told
from kombo_embed.integration import ALL_NOT_FOUND, Reconciliation

ALL_UNKNOWN = (
    "Kombo knows none of your integrations, so none was marked as deleted. KOMBO_API_KEY is rather that of "
    "another of Kombo's environments: check it, KOMBO_REGION and KOMBO_ENVIRONMENT. If all of them are "
    "really gone, say so: kombo-embed reconcile --delete-all-unknown"
)


def reconcile(
    *,
    delete_all_unknown: Annotated[
        bool,
        typer.Option(
            "--delete-all-unknown", help="Mark them as deleted even if Kombo knows none at all. For ever."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Re-read every known integration from Kombo, and take over what changed."""
    with told():
        result = asyncio.run(_reconcile(quiet=as_json, delete_all_unknown=delete_all_unknown))
    if as_json:
        print_json(asdict(result))
    else:
        typer.echo(f"{result.checked} read, {result.updated} changed, {result.deleted} deleted at Kombo.")
        for integration_id, code in result.failed.items():
            typer.echo(f"{integration_id}: {code}", err=True)
    failed = set(result.failed.values())
    if ALL_NOT_FOUND in failed:
        typer.echo(ALL_UNKNOWN, err=True)
    if failed - {ALL_NOT_FOUND} and not as_json:
        typer.echo("What could not be read, the same command later can read.", err=True)
    if failed:
        raise typer.Exit(1)


async def _reconcile(*, quiet: bool, delete_all_unknown: bool) -> Reconciliation:
    from kombo_embed import KomboEmbed, Settings  # noqa: PLC0415 - heavy
    from kombo_embed.store.support import verify_file  # noqa: PLC0415 - heavy

    settings = Settings()
    verify_file(settings.database_url.get_secret_value())
    console = Console(stderr=True)
    status = nullcontext() if quiet or not console.is_terminal else console.status("Asking Kombo ...")
    with status as shown:

        def show(checked: int) -> None:
            if shown is not None:
                shown.update(f"Asking Kombo ... {checked} read")

        async with KomboEmbed(end_user=lambda _: None, settings=settings) as embed:
            return await embed.reconcile(on_progress=show, delete_all_unknown=delete_all_unknown)
