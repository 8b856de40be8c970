"""The sandbox put together: one object with an ASGI app and methods to act as Kombo's end user."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from kombo_embed.clock import ManualClock
from kombo_embed.sandbox.api import KomboApi
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.control import Controls, state_data
from kombo_embed.sandbox.errors import IntegrationUnknown, LinkExpired, LinkUnknown, SandboxError
from kombo_embed.sandbox.faults import FaultInjector
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.local_only import LocalOnly, changes_something
from kombo_embed.sandbox.pages import Pages
from kombo_embed.sandbox.records import Completion, State
from kombo_embed.sandbox.request_log import RequestLog
from kombo_embed.sandbox.responses import handle_error
from kombo_embed.sandbox.schemas import Order, SetupStatus, Status
from kombo_embed.sandbox.webhooks import BACKOFF_SECONDS, Receiver, Sleep, WebhookSender

_STATUSES: dict[type[Exception], int] = {LinkUnknown: 404, IntegrationUnknown: 404, LinkExpired: 410}


class Sandbox:
    """A local stand-in for Kombo: its API, its Connect page, its webhooks, and controls for tests.

    `app` is an ASGI app for a server or for an in-process transport. It needs no lifespan; with one, it stops
    its webhooks at shutdown. Without ``api_key``, it accepts any key; without ``webhook_secret``, webhooks
    carry no signature; without ``webhook_url``, they are only recorded. ``sleep`` waits between two attempts
    of a webhook (``webhook_backoff_seconds``), and before a slow response.

    Links begin with ``public_url``, or with the address of the request that mints them. `hosts` are the names
    under which the pages and the controls can be reached, apart from this machine's own.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        webhook_secret: str | None = None,
        webhook_url: str | None = None,
        webhook_transport: httpx.AsyncBaseTransport | None = None,
        clock: ManualClock | None = None,
        sleep: Sleep = asyncio.sleep,
        public_url: str | None = None,
    ) -> None:
        self.api_key = api_key
        self.webhook_secret = webhook_secret
        self.webhook_url = webhook_url
        self.webhook_transport = webhook_transport
        self.webhook_backoff_seconds: Sequence[float] = BACKOFF_SECONDS
        self.clock = clock or ManualClock()
        self.public_url = public_url
        self.hosts = {urlsplit(public_url).hostname or ""} if public_url else set()
        self._state = State(self.clock)
        self._sender = WebhookSender(self._state, receiver=self._receiver, sleep=sleep)
        self._links = Links(self._state)
        self._connections = Connections(self._state, self._links, self._sender)
        self.app = self._build_app(sleep)

    @property
    def calls(self) -> dict[str, int]:
        """Return how often each endpoint was called, such as `{"POST /v1/connect/create-link": 1}`."""
        return dict(self._state.calls)

    async def complete(
        self,
        link: str,
        tool: str | None = None,
        *,
        order: Order | None = None,
        duplicate: bool = False,
        incomplete: bool = False,
    ) -> Completion:
        """Complete a link's flow, as its end user does on the Connect page.

        A connection link makes a new integration each time. The tool is Personio unless the link or you name
        one. ``webhook_first`` returns after the webhook was delivered; ``browser_first`` holds it until the
        activation token is exchanged. ``incomplete`` leaves setup steps, which a setup link finishes. Raises
        `SandboxError` if the flow cannot be completed.
        """
        return await self._connections.complete(
            link, tool, order=order, duplicate=duplicate, incomplete=incomplete
        )

    async def fail(self, link: str, tool: str | None = None) -> None:
        """Enter wrong credentials in a link's flow, which may be completed afterwards."""
        self._connections.fail(link, tool)

    def change_state(
        self, integration_id: str, state: Status | None = None, *, setup_status: SetupStatus | None = None
    ) -> None:
        """Change an integration's status, setup status, or both, and send the webhook."""
        self._connections.change_state(integration_id, status=state, setup_status=setup_status)

    def delete(self, integration_id: str) -> None:
        """Delete an integration, as in Kombo's dashboard, and send the webhook."""
        self._connections.delete(integration_id)

    def lose_webhooks(self, times: int) -> None:
        """Never send the next webhooks."""
        self._sender.lose(times)

    def fail_webhooks(self, times: int) -> None:
        """Let the next attempts to send a webhook fail."""
        self._sender.fail(times)

    async def settle(self) -> None:
        """Wait until every webhook is delivered or has failed."""
        await self._sender.settle()

    async def aclose(self) -> None:
        """Cancel the webhooks that are not delivered yet."""
        await self._sender.aclose()

    def reset(self) -> None:
        """Go back to the start: no links, no integrations, no webhooks, and the clock's own time."""
        self._sender.cancel()
        self._state.clear()

    def report(self) -> dict[str, object]:
        """Return the state, as `GET /_sandbox/state` does."""
        return state_data(self._state)

    def _receiver(self) -> Receiver:
        return Receiver(
            self.webhook_url, self.webhook_secret, self.webhook_transport, self.webhook_backoff_seconds
        )

    def _secrets(self) -> list[str]:
        return [secret for secret in (self.api_key, self.webhook_secret) if secret]

    def _build_app(self, sleep: Sleep) -> Starlette:
        api = KomboApi(
            self._links, self._connections, api_key=lambda: self.api_key, public_url=self.public_url
        ).routes()
        controls = Controls(self._state, self._connections, self._sender, reset=self.reset)
        pages = Pages(self._links, self._connections)
        return Starlette(
            routes=[*api, *controls.routes(), *pages.routes()],
            middleware=[
                Middleware(LocalOnly, is_protected=_is_control_or_action, hosts=self.hosts),
                Middleware(RequestLog, state=self._state, secrets=self._secrets),
                Middleware(FaultInjector, state=self._state, routes=api, sleep=sleep),
            ],
            exception_handlers={SandboxError: _handle_error, HTTPException: _handle_error},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.aclose()


def _is_control_or_action(scope: Scope) -> bool:
    return scope["path"].startswith("/_sandbox") or changes_something(scope)


async def _handle_error(request: Request, error: Exception) -> JSONResponse:
    if request.url.path.startswith("/v1/"):
        return await handle_error(request, error)
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    return JSONResponse({"error": str(error)}, _STATUSES.get(type(error), 422))
