"""What a problem tells the end user of a page: what to do, and nothing about the systems behind it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import make_host, order_fault, person, running

ADA = person("ada@acme")
WORDS = re.compile(r"kombo|\blog\b|database|application|server|setting|api key|reach", re.IGNORECASE)
FAULTS = {
    "rate_limited": "kombo_rate_limited",
    "unauthorized": "kombo_rejected",
    "unknown_code": "kombo_rejected",
    "html_503": "kombo_unavailable",
    "empty_500": "kombo_unavailable",
    "foreign_json": "kombo_invalid_response",
}


@pytest.mark.parametrize(("mode", "code"), FAULTS.items())
async def test_an_error_of_kombos_is_plain_for_the_end_user_and_named_in_the_log(
    mode: str,
    code: str,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await order_fault(sandbox, "/v1/connect/create-link", mode, times=9)
        problem = (await client.post("/kombo/links", headers=ADA, json={})).json()
    assert problem["code"] == code
    assert WORDS.search(problem["detail"]) is None
    assert problem["detail"].startswith("This does not work at the moment. Please ")
    logged = [vars(record) for record in caplog.records if record.name.startswith("kombo_embed")]
    assert any("Kombo" in str(record.get("reason", "")) for record in logged)


async def test_other_errors_are_plain_for_the_end_user(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, link_rate="1/minute")
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link)
        token = {"activation_token": flow.activation_token}
        done = await client.post("/kombo/completions", headers=ADA, json=token)
        public_id = done.json()["integration"]["id"]
        problems = [
            (await client.post("/kombo/links", headers=ADA, json={"fresh": True})).json(),
            (await client.post(f"/kombo/integrations/{public_id}/setup-link", headers=ADA)).json(),
            (await client.post("/kombo/completions", headers=ADA, json={"activation_token": "x"})).json(),
            (await client.delete(f"/kombo/integrations/{public_id}", headers=ADA)).json(),
            (await client.get("/kombo/integrations/unknown", headers=ADA)).json(),
            (await client.get("/kombo/integrations")).json(),
        ]
        with closing(sqlite3.connect("kombo_embed.db")) as database, database:
            database.execute("drop table kombo_embed_integrations")
        problems.append((await client.get("/kombo/integrations", headers=ADA)).json())
    assert {"rate_limited", "activation_rejected", "forbidden", "store_unavailable"} <= {
        problem["code"] for problem in problems
    }
    assert [problem["detail"] for problem in problems if WORDS.search(problem["detail"])] == []
