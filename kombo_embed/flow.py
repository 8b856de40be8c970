"""The connection flow: what should happen when a link is asked for, completed, or told of by Kombo.

No HTTP and no SQL here: identities come in resolved, events come in verified.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable

from kombo_embed.choice import Choice, blamed_on, choose
from kombo_embed.errors import (
    ActivationRejected,
    AlreadyConnected,
    Forbidden,
    IntegrationNotFound,
    InvalidRequest,
    KomboEmbedError,
    KomboRejected,
    SetupNotAvailable,
)
from kombo_embed.issuing import LinkIssuer
from kombo_embed.kombo import failures, webhooks
from kombo_embed.kombo.client import KomboClient
from kombo_embed.links.single_flight import SingleFlight
from kombo_embed.models import (
    Completion,
    EndUser,
    Integration,
    IssuedLink,
    LinkOptions,
    LinkRequest,
    RelinkRequest,
    SetupRequest,
)
from kombo_embed.ports import RateLimiter, Store
from kombo_embed.redeliveries import Redeliveries
from kombo_embed.reports import ReportedIntegration
from kombo_embed.settings import Settings

logger = logging.getLogger("kombo_embed.flow")

LOOKS_AFTER_REJECTION = (0.1, 0.2, 0.4, 0.8)  # seconds between looks for what another process records
CHOICES_KEPT = 128


class ConnectionFlow:
    """Issues links, completes flows, applies webhook events. Close it with `aclose`.

    Args:
        settings: What is allowed.
        client: Calls Kombo.
        links: Issues and drops links.
        store: Where integrations stay.
        completion_rate: How often each end user may complete.
        redeliveries: Events of Kombo's that are recorded already.
        wake_hooks: Called after each commit that may have written an event for the host.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        client: KomboClient,
        links: LinkIssuer,
        store: Store,
        completion_rate: RateLimiter,
        redeliveries: Redeliveries,
        wake_hooks: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._links = links
        self._store = store
        self._completion_rate = completion_rate
        self._redeliveries = redeliveries
        self._wake_hooks = wake_hooks
        # Most ask for the same: what is asked for again is not put together and checked again.
        self._choose = functools.lru_cache(CHOICES_KEPT)(functools.partial(choose, settings))
        self._completions: SingleFlight[tuple[str, str], Completion] = SingleFlight()
        self._refreshing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """End the work that is still under way."""
        await self._completions.aclose()
        for refreshing in self._refreshing:
            refreshing.cancel()
        await asyncio.gather(*self._refreshing, return_exceptions=True)

    async def issue_link(self, end_user: EndUser, choice: Choice, options: LinkOptions) -> IssuedLink:
        """A link for this end user with at least the margin left: the cached one, or a new one.

        Raises:
            InvalidRequest: The choice is not allowed, or Kombo does not accept it.
            AlreadyConnected: The end user's organisation has this tool already, and may not have it twice.
            RateLimited: The end user has had too many links minted.
            KomboError: Kombo refused, failed, or could not be reached, and no cached link can help out.
            StoreUnavailable: The mint could not be recorded.
        """
        request = self._choose(choice, options)
        try:
            return await self._links.issue(
                end_user,
                request,
                fresh=choice.fresh,
                before_mint=lambda: self._refuse_duplicate(end_user, request, options),
            )
        except KomboRejected as error:
            raise blamed_on(choice, error) from None

    async def issue_relink(
        self, end_user: EndUser, public_id: str, choice: Choice, options: LinkOptions
    ) -> IssuedLink:
        """A link to renew the credentials of one of the end user's integrations.

        Raises:
            IntegrationNotFound: There is no such integration, or it is another origin id's.
            RateLimited: As for `issue_link`.
            KomboError: As for `issue_link`.
            StoreUnavailable: As for `issue_link`.
        """
        integration = await self.integration(end_user, public_id)
        language = choice.language or self._settings.language
        request = RelinkRequest(integration.integration_id, language, options.scope_config_id)
        try:
            return await self._links.issue(end_user, request, fresh=choice.fresh)
        except KomboRejected as error:
            if error.kombo_code == failures.NOT_FOUND:
                raise _not_found() from None
            raise blamed_on(choice, error) from None

    async def issue_setup_link(self, end_user: EndUser, public_id: str, choice: Choice) -> IssuedLink:
        """A link to what is left to set up of one of the end user's integrations.

        Raises:
            IntegrationNotFound: There is no such integration, or it is another origin id's.
            SetupNotAvailable: Nothing is left to set up.
            RateLimited: As for `issue_link`.
            KomboError: As for `issue_link`.
            StoreUnavailable: As for `issue_link`.
        """
        integration = await self.integration(end_user, public_id)
        request = SetupRequest(integration.integration_id, choice.language or self._settings.language)
        try:
            return await self._links.issue(end_user, request, fresh=choice.fresh)
        except KomboRejected as error:
            if error.kombo_code == failures.NOT_FOUND:
                raise _not_found() from None
            if error.kombo_code == failures.INPUT_INVALID:
                raise SetupNotAvailable("Kombo has no setup step for this integration.") from None
            raise

    async def magic_link(self, end_user: EndUser, choice: Choice, options: LinkOptions) -> str:
        """Mint a link that is valid for a year, to be sent to a customer. It is never cached.

        Raises:
            InvalidRequest: The choice is not allowed, or Kombo does not accept it.
            AlreadyConnected: The end user's organisation has this tool already, and may not have it twice.
            KomboError: Kombo refused, failed, or could not be reached.
            StoreUnavailable: The mint could not be recorded.
        """
        request = self._choose(choice, options)
        await self._refuse_duplicate(end_user, request, options)
        try:
            return await self._links.mint_magic_link(end_user, request)
        except KomboRejected as error:
            raise blamed_on(choice, error) from None

    async def complete(self, end_user: EndUser, activation_token: str) -> Completion:
        """Record the integration that the activation token stands for, if it is this end user's.

        Raises:
            RateLimited: The end user completes too often.
            InvalidRequest: The token cannot be one of Kombo's.
            ActivationRejected: Kombo does not know the token, or its integration is another origin id's.
            KomboError: Kombo failed, refused our key, or could not be reached.
            StoreUnavailable: The record could not be written; the same call later is right.
        """
        await self._completion_rate.spend(end_user)
        flight = (end_user.origin_id, activation_token)
        completion, joined = await self._completions.join(flight, lambda: self._complete(*flight))
        return Completion(completion.integration, first=completion.first and not joined)

    async def apply_webhook(self, body: bytes) -> None:
        """Keep the event in a verified body, once, and record what it tells.

        Raises:
            InvalidRequest: The body is no event, or lacks what its type must have; it was kept all the same.
            StoreUnavailable: It could not be written; Kombo should send it again.
        """
        try:
            event = webhooks.read_event(body)
            if event.event_id in self._redeliveries:
                return
            report = webhooks.read_report(event)
        except InvalidRequest as error:
            reason = "; ".join(f"{item.field}: {item.reason}" for item in error.errors)
            logger.warning("webhook.malformed: %s", reason)
            await self._store.save_malformed_event(body, reason=reason)
            raise
        origin_id = await self._store.save_event(event, report)
        self._wake_hooks()
        if origin_id is not None:
            await self._links.drop(origin_id)
        self._redeliveries.add(event.event_id)

    async def disconnect(self, end_user: EndUser, public_id: str) -> None:
        """Delete one of the end user's integrations, at Kombo too. It cannot be undone.

        Raises:
            Forbidden: ``KOMBO_ALLOW_DISCONNECT`` is off.
            IntegrationNotFound: There is no such integration, or it is another origin id's.
            KomboError: Kombo refused, failed, or could not be reached; nothing was deleted here.
            StoreUnavailable: It is deleted at Kombo, but not marked here; the same call later is right.
        """
        if not self._settings.allow_disconnect:
            raise Forbidden("Integrations cannot be deleted here.")
        integration = await self.integration(end_user, public_id)
        try:
            await self._client.delete_integration(integration.integration_id)
        except KomboRejected as error:
            if error.kombo_code != failures.NOT_FOUND:
                raise
        await self._store.save_deleted(integration)
        self._wake_hooks()
        await self._links.drop(end_user.origin_id)

    async def integration(self, end_user: EndUser, public_id: str) -> Integration:
        """One of the end user's integrations, by its public id.

        Raises:
            IntegrationNotFound: There is no such integration, or it is another origin id's.
        """
        integration = await self._store.find_public(public_id, end_user.origin_id)
        if integration is None:
            raise _not_found()
        return integration

    async def integrations(self, origin_id: str) -> list[Integration]:
        """The integrations recorded against an origin id, oldest first."""
        return await self._store.find_integrations(origin_id)

    async def _refuse_duplicate(self, end_user: EndUser, request: LinkRequest, options: LinkOptions) -> None:
        """Kombo does not deduplicate. Where no tool is preset, `integration.duplicate` tells afterwards."""
        if request.tool is None or options.duplicates == "allow":
            return
        alike = [
            integration
            for integration in await self._store.find_integrations(end_user.origin_id)
            if integration.tool == request.tool and integration.category in (None, request.category)
        ]
        if alike:
            # The one that is surely the same, and among those the one that waits to be reconnected.
            chosen = min(alike, key=lambda one: (one.category is None, one.next_action != "reconnect"))
            raise AlreadyConnected(
                f"{request.tool} is connected already. Reconnect it instead.",
                integration=chosen,
            )

    async def _complete(self, origin_id: str, activation_token: str) -> Completion:
        known = await self._store.find_completed(activation_token)
        if known is not None:
            if known.origin_id != origin_id:
                raise _not_theirs()
            # Again, since whoever recorded it may have crashed before the links were dropped, or not have got
            # the details; a state that a webhook told does not mean that Kombo has named the category.
            await self._follow_up(known)
            return Completion(known, first=False)
        try:
            reported = await self._client.integration_by_token(activation_token)
        except ActivationRejected:
            known = await self._completed_elsewhere(origin_id, activation_token)
            if known is None or known.origin_id != origin_id:
                raise
            return Completion(known, first=False)
        if not _belongs_to(reported, origin_id):
            await self._keep_for_its_owner(reported, activation_token)
            raise _not_theirs()
        completion = await self._record(reported, activation_token, origin_id)
        if completion.integration.origin_id != origin_id:
            raise _not_theirs()  # it is on record as another's, since before Kombo said this
        return completion

    async def _completed_elsewhere(self, origin_id: str, activation_token: str) -> Integration | None:
        """Perhaps a token can be used once only, and another process has just used it, or is about to."""
        known = await self._store.find_completed(activation_token)
        if known is None and await self._store.has_minted_for(origin_id):
            for pause in LOOKS_AFTER_REJECTION:
                await asyncio.sleep(pause)
                known = await self._store.find_completed(activation_token)
                if known is not None:
                    break
        return known

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
        if completion is None:
            raise _not_theirs()  # deleted already, and stays so
        await self._follow_up(completion.integration)
        return completion

    async def _follow_up(self, integration: Integration) -> None:
        self._wake_hooks()
        if integration.origin_id is not None:
            await self._links.drop(integration.origin_id)
        refreshing = asyncio.get_running_loop().create_task(self._refresh(integration))
        self._refreshing.add(refreshing)
        refreshing.add_done_callback(self._refreshing.discard)

    async def _refresh(self, integration: Integration) -> None:
        """Ask for what the exchange of a token does not tell: category and status. It may fail."""
        try:
            details = await self._client.integration_details(integration.integration_id)
            await self._store.save_details(details, states_unless_changed_since=integration.updated_at)
        except KomboEmbedError as error:
            logger.info("details.missing: %s", error.code)
        else:
            self._wake_hooks()


def _belongs_to(reported: ReportedIntegration, origin_id: str) -> bool:
    """Whether Kombo names exactly this origin id: a genuine token may still be somebody else's."""
    return reported.origin_id is not None and reported.origin_id == origin_id


def _not_found() -> IntegrationNotFound:
    return IntegrationNotFound("There is no such integration.")


def _not_theirs() -> ActivationRejected:
    return ActivationRejected("Kombo does not accept this activation token.")
