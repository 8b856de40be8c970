"""The cross-origin check, with every cell written out: Sec-Fetch-Site x Origin x content type.

A missing content type in the tables means that there is no body at all.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from kombo_embed.kombo.webhooks import sign
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, make_host, person, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADA = person("ada@acme")
ALLOWED = "https://app.good.test"
ORIGINS = {
    "same": "https://app.example",
    "other": "https://evil.example",
    "null": "null",
    "missing": None,
    "allowed": ALLOWED,
}
CONTENT_TYPES = {
    "JSON": "application/json",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain",
    "missing": None,
}

POSTS = """
Sec-Fetch-Site  Origin   | JSON form text missing
same-origin     same     | 200  415  415  200
same-origin     other    | 200  415  415  200
same-origin     null     | 200  415  415  200
same-origin     missing  | 200  415  415  200
same-origin     allowed  | 200  415  415  200
same-site       same     | 403  403  403  403
same-site       other    | 403  403  403  403
same-site       null     | 403  403  403  403
same-site       missing  | 403  403  403  403
same-site       allowed  | 200  415  415  200
cross-site      same     | 403  403  403  403
cross-site      other    | 403  403  403  403
cross-site      null     | 403  403  403  403
cross-site      missing  | 403  403  403  403
cross-site      allowed  | 200  415  415  200
none            same     | 200  415  415  200
none            other    | 200  415  415  200
none            null     | 200  415  415  200
none            missing  | 200  415  415  200
none            allowed  | 200  415  415  200
missing         same     | 200  415  415  200
missing         other    | 403  403  403  403
missing         null     | 403  403  403  403
missing         missing  | 200  415  415  200
missing         allowed  | 200  415  415  200
junk            same     | 403  403  403  403
junk            other    | 403  403  403  403
junk            null     | 403  403  403  403
junk            missing  | 403  403  403  403
junk            allowed  | 200  415  415  200
"""
DELETES = """
Sec-Fetch-Site  Origin   | JSON form text missing
same-origin     same     | 204  415  415  204
same-origin     other    | 204  415  415  204
same-origin     null     | 204  415  415  204
same-origin     missing  | 204  415  415  204
same-origin     allowed  | 204  415  415  204
same-site       same     | 403  403  403  403
same-site       other    | 403  403  403  403
same-site       null     | 403  403  403  403
same-site       missing  | 403  403  403  403
same-site       allowed  | 204  415  415  204
cross-site      same     | 403  403  403  403
cross-site      other    | 403  403  403  403
cross-site      null     | 403  403  403  403
cross-site      missing  | 403  403  403  403
cross-site      allowed  | 204  415  415  204
none            same     | 204  415  415  204
none            other    | 204  415  415  204
none            null     | 204  415  415  204
none            missing  | 204  415  415  204
none            allowed  | 204  415  415  204
missing         same     | 204  415  415  204
missing         other    | 403  403  403  403
missing         null     | 403  403  403  403
missing         missing  | 204  415  415  204
missing         allowed  | 204  415  415  204
junk            same     | 403  403  403  403
junk            other    | 403  403  403  403
junk            null     | 403  403  403  403
junk            missing  | 403  403  403  403
junk            allowed  | 204  415  415  204
"""


def rows(table: str) -> list[tuple[str, str, list[int]]]:
    """Return the table's rows; none may be missing."""
    lines = [line.replace("|", " ").split() for line in table.strip().splitlines()[1:]]
    assert len({(site, origin) for site, origin, *_ in lines}) == len(lines) == 6 * len(ORIGINS)
    assert all(len(statuses) == len(CONTENT_TYPES) for _, _, *statuses in lines)
    return [(site, origin, [int(status) for status in statuses]) for site, origin, *statuses in lines]


