"""The methods of `KomboEmbed` for host code: reading integrations, magic links, reconciliation, erasure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from kombo_embed.integration import Erasure, Integration, Reconciliation
from kombo_embed.models import EndUser, LinkOptions, is_origin_id, is_storable

if TYPE_CHECKING:
    from kombo_embed.web.endpoints import Services


class HostMethods(ABC):
    """What host code calls. Each opens the embed if necessary, and raises as `open` if that fails."""

    @abstractmethod
    async def services(self) -> Services:
        """Return what the methods work with. Private."""

    async def integrations(self, origin_id: str) -> list[Integration]:
        """Return the integrations of one of your customers, oldest first.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        # No end user has any other, and the database would replace what it cannot store.
        return await (await self.services()).flow.integrations(origin_id) if is_origin_id(origin_id) else []

    async def integration(self, integration_id: str) -> Integration | None:
        """Return one integration by Kombo's id, or None if it is not recorded.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        if not is_storable(integration_id):
            return None  # as above
        return await (await self.services()).store.find_integration(integration_id)

    async def magic_link(
        self,
        end_user: EndUser,
        *,
        category: str | None = None,
        tool: str | None = None,
        language: str | None = None,
        options: LinkOptions | None = None,
        actor: str | None = None,
    ) -> str:
        """Mint a link that is valid for a year, to send to a customer. The link is a credential.

        What its recipient connects is recorded from Kombo's webhook. The settings fill in omitted arguments.
        ``actor`` names who has it minted, for the audit trail.

        Raises:
            InvalidRequest: The settings do not allow the category or tool, or Kombo does not accept it.
            KomboError: Kombo refused, failed, or could not be reached.
            StoreUnavailable: The mint could not be recorded.
        """
        from kombo_embed.core.link_request import LinkChoice  # noqa: PLC0415 - heavy, loaded at the start

        services = await self.services()
        merged = (options or LinkOptions()).over(services.default_link_options)
        choice = LinkChoice(category, tool, language)
        return await services.flow.mint_magic_link(end_user, choice, merged, actor=actor)

    async def reconcile(
        self, on_progress: Callable[[int], None] | None = None, *, delete_all_unknown: bool = False
    ) -> Reconciliation:
        """Re-read every recorded integration from Kombo, to repair what lost webhooks missed.

        Changes are recorded and raise events as if a webhook had reported them. A status that changes during
        the run is not touched. If Kombo rate-limits, the run waits, up to 300 s in total.

        ``on_progress`` is called with the number of integrations read so far. ``delete_all_unknown`` also
        deletes when Kombo recognizes *none* of the integrations. By default this counts as a failure
        (``all_not_found``), because it usually means that the API key belongs to another environment.

        Raises:
            StoreUnavailable: The database cannot be used; what was read before is recorded.
        """
        reconciler = (await self.services()).reconciler
        return await reconciler.run(on_progress, delete_all_unknown=delete_all_unknown)

    async def erase(
        self, origin_id: str, *, at_kombo: bool = False, dry_run: bool = False, actor: str | None = None
    ) -> Erasure:
        """Erase the personal data of one of your customers, and invalidate their links; return the counts.

        Their names, emails, integrations, received bodies and events are removed, events that wait for your
        handlers included. Late reports of Kombo's bring nothing back; a completion by the customer's own end
        user starts anew. It takes some seconds, changes nothing when it is repeated, and continues an erasure
        that was interrupted.

        With ``at_kombo``, the integrations are deleted at Kombo, too, which is final; the result names those
        that failed. ``dry_run`` only counts. ``actor`` names who wants it, for the audit trail.

        Raises:
            StoreUnavailable: The database cannot be used. Call it again.
        """
        if not is_origin_id(origin_id):
            return Erasure(rows={}, dry_run=dry_run)  # no end user has it, as above
        eraser = (await self.services()).eraser
        if dry_run:
            return await eraser.preview(origin_id)
        return await eraser.erase(origin_id, at_kombo=at_kombo, actor=actor)
