"""What a person of the support team can do, and what of it the audit trail says."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.console.visitor import LINK, Visitor, opened
from tests.support import change_state, eventually, order_fault, person

ADA = {"customer": "acme", "email": "ada@acme.example"}


async def test_a_magic_link_connects_the_customer_and_appears_in_one_response_only(visitor: Visitor) -> None:
    await visitor.client.post("/kombo/links", headers=person("ada@acme"), json={})
    response = await visitor.post("/magic-link", name="Acme", category="HRIS", **ADA)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    [link] = LINK.findall(response.text)
    for path in ("/", "/customers", "/customer?id=acme", "/events", "/webhooks"):
        assert LINK.search(await visitor.page(path)) is None
    await visitor.sandbox.complete(link, "personio")
    await visitor.sandbox.settle()
    assert [one.tool for one in await visitor.embed.integrations("acme")] == ["personio"]
    [entry] = await visitor.audit()
    assert (entry.action, entry.origin_id) == ("magic_link_minted", "acme")
    assert "Magic link minted by Sam for ada@acme.example" in text(await visitor.page("/customer?id=acme"))


async def test_a_reconnect_link_repairs_the_integration(visitor: Visitor) -> None:
    public_id = await visitor.connect(state="INVALID")
    response = await visitor.post("/repair-link", integration=public_id, **ADA)
    [link] = LINK.findall(response.text)
    [broken] = await visitor.embed.integrations("acme")
    await visitor.sandbox.complete(link)
    await visitor.sandbox.settle()
    [repaired] = await visitor.embed.integrations("acme")
    assert (repaired.integration_id, repaired.status) == (broken.integration_id, "ACTIVE")
    [entry] = await visitor.audit()
    assert (entry.action, entry.integration_id) == ("reconnect_link_minted", broken.integration_id)
    assert "Reconnected by ada@acme.example" in text(await visitor.page("/customer?id=acme"))


async def test_a_setup_link_is_offered_instead_while_the_setup_is_unfinished(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    async with opened(kombo, sandbox, enable_field_mapping=True) as visitor:
        public_id = await visitor.connect()
        assert "Create setup link" in await visitor.page("/customer?id=acme")
        response = await visitor.post("/repair-link", integration=public_id, **ADA)
        assert len(LINK.findall(response.text)) == 1
        assert (await visitor.audit())[0].action == "setup_link_minted"


@pytest.mark.parametrize("email", ["mallory@evil.example", "ada@acme.example ", "ADA@acme.example", ""])
async def test_links_are_minted_only_for_a_recorded_address(visitor: Visitor, email: str) -> None:
    public_id = await visitor.connect()
    await visitor.connect("other")
    before = len(visitor.sandbox.calls)
    is_same = email.strip() == "ada@acme.example"
    for path, more in (("/magic-link", {"category": "HRIS"}), ("/repair-link", {"integration": public_id})):
        response = await visitor.post(path, customer="acme", email=email, **more)
        assert response.status_code == (200 if is_same else 422)
        assert is_same or LINK.search(response.text) is None
    assert is_same or len(visitor.sandbox.calls) == before
    stolen = await visitor.post("/magic-link", customer="acme", email="ada@other.example", category="HRIS")
    assert stolen.status_code == 422


async def test_another_customers_integration_cannot_be_named(visitor: Visitor) -> None:
    await visitor.connect()
    foreign = await visitor.connect("other")
    for path in ("/repair-link", "/re-read"):
        assert (await visitor.post(path, integration=foreign, **ADA)).status_code == 404
    assert await visitor.audit() == []


async def test_re_reading_records_what_a_lost_webhook_would_have_reported(visitor: Visitor) -> None:
    public_id = await visitor.connect()
    visitor.sandbox.webhook_url = None
    [integration] = await visitor.embed.integrations("acme")
    await change_state(visitor.sandbox, integration.integration_id, "INVALID")
    response = await visitor.post("/re-read", customer="acme", integration=public_id)
    assert response.status_code == 303
    assert response.headers["location"] == "/admin/kombo/customer?id=acme&done=read"
    assert (await visitor.embed.integrations("acme"))[0].status == "INVALID"
    assert [one.action for one in await visitor.audit()] == ["integration_read"]


async def test_re_reading_what_kombo_does_not_know_changes_nothing(visitor: Visitor) -> None:
    public_id = await visitor.connect()
    await order_fault(visitor.sandbox, "/integrations", "unknown_code", 5)
    response = await visitor.post("/re-read", customer="acme", integration=public_id)
    assert response.status_code in {303, 502}
    assert [one.public_id for one in await visitor.embed.integrations("acme")] == [public_id]


async def test_a_failed_mint_shows_the_reason_and_no_link(visitor: Visitor) -> None:
    await visitor.connect()
    await order_fault(visitor.sandbox, "/connect/create-link", "unauthorized", 5)
    response = await visitor.post("/magic-link", category="HRIS", **ADA)
    assert response.status_code == 502
    assert "This did not work" in response.text
    assert await visitor.audit() == []


async def test_a_dead_event_is_replayed_and_a_delivered_one_resent(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    heard: list[str] = []

    def add_handlers(embed: KomboEmbed) -> None:
        @embed.on("integration.connected", name="app.sync")
        async def hear(event: Event) -> None:
            heard.append(event.id)

    async with opened(kombo, sandbox, add_handlers=add_handlers) as visitor:
        await visitor.connect()
        await eventually(lambda: len(heard) == 1)
        [event_id] = heard
        nothing = await visitor.post("/replay", event=event_id)
        assert nothing.headers["location"].endswith("done=nothing")
        resent = await visitor.post("/resend", event=event_id, handler="app.sync")
        assert resent.headers["location"] == f"/admin/kombo/event?id={event_id}&done=resent"
        await eventually(lambda: heard == [event_id, event_id])
        assert [(one.action, one.origin_id) for one in await visitor.audit()] == [("event_resent", "acme")]
        assert (await visitor.post("/resend", event="0" * 32)).status_code == 303


async def test_the_audit_trail_has_the_name_for_the_action(visitor: Visitor) -> None:
    public_id = await visitor.connect()
    token = await visitor.token()
    visitor.names = {"replay": "Sam, on call"}
    await visitor.post("/re-read", token=token, customer="acme", integration=public_id)
    visitor.name = "Sam, on call"
    assert [one.action for one in await visitor.audit()] == ["integration_read"]


async def test_without_the_right_to_act_there_are_no_buttons(visitor: Visitor) -> None:
    await visitor.connect(state="INVALID")
    page = await visitor.page("/customer?id=acme")
    assert "Create reconnect link" in page
    visitor.allowed = {"read"}
    page = await visitor.page("/customer?id=acme")
    for word in ("Create reconnect link", "Create magic link", "Re-read from Kombo"):
        assert word not in page


def text(html: str) -> Any:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
