"""How webhooks reach the network, or an app in the same process."""

import httpx


class Lent(httpx.AsyncBaseTransport):
    """A transport that outlives the clients it is lent to."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on."""
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Leave the transport open: its owner closes it."""


def new_network_transport() -> httpx.AsyncHTTPTransport:
    """Make the transport for real addresses.

    No connection is kept: the sandbox may be used from several event loops, one after the other, and an
    idle connection belongs to the loop that opened it.
    """
    limits = httpx.Limits(max_connections=20, max_keepalive_connections=0)
    return httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
