"""A Kombo that answers at once, or after a delay, and counts.

Its paths: ``/<run>/<delay in ms>/v1/connect/create-link``, and ``/calls/<run>``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

JSON_TYPE = (b"content-type", b"application/json")
LINK = "https://connect.kombo.dev/?token={number:09}." + "x" * 656  # 700 bytes


@dataclass
class Calls:
    """How often a run called, and how many calls it had under way at once."""

    calls: int = 0
    under_way: int = 0
    most_at_once: int = 0


class Upstream:
    """The fake Kombo; what is PUT to it, an issuer's key set for example, it serves as well."""

    def __init__(self) -> None:
        self._published: dict[str, bytes] = {}
        self._runs: dict[str, Calls] = {}
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError("there is nothing to open or close here")
        body = await _read(receive)
        if scope["method"] == "PUT":
            self._published[scope["path"]] = body
        await _answer(send, self._published.get(scope["path"]) or await self._body(scope["path"].split("/")))

    async def _body(self, path: list[str]) -> bytes:
        match path:
            case ["", "calls", run]:
                counted = self._runs.get(run, Calls())
                return json.dumps({"calls": counted.calls, "most_at_once": counted.most_at_once}).encode()
            case ["", run, delay_ms, "v1", *_]:
                return await self._mint(self._runs.setdefault(run, Calls()), int(delay_ms) / 1000)
        raise LookupError("/".join(path))

    async def _mint(self, counted: Calls, delay: float) -> bytes:
        counted.calls += 1
        counted.under_way += 1
        counted.most_at_once = max(counted.most_at_once, counted.under_way)
        if delay:
            await asyncio.sleep(delay)
        counted.under_way -= 1
        link = LINK.format(number=next(self._numbers))
        return json.dumps({"status": "success", "data": {"link": link}}).encode()


async def _read(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Send, body: bytes) -> None:
    headers = [JSON_TYPE, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create_app() -> ASGIApp:
    """The fake Kombo."""
    return Upstream()
