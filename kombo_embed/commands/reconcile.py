"""``kombo-embed reconcile``: have Kombo say what webhooks that were lost would have told."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from kombo_embed.commands.printing import print_json, told
from kombo_embed.models import Reconciliation


def reconcile(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False
) -> None:
    """Re-read every known integration from Kombo, and take over what changed."""
    with told():
        result = asyncio.run(_reconcile(quiet=as_json))
    if as_json:
        print_json(asdict(result))
    else:
        typer.echo(f"{result.checked} read, {result.updated} changed, {result.deleted} deleted at Kombo.")
        for integration_id, code in result.failed.items():
            typer.echo(f"{integration_id}: {code}", err=True)
        if result.failed:
            typer.echo(f"{len(result.failed)} could not be read; the same command later is right.", err=True)
    if result.failed:
        raise typer.Exit(1)


async def _reconcile(*, quiet: bool) -> Reconciliation:
    from kombo_embed import KomboEmbed  # noqa: PLC0415 - heavy

    console = Console(stderr=True)
    status = nullcontext() if quiet or not console.is_terminal else console.status("Asking Kombo ...")
    with status as shown:

        def show(checked: int) -> None:
            if shown is not None:
                shown.update(f"Asking Kombo ... {checked} read")

        async with KomboEmbed(end_user=lambda _: None) as embed:
            return await embed.reconcile(on_progress=show)
