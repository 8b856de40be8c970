"""Links, activation tokens and integrations over time."""

import httpx
import pytest

from kombo_embed.sandbox import InputInvalid, LinkExpired, LinkUnknown, Sandbox
from tests.sandbox.conftest import Mint

BY_TOKEN = "/v1/connect/integration-by-token/{}"
HOUR = 3600
YEAR = 365 * 24 * HOUR


@pytest.mark.parametrize(("link_type", "lifetime"), [("EMBEDDED", HOUR), ("MAGIC_LINK", YEAR)])
async def test_a_link_opens_until_its_last_second(
    sandbox: Sandbox, mint: Mint, link_type: str, lifetime: int
) -> None:
    link = await mint(link_type=link_type)
    sandbox.clock.advance(lifetime - 1)
    await sandbox.complete(link)
    sandbox.clock.advance(1)
    with pytest.raises(LinkExpired):
        await sandbox.complete(link)


async def test_an_expired_link_opens_an_explanation_in_its_language(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    link = await mint(language="de")
    sandbox.clock.advance(HOUR)
    page = await api.get(link)
    assert (page.status_code, '"step": "expired"' in page.text, '<html lang="de">' in page.text) == (
        200,
        True,
        True,
    )


async def test_a_link_of_another_sandbox_is_unknown(sandbox: Sandbox) -> None:
    with pytest.raises(LinkUnknown):
        await sandbox.complete("http://localhost:8001/connect?token=made-up")


async def test_a_link_works_with_the_parameters_that_the_browser_sdk_adds(
    sandbox: Sandbox, mint: Mint
) -> None:
    await sandbox.complete(f"{await mint()}&sdkv=1.3.0")


async def test_two_completions_of_one_link_make_two_integrations(sandbox: Sandbox, mint: Mint) -> None:
    link = await mint()
    first, second = await sandbox.complete(link), await sandbox.complete(link)
    assert first.integration_id != second.integration_id


async def test_a_link_for_one_tool_completes_no_other(sandbox: Sandbox, mint: Mint) -> None:
    link = await mint(integration_tool="personio")
    with pytest.raises(InputInvalid):
        await sandbox.complete(link, "bamboohr")


async def test_an_activation_token_can_be_exchanged_again_for_ten_minutes(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    path = BY_TOKEN.format((await sandbox.complete(await mint())).activation_token)
    seen = []
    for seconds in (0, 599, 1):
        sandbox.clock.advance(seconds)
        seen.append((await api.get(path)).status_code)
    assert seen == [200, 200, 404]


async def test_in_single_use_mode_an_activation_token_is_exchanged_once(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    await api.post("/_sandbox/settings", json={"activation_mode": "single_use"})
    path = BY_TOKEN.format((await sandbox.complete(await mint())).activation_token)
    assert [(await api.get(path)).status_code for _ in range(2)] == [200, 404]


async def test_changes_have_increasing_times_while_the_clock_stands_still(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    integration_id = (await sandbox.complete(await mint())).integration_id
    times = []
    for state in ("INVALID", "ACTIVE", "INACTIVE"):
        await api.post("/_sandbox/state-change", json={"integration_id": integration_id, "state": state})
        report = (await api.get("/_sandbox/state")).json()
        times.append(report["integrations"][0]["updated_at"])
    assert times == sorted(set(times))
