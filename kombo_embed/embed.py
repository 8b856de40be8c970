"""`KomboEmbed`, the object that a host mounts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed import ports
from kombo_embed.deliveries import HandlerRegistration
from kombo_embed.errors import ConfigurationError, KomboEmbedError
from kombo_embed.integration import Erasure, Integration, Reconciliation
from kombo_embed.lifetime import Lifetime
from kombo_embed.middleware import EmbedApp, EmbedMount, KomboEmbedMiddleware
from kombo_embed.models import EndUser, LinkOptions, is_origin_id

if TYPE_CHECKING:
    import httpx

    from kombo_embed.settings import Settings
    from kombo_embed.web.endpoints import Services

logger = logging.getLogger("kombo_embed")

EMBEDS: WeakSet[KomboEmbed] = WeakSet()  # of this process, for the pytest plugin


class KomboEmbed(HandlerRegistration):
    """Gives signed-in end users connection links and records what they connect.

    The constructor reads nothing and opens nothing, so importing your app always works. Settings are read
    when the host starts; invalid settings stop that start.

    Args:
        end_user: An async or plain callable from the request to the signed-in `EndUser`, or to None if the
            request is not signed in. It may raise Starlette's ``HTTPException``, for example 403. Without it,
            ``KOMBO_AUTH`` decides where the end user comes from.
        link_options: An async or plain callable from the request and the end user to `LinkOptions`.
        settings: Settings, or a callable that reads them at the start; by default ``Settings()``.
        http_transport: An httpx transport that replaces the network, for tests.
        clock: The source of time, an object with ``time()`` and ``monotonic()``.
        link_cache: A link cache of your own, instead of Redis (``KOMBO_REDIS_URL``) or process memory.
    """

    def __init__(
        self,
        *,
        end_user: ports.EndUserCallable | None = None,
        link_options: ports.LinkOptionsCallable | None = None,
        settings: Settings | Callable[[], Settings] | None = None,
        http_transport: httpx.AsyncBaseTransport | None = None,
        clock: ports.Clock | None = None,
        link_cache: ports.LinkCache | None = None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._collaborators = ports.Collaborators(
            end_user=end_user,
            link_options=link_options,
            http_transport=http_transport,
            clock=clock,
            link_cache=link_cache,
        )
        self._lifetime: Lifetime[tuple[Services, ASGIApp]] = Lifetime(self._open_all)
        self._allowed_origins: tuple[str, ...] = ()
        EMBEDS.add(self)
        self._app = EmbedApp(self, self._serve)

    def install(self, app: Starlette, path: str | None = None) -> None:
        """Add the middleware and the routes to a Starlette or FastAPI app.

        The routes are inserted before the app's own, so a catch-all route does not shadow them. Without
        ``path`` they are mounted at ``KOMBO_MOUNT_PATH``.

        Raises:
            ConfigurationError: The app already has a mount at this path.
        """
        from kombo_embed.settings import read_mount_path  # noqa: PLC0415 - as in _open_all

        mount = EmbedMount(path or read_mount_path(self._settings), app=self.app)
        if any(isinstance(route, Mount) and route.path == mount.path for route in app.router.routes):
            raise ConfigurationError(
                f"This app already has a mount at {mount.path}. Give this KomboEmbed a MOUNT_PATH of its own "
                "(or install(app, path=...)), and an ENVIRONMENT of its own."
            )
        app.add_middleware(KomboEmbedMiddleware, embed=self)
        # A mount does not match its own path: the host would redirect to a URL built from the Host header.
        bare = [Route(mount.path, self.app)] if mount.path else []
        app.router.routes[:0] = [mount, *bare]

    @property
    def app(self) -> ASGIApp:
        """The routes as an ASGI app, to mount by hand or to run by a server."""
        return self._app

    def routes(self) -> list[Route]:
        """Return the routes one by one, for a router of your own."""
        from kombo_embed.web.routes import create_routes  # noqa: PLC0415 - heavy, needed only here

        return create_routes(self.services)

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
        if "\x00" in integration_id:
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

    async def open(self) -> None:
        """Read the settings and open everything, as the middleware does; or use ``async with embed``.

        Raises:
            ConfigurationError: Settings are missing or invalid.
            StoreUnavailable: The database cannot be opened.
        """
        await self._lifetime.open()

    async def close(self) -> None:
        """Close everything. The embed can be opened again."""
        await self._lifetime.close()

    async def shut_down(self) -> None:
        """Close everything and reject later requests. Private: called by the middleware."""
        await self._lifetime.shut_down()

    async def services(self) -> Services:
        """Open the embed if necessary and return what its endpoints work with; raise as `open`. Private."""
        try:
            return (await self._lifetime.ensure_open())[0]
        except KomboEmbedError as error:
            self._log_failed_start(error)
            raise

    async def run_due(self) -> bool:
        """Do the background work that is due; return whether some is left. Private: for `kombo.settle`."""
        opened = self._lifetime.opened
        return opened is not None and await opened[0].run_due()

    def calls_kombo_over(self, transport: httpx.AsyncBaseTransport) -> bool:
        """Return whether this is the embed's connection to Kombo. Private: as above."""
        return self._collaborators.http_transport is transport

    def resolve_in_router(self) -> None:
        """Allow a start without ``end_user``: a router of the host's resolves it. Private."""
        self._collaborators = replace(self._collaborators, end_user_from_router=True)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _, app = await self._lifetime.ensure_open()
        except KomboEmbedError as error:
            from kombo_embed.web import cors, problems  # noqa: PLC0415 - heavy, and only for errors

            self._log_failed_start(error)
            app = cors.allow_origins(problems.problem_response(error), self._allowed_origins)
        await app(scope, receive, send)

    async def _open_all(self, stack: AsyncExitStack) -> tuple[Services, ASGIApp]:
        from kombo_embed.composition import open_services  # noqa: PLC0415 - heavy, needed from the start on
        from kombo_embed.settings import read_settings  # noqa: PLC0415 - as above
        from kombo_embed.web.app import create_app  # noqa: PLC0415 - as above

        settings = read_settings(self._settings)
        self._allowed_origins = settings.allowed_origins
        services = await stack.enter_async_context(
            open_services(settings, self._collaborators, self._handlers)
        )
        return services, create_app(services)

    def _log_failed_start(self, error: KomboEmbedError) -> None:
        if not self._lifetime.has_shut_down:
            logger.error("start.failed", extra={"error_code": error.code, "reason": str(error)})
