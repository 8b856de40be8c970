"""The examples started as their READMEs describe: a login at an OpenID provider, then a tool is connected."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, eventually, served

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EXAMPLES = Path(__file__).parents[2] / "examples"
ADA = '{"sub": "ada", "email": "ada@northwind.example", "organization": {"id": "org_1", "name": "Northwind"}}'
CLAIMS = {
    "KOMBO_AUTH": "session",
    "KOMBO_CLAIM_ORIGIN_ID": "organization.id",
    "KOMBO_CLAIM_ORGANIZATION_NAME": "organization.name",
}


@asynccontextmanager
async def started(*command: str, folder: Path, **environment: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Start a server in a process of its own; yield its URL and the lines that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "--port", "0"),
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed: list[str] = []
    listening = asyncio.get_running_loop().create_future()

    async def listen(output: asyncio.StreamReader) -> None:
        async for line in output:
            printed.append(line.decode())
            match = re.search(r"running on http://127\.0\.0\.1:(\d+)", printed[-1])
            if match and not listening.done():
                listening.set_result(f"http://localhost:{match[1]}")
        if not listening.done():
            listening.set_exception(AssertionError("".join(printed)))

    reading = asyncio.create_task(listen(process.stdout))
    try:
        async with asyncio.timeout(60):
            url = await listening
        yield url, printed
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
            await reading


@pytest.mark.parametrize(
    ("example", "identity"),
    [("starlette_oidc", {}), ("fastapi_session", CLAIMS)],
)
async def test_a_person_signs_in_at_the_provider_and_connects_a_tool(
    example: str, identity: dict[str, str], browser: Browser, tmp_path: Path
) -> None:
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with (
        served(sandbox.app) as kombo,
        started("oidc_provider_mock", "--user-claims", ADA, folder=tmp_path) as (provider, _),
        started(
            *("uvicorn", "app:app"),
            folder=EXAMPLES / example,
            KOMBO_API_KEY=API_KEY,
            KOMBO_API_URL=f"{kombo}/v1",
            KOMBO_WEBHOOK_SECRET=WEBHOOK_SECRET,
            KOMBO_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/kombo_embed.db",
            LOGIN_ISSUER=provider,
            LOGIN_CLIENT_ID="any",
            LOGIN_CLIENT_SECRET="any",
            SESSION_SECRET="made-up",
            **identity,
        ) as (url, printed),
    ):
        context = await browser.new_context()
        page = await context.new_page()
        await page.route("https://**", lambda route: route.abort())  # the provider's style sheet
        await sign_in(page, url)
        await page.get_by_text("Connect your HR tool").click()
        dialog = page.frame_locator(f"iframe[src^='{kombo}']")
        await dialog.locator("[data-testid=tool][data-tool=personio]").click()
        await dialog.get_by_test_id("credentials").first.fill("anything")
        await dialog.get_by_test_id("finish").click()
        await expect(page.locator("output")).to_have_text("personio")
        await eventually(lambda: "personio of org_1 is connected\n" in printed)

        await page.get_by_text("Sign out").click()
        await expect(page.get_by_text("Sign in")).to_be_visible()
        status = await page.evaluate(
            "fetch('/kombo/links', {method: 'POST'}).then((response) => response.status)"
        )
        assert status == 401
        await context.close()
    await sandbox.aclose()


async def sign_in(page: Page, url: str) -> None:
    await page.goto(url)
    await page.get_by_text("Sign in").click()
    await page.get_by_placeholder("sub").fill("ada")
    await page.get_by_role("button", name="Authorize").click()
    await expect(page).to_have_url(f"{url}/")