def headers_of(site: str, origin: str, content_type: str) -> dict[str, str]:
    headers = dict(ADA)
    if site != "missing":
        headers["Sec-Fetch-Site"] = site
    if (sent := ORIGINS[origin]) is not None:
        headers["Origin"] = sent
    if (value := CONTENT_TYPES[content_type]) is not None:
        headers["Content-Type"] = value
    return headers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of one app for all cells, which do not affect each other."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    database = tmp_path_factory.mktemp("matrix") / "kombo_embed.db"
    app, _ = make_host(
        httpx.ASGITransport(sandbox.app),
        allowed_origins=ALLOWED,
        allow_disconnect=True,
        database_url=f"sqlite+aiosqlite:///{database}",
    )
    async with running(app) as client:
        yield client
    await sandbox.aclose()


@pytest.mark.parametrize(("site", "origin", "statuses"), rows(POSTS))
async def test_a_post_has_the_status_in_the_table(
    site: str, origin: str, statuses: list[int], client: httpx.AsyncClient
) -> None:
    for content_type, status in zip(CONTENT_TYPES, statuses, strict=True):
        body = b"" if content_type == "missing" else b"{}"
        response = await client.post(
            "/kombo/links", headers=headers_of(site, origin, content_type), content=body
        )
        assert response.status_code == status, content_type
        if status != 200:
            assert response.json()["code"] == {403: "cross_origin", 415: "invalid_request"}[status]


@pytest.mark.parametrize(("site", "origin", "statuses"), rows(DELETES))
async def test_a_delete_has_the_status_in_the_table(
    site: str, origin: str, statuses: list[int], client: httpx.AsyncClient
) -> None:
    connected = await connect(client)
    for content_type, status in zip(CONTENT_TYPES, statuses, strict=True):
        body = b"" if content_type == "missing" else b"{}"
        response = await client.request(
            "DELETE",
            f"/kombo/integrations/{connected}",
            headers=headers_of(site, origin, content_type),
            content=body,
        )
        assert response.status_code == status, content_type
        assert (connected in await listed(client)) is (status != 204)
        if status == 204:
            connected = await connect(client)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_body_without_a_content_type_is_rejected(method: str, client: httpx.AsyncClient) -> None:
    connected = await connect(client)
    path = "/kombo/links" if method == "POST" else f"/kombo/integrations/{connected}"
    response = await client.request(method, path, headers=ADA, content=b"{}")
    assert (response.status_code, response.json()["code"]) == (415, "invalid_request")
    assert connected in await listed(client)


