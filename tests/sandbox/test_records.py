"""The records of a sandbox that serves for long: their number is bounded, and none in use is removed."""

import asyncio
from dataclasses import replace

import pytest

from kombo_embed.clock import ManualClock
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.errors import ActivationUnknown, LinkUnknown
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import (
    KEPT_RECORDS,
    EndUserRecord,
    IntegrationOptions,
    LinkTerms,
    State,
)
from kombo_embed.sandbox.webhook_events import new_event
from kombo_embed.sandbox.webhooks import Receiver, WebhookSender

TERMS = LinkTerms(
    kind="connect",
    link_type="EMBEDDED",
    language="en",
    end_user=EndUserRecord("ada@acme.example", "Acme", "acme"),
    category="HRIS",
    tool=None,
    options=IntegrationOptions(),
)


@pytest.fixture
def state() -> State:
    return State(ManualClock(lambda: 1_790_000_000.0))


def test_links_are_kept_until_they_expire_and_then_the_newest(state: State) -> None:
    links = Links(state)
    minted = [links.mint(TERMS, "http://localhost:8001") for _ in range(KEPT_RECORDS + 3)]
    assert links.find_open(minted[0].url) == minted[0]
    state.clock.advance(3600)
    newest = links.mint(TERMS, "http://localhost:8001")
    assert len(state.links) == KEPT_RECORDS
    assert links.find_open(newest.url) == newest
    with pytest.raises(LinkUnknown):
        links.find(minted[3].url)
    assert links.find(minted[4].url) == minted[4]


async def test_webhooks_that_were_sent_are_removed_from_the_oldest_on(state: State) -> None:
    sender = WebhookSender(state, receiver=Receiver, sleep=asyncio.sleep)
    sender.send(new_event("held", {}), after_exchange_of="token")
    (held,) = state.deliveries.values()
    for number in range(KEPT_RECORDS + 3):
        sent = replace(held, id=str(number), status="delivered")
        state.deliveries[sent.id] = sent
    sender.send(new_event("next", {}))
    assert len(state.deliveries) == KEPT_RECORDS + 5
    sender.release("token")
    sender.send(new_event("last", {}))
    assert len(state.deliveries) == KEPT_RECORDS
    assert [delivery.event.type for delivery in state.deliveries.values()][-2:] == ["next", "last"]


async def test_activation_tokens_are_kept_until_they_expire_and_then_the_newest(state: State) -> None:
    links = Links(state)
    connections = Connections(state, links, WebhookSender(state, receiver=Receiver, sleep=asyncio.sleep))
    link = links.mint(TERMS, "http://localhost:8001").url
    first = await connections.complete(link)
    (activation,) = state.activations.values()
    state.activations |= {str(number): activation for number in range(KEPT_RECORDS)}
    await connections.complete(link)
    assert connections.exchange(first.activation_token).id == first.integration_id
    state.clock.advance(600)
    newest = await connections.complete(link)
    assert len(state.activations) == KEPT_RECORDS
    assert connections.exchange(newest.activation_token).id == newest.integration_id
    with pytest.raises(ActivationUnknown):
        connections.exchange(first.activation_token)
