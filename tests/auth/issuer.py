"""A small OpenID issuer, and a host that accepts its tokens."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.auth.tokens import AUDIENCE, ISSUER, TestKey, ec_key, ed_key, rsa_key
from tests.fakes import HeldTransport
from tests.support import ManualClock, make_settings, minted, running

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"


FAILURES: dict[str, Callable[[], Response]] = {
    "down": lambda: PlainTextResponse("down", status_code=503),
    "redirects": lambda: RedirectResponse("/redirected"),
    "huge": lambda: PlainTextResponse('{"keys": [' + " " * 300_000 + "]}"),
    "compressed": lambda: Response(gzip.compress(b'{"keys": []}'), headers={"Content-Encoding": "gzip"}),
    "nested": lambda: PlainTextResponse("[" * 100_000),
    "garbage": lambda: PlainTextResponse("<html>"),
    "binary": lambda: Response(b"\xff"),
    "list": lambda: JSONResponse([]),
    "null": lambda: JSONResponse(None),
    "text": lambda: JSONResponse("keys"),
    "no keys": lambda: JSONResponse({}),
    "keys of another kind": lambda: JSONResponse({"keys": "none"}),
}


class FakeIssuer(httpx.AsyncBaseTransport):
    """Publishes keys, and fails on demand: ``failure`` is ``unreachable`` or one of `FAILURES`.

    ``failing`` are the paths that fail. Calls to other hosts go to ``others``.
    """

    def __init__(
        self,
        *keys: TestKey,
        others: httpx.AsyncBaseTransport | None = None,
        issuer: str = ISSUER,
        keys_url: str | None = None,
    ) -> None:
        urls = [httpx.URL(issuer.rstrip("/") + DISCOVERY), httpx.URL(keys_url or issuer.rstrip("/") + KEYS)]
        self._hosts = {url.host for url in urls}
        self._keys_path = urls[1].path
        self.key_set: Any = {"keys": [key.jwk() for key in keys]}
        self.metadata: Any = {
            "issuer": issuer,
            "jwks_uri": str(urls[1]),
            "authorization_endpoint": f"{issuer}/authorize",
            "response_types_supported": ["code"],
        }
        self.failure: str | None = None
        self.failing: tuple[str, ...] = (DISCOVERY, KEYS)
        self.calls: Counter[str] = Counter()
        self.requests: list[Request] = []
        paths = [*(url.path for url in urls), "/redirected"]
        self.app = Starlette(routes=[Route(path, self._respond) for path in paths])
        self._transport = httpx.ASGITransport(self.app)
        self._others = others

    def publish(self, *keys: TestKey) -> None:
        """Publish these keys instead."""
        self.key_set = {"keys": [key.jwk() for key in keys]}

    @property
    def fetched(self) -> int:
        """How often the key set was fetched."""
        return self.calls[self._keys_path]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host not in self._hosts and self._others is not None:
            return await self._others.handle_async_request(request)
        if self.failure == "unreachable":
            self.calls[request.url.path] += 1
            raise httpx.ConnectError("refused")
        return await self._transport.handle_async_request(request)

    async def _respond(self, request: Request) -> Response:
        path = request.url.path
        self.calls[path] += 1
        self.requests.append(request)
        if self.failure is not None and path in self.failing:
            return FAILURES[self.failure]()
        response = JSONResponse(self.key_set if path == self._keys_path else self.metadata)
        response.set_cookie("tracking", "1")
        return response


@dataclass
class World:
    """A host that accepts the issuer's tokens, with everything around it.

    ``network`` can hold the calls for the discovery document.
    """

    client: httpx.AsyncClient
    issuer: FakeIssuer
    network: HeldTransport
    sandbox: Sandbox
    clock: ManualClock
    app: Starlette

    async def ask(self, *credentials: str, scheme: str = "Bearer ") -> httpx.Response:
        """Ask for a link with these tokens, each in an ``Authorization`` header of its own."""
        headers = [("Authorization", (scheme + value).encode()) for value in credentials]
        return await self.client.post("/kombo/links", json={}, headers=headers)  # type: ignore[arg-type]

    @property
    def minted(self) -> int:
        return minted(self.sandbox)


@asynccontextmanager
async def bearer_world(sandbox: Sandbox, **settings: Any) -> AsyncIterator[World]:
    """A running host with ``KOMBO_AUTH=bearer``."""
    issuer = FakeIssuer(rsa_key(), ec_key(), ed_key(), others=httpx.ASGITransport(sandbox.app))
    chosen = {"auth": "bearer", "oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, **settings}
    async with world_of(sandbox, issuer, **chosen) as world:
        yield world


@asynccontextmanager
async def world_of(sandbox: Sandbox, issuer: FakeIssuer, **settings: Any) -> AsyncIterator[World]:
    """A running host with these settings, and with those of the environment."""
    network = HeldTransport(issuer, path=DISCOVERY, held=False)
    clock = ManualClock()
    embed = KomboEmbed(settings=make_settings(**settings), http_transport=network, clock=clock)
    app = Starlette()
    embed.install(app)
    async with running(app) as client:
        yield World(client, issuer, network, sandbox, clock, app)
