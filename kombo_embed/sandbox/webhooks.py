"""The delivery of webhook events: signed, with retries and deliberate faults.

Kombo documents neither retries nor order, so a receiver has to cope with duplicates, any order and loss. The
webhook mode produces each of them. Sources: docs.kombo.dev/webhooks and Kombo's SDKs.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import httpx

from kombo_embed.sandbox.records import (
    Delivery,
    DeliveryStatus,
    Event,
    State,
    forget_oldest,
    new_id,
)

SIGNATURE_HEADER = "X-Kombo-Signature"
BACKOFF_SECONDS = (0.5, 2.0, 5.0)
ATTEMPT_SECONDS = 10.0
DELIVERY_SECONDS = 60.0

Sleep = Callable[[float], Awaitable[object]]


def sign(body: bytes, webhook_secret: str) -> str:
    """Return Kombo's signature: HMAC-SHA256 of the raw bytes, base64url without padding."""
    digest = hmac.new(webhook_secret.encode(), body, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where webhooks are sent to, the secret that signs them, and the pauses between attempts."""

    url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    transport: httpx.AsyncBaseTransport | None = None
    backoff_seconds: Sequence[float] = BACKOFF_SECONDS


class WebhookSender:
    """Delivers events in tasks of its own, with retries.

    The receiver is read at each attempt, since it may be set after an event was sent.
    """

    def __init__(self, state: State, *, receiver: Callable[[], Receiver], sleep: Sleep) -> None:
        self._state = state
        self._receiver = receiver
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()
        # Each held delivery's id -> the activation token whose exchange releases it; None: the next event.
        self._held: dict[str, str | None] = {}

    def send(self, event: Event, *, duplicate: bool = False, after_exchange_of: str | None = None) -> None:
        """Start to deliver an event, as the webhook mode says; ``duplicate`` sends it twice in every mode.

        With ``after_exchange_of``, hold it until `release` is called with this activation token.
        """
        mode = self._state.switches.webhook_mode
        copies = 2 if duplicate or mode == "duplicate" else 1
        deliveries = [self._record(event, bad_signature=mode == "bad_signature") for _ in range(copies)]
        if mode == "dropped" or self._state.webhooks_to_lose > 0:
            self._state.webhooks_to_lose = max(0, self._state.webhooks_to_lose - 1)
            self._update(*deliveries, status="dropped")
        elif after_exchange_of is not None or (mode == "reordered" and None not in self._held.values()):
            self._update(*deliveries, status="held")
            self._held.update({delivery.id: after_exchange_of for delivery in deliveries})
        else:
            self._start([*deliveries, *self._take_held(None)])

    def lose(self, times: int) -> None:
        """Lose the next events: they are never sent."""
        self._state.webhooks_to_lose += times

    def fail(self, times: int) -> None:
        """Let the next attempts fail before they reach the receiver; each event is attempted four times."""
        self._state.webhooks_to_fail += times

    def replay(
        self, *, event_id: str | None = None, event_type: str | None = None, backwards: bool = False
    ) -> int:
        """Send recorded events again, all or the matching ones, byte for byte, and return their number."""
        events = {delivery.event.id: delivery.event for delivery in self._state.deliveries.values()}
        chosen = [
            event
            for event in events.values()
            if event_id in (None, event.id) and event_type in (None, event.type)
        ]
        for event in reversed(chosen) if backwards else chosen:
            self._start([self._record(event, replay=True)])
        return len(chosen)

    def release(self, activation_token: str) -> None:
        """Send the events that were held until this token's exchange."""
        self._start(self._take_held(activation_token))

    def release_all(self) -> None:
        """Send every held event."""
        for token in set(self._held.values()):
            self._start(self._take_held(token))

    async def settle(self) -> None:
        """Wait until every event, held ones included, is delivered or has failed."""
        self.release_all()
        while self._tasks:
            await asyncio.wait(self._tasks)
            self.release_all()

    def cancel(self) -> None:
        """Cancel every delivery, and forget what was to be lost or to fail."""
        self._state.webhooks_to_lose = self._state.webhooks_to_fail = 0
        self._held.clear()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Cancel every delivery and wait for the end of its task."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _record(self, event: Event, *, bad_signature: bool = False, replay: bool = False) -> Delivery:
        created = self._state.now()
        delivery = Delivery(new_id(), event, "sending", created, bad_signature=bad_signature, replay=replay)
        self._state.deliveries[delivery.id] = delivery
        forget_oldest(self._state.deliveries, is_over=lambda known: known.status not in {"held", "sending"})
        return delivery

    def _update(self, *deliveries: Delivery, status: DeliveryStatus, answer: int | None = None) -> None:
        for delivery in deliveries:
            known = self._state.deliveries.get(delivery.id)
            if known:
                self._state.deliveries[known.id] = replace(known, status=status, answer=answer)

    def _take_held(self, token: str | None) -> list[Delivery]:
        ids = [held for held, released_by in self._held.items() if released_by == token]
        for held in ids:
            del self._held[held]
        return [self._state.deliveries[held] for held in ids if held in self._state.deliveries]

    def _start(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if self._receiver().url is None:
            self._update(*deliveries, status="not_configured")
            return
        self._update(*deliveries, status="sending")
        task = asyncio.get_running_loop().create_task(self._deliver_each(deliveries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_each(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                async with asyncio.timeout(DELIVERY_SECONDS):
                    await self._deliver(delivery)
            except TimeoutError:
                self._update(delivery, status="failed")

    async def _deliver(self, delivery: Delivery) -> None:
        for pause in (*self._receiver().backoff_seconds, None):
            answer = await self._attempt(delivery)
            if answer is not None and httpx.codes.is_success(answer):
                self._update(delivery, status="delivered", answer=answer)
                return
            self._update(delivery, status="failed" if pause is None else "sending", answer=answer)
            if pause is not None:
                await self._sleep(pause)

    async def _attempt(self, delivery: Delivery) -> int | None:
        known = self._state.deliveries.get(delivery.id)
        receiver = self._receiver()
        if known is None or receiver.url is None:
            return None
        self._state.deliveries[known.id] = replace(known, attempts=known.attempts + 1)
        if self._state.webhooks_to_fail > 0:
            self._state.webhooks_to_fail -= 1
            return None
        try:
            request = _signed_request(known, receiver.url, receiver.webhook_secret)
            response = await (receiver.transport or self._network).handle_async_request(request)
            await response.aread()
        except Exception:  # noqa: BLE001 - an app in the same process may raise anything
            return None
        return response.status_code

    @cached_property
    def _network(self) -> httpx.AsyncHTTPTransport:
        # No idle connections: each would belong to the event loop that opened it, and there may be several.
        limits = httpx.Limits(max_connections=20, max_keepalive_connections=0)
        return httpx.AsyncHTTPTransport(limits=limits, trust_env=False)


def _signed_request(delivery: Delivery, url: str, webhook_secret: str | None) -> httpx.Request:
    headers = {"Content-Type": "application/json", "User-Agent": "kombo-embed-sandbox"}
    if webhook_secret:
        secret = new_id() if delivery.bad_signature else webhook_secret
        headers[SIGNATURE_HEADER] = sign(delivery.event.body, secret)
    extensions = {"timeout": httpx.Timeout(ATTEMPT_SECONDS).as_dict()}
    return httpx.Request("POST", url, content=delivery.event.body, headers=headers, extensions=extensions)
