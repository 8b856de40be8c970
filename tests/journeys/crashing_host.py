"""The app of the crash test: each event is on disk before its handler returns."""

from __future__ import annotations

import json
import os

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, Event, KomboEmbed


def end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the end user that the header names, each of an organization of their own."""
    name = connection.headers.get("x-person", "unknown")
    return EndUser(email=f"{name}@customer.example", organization_name=name.title(), origin_id=name)


def record(handler: str, event: Event) -> None:
    """Append one line in one write and flush it to disk."""
    integration_id = event.integration.integration_id if event.integration else None
    line = json.dumps(
        {"handler": handler, "id": event.id, "type": event.type, "integration_id": integration_id}
    )
    file = os.open(os.environ["EVENTS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


app = Starlette()
embed = KomboEmbed(end_user=end_user)
embed.install(app)


@embed.on("integration.connected")
async def first_sync(event: Event) -> None:
    """Handle the same event as the next one."""
    record("first_sync", event)


@embed.on("integration.connected")
def notify_sales(event: Event) -> None:
    """Handle it in a plain function."""
    record("notify_sales", event)


@embed.on("kombo.event")
async def note_sync(event: Event) -> None:
    """Handle events that Kombo sends often."""
    record("note_sync", event)
