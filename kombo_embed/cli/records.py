"""Opens the records for a command: the database that is there, without an API key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kombo_embed.cli.output import told
from kombo_embed.settings import RecordSettings
from kombo_embed.store.support import RecordsReader

Found = TypeVar("Found")


def look(ask: Callable[[RecordsReader], Awaitable[Found]]) -> Found:
    """What is asked of the records that the environment names; what is wrong with them ends the command."""

    async def opened() -> Found:
        settings = RecordSettings()
        url = settings.database_url.get_secret_value()
        async with RecordsReader(url, environment=settings.environment, clock=time).opened() as inspection:
            return await ask(inspection)

    with told():
        return asyncio.run(opened())
