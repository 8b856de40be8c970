"""The links, leases, invalidations and cool-downs in Redis that all processes share."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import Callable

from kombo_embed import errors
from kombo_embed.link_cache import redis_scripts
from kombo_embed.link_cache.encryption import LinkCipher
from kombo_embed.link_cache.mint_lease import LEASE_SECONDS, RedisLease
from kombo_embed.link_cache.redis_client import RedisClient
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Clock, CoolDown, Invalidation

ID_BYTES = 16  # of a mint and of a generation
GENERATION_MARGIN_SECONDS = 60.0  # that a generation outlives its links
INVALIDATION_MARGIN_SECONDS = 3600.0  # that markers and positions outlive the links, and so the rows
FAILURE_SECONDS = 5.0  # that waiting processes can read why a mint failed

Lookup = asyncio.Task[ConnectionLink | None]
# The failures of a mint that concern every process that waits for it.
FAILURES: dict[str, Callable[..., errors.KomboEmbedError]] = {
    kind.__name__: kind
    for kind in (
        *errors.KomboError.__subclasses__(),
        errors.IntegrationNotFound,
        errors.RateLimited,
        errors.StoreUnavailable,
    )
}


class RedisLinkStore:
    """The links of one environment in Redis. `open` it before use. All methods raise `RedisUnavailable`.

    A link that satisfies a wait for a lease has at least ``margin_seconds`` left.

    ``epoch`` is a part of the names: in a new one, no link of before is valid.
    """

    def __init__(
        self,
        client: RedisClient,
        cipher: LinkCipher,
        *,
        environment: str,
        lifetime_seconds: float,
        margin_seconds: float,
        clock: Clock,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.lease_seconds = lease_seconds
        self.epoch = b""
        self._client = client
        self._cipher = cipher
        self.environment = environment
        self._lifetime_ms = _milliseconds(lifetime_seconds)
        self._margin_ms = _milliseconds(margin_seconds)
        self._generation_ms = _milliseconds(lifetime_seconds + GENERATION_MARGIN_SECONDS)
        self._clock = clock
        self._cool_down_name = cipher.name("cool-down", environment)
        self._running: dict[CacheKey, Lookup] = {}
        self._next: dict[CacheKey, Lookup] = {}

    async def open(self) -> None:
        """Connect, also after an outage, and return if Redis accepts writes within the deadline."""
        await self._client.connect()
        await self._client.run(redis_scripts.PROBE, [self._cipher.name("probe", self.environment)])

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """Return the cached link of this key.

        Concurrent callers share a lookup, but never one that was sent before they called: an invalidation may
        have come in between. So those that come while one is in flight share the next.
        """
        lookup = self._next.get(key)
        if lookup is None:
            lookup = asyncio.get_running_loop().create_task(self._look_up_after(self._running.get(key), key))
            # Retrieve a failure whose callers have all left, so that asyncio does not log it.
            lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._next[key] = lookup
        return await asyncio.shield(lookup)

    async def acquire(
        self, key: CacheKey, *, mint: bytes, awaited: bytes, fresh: bool
    ) -> ConnectionLink | RedisLease | bytes:
        """Return the lease; or the link that makes it unnecessary; or the id of the mint that holds it.

        ``awaited`` is the mint waited for so far, or ``b""``: its link or failure ends the wait. With
        ``fresh``, only its link will do. Raises that failure, or the error that Kombo's cool-down means.
        """
        asked_at = self._clock.monotonic()
        reply = await self._client.run(
            redis_scripts.ACQUIRE,
            [*self._link_names(key), *self._names(key, "lease", "failure"), self._cool_down_name],
            *(mint, awaited, int(fresh), self._margin_ms, _milliseconds(self.lease_seconds)),
            *(self._generation_ms, secrets.token_bytes(ID_BYTES)),
        )
        match reply:
            case [b"link", body, left_ms]:
                link = self._link(body, left_ms, asked_at=asked_at)
                # A link that cannot be decrypted is replaced.
                return link or await self.acquire(key, mint=mint, awaited=b"", fresh=True)
            case [b"held", holder]:
                return bytes(holder)
            case [b"lease", generation, started_ms]:
                return RedisLease(key, mint, generation, started_ms)
        raise self._failure(*reply)

    async def put(self, lease: RedisLease, link: ConnectionLink) -> bool:
        """Store the link and release the lease; return False if the origin id was invalidated meanwhile.

        After False the lease continues and watches for invalidations from then on.
        """
        refused = await self._client.run(
            redis_scripts.PUT,
            [*self._link_names(lease.key), *self._names(lease.key, "lease")],
            *(lease.mint, lease.generation, self._cipher.encrypt(link.body)),
            *(lease.started_ms + self._lifetime_ms, self._generation_ms, secrets.token_bytes(ID_BYTES)),
        )
        if refused is None:
            lease.is_held = False
            return True
        lease.generation, lease.started_ms = refused
        return False

    async def renew(self, lease: RedisLease) -> None:
        """Extend the lease, if it is still ours."""
        duration = _milliseconds(self.lease_seconds)
        await self._client.run(redis_scripts.RENEW, self._names(lease.key, "lease"), lease.mint, duration)

    async def release(self, lease: RedisLease, error: BaseException | None) -> None:
        """Release the lease, if it is still ours, and pass the failure of its mint to those that wait."""
        failure = b"" if error is None else serialize_failure(error)
        await self._client.run(
            redis_scripts.RELEASE,
            self._names(lease.key, "lease", "failure"),
            *(lease.mint, failure and self._cipher.encrypt(failure), _milliseconds(FAILURE_SECONDS)),
        )

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Invalidate the links of an origin id, once, however many processes apply the invalidation."""
        await self._client.run(
            redis_scripts.INVALIDATE,
            [
                self._in_epoch(self._cipher.name("generation", environment, invalidation.origin_id)),
                self._in_epoch(self._cipher.name("invalidation", environment, invalidation.invalidation_id)),
            ],
            self._lifetime_ms + _milliseconds(INVALIDATION_MARGIN_SECONDS),
        )

    async def share_cool_down(self, cool_down: CoolDown) -> None:
        """Apply a cool-down to all processes."""
        cause = "limited" if cool_down.rate_limited else "unavailable"
        left_ms = max(1, _milliseconds(cool_down.seconds))
        await self._client.run(redis_scripts.SHARE_COOL_DOWN, [self._cool_down_name], cause, left_ms)

    async def find_cool_down(self) -> CoolDown | None:
        """Return the cool-down that has not ended."""
        reply = await self._client.run(redis_scripts.GET_COOL_DOWN, [self._cool_down_name])
        return None if reply is None else _cool_down(*reply)

    async def _look_up_after(self, earlier: Lookup | None, key: CacheKey) -> ConnectionLink | None:
        if earlier is not None:
            await asyncio.wait({earlier})
        lookup = self._running[key] = self._next.pop(key)
        try:
            if earlier is not None:
                earlier.result()  # raises what the earlier lookup raised, instead of missing a deadline again
            asked_at = self._clock.monotonic()
            reply = await self._client.run(redis_scripts.GET, self._link_names(key))
            return None if reply is None else self._link(*reply, asked_at=asked_at)
        finally:
            if self._running.get(key) is lookup:
                del self._running[key]

    def _failure(self, kind: bytes, value: bytes, left_ms: int = 0) -> errors.KomboEmbedError:
        if kind == b"failure":
            return parse_failure(self._cipher.decrypt(value))
        cool_down = _cool_down(value, left_ms)
        error = errors.KomboRateLimited if cool_down.rate_limited else errors.KomboUnavailable
        return error("Kombo asked for a pause.", retry_after=max(1, math.ceil(cool_down.seconds)))

    def _in_epoch(self, name: bytes) -> bytes:
        return name + b":" + self.epoch

    def _names(self, key: CacheKey, *kinds: str) -> list[bytes]:
        return [self._in_epoch(self._cipher.name_of(kind, key)) for kind in kinds]

    def _link_names(self, key: CacheKey) -> list[bytes]:
        generation = self._in_epoch(self._cipher.name("generation", key.environment, key.origin_id))
        return [*self._names(key, "link"), generation]

    def _link(self, encrypted: bytes, left_ms: int, *, asked_at: float) -> ConnectionLink | None:
        body = self._cipher.decrypt(encrypted) or b""
        try:
            content = json.loads(body)
        except ValueError:
            return None
        if not isinstance(content, dict) or not {"link", "expires_at"} <= content.keys():
            return None
        return ConnectionLink(body, asked_at + min(left_ms, self._lifetime_ms) / 1000)


def serialize_failure(error: BaseException) -> bytes:
    """Return the failure for waiting processes, or ``b""`` if they should mint themselves."""
    kind = type(error).__name__
    if FAILURES.get(kind) is not type(error):
        return b""
    return json.dumps({"kind": kind, "message": str(error), "attributes": vars(error)}).encode()


def parse_failure(value: bytes | None) -> errors.KomboEmbedError:
    """Return the failure that another process serialized, perhaps in another version."""
    try:
        failure = json.loads(value or b"")
        return FAILURES[failure["kind"]](failure["message"], **failure["attributes"])
    except (ValueError, KeyError, TypeError):
        return errors.KomboUnavailable("Another process could not mint this link.", retry_after=1)


def _cool_down(cause: bytes, left_ms: int) -> CoolDown:
    return CoolDown(max(0, left_ms) / 1000, rate_limited=cause == b"limited")


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
