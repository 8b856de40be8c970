"""The store, on a fresh database of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kombo_embed.store.store import Store
from tests.support import ManualClock


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(database_url, environment="default", clock=ManualClock())
    await store.open()
    yield store
    await store.aclose()
