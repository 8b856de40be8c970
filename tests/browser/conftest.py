"""Fixtures of the browser tests. Their event loop is the session's, as the browser's is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.stage import Demo, Stage, Visit, running_demo, running_stage, visiting


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Start a host app and the local sandbox, once per test module."""
    async with running_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, stage: Stage) -> AsyncIterator[Visit]:
    """Open a browser for an end user who has connected nothing."""
    async with visiting(browser, stage) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="session")
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    """Start the demo's host app and its sandbox, in this process."""
    async with running_demo(tmp_path) as demo:
        yield demo
