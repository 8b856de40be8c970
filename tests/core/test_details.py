"""Details of new integrations are fetched in the background, whoever reported the integration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from kombo_embed import EndUser, Event, Integration, KomboEmbed
from kombo_embed.core.details import ATTEMPTS_IN_FIRST_HOUR, LOOK_SECONDS, DetailsReader, backoff_seconds
from kombo_embed.sandbox import Sandbox
from tests.fakes import FlakyTransport, HeldTransport, respond
from tests.support import (
    LogRecorder,
    ManualClock,
    change_state,
    deliver_webhooks,
    eventually,
    exchanged,
    make_host,
    minted,
    person,
    recorded_statements,
    running,
    webhook_request,
)

ADA = person("ada@acme")
DETAILS = "/integrations/"
NOT_FOUND = {"status": "error", "error": {"code": "PLATFORM.INTEGRATION_NOT_FOUND", "message": "?"}}
WITH_LABEL = ["ACTIVE", "COMPLETED", "HRIS", "Personio", "none"]


@dataclass
class Host:
    """An app that receives webhooks, whose reads of details pass through ``details``."""

    client: httpx.AsyncClient
    embed: KomboEmbed
    sandbox: Sandbox
    clock: ManualClock
    details: FlakyTransport
    events: list[Event] = field(default_factory=list)

    async def connect(self, *, in_browser: bool = False, link: str | None = None) -> str:
        """Complete a flow, reported by webhook; with ``in_browser`` by the page first. Return Kombo's id."""
        if link is None:
            link = (await self.client.post("/kombo/links", headers=ADA, json={"fresh": True})).json()["link"]
        flow = await self.sandbox.complete(link, "personio", order="browser_first" if in_browser else None)
        if in_browser:
            await self.complete(flow.activation_token)
        await self.sandbox.settle()
        return flow.integration_id

    async def complete(self, activation_token: str) -> int:
        token = {"activation_token": activation_token}
        return (await self.client.post("/kombo/completions", headers=ADA, json=token)).status_code

    async def read(self) -> list[Any]:
        """Return what the page shows of Ada's first integration."""
        response = await self.client.get("/kombo/integrations", headers=ADA)
        [first, *_] = response.json()["integrations"]
        names = ("status", "setup_status", "category", "tool_label", "next_action")
        return [first[name] for name in names]

    async def until(self, wanted: list[Any]) -> None:
        async with asyncio.timeout(30):
            while await self.read() != wanted:
                pass  # each look is a request

    async def until_calls(self, count: int) -> None:
        await eventually(lambda: self.details.calls >= count)


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def host(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, settings: dict[str, Any]
) -> AsyncIterator[Host]:
    clock = ManualClock()
    details = FlakyTransport(kombo, path=DETAILS)
    app, embed = make_host(details, clock=clock, link_rate="1000/minute", **settings)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        host = Host(client, embed, sandbox, clock, details)
        for event_type in ("integration.connected", "integration.updated"):
            embed.on(event_type)(host.events.append)
        yield host


@pytest.mark.parametrize("reported_by", ["browser", "webhook", "magic link"])
async def test_the_details_of_a_new_integration_are_known_whoever_reported_it(
    host: Host, reported_by: str
) -> None:
    ada = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
    link = await host.embed.magic_link(ada) if reported_by == "magic link" else None
    await host.connect(in_browser=reported_by == "browser", link=link)
    await host.until(WITH_LABEL)
    [integration] = await host.embed.integrations("acme")
    assert integration.tool_label == "Personio"
    assert integration.logo_url
    assert integration.logo_url.endswith("/assets/tools/personio.svg")
    assert host.details.calls == 1


async def test_an_integration_is_pending_until_its_setup_status_is_known(host: Host) -> None:
    host.details.then = respond(500)
    await host.connect()
    assert (await host.read())[-1] == "pending"
    await host.until_calls(1)
    await until_postponed(host, 1)
    assert (await host.read())[-1] == "pending"
    host.details.then = None
    host.clock.advance(1)
    await host.until(WITH_LABEL)
    assert [event.type for event in host.events].count("integration.connected") == 1


async def test_events_of_the_details_carry_the_label_and_the_logo(host: Host) -> None:
    await host.connect()
    await eventually(lambda: any(event.type == "integration.updated" for event in host.events))
    [connected, updated] = [event.integration for event in host.events]
    assert isinstance(connected, Integration)
    assert isinstance(updated, Integration)
    assert (connected.tool_label, connected.logo_url) == (None, None)
    assert updated.tool_label == "Personio"
    assert updated.logo_url is not None


