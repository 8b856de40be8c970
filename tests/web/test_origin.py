from __future__ import annotations

import httpx

from tests.support import make_host, running


async def test_webhooks_are_no_business_of_browsers_and_are_not_checked_for_origin(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        answer = await client.post("/kombo/webhooks", headers={"Sec-Fetch-Site": "cross-site"}, content=b"{}")
    assert answer.json()["code"] == "webhook_rejected"
