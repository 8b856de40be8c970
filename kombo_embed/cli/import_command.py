"""``kombo-embed import``: record integrations that exist at Kombo already."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer

from kombo_embed import KomboEmbed
from kombo_embed.cli.database import opened_embed
from kombo_embed.cli.import_file import UnreadableFile, read_lines
from kombo_embed.cli.output import AsJson, fail, print_error, print_json
from kombo_embed.errors import KomboEmbedError
from kombo_embed.store.audit import COMMAND_LINE
from kombo_embed.upstream import ImportResult, Status

STATUSES: tuple[Status, ...] = get_args(Status)


def import_integrations(
    file: Annotated[
        Path, typer.Argument(help="A .csv with a header, or a .jsonl with one JSON object per line.")
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be recorded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record integrations that exist at Kombo already, for example of an integration of your own.

    Columns: integration_id and origin_id; optional are email, organization_name, tool, category and
    connected_at. Each line is read back from Kombo and reported. A line that fails affects no other one. It
    may be repeated: what is recorded stays as it is. Handlers are not called.
    """
    results: list[ImportResult] = []
    try:
        asyncio.run(_import(file, results, dry_run=dry_run, with_lines=not as_json))
    except (KomboEmbedError, UnreadableFile) as error:
        if results:  # they are recorded
            _print_results(results, dry_run=dry_run, as_json=as_json)
        fail(str(error))
    _print_results(results, dry_run=dry_run, as_json=as_json)
    if any(one.status == "failed" for one in results):
        raise typer.Exit(1)


async def _import(file: Path, results: list[ImportResult], *, dry_run: bool, with_lines: bool) -> None:
    async with opened_embed() as embed, aclosing(_run(embed, file, dry_run=dry_run)) as run:
        async for result in run:
            results.append(result)
            if with_lines:
                _print_line(result)


async def _run(embed: KomboEmbed, file: Path, *, dry_run: bool) -> AsyncGenerator[ImportResult, None]:
    importer = (await embed.services()).importer
    async for result in importer.run(read_lines(file), dry_run=dry_run, actor=COMMAND_LINE):
        yield result


def _print_line(result: ImportResult) -> None:
    name = f"line {result.number}: {result.integration_id or ''}".rstrip(" :")
    if result.status == "failed":
        print_error(f"{name}: {result.reason}: {result.detail}")
    else:
        typer.echo(f"{name}: {result.status}")


def _print_results(results: list[ImportResult], *, dry_run: bool, as_json: bool) -> None:
    counts = Counter(one.status for one in results)
    if as_json:
        lines = [{"line": one.number, **_fields(one)} for one in results]
        print_json({"dry_run": dry_run, **{name: counts[name] for name in STATUSES}, "lines": lines})
        return
    typer.echo(", ".join(f"{counts[name]} {name}" for name in STATUSES) + ".")
    if dry_run:
        typer.echo("Nothing was changed.")


def _fields(result: ImportResult) -> dict[str, object]:
    fields = asdict(result)
    del fields["number"]
    return fields
