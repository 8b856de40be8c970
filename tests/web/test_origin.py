from __future__ import annotations

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import make_host, person, running

ADA = person("ada@acme")
OWN, ALLOWED, OTHER = "http://app.example", "https://spa.example.com", "https://evil.example"


@pytest.mark.parametrize(
    ("site", "origin", "passes"),
    [
        (None, None, True),
        (None, OWN, True),
        (None, "https://app.example", True),
        (None, ALLOWED, True),
        (None, OTHER, False),
        (None, "null", False),
        (None, "http://app.example:8080", False),
        (None, "http://app.example.evil.example", False),
        (None, "http://[not-a-host", False),
        ("same-origin", OWN, True),
        ("same-origin", None, True),
        ("none", None, True),
        ("cross-site", ALLOWED, True),
        ("same-site", ALLOWED, True),
        ("same-site", None, False),
        ("same-site", "https://other.example.com", False),
        ("cross-site", None, False),
        ("cross-site", OTHER, False),
        ("cross-site", OWN, False),
        ("cross-site", "null", False),
        ("cross-site", "https://spa.example.com.evil.example", False),
        ("junk", None, False),
    ],
)
async def test_browsers_may_call_from_this_origin_and_the_allowed_ones_only(
    site: str | None, origin: str | None, passes: bool, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    headers = dict(ADA)
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    if origin is not None:
        headers["Origin"] = origin
    app, _ = make_host(kombo, allowed_origins=ALLOWED)
    async with running(app) as client:
        answer = await client.post("/kombo/links", headers=headers, json={})
    assert answer.status_code == (200 if passes else 403)
    if not passes:
        assert answer.json()["code"] == "cross_origin"
        assert sandbox.calls == {}


async def test_only_allowed_origins_get_cors_headers_and_errors_carry_them_too(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo, allowed_origins=ALLOWED)
    async with running(app) as client:
        refused = await client.post("/kombo/links", headers={"Origin": ALLOWED}, json={})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ALLOWED
        assert refused.headers["access-control-allow-credentials"] == "true"
        other = await client.get("/kombo/integrations", headers=ADA | {"Origin": OTHER})
        assert "access-control-allow-origin" not in other.headers
        asked = await client.options(
            "/kombo/links", headers={"Origin": ALLOWED, "Access-Control-Request-Method": "POST"}
        )
        assert asked.status_code == 200


async def test_webhooks_are_no_business_of_browsers_and_are_not_checked_for_origin(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        answer = await client.post("/kombo/webhooks", headers={"Sec-Fetch-Site": "cross-site"}, content=b"{}")
    assert answer.json()["code"] == "webhook_rejected"
