"""The issuer's JSON Web Key Set (RFC 7517): parsed, kept, and refreshed.

A token can name any key id, so unknown key ids cause at most one fetch in `UNKNOWN_KEY_PAUSE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from joserfc.jwk import JWKRegistry, Key, RSAKey
from joserfc.util import urlsafe_b64decode

from kombo_embed.errors import IdentityUnavailable
from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.auth")

MAX_AGE_SECONDS = 60  # keys are refreshed after this, so that a withdrawn one is no longer accepted
UNKNOWN_KEY_PAUSE_SECONDS = 30  # between two fetches that unknown key ids cause
FAILURE_PAUSE_SECONDS = 5  # between two fetches from an issuer that failed
RSA_BITS = range(2048, 16384 + 1)  # RFC 7518, 3.3; verification with a longer key blocks the event loop


class IssuerKeys:
    """Keeps an issuer's keys; ``fetch`` has a deadline of its own. Close it with `aclose`."""

    def __init__(self, fetch: Callable[[], Awaitable[tuple[Key, ...]]], *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[Key, ...] | None = None
        self._refresh_at = -math.inf
        self._unknown_key_at = -math.inf  # when an unknown key id may cause a fetch again
        self._refreshing: asyncio.Task[None] | None = None

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
            self._keys = await self._fetch()
        except IdentityUnavailable as error:
            logger.warning("jwks.unavailable", extra={"reason": str(error)})
        else:
            pause_seconds = MAX_AGE_SECONDS
            logger.info("jwks.fetched", extra={"usable_keys": len(self._keys)})
        finally:
            self._refresh_at = self._clock.monotonic() + pause_seconds
            self._refreshing = None


def parse_key_set(body: bytes) -> tuple[Key, ...]:
    """Return the keys of a set that can verify tokens, in order, without those that cannot be parsed.

    Private and symmetric keys are left out too: everyone who can read the set could sign with them. Raises
    `ValueError` if it is not a key set.
    """
    try:
        members = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is not a JSON Web Key Set") from None
    if not isinstance(members, list):
        raise ValueError("it is not a JSON Web Key Set")  # noqa: TRY004 - the input is wrong, not a type of ours
    keys = (_parse_key(member) for member in members)
    return tuple(key for key in keys if key is not None and not key.is_private)


def _parse_key(member: Any) -> Key | None:  # noqa: ANN401 - JSON from the issuer
    try:
        # joserfc would import a short key with a warning.
        if member["kty"] == RSAKey.key_type and _bits(member["n"]) not in RSA_BITS:
            return None
        return JWKRegistry.import_key(member)
    except Exception:  # noqa: BLE001 - one unusable key, whatever is wrong with it, must not disable the others
        return None


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number.encode()), "big").bit_length()
