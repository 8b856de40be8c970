"""The network between processes on virtual time: it delays, loses, repeats and fails what it carries."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.simulation.virtual_time import Process, process

Choose = Callable[[], tuple[Process, httpx.AsyncBaseTransport] | None]


@dataclass(slots=True)
class Weather:
    """How likely each fault of a way is; changed in the course of a run."""

    lost_request: float = 0.0
    lost_response: float = 0.0
    repeated: float = 0.0
    failed: float = 0.0  # answered 429, 500 or 503 by whatever is before the receiver
    hanging: float = 0.0
    slow_seconds: float = 0.02


class Way(httpx.AsyncBaseTransport):
    """A way from some process to a receiver, which ``choose`` picks for each request.

    A request runs in the receiver's process. If that dies, the sender gets an error; if the sender dies, the
    receiver notices nothing.
    """

    def __init__(self, choose: Choose, *, chance: random.Random, weather: Weather) -> None:
        self._choose = choose
        self._chance = chance
        self.weather = weather

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        await self._delay()
        if self._happens(self.weather.lost_request):
            raise httpx.ConnectError("lost")
        if self._happens(self.weather.hanging):
            await asyncio.sleep(self._chance.uniform(5, 60))
            raise httpx.ReadError("hung up")
        if self._happens(self.weather.failed):
            status = self._chance.choice([429, 500, 502, 503])
            return httpx.Response(status, headers={"Retry-After": str(self._chance.choice([1, 2, 7]))})
        chosen = self._choose()
        if chosen is None:
            raise httpx.ConnectError("no process is alive")
        if self._happens(self.weather.repeated):
            _deliver(request, *chosen)
        response = await _deliver(request, *chosen)
        await self._delay()
        if self._happens(self.weather.lost_response):
            raise httpx.ReadError("lost")
        return response

    async def _delay(self) -> None:
        await asyncio.sleep(self._chance.expovariate(1 / self.weather.slow_seconds))

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability


def _deliver(
    request: httpx.Request, receiver: Process, transport: httpx.AsyncBaseTransport
) -> asyncio.Future[httpx.Response]:
    """Hand the request over to the receiver's process; the future ends with its response, or its death."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[httpx.Response] = loop.create_future()
    context = contextvars.copy_context()
    context.run(process.set, receiver)
    copy = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)

    async def receive() -> None:
        try:
            response = await transport.handle_async_request(copy)
            await response.aread()
        except Exception as error:  # noqa: BLE001 - raised in the sender
            if not arrived.done():
                arrived.set_exception(error)
        else:
            if not arrived.done():
                arrived.set_result(
                    httpx.Response(response.status_code, headers=response.headers, content=response.content)
                )

    def died() -> None:
        if not arrived.done():
            arrived.set_exception(httpx.ReadError("the process died"))

    receiver.on_death.append(died)
    task = loop.create_task(receive(), context=context)
    task.add_done_callback(lambda _: receiver.on_death.remove(died))
    arrived.add_done_callback(_retrieved)
    return arrived


def _retrieved(arrived: asyncio.Future[httpx.Response]) -> None:
    if not arrived.cancelled():
        arrived.exception()  # of a repeated request, which nobody awaits
