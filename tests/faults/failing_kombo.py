"""The local sandbox behind a peer that answers some calls for a link with a fault of rows 1 to 9."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections import Counter
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from kombo_embed.sandbox import Sandbox
from tests.support import order_fault

CHUNK = b" " * 65536
HUGE_CHUNKS = 64  # with a length of a gigabyte, of which no client reads even these
BOMB = gzip.compress(b" " * 16 * 1024 * 1024)
PAUSE_SECONDS = 0.2
GOOD = '{"status": "success", "data": {"link": "https://connect.kombo.dev/v1?token=abc"}}'
CODINGS = {
    "gzip_bomb": b"gzip",
    "wrong_coding": b"gzip",  # which it is not
    "unknown_coding": b"br",
}
BAD_BODIES = (*CODINGS, "huge", "endless", "slow_body", "wrong_charset")
FAULTS = (
    "html_503",
    "text_502",
    "empty_500",
    "drop",
    "rate_limited",
    "foreign_json",
    "redirect",
    "unauthorized",
    "slow",  # longer than the deadline
)


class FailingKombo:
    """Passes calls to the sandbox; a call for a link fails with the probability ``chance``.

    Each call is decided on when it arrives: faults that were ordered in advance would add up while the
    circuit breaker is open, and no probe would ever succeed.
    """

    def __init__(self, sandbox: Sandbox, *, slow_seconds: float) -> None:
        self._sandbox = sandbox
        self._slow_seconds = slow_seconds
        self._dice = random.Random(30)  # noqa: S311 - the same faults each time
        self.chance = 0.0
        self.passed = 0
        self.injected: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/create-link"):
            await self._sandbox.app(scope, receive, send)
            return
        if self._dice.random() >= self.chance:
            self.passed += 1
            await self._sandbox.app(scope, receive, send)
            return
        fault = self._dice.choice((*FAULTS, *BAD_BODIES))
        self.injected[fault] += 1
        if fault in BAD_BODIES:
            await _answer(fault, receive, send)
        else:
            await order_fault(self._sandbox, "create-link", fault, seconds=self._slow_seconds)
            await self._sandbox.app(scope, receive, send)


async def _answer(body: str, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    if body in CODINGS:
        headers.append((b"content-encoding", CODINGS[body]))
    if body == "huge":
        headers.append((b"content-length", b"1073741824"))
    gone = asyncio.create_task(_disconnected(receive))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for chunk in _chunks(body):
        if gone.done():
            break
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if body == "huge":
        await gone  # the rest never comes
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _chunks(body: str) -> AsyncIterator[bytes]:
    if body == "gzip_bomb":
        yield BOMB
    elif body == "huge":
        for _ in range(HUGE_CHUNKS):
            yield CHUNK
    elif body == "endless":
        while True:
            yield CHUNK
            await asyncio.sleep(0)
    elif body == "slow_body":
        while True:
            yield b"{"
            await asyncio.sleep(PAUSE_SECONDS)
    else:
        yield GOOD.encode("utf-16")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
