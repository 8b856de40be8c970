"""The one object that a host mounts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from kombo_embed.errors import ConfigurationError, KomboEmbedError, StoreUnavailable
from kombo_embed.models import EndUser, Integration, LinkOptions, Reconciliation
from kombo_embed.ports import (
    Clock,
    Collaborators,
    EndUserCallable,
    EventHandler,
    LinkCache,
    LinkOptionsCallable,
    Store,
)
from kombo_embed.web.middleware import BareMountPath, KomboEmbedMiddleware

if TYPE_CHECKING:
    import httpx

    from kombo_embed.settings import Settings
    from kombo_embed.web.endpoints import Services

logger = logging.getLogger("kombo_embed")

Handler = TypeVar("Handler", bound=EventHandler)

EVENT_TYPES = (
    "integration.connected",
    "integration.updated",
    "integration.deleted",
    "integration.duplicate",
    "flow.failed",
    "flow.abandoned",
    "kombo.event",
)


class KomboEmbed:
    """Gives your signed-in end users connection links, and keeps what they connected.

    Constructing it reads nothing and opens nothing, so importing your app always works. The settings are read
    and everything is opened when the host starts; wrong settings stop that start.

    Args:
        end_user: An async or plain callable from the request to the signed-in `EndUser`, or to None where
            nobody is signed in. It may raise Starlette's ``HTTPException``, for example 403. Without it,
            ``KOMBO_AUTH`` says where the end user comes from.
        link_options: An async or plain callable from the request and the end user to `LinkOptions`.
        settings: Settings, or a callable that reads them at the start; by default ``Settings()``.
        http_transport: Another httpx transport than the network, for tests.
        clock: Where time comes from: anything with ``time()`` and ``monotonic()``.
        store: Where integrations stay, instead of ``KOMBO_DATABASE_URL``.
        link_cache: Where links wait, instead of ``KOMBO_REDIS_URL`` or this process's memory.
    """

    def __init__(
        self,
        *,
        end_user: EndUserCallable | None = None,
        link_options: LinkOptionsCallable | None = None,
        settings: Settings | Callable[[], Settings] | None = None,
        http_transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
        link_cache: LinkCache | None = None,
    ) -> None:
        self._settings = settings
        self._brought = Collaborators(
            end_user=end_user,
            link_options=link_options,
            http_transport=http_transport,
            clock=clock,
            store=store,
            link_cache=link_cache,
        )
        self._handlers: dict[str, list[EventHandler]] = {}
        self._opened: tuple[Services, ASGIApp] | None = None
        self._ended = False
        self._stack = AsyncExitStack()
        self._allowed_origins: tuple[str, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    def install(self, app: Starlette, path: str | None = None) -> None:
        """Add the middleware and the routes to a Starlette or FastAPI app.

        The routes go in front of the app's own, so that a catch-all does not shadow them.

        Args:
            app: The host, not yet started.
            path: Where to mount; by default ``KOMBO_MOUNT_PATH``.

        Raises:
            ConfigurationError: Something is mounted at this path already.
        """
        mount = Mount(path or self._mount_path(), app=self.app)
        if any(isinstance(route, Mount) and route.path == mount.path for route in app.router.routes):
            raise ConfigurationError(
                f"{mount.path} is taken already in this app. Give this KomboEmbed a MOUNT_PATH of its own "
                "(or install(app, path=...)), and an ENVIRONMENT of its own."
            )
        app.add_middleware(KomboEmbedMiddleware, embed=self)
        bare = [Route(mount.path, BareMountPath(self.app))] if mount.path else []
        app.router.routes[:0] = [mount, *bare]

    @property
    def app(self) -> ASGIApp:
        """The routes as an ASGI app, to mount by hand."""
        return self._serve

    def routes(self) -> list[Route]:
        """The routes one by one, to put into a router of your own."""
        from kombo_embed.web.calls import create_routes  # noqa: PLC0415 - heavy, needed only here

        return create_routes(self.services)

    def on(self, event_type: str) -> Callable[[Handler], Handler]:
        """Register an async or plain handler for an event; use it as a decorator.

        A handler is called at least once for each event, after what it tells of is on disk, in order per
        integration; while it raises it is called again, later and later.

        Raises:
            ValueError: There is no such event.
        """
        if event_type not in EVENT_TYPES:
            raise ValueError(f"there is no event {event_type!r}; there are {', '.join(EVENT_TYPES)}")

        def register(handler: Handler) -> Handler:
            self._handlers.setdefault(event_type, []).append(handler)
            return handler

        return register

    async def integrations(self, origin_id: str) -> list[Integration]:
        """The integrations of one of your customers, oldest first.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await (await self.services()).flow.integrations(origin_id)

    async def integration(self, integration_id: str) -> Integration | None:
        """One integration by Kombo's id; None where none is recorded.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await (await self.services()).store.find_integration(integration_id)

    async def magic_link(
        self,
        end_user: EndUser,
        *,
        category: str | None = None,
        tool: str | None = None,
        language: str | None = None,
        options: LinkOptions | None = None,
    ) -> str:
        """Mint a link that is valid for a year, to send to a customer. It is a credential.

        What its end user connects is recorded through Kombo's webhook. What is not given, settings decide.

        Raises:
            InvalidRequest: The category or tool is not allowed by the settings, or Kombo does not accept it.
            KomboError: Kombo refused, failed, or could not be reached.
            StoreUnavailable: The mint could not be recorded.
        """
        from kombo_embed.choice import Choice  # noqa: PLC0415 - heavy, loaded at the start already

        services = await self.services()
        chosen = (options or LinkOptions()).over(services.own_link_options)
        return await services.flow.magic_link(end_user, Choice(category, tool, language), chosen)

    async def reconcile(
        self, on_progress: Callable[[int], None] | None = None, *, delete_all_unknown: bool = False
    ) -> Reconciliation:
        """Re-read every known integration from Kombo, for webhooks that were lost. Once a day is plenty.

        What changed is taken over and told by the events, as if Kombo had told it itself. States that
        change meanwhile are left alone. While Kombo asks to wait, it waits, up to five minutes in all.

        Args:
            on_progress: Told how many were read so far.
            delete_all_unknown: Mark as deleted what Kombo does not know also where it knows none of all
                integrations. By default they are counted as failed (``all_not_found``), since the key is
                rather that of another environment, and deleted stays deleted.

        Raises:
            StoreUnavailable: The database cannot be used; what was read until then was taken over.
        """
        return await (await self.services()).reconcile(on_progress, delete_all_unknown=delete_all_unknown)

    async def open(self) -> None:
        """Read the settings and open everything, as the middleware does; or use ``async with embed``.

        Raises:
            ConfigurationError: Settings are missing or wrong.
            StoreUnavailable: The database cannot be opened.
        """
        self._ended = False
        await self._running()

    async def end(self) -> None:
        """Close everything, as the host has stopped: later requests are refused. It is private."""
        self._ended = True
        await self.close()

    async def close(self) -> None:
        """Close everything; it can be opened again."""
        if self._loop is not asyncio.get_running_loop():
            return
        async with self._opening:
            stack, self._stack, self._opened = self._stack, AsyncExitStack(), None
            await stack.aclose()

    async def services(self) -> Services:
        """What our own routes work with, opened if need be. It is private, as all that it holds.

        Raises:
            ConfigurationError: Settings are missing or wrong; the log says which.
            StoreUnavailable: The database cannot be opened.
        """
        try:
            return (await self._running())[0]
        except KomboEmbedError as error:
            self._tell(error)
            raise

    def ask_elsewhere(self) -> None:
        """Start without an ``end_user``: a router of the host's asks who is signed in. It is private."""
        self._brought = replace(self._brought, end_user_elsewhere=True)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        app: ASGIApp
        try:
            opened = self._opened
            if opened is None or self._loop is not asyncio.get_running_loop():
                opened = await self._running()
            app = opened[1]
        except KomboEmbedError as error:
            from kombo_embed.web import cors, problems  # noqa: PLC0415 - heavy, and not for each request

            self._tell(error)
            app = cors.allow_origins(problems.problem(error), self._allowed_origins)
        await app(scope, receive, send)

    async def _running(self) -> tuple[Services, ASGIApp]:
        loop = asyncio.get_running_loop()
        if self._opened is not None and self._loop is loop:
            return self._opened
        if self._loop is not loop:
            # What an ended loop left open cannot be closed in it any more, and cannot be used in this one.
            self._loop, self._opening, self._opened, self._stack = (
                loop,
                asyncio.Lock(),
                None,
                AsyncExitStack(),
            )
            self._ended = False
        if self._ended:
            # What it would open, nobody would close.
            raise StoreUnavailable("kombo-embed was closed: the app is shutting down.")
        async with self._opening:
            if self._opened is None:
                self._opened = await self._open()
            return self._opened

    async def _open(self) -> tuple[Services, ASGIApp]:
        from kombo_embed.settings import Settings  # noqa: PLC0415 - heavy, needed from the start on
        from kombo_embed.web.mount import opened_services  # noqa: PLC0415 - as above
        from kombo_embed.web.surface import create_surface  # noqa: PLC0415 - as above

        settings = self._settings
        if settings is None:
            settings = Settings()
        elif not isinstance(settings, Settings):
            settings = settings()
        self._allowed_origins = settings.allowed_origins
        services = await self._stack.enter_async_context(
            opened_services(settings, self._brought, self._handlers)
        )
        return services, create_surface(services)

    def _mount_path(self) -> str:
        from kombo_embed.settings import Settings, mount_path_from_environment  # noqa: PLC0415 - as in _open

        if isinstance(self._settings, Settings):
            return self._settings.mount_path
        if self._settings is not None:
            try:
                return self._settings().mount_path
            except ConfigurationError:
                pass  # the start, which reads them again, stops with the reason
        return mount_path_from_environment()

    def _tell(self, error: KomboEmbedError) -> None:
        if not self._ended:
            logger.error("start.failed: %s", error)
