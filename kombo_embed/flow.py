"""The connection flow: what should happen when a link is asked for, completed, or told of by Kombo.

No HTTP and no SQL here: identities come in resolved, events come in verified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import (
    ActivationRejected,
    FieldError,
    InvalidRequest,
    KomboRateLimited,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
)
from kombo_embed.kombo import protocol, webhooks
from kombo_embed.kombo.client import KomboClient
from kombo_embed.links.single_flight import SingleFlight
from kombo_embed.models import (
    CacheOutcome,
    Completion,
    ConnectionLink,
    EndUser,
    Integration,
    IssuedLink,
    LinkKey,
    LinkOptions,
    LinkRequest,
    ReportedIntegration,
    WebhookEvent,
)
from kombo_embed.ports import Clock, LinkCache, Store
from kombo_embed.settings import Settings

MINTS_PER_FLIGHT = 3  # a link dropped while it was minted is minted again, but not for ever


@dataclass(frozen=True, slots=True)
class Choice:
    """What the browser may choose about a link; None is left to the settings."""

    category: str | None = None
    tool: str | None = None
    language: str | None = None
    fresh: bool = False


class ConnectionFlow:
    """Issues links, completes flows, applies webhook events. Close it with `aclose`.

    Args:
        settings: What is allowed, and how long links live.
        client: Calls Kombo.
        cache: Where links wait.
        store: Where integrations stay.
        clock: Where time comes from.
        wake_hooks: Called after each commit that may have written an event for the host.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        client: KomboClient,
        cache: LinkCache,
        store: Store,
        clock: Clock,
        wake_hooks: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._cache = cache
        self._store = store
        self._clock = clock
        self._wake_hooks = wake_hooks
        self._mints: SingleFlight[LinkKey, tuple[ConnectionLink, bool]] = SingleFlight()
        self._completions: SingleFlight[tuple[str, str], Completion] = SingleFlight()

    async def aclose(self) -> None:
        """End the work that is still under way."""
        await self._mints.aclose()
        await self._completions.aclose()

    async def issue_link(self, end_user: EndUser, choice: Choice, options: LinkOptions) -> IssuedLink:
        """A link for this end user with at least the margin left: the cached one, or a new one.

        Raises:
            InvalidRequest: The choice is not allowed, or Kombo does not accept it.
            KomboError: Kombo refused, failed, or could not be reached, and no cached link can help out.
            StoreUnavailable: The mint could not be recorded.
        """
        key = LinkKey(self._settings.environment, end_user, self._link_request(choice, options))
        cached = await self._cache.get(key)
        if cached is not None and not choice.fresh and self._remaining(cached) >= self._settings.margin:
            return self._issued(cached, CacheOutcome.HIT)
        try:
            (link, kept), joined = await self._mints.join(key, lambda: self._mint(key))
        except (KomboRateLimited, KomboUnavailable, KomboTimeout):
            if cached is not None and not choice.fresh and self._remaining(cached) > 0:
                return self._issued(cached, CacheOutcome.STALE)
            raise
        except KomboRejected as error:
            raise _blamed_on(choice, error) from None
        if joined:
            return self._issued(link, CacheOutcome.COLLAPSED)
        return self._issued(link, CacheOutcome.STORED if kept else CacheOutcome.PASSED)

    async def complete(self, end_user: EndUser, activation_token: str) -> Completion:
        """Record the integration that the activation token stands for, if it is this end user's.

        Raises:
            InvalidRequest: The token cannot be one of Kombo's.
            ActivationRejected: Kombo does not know the token, or its integration is another origin id's.
            KomboError: Kombo failed, refused our key, or could not be reached.
            StoreUnavailable: The record could not be written; the same call later is right.
        """
        flight = (end_user.origin_id, activation_token)
        completion, joined = await self._completions.join(flight, lambda: self._complete(*flight))
        return Completion(completion.integration, first=completion.first and not joined)

    async def apply_event(self, event: WebhookEvent) -> None:
        """Keep a verified event, once, and record what it tells.

        Raises:
            InvalidRequest: The event lacks what its type must have.
            StoreUnavailable: It could not be written; Kombo should send it again.
        """
        created = webhooks.read_created(event)
        await self._store.save_event(event, created)
        self._wake_hooks()
        if created is not None and created.origin_id is not None:
            await self._cache.drop(self._settings.environment, created.origin_id)

    async def integrations(self, origin_id: str) -> list[Integration]:
        """The integrations recorded against an origin id, oldest first."""
        return await self._store.find_integrations(origin_id)

    def _link_request(self, choice: Choice, options: LinkOptions) -> LinkRequest:
        settings = self._settings
        category = choice.category or settings.integration_category
        tool = choice.tool
        if tool is None and len(settings.allowed_tools) == 1:
            tool = settings.allowed_tools[0]
        errors = []
        if settings.allowed_categories and category not in settings.allowed_categories:
            allowed = ", ".join(settings.allowed_categories)
            errors.append(FieldError("integration_category", f"must be one of {allowed}"))
        if settings.allowed_tools and tool not in settings.allowed_tools:
            # Without a tool the end user could choose any on Kombo's page.
            errors.append(
                FieldError("integration_tool", f"must be one of {', '.join(settings.allowed_tools)}")
            )
        if errors:
            raise InvalidRequest("This is not offered here.", *errors)
        return LinkRequest(category, choice.language or settings.language, tool, options)

    async def _mint(self, key: LinkKey) -> tuple[ConnectionLink, bool]:
        for _ in range(MINTS_PER_FLIGHT):
            mark = self._cache.mark()
            asked_at, deadline = self._clock.time(), self._clock.monotonic() + self._settings.lifetime
            url = await self._client.create_link(key.end_user, key.request)
            expires_at = datetime.fromtimestamp(asked_at, UTC) + timedelta(seconds=self._settings.lifetime)
            link = ConnectionLink(url, expires_at, deadline)
            await self._store.save_link_minted(key, self._settings.lifetime)
            if await self._cache.keep(key, link, mark):
                return link, True
        return link, False

    async def _complete(self, origin_id: str, activation_token: str) -> Completion:
        known = await self._store.find_completed(activation_token)
        if known is not None:
            if known.origin_id != origin_id:
                raise _not_theirs()
            return Completion(known, first=False)
        reported = await self._client.integration_by_token(activation_token)
        if not _belongs_to(reported, origin_id):
            await self._keep_for_its_owner(reported, activation_token)
            raise _not_theirs()
        return await self._record(reported, activation_token, origin_id)

    async def _keep_for_its_owner(self, reported: ReportedIntegration, activation_token: str) -> None:
        """Kombo lists no integrations, so one that we were told of is kept, under whom Kombo names."""
        owner = reported.origin_id
        if owner is not None and await self._store.has_minted_for(owner):
            await self._record(reported, activation_token, owner)

    async def _record(
        self, reported: ReportedIntegration, activation_token: str, origin_id: str
    ) -> Completion:
        completion = await self._store.save_completion(
            reported, activation_token=activation_token, recorded_for=origin_id
        )
        self._wake_hooks()
        await self._cache.drop(self._settings.environment, origin_id)
        return completion

    def _issued(self, link: ConnectionLink, outcome: CacheOutcome) -> IssuedLink:
        return IssuedLink(link, outcome, self._remaining(link))

    def _remaining(self, link: ConnectionLink) -> float:
        return link.deadline - self._clock.monotonic()


def _belongs_to(reported: ReportedIntegration, origin_id: str) -> bool:
    """Whether Kombo names exactly this origin id: a genuine token may still be somebody else's."""
    return reported.origin_id is not None and reported.origin_id == origin_id


def _not_theirs() -> ActivationRejected:
    return ActivationRejected("Kombo does not accept this activation token.")


def _blamed_on(choice: Choice, error: KomboRejected) -> KomboRejected | InvalidRequest:
    """Kombo's refusal, told as the browser's mistake where the browser chose something."""
    chosen = {
        "integration_category": choice.category,
        "integration_tool": choice.tool,
        "language": choice.language,
    }
    errors = [FieldError(name, "Kombo does not accept it") for name, value in chosen.items() if value]
    if error.kombo_code == protocol.INPUT_INVALID and errors:
        return InvalidRequest("Kombo does not accept what was chosen.", *errors)
    return error
