"""A host app with the console, called in-process, on a database with one connected customer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.console.visitor import Visitor, opened


@pytest.fixture
async def visitor(kombo: httpx.AsyncBaseTransport, sandbox: Sandbox) -> AsyncIterator[Visitor]:
    async with opened(kombo, sandbox) as visitor:
        yield visitor
