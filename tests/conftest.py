"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the machine's KOMBO_ variables, an .env file, or another test's database."""
    for name in list(os.environ):
        if name.upper().startswith("KOMBO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


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
