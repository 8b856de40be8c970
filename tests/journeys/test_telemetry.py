"""What OpenTelemetry records of whole flows: spans, links between them, metrics, and no personal data."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.support import (
    API_KEY,
    WEBHOOK_SECRET,
    ManualClock,
    change_state,
    deliver_webhooks,
    eventually,
    make_host,
    order_fault,
    person,
    running,
    webhook_request,
)
from tests.telemetry import Recorded

ADA, EVE = person("ada@acme"), person("eve@evil")
HANDLER_MESSAGE = "ada@acme.example has the pass word hunter2"


@dataclass
class Host:
    """A running app with two handlers, observed by the SDK."""

    client: httpx.AsyncClient
    app: Starlette
    embed: KomboEmbed
    sandbox: Sandbox
    recorded: Recorded
    environment: str
    handled: list[Event] = field(default_factory=list)
    billing: list[Callable[[], object]] = field(default_factory=list)  # done by a handler, in a thread
    secrets: list[str] = field(default_factory=list)

    async def issue(self, **choice: Any) -> str:
        response = await self.client.post("/kombo/links", headers=ADA, json=choice)
        link: str = response.json()["link"]
        self.secrets += [link, link.partition("token=")[2]]
        return link

    async def complete(self, who: dict[str, str], token: str) -> httpx.Response:
        return await self.client.post("/kombo/completions", headers=who, json={"activation_token": token})

    async def deliveries(self, count: int) -> Sequence[ReadableSpan]:
        await eventually(lambda: len(self.recorded.spans("kombo_embed.delivery")) == count)
        return self.recorded.spans("kombo_embed.delivery")

    async def connect(self, tool: str = "personio") -> str:
        flow = await self.sandbox.complete(await self.issue(), tool)
        self.secrets.append(flow.activation_token)
        assert (await self.complete(ADA, flow.activation_token)).status_code in {200, 201}
        return flow.integration_id

    def metric(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        return self.recorded.metrics(self.environment).get(name, [])

    def results(self, name: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for attributes, value in self.metric(name):
            key = "/".join(filter(None, (attributes["kombo_embed.result"], attributes.get("error.type"))))
            counts[key] = counts.get(key, 0) + value
        return counts


@pytest.fixture
async def host(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, recorded: Recorded) -> AsyncIterator[Host]:
    environment = f"test-{secrets.token_hex(4)}"
    app, embed = make_host(kombo, environment=environment)
    handled: list[Event] = []
    billing: list[Callable[[], object]] = []
    embed.on("integration.connected", name="crm")(handled.append)
    embed.on("integration.connected", name="billing")(lambda _: [bill() for bill in billing])
    async with running(app) as client:
        yield Host(client, app, embed, sandbox, recorded, environment, handled, billing)


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def linked(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


async def test_a_mint_is_a_part_of_the_request_for_its_link(host: Host) -> None:
    await host.issue()
    link, mint = host.recorded.span("kombo_embed.link"), host.recorded.span("kombo_embed.mint")
    assert is_child(mint, link)
    assert link.parent is None
    assert dict(link.attributes or {}) == {
        "kombo_embed.environment": host.environment,
        "kombo_embed.result": "stored",
        "kombo_embed.link.kind": "connect",
    }


async def test_links_are_counted_by_what_the_cache_did(host: Host) -> None:
    await asyncio.gather(*(host.issue() for _ in range(3)))
    await host.issue()
    assert host.results("kombo_embed.links") == {"stored": 1, "collapsed": 2, "hit": 1}
    [(attributes, durations)] = host.metric("kombo_embed.mint.duration")
    assert attributes == {"kombo_embed.result": "ok", "kombo_embed.link.kind": "connect"}
    assert (durations.count, durations.explicit_bounds[0]) == (1, 0.05)


async def test_a_delivery_is_linked_to_the_request_that_wrote_its_event(host: Host) -> None:
    await host.connect()
    deliveries = await host.deliveries(2)
    completion = host.recorded.span("kombo_embed.completion")
    for delivery in deliveries:
        assert linked(delivery) == [completion.context.span_id]
        assert delivery.parent is None
    attributes = [delivery.attributes or {} for delivery in deliveries]
    assert {one["kombo_embed.handler"] for one in attributes} == {"crm", "billing"}
    assert {one["kombo_embed.event.id"] for one in attributes} == {host.handled[0].id}
    assert {one["kombo_embed.attempt"] for one in attributes} == {1}
    assert host.results("kombo_embed.completions") == {"recorded": 1}
    assert host.results("kombo_embed.deliveries") == {"delivered": 2}


async def test_an_event_from_a_webhook_is_linked_to_the_webhook_also_on_other_databases(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, recorded: Recorded, database_url: str
) -> None:
    app, embed = make_host(kombo, database_url=database_url)
    embed.on("integration.connected")(lambda _: None)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        await sandbox.complete(link, "personio")
        await sandbox.settle()
        await eventually(lambda: len(recorded.spans("kombo_embed.delivery")) == 1)
    webhooks = {one.context.span_id for one in recorded.spans("kombo_embed.webhook")}
    [cause] = linked(recorded.span("kombo_embed.delivery"))
    assert cause in webhooks


async def test_spans_of_a_handler_belong_to_its_delivery(host: Host) -> None:
    host.billing.append(lambda: trace.get_tracer("the-host").start_span("host.work").end())
    await host.connect()
    deliveries = await host.deliveries(2)
    assert any(is_child(host.recorded.span("host.work"), delivery) for delivery in deliveries)


async def test_a_failing_handler_is_counted_with_the_type_of_its_error(host: Host) -> None:
    def fail() -> None:
        raise ValueError(HANDLER_MESSAGE)

    host.billing.append(fail)
    await host.connect()
    await host.deliveries(2)
    assert host.results("kombo_embed.deliveries") == {"delivered": 1, "failed/ValueError": 1}
    [failed] = [one for one in host.recorded.spans() if one.status.status_code is StatusCode.ERROR]
    assert (failed.name, failed.status.description, failed.events) == ("kombo_embed.delivery", None, ())
    assert str((failed.attributes or {})["kombo_embed.error"]).startswith("ValueError at tests.journeys")


async def test_failures_of_kombo_and_refusals_of_requests_are_told_apart(host: Host) -> None:
    await host.connect()
    await order_fault(host.sandbox, "create-link", "unauthorized")
    await host.client.post("/kombo/links", headers=ADA, json={"language": "de"})
    await host.client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})
    counts = host.results("kombo_embed.links")
    assert counts == {"stored": 1, "failed/kombo_rejected": 1, "refused/already_connected": 1}
    assert [one.name for one in host.recorded.spans() if one.status.status_code is StatusCode.ERROR] == [
        "kombo_embed.mint",
        "kombo_embed.link",
    ]


async def test_webhooks_are_counted_by_result(host: Host) -> None:
    valid = webhook_request("e1", "data-changed", {})
    await host.client.post("/kombo/webhooks", **valid)
    await host.client.post("/kombo/webhooks", **valid | {"headers": {"X-Kombo-Signature": "wrong"}})
    await host.client.post("/kombo/webhooks", content=valid["content"])
    await host.client.post("/kombo/webhooks", **webhook_request("e2", "integration-created", {}))
    assert host.results("kombo_embed.webhooks") == {
        "accepted": 1,
        "malformed/invalid_request": 1,
        "wrong_signature/webhook_rejected": 1,
        "no_signature/webhook_rejected": 1,
    }


async def test_a_reconciliation_is_a_span_and_its_changes_are_linked_to_it(host: Host) -> None:
    host.embed.on("integration.updated", name="crm")(host.handled.append)
    integration_id = await host.connect()
    async with asyncio.timeout(30):  # the details are read in the background
        while (known := await host.embed.integration(integration_id)) is None or known.status is None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    host.sandbox.lose_webhooks(1)
    await change_state(host.sandbox, integration_id, "INVALID")
    await host.embed.reconcile()
    reconcile = host.recorded.span("kombo_embed.reconcile")
    assert (reconcile.attributes or {})["kombo_embed.updated"] == 1
    cause = reconcile.context.span_id
    await eventually(lambda: cause in [one for span in host.recorded.spans() for one in linked(span)])


async def test_the_outbox_integrations_and_circuits_are_observed(host: Host) -> None:
    await host.connect()
    await eventually(lambda: bool(host.metric("kombo_embed.outbox.pending")))
    [(pending, _), (lag, _)] = (host.metric(f"kombo_embed.outbox.{name}")[0] for name in ("pending", "lag"))
    assert (pending, lag) == ({}, {})
    counts = {
        one["kombo_embed.integration.status"]: value for one, value in host.metric("kombo_embed.integrations")
    }
    assert counts.keys() == {"ACTIVE", "INACTIVE", "INVALID", "unknown", "other"}
    assert sum(counts.values()) == 1
    states = {tuple(one.values()): value for one, value in host.metric("kombo_embed.circuit.state")}
    assert states["end_users", "closed"] == 1
    assert states["end_users", "open"] == 0


async def test_an_open_circuit_is_observed(host: Host) -> None:
    await order_fault(host.sandbox, "create-link", "rate_limited", times=10)
    await host.client.post("/kombo/links", headers=ADA, json={})
    open_ones = [
        (one["kombo_embed.circuit.name"], value)
        for one, value in host.metric("kombo_embed.circuit.state")
        if one["kombo_embed.circuit.state"] == "open"
    ]
    assert open_ones == [("end_users", 1), ("background", 0)]


async def test_a_mount_that_is_closed_is_not_observed(
    kombo: httpx.AsyncBaseTransport, recorded: Recorded
) -> None:
    app, _ = make_host(kombo, environment="closed-soon")
    async with running(app):
        assert "kombo_embed.circuit.state" in recorded.metrics("closed-soon")
    assert "kombo_embed.circuit.state" not in recorded.metrics("closed-soon")


async def test_background_work_does_not_belong_to_the_request_that_opened_the_mount(
    kombo: httpx.AsyncBaseTransport, recorded: Recorded, sandbox: Sandbox
) -> None:
    app, embed = make_host(kombo)
    embed.on("integration.connected")(lambda _: None)
    transport = httpx.ASGITransport(app)  # which runs no lifespan
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        with trace.get_tracer("the-host").start_as_current_span("host.request"):
            link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
            flow = await sandbox.complete(link, "personio")
            body = {"activation_token": flow.activation_token}
            await client.post("/kombo/completions", headers=ADA, json=body)
        await eventually(lambda: len(recorded.spans("kombo_embed.delivery")) == 1)
    await embed.close()
    assert is_child(recorded.span("kombo_embed.link"), recorded.span("host.request"))
    assert recorded.span("kombo_embed.delivery").parent is None


class Instrumented(httpx.AsyncBaseTransport):
    """Sees what an instrumented HTTP client sees: whether it may record a span."""

    def __init__(self, peer: httpx.AsyncBaseTransport) -> None:
        self._peer = peer
        self.may_record: list[bool] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.may_record.append(not otel_context.get_value("suppress_instrumentation"))
        return await self._peer.handle_async_request(request)


async def test_calls_to_kombo_have_no_spans_of_an_instrumented_client_since_their_paths_have_tokens(
    kombo: httpx.AsyncBaseTransport, recorded: Recorded
) -> None:
    instrumented = Instrumented(kombo)
    app, _ = make_host(instrumented)
    async with running(app) as client:
        await client.post("/kombo/links", headers=ADA, json={})
        await client.post("/kombo/completions", headers=ADA, json={"activation_token": "a-token"})
    assert recorded.spans("kombo_embed.completion")
    assert len(instrumented.may_record) >= 2
    assert not any(instrumented.may_record)


@pytest.mark.integration  # several rejections take two seconds each
async def test_no_span_and_no_metric_contains_a_secret_or_personal_data(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, recorded: Recorded, database_url: str
) -> None:
    environment, clock = f"test-{secrets.token_hex(4)}", ManualClock()
    app, embed = make_host(kombo, database_url=database_url, environment=environment, clock=clock)
    handled: list[Event] = []

    @embed.on("integration.connected", name="crm")
    async def fail(event: Event) -> None:
        handled.append(event)
        raise ValueError(HANDLER_MESSAGE, event)

    async with running(app) as client:
        host = Host(client, app, embed, sandbox, recorded, environment)
        deliver_webhooks(sandbox, app)
        integration_id = await host.connect()
        await sandbox.settle()
        tokens = (host.secrets[-1], "a-token-of-nobody")
        await asyncio.gather(*(host.complete(who, token) for who in (ADA, EVE) for token in tokens))
        await change_state(sandbox, integration_id, "INVALID")
        await client.post(
            "/kombo/webhooks", content=b"a-body-that-is-secret", headers={"X-Kombo-Signature": "x"}
        )
        for mode in ("unauthorized", "html_503", "empty_500", "drop", "redirect", "foreign_json"):
            for path in ("create-link", "integration-by-token"):
                await order_fault(sandbox, path, mode)
            await client.post("/kombo/links", headers=ADA, json={"fresh": True})
            await host.complete(ADA, f"token-{mode}")
            clock.advance(120)
        [public] = (await client.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        for kind in ("relink", "setup-link"):
            response = await client.post(f"/kombo/integrations/{public['id']}/{kind}", headers=ADA, json={})
            host.secrets.append(response.json().get("link", ""))
        await embed.reconcile()
        await eventually(lambda: bool(handled and host.metric("kombo_embed.integrations")))
        exported = [metric.to_json() for metric in recorded.exported()]
    text = "\n".join([*(span.to_json() for span in recorded.spans()), *exported])
    assert {span.name.removeprefix("kombo_embed.") for span in recorded.spans()} == {
        *("link", "mint", "completion", "webhook", "delivery", "reconcile")
    }
    assert environment in text
    people = ["ada@acme.example", "eve@evil.example", "Acme", "acme", "evil", "ada@", "hunter2", "pass word"]
    others = ["token-drop", "a-body-that-is-secret", API_KEY, WEBHOOK_SECRET, public["id"], integration_id]
    for secret in (*filter(None, host.secrets), *people, *tokens, *others):
        assert secret not in text, secret
