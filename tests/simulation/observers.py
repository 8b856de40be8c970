"""The world as the network sees it: records what Kombo gives, and checks what the app responds."""

from __future__ import annotations

import json

import httpx

from tests.simulation.invariants import Invariants, Minted, Truth, Violated
from tests.simulation.virtual_time import VirtualLoop

HONEST_FAILURES = {
    *((429, "rate_limited"), (503, "kombo_rate_limited"), (503, "kombo_unavailable"), (504, "kombo_timeout")),
    *((502, "kombo_rejected"), (502, "kombo_invalid_response"), (503, "store_unavailable")),
}


class ObservedKombo(httpx.AsyncBaseTransport):
    """Kombo: records which links were minted for whom."""

    def __init__(self, truth: Truth, loop: VirtualLoop, transport: httpx.AsyncBaseTransport) -> None:
        self._truth, self._loop, self._transport = truth, loop, transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        await response.aread()
        if request.url.path.endswith("/create-link") and response.status_code == 200:
            sent = json.loads(request.content)
            link = response.json()["data"]["link"]
            owner = Minted(sent["end_user_origin_id"], sent["end_user_email"], self._loop.now)
            self._truth.minted[link] = owner
        return response


class ObservedApp(httpx.AsyncBaseTransport):
    """An instance of the app: checks each response that it gives."""

    def __init__(
        self, invariants: Invariants, loop: VirtualLoop, transport: httpx.AsyncBaseTransport
    ) -> None:
        self._invariants, self._loop, self._transport = invariants, loop, transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._transport.handle_async_request(request)
            await response.aread()
            self._check(request, response)
        except Exception as error:
            self._invariants.found(error)
            raise
        return response

    def _check(self, request: httpx.Request, response: httpx.Response) -> None:
        if response.status_code >= 429:
            failure = response.status_code, response.json()["code"]
            if failure not in HONEST_FAILURES:
                raise Violated(f"{request.method} {request.url.path}: {failure}")
        if request.url.path == "/kombo/links" and response.status_code == 200:
            name, _, organization = request.headers["x-person"].partition("@")
            self._invariants.check_link(
                response.content,
                email=f"{name}@{organization}.example",
                origin_id=organization,
                cache_status=response.headers["cache-status"],
                now=self._loop.now,
            )
