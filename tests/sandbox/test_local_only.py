from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.local_only import LocalOnly, changes_something

PROTECTED = [
    ("GET", "/_sandbox/state"),
    ("POST", "/_sandbox/reset"),
    ("POST", "/_sandbox/clock"),
    ("POST", "/_sandbox/complete"),
    ("POST", "/_sandbox/delete"),
    ("POST", "/_sandbox/leave-incomplete"),
    ("POST", "/_sandbox/change-data"),
    ("POST", "/_sandbox/webhooks/lose"),
    ("POST", "/_sandbox/webhooks/fail"),
    ("DELETE", "/_sandbox/faults"),
    ("POST", "/connect/finish"),
    ("POST", "/connect/fail"),
]
OTHER_SITES = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-origin, cross-site"},
    {"origin": "https://evil.example"},
    {"origin": "http://localhost:8000"},
    {"origin": "null"},
]


def browser(sandbox: Sandbox, host: str = "localhost:8001") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(sandbox.app), base_url=f"http://{host}")


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
async def test_pages_of_other_origins_neither_control_nor_read_the_sandbox(
    sandbox: Sandbox, method: str, path: str, headers: dict[str, str]
) -> None:
    async with browser(sandbox) as client:
        response = await client.request(method, path, headers=headers, json={})
    assert response.status_code == 403
    assert "origins" in response.json()["error"]


@pytest.mark.parametrize(("method", "path"), [*PROTECTED, ("GET", "/"), ("GET", "/connect?token=x")])
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
)
async def test_after_dns_rebinding_nothing_but_the_api_responds(
    sandbox: Sandbox, method: str, path: str, host: str
) -> None:
    async with browser(sandbox, host) as client:
        response = await client.request(method, path, headers={"sec-fetch-site": "same-origin"}, json={})
        assert (response.status_code, "Host" in response.json()["error"]) == (403, True)
        api = await client.get("/v1/check-api-key")
    assert api.status_code == 401  # the API asks for its key instead


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example:8001"}, {"sec-fetch-site": "same-origin"}]
)
async def test_after_dns_rebinding_a_page_cannot_use_the_api_of_a_sandbox_that_accepts_any_key(
    headers: dict[str, str],
) -> None:
    sandbox = Sandbox()
    body = {"end_user_email": "ada@acme.example", "end_user_organization_name": "Acme"}
    key = {"authorization": "Bearer any"}
    for host, more, status in [
        ("evil.example:8001", headers, 403),
        ("sandbox:8001", {}, 200),
        ("localhost:8001", headers | {"origin": "http://localhost:8000"}, 200),
    ]:
        async with browser(sandbox, host) as client:
            minted = await client.post("/v1/connect/create-link", json=body, headers=key | more)
        assert minted.status_code == status, host


@pytest.mark.parametrize("host", ["localhost:8001", "127.0.0.1:8001", "[::1]:8001"])
@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}], ids=str
)
async def test_programs_and_the_sandboxs_own_pages_control_it(
    sandbox: Sandbox, host: str, headers: dict[str, str]
) -> None:
    async with browser(sandbox, host) as client:
        own = {"origin": f"http://{host}"} if headers else {}
        assert (await client.get("/_sandbox/state", headers=headers)).status_code == 200
        assert (await client.post("/_sandbox/reset", headers=headers | own, json={})).status_code == 200


@pytest.mark.parametrize("host", ["sandbox:8001", "SANDBOX:8001", "sandbox", "localhost:8001"])
async def test_under_its_public_url_the_sandbox_is_its_own_origin(host: str) -> None:
    sandbox = Sandbox(public_url="http://sandbox:8001")
    own = {"origin": f"http://{host.lower()}"}
    async with browser(sandbox, host) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.post("/_sandbox/reset", headers=own, json={})).status_code == 200
        for site in OTHER_SITES:
            response = await client.post("/_sandbox/reset", headers=site, json={})
            assert response.status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "sandbox.evil.example:8001", "sandbox:8001@evil.example", "10.0.0.1"]
)
async def test_dns_rebinding_does_not_reach_a_sandbox_with_a_public_url(host: str) -> None:
    sandbox = Sandbox(public_url="http://sandbox:8001")
    sandbox.hosts.add("0.0.0.0")  # noqa: S104 - as with --host
    async with browser(sandbox, "localhost") as client:
        for path in ("/", "/_sandbox/state", "/connect?token=x"):
            response = await client.get(path, headers={"host": host, "sec-fetch-site": "same-origin"})
            assert response.status_code == 403


