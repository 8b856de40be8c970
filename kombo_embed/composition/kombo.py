"""Builds the client of Kombo's API from the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock, CoolDown
from kombo_embed.settings import Settings

if TYPE_CHECKING:
    import httpx


def make_kombo_client(
    settings: Settings,
    *,
    clock: Clock,
    base_url: str | None = None,
    share_cool_down: Callable[[CoolDown], None] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> KomboClient:
    """Build a client, by default of the settings' API; see `KomboClient`."""
    return KomboClient(
        base_url=base_url or settings.base_url,
        api_key=settings.api_key.get_secret_value(),
        timeout_seconds=settings.timeout,
        connect_timeout_seconds=settings.connect_timeout,
        clock=clock,
        share_cool_down=share_cool_down,
        transport=transport,
    )
