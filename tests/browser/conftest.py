"""Fixtures of the browser's journeys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.stage import Stage, Visit, raised_stage, visiting


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A host app and the local Kombo, started once per test module."""
    async with raised_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, stage: Stage) -> AsyncIterator[Visit]:
    """Somebody who has nothing connected."""
    async with visiting(browser, stage) as visit:
        yield visit