@pytest.mark.parametrize("host", ["[", "[::1", "", "localhost:x:y", "\x00", "[fe80::1%25eth0]"])
async def test_a_host_that_is_no_name_is_no_server_error(sandbox: Sandbox, host: str) -> None:
    async with browser(sandbox) as client:
        response = await client.post("/_sandbox/reset", headers={"host": host, "origin": "http://x"}, json={})
    assert response.status_code == 403


async def test_links_begin_with_the_public_url_whatever_the_host_of_the_call() -> None:
    sandbox = Sandbox(public_url="http://sandbox:8001")
    body = {"end_user_email": "ada@acme.example", "end_user_organization_name": "Acme"}
    headers = {"authorization": "Bearer any"}
    async with browser(sandbox, "evil.example") as client:
        minted = await client.post("/v1/connect/create-link", json=body, headers=headers)
        tools = await client.get("/v1/tools/hris", headers=headers)
    assert minted.json()["data"]["link"].startswith("http://sandbox:8001/connect?token=")
    assert "evil" not in tools.text


async def test_a_request_with_two_hosts_is_rejected() -> None:
    guarded = LocalOnly(Starlette(), is_protected=changes_something)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(guarded), base_url="http://localhost"
    ) as client:
        headers = [("host", "localhost"), ("host", "evil.example")]
        assert (await client.get("/", headers=headers)).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("localhost", "LOCALHOST:8001", "127.0.0.1:1", "127.0.0.2", "[::1]:8001")),
        *((host, 403) for host in ("localhost.", "localhost.evil.com", "evil.localhost", "127.0.0.1.nip.io")),
        *((host, 403) for host in ("127.1", "2130706433", "0.0.0.0", "[::]", "::1", "[::ffff:127.0.0.1]")),  # noqa: S104 - refused
        *((host, 403) for host in ("evil.com@localhost", "localhost@evil.com", "localhost:80@evil.com")),
        *((host, 403) for host in ("localhost/evil.com", "localhost#x", "localhost?x", "localhost,evil.com")),
        *(
            (host, 403)
            for host in ("localhost:abc", "localhost:", "localhost evil.com", "[::1", "", "\u00e9")
        ),
    ],
)
async def test_only_a_host_that_is_exactly_this_machine_is_accepted(
    host: str, status: int, sandbox: Sandbox
) -> None:
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8001") as client:
        response = await client.get("/_sandbox/state", headers=[(b"host", host.encode())])
    assert response.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([("sec-fetch-site", "same-origin")], 200),
        ([("sec-fetch-site", "none")], 200),
        ([("origin", "http://localhost:8001")], 200),
        ([("x-forwarded-host", "evil.com"), ("origin", "http://localhost:8001")], 200),
        ([("x-forwarded-host", "evil.com"), ("origin", "http://evil.com")], 403),
        ([("sec-fetch-site", "same-site")], 403),
        ([("sec-fetch-site", "cross-site")], 403),
        ([("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], 403),
        ([("origin", "null")], 403),
        ([("origin", "file://")], 403),
        ([("origin", "http://localhost:8000")], 403),
        ([("origin", "http://user@localhost:8001")], 403),
        ([("origin", "http://localhost:8001"), ("origin", "http://evil.com")], 403),
    ],
)
async def test_controls_accept_programs_and_pages_of_the_same_origin_alone(
    headers: list[tuple[str, str]], status: int, sandbox: Sandbox
) -> None:
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8001") as client:
        response = await client.post("/_sandbox/reset", headers=headers)
    assert response.status_code == status
