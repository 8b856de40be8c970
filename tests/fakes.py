"""Fake peers, and httpx transports that record, hold or fail the calls on their way to a peer.

They wrap a peer, such as the sandbox or an `httpx.MockTransport`, and each other. Here the first call is held
on its way to the sandbox, and the others get 429::

    held = HeldTransport(kombo)
    flaky = FlakyTransport(held, PASS, then=respond(429, headers={"Retry-After": "60"}))
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal, Self

import httpx

from kombo_embed.link_cache import redis_scripts

PASS = None
Outcome = Callable[[httpx.Request], httpx.Response] | Exception | None


def respond(status: int = 200, **response: Any) -> Callable[[httpx.Request], httpx.Response]:
    """Return an outcome: this response, made anew for each call."""
    return lambda _request: httpx.Response(status, **response)


class RecordingTransport(httpx.AsyncBaseTransport):
    """Records each request, then passes it on to ``peer``."""

    def __init__(self, peer: httpx.AsyncBaseTransport) -> None:
        self._peer = peer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await self._peer.handle_async_request(request)

    @property
    def calls(self) -> list[str]:
        """The method and path of each request, such as ``POST /v1/connect/create-link``."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    @property
    def bodies(self) -> list[Any]:
        """The JSON of each request that has a body."""
        return [json.loads(request.content) for request in self.requests if request.content]


class HeldTransport(httpx.AsyncBaseTransport):
    """Holds calls on their way to ``peer`` until `release`.

    Args:
        peer: Where calls go.
        path: Holds only the calls whose path contains this; the others pass.
        stage: ``request`` holds them before they reach the peer, ``response`` when the peer has responded.
        held: Whether it holds from the start; else from `hold` on.
    """

    def __init__(
        self,
        peer: httpx.AsyncBaseTransport,
        *,
        path: str = "",
        stage: Literal["request", "response"] = "request",
        held: bool = True,
    ) -> None:
        self._peer = peer
        self._path = path
        self._stage = stage
        self._released = asyncio.Event()
        self._arrival = asyncio.Condition()
        self.calls = 0  # of those on the path, held or not
        self.waiting = 0
        if not held:
            self.release()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._path not in request.url.path:
            return await self._peer.handle_async_request(request)
        self.calls += 1
        if self._stage == "request":
            await self._hold()
            return await self._peer.handle_async_request(request)
        response = await self._peer.handle_async_request(request)
        await self._hold()
        return response

    def hold(self) -> None:
        """Hold calls from now on."""
        self._released.clear()

    def release(self) -> None:
        """Let the held calls go on, and later ones pass."""
        self._released.set()

    async def reached(self, count: int = 1, *, seconds: float = 30) -> None:
        """Wait until so many calls are held."""
        async with asyncio.timeout(seconds), self._arrival:
            await self._arrival.wait_for(lambda: self.waiting >= count)

    async def _hold(self) -> None:
        self.waiting += 1
        try:
            async with self._arrival:
                self._arrival.notify_all()
            await self._released.wait()
        finally:
            self.waiting -= 1


class FlakyTransport(httpx.AsyncBaseTransport):
    """Fails calls by a plan, in order of arrival.

    An outcome is `PASS` (the peer responds), an exception to raise, or a function from the request to a
    response, such as `respond` returns.

    Args:
        peer: Where calls go that pass.
        plan: The outcome of the first call, of the second, ...
        then: The outcome of all calls after the plan. It can be changed at any time.
        path: Fails only calls whose path contains this; the others pass and are not counted.
    """

    def __init__(
        self, peer: httpx.AsyncBaseTransport, *plan: Outcome, then: Outcome = PASS, path: str = ""
    ) -> None:
        self._peer = peer
        self._plan = list(plan)
        self._path = path
        self.then = then
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._path not in request.url.path:
            return await self._peer.handle_async_request(request)
        self.calls += 1
        outcome = self._plan.pop(0) if self._plan else self.then
        if outcome is PASS:
            return await self._peer.handle_async_request(request)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome(request)


class OwnLinks(httpx.AsyncBaseTransport):
    """A Kombo whose links name it: ``https://{name}.example/1``, ... With another ``status``, it fails."""

    def __init__(self, name: str, *, origin: str | None = None) -> None:
        self._origin = origin or f"https://{name}.example"
        self._count = 0
        self.status = 200

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        if self.status != 200:
            return httpx.Response(self.status, headers={"Retry-After": "60"})
        self._count += 1
        link = f"{self._origin}/{self._count}"
        return httpx.Response(200, json={"status": "success", "data": {"link": link}})


POSITION_SCRIPTS = {
    hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()
    for script in (redis_scripts.GET_POSITION, redis_scripts.BEGIN_EPOCH)
}


class RedisImpostor:
    """Answers in Redis's place: properly at first, then each script with the next of ``replies``."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._scripts = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while header := await reader.readline():
                words = [await self._word(reader) for _ in range(int(header[1:]))]
                writer.write(self._reply(words[0].upper(), *words[1:2]))
                await writer.drain()
        writer.close()

    async def _word(self, reader: asyncio.StreamReader) -> bytes:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:-2]

    def _reply(self, command: bytes, script: bytes = b"") -> bytes:
        if command == b"INFO":
            return b"$7\r\nrun_id:\r\n"
        if command != b"EVALSHA":
            return b"+PONG\r\n" if command == b"PING" else b"+OK\r\n"
        self._scripts += 1
        if self.replies:
            return self.replies[self._scripts % len(self.replies)]
        if script in POSITION_SCRIPTS:
            return b"*2\r\n$16\r\n0123456789abcdef\r\n$1\r\n0\r\n"
        return b"*0\r\n" if self._scripts == 1 else b"$-1\r\n"  # the probe finds nothing missing
