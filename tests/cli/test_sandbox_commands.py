"""`kombo-embed sandbox trigger` and `kombo-embed sign-webhook`."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from typer.testing import CliRunner

from kombo_embed import Event, KomboEmbed
from kombo_embed.cli.app import app as commands
from tests.cli.runner import KOMBOS_ID, run, run_json
from tests.support import WEBHOOK_SECRET, end_user_from_header, make_settings, served

BODY = b'{"id": "1", "type": "ping", "data": {}}\n'


def expected_signature(secret: str) -> str:
    digest = hmac.new(secret.encode(), BODY, hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


async def triggered(*arguments: str) -> Any:
    return await asyncio.to_thread(run, "sandbox", "trigger", *arguments)


class Host:
    """An app whose handlers record every event."""

    def __init__(self) -> None:
        self.app = Starlette()
        self.embed = KomboEmbed(end_user=end_user_from_header, settings=make_settings())
        self.embed.install(self.app)
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        for event_type in ("integration.connected", "integration.updated", "integration.deleted"):
            self.embed.on(event_type)(self.record)
        for event_type in ("flow.failed", "kombo.event"):
            self.embed.on(event_type)(self.record)

    async def record(self, event: Event) -> None:
        await self.events.put(event)

    async def next_event(self) -> Event:
        async with asyncio.timeout(30):
            return await self.events.get()


async def test_trigger_sends_the_life_of_an_integration_to_a_running_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", f"{WEBHOOK_SECRET},old")
    host = Host()
    async with served(host.app) as url:
        about = ("--integration", KOMBOS_ID, "--url", f"{url}/kombo/webhooks")
        result = await triggered("integration-created", *about, "--origin-id", "acme")
        assert (result.exit_code, KOMBOS_ID in result.stdout) == (0, True), result.output
        connected = await host.next_event()
        assert (connected.type, connected.origin_id) == ("integration.connected", "acme")
        [recorded] = await host.embed.integrations("acme")
        assert (recorded.integration_id, recorded.tool) == (KOMBOS_ID, "personio")

        await triggered("integration-state-changed", *about)
        updated = await host.next_event()
        assert updated.integration is not None
        assert (updated.type, updated.integration.next_action) == ("integration.updated", "reconnect")
        await triggered("integration-state-changed", *about, "--state", "ACTIVE")
        assert (await host.next_event()).type == "integration.updated"

        await triggered("connection-flow-failed", *about, "--origin-id", "acme")
        assert (await host.next_event()).type == "flow.failed"
        await triggered("data-changed", *about)
        other = await host.next_event()
        assert (other.type, other.data["type"]) == ("kombo.event", "data-changed")

        await triggered("integration-deleted", *about)
        assert (await host.next_event()).type == "integration.deleted"
        assert await host.embed.integrations("acme") == []


async def test_an_app_with_another_secret_refuses_and_the_command_says_why() -> None:
    async with served(Host().app) as url:
        result = await triggered("data-changed", "--url", f"{url}/kombo/webhooks")
    assert result.exit_code == 1
    assert "answered 401" in result.stderr
    assert "KOMBO_WEBHOOK_SECRET" in result.stderr


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://127.0.0.1:9/kombo/webhooks", "Is the app running?"), ("localhost:8000", "complete URL")],
)
def test_a_url_that_nothing_serves_is_one_sentence(url: str, reason: str) -> None:
    result = run("sandbox", "trigger", "data-changed", "--url", url)
    assert (result.exit_code, reason in result.stderr, result.stderr.count("\n")) == (1, True, 1)


def test_sign_webhook_signs_the_bytes_of_a_file_and_of_stdin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", "new, old")
    file = tmp_path / "event.json"
    file.write_bytes(BODY)
    signature = expected_signature("new")
    assert run("sign-webhook", str(file)).stdout == f"{signature}\n"
    piped = CliRunner().invoke(commands, ["sign-webhook", "-"], input=BODY)
    assert piped.stdout == f"{signature}\n"
    assert run_json("sign-webhook", str(file)) == {"header": "X-Kombo-Signature", "signature": signature}


async def test_an_app_accepts_what_sign_webhook_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", WEBHOOK_SECRET)
    file = tmp_path / "event.json"
    file.write_bytes(json.dumps({"id": "1", "type": "ping"}).encode())
    signature = run("sign-webhook", str(file)).stdout.strip()
    async with served(Host().app) as url:
        curl = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--fail", "-H", f"X-Kombo-Signature: {signature}"),
            *("--data-binary", f"@{file}", f"{url}/kombo/webhooks"),
        )
        assert await curl.wait() == 0


def test_sign_webhook_needs_a_secret_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("sign-webhook", "event.json")
    assert (result.exit_code, "KOMBO_WEBHOOK_SECRET is not set" in result.stderr) == (1, True)
    monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", "any")
    result = run("sign-webhook", "event.json")
    assert (result.exit_code, "cannot be read" in result.stderr) == (1, True)