async def test_a_delete_accepts_no_fields(client: httpx.AsyncClient) -> None:
    connected = await connect(client)
    response = await client.request(
        "DELETE", f"/kombo/integrations/{connected}", headers=ADA, json={"all": 1}
    )
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["all"]
    assert connected in await listed(client)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "https://app.example"),
        ("app.example", "http://app.example"),
        ("app.example", "https://app.example:443"),
        ("app.example", "http://app.example:80"),
        ("app.example:443", "https://app.example"),
        ("app.example:8000", "http://app.example:8000"),
        ("APP.Example", "https://app.example"),
        ("app.example.", "https://app.example."),
        ("[::1]:8000", "http://[::1]:8000"),
        ("[2001:DB8::1]", "https://[2001:db8::1]"),
        ("xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("localhost:8000", "http://localhost:8000"),
    ],
)
async def test_the_same_host_and_port_is_our_own_origin(
    host: str, origin: str, client: httpx.AsyncClient
) -> None:
    response = await client.post("/kombo/links", headers=ADA | {"Host": host, "Origin": origin}, json={})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "https://app.good.test.evil.test"),  # lookalikes of the allowed origin
        ("app.example", "https://evil-app.good.test"),
        ("app.example", "https://sub.app.good.test"),
        ("app.example", "https://good.test"),
        ("app.example", "http://app.good.test"),
        ("app.example", "https://app.good.test:443"),
        ("app.example", "https://app.good.test:8443"),
        ("app.example", "https://app.good.test."),
        ("app.example", "https://app.good.test/"),
        ("app.example", "https://app.good.test#"),
        ("app.example", "https://APP.GOOD.TEST"),
        ("app.example", "HTTPS://app.good.test"),
        ("app.example", "https://app.good.test@evil.test"),
        ("app.example", "https://app.good.test, https://evil.test"),
        ("app.example", "https://evil.test, https://app.good.test"),
        ("app.example", "https://app.good.test https://evil.test"),
        ("app.example", "https://app.example.evil.test"),  # lookalikes of our own origin
        ("app.example", "https://evil-app.example"),
        ("app.example", "https://sub.app.example"),
        ("app.example", "https://example"),
        ("app.example", "https://app.example."),
        ("app.example.", "https://app.example"),
        ("app.example", "https://app.example:8443"),
        ("app.example:8443", "https://app.example"),
        ("app.example:80", "https://app.example"),
        ("app.example", "https://app.example:"),
        ("app.example", "https://app.example:0"),
        ("app.example", "https://app.example:00443"),
        ("app.example", "https://app.example:999999"),
        ("app.example", "https://app.example:٤٤٣".encode().decode("latin-1")),
        ("app.example", "https://app.example/path"),
        ("app.example", "https://app.example?"),
        ("app.example", "https://user@app.example"),
        ("app.example", "https://user:pass@app.example"),
        ("app.example", "https://app.example@evil.test"),
        ("app.example", "https://app.example\\@evil.test"),
        ("app.example", "https://app.example%00.evil.test"),
        ("app.example", "https://app.example\t"),
        ("app.example", "//app.example"),
        ("app.example", "app.example"),
        ("app.example", "https:app.example"),
        ("app.example", "ftp://app.example"),
        ("app.example", "file://app.example"),
        ("app.example", "chrome-extension://app.example"),
        ("app.example", "null"),
        ("null", "null"),
        ("app.example", ""),
        ("", "https://"),
        ("", "https://app.example"),
        ("[::1]:8000", "http://[::1]"),
        ("[::1]", "http://[::1%25eth0]"),
        ("[::1]", "http://[::2]"),
        ("[::1", "http://[::1"),
        ("xn--bcher-kva.example", "https://bücher.example"),
        ("bücher.example", "https://bücher.example"),
        ("app.example/evil", "https://app.example"),
        ("user@app.example", "https://app.example"),
        ("app.example:port", "https://app.example"),
        ("app.example, evil.test", "https://app.example"),
        ("app.example evil.test", "https://app.example"),
        ("app.example?", "https://app.example"),
    ],
)
async def test_lookalikes_of_allowed_origins_are_refused(
    host: str, origin: str, client: httpx.AsyncClient
) -> None:
    sent = {"Host": host, "Origin": origin} | ADA
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    response = await client.post("/kombo/links", headers=headers, json={})
    assert (response.status_code, response.json()["code"]) == (403, "cross_origin")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "repeated",
    [
        [("Origin", ALLOWED), ("Origin", "https://evil.test")],
        [("Origin", "https://evil.test"), ("Origin", ALLOWED)],
        [("Origin", "https://app.example"), ("Origin", "https://evil.test")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "none")],
        [("Sec-Fetch-Site", "same-origin, cross-site")],
        [("Sec-Fetch-Site", "")],
        [("Sec-Fetch-Site", "Same-Origin")],
    ],
)
async def test_a_repeated_or_malformed_header_proves_nothing(
    repeated: list[tuple[str, str]], client: httpx.AsyncClient
) -> None:
    headers = [*ADA.items(), ("Content-Type", "application/json"), *repeated]
    response = await client.post("/kombo/links", headers=headers, content=b"{}")
    assert (response.status_code, response.json()["code"]) == (403, "cross_origin")


numbers = itertools.count()


async def connect(client: httpx.AsyncClient) -> str:
    """Record an integration through a webhook; return its public id."""
    before = await listed(client)
    number = next(numbers)
    event = (
        f'{{"id":"event-{number}","type":"integration-created","data":{{"id":"personio:{number}",'
        '"tool":"personio","end_user":{"origin_id":"acme"}}}'
    ).encode()
    signature = {"X-Kombo-Signature": sign(event, WEBHOOK_SECRET)}
    assert (await client.post("/kombo/webhooks", headers=signature, content=event)).status_code == 204
    [connected] = await listed(client) - before
    return connected


async def listed(client: httpx.AsyncClient) -> set[str]:
    response = await client.get("/kombo/integrations", headers=ADA)
    return {row["id"] for row in response.json()["integrations"]}
