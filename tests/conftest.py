"""Fixtures of all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import stamina
from playwright.async_api import Browser, async_playwright
from playwright.async_api import Error as PlaywrightError

from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer, running_redis
from tests.support import API_KEY, WEBHOOK_SECRET


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the machine's KOMBO_ variables, an .env file, or another test's database."""
    for name in list(os.environ):
        if name.upper().startswith("KOMBO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def retry_without_waiting() -> Iterator[None]:
    """Calls to Kombo are tried again as often as ever, but at once."""
    with stamina.set_testing(testing=True, attempts=10, cap=True):
        yield


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The local Kombo, in this process."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    yield sandbox
    await sandbox.aclose()


@pytest.fixture
def kombo(sandbox: Sandbox) -> httpx.AsyncBaseTransport:
    """The network to the local Kombo."""
    return httpx.ASGITransport(sandbox.app)


# The flags keep Chromium from calling its maker, and let it run as root in a container.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium, started once per test module."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        launched = None
        with suppress(PlaywrightError):
            launched = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        if launched is None:
            missing = "Chromium was not found; install it (Debian: apt-get install chromium) to run this test"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        yield launched
        await launched.close()


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, empty."""
    yield from running_redis(tmp_path_factory.mktemp("redis"))
