"""Webhooks on their way out: signed, retried, remembered, and sometimes spoilt on purpose.

Nothing public tells how often Kombo retries or what it promises about order, so a receiver has to bear
duplicates, any order and loss. The webhook mode produces each of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import httpx

from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.events import SIGNATURE_HEADER, sign
from kombo_embed.sandbox.identifiers import new_id
from kombo_embed.sandbox.records import Delivery, DeliveryStatus, Event
from kombo_embed.sandbox.state import State
from kombo_embed.sandbox.transports import Lent, new_network_transport

BACKOFF_SECONDS = (0.5, 2.0, 5.0)
ATTEMPT_SECONDS = 10.0
DELIVERY_SECONDS = 60.0

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where webhooks go, and what they are signed with."""

    url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    transport: httpx.AsyncBaseTransport | None = None


class Courier:
    """Takes events and brings them to the webhook address in tasks of its own.

    The target is asked for at each attempt, since it may be set after an event was taken.
    """

    def __init__(
        self, state: State, clock: MovableClock, *, target: Callable[[], Target], sleep: Sleep = asyncio.sleep
    ) -> None:
        self._state = state
        self._clock = clock
        self._target = target
        self._sleep = sleep
        self._network: httpx.AsyncHTTPTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, str | None] = {}

    def post(self, event: Event, *, duplicate: bool = False, until: str | None = None) -> None:
        """Send an event as the webhook mode says, without making the caller wait.

        Args:
            event: What to send.
            duplicate: Send it twice, whatever the mode.
            until: Keep it back until `release` is called with this word.
        """
        mode = self._state.switches.webhook_mode
        copies = 2 if duplicate or mode == "duplicate" else 1
        deliveries = [self._book(event, bad_signature=mode == "bad_signature") for _ in range(copies)]
        if mode == "dropped":
            self._mark(deliveries, "dropped")
        elif until is not None or (mode == "reordered" and not self._waiting_for_next()):
            self._mark(deliveries, "held")
            self._held.update({delivery.id: until for delivery in deliveries})
        else:
            self._start([*deliveries, *self._take_held(None)])

    def replay(self, event: Event) -> None:
        """Send an event that was sent, dropped or failed before: the same id, the same bytes."""
        self._start([self._book(event, replay=True)])

    def release(self, until: str) -> None:
        """Send what was kept back until this happened."""
        self._start(self._take_held(until))

    def release_all(self) -> None:
        """Send everything that was kept back."""
        for until in set(self._held.values()):
            self._start(self._take_held(until))

    async def settle(self) -> None:
        """Wait until everything is delivered or given up, what was kept back included."""
        self.release_all()
        while self._tasks:
            await asyncio.wait(self._tasks)
            self.release_all()

    def cancel(self) -> None:
        """Give up everything that is under way or kept back."""
        self._held.clear()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Give up everything and wait until the tasks are gone."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._network:
            await self._network.aclose()
            self._network = None

    def _book(self, event: Event, *, bad_signature: bool = False, replay: bool = False) -> Delivery:
        delivery = Delivery(
            id=new_id(),
            event=event,
            status="sending",
            created_at=self._clock.now(),
            bad_signature=bad_signature,
            replay=replay,
        )
        self._state.deliveries[delivery.id] = delivery
        return delivery

    def _mark(self, deliveries: Sequence[Delivery], status: DeliveryStatus) -> None:
        for delivery in deliveries:
            self._note(delivery, status=status)

    def _note(self, delivery: Delivery, *, status: DeliveryStatus, answer: int | None = None) -> None:
        known = self._state.deliveries.get(delivery.id)
        if known:
            self._state.deliveries[known.id] = replace(known, status=status, answer=answer)

    def _waiting_for_next(self) -> bool:
        return None in self._held.values()

    def _take_held(self, until: str | None) -> list[Delivery]:
        ids = [held for held, word in self._held.items() if word == until]
        for held in ids:
            del self._held[held]
        return [self._state.deliveries[held] for held in ids if held in self._state.deliveries]

    def _start(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if self._target().url is None:
            self._mark(deliveries, "not_configured")
            return
        self._mark(deliveries, "sending")
        task = asyncio.get_running_loop().create_task(self._deliver_each(deliveries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_each(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                async with asyncio.timeout(DELIVERY_SECONDS):
                    await self._deliver(delivery)
            except TimeoutError:
                self._note(delivery, status="failed")

    async def _deliver(self, delivery: Delivery) -> None:
        for pause in (*BACKOFF_SECONDS, None):
            answer = await self._attempt(delivery)
            if answer is not None and httpx.codes.is_success(answer):
                self._note(delivery, status="delivered", answer=answer)
                return
            self._note(delivery, status="sending" if pause else "failed", answer=answer)
            if pause:
                await self._sleep(pause)

    async def _attempt(self, delivery: Delivery) -> int | None:
        known = self._state.deliveries.get(delivery.id)
        target = self._target()
        if known is None or target.url is None:
            return None
        self._state.deliveries[known.id] = replace(known, attempts=known.attempts + 1)
        headers = _headers(delivery, target)
        async with self._client(target) as client:
            try:
                response = await client.post(target.url, content=delivery.event.body, headers=headers)
            except Exception:  # noqa: BLE001 - a receiver in the same process raises whatever it likes
                return None
        return response.status_code

    def _client(self, target: Target) -> httpx.AsyncClient:
        if target.transport is None and self._network is None:
            self._network = new_network_transport()
        transport = target.transport or self._network
        return httpx.AsyncClient(transport=transport and Lent(transport), timeout=ATTEMPT_SECONDS)


def _headers(delivery: Delivery, target: Target) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "kombo-embed-sandbox"}
    if target.webhook_secret:
        webhook_secret = new_id() if delivery.bad_signature else target.webhook_secret
        headers[SIGNATURE_HEADER] = sign(delivery.event.body, webhook_secret)
    return headers
