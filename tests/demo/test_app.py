from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from kombo_embed import ConfigurationError
from kombo_embed.demo import create_app
from kombo_embed.demo.people import PEOPLE
from kombo_embed.sandbox import Sandbox
from tests.demo.steps import Visit, connect, events_of
from tests.support import SANDBOX_URL


class Addresses(HTMLParser):
    """The addresses that a page loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [
            value or "" for name, value in attrs if name == "src" or (name, tag) == ("href", "link")
        ]


def context_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="context">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    context: dict[str, Any] = json.loads(found[1])
    return context


async def test_without_a_session_the_login_page_lists_every_person(visit: Visit) -> None:
    page = html.unescape((await (await visit()).get("/")).text)
    for person in PEOPLE.values():
        card = page[page.index(f'data-person="{person.id}"') :].split("</form>")[0]
        assert person.name in card
        assert f"{person.role}, {person.organization.name}" in card
    assert page.count('data-testid="sign-in"') == len(PEOPLE)
    assert 'data-testid="connect"' not in page


@pytest.mark.parametrize("path", ["/events", "/me", "/kombo/integrations"])
async def test_without_a_session_data_is_a_401_problem(visit: Visit, path: str) -> None:
    response = await (await visit()).get(path)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 401


@pytest.mark.parametrize(
    "body",
    [b"person=mallory", b"person=", b"", b"ada", b"\xff=\xfe", b'{"person": "ada"}', b"person=__class__"],
)
async def test_an_unknown_person_cannot_sign_in(visit: Visit, body: bytes) -> None:
    browser = await visit()
    response = await browser.post("/sign-in", content=body)
    assert response.status_code == 422
    assert "ada" in response.json()["detail"]
    assert (await browser.get("/me")).status_code == 401


async def test_the_page_contains_the_signed_in_person_but_not_their_email(visit: Visit) -> None:
    browser = await visit("ada")
    page = (await browser.get("/")).text
    assert context_of(page) == {
        "sandbox_url": SANDBOX_URL,
        "console_url": "/console/",
        "module": "/kombo/kombo-embed.js",
        **(await browser.get("/me")).json(),
    }
    assert context_of(page)["person"]["name"] == "Ada Lovelace"
    assert PEOPLE["ada"].email not in page


async def test_signing_out_ends_the_session(visit: Visit) -> None:
    browser = await visit("ada")
    assert (await browser.post("/sign-out")).headers["location"] == "/"
    assert (await browser.get("/me")).status_code == 401
    assert 'data-testid="sign-in"' in (await browser.get("/")).text


async def test_signing_in_again_replaces_the_person(visit: Visit) -> None:
    browser = await visit("ada")
    await browser.post("/sign-in", data={"person": "margaret"})
    assert (await browser.get("/me")).json()["organization"] == {"name": "Bluefjord Health"}


async def test_a_forged_session_is_not_signed_in(visit: Visit) -> None:
    browser = await visit()
    browser.cookies.set("fieldnotes_session", "eyJwZXJzb24iOiAiYWRhIn0=.aaaa.bbbb")
    assert (await browser.get("/me")).status_code == 401


async def test_the_session_cookie_is_same_site_and_http_only(visit: Visit) -> None:
    response = await (await visit()).post("/sign-in", data={"person": "ada"})
    cookie = response.headers["set-cookie"].lower()
    assert "samesite=lax" in cookie
    assert "httponly" in cookie


async def test_a_connected_tool_is_listed_with_the_name_of_the_end_user(
    visit: Visit, sandbox: Sandbox
) -> None:
    browser = await visit("ada")
    await connect(browser, sandbox, "personio")
    [event] = await events_of(browser, 1)
    assert (event["tool"], event["category"], event["by"]) == ("personio", "HRIS", "Ada Lovelace")
    assert set(event) == {"id", "type", "occurred_at", "tool", "category", "status", "setup_status", "by"}


async def test_events_are_listed_newest_first_for_colleagues_and_for_no_other_organization(
    visit: Visit, sandbox: Sandbox
) -> None:
    ada, grace, margaret = await visit("ada"), await visit("grace"), await visit("margaret")
    await connect(ada, sandbox, "personio")
    await events_of(ada, 1)
    await connect(grace, sandbox, "bamboohr")
    assert [event["tool"] for event in await events_of(ada, 2)] == ["bamboohr", "personio"]
    assert await events_of(grace, 2) == await events_of(ada, 2)
    assert (await margaret.get("/events")).json() == {"person": "margaret", "events": []}
    assert (await margaret.get("/kombo/integrations")).json()["integrations"] == []


async def test_a_failed_flow_is_listed_without_kombos_ids_and_emails(visit: Visit, sandbox: Sandbox) -> None:
    browser = await visit("grace")
    link = (await browser.post("/kombo/links", json={})).json()["link"]
    await sandbox.fail(link, "hibob")
    [event] = await events_of(browser, 1, types={"flow.failed", "connection-flow-failed"})
    assert event["tool"] == "hibob"
    text = json.dumps(event)
    assert PEOPLE["grace"].email not in text
    assert "log_url" not in text


async def test_events_are_sent_again_only_after_a_change(visit: Visit, sandbox: Sandbox) -> None:
    browser = await visit("ada")
    tag = (await browser.get("/events")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        unchanged = await browser.get("/events", headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["etag"] == tag
    await connect(browser, sandbox, "personio")
    await events_of(browser, 1)
    changed = await browser.get("/events", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize("person", [None, "ada"])
async def test_a_page_loads_only_its_own_files_and_all_of_them_exist(
    visit: Visit, person: str | None
) -> None:
    browser = await visit(person)
    waiting, seen = Addresses((await browser.get("/")).text).loaded, set[str]()
    while waiting:
        address = waiting.pop()
        assert address.startswith("/assets/"), address
        if address in seen:
            continue
        seen.add(address)
        response = await browser.get(address)
        assert response.status_code == 200
        assert "http://" not in response.text.replace("http://www.w3.org/", "")
        assert "https://" not in response.text
        waiting += [f"/assets/{name}" for name in re.findall(r'from "\./(.+?)"', response.text)]
    assert {address.rpartition(".")[2] for address in seen} == {"css", "js", "svg"}


async def test_files_are_sent_again_only_after_a_change(visit: Visit) -> None:
    browser = await visit()
    first = await browser.get("/assets/app.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = await browser.get("/assets/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["app.html", "nothing.js", "../app.py", "..%2fapp.py", "%2e%2e/people.py"])
async def test_no_other_file_is_served(visit: Visit, name: str) -> None:
    assert (await (await visit()).get(f"/assets/{name}")).status_code == 404


async def test_a_page_may_frame_the_connect_page_alone(visit: Visit) -> None:
    policy = (await (await visit("ada")).get("/")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"frame-src {SANDBOX_URL}" in policy
    assert "frame-ancestors 'none'" in policy


async def test_the_headers_of_every_page_are_valid_for_every_server(visit: Visit) -> None:
    # h11, which uvicorn uses without httptools, rejects a value that ends with a space.
    for page in (await (await visit()).get("/"), await (await visit("ada")).get("/")):
        assert all(value == value.strip() for value in page.headers.values())


def test_invalid_settings_raise_at_once() -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_API_KEY"):
        create_app(session_secret="made-up")


async def test_the_console_of_the_support_team_is_mounted_with_the_sandbox(visit: Visit) -> None:
    browser = await visit("ada")
    page = await browser.get("/console/customers")
    assert page.status_code == 200
    assert "Sam of Fieldnotes" in page.text
