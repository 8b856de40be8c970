"""The links in Redis, for all processes: what is asked of it, and what its answers mean."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, field

from kombo_embed.errors import KomboRateLimited, KomboUnavailable
from kombo_embed.link_cache import redis_scripts, told_failures
from kombo_embed.link_cache.encryption import LinkCipher
from kombo_embed.link_cache.redis_line import RedisLine
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Clock, CoolDown, Invalidation

ID_BYTES = 16  # of a mint, and of a generation
LEASE = 5000  # milliseconds, renewed while the mint runs: one whose process died is free soon
GENERATION_SLACK = 60_000  # milliseconds that a generation outlives its links
DROP_REMEMBERED = 3_600_000  # milliseconds: for longer than the database remembers a drop
FAILURE_TOLD = 5000  # milliseconds that those who wait have to hear of a failure


@dataclass(slots=True)
class Lease:
    """The right to mint a link, among all processes, and from when on its origin id must not be dropped."""

    key: CacheKey
    mint: bytes
    generation: bytes
    began_at: int  # milliseconds on Redis's clock
    held: bool = field(default=True)


@dataclass(frozen=True, slots=True)
class Held:
    """Another mint has the lease."""

    mint: bytes


class RedisLinkStore:
    """The links of one Kombo environment in Redis. All methods raise `RedisGone`.

    Args:
        line: The way to Redis, closed by whoever opened it.
        seal: Names and seals what lies there.
        environment: Whose links.
        lifetime: Seconds that links live.
        margin: Seconds that a link must have left to be given out.
        clock: Where time comes from.
    """

    def __init__(
        self,
        line: RedisLine,
        seal: LinkCipher,
        *,
        environment: str,
        lifetime: float,
        margin: float,
        clock: Clock,
    ) -> None:
        self._line = line
        self._seal = seal
        self._environment = environment
        self._lifetime = math.ceil(lifetime * 1000)
        self._margin = math.ceil(margin * 1000)
        self._clock = clock
        self._cool_down = seal.name("cool-down", environment)

    async def connect(self) -> None:
        """Make ready, also after Redis was gone; return if it can be written to, in good time."""
        await self._line.connect()
        await self._line.run(redis_scripts.PROBE, [self._seal.name("probe", self._environment)])

    async def look(self, key: CacheKey) -> ConnectionLink | None:
        """The link of this key."""
        asked_at = self._clock.monotonic()
        found = await self._line.read(redis_scripts.LOOK, [self._name("link", key), self._generation_of(key)])
        return None if found is None else self._opened(*found, asked_at=asked_at)

    async def claim(
        self, key: CacheKey, *, mint: bytes, awaited: bytes, fresh: bool
    ) -> ConnectionLink | Lease | Held:
        """The lease for this mint; or who has it; or the link that makes it needless.

        Args:
            key: What to mint.
            mint: This mint's id.
            awaited: The mint that was waited for so far, or nothing: its link will do, its failure is ours.
            fresh: Whether any other link will not do.

        Raises:
            KomboEmbedError: The awaited mint failed so, or Kombo told all of us to wait.
        """
        asked_at = self._clock.monotonic()
        what, *more = await self._line.run(
            redis_scripts.CLAIM,
            [
                self._name("link", key),
                self._generation_of(key),
                self._name("lease", key),
                self._name("failure", key),
                self._cool_down,
            ],
            *(mint, awaited, int(fresh), self._margin, LEASE, self._lifetime + GENERATION_SLACK),
            secrets.token_bytes(ID_BYTES),
        )
        match what:
            case b"found":
                link = self._opened(*more, asked_at=asked_at)
                # One that cannot be opened is as good as none.
                return link or await self.claim(key, mint=mint, awaited=b"", fresh=True)
            case b"failed":
                raise told_failures.read(self._seal.open(more[0]))
            case b"cooling":
                cool_down = _cooling(*more)
                kind = KomboRateLimited if cool_down.rate_limited else KomboUnavailable
                raise kind(
                    "Kombo is not asked at the moment.", retry_after=max(1, math.ceil(cool_down.seconds))
                )
            case b"wait":
                return Held(more[0])
        return Lease(key, mint, *more)

    async def keep(self, lease: Lease, link: ConnectionLink) -> bool:
        """Keep what was minted, and end the lease; False if the origin id was dropped meanwhile.

        After False the lease goes on, and counts drops from now on.
        """
        refused = await self._line.run(
            redis_scripts.KEEP,
            [self._name("link", lease.key), self._generation_of(lease.key), self._name("lease", lease.key)],
            *(lease.mint, lease.generation, self._seal.close(link.body), lease.began_at + self._lifetime),
            *(self._lifetime + GENERATION_SLACK, secrets.token_bytes(ID_BYTES)),
        )
        if refused is None:
            lease.held = False
            return True
        lease.generation, lease.began_at = refused
        return False

    async def renew(self, lease: Lease) -> None:
        """Make the lease last from now on, if it is still ours."""
        await self._line.run(redis_scripts.RENEW, [self._name("lease", lease.key)], lease.mint, LEASE)

    async def give_up(self, lease: Lease, error: BaseException | None) -> None:
        """End the lease, if it is still ours, and tell those that wait for its mint how it failed."""
        told = b"" if error is None else told_failures.write(error)
        await self._line.run(
            redis_scripts.GIVE_UP,
            [self._name("lease", lease.key), self._name("failure", lease.key)],
            *(lease.mint, self._seal.close(told) if told else b"", FAILURE_TOLD),
        )

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Drop the links of an origin id, once, however often and by whomever this drop is told."""
        await self._line.run(
            redis_scripts.DROP,
            [
                self._seal.name("generation", environment, invalidation.origin_id),
                self._seal.name("drop", environment, invalidation.invalidation_id),
            ],
            self._lifetime + DROP_REMEMBERED,
        )

    async def share_cool_down(self, cool_down: CoolDown) -> None:
        """Have all processes leave Kombo alone for a while."""
        what = "limited" if cool_down.rate_limited else "unavailable"
        milliseconds = max(1, math.ceil(cool_down.seconds * 1000))
        await self._line.run(redis_scripts.COOL_DOWN, [self._cool_down], what, milliseconds)

    async def cool_down(self) -> CoolDown | None:
        """For how long Kombo is to be left alone, if it is."""
        found = await self._line.run(redis_scripts.COOLING, [self._cool_down])
        return None if found is None else _cooling(*found)

    def _name(self, kind: str, key: CacheKey) -> bytes:
        return self._seal.name_of(kind, key)

    def _generation_of(self, key: CacheKey) -> bytes:
        return self._seal.name("generation", key.environment, key.origin_id)

    def _opened(self, sealed: bytes, left: int, *, asked_at: float) -> ConnectionLink | None:
        body = self._seal.open(sealed)
        if body is None or not _is_whole(body):
            return None
        return ConnectionLink(body, asked_at + min(left, self._lifetime) / 1000)


def _is_whole(body: bytes) -> bool:
    try:
        content = json.loads(body)
    except ValueError:
        return False
    return isinstance(content, dict) and {"link", "expires_at"} <= content.keys()


def _cooling(what: bytes, milliseconds: int) -> CoolDown:
    return CoolDown(max(0, milliseconds) / 1000, rate_limited=what == b"limited")
