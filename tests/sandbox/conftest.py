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
    """A webhook endpoint that answers what it is told to, and 204 afterwards."""

    answers: list[int | Exception] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events()]

    def events(self) -> list[dict[str, Any]]:
        return [httpx.Response(200, content=request.content).json() for request in self.requests]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def pauses() -> list[float]:
    """What the sandbox would have slept."""
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
    """Mint a connection link, Acme's unless told otherwise."""

    async def mint_link(**fields: object) -> str:
        answer = await api.post("/v1/connect/create-link", json=END_USER | fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["link"])

    return mint_link
