"""The app of the crash test: each handler writes its event to the disk before it returns."""

from __future__ import annotations

import json
import os

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, Event, KomboEmbed


def end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the end user that the header names, each of an organization of their own."""
    name = connection.headers.get("x-person")
    if name is None:
        return None
    return EndUser(email=f"{name}@customer.example", organization_name=name.title(), origin_id=name)


def record(handler: str, event: Event) -> None:
    """Append one line in one write, flushed to the disk."""
    integration_id = event.integration.integration_id if event.integration else None
    call = {"handler": handler, "event_id": event.id, "type": event.type, "integration_id": integration_id}
    file = os.open(os.environ["HANDLER_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(call).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


app = Starlette()
embed = KomboEmbed(end_user=end_user)
embed.install(app)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Handle an event that has two handlers."""
    record("start_first_sync", event)


@embed.on("integration.connected")
def notify_sales(event: Event) -> None:
    """Handle the same event, in a thread."""
    record("notify_sales", event)


@embed.on("kombo.event")
async def note_sync(event: Event) -> None:
    """Handle an event that Kombo sends often."""
    record("note_sync", event)
