"""``GET /integrations``: pages, the filter by next action, and the actions of the end user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import make_host, person, running, webhook_request

ADA, OTHER = person("ada@acme"), person("alan@bletchley")
LIST = "/kombo/integrations"


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def client(
    kombo: httpx.AsyncBaseTransport, settings: dict[str, Any]
) -> AsyncIterator[httpx.AsyncClient]:
    app, _ = make_host(kombo, **settings)
    async with running(app) as client:
        yield client


async def connect(client: httpx.AsyncClient, *names: str, origin_id: str = "acme") -> None:
    """Report these integrations, in this order, as Kombo does."""
    for name in names:
        data = {"id": f"{name}:{origin_id}", "tool": name, "end_user": {"origin_id": origin_id}}
        request = webhook_request(f"created {name} {origin_id}", "integration-created", data)
        assert (await client.post("/kombo/webhooks", **request)).status_code == 204


async def change(client: httpx.AsyncClient, name: str, state: str, setup_status: str | None) -> None:
    data = {"integration_id": f"{name}:acme", "state": state, "setup_status": setup_status}
    data["updated_at"] = "2026-01-01T00:00:00Z"
    request = webhook_request(f"changed {name}", "integration-state-changed", data)
    assert (await client.post("/kombo/webhooks", **request)).status_code == 204


async def get(client: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    response = await client.get(LIST, headers=ADA, params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def tools(page: dict[str, Any]) -> list[str]:
    return [integration["tool"] for integration in page["integrations"]]


async def test_a_list_that_fits_one_page_has_no_next_cursor(client: httpx.AsyncClient) -> None:
    assert await get(client) == {"integrations": [], "next_cursor": None, "actions": []}
    await connect(client, "one", "two")
    page = await get(client, limit="2")
    assert (tools(page), page["next_cursor"]) == (["one", "two"], None)


async def test_the_pages_together_are_the_whole_list_oldest_first_although_more_is_connected(
    client: httpx.AsyncClient,
) -> None:
    await connect(client, "one", "two", "three")
    await connect(client, "theirs", origin_id="bletchley")
    first = await get(client, limit="2")
    await connect(client, "four", "five")
    second = await get(client, limit="2", cursor=first["next_cursor"])
    third = await get(client, limit="2", cursor=second["next_cursor"])
    pages = [tools(page) for page in (first, second, third)]
    assert pages == [["one", "two"], ["three", "four"], ["five"]]
    assert third["next_cursor"] is None


async def test_without_a_limit_a_page_has_a_hundred_integrations(client: httpx.AsyncClient) -> None:
    names = [f"tool-{number}" for number in range(101)]
    await connect(client, *names)
    page = await get(client)
    assert tools(page) == names[:100]
    assert tools(await get(client, cursor=page["next_cursor"])) == names[100:]


async def test_a_cursor_stays_valid_when_its_integration_is_deleted(client: httpx.AsyncClient) -> None:
    await connect(client, "one", "two", "three")
    first = await get(client, limit="2")
    deleted = {"id": "two:acme", "tool": "two", "end_user": {"origin_id": "acme"}}
    await client.post("/kombo/webhooks", **webhook_request("deleted", "integration-deleted", deleted))
    assert tools(await get(client, cursor=first["next_cursor"])) == ["three"]


async def test_a_cursor_of_another_organization_is_refused_as_an_unknown_one(
    client: httpx.AsyncClient,
) -> None:
    await connect(client, "one", "two", origin_id="bletchley")
    theirs = (await client.get(LIST, headers=OTHER, params={"limit": "1"})).json()["next_cursor"]
    assert theirs is not None
    refused = await client.get(LIST, headers=ADA, params={"cursor": theirs})
    unknown = await client.get(LIST, headers=ADA, params={"cursor": "A" * 22})
    assert refused.status_code == unknown.status_code == 422
    assert refused.json() == unknown.json()
    assert [error["field"] for error in refused.json()["errors"]] == ["cursor"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0", ["limit"]),
        ("limit=101", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=%2B5", ["limit"]),
        ("limit=1.0", ["limit"]),
        ("limit=", ["limit"]),
        ("limit=%D9%A1", ["limit"]),  # a digit, but not of ASCII
        (f"limit={'1' * 500}", ["limit"]),
        ("cursor=", ["cursor"]),
        ("cursor=17", ["cursor"]),
        ("cursor=%00", ["cursor"]),
        ("next_action=", ["next_action"]),
        ("next_action=sleep", ["next_action"]),
        ("next_action=reconnect,sleep", ["next_action"]),
        ("next_action=RECONNECT", ["next_action"]),
        ("limit=0&next_action=sleep", ["limit", "next_action"]),
        ("limit=1&limit=2", ["limit"]),
        (f"cursor={'A' * 1100}", ["query"]),
    ],
)
async def test_an_invalid_query_is_a_problem_that_names_the_parameter(
    query: str, fields: list[str], client: httpx.AsyncClient
) -> None:
    response = await client.get(f"{LIST}?{query}", headers=ADA)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in response.json()["errors"]] == fields
    assert all(error["reason"] for error in response.json()["errors"])


async def test_the_filter_selects_by_next_action_and_pages(client: httpx.AsyncClient) -> None:
    await connect(client, "on", "off", "broken", "unfinished", "syncing", "new", "broken-too")
    await change(client, "on", "ACTIVE", "COMPLETED")
    await change(client, "off", "INACTIVE", "INCOMPLETE")
    await change(client, "broken", "INVALID", "COMPLETED")
    await change(client, "unfinished", "ACTIVE", "INCOMPLETE")
    await change(client, "syncing", "ACTIVE", "FINAL_SYNC_PENDING")
    await change(client, "broken-too", "INVALID", None)
    expected = {
        "none": ["on"],
        "enable": ["off"],
        "reconnect": ["broken", "broken-too"],
        "finish_setup": ["unfinished"],
        "wait_for_sync": ["syncing"],
        "pending": ["new"],
        "finish_setup,reconnect": ["broken", "unfinished", "broken-too"],
    }
    for action, names in expected.items():
        page = await get(client, next_action=action)
        assert tools(page) == names
        assert {one["next_action"] for one in page["integrations"]} == set(action.split(","))
    first = await get(client, next_action="reconnect", limit="1")
    assert (tools(first), bool(first["next_cursor"])) == (["broken"], True)
    second = await get(client, next_action="reconnect", limit="1", cursor=first["next_cursor"])
    assert (tools(second), second["next_cursor"]) == (["broken-too"], None)


async def test_each_query_has_its_own_entity_tag(client: httpx.AsyncClient) -> None:
    await connect(client, "one", "two")
    tags = set()
    for query in ({}, {"limit": "1"}, {"next_action": "reconnect"}):
        response = await client.get(LIST, headers=ADA, params=query)
        tag = {"If-None-Match": response.headers["etag"]}
        assert (await client.get(LIST, headers=ADA | tag, params=query)).status_code == 304
        tags.add(response.headers["etag"])
    assert len(tags) == 3


class TestDisconnectAllowed:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allow_disconnect": True}

    async def test_the_list_names_the_action_and_its_tag_differs(
        self, client: httpx.AsyncClient, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
    ) -> None:
        del sandbox
        await connect(client, "one")
        assert (await get(client))["actions"] == ["disconnect"]
        tag = (await client.get(LIST, headers=ADA)).headers["etag"]
        app, _ = make_host(kombo)
        async with running(app) as without:  # on the same database
            response = await without.get(LIST, headers=ADA | {"If-None-Match": tag})
        assert (response.status_code, response.json()["actions"]) == (200, [])
