"""The issuer's keys, kept and renewed: asked for when first needed, and seldom after that.

A token can name any key id, so what a token says never makes more than one call in `STRANGER_PAUSE` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from joserfc.jwk import Key

from kombo_embed.errors import IdentityUnavailable
from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.auth")

MAX_AGE = 60  # seconds after which keys are renewed, so that one that was withdrawn goes away
STRANGER_PAUSE = 30  # seconds between two renewals for key ids that are not known
FAILURE_PAUSE = 5  # seconds between two calls to an issuer that failed


class IssuerKeys:
    """Keeps an issuer's keys. Close it with `aclose`.

    Args:
        fetch: Asks the issuer, within a deadline of its own; raises `IdentityUnavailable`.
        clock: Where time comes from; ages count on its monotonic one.
    """

    def __init__(self, fetch: Callable[[], Awaitable[tuple[Key, ...]]], *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[Key, ...] | None = None
        self._renew_at = -math.inf
        self._stranger_at = -math.inf  # when a key id that is not known may make a call again
        self._renewing: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """End the call that is still under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    def current(self) -> tuple[Key, ...] | None:
        """All keys as they are known now, the same object until they were asked for again; None at first."""
        if self._keys is not None and self._clock.monotonic() >= self._renew_at:
            self._renew()
        return self._keys

    async def find(self, key_id: str | None) -> tuple[Key, ...]:
        """The keys that a token with this key id may mean: all of them where it has none.

        Raises:
            IdentityUnavailable: No key was ever got, and the issuer cannot be reached.
        """
        if self.current() is None:
            await self._renewed()
            return self._named(key_id)  # just got: another call would tell nothing new
        found = self._named(key_id)
        if not found and key_id is not None and self._may_ask_for_stranger():
            await asyncio.shield(self._renew())
            found = self._named(key_id)
        return found

    async def find_anew(self) -> tuple[Key, ...] | None:
        """All keys as the issuer has them now, for a token without a key id that no known key signed.

        None where such tokens have made their call of the last 30 s already.
        """
        if not self._may_ask_for_stranger():
            return None
        await asyncio.shield(self._renew())
        return self._named(None)

    def _named(self, key_id: str | None) -> tuple[Key, ...]:
        return tuple(key for key in self._keys or () if key_id is None or key.kid == key_id)

    def _may_ask_for_stranger(self) -> bool:
        if self._renewing is not None:
            return True  # waiting for a call that is under way makes no other
        now = self._clock.monotonic()
        if now < self._stranger_at:
            return False
        self._stranger_at = now + STRANGER_PAUSE
        return True

    async def _renewed(self) -> None:
        if self._renewing is not None or self._clock.monotonic() >= self._renew_at:
            await asyncio.shield(self._renew())
        if self._keys is None:
            pause = math.ceil(self._renew_at - self._clock.monotonic())
            raise IdentityUnavailable("The issuer's keys are not known yet.", retry_after=max(1, pause))

    def _renew(self) -> asyncio.Task[None]:
        """The call that is under way, or a new one. It belongs to the app, not to who waits for it."""
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._ask(), name="kombo-embed keys")
        return self._renewing

    async def _ask(self) -> None:
        pause = FAILURE_PAUSE
        try:
            self._keys = await self._fetch()
        except IdentityUnavailable as error:
            logger.warning("keys.unavailable: %s", error)
        else:
            pause = MAX_AGE
            logger.info("keys.fetched: %d of use", len(self._keys))
        finally:
            self._renew_at = self._clock.monotonic() + pause
            self._renewing = None
