"""Attacks on the console: forged forms, markup in data, frames, paths, and people without the right."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from kombo_embed import EndUser
from kombo_embed.console.app import FORMS, PAGES
from kombo_embed.sandbox import Sandbox
from tests.console.visitor import LINK, MOUNT, Visitor, opened
from tests.support import ManualClock, deliver_webhooks, make_host, person, running, webhook_request

SCRIPT = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*7}}"
FORGED = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://app.example.evil.example"},
]


async def test_a_form_of_another_site_is_refused(visitor: Visitor) -> None:
    public_id = await visitor.connect()
    fields = {"token": await visitor.token(), "customer": "acme", "email": "ada@acme.example", "term": "a"}
    fields |= {"integration": public_id, "event": "0" * 32, "category": "HRIS"}
    minted = sum(number for path, number in visitor.sandbox.calls.items() if "link" in path)
    for headers in FORGED:
        for path in FORMS:
            response = await visitor.client.post(f"{MOUNT}{path}", data=fields, headers=headers)
            assert response.status_code == 403
            assert LINK.search(response.text) is None
    assert sum(number for path, number in visitor.sandbox.calls.items() if "link" in path) == minted
    assert await visitor.audit() == []


async def test_a_form_without_a_valid_token_is_refused(visitor: Visitor) -> None:
    for token in ("", "none", "1.2", "9999999999.00", "é.1", "99999999999999999999.0"):
        for path in FORMS:
            response = await visitor.post(path, token=token, term="a")
            assert response.status_code == 403


async def test_a_token_is_one_persons_and_expires(kombo: httpx.AsyncBaseTransport, sandbox: Sandbox) -> None:
    clock = ManualClock()
    async with opened(kombo, sandbox, clock=clock) as visitor:
        token = await visitor.token()
        assert (await visitor.post("/customers", token=token, term="a")).status_code == 200
        visitor.name = "Mallory"
        assert (await visitor.post("/customers", token=token, term="a")).status_code == 403
        visitor.name = "Sam"
        clock.advance(12 * 3600 + 1)
        assert (await visitor.post("/customers", token=token, term="a")).status_code == 403


async def test_a_token_is_valid_in_every_process_of_the_app(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    async with opened(kombo, sandbox) as first, opened(kombo, sandbox) as second:
        assert (await second.post("/customers", token=await first.token(), term="a")).status_code == 200


@pytest.mark.parametrize(
    "body", [b"token=%ff", b"token=a&token=b", b"&".join(b"a=1" for _ in range(50)), b"x" * 20_000]
)
async def test_a_body_that_is_no_form_of_ours_is_refused(visitor: Visitor, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await visitor.client.post(f"{MOUNT}/customers", content=body, headers=headers)
    assert response.status_code in {403, 413, 422}


async def test_a_form_of_another_content_type_is_refused(visitor: Visitor) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json", ""):
        content = f"token={await visitor.token()}&term=a"
        response = await visitor.client.post(
            f"{MOUNT}/customers", content=content, headers={"Content-Type": kind}
        )
        assert response.status_code == 415


async def test_markup_in_names_payloads_and_tools_is_text(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    def end_user(_connection: object) -> EndUser:
        return EndUser(email="ada@acme.example", organization_name=SCRIPT, origin_id=SCRIPT)

    async with opened(kombo, sandbox, end_user=end_user) as visitor:
        await visitor.connect()
        nested = {"integration": {"id": "x:1", "end_user": {"origin_id": SCRIPT}}, SCRIPT: [SCRIPT]}
        for number, kind in enumerate(("data-changed", SCRIPT, "connection-flow-failed")):
            data = nested | {"integration_tool": SCRIPT, "tool": SCRIPT, "category": SCRIPT}
            await visitor.client.post("/kombo/webhooks", **webhook_request(f"e{number}", kind, data))
        await visitor.client.post("/kombo/webhooks", **webhook_request("", SCRIPT, {}))
        await visitor.fold()
        visitor.name = SCRIPT
        pages = [await visitor.page(path) for path in ("/", "/customers", "/events", "/webhooks")]
        links = {
            found.replace("&amp;", "&")
            for page in pages
            for found in re.findall(r'href="/admin/kombo(/[^"]+)"', page)
        }
        assert any(link.startswith("/customer?id=") for link in links)
        pages += [await visitor.page(link) for link in links if not link.startswith(("/console", "/icon"))]
        pages.append((await visitor.post("/customers", term=SCRIPT)).text)
        for page in pages:
            assert "<script>alert" not in page
            assert "<img src=x" not in page


async def test_no_page_has_anything_inline_that_the_policy_would_block(visitor: Visitor) -> None:
    await visitor.connect(state="INVALID")
    await visitor.fold()
    event = re.search(r"/event\?id=\w+", await visitor.page("/events"))
    assert event is not None
    for path in ("/", "/customers", "/customer?id=acme", "/events", event[0], "/webhooks", "/health"):
        page = await visitor.page(path)
        assert re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", page) is None


async def test_every_response_forbids_frames_inline_scripts_and_caches(visitor: Visitor) -> None:
    for path in ("/", "/customers", "/nope", "/console.css", "/console.js", "/magic-link"):
        headers = (await visitor.get(path)).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        if not path.startswith("/console."):
            assert headers["cache-control"] == "no-store"


async def test_no_page_shows_a_secret_a_link_or_a_whole_address_of_a_payload(visitor: Visitor) -> None:
    await visitor.connect()
    secrets = {
        "api_key": "SECRET-1",
        "credentials": {"password": "SECRET-2", "any": "SECRET-3"},
        "note": "see https://connect.kombo.dev/v1?token=SECRET-4, mail bob.builder@acme.example",
        "accessToken": "SECRET-5",
        "list": [{"clientSecret": "SECRET-6"}],
        "link": "SECRET-7",
    }
    await visitor.client.post("/kombo/webhooks", **webhook_request("e", "data-changed", secrets))
    page = await visitor.page("/events?type=kombo.event")
    event = re.search(r"/event\?id=\w+", page)
    assert event is not None
    for path in (event[0], "/webhooks"):
        shown = await visitor.page(path)
        assert "SECRET" not in shown
        assert "bob.builder" not in shown
        assert "see connect.kombo.dev/…" in shown
    assert "ada@" not in str((await visitor.post("/customers", term="ada@acme.example")).url)


METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE")


async def test_to_those_who_may_not_read_no_path_exists(visitor: Visitor) -> None:
    token = await visitor.token()
    visitor.allowed = {"link", "replay"}
    for method in METHODS:
        unknown = await visitor.client.request(method, f"{MOUNT}/nope")
        for path in {*PAGES, *FORMS}:
            response = await visitor.client.request(method, f"{MOUNT}{path}", data={"token": token})
            assert (response.status_code, response.content) == (404, unknown.content)
            assert response.headers == unknown.headers


@pytest.mark.parametrize("action", ["link", "replay"])
async def test_forms_for_what_someone_may_not_do_do_not_exist(visitor: Visitor, action: str) -> None:
    token = await visitor.token()
    visitor.allowed -= {action}
    unknown = await visitor.post("/nope")
    for path in (one for one in FORMS if FORMS[one][0] == action):
        response = await visitor.post(path, token=token, customer="acme", event="0" * 32)
        assert (response.status_code, response.content) == (404, unknown.content)
        assert response.headers == unknown.headers


async def test_head_has_no_body_and_other_methods_are_refused_with_those_allowed(visitor: Visitor) -> None:
    head = await visitor.client.head(f"{MOUNT}/customers")
    assert (head.status_code, head.content) == (200, b"")
    for method, path, allowed in (
        ("OPTIONS", "/customers", "GET, HEAD, POST"),
        ("POST", "/", "GET, HEAD"),
        ("GET", "/magic-link", "POST"),
        ("HEAD", "/replay", "POST"),
    ):
        response = await visitor.client.request(method, f"{MOUNT}{path}")
        assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_other_spellings_of_a_path_are_unknown(visitor: Visitor) -> None:
    for path in (
        *("//", "/customers/", "/customers%0a", "/customers%00", "/%2e%2e/", "/customer%2fx", "/Customers"),
        *("/console.css%0a", "/templates/base.html", "/console.css/..%2fconsole.py", "/.%2fcustomers"),
    ):
        assert (await visitor.get(path)).status_code == 404


@pytest.mark.parametrize("tenant", ["%2fevil.example", "%5cevil.example", "a%0ab"])
async def test_a_prefix_from_the_path_cannot_lead_to_another_site(
    kombo: httpx.AsyncBaseTransport, tenant: str
) -> None:
    _, embed = make_host(kombo)
    app = Starlette(routes=[Mount("/{tenant:path}/kombo", embed.console(authorize=lambda *_: "Sam"))])
    async with (
        embed,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a.example") as client,
    ):
        response = await client.get(f"/{tenant}/kombo/customers")
        assert response.status_code == 404


async def test_authorize_sees_the_host_session_and_every_page_asks_it(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    app, embed = make_host(kombo)
    seen: list[tuple[str, str]] = []

    async def authorize(request: Request, action: str) -> str | None:
        seen.append((request.headers.get("x-person", ""), action))
        return request.headers.get("x-person")

    app.mount(MOUNT, embed.console(authorize=authorize))
    deliver_webhooks(sandbox, app)
    async with running(app) as client:
        for path in PAGES:
            assert (await client.get(f"{MOUNT}{path}")).status_code == 404
            await client.get(f"{MOUNT}{path}", headers=person("sam@host"))
    assert len(seen) >= 2 * len(PAGES)
    assert {action for _, action in seen} <= {"read", "link", "replay"}
