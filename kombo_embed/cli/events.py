"""``kombo-embed events``: list, inspect, replay and resend the events for your handlers."""

import base64
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from kombo_embed.cli.database import read_records
from kombo_embed.cli.output import (
    AsJson,
    distance,
    fail,
    lines,
    print_error,
    print_fields,
    print_json,
    print_table,
)
from kombo_embed.store.host_events import PREFIX_MIN_LENGTH, HostEvent
from kombo_embed.store.support import MalformedEvent

OVERDUE_AFTER = timedelta(minutes=1)
OVERDUE_HELP = (
    "An event is overdue while no running app has its handler. A handler that none\n"
    "had for a day is missing, and its deliveries are parked."
)
NO_HANDLER_HELP = (
    "Events without a handler wait for the first handler of their type, and are\n"
    "deleted after KOMBO_EVENT_RETENTION days."
)
SHORT_ID = 12  # characters of an id in the table; every command accepts such a prefix
PERSONAL = {
    "integration",
    "data",
    "done_handlers",
    "actor",
}  # may name people: only `events show` prints them

app = typer.Typer(help="List, inspect, replay and resend events for your handlers.", add_completion=False)


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
    before: Annotated[
        str | None, typer.Option(help="Only events before this one: the last id of the previous page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the events that wait, fail, are parked or are dead letters; newest first."""
    if context.invoked_subcommand is not None:
        return
    if malformed:
        bodies = read_records(lambda records: records.support.events.malformed(limit=limit))
        _print_malformed(bodies, as_json=as_json)
        return
    events = read_records(lambda records: records.events(delivered=everything, limit=limit, before=before))
    if events is None:
        fail(_not_found(before or ""))
    missing = read_records(lambda records: records.missing_handlers())
    if as_json:
        named = [{"handler": name, "type": event_type} for name, event_type in missing]
        print_json({"events": [_without_personal_data(event) for event in events], "missing_handlers": named})
        return
    none = "There are no events." if everything else "No event waits, fails or is a dead letter."
    _print_events(events, if_empty=none)
    _print_missing(missing)


@app.command("show")
def show(
    event_id: Annotated[str, typer.Argument(help="The event's id, or at least its first six characters.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print every field of one event, including all that your handlers receive."""
    event = read_records(lambda records: records.find_event(event_id))
    if event is None:
        fail(_not_found(event_id))
    fields = asdict(event)
    if as_json:
        print_json({"event": fields})
        return
    del fields["deliveries"]
    print_fields(fields, as_json=None)
    for delivery in event.deliveries:
        typer.echo()
        print_fields(asdict(delivery), as_json=None)


@app.command("replay")
def replay(
    event_ids: Annotated[list[str] | None, typer.Argument(help="Ids, or at least six characters.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Replay all dead letters.")] = False,
    handler: Annotated[
        str | None, typer.Option(help="Replay this handler's dead letters and parked deliveries.")
    ] = None,
    new_name: Annotated[
        str | None, typer.Option("--as", help="The name that the handler has now, if it was renamed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Deliver events again, now. Handlers that have succeeded already are not called again."""
    if [everything, bool(event_ids), handler is not None].count(True) != 1:
        fail("Name the events to replay, or pass --all, or --handler NAME.")
    if new_name is not None and handler is None:
        fail("--as needs --handler NAME: the name that the handler had before.")
    unknown: list[str] = []
    if event_ids:
        replayed, unknown = read_records(lambda records: records.replay(event_ids))
    elif handler is not None:
        replayed = read_records(lambda records: records.replay_handler(handler, new_name=new_name))
    else:
        replayed = read_records(lambda records: records.replay_all())
    if as_json:
        print_json({"replayed": replayed, "unknown": unknown})
    else:
        _print_replayed(replayed, unknown)
    if unknown:
        raise typer.Exit(1)


@app.command("resend")
def resend(
    event_id: Annotated[str, typer.Argument(help="The event's id, or at least its first six characters.")],
    *,
    handler: Annotated[str | None, typer.Option(help="Only to the handler of this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Deliver an event again, now, also to handlers that have succeeded already."""
    resent = read_records(lambda records: records.resend(event_id, handler=handler))
    if resent is None:
        fail(_not_found(event_id))
    full_id, names = resent
    if not names:
        which = "a handler for it" if handler is None else f"the handler {handler} for it"
        fail(f"No app has {which}: handlers are registered when the app starts.")
    if as_json:
        print_json({"resent": full_id, "handlers": names})
    else:
        typer.echo(f"Due now for {', '.join(names)}. Your running app delivers it within seconds.")


def _print_events(events: list[HostEvent], *, if_empty: str) -> None:
    now = datetime.now(UTC)
    rows = []
    for event in events:
        about = lines(event.type, event.origin_id, event.integration_id)
        when = [event.attempts, _next_attempt(event, now), distance(event.occurred_at, now)]
        rows.append([event.id[:SHORT_ID], about, _state(event), *when])
    print_table(["Event", "Type, customer", "Status", "Attempts", "Next", "Age"], rows, if_empty=if_empty)
    if any(_is_overdue(event, now) for event in events):
        typer.echo(OVERDUE_HELP)
    if any(event.state == "no handler" for event in events):
        typer.echo(NO_HANDLER_HELP)


def _state(event: HostEvent) -> str:
    """Return the event's state, and how many of its handlers are in it if there are several."""
    same = sum(one.state == event.state for one in event.deliveries)
    several = len(event.deliveries) > 1
    return f"{event.state}\n{same} of {len(event.deliveries)}" if several else event.state


def _print_missing(missing: Iterable[tuple[str, str]]) -> None:
    for name, event_type in missing:
        typer.echo(
            f"No app has had the handler {name} for {event_type} for a day. If it was renamed:\n"
            f"kombo-embed events replay --handler {shlex.quote(name)} --as NEW_NAME"
        )


def _print_replayed(replayed: list[str], unknown: list[str]) -> None:
    if replayed:
        typer.echo(
            f"{len(replayed)} due now. Your running app delivers within seconds what it has a handler for."
        )
    else:
        typer.echo("Nothing to replay.")
    for name in unknown:
        print_error(f"{name}: no such undelivered event")


def _print_malformed(bodies: Sequence[MalformedEvent], *, as_json: bool) -> None:
    if as_json:
        print_json({"malformed": [asdict(one) | {"body": _readable(one.body)} for one in bodies]})
        return
    now = datetime.now(UTC)
    rows = []
    for one in bodies:
        first, last = distance(one.first_received_at, now), distance(one.received_at, now)
        rows.append([one.body_sha256[:SHORT_ID], one.reason, one.times, first, last])
    columns = ["Body (SHA-256)", "Reason", "Times", "First", "Last"]
    print_table(columns, rows, if_empty="Kombo has sent no malformed events.")


def _readable(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _not_found(id_or_prefix: str) -> str:
    if len(id_or_prefix) < PREFIX_MIN_LENGTH:
        return f"{id_or_prefix} is too short: give an event's id, or at least its first six characters."
    return f"There is no event {id_or_prefix}, or several ids begin with it."


def _without_personal_data(event: HostEvent) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if name not in PERSONAL}


def _next_attempt(event: HostEvent, now: datetime) -> str:
    if event.state not in {"waiting", "failing"}:
        return ""
    if _is_overdue(event, now):
        return "overdue"
    if event.due_at is None:
        return "after others"
    return f"in {distance(event.due_at, now)}" if event.due_at > now else "now"


def _is_overdue(event: HostEvent, now: datetime) -> bool:
    # A command does not know which handlers the app has, only that none was called for a while.
    if event.state != "waiting" or event.attempts > 0 or event.due_at is None:
        return False
    return now - event.due_at > OVERDUE_AFTER
