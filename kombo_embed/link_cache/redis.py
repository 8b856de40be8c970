"""The links, leases, invalidations and cool-downs in Redis that all processes share."""

from __future__ import annotations

import math
import secrets

from kombo_embed.link_cache import redis_scripts, redis_values
from kombo_embed.link_cache.encryption import NAME_KINDS, LinkCipher
from kombo_embed.link_cache.mint_lease import LEASE_SECONDS, RedisLease
from kombo_embed.link_cache.redis_client import RedisClient, RedisUnavailable, RedisUnusable
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Clock, CoolDown, Invalidation
from kombo_embed.single_flight import NextFlight

ID_BYTES = 16  # of a mint and of a generation
GENERATION_MARGIN_SECONDS = 60.0  # that a generation outlives its links
INVALIDATION_MARGIN_SECONDS = 3600.0  # that markers and positions outlive the links, and so the rows
PATIENCE_SECONDS = 2.0  # with late writes, while Redis answers at all: to give up means a failover
LEASE_MS = math.ceil(LEASE_SECONDS * 1000)
ATTEMPTS = 3  # to acquire a lease while the values found are rejected
PROBES = ("probe", "probe-list", "probe-hash")
FAILURE_MS = 5000  # that waiting processes can read why a mint failed


class RedisLinkStore:
    """Links in Redis. `open` it before use. All methods raise `RedisUnavailable`.

    A link that satisfies a wait for a lease has at least ``margin_seconds`` left. What Redis holds is not
    trusted: a value that no process of ours can have written counts as missing.

    ``epoch`` is a part of the names of links: in a new one, no link of before is valid.
    """

    def __init__(
        self,
        client: RedisClient,
        cipher: LinkCipher,
        *,
        scope: redis_values.Scope,
        lifetime_seconds: float,
        margin_seconds: float,
        clock: Clock,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._lease_ms = _milliseconds(lease_seconds)
        self.epoch = b""
        self._client = client
        self._cipher = cipher
        self._api_url = scope.api_url
        self.environment = scope.environment
        self._lifetime_ms = _milliseconds(lifetime_seconds)
        self._margin_seconds = margin_seconds
        self._generation_ms = _milliseconds(lifetime_seconds + GENERATION_MARGIN_SECONDS)
        self._clock = clock
        self._cool_down_name = cipher.name("cool-down", scope.account, scope.environment)
        self._lookups: NextFlight[CacheKey, ConnectionLink | None] = NextFlight()
        self._rejections = redis_values.RejectionLog(clock)

    async def open(self) -> None:
        """Connect, also after an outage, and return if Redis accepts writes within the deadline."""
        await self._client.connect()
        names = [self._cipher.name(kind, "probe") for kind in (*PROBES, *NAME_KINDS)]
        missing = redis_values.parse_commands(await self._client.run(redis_scripts.PROBE, names))
        if missing is None:
            raise RedisUnavailable("UnexpectedReply")
        if missing:
            raise RedisUnusable(f"its user lacks permissions: +{' +'.join(missing)}")

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """Return the cached link of this key."""
        # Not from a lookup that was sent earlier: an invalidation may have come in between.
        return await self._lookups.join(key, lambda: self._look_up(key))

    async def acquire(
        self, key: CacheKey, *, mint: bytes, awaited: bytes, fresh: bool
    ) -> ConnectionLink | RedisLease | bytes:
        """Return the lease; or the link that makes it unnecessary; or the id of the mint that holds it.

        ``awaited`` is the mint waited for so far, or ``b""``: its link or failure ends the wait. With
        ``fresh``, only its link will do. Raises that failure, or the error that Kombo's cool-down means.
        """
        names = [*self._link_names(key), *self._names(key, "lease", "failure"), self._cool_down_name]
        refused, asked_at, margin = b"", self._clock.monotonic(), self._margin_seconds
        for _ in range(ATTEMPTS):
            kind, value, number = await self._ask(names, mint, awaited, refused, fresh=fresh)
            if kind == b"held":
                return value
            if kind == b"lease":
                return RedisLease(key, mint, value, number)
            if kind == b"link":
                link = self._link(key, names[0], value, left_ms=number, asked_at=asked_at)
                refused = value[ID_BYTES : 2 * ID_BYTES]
                if link and (refused == awaited or link.deadline - asked_at >= margin):
                    return link
            else:
                self._raise_outcome(key, names[3], kind, value, left_ms=number)
                awaited = b""
        raise RedisUnavailable("UnexpectedReply")

    async def put(self, lease: RedisLease, link: ConnectionLink) -> bool:
        """Store the link and release the lease; return False if the origin id was invalidated meanwhile.

        After False the lease continues and watches for invalidations from then on.
        """
        names = [*self._link_names(lease.key), *self._names(lease.key, "lease")]
        content = redis_values.serialize_link(link, lifetime_ms=self._lifetime_ms)
        encrypted = self._cipher.encrypt(content, key=lease.key, name=names[0], generation=lease.generation)
        refused = await self._client.run(
            redis_scripts.PUT,
            names,
            *(lease.mint, lease.generation, encrypted),
            *(lease.started_ms + self._lifetime_ms, self._generation_ms, secrets.token_bytes(ID_BYTES)),
            patience_seconds=PATIENCE_SECONDS,
        )
        match refused:
            case None:
                lease.is_held = False
                return True
            case [bytes(generation), int(started_ms)]:
                lease.generation, lease.started_ms = generation, started_ms
                return False
        raise RedisUnavailable("UnexpectedReply")

    async def renew(self, lease: RedisLease) -> None:
        """Extend the lease, if it is still ours."""
        await self._client.run(
            redis_scripts.RENEW, self._names(lease.key, "lease"), lease.mint, self._lease_ms
        )

    async def release(self, lease: RedisLease, error: BaseException | None) -> None:
        """Release the lease, if it is still ours, and pass the failure of its mint to those that wait."""
        failure = b"" if error is None else redis_values.serialize_failure(error)
        names = self._names(lease.key, "lease", "failure")
        if failure:
            failure = self._cipher.encrypt(failure, key=lease.key, name=names[1], generation=lease.mint)
        await self._client.run(redis_scripts.RELEASE, names, lease.mint, failure, FAILURE_MS)

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Invalidate the links of an origin id, once, however many processes apply the invalidation."""
        await self._client.run(
            redis_scripts.INVALIDATE,
            [
                self._cipher.invalidation_name("generation", environment, invalidation.origin_id),
                self._cipher.invalidation_name("invalidation", environment, invalidation.invalidation_id),
            ],
            self._lifetime_ms + _milliseconds(INVALIDATION_MARGIN_SECONDS),
            patience_seconds=PATIENCE_SECONDS,
        )

    async def share_cool_down(self, cool_down: CoolDown) -> None:
        """Apply a cool-down to all processes."""
        cause, left_ms = redis_values.serialize_cool_down(cool_down)
        await self._client.run(redis_scripts.SHARE_COOL_DOWN, [self._cool_down_name], cause, left_ms)

    async def find_cool_down(self) -> CoolDown | None:
        """Return the cool-down that has not ended."""
        reply = await self._client.run(redis_scripts.GET_COOL_DOWN, [self._cool_down_name])
        match reply:
            case None:
                return None
            case [bytes(cause), int(left_ms)]:
                cool_down = redis_values.parse_cool_down(cause, left_ms)
                if cool_down is None:
                    self._rejections.log(b"cool_down")
                return cool_down
        raise RedisUnavailable("UnexpectedReply")

    async def _ask(
        self, names: list[bytes], mint: bytes, awaited: bytes, refused: bytes, *, fresh: bool
    ) -> tuple[bytes, bytes, int]:
        reply = await self._client.run(
            redis_scripts.ACQUIRE,
            names,
            *(mint, awaited, refused, int(fresh), _milliseconds(self._margin_seconds), self._lease_ms),
            *(self._generation_ms, secrets.token_bytes(ID_BYTES), max(self._lease_ms, LEASE_MS)),
        )
        match reply:
            case [bytes(kind), bytes(value), int(number), bytes(rejected)]:
                self._rejections.log(*rejected.split())
                return kind, value, number
        raise RedisUnavailable("UnexpectedReply")

    async def _look_up(self, key: CacheKey) -> ConnectionLink | None:
        asked_at, names = self._clock.monotonic(), self._link_names(key)
        match await self._client.run(redis_scripts.GET, names):
            case None:
                return None
            case [bytes(stored), int(left_ms)]:
                return self._link(key, names[0], stored, left_ms=left_ms, asked_at=asked_at)
        raise RedisUnavailable("UnexpectedReply")

    def _link(
        self, key: CacheKey, name: bytes, stored: bytes, *, left_ms: int, asked_at: float
    ) -> ConnectionLink | None:
        generation, encrypted = stored[:ID_BYTES], stored[2 * ID_BYTES :]
        content = self._cipher.decrypt(encrypted, key=key, name=name, generation=generation)
        link = redis_values.parse_link(
            content or b"",
            api_url=self._api_url,
            left_ms=left_ms,
            lifetime_ms=self._lifetime_ms,
            now=self._clock.time(),
            now_monotonic=asked_at,
        )
        if link is None:
            self._rejections.log(b"link")
        return link

    def _raise_outcome(self, key: CacheKey, name: bytes, kind: bytes, value: bytes, *, left_ms: int) -> None:
        """Raise the failure of the mint that was waited for, or what a cool-down means, unless rejected."""
        if kind == b"failure":
            mint, encrypted = value[:ID_BYTES], value[ID_BYTES:]
            content = self._cipher.decrypt(encrypted, key=key, name=name, generation=mint)
            error = redis_values.parse_failure(content or b"")
        else:
            error = redis_values.parse_cool_down_error(value, left_ms)
        if error is not None:
            raise error
        self._rejections.log(kind)

    def _names(self, key: CacheKey, *kinds: str) -> list[bytes]:
        return [self._cipher.name_of(kind, key) + b":" + self.epoch for kind in kinds]

    def _link_names(self, key: CacheKey) -> list[bytes]:
        generation = self._cipher.invalidation_name("generation", key.environment, key.origin_id)
        return [*self._names(key, "link"), generation]


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
