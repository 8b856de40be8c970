"""kombo-embed in this process, on a clock that is moved, before a Kombo that answers at once and counts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import HTTPConnection
from starlette.types import Message

from benchmarks.apps.upstream import LINK
from benchmarks.bench import API_KEY, LINK_RATE, WEBHOOK_SECRET
from kombo_embed import EndUser, KomboEmbed, Settings

CUSTOMER = "X-Customer"


@dataclass
class SimulatedClock:
    """Time that passes when it is told to."""

    now: float = 0.0

    def time(self) -> float:
        """Seconds since the epoch."""
        return 1_790_000_000.0 + self.now

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.now


class CountingKombo(httpx.AsyncBaseTransport):
    """Mints links, and counts the calls for each end user."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Mint a link."""
        match = re.search(rb'"end_user_origin_id":\s*"([^"]+)"', await request.aread())
        assert match is not None  # noqa: S101 - kombo-embed always sends it
        self.calls[match[1].decode()] += 1
        return httpx.Response(200, json={"status": "success", "data": {"link": LINK.format(number=1)}})


def create_embed(folder: Path, kombo: CountingKombo, clock: SimulatedClock, **settings: object) -> KomboEmbed:
    """An embed with a new database in this folder; the header `CUSTOMER` says who asks."""
    values: dict[str, Any] = {
        "api_key": API_KEY,
        "webhook_secret": (WEBHOOK_SECRET,),
        "database_url": f"sqlite+aiosqlite:///{folder}/in_process.db",
        "link_rate": LINK_RATE,
        **settings,
    }
    return KomboEmbed(
        end_user=_end_user, settings=lambda: Settings(**values), http_transport=kombo, clock=clock
    )


async def post(embed: KomboEmbed, path: str, body: bytes = b"", **headers: str) -> None:
    """Send one request, and see that it is answered with 2xx."""
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [
            (name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    await embed.app(scope, receive, send)
    if len(statuses) != 1 or not httpx.codes.is_success(statuses[0]):
        raise RuntimeError(f"POST {path} was answered with {statuses}")


def _end_user(connection: HTTPConnection) -> EndUser:
    name = connection.headers[CUSTOMER]
    return EndUser(email=f"ada@{name}.example", organization_name=name, origin_id=name)
