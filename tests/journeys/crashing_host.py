"""The app of the crash test: each event that it hears is on disk before its handler returns."""

from __future__ import annotations

import json
import os

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, Event, KomboEmbed


def end_user(connection: HTTPConnection) -> EndUser | None:
    """Whoever the header names, each of an organisation of their own."""
    name = connection.headers.get("x-person", "nobody")
    return EndUser(email=f"{name}@customer.example", organization_name=name.title(), origin_id=name)


def remember(handler: str, event: Event) -> None:
    """One line in one write, flushed to the disk."""
    about = event.integration.integration_id if event.integration else None
    line = json.dumps({"handler": handler, "id": event.id, "type": event.type, "about": about})
    file = os.open(os.environ["HEARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
    """One of two handlers of the same event."""
    remember("first_sync", event)


@embed.on("integration.connected")
def tell_sales(event: Event) -> None:
    """The other, a plain one."""
    remember("tell_sales", event)


@embed.on("kombo.event")
async def note_sync(event: Event) -> None:
    """Events that Kombo sends often."""
    remember("note_sync", event)
