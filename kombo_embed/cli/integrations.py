"""``kombo-embed integrations``: list and inspect what customers connected."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from kombo_embed.cli.database import read_records
from kombo_embed.cli.output import AsJson, distance, fail, lines, print_fields, print_json, print_table
from kombo_embed.integration import DETAILS_NOT_FOUND, DETAILS_NOT_FOUND_MAX, Integration

app = typer.Typer(help="List and inspect integrations.", no_args_is_help=True, add_completion=False)

LISTED = (
    *("integration_id", "public_id", "origin_id", "tool", "tool_label", "logo_url", "category"),
    "organization_name",
    *("status", "setup_status", "qa_status", "learnt_by"),
    *("connected_at", "updated_at", "checked_at", "deleted_at"),
)


class NextAction(StrEnum):
    """What the customer has to do next."""

    ENABLE = "enable"
    RECONNECT = "reconnect"
    FINISH_SETUP = "finish_setup"
    WAIT_FOR_SYNC = "wait_for_sync"
    PENDING = "pending"
    NONE = "none"


class Status(StrEnum):
    """An integration's status, as Kombo names it."""

    ACTIVE = "ACTIVE"
    INVALID = "INVALID"
    INACTIVE = "INACTIVE"


@app.command("list")
def list_integrations(  # noqa: PLR0913 - the options of the command
    *,
    origin_id: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    tool: Annotated[str | None, typer.Option(help="Only of this tool, for example personio.")] = None,
    status: Annotated[
        Status | None, typer.Option(case_sensitive=False, help="Only with this status.")
    ] = None,
    next_action: Annotated[
        list[NextAction] | None, typer.Option(help="Only with this next action; may be repeated.")
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Only deleted ones.")] = False,
    problem: Annotated[bool, typer.Option("--problem", help="Only those that Kombo does not find.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those recorded before this one: the next page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List integrations, newest first."""
    columns = {"origin_id": origin_id, "tool": tool, "status": status}
    rows = read_records(
        lambda records: records.integrations(
            columns,
            deleted=deleted,
            not_found=problem,
            next_actions=next_action or (),
            limit=limit + 1,
            before=before,
        )
    )
    rows, more = rows[:limit], rows[limit:]
    last = rows[-1]["public_id"] if more else None
    if as_json:
        print_json({"integrations": [_fields(row) for row in rows], "next_before": last})
        return
    _print_integrations(rows)
    if last:
        typer.echo(f"There are more: add --before {last}")


# A public id may begin with a hyphen, and this command has no option of one letter.
@app.command("show", context_settings={"ignore_unknown_options": True})
def show(
    integration_id: Annotated[str, typer.Argument(help="Kombo's id, or the public id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print every field of one integration, also of a deleted one."""
    row = read_records(lambda records: records.find_integration(integration_id))
    if row is None:
        fail(f"There is no integration {integration_id}.")
    fields = _fields(row) | {"email": row["email"]}
    print_fields(fields, as_json="integration" if as_json else None)


def _print_integrations(rows: list[dict[str, Any]]) -> None:
    now = datetime.now(UTC)
    print_table(
        ["Integration", "Customer", "Status", "Last update"],
        [
            [
                lines(row["tool_label"] or row["tool"], row["integration_id"], row["public_id"]),
                lines(row["origin_id"], row["organization_name"]),
                lines(row["category"], row["status"], _next_step(row), _problem(row)),
                f"{row['updated_at']:%Y-%m-%d}\n{distance(row['updated_at'], now)} ago",
            ]
            for row in rows
        ],
        if_empty="There is no such integration.",
    )


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in LISTED} | {
        "next_action": _next_action(row),
        "problem": _problem(row),
    }


def _problem(row: dict[str, Any]) -> str | None:
    is_lost = row["details_not_found"] >= DETAILS_NOT_FOUND_MAX and row["deleted_at"] is None
    return DETAILS_NOT_FOUND if is_lost else None


def _next_step(row: dict[str, Any]) -> str | None:
    if row["deleted_at"] is not None:
        return "deleted"
    action = _next_action(row)
    return None if action == "none" else action


def _next_action(row: dict[str, Any]) -> str:
    return Integration(**{name: row[name] for name in Integration.__dataclass_fields__}).next_action
