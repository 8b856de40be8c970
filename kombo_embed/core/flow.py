"""The connection flow: issuing links, completing, applying webhooks, disconnecting.

No HTTP and no SQL here: the end user is already known, and webhook signatures are already verified.
"""

from __future__ import annotations

import logging
from datetime import datetime

from kombo_embed import errors, upstream
from kombo_embed.core.completions import Completions, Wake
from kombo_embed.core.customer_calls import CustomerCalls
from kombo_embed.core.link_request import LinkChoice, as_invalid_request, build_link_request
from kombo_embed.core.links import LinkIssuer
from kombo_embed.core.records import RecordStore
from kombo_embed.integration import Completion, Integration, IntegrationPage, IntegrationQuery
from kombo_embed.kombo import responses, webhooks
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import EndUser, IssuedLink, LinkOptions, LinkRequest, RelinkRequest, SetupRequest
from kombo_embed.ports import RateLimiter
from kombo_embed.settings import Settings
from kombo_embed.upstream import ReportedIntegration, ReportedState

logger = logging.getLogger("kombo_embed.core")


class ConnectionFlow:
    """Issues links, completes flows, applies webhook events.

    ``deletion_rate`` limits how often each end user may delete an integration, or try to. Methods for a
    public id raise `IntegrationNotFound` if the integration does not exist or is another origin id's.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        client: KomboClient,
        links: LinkIssuer,
        store: RecordStore,
        completions: Completions,
        deletion_rate: RateLimiter,
        wake: Wake,
    ) -> None:
        self._settings = settings
        self._client = client
        self._links = links
        self._store = store
        self._completions = completions
        self._deletion_rate = deletion_rate
        self._deletion_calls = CustomerCalls()
        self._wake = wake

    async def issue_link(self, end_user: EndUser, choice: LinkChoice, options: LinkOptions) -> IssuedLink:
        """Return a connection link with at least the margin left: the cached one, or a new one.

        Raises `InvalidRequest` if the choice is not allowed or Kombo does not accept it, `AlreadyConnected`
        if the end user's organization has this tool and duplicates are not allowed, and what
        `LinkIssuer.issue` raises.
        """
        request = build_link_request(self._settings, choice, options)

        async def refuse_duplicate() -> None:
            await self._refuse_duplicate(end_user, request)

        is_checked = self._prevents_duplicate(request, options)
        try:
            return await self._links.issue(
                end_user,
                request,
                fresh=choice.fresh,
                prefetch=choice.prefetch,
                before_mint=refuse_duplicate if is_checked else None,
            )
        except errors.KomboRejected as error:
            raise as_invalid_request(choice, error) from None

    async def issue_relink(
        self, end_user: EndUser, public_id: str, choice: LinkChoice, options: LinkOptions
    ) -> IssuedLink:
        """Return a reconnection link, which renews the credentials of one of the end user's integrations."""
        await self._links.check_rate(end_user)
        integration = await self.integration(end_user, public_id)
        language = choice.language or self._settings.language
        request = RelinkRequest(integration.integration_id, language, options.scope_config_id)
        try:
            return await self._links.issue(end_user, request, fresh=choice.fresh)
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                raise _not_found() from None
            raise as_invalid_request(choice, error) from None

    async def issue_setup_link(self, end_user: EndUser, public_id: str, choice: LinkChoice) -> IssuedLink:
        """Return a link to the remaining setup steps of one of the end user's integrations.

        Raises `SetupNotAvailable` if there are none.
        """
        await self._links.check_rate(end_user)
        integration = await self.integration(end_user, public_id)
        request = SetupRequest(integration.integration_id, choice.language or self._settings.language)
        try:
            return await self._links.issue(end_user, request, fresh=choice.fresh)
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                raise _not_found() from None
            if error.kombo_code == responses.INPUT_INVALID:
                raise errors.SetupNotAvailable("There is nothing left to set up for this tool.") from None
            raise

    async def mint_magic_link(
        self, end_user: EndUser, choice: LinkChoice, options: LinkOptions, *, actor: str | None = None
    ) -> str:
        """Mint a link that is valid for a year. It is never cached. Raises as `issue_link`."""
        request = build_link_request(self._settings, choice, options)
        if self._prevents_duplicate(request, options):
            await self._refuse_duplicate(end_user, request)
        try:
            return await self._links.mint_magic_link(end_user, request, actor=actor)
        except errors.KomboRejected as error:
            raise as_invalid_request(choice, error) from None

    async def mint_repair_link(
        self, end_user: EndUser, integration: Integration, *, scope_config_id: str | None, actor: str
    ) -> str:
        """Mint a link that is valid for a year, to finish the setup of an integration, or to reconnect it.

        It is never cached. Raises as `issue_relink` and `issue_setup_link`.
        """
        about, language = integration.integration_id, self._settings.language
        is_setup = integration.next_action == "finish_setup"
        request = (
            SetupRequest(about, language) if is_setup else RelinkRequest(about, language, scope_config_id)
        )
        try:
            return await self._links.mint_magic_link(end_user, request, actor=actor)
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                raise _not_found() from None
            if is_setup and error.kombo_code == responses.INPUT_INVALID:
                raise errors.SetupNotAvailable("There is nothing left to set up for this tool.") from None
            raise

    async def complete(self, end_user: EndUser, activation_token: str) -> Completion:
        """Record the integration behind an activation token; see `Completions.complete`."""
        return await self._completions.complete(end_user, activation_token)

    async def apply_webhook(self, body: bytes) -> None:
        """Record the event in a verified body, once, and what it reports.

        Raises `InvalidRequest` if the body is not an event, or lacks a field of its type; it is stored as
        malformed. After `StoreUnavailable`, Kombo should send it again; also after `KomboError`, if it has to
        be asked when an integration of an erased customer was created.
        """
        try:
            event = webhooks.parse_event(body)
            report = webhooks.parse_report(event)
        except errors.InvalidRequest as error:
            reason = "; ".join(f"{item.field}: {item.reason}" for item in error.errors)
            logger.warning("webhook.malformed", extra={"reason": reason})
            await self._store.save_malformed_event(body, reason=reason)
            raise
        if not await self._store.save_event(event, report, unless_erased=True):
            await self._store.save_event(event, report, created_at=await self._find_creation(report))
        self._wake.dispatcher()
        if isinstance(report, ReportedIntegration | ReportedState):
            self._wake.details()

    async def _find_creation(self, report: upstream.Report | None) -> datetime | None:
        """Ask Kombo when a reported integration of an erased customer was created."""
        if not isinstance(report, upstream.ReportedIntegration) or report.origin_id is None:
            return None
        try:
            return (await self._client.integration_details(report.integration_id)).created_at
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                return None
            raise

    async def disconnect(self, end_user: EndUser, public_id: str) -> None:
        """Delete one of the end user's integrations, at Kombo too. This cannot be undone.

        Raises `Forbidden` if ``KOMBO_ALLOW_DISCONNECT`` is off, or `RateLimited`. After `KomboError`, nothing
        was deleted here. After `StoreUnavailable`, it is deleted at Kombo but not marked here; retrying the
        same call is safe.
        """
        if not self._settings.allow_disconnect:
            raise errors.Forbidden("Integrations cannot be deleted here.")
        await self._deletion_rate.spend(end_user)
        integration = await self.integration(end_user, public_id)
        try:
            async with self._deletion_calls.of(end_user.origin_id):
                await self._client.delete_integration(integration.integration_id)
        except errors.KomboRejected as error:
            if error.kombo_code != responses.NOT_FOUND:
                raise
        await self._store.save_deleted(integration, actor=end_user.email)
        self._wake.dispatcher()

    async def integration(self, end_user: EndUser, public_id: str) -> Integration:
        """Return one of the end user's integrations by its public id."""
        integration = await self._store.find_public(public_id, end_user.origin_id)
        if integration is None:
            raise _not_found()
        return integration

    async def list_integrations(self, end_user: EndUser, query: IntegrationQuery) -> IntegrationPage:
        """Return a page of the end user's integrations, oldest first.

        Raises `InvalidRequest` if no page of this organization's had the query's cursor.
        """
        page = await self._store.list_integrations(end_user.origin_id, query)
        if page is None:
            wrong = errors.FieldError("cursor", "is not the next_cursor of a page")
            raise errors.InvalidRequest("This cursor is not valid.", wrong)
        return page

    async def connected_tools(self, end_user: EndUser, category: str) -> set[str]:
        """Return the tools that the end user's organization has connected in a category."""
        return await self._store.connected_tools(end_user.origin_id, category)

    async def integrations(self, origin_id: str) -> list[Integration]:
        """Return the integrations recorded for an origin id, oldest first."""
        return await self._store.find_integrations(origin_id)

    def _prevents_duplicate(self, request: LinkRequest, options: LinkOptions) -> bool:
        """Return whether a second integration of the tool is refused: Kombo does not deduplicate them.

        Without a preset tool this cannot be known before the flow; `integration.duplicate` reports it after.
        """
        is_allowed = (options.duplicates or self._settings.duplicates) == "allow"
        return request.tool is not None and not is_allowed

    async def _refuse_duplicate(self, end_user: EndUser, request: LinkRequest) -> None:
        """Raise if the organization has this tool."""
        existing = await self._store.find_connected(
            end_user.origin_id, tool=request.tool or "", category=request.category
        )
        if existing is not None:
            name = existing.tool_label or request.tool
            message = f"{name} is already connected. Reconnect it instead."
            raise errors.AlreadyConnected(message, integration=existing)


def _not_found() -> errors.IntegrationNotFound:
    return errors.IntegrationNotFound("There is no such integration.")
