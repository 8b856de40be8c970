"""The issuer's JSON Web Key Set (RFC 7517): kept, and refreshed.

A token can name any key id, so unknown key ids cause at most one fetch in `UNKNOWN_KEY_PAUSE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from joserfc.jwk import Key

from kombo_embed.auth.jwk import KeySet, SkippedKey
from kombo_embed.errors import IdentityUnavailable
from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.auth")

MAX_AGE_SECONDS = 60  # keys are refreshed after this, so that a withdrawn one is no longer accepted
UNKNOWN_KEY_PAUSE_SECONDS = 30  # between two fetches that unknown key ids cause
FAILURE_PAUSE_SECONDS = 5  # between two fetches from an issuer that failed
REPORTED_MAX = 1000  # skipped keys that are logged by one process, however many the issuer publishes


class IssuerKeys:
    """Keeps an issuer's keys; ``fetch`` has a deadline of its own. Close it with `aclose`."""

    def __init__(self, fetch: Callable[[], Awaitable[KeySet]], *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[Key, ...] | None = None
        self._refresh_at = -math.inf
        self._unknown_key_at = -math.inf  # when an unknown key id may cause a fetch again
        self._refreshing: asyncio.Task[None] | None = None
        self._reported: set[SkippedKey] = set()

    async def aclose(self) -> None:
        """Cancel a fetch that still runs."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    async def find(self, key_id: str | None) -> tuple[Key, ...]:
        """Return the keys with this id; all keys for None. Keys that are due are refreshed in the background.

        Raises `IdentityUnavailable` if no keys were ever fetched, and the issuer cannot be reached.
        """
        if self._keys is None:
            await self._fetch_first()
            return self._named(key_id)  # just fetched: another fetch would return the same
        if self._clock.monotonic() >= self._refresh_at:
            self._refresh()
        found = self._named(key_id)
        if not found and key_id is not None and self._may_fetch_for_unknown_key():
            await asyncio.shield(self._refresh())
            found = self._named(key_id)
        return found

    async def find_refreshed(self) -> tuple[Key, ...] | None:
        """Fetch the keys again and return all, for a token without a key id that no known key signed.

        Return None if unknown keys have caused a fetch within the pause.
        """
        if not self._may_fetch_for_unknown_key():
            return None
        await asyncio.shield(self._refresh())
        return self._named(None)

    def _named(self, key_id: str | None) -> tuple[Key, ...]:
        return tuple(key for key in self._keys or () if key_id is None or key.kid == key_id)

    def _may_fetch_for_unknown_key(self) -> bool:
        if self._refreshing is not None:
            return True  # waiting for a running fetch causes no other
        now = self._clock.monotonic()
        if now < self._unknown_key_at:
            return False
        self._unknown_key_at = now + UNKNOWN_KEY_PAUSE_SECONDS
        return True

    async def _fetch_first(self) -> None:
        if self._refreshing is not None or self._clock.monotonic() >= self._refresh_at:
            await asyncio.shield(self._refresh())
        if self._keys is None:
            pause_seconds = math.ceil(self._refresh_at - self._clock.monotonic())
            raise IdentityUnavailable(
                "The issuer's keys are not known yet.", retry_after=max(1, pause_seconds)
            )

    def _refresh(self) -> asyncio.Task[None]:
        """Return the running fetch, or start one. It does not end with the request that started it."""
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._run(), name="kombo-embed jwks")
        return self._refreshing

    async def _run(self) -> None:
        pause_seconds = FAILURE_PAUSE_SECONDS
        try:
            key_set = await self._fetch()
        except IdentityUnavailable as error:
            logger.warning("jwks.unavailable", extra={"reason": str(error)})
        else:
            pause_seconds = MAX_AGE_SECONDS
            self._replace(key_set)
        finally:
            self._refresh_at = self._clock.monotonic() + pause_seconds
            self._refreshing = None

    def _replace(self, key_set: KeySet) -> None:
        for skipped in key_set.skipped:
            if skipped not in self._reported and len(self._reported) < REPORTED_MAX:
                self._reported.add(skipped)
                extra = {"key_id": skipped.key_id, "reason": skipped.reason}
                logger.warning("jwks.key_skipped", extra=extra)
        if not key_set.keys and self._keys != ():
            logger.warning("jwks.no_usable_key")
        logger.info("jwks.fetched", extra={"usable_keys": len(key_set.keys)})
        self._keys = key_set.keys
