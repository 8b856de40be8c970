from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.cli.runner import run
from tests.support import API_KEY, make_host, order_fault, person, running, served

ACME = person("ada@acme")


async def connect(client: httpx.AsyncClient, sandbox: Sandbox) -> str:
    """Connect a tool; return Kombo's id of the integration."""
    link = (await client.post("/kombo/links", headers=ACME, json={})).json()["link"]
    flow = await sandbox.complete(link, "personio")
    token = {"activation_token": flow.activation_token}
    assert (await client.post("/kombo/completions", headers=ACME, json=token)).status_code == 201
    return flow.integration_id


@pytest.fixture(autouse=True)
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)


async def reconcile(*options: str) -> tuple[int, str, str]:
    result = await asyncio.to_thread(run, "reconcile", *options)
    return result.exit_code, result.stdout, result.stderr


async def test_reconcile_prints_what_changed_and_what_failed(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = make_host(kombo)
    async with running(host) as client:
        integration_id = await connect(client, sandbox)
    async with served(sandbox.app) as url:
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        await reconcile()  # the sandbox has another address now, and so has the logo
        assert await reconcile() == (0, "1 read, 0 changed, 0 deleted at Kombo.\n", "")
        code, output, _ = await reconcile("--json")
        assert (code, json.loads(output)["checked"]) == (0, 1)
        await order_fault(sandbox, integration_id, "foreign_json")
        code, _, errors = await reconcile()
        assert (code, f"{integration_id}: kombo_invalid_response" in errors) == (1, True)


async def test_reconcile_with_the_key_of_another_environment_deletes_nothing_and_explains_why(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, embed = make_host(kombo)
    async with running(host) as client, served(Sandbox(api_key=API_KEY).app) as url:
        integration_id = await connect(client, sandbox)
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        code, output, errors = await reconcile()
        assert (code, output) == (1, "1 read, 0 changed, 0 deleted at Kombo.\n")
        assert f"{integration_id}: all_not_found" in errors
        assert "KOMBO_API_KEY" in errors
        assert "--delete-all-unknown" in errors
        code, output, errors = await reconcile("--json")
        assert (code, json.loads(output)["failed"]) == (1, {integration_id: "all_not_found"})
        assert "--delete-all-unknown" in errors
        await assert_deletes_all_on_request(embed, integration_id)


async def assert_deletes_all_on_request(embed: KomboEmbed, integration_id: str) -> None:
    assert await embed.integration(integration_id) is not None
    code, output, _ = await reconcile("--delete-all-unknown")
    assert (code, output) == (0, "1 read, 0 changed, 1 deleted at Kombo.\n")
    assert await embed.integration(integration_id) is None
