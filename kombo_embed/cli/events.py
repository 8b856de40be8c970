"""``kombo-embed events``: list, inspect and replay the events for your handlers."""

import base64
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from kombo_embed.cli.database import read_records
from kombo_embed.cli.output import AsJson, distance, fail, print_error, print_fields, print_json, print_table
from kombo_embed.store.support import HostEvent, MalformedEvent

OVERDUE_AFTER = timedelta(minutes=1)
OVERDUE_HELP = (
    "An event is overdue while no running app has a handler for its type, or while\n"
    "an earlier event of its integration waits. Events without a handler are deleted\n"
    "after KOMBO_EVENT_RETENTION days."
)
SHORT_ID = 12  # characters of an id in the table; every command accepts such a prefix
PERSONAL = {"integration", "data", "done_handlers"}  # these may name people: only `events show` prints them

app = typer.Typer(help="List, inspect and replay events for your handlers.", add_completion=False)


@app.callback(invoke_without_command=True)
def list_events(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Include delivered events.")] = False,
    malformed: Annotated[
        bool,
        typer.Option("--malformed", help="List bodies instead that Kombo signed, but that are no events."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the events that wait, fail or are dead letters; newest first."""
    if context.invoked_subcommand is not None:
        return
    if malformed:
        _print_malformed(read_records(lambda records: records.malformed(limit=limit)), as_json=as_json)
        return
    events = read_records(lambda records: records.events(delivered=everything, limit=limit))
    if as_json:
        print_json({"events": [_without_personal_data(event) for event in events]})
    else:
        none = "There are no events." if everything else "No event waits, fails or is a dead letter."
        _print_events(events, if_empty=none)


@app.command("show")
def show(
    event_id: Annotated[str, typer.Argument(help="The event's id, or its first characters.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print every field of one event, including all that your handlers receive."""
    event = read_records(lambda records: records.find_event(event_id))
    if event is None:
        fail(f"There is no event {event_id}, or several ids begin with it.")
    print_fields(asdict(event), as_json="event" if as_json else None)


@app.command("replay")
def replay(
    event_ids: Annotated[list[str] | None, typer.Argument(help="Ids, or their first characters.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Replay all dead letters.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deliver events again, now. Handlers that have succeeded already are not called again."""
    if everything == bool(event_ids):
        fail("Name the events to replay, or pass --all.")
    unknown: list[str] = []
    if everything:
        replayed = read_records(lambda records: records.replay_all())
    else:
        replayed, unknown = read_records(lambda records: records.replay(event_ids or []))
    if as_json:
        print_json({"replayed": replayed, "unknown": unknown})
    else:
        _print_replayed(replayed, unknown)
    if unknown:
        raise typer.Exit(1)


def _print_events(events: list[HostEvent], *, if_empty: str) -> None:
    now = datetime.now(UTC)
    print_table(
        ["Event", "Type, customer", "Status", "Attempts", "Next", "Age"],
        [
            [
                event.id[:SHORT_ID],
                "\n".join(filter(None, [event.type, event.origin_id, event.integration_id])),
                event.state,
                event.attempts,
                _next_attempt(event, now),
                distance(event.occurred_at, now),
            ]
            for event in events
        ],
        if_empty=if_empty,
    )
    if any(_is_overdue(event, now) for event in events):
        typer.echo(OVERDUE_HELP)


def _print_replayed(replayed: list[str], unknown: list[str]) -> None:
    if replayed:
        typer.echo(
            f"{len(replayed)} due now. Your running app delivers within seconds what it has a handler for."
        )
    else:
        typer.echo("Nothing to replay.")
    for name in unknown:
        print_error(f"{name}: no such undelivered event")


def _print_malformed(bodies: list[MalformedEvent], *, as_json: bool) -> None:
    if as_json:
        print_json({"malformed": [asdict(one) | {"body": _readable(one.body)} for one in bodies]})
        return
    now = datetime.now(UTC)
    print_table(
        ["Body (SHA-256)", "Reason", "Times", "First", "Last"],
        [
            [
                one.body_sha256[:SHORT_ID],
                one.reason,
                one.times,
                distance(one.first_received_at, now),
                distance(one.received_at, now),
            ]
            for one in bodies
        ],
        if_empty="Kombo has sent no malformed events.",
    )


def _readable(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _without_personal_data(event: HostEvent) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if name not in PERSONAL}


def _next_attempt(event: HostEvent, now: datetime) -> str:
    if event.state in {"delivered", "dead letter", "in progress"}:
        return ""
    if _is_overdue(event, now):
        return "overdue"
    return f"in {distance(event.due_at, now)}" if event.due_at > now else "now"


def _is_overdue(event: HostEvent, now: datetime) -> bool:
    # A command does not know which handlers the app has, only that none was called for a while.
    return event.state == "waiting" and event.attempts == 0 and now - event.due_at > OVERDUE_AFTER
