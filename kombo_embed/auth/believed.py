"""Tokens that were verified a moment ago: a page asks several times with the same one.

None is believed for longer than it would be if it were verified again: all are forgotten as soon as the
issuer's keys were read anew, and a token's end is looked at each time. Tokens are known by their hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from joserfc.jwk import Key

from kombo_embed.models import EndUser

BELIEVED_MAX = 4096  # tokens


@dataclass(frozen=True, slots=True)
class _Believed:
    end_user: EndUser
    since: float
    until: float


class BelievedTokens:
    """Remembers for whom tokens were verified, with the keys that they were verified with."""

    def __init__(self) -> None:
        self._keys: Sequence[Key] | None = None
        self._tokens: dict[bytes, _Believed] = {}

    def find(self, credentials: bytes, *, keys: Sequence[Key] | None, now: float) -> EndUser | None:
        """Whom these credentials named when they were verified with these very keys, if that still holds.

        Args:
            credentials: As they were sent.
            keys: All keys of the issuer, as known now.
            now: Seconds since the epoch.
        """
        if keys is None or keys is not self._keys:
            return None
        known = self._tokens.get(_hash(credentials))
        if known is None or not known.since <= now < known.until:
            return None
        return known.end_user

    def keep(
        self, credentials: bytes, end_user: EndUser, *, keys: Sequence[Key] | None, since: float, until: float
    ) -> None:
        """Remember that these credentials were verified with these keys; of too many, the oldest goes."""
        if keys is not self._keys:
            self._keys = keys
            self._tokens.clear()
        elif len(self._tokens) >= BELIEVED_MAX:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[_hash(credentials)] = _Believed(end_user, since, until)


def _hash(credentials: bytes) -> bytes:
    return hashlib.sha256(credentials).digest()
