"""Issues links: the cached one while enough of its hour is left, else a new one, minted once for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import KomboRateLimited, KomboTimeout, KomboUnavailable
from kombo_embed.kombo.client import KomboClient
from kombo_embed.links.drop_watch import DropWatch
from kombo_embed.links.single_flight import SingleFlight
from kombo_embed.models import (
    AnyLinkRequest,
    CacheOutcome,
    ConnectionLink,
    EndUser,
    IssuedLink,
    LinkKey,
    LinkRequest,
)
from kombo_embed.ports import Clock, LinkCache, RateLimiter, Store
from kombo_embed.settings import Settings

MAGIC_LINK_LIFETIME = 365 * 24 * 3600  # seconds (Kombo: "Create connection link", link_type)
MINTS_PER_FLIGHT = 3  # a link dropped while it was minted is minted again, but not for ever


class LinkIssuer:
    """Gives links to browsers, and forgets them. Close it with `aclose`.

    Args:
        settings: How long links live, and for which environment.
        client: Calls Kombo.
        cache: Where links wait.
        store: Where it is written down for whom links were minted.
        rate: How often each end user may have a link minted; a cached one costs nothing.
        drops: Tells the cache which links ended.
        clock: Where time comes from.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        client: KomboClient,
        cache: LinkCache,
        store: Store,
        rate: RateLimiter,
        drops: DropWatch,
        clock: Clock,
    ) -> None:
        self._environment = settings.environment
        self._lifetime = settings.lifetime
        self._margin = settings.margin
        self._client = client
        self._cache = cache
        self._store = store
        self._rate = rate
        self._drops = drops
        self._clock = clock
        self._mints: SingleFlight[LinkKey, tuple[ConnectionLink, CacheOutcome]] = SingleFlight()

    async def aclose(self) -> None:
        """End the mints that are still under way."""
        await self._mints.aclose()

    async def issue(
        self,
        end_user: EndUser,
        request: AnyLinkRequest,
        *,
        fresh: bool,
        before_mint: Callable[[], Awaitable[None]] | None = None,
    ) -> IssuedLink:
        """A link with at least the margin left; below it, only while Kombo cannot be reached.

        Args:
            end_user: Whose link.
            request: For what.
            fresh: Replace the cached link; a mint that runs already will do.
            before_mint: Called where no cached link will do; what it raises is passed on.

        Raises:
            RateLimited: The end user has had too many links minted.
            KomboError: Kombo refused, failed, or could not be reached, and no cached link can help out.
            StoreUnavailable: The mint could not be recorded.
        """
        key = LinkKey(self._environment, end_user, request)
        cached = None if fresh else await self._cache.get(key)
        if cached is not None:
            remaining = cached.deadline - self._clock.monotonic()
            if remaining >= self._margin:
                return IssuedLink(cached, CacheOutcome.HIT, remaining)
        if before_mint is not None:
            await before_mint()
        try:
            (link, outcome), joined = await self._mints.join(key, lambda: self._mint(key, fresh=fresh))
        except (KomboRateLimited, KomboUnavailable, KomboTimeout):
            cached = await self._cache.get(key)  # it may have been dropped meanwhile
            if cached is not None and not fresh and self._remaining(cached) > 0:
                return self._issued(cached, CacheOutcome.STALE)
            raise
        return self._issued(link, CacheOutcome.COLLAPSED if joined else outcome)

    async def mint_magic_link(self, end_user: EndUser, request: LinkRequest) -> str:
        """A new link that is valid for a year; it is never cached.

        Raises:
            KomboError: Kombo refused, failed, or could not be reached.
            StoreUnavailable: The mint could not be recorded.
        """
        link = await self._client.mint_link(end_user, request, link_type="MAGIC_LINK")
        key = LinkKey(self._environment, end_user, request)
        await self._store.save_link_minted(key, MAGIC_LINK_LIFETIME, link_type="MAGIC_LINK")
        return link

    async def drop(self, origin_id: str) -> None:
        """Forget all links of an origin id, also those that are being minted at this moment.

        To be called after the transaction that ended them.
        """
        await self._drops.apply(origin_id)

    async def _mint(self, key: LinkKey, *, fresh: bool) -> tuple[ConnectionLink, CacheOutcome]:
        async with self._cache.turn(key, fresh=fresh) as turn:
            if turn.found is not None:
                return turn.found, CacheOutcome.COLLAPSED
            await self._rate.spend(key.end_user)
            for _ in range(MINTS_PER_FLIGHT):
                link = await self._ask(key)
                if await turn.keep(link):
                    return link, CacheOutcome.STORED
            return link, CacheOutcome.PASSED

    async def _ask(self, key: LinkKey) -> ConnectionLink:
        lifetime = self._lifetime
        asked_at, deadline = self._clock.time(), self._clock.monotonic() + lifetime
        url = await self._client.mint_link(key.end_user, key.request)
        await self._store.save_link_minted(key, lifetime)
        expires_at = datetime.fromtimestamp(asked_at, UTC) + timedelta(seconds=lifetime)
        return ConnectionLink.minted(url, expires_at=expires_at, deadline=deadline)

    def _issued(self, link: ConnectionLink, outcome: CacheOutcome) -> IssuedLink:
        return IssuedLink(link, outcome, self._remaining(link))

    def _remaining(self, link: ConnectionLink) -> float:
        return link.deadline - self._clock.monotonic()
