"""Requests that Schemathesis generates from the OpenAPI document: no response contradicts the document."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, make_host, person, served

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]

EXAMPLES = int(os.environ.get("GENERATED_REQUESTS", "8"))  # of each operation; `make soak` sets more
ADA = person("ada@acme")
ACCEPTING = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
UNLIMITED = "100000/second"
OPTIONS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


@contextmanager
def running_server() -> Iterator[tuple[str, list[str]]]:
    """Serve an app in a thread; yield its base URL, and the tokens of flows that are not completed yet."""
    url: Future[tuple[str, list[str]]] = Future()
    stop, loop = asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
        app, _ = make_host(
            httpx.ASGITransport(sandbox.app),
            allow_disconnect=True,
            link_rate=UNLIMITED,
            completion_rate=UNLIMITED,
        )
        async with served(app) as base_url:
            async with httpx.AsyncClient(base_url=base_url, headers=ADA, trust_env=False) as client:
                link = (await client.post("/kombo/links", json={})).json()["link"]
                flows = [await sandbox.complete(link, tool) for tool in ("personio", "bamboohr", "workday")]
            url.set_result((f"{base_url}/kombo", [flow.activation_token for flow in flows]))
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        yield url.result(60)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def api() -> Iterator[Any]:
    """Load the document of a running server, some of whose integrations are connected."""
    schemathesis = pytest.importorskip("schemathesis")
    with running_server() as (url, tokens), httpx.Client(headers=ADA, trust_env=False) as client:
        for token in tokens:
            client.post(f"{url}/completions", json={"activation_token": token}).raise_for_status()
        schema = schemathesis.openapi.from_dict(client.get(f"{url}/openapi.json").json())
        schema.config.update(base_url=url, headers=ADA)
        # A cursor can be unknown, and a token refused, whatever their form.
        schema.config.checks.positive_data_acceptance.expected_statuses = ACCEPTING
        yield schema


def test_every_response_to_a_generated_request_is_one_of_the_document(api: Any) -> None:
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) >= 13
    for operation in operations:

        @settings(max_examples=EXAMPLES, **OPTIONS)
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            case.call_and_validate()

        call()


def test_every_response_in_a_sequence_of_requests_is_one_of_the_document(api: Any) -> None:
    api.as_state_machine().run(
        settings=settings(max_examples=EXAMPLES // 2, stateful_step_count=5, **OPTIONS)
    )
