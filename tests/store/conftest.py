"""The store, on a fresh database of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kombo_embed.store.store import Store
from tests.store.samples import opened_store


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with opened_store(database_url) as store:
        yield store
