"""A person of the support team at the console, and the customers whom the host has."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.audit import AuditEntry
from tests.support import change_state, deliver_webhooks, make_host, person, running

MOUNT = "/admin/kombo"
LINK = re.compile(r"https?://[^\s\"<]*[?&]token=[^\s\"<]*")


@dataclass
class Visitor:
    """The browser of Sam, who may do what is in ``allowed``."""

    client: httpx.AsyncClient
    app: Starlette
    embed: KomboEmbed
    sandbox: Sandbox
    allowed: set[str] = field(default_factory=lambda: {"read", "link", "replay"})
    asked: list[str] = field(default_factory=list[str])
    name: str = "Sam"
    names: dict[str, str] = field(default_factory=dict[str, str])  # by action, instead of the name

    def authorize(self, _request: Any, action: str) -> str | None:
        self.asked.append(action)
        return self.names.get(action, self.name) if action in self.allowed else None

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.get(f"{MOUNT}{path}", **options)

    async def page(self, path: str) -> str:
        response = await self.get(path)
        assert response.status_code == 200, response.text
        return response.text

    async def post(self, path: str, *, token: str | None = None, **fields: str) -> httpx.Response:
        """Submit a form as a browser does, with the token of a page."""
        token = await self.token() if token is None else token
        headers = {"Sec-Fetch-Site": "same-origin"}
        return await self.client.post(f"{MOUNT}{path}", data={"token": token, **fields}, headers=headers)

    async def token(self) -> str:
        found = re.search(r'name="token" value="([^"]+)"', (await self.get("/customers")).text)
        return found[1] if found else "none"

    async def connect(
        self, organization: str = "acme", tool: str = "personio", *, state: str | None = None
    ) -> str:
        """Let Ada of an organization connect a tool; return the public id of the integration."""
        ada = person(f"ada@{organization}")
        link = (await self.client.post("/kombo/links", headers=ada, json={})).json()["link"]
        flow = await self.sandbox.complete(link, tool)
        body = {"activation_token": flow.activation_token}
        done = await self.client.post("/kombo/completions", headers=ada, json=body)
        await self.sandbox.settle()
        if state is not None:
            await change_state(self.sandbox, flow.integration_id, state)
        return str(done.json()["integration"]["id"])

    async def fold(self) -> None:
        """Bring the counts up to date."""
        await (await self.embed.services()).counting.run_once()

    async def audit(self) -> list[AuditEntry]:
        """Return the audit trail without what customers did, the newest first."""
        from kombo_embed.store.support import RecordsReader  # noqa: PLC0415 - a second connection
        from tests.support import SQLITE_URL  # noqa: PLC0415

        clock = (await self.embed.services()).eraser._clock  # noqa: SLF001 - the time of the test
        async with RecordsReader(SQLITE_URL, environment="default", clock=clock).opened() as records:
            entries = await records.audit(origin_id=None, limit=50, before=None)
        return [entry for entry in entries if entry.actor == self.name]


@asynccontextmanager
async def opened(
    kombo: httpx.AsyncBaseTransport,
    sandbox: Sandbox,
    *,
    add_handlers: Callable[[KomboEmbed], None] = lambda _embed: None,
    **settings: Any,
) -> AsyncIterator[Visitor]:
    app, embed = make_host(kombo, **settings)
    add_handlers(embed)
    visitor = Visitor(httpx.AsyncClient(), app, embed, sandbox)
    app.mount(MOUNT, embed.console(authorize=visitor.authorize))
    deliver_webhooks(sandbox, app)
    async with running(app) as client:
        visitor.client = client
        yield visitor
