"""What the pages work with."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kombo_embed.composition.deployment import Finding
from kombo_embed.ports import Clock
from kombo_embed.store.support import Support
from kombo_embed.web.endpoints import Services

CHECK_SECONDS = 60.0  # for which the findings are kept: the checks call Kombo
Diagnose = Callable[[], Awaitable[list[Finding]]]


@dataclass(slots=True)
class Desk:
    """The records and the checks; without ``services``, nothing can be changed.

    ``token_key`` signs the tokens of forms, and is the same in all processes of an app.
    """

    support: Support
    diagnose: Diagnose
    clock: Clock
    services: Services | None = None
    token_key: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(32))
    _findings: list[Finding] | None = field(init=False, default=None)
    _checked_at: float = field(init=False, default=0.0)
    _checking: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    async def findings(self) -> tuple[list[Finding], datetime]:
        """Return what the checks found in the last minute, and when they ran."""
        async with self._checking:
            if self._findings is None or self.clock.time() - self._checked_at >= CHECK_SECONDS:
                self._findings = await self.diagnose()
                self._checked_at = self.clock.time()
            return self._findings, datetime.fromtimestamp(self._checked_at, UTC)

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.clock.time(), UTC)


def desk_of(services: Services, *, diagnose: Diagnose, clock: Clock) -> Desk:
    """Return the desk of a running mount."""
    api_key = services.settings.api_key.get_secret_value().encode()
    key = hmac.digest(api_key, b"kombo-embed console", hashlib.sha256)
    return Desk(services.store.support, diagnose, clock, services, key)
