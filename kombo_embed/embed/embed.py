"""`KomboEmbed`: how a host creates, mounts, opens and closes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed import ports
from kombo_embed.clock import SystemClock
from kombo_embed.deliveries import HandlerRegistration
from kombo_embed.embed.host_methods import HostMethods
from kombo_embed.errors import ConfigurationError, KomboEmbedError
from kombo_embed.lifetime import Lifetime
from kombo_embed.middleware import EmbedApp, EmbedMount, KomboEmbedMiddleware, verify_path

if TYPE_CHECKING:
    import httpx

    from kombo_embed.console.access import Authorize
    from kombo_embed.console.desk import Desk
    from kombo_embed.settings import Settings
    from kombo_embed.web.endpoints import Services

logger = logging.getLogger("kombo_embed")

EMBEDS: WeakSet[KomboEmbed] = WeakSet()  # of this process, for the pytest plugin


class KomboEmbed(HandlerRegistration, HostMethods):
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
        self._desk: Desk | None = None
        EMBEDS.add(self)
        self._app = EmbedApp(self, self._serve)

    def install(self, app: Starlette, path: str | None = None) -> None:
        """Add the middleware and the routes to a Starlette or FastAPI app.

        The routes are inserted before the app's own, so a catch-all route does not shadow them. Without
        ``path`` they are mounted at ``KOMBO_MOUNT_PATH``.

        Raises:
            ConfigurationError: The app already has a mount at this path, or it does not begin with a slash.
        """
        from kombo_embed.settings import read_mount_path  # noqa: PLC0415 - as in _open_all

        mount = EmbedMount(verify_path(path or read_mount_path(self._settings)), app=self.app)
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

    def console(self, *, authorize: Authorize) -> ASGIApp:
        """Return the console, pages for your own support team, as an ASGI app to mount.

        ``authorize``, async or plain, returns the name of who makes the request if they may do the action,
        else None; then the response is 404. Actions are ``read``, ``link`` (mint a link for a customer) and
        ``replay`` (replay or resend events, read an integration again from Kombo). The name goes to the audit
        trail. It needs the extra ``console``.

        Raises:
            ConfigurationError: Jinja2, of the extra ``console``, is not installed.
        """
        try:
            from kombo_embed.console import ConsoleApp  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            if error.name != "jinja2":
                raise
            raise ConfigurationError("The console needs Jinja2: install kombo-embed[console].") from None
        return ConsoleApp(authorize, self._open_desk)

    def routes(self) -> list[Route]:
        """Return the routes one by one, for a router of your own."""
        from kombo_embed.web.routes import create_routes  # noqa: PLC0415 - heavy, needed only here

        return create_routes(self.services)

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

    def run_no_background(self) -> None:
        """Do no work beside requests: the running app does it. Private: for `kombo-embed console`."""
        self._collaborators = replace(self._collaborators, background=False)

    def resolve_in_router(self) -> None:
        """Allow a start without ``end_user``: a router of the host's resolves it. Private."""
        self._collaborators = replace(self._collaborators, end_user_from_router=True)

    async def _open_desk(self) -> Desk:
        from kombo_embed.composition.doctor import diagnose  # noqa: PLC0415 - heavy, needed only here
        from kombo_embed.console import desk_of  # noqa: PLC0415 - an extra

        services = await self.services()
        if self._desk is None or self._desk.services is not services:
            clock, transport = self._collaborators.clock or SystemClock(), self._collaborators.http_transport
            run_checks = partial(diagnose, lambda: services.settings, clock=clock, transport=transport)
            self._desk = desk_of(services, diagnose=run_checks, clock=clock)
        return self._desk

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
        from kombo_embed.otel import detached  # noqa: PLC0415 - as above
        from kombo_embed.settings import read_settings  # noqa: PLC0415 - as above
        from kombo_embed.web.app import create_app  # noqa: PLC0415 - as above

        settings = read_settings(self._settings)
        self._allowed_origins = settings.allowed_origins
        with detached():  # the background tasks outlive the request that may open it all
            services = await stack.enter_async_context(
                open_services(settings, self._collaborators, self._handlers)
            )
        return services, create_app(services)

    def _log_failed_start(self, error: KomboEmbedError) -> None:
        if not self._lifetime.has_shut_down:
            logger.error("start.failed", extra={"error_code": error.code, "reason": str(error)})
