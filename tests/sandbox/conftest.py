"""Fixtures of the sandbox's own tests: a clock that stands still, a webhook receiver, an API client."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from kombo_embed.clock import ManualClock
from kombo_embed.sandbox import Sandbox

API_KEY = "ks_dev_for-the-sandbox"
WEBHOOK_SECRET = "whsec_for-the-sandbox"
BASE_URL = "http://localhost:8001"
END_USER = {"end_user_email": "ada@acme.example", "end_user_organization_name": "Acme"}


@dataclass
class Receiver:
    """A webhook endpoint that responds with the given statuses or raises, and then responds with 204."""

    statuses: list[int | Exception] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 204
        if isinstance(status, Exception):
            raise status
        return httpx.Response(status)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events()]

    def events(self) -> list[dict[str, Any]]:
        return [httpx.Response(200, content=request.content).json() for request in self.requests]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that the sandbox would have slept."""
    return []


@pytest.fixture
async def sandbox(receiver: Receiver, pauses: list[float]) -> AsyncIterator[Sandbox]:
    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    sandbox = Sandbox(
        api_key=API_KEY,
        webhook_secret=WEBHOOK_SECRET,
        webhook_url="https://app.example/kombo/webhooks",
        webhook_transport=httpx.MockTransport(receiver),
        clock=ManualClock(lambda: 1_790_000_000.0),
        sleep=pause,
    )
    yield sandbox
    await sandbox.aclose()


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the sandbox with the right key."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(sandbox.app),
        base_url=BASE_URL,
        headers={"Authorization": f"Bearer {API_KEY}"},
    ) as client:
        yield client


Mint = Callable[..., Any]


@pytest.fixture
def mint(api: httpx.AsyncClient) -> Mint:
    """Mint a connection link for Acme."""

    async def mint_link(**fields: object) -> str:
        response = await api.post("/v1/connect/create-link", json=END_USER | fields)
        assert response.status_code == 200, response.text
        return str(response.json()["data"]["link"])

    return mint_link