async def test_a_repeated_completion_does_not_read_the_details_again(host: Host) -> None:
    link = (await host.client.post("/kombo/links", headers=ADA, json={})).json()["link"]
    flow = await host.sandbox.complete(link, "personio")
    await host.sandbox.settle()
    await host.until(WITH_LABEL)
    statuses = [await host.complete(flow.activation_token) for _ in range(3)]
    await host.connect()  # a read that follows those of the repetitions
    await host.until_calls(2)
    assert (statuses, host.details.calls, exchanged(host.sandbox)) == ([200, 200, 200], 2, 1)


async def test_a_completed_reconnection_reads_the_details_again_if_no_webhook_reports_it(host: Host) -> None:
    integration_id = await host.connect()
    await host.until(WITH_LABEL)
    await change_state(host.sandbox, integration_id, "INVALID")
    [integration] = await host.embed.integrations("acme")
    host.sandbox.webhook_url = None
    path = f"/kombo/integrations/{integration.public_id}/relink"
    link = (await host.client.post(path, headers=ADA, json={})).json()["link"]
    flow = await host.sandbox.complete(link)
    assert await host.complete(flow.activation_token) == 200
    await host.until(WITH_LABEL)


def test_the_backoff_is_half_a_minute_at_most_in_the_first_hour_and_a_quarter_of_an_hour_later() -> None:
    waits = [backoff_seconds(attempts) for attempts in range(1, 2000)]
    assert waits[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert max(waits[:ATTEMPTS_IN_FIRST_HOUR]) == 30
    assert 3540 <= sum(waits[:ATTEMPTS_IN_FIRST_HOUR]) <= 3660
    assert set(waits[ATTEMPTS_IN_FIRST_HOUR:]) == {900}


async def test_failed_reads_are_repeated_with_increasing_delays(host: Host) -> None:
    host.details.then = respond(400, json={"error": {"code": "PLATFORM.SOMETHING_NEW", "message": "?"}})
    await host.connect()
    await host.until_calls(1)
    for attempts, seconds in enumerate([1, 2, 4, 8, 16, 30, 30], start=1):
        await until_postponed(host, attempts)
        host.clock.advance(seconds)
        await host.until_calls(attempts + 1)
    host.details.then = None
    await until_postponed(host, 8)
    host.clock.advance(30)
    await host.until(WITH_LABEL)


async def until_postponed(host: Host, attempts: int) -> None:
    """Wait until the failure of this attempt is recorded, which ends the lease of the read."""
    services = await host.embed.services()
    async with asyncio.timeout(30):
        while True:
            due = await services.store.details.take(limit=0, lease_seconds=0)
            if due.next_in_seconds == backoff_seconds(attempts):
                return


async def test_the_circuit_breaker_that_end_users_calls_opened_stops_the_reads(host: Host) -> None:
    links = FlakyTransport(host.details, path="/create-link", then=respond(500))
    app, _ = make_host(links, clock=host.clock, environment="other", link_rate="1000/minute")
    async with running(app) as client:
        for number in range(6):
            someone = person(f"ada@customer-{number}")
            assert (await client.post("/kombo/links", headers=someone, json={})).status_code == 503
        await client.post("/kombo/webhooks", **created("1", "personio:x"))
        for _ in range(5):  # as many looks at the database as a read would need, and more
            assert (await client.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        calls = host.details.calls
        host.clock.advance(1)  # the pause of a circuit that has just opened
        links.then = None
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
        await host.until_calls(calls + 1)
    assert calls == 0


@pytest.mark.parametrize(
    "failure",
    [
        respond(500),
        respond(429),
        respond(429, headers={"Retry-After": "3600"}),
        respond(503, headers={"Retry-After": "3600"}),
        httpx.ConnectError("down"),
        httpx.ReadTimeout("slow"),
    ],
)
async def test_failing_reads_never_delay_a_link(host: Host, failure: Any) -> None:
    host.details.then = failure
    for number in range(8):
        await host.connect()
        await host.until_calls(min(number + 1, 1))
        host.clock.advance(1)
    before = minted(host.sandbox)
    response = await host.client.post("/kombo/links", headers=ADA, json={"fresh": True})
    assert (response.status_code, minted(host.sandbox)) == (200, before + 1)


async def test_a_retry_after_pauses_all_reads_until_it_is_over(host: Host) -> None:
    host.details.then = respond(429, headers={"Retry-After": "60"})
    await host.connect()
    await host.until_calls(1)
    await until_postponed(host, 1)
    host.clock.advance(59)
    await host.connect()
    services = await host.embed.services()
    for _ in range(5):  # as many looks at the database as a read would need, and more
        due = await services.store.details.take(limit=0, lease_seconds=0)
    assert (host.details.calls, due.next_in_seconds) == (1, 0)  # neither read nor taken
    host.details.then = None
    host.clock.advance(1)
    await host.until(WITH_LABEL)


@pytest.mark.parametrize("answer", [respond(404, json=NOT_FOUND), respond(404, text="<html>no</html>")])
async def test_after_ten_answers_of_404_the_details_are_given_up_and_the_integration_is_kept(
    host: Host, log: LogRecorder, answer: Any
) -> None:
    host.details.then = answer
    integration_id = await host.connect()
    for attempts in range(1, 10):
        await host.until_calls(attempts)
        await until_postponed(host, attempts)
        host.clock.advance(backoff_seconds(attempts))
    await eventually(lambda: "details.not_found" in log.text())
    assert integration_id in next(line for line in log.lines if "details.not_found" in line)
    host.clock.advance(3600)
    host.details.then = None
    assert (await host.read())[-1] == "pending"
    assert host.details.calls == 10
    await change_state(host.sandbox, integration_id, "ACTIVE")  # so Kombo knows it after all
    await host.until(WITH_LABEL)


async def test_what_a_webhook_reports_during_the_read_counts(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    held = HeldTransport(kombo, path=DETAILS, stage="response")
    app, embed = make_host(held)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        host = Host(client, embed, sandbox, ManualClock(), FlakyTransport(held))
        integration_id = await host.connect()
        await held.reached()
        await change_state(sandbox, integration_id, "INVALID")
        held.release()
        await host.until(["INVALID", "COMPLETED", "HRIS", "Personio", "reconnect"])


async def test_details_of_another_integration_are_rejected(host: Host, log: LogRecorder) -> None:
    await host.connect()
    await host.until(WITH_LABEL)
    [first] = await host.embed.integrations("acme")
    other = {"id": first.integration_id, "tool": {"id": "x", "label": "Other"}, "status": "INVALID"}
    host.details.then = respond(json={"status": "success", "data": other})
    await host.connect()
    await eventually(lambda: "kombo_invalid_response" in log.text())
    assert await host.read() == WITH_LABEL


async def test_a_deleted_integration_is_not_read_any_more(host: Host) -> None:
    host.details.then = respond(500)
    integration_id = await host.connect()
    await host.until_calls(1)
    await until_postponed(host, 1)
    gone = {"id": integration_id, "tool": "personio", "end_user": {"origin_id": "acme"}}
    await host.client.post("/kombo/webhooks", **webhook_request("gone", "integration-deleted", gone))
    services = await host.embed.services()
    due = await services.store.details.take(limit=1, lease_seconds=0)
    assert (due.jobs, due.next_in_seconds) == ([], None)


@pytest.mark.parametrize(
    ("tool", "label", "logo"),
    [
        ({"label": "Personio", "logo_url": "https://x.example/p.svg"}, "Personio", "https://x.example/p.svg"),
        ({"label": "Personio", "logo_url": "http://x.example/p.svg"}, "Personio", None),
        ({"label": "Personio", "logo_url": "javascript:alert(1)"}, "Personio", None),
        ({"label": "Personio", "logo_url": 7}, "Personio", None),
        ({"label": " ", "logo_url": None}, None, None),
        ({"label": ["Personio"]}, None, None),
        ({"label": "Half of \ud83d"}, None, None),
        ({}, None, None),
    ],
)
async def test_a_label_or_logo_that_cannot_be_shown_is_left_out(
    host: Host, tool: dict[str, Any], label: str | None, logo: str | None
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        data = {"id": request.url.path.rpartition("/")[2], "tool": {"id": "personio", **tool}}
        data |= {"status": "ACTIVE", "setup_status": "COMPLETED", "category": "HRIS"}
        return httpx.Response(200, content=json.dumps({"status": "success", "data": data}).encode())

    host.details.then = answer
    await host.connect()
    await host.until(["ACTIVE", "COMPLETED", "HRIS", label, "none"])
    assert [one.logo_url for one in await host.embed.integrations("acme")] == [logo]


async def test_without_due_details_the_database_is_asked_every_half_minute(host: Host) -> None:
    """The reader looks at the clock, and at the database only if it is time."""
    services = await host.embed.services()
    reader = DetailsReader(
        services.flow._client,  # noqa: SLF001 - the host's own
        services.store,
        services.store.details,
        timeout_seconds=10,
        clock=host.clock,
        wake_dispatcher=lambda: None,
    )
    asked_at = []
    for second in range(100):
        if second == 70:
            reader.wake()
        with recorded_statements() as statements:
            await reader.run_once()
        if any("details_due_at IS NOT NULL" in one for one in statements):
            asked_at.append(second)
        host.clock.advance(1)
    assert asked_at == [0, LOOK_SECONDS, 2 * LOOK_SECONDS, 70]


def created(event_id: str, integration_id: str) -> dict[str, Any]:
    """Return the webhook of a new integration of Acme's."""
    about = {"id": integration_id, "tool": "personio", "end_user": {"origin_id": "acme"}}
    return webhook_request(event_id, "integration-created", about)
