"""``kombo-embed integrations``: what customers connected."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from kombo_embed.cli.output import fail, print_fields, print_json, print_table, span
from kombo_embed.cli.records import look
from kombo_embed.integration import Integration
from kombo_embed.store.support import Filter

app = typer.Typer(help="What your customers connected.", no_args_is_help=True, add_completion=False)

LISTED = (
    "integration_id",
    "public_id",
    "origin_id",
    "tool",
    "category",
    "organization_name",
    "status",
    "setup_status",
    "qa_status",
    "learnt_by",
    "connected_at",
    "updated_at",
    "deleted_at",
)


class Status(StrEnum):
    """Kombo's words for how an integration is."""

    ACTIVE = "ACTIVE"
    INVALID = "INVALID"
    INACTIVE = "INACTIVE"


AsJson = Annotated[bool, typer.Option("--json", help="Print for programs.")]


@app.command("list")
def list_integrations(
    *,
    origin_id: Annotated[str | None, typer.Option(help="Of this customer of yours.")] = None,
    tool: Annotated[str | None, typer.Option(help="Of this tool, for example personio.")] = None,
    status: Annotated[Status | None, typer.Option(case_sensitive=False, help="How it is.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Instead: those that were deleted.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List integrations, newest first."""
    chosen = Filter(origin_id=origin_id, tool=tool, status=status, deleted=deleted)
    found = look(lambda records: records.integrations(chosen, limit=limit))
    if as_json:
        print_json({"integrations": [{name: row[name] for name in LISTED} for row in found]})
        return
    now = datetime.now(UTC)
    print_table(
        ["Integration", "Of whom", "How it is", "Age"],
        [
            [
                f"{row['integration_id']}\n{row['public_id']}",
                "\n".join(filter(None, [row["origin_id"], row["organization_name"]])),
                "\n".join(filter(None, [row["category"], row["status"], _outlook(row)])),
                span(row["connected_at"], now),
            ]
            for row in found
        ],
        nothing="There is no such integration.",
    )


@app.command("show")
def show(
    integration_id: Annotated[str, typer.Argument(help="Kombo's id, or the public one.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one integration whole, also a deleted one."""
    row = look(lambda records: records.find_integration(integration_id))
    if row is None:
        fail(f"There is no integration {integration_id}.")
    shown = {name: row[name] for name in (*LISTED, "email")} | {"next_action": _next_action(row)}
    if as_json:
        print_json({"integration": shown})
        return
    print_fields(shown)


def _outlook(row: dict[str, Any]) -> str | None:
    if row["deleted_at"] is not None:
        return "deleted"
    action = _next_action(row)
    return None if action == "none" else action


def _next_action(row: dict[str, Any]) -> str:
    return Integration(**{name: row[name] for name in Integration.__dataclass_fields__}).next_action
