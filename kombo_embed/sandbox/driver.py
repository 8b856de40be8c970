"""The hands on the sandbox: what an end user, Kombo's dashboard or a test does to it."""

from typing import Literal

from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.courier import Courier
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import Completion, Event
from kombo_embed.sandbox.state import State

Order = Literal["browser_first", "webhook_first"]


class Driver:
    """Walks through flows and turns things back, for the control endpoints and for Python alike."""

    def __init__(
        self, state: State, clock: MovableClock, *, links: Links, connections: Connections, courier: Courier
    ) -> None:
        self._state = state
        self._clock = clock
        self._links = links
        self._connections = connections
        self._courier = courier

    async def complete(
        self,
        link: str,
        tool: str | None = None,
        *,
        order: Order | None = None,
        duplicate: bool = False,
    ) -> Completion:
        """Finish a link's flow as its end user would.

        Args:
            link: The link as the API gave it.
            tool: The tool to choose; Personio unless the link names one.
            order: `webhook_first` waits for the webhook before it returns; `browser_first` keeps it
                back until the activation token was exchanged. Without it, the webhook is just sent.
            duplicate: Send the webhook twice.

        Raises:
            LinkUnknown: the link was not made here.
            LinkExpired: the link's lifetime is over.
            InputInvalid: the link is for another tool, or the tool is refused.
            IntegrationUnknown: the integration to reconnect or set up was deleted.
        """
        found = self._links.find(link)
        first = order == "browser_first"
        completion = self._connections.finish(found, tool, duplicate=duplicate, browser_first=first)
        if order == "webhook_first":
            await self._courier.settle()
        return completion

    def fail(self, link: str, tool: str | None = None) -> None:
        """Give wrong credentials in a link's flow; it may be completed afterwards.

        Raises:
            LinkUnknown: the link was not made here.
            LinkExpired: the link's lifetime is over.
            InputInvalid: the link is for another tool, or the tool is refused.
        """
        self._connections.fail(self._links.find(link), tool)

    def replay(
        self, *, event_id: str | None = None, event_type: str | None = None, backwards: bool = False
    ) -> int:
        """Send events again, all of them or those that fit, and tell how many."""
        events = {delivery.event.id: delivery.event for delivery in self._state.deliveries.values()}
        chosen: list[Event] = [
            event
            for event in events.values()
            if event_id in (None, event.id) and event_type in (None, event.type)
        ]
        for event in reversed(chosen) if backwards else chosen:
            self._courier.replay(event)
        return len(chosen)

    def reset(self) -> None:
        """Go back to the start: nothing made, nothing under way, the clock unmoved."""
        self._courier.cancel()
        self._state.clear()
        self._clock.reset()
