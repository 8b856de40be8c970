"""What a person of the support team finds out from the pages."""

from __future__ import annotations

import asyncio
import re
from html import unescape

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.console.visitor import Visitor, opened
from tests.support import eventually, order_fault, person, webhook_request


def plain(html: str) -> str:
    """Return the text of a page's content, with single spaces."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


async def test_a_customer_who_has_not_connected_is_found_and_says_so(visitor: Visitor) -> None:
    await visitor.client.post("/kombo/links", headers=person("ada@acme"), json={})
    found = await visitor.post("/customers", term="acm")
    assert "Nothing connected" in plain(found.text)
    page = plain(await visitor.page("/customer?id=acme"))
    assert "To do Connect a tool" in page
    assert "Link handed out for ada@acme.example" in page


@pytest.mark.parametrize("term", ["acme", "AC", "Acme", "ada@ACME.example", "ada@"])
async def test_a_customer_is_found_by_id_name_and_address_exact_or_by_their_beginning(
    visitor: Visitor, term: str
) -> None:
    await visitor.connect()
    await visitor.connect("other-org")
    text = plain((await visitor.post("/customers", term=term)).text)
    assert "Acme acme ada@acme.example" in text
    assert ("Other-Org" in text) == (term == "ada@")


async def test_a_search_finds_nothing_that_only_contains_the_term(visitor: Visitor) -> None:
    await visitor.connect()
    assert "No customer found" in (await visitor.post("/customers", term="cme")).text
    assert "No customer found" in (await visitor.post("/customers", term="%")).text
    assert (await visitor.post("/customers", term="")).status_code == 303


async def test_a_broken_integration_shows_what_to_do_and_since_when(visitor: Visitor) -> None:
    await visitor.connect(state="INVALID")
    page = plain(await visitor.page("/customer?id=acme"))
    assert "personio broken" in page.lower()
    assert "What is left to do: Reconnect it" in page
    assert re.search(r"Broken since just now \d+ \w+ \d{4}, \d\d:\d\d UTC", page)
    assert "INVALID" in page
    assert "Connected · personio by ada@acme.example" in page
    assert "Acme" in plain(await visitor.page("/customers?show=broken"))
    assert "Broken now 1 integration" in plain(await visitor.page("/"))


async def test_all_customers_who_need_help_are_on_the_pages_of_their_list(visitor: Visitor) -> None:
    names = [f"org-{number:02}" for number in range(65)]
    for name in names:
        await visitor.connect(name, state="INVALID")
    path, seen = "/customers?show=broken", list[str]()
    for shown in (30, 30, 5):
        page = await visitor.page(path)
        found = list(dict.fromkeys(re.findall(r"customer\?id=(org-\d\d)", page)))
        assert len(found) == shown
        seen += found
        older = re.search(r'href="[^"]*/customers\?([^"]+)">Older customers', page)
        path = f"/customers?{unescape(older[1])}" if older else ""
    assert (path, sorted(seen)) == ("", names)
    for before in ("x", "9" * 5000, "-1", "٣"):
        assert "Customers" in await visitor.page(f"/customers?before={before}")


async def test_the_history_names_who_reconnected(visitor: Visitor) -> None:
    public_id = await visitor.connect(state="INVALID")
    ada = person("ada@acme")
    relink = await visitor.client.post(f"/kombo/integrations/{public_id}/relink", headers=ada, json={})
    flow = await visitor.sandbox.complete(relink.json()["link"])
    await visitor.client.post(
        "/kombo/completions", headers=ada, json={"activation_token": flow.activation_token}
    )
    await visitor.sandbox.settle()
    page = plain(await visitor.page("/customer?id=acme"))
    assert "Reconnected by ada@acme.example" in page
    assert "personio healthy" in page.lower()


async def test_the_overview_shows_the_funnel_per_tool_and_where_people_give_up(visitor: Visitor) -> None:
    await visitor.connect()
    await visitor.connect("broken-org", "hibob", state="INVALID")
    await visitor.client.post("/kombo/links", headers=person("ada@third"), json={})
    failed = {"integration_tool": "hibob", "integration_category": "HRIS", "end_user": {"origin_id": "third"}}
    await visitor.client.post("/kombo/webhooks", **webhook_request("f", "connection-flow-failed", failed))
    await visitor.fold()
    page = plain(await visitor.page("/?days=7"))
    assert "Links handed out 3" in page
    assert "Connected 2 67 % of the step before" in page
    assert "Healthy now 1 50 % of the step before" in page
    assert re.search(r"hibob 1 \d 0 \d+ % \d+ s", page)
    assert re.search(r"personio 1 0 0 100 % \d+ s", page)


async def test_the_numbers_behind_each_chart_are_in_a_table(visitor: Visitor) -> None:
    await visitor.connect()
    await visitor.fold()
    page = await visitor.page("/")
    assert page.count('<svg class="chart"') == page.count("<summary>Numbers</summary>") == 2
    assert re.search(r"Day Connections \d+ \w+ \d{4} 1", plain(page))


async def test_the_events_page_says_whether_each_handler_ran(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    ran: list[Event] = []

    def add_handlers(embed: KomboEmbed) -> None:
        @embed.on("integration.connected", name="app.sync")
        async def fail(_event: Event) -> None:
            raise RuntimeError

        embed.on("integration.connected", name="app.notify")(ran.append)

    async with opened(kombo, sandbox, add_handlers=add_handlers) as visitor:
        await visitor.connect()
        await eventually(lambda: bool(ran))
        page = await visitor.page("/events?show=undelivered")
        found = re.search(r'/event\?id=([0-9a-f]+)">integration.connected', page)
        assert found is not None
        async with asyncio.timeout(30):  # until the outcome is recorded, in another task
            while "app.notify Delivered" not in (text := plain(await visitor.page(f"/event?id={found[1]}"))):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert re.search(r"app.sync Failing failed \d+ times? RuntimeError", text)
        assert "app.sync 1 failing" in plain(await visitor.page("/"))
        assert "integration.connected" in plain(await visitor.page("/events?handler=app.sync"))
        assert "Everything is delivered" in plain(await visitor.page("/events?handler=app.notify"))


async def test_events_can_be_filtered_by_customer_type_and_integration(visitor: Visitor) -> None:
    await visitor.connect()
    await visitor.connect("other", "hibob")
    assert "Other" not in plain(await visitor.page("/events?customer=acme"))
    # After the filter, which names all types.
    rows = (await visitor.page("/events?type=integration.connected")).partition("<tbody>")[2]
    assert rows.count(">integration.connected<") == 2
    assert "integration.updated" not in rows
    page = await visitor.page("/customer?id=other")
    found = re.search(r"/events\?integration=([^\"]+)", page)
    assert found is not None
    assert "Acme" not in plain(await visitor.page(f"/events?integration={found[1]}"))


async def test_older_events_and_webhooks_are_on_further_pages(visitor: Visitor) -> None:
    for number in range(35):
        await visitor.client.post("/kombo/webhooks", **webhook_request(f"e{number}", "data-changed", {}))
    for path in ("/events", "/webhooks"):
        first = await visitor.page(path)
        older = re.search(rf'href="/admin/kombo({path}\?[^"]*before=[^"]+)"', first)
        assert older is not None
        second = await visitor.page(older[1].replace("&amp;", "&"))
        assert first.count("data-changed") >= 30
        assert 5 <= second.count("data-changed") <= 10
        assert "before=" not in second


async def test_the_webhooks_page_shows_malformed_ones_and_counts_rejected_ones(visitor: Visitor) -> None:
    await visitor.client.post("/kombo/webhooks", **webhook_request("", "", {}))
    await visitor.client.post("/kombo/webhooks", content=b"{}")
    await visitor.client.post("/kombo/webhooks", content=b"{}", headers={"X-Kombo-Signature": "wrong"})
    await visitor.fold()
    page = plain(await visitor.page("/webhooks"))
    assert "Malformed 1" in page
    assert "1 no signature" in page
    assert "1 wrong signature" in page


async def test_the_health_page_shows_the_findings_of_the_check(visitor: Visitor) -> None:
    page = plain(await visitor.page("/health"))
    assert "Every required setting is present and valid." in page
    assert "OK Api key" in page


async def test_the_checks_run_at_most_once_a_minute(visitor: Visitor) -> None:
    await visitor.page("/health")
    await order_fault(visitor.sandbox, "/check-api-key", "unauthorized", 10)
    assert "OK Api key" in plain(await visitor.page("/health"))


async def test_pages_without_any_record_are_empty_and_no_error(visitor: Visitor) -> None:
    for path in ("/", "/?days=90", "/customers", "/customers?show=broken", "/events", "/webhooks"):
        assert "<h1>" in await visitor.page(path)
    for path in ("/customer?id=nobody", "/customer", "/event?id=0000000", "/event", "/events?before=0000000"):
        assert (await visitor.get(path)).status_code == 404


@pytest.mark.parametrize(
    "before",
    ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00", "yesterday"],
)
async def test_what_is_no_time_of_utc_is_no_page_of_webhooks(visitor: Visitor, before: str) -> None:
    assert (await visitor.get(f"/webhooks?before={before}")).status_code == 404


@pytest.mark.parametrize("listed", ["show=undelivered", "handler=app.sync", "integration=personio:1"])
async def test_the_filters_show_only_what_restricts_the_list(visitor: Visitor, listed: str) -> None:
    page = await visitor.page(f"/events?{listed}&customer=acme&type=flow.failed")
    assert 'value="acme"' not in page
    assert ("selected" in page) == listed.startswith("integration")


async def test_an_erased_customer_is_named_as_such(visitor: Visitor) -> None:
    await visitor.connect()
    await visitor.embed.erase("acme")
    page = plain(await visitor.page("/customer?id=acme"))
    assert "The personal data of this customer was erased." in page
    assert "A link was minted" not in page


async def test_one_of_something_is_written_in_the_singular(visitor: Visitor) -> None:
    failed = {"integration_tool": "hibob", "end_user": {"origin_id": "acme"}}
    await visitor.client.post("/kombo/webhooks", **webhook_request("f", "connection-flow-failed", failed))
    await visitor.fold()
    assert "0 links expired without a connection, and 1 attempt failed." in plain(await visitor.page("/"))
