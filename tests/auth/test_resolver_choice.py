"""Which way of resolving the end user is used."""

from __future__ import annotations

import httpx
import pytest

from kombo_embed import ConfigurationError, KomboEmbed
from tests.support import make_host, make_settings, person, running


async def test_without_any_the_start_fails_and_names_both_ways_to_configure_one(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    embed = KomboEmbed(settings=make_settings(), http_transport=kombo)
    with pytest.raises(ConfigurationError) as caught:
        await embed.open()
    assert "KomboEmbed(end_user=...)" in str(caught.value)
    assert "KOMBO_AUTH to session, request_user or bearer" in str(caught.value)


async def test_the_message_has_the_prefix_of_these_settings(
    kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = KomboEmbed(settings=make_settings(_env_prefix="KOMBO_US_"), http_transport=kombo)
    with pytest.raises(ConfigurationError, match="set KOMBO_US_AUTH to session"):
        await embed.open()
    monkeypatch.setenv("KOMBO_US_AUTH", "bearer")
    with pytest.raises(ConfigurationError, match="KOMBO_US_OIDC_ISSUER: missing"):
        make_settings(_env_prefix="KOMBO_US_")


async def test_the_callable_takes_precedence_over_the_settings_with_one_warning(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_host(kombo, auth="session")
    async with running(app) as client:
        for _ in range(2):
            assert (await client.post("/kombo/links", headers=person("ada@acme"), json={})).status_code == 200
    [warning] = [record for record in caplog.records if record.message == "settings.auth_ignored"]
    assert vars(warning)["variable"] == "KOMBO_AUTH"


async def test_the_callable_alone_causes_no_warning(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_host(kombo)
    async with running(app):
        pass
    assert "settings.auth_ignored" not in caplog.messages
