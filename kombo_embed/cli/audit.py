"""``kombo-embed audit``: list who did what for which customer."""

from dataclasses import asdict
from typing import Annotated

import typer

from kombo_embed.cli.database import read_records
from kombo_embed.cli.output import AsJson, lines, print_json, print_table


def audit(
    *,
    origin_id: Annotated[
        str | None, typer.Option(help="Only this customer's, also after an erasure.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    before: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Only those before this one: the next page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List who connected, reconnected, finished the setup, disconnected, erased, or minted a magic link."""
    found = read_records(lambda records: records.audit(origin_id=origin_id, limit=limit + 1, before=before))
    entries, more = found[:limit], found[limit:]
    last = entries[-1].id if more else None
    if as_json:
        print_json({"audit": [asdict(entry) for entry in entries], "next_before": last})
        return
    rows = [
        [entry.at, lines(entry.action, entry.actor), lines(entry.origin_id, entry.integration_id)]
        for entry in entries
    ]
    print_table(["Date", "Action, actor", "Customer, integration"], rows, if_empty="There are no entries.")
    if last:
        typer.echo(f"There are more: add --before {last}")
