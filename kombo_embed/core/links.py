"""Issues links: the cached one while it has enough time left, otherwise a new one, minted once for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kombo_embed.core.records import RecordStore
from kombo_embed.errors import KomboRateLimited, KomboTimeout, KomboUnavailable, RateLimited
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import (
    AnyLinkRequest,
    CacheKey,
    CacheStatus,
    ConnectionLink,
    EndUser,
    IssuedLink,
    LinkRequest,
    LinkType,
    RelinkRequest,
    SetupRequest,
)
from kombo_embed.ports import Clock, LinkCache, RateLimiter
from kombo_embed.settings import Settings
from kombo_embed.single_flight import SingleFlight
from kombo_embed.telemetry import NO_TELEMETRY, Telemetry

MAGIC_LINK_LIFETIME_SECONDS = 365 * 24 * 3600  # Kombo: "Create connection link", link_type
BeforeMint = Callable[[], Awaitable[None]]
Minted = tuple[ConnectionLink, CacheStatus]
ABOUT_LINKS = {  # for telemetry
    LinkRequest: {"link.kind": "connect"},
    RelinkRequest: {"link.kind": "relink"},
    SetupRequest: {"link.kind": "setup"},
}
ABOUT_MAGIC_LINKS = {"link.kind": "magic_link"}
MINTS_PER_LEASE = 3  # a link that is invalidated during its mint is minted again, within this bound


class LinkIssuer:
    """Issues links. Close it with `aclose`.

    ``rate`` limits how often each end user may have a link minted; cache hits are free.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        client: KomboClient,
        store: RecordStore,
        rate: RateLimiter,
        cache: LinkCache,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._environment = settings.environment
        self._account = settings.account
        self._lifetime_seconds = settings.lifetime_seconds
        self._margin_seconds = settings.margin_seconds
        self._client = client
        self._cache = cache
        self._store = store
        self._rate = rate
        self._clock = clock
        self._telemetry = telemetry
        self._mints: SingleFlight[CacheKey, Minted] = SingleFlight()

    async def aclose(self) -> None:
        """Cancel the mints that still run."""
        await self._mints.aclose()

    async def issue(
        self,
        end_user: EndUser,
        request: AnyLinkRequest,
        *,
        fresh: bool,
        prefetch: bool = False,
        before_mint: BeforeMint | None = None,
    ) -> IssuedLink:
        """Return a link with at least the margin left; with less, only while Kombo cannot be reached.

        ``fresh`` replaces the cached link; a mint in progress satisfies it. With ``prefetch`` the link is not
        handed out: until another call returns it, its end is not a `flow.abandoned`. ``before_mint`` is
        called on a cache miss, and its exceptions propagate; it may read the database, so not for an end user
        at the rate limit. Raises `RateLimited`, or `StoreUnavailable` if the mint could not be recorded, or
        `KomboError` if no cached link is valid.
        """
        with self._telemetry.operation("link", ABOUT_LINKS[type(request)]) as operation:
            issued = await self._issue(
                end_user, request, fresh=fresh, prefetch=prefetch, before_mint=before_mint
            )
            operation.count_as(issued.cache_status)
            return issued

    async def _issue(
        self,
        end_user: EndUser,
        request: AnyLinkRequest,
        *,
        fresh: bool,
        prefetch: bool,
        before_mint: BeforeMint | None,
    ) -> IssuedLink:
        key = CacheKey(self._environment, end_user, request, self._account)
        cached = None if fresh else await self._cache.get(key)
        if cached is not None and self._remaining_seconds(cached) >= self._margin_seconds:
            issued = self._issued(cached, CacheStatus.HIT)
        else:
            issued = await self._issue_checked(key, before_mint, fresh=fresh, prefetch=prefetch)
        row_id = issued.link.prefetched_row_id
        if row_id is None or prefetch:
            return issued
        await self._store.save_link_handed_out(row_id)
        return replace(issued, link=issued.link.handed_out())

    async def check_rate(self, end_user: EndUser) -> None:
        """Raise `RateLimited` if this end user cannot have a link minted; call it before the database."""
        await self._rate.check(end_user)

    async def mint_magic_link(
        self, end_user: EndUser, request: AnyLinkRequest, *, actor: str | None = None
    ) -> str:
        """Mint a link that is valid for a year. It is never cached."""
        link = await self._call_kombo(end_user, request, link_type="MAGIC_LINK")
        key = CacheKey(self._environment, end_user, request, self._account)
        await self._store.save_minted_link(
            key, MAGIC_LINK_LIFETIME_SECONDS, link_type="MAGIC_LINK", actor=actor
        )
        return link

    async def _issue_checked(
        self, key: CacheKey, before_mint: BeforeMint | None, *, fresh: bool, prefetch: bool
    ) -> IssuedLink:
        if before_mint is None:
            return await self._issue_minted(key, fresh=fresh, prefetch=prefetch)
        try:
            await self._rate.check(key.end_user)
        except RateLimited:
            # Only the mint of another request, if one is running, can still give a link.
            issued = await self._issue_minted(key, fresh=fresh, prefetch=prefetch)
            await before_mint()
            return issued
        await before_mint()
        return await self._issue_minted(key, fresh=fresh, prefetch=prefetch)

    async def _issue_minted(self, key: CacheKey, *, fresh: bool, prefetch: bool) -> IssuedLink:
        def mint() -> Coroutine[Any, Any, Minted]:
            return self._mint(key, fresh=fresh, prefetch=prefetch)

        try:
            (link, status), joined = await self._mints.join(key, mint)
        except (KomboRateLimited, KomboUnavailable, KomboTimeout):
            cached = None if fresh else await self._cache.get(key)  # it may have been invalidated meanwhile
            if cached is not None and self._remaining_seconds(cached) > 0:
                return self._issued(cached, CacheStatus.STALE)
            raise
        return self._issued(link, CacheStatus.COLLAPSED if joined else status)

    async def _mint(self, key: CacheKey, *, fresh: bool, prefetch: bool) -> Minted:
        async with self._cache.lease(key, fresh=fresh) as lease:
            if lease.link is not None:
                return lease.link, CacheStatus.COLLAPSED
            await self._rate.spend(key.end_user)
            for _ in range(MINTS_PER_LEASE):
                link = await self._mint_once(key, prefetch=prefetch)
                if await lease.put(link):
                    return link, CacheStatus.STORED
            return link, CacheStatus.PASSED

    async def _mint_once(self, key: CacheKey, *, prefetch: bool) -> ConnectionLink:
        # Both times are taken before the call, so that the link never seems to live longer than it does.
        started_at, deadline = self._clock.time(), self._clock.monotonic() + self._lifetime_seconds
        url = await self._call_kombo(key.end_user, key.request)
        row_id = await self._store.save_minted_link(key, self._lifetime_seconds, watch=not prefetch)
        expires_at = datetime.fromtimestamp(started_at, UTC) + timedelta(seconds=self._lifetime_seconds)
        return ConnectionLink.minted(
            url, expires_at=expires_at, deadline=deadline, prefetched_row_id=row_id if prefetch else None
        )

    async def _call_kombo(
        self, end_user: EndUser, request: AnyLinkRequest, *, link_type: LinkType = "EMBEDDED"
    ) -> str:
        about = ABOUT_MAGIC_LINKS if link_type == "MAGIC_LINK" else ABOUT_LINKS[type(request)]
        with self._telemetry.operation("mint", about):
            return await self._client.mint_link(end_user, request, link_type=link_type)

    def _issued(self, link: ConnectionLink, status: CacheStatus) -> IssuedLink:
        return IssuedLink(link, status, self._remaining_seconds(link))

    def _remaining_seconds(self, link: ConnectionLink) -> float:
        return link.deadline - self._clock.monotonic()
