"""``kombo-embed events``: which hooks wait, fail or were given up; and replay."""

from __future__ import annotations

import base64
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from kombo_embed.cli.output import fail, print_fields, print_json, print_table, span
from kombo_embed.cli.records import look
from kombo_embed.store.support import HostEvent, MalformedEvent

NOT_TAKEN = "not taken"
NOT_TAKEN_AFTER = timedelta(minutes=1)
WHY_NOT_TAKEN = (
    "An event is not taken while no app runs that has a handler for its type, or\n"
    "while an earlier one of its integration waits. What nobody handles is removed\n"
    "after KOMBO_EVENT_RETENTION days."
)
SHORT = 12  # characters of an id in the table; all that take ids take these
SOON = "Your app, while it runs, delivers within seconds what it has a handler for."
WHOLE_ONLY = {"integration", "data", "done_handlers"}  # they name people, and are shown with one event only

app = typer.Typer(help="Hooks that wait, fail or were given up, and their replay.", add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print for programs.")]


@app.callback(invoke_without_command=True)
def list_events(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Delivered ones, too.")] = False,
    malformed: Annotated[
        bool, typer.Option("--malformed", help="Instead: what Kombo signed, but is no event.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List events for your handlers that wait, fail or were given up; newest first."""
    if context.invoked_subcommand is not None:
        return
    if malformed:
        _list_malformed(look(lambda records: records.malformed(limit=limit)), as_json=as_json)
        return
    events = look(lambda records: records.events(delivered=everything, limit=limit))
    if as_json:
        print_json({"events": [_short(event) for event in events]})
        return
    now = datetime.now(UTC)
    print_table(
        ["Event", "What, of whom", "State", "Tries", "Next", "Age"],
        [
            [
                event.id[:SHORT],
                "\n".join(filter(None, [event.type, event.origin_id, event.integration_id])),
                event.state,
                event.attempts,
                _next(event, now),
                span(event.occurred_at, now),
            ]
            for event in events
        ],
        nothing="No event is on record." if everything else "No event waits, fails or was given up.",
    )
    if any(_is_not_taken(event, now) for event in events):
        typer.echo(WHY_NOT_TAKEN)


@app.command("show")
def show(
    event_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one event whole, with all that your handlers get to see."""
    event = look(lambda records: records.find_event(event_id))
    if event is None:
        fail(f"There is no event {event_id}, or several begin with it.")
    if as_json:
        print_json({"event": asdict(event)})
        return
    print_fields(asdict(event))


@app.command("replay")
def replay(
    event_ids: Annotated[list[str] | None, typer.Argument(help="Ids, or the beginnings of ids.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have events delivered again, now; what is done with them already is not done again."""
    if everything == bool(event_ids):
        fail("Name the events to replay, or give --all.")
    unknown: list[str] = []
    if everything:
        replayed = look(lambda records: records.replay_all())
    else:
        replayed, unknown = look(lambda records: records.replay(event_ids or []))
    if as_json:
        print_json({"replayed": replayed, "unknown": unknown})
    else:
        typer.echo(f"{len(replayed)} set due again. {SOON}" if replayed else "Nothing to replay.")
        for name in unknown:
            typer.echo(f"{name}: there is no such event that is not delivered yet", err=True)
    if unknown:
        raise typer.Exit(1)


def _list_malformed(bodies: list[MalformedEvent], *, as_json: bool) -> None:
    if as_json:
        print_json({"malformed": [asdict(one) | {"body": _readable(one.body)} for one in bodies]})
        return
    now = datetime.now(UTC)
    print_table(
        ["Body (SHA-256)", "Why", "Times", "First", "Last"],
        [
            [
                one.body_sha256[:SHORT],
                one.reason,
                one.times,
                span(one.first_received_at, now),
                span(one.received_at, now),
            ]
            for one in bodies
        ],
        nothing="Kombo sent nothing malformed.",
    )


def _readable(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _short(event: HostEvent) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if name not in WHOLE_ONLY}


def _next(event: HostEvent, now: datetime) -> str:
    if event.state in {"delivered", "dead letter", "in progress"}:
        return ""
    if _is_not_taken(event, now):
        return NOT_TAKEN
    return f"in {span(event.due_at, now)}" if event.due_at > now else "now"


def _is_not_taken(event: HostEvent, now: datetime) -> bool:
    """Which handlers the app has, a command cannot know: only that none was called for long."""
    return event.state == "waiting" and event.attempts == 0 and now - event.due_at > NOT_TAKEN_AFTER
