"""Which way of telling who is signed in counts."""

from __future__ import annotations

import httpx
import pytest

from kombo_embed import ConfigurationError, KomboEmbed
from tests.support import make_host, make_settings, person, running


async def test_with_nothing_to_say_who_is_signed_in_the_start_stops_and_names_both_ways_out(
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


async def test_the_callable_wins_over_the_settings_and_that_is_said_once(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_host(kombo, auth="session")
    async with running(app) as client:
        for _ in range(2):
            assert (await client.post("/kombo/links", headers=person("ada@acme"), json={})).status_code == 200
    told = [line for line in caplog.messages if "KOMBO_AUTH=session is not used" in line]
    assert len(told) == 1


async def test_the_callable_alone_is_nothing_to_warn_of(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_host(kombo)
    async with running(app):
        pass
    assert "KOMBO_AUTH" not in caplog.text
