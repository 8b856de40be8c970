"""The demo's host app beside the local sandbox, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from asgi_lifespan import LifespanManager

from kombo_embed.demo import create_app
from kombo_embed.sandbox import Sandbox
from tests.demo.steps import Visit
from tests.support import SANDBOX_URL, deliver_webhooks, make_settings


@pytest.fixture
async def visit(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> AsyncIterator[Visit]:
    """Open a browser of its own for each person; without a name, it is not signed in."""
    app = create_app(make_settings(), session_secret="made-up", sandbox_url=SANDBOX_URL, http_transport=kombo)
    deliver_webhooks(sandbox, app)
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(LifespanManager(app, startup_timeout=30))

        async def open_browser(person: str | None = None) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(manager.app)
            client = httpx.AsyncClient(transport=transport, base_url="http://app.example")
            await stack.enter_async_context(client)
            if person is not None:
                response = await client.post("/sign-in", data={"person": person})
                assert (response.status_code, response.headers["location"]) == (303, "/")
            return client

        yield open_browser
