"""``kombo-embed reconcile``: re-read every integration from Kombo, to recover what lost webhooks reported."""

import asyncio
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from kombo_embed.cli.database import opened_embed
from kombo_embed.cli.output import AsJson, exit_on_error, print_error, print_json
from kombo_embed.integration import ALL_NOT_FOUND, Reconciliation

ALL_NOT_FOUND_HELP = (
    "Kombo recognizes none of your integrations, so none was marked as deleted. Usually this means that "
    "KOMBO_API_KEY belongs to another Kombo environment: check it, KOMBO_REGION and KOMBO_ENVIRONMENT. If "
    "all integrations are really deleted, run: kombo-embed reconcile --delete-all-unknown"
)


def reconcile(
    *,
    delete_all_unknown: Annotated[
        bool,
        typer.Option(
            "--delete-all-unknown",
            help="Also mark them as deleted if Kombo recognizes none of them. This is final.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Re-read every known integration from Kombo and record what changed."""
    with exit_on_error():
        result = asyncio.run(_reconcile(with_progress=not as_json, delete_all_unknown=delete_all_unknown))
    failures = set(result.failed.values())
    if as_json:
        print_json(asdict(result))
    else:
        _print_result(result, retry=bool(failures - {ALL_NOT_FOUND}))
    if ALL_NOT_FOUND in failures:
        typer.echo(ALL_NOT_FOUND_HELP, err=True)
    if failures:
        raise typer.Exit(1)


def _print_result(result: Reconciliation, *, retry: bool) -> None:
    typer.echo(f"{result.checked} read, {result.updated} changed, {result.deleted} deleted at Kombo.")
    for integration_id, code in result.failed.items():
        print_error(f"{integration_id}: {code}")
    if retry:
        typer.echo("Run the command again later to read those that failed.", err=True)


async def _reconcile(*, with_progress: bool, delete_all_unknown: bool) -> Reconciliation:
    console = Console(stderr=True)
    with_progress = with_progress and console.is_terminal
    with console.status("Reading from Kombo ...") if with_progress else nullcontext() as status:

        def print_progress(checked: int) -> None:
            if status is not None:
                status.update(f"Reading from Kombo ... {checked} read")

        async with opened_embed() as embed:
            return await embed.reconcile(on_progress=print_progress, delete_all_unknown=delete_all_unknown)
