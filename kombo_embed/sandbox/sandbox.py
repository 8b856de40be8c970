"""The sandbox put together: one object with an ASGI app and hands to drive it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse

from kombo_embed.sandbox.api import KomboApi
from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.control import Controls
from kombo_embed.sandbox.courier import Courier, Sleep, Target
from kombo_embed.sandbox.driver import Driver, Order
from kombo_embed.sandbox.envelopes import answer_error
from kombo_embed.sandbox.errors import IntegrationUnknown, LinkExpired, LinkUnknown, SandboxError
from kombo_embed.sandbox.gate import ApiGate
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.pages import Pages
from kombo_embed.sandbox.records import Completion
from kombo_embed.sandbox.report import report_state
from kombo_embed.sandbox.state import State

_STATUSES: dict[type[Exception], int] = {LinkUnknown: 404, IntegrationUnknown: 404, LinkExpired: 410}


class Sandbox:
    """A local stand-in for Kombo: its API, its Connect page, its webhooks, and controls for tests.

    `app` is an ASGI app for a server or for an in-process transport; it needs no lifespan, and with one
    it stops its webhooks at shutdown.

    Args:
        api_key: The bearer key to ask for; without one, any key will do.
        webhook_secret: What webhooks are signed with; without one, they carry no signature.
        webhook_url: Where webhooks go; without one, they are only remembered.
        webhook_transport: An httpx transport to send them through, such as `httpx.ASGITransport`.
        clock: The time for links and activation tokens.
        sleep: What waits between two tries of a webhook, and before a slow answer.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        webhook_secret: str | None = None,
        webhook_url: str | None = None,
        webhook_transport: httpx.AsyncBaseTransport | None = None,
        clock: MovableClock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.api_key = api_key
        self.webhook_secret = webhook_secret
        self.webhook_url = webhook_url
        self.webhook_transport = webhook_transport
        self.clock = clock or MovableClock()
        self._state = State()
        self._courier = Courier(self._state, self.clock, target=self._target, sleep=sleep)
        self._links = Links(self._state, self.clock)
        self._connections = Connections(self._state, self.clock, self._links, self._courier)
        self._driver = Driver(
            self._state, self.clock, links=self._links, connections=self._connections, courier=self._courier
        )
        self.app = self._build_app(sleep)

    @property
    def calls(self) -> dict[str, int]:
        """How often each endpoint was called, such as `{"POST /v1/connect/create-link": 1}`."""
        return dict(self._state.calls)

    async def complete(
        self,
        link: str,
        tool: str | None = None,
        *,
        order: Order | None = None,
        duplicate: bool = False,
    ) -> Completion:
        """Finish a link's flow as its end user would on the Connect page.

        Args:
            link: The link as the API gave it.
            tool: The tool to choose; Personio unless the link names one.
            order: `webhook_first` waits for the webhook before it returns; `browser_first` keeps it
                back until the activation token was exchanged. Without it, the webhook is just sent.
            duplicate: Send the webhook twice.

        Raises:
            SandboxError: the link is unknown or expired, or is for another tool, or the integration to
                reconnect was deleted.
        """
        return await self._driver.complete(link, tool, order=order, duplicate=duplicate)

    async def fail(self, link: str, tool: str | None = None) -> None:
        """Give wrong credentials in a link's flow; it may be completed afterwards.

        Raises:
            SandboxError: the link is unknown or expired, or is for another tool.
        """
        self._driver.fail(link, tool)

    def opens(self, link: str) -> bool:
        """Whether a link would open: not after its lifetime, nor after a reset."""
        try:
            self._links.find(link)
        except (LinkUnknown, LinkExpired):
            return False
        return True

    async def settle(self) -> None:
        """Wait until every webhook is delivered or given up."""
        await self._courier.settle()

    async def aclose(self) -> None:
        """Stop the webhooks that are under way and close what they use."""
        await self._courier.aclose()

    def reset(self) -> None:
        """Go back to the start: nothing made, nothing under way, the clock unmoved."""
        self._driver.reset()

    def report(self) -> dict[str, object]:
        """Tell the state, as `GET /_sandbox/state` does."""
        return report_state(self._state, self.clock)

    def _target(self) -> Target:
        return Target(self.webhook_url, self.webhook_secret, self.webhook_transport)

    def _build_app(self, sleep: Sleep) -> Starlette:
        api = KomboApi(self._links, self._connections, api_key=lambda: self.api_key)
        controls = Controls(
            self._state, self.clock, driver=self._driver, connections=self._connections, courier=self._courier
        )
        pages = Pages(self._links, self._connections)
        return Starlette(
            routes=[*api.routes(), *controls.routes(), *pages.routes()],
            middleware=[Middleware(ApiGate, state=self._state, routes=api.routes(), sleep=sleep)],
            exception_handlers={SandboxError: _answer_error, HTTPException: _answer_error},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.aclose()


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    if request.url.path.startswith("/v1/"):
        return await answer_error(request, error)
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    return JSONResponse({"error": str(error)}, _STATUSES.get(type(error), 422))
