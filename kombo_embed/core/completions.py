"""Completions: an activation token becomes a recorded integration, once, for its owner only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kombo_embed.core.customer_calls import CustomerCalls
from kombo_embed.core.records import RecordStore
from kombo_embed.errors import ActivationRejected
from kombo_embed.integration import Completion
from kombo_embed.kombo import requests
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import EndUser
from kombo_embed.ports import Clock, RateLimiter
from kombo_embed.single_flight import SingleFlight
from kombo_embed.telemetry import NO_TELEMETRY, Telemetry
from kombo_embed.upstream import ReportedIntegration

# A token that Kombo rejects may have been used by another process, whose record is about to appear.
PAUSES_AFTER_REJECTION_SECONDS = (0.1, 0.2, 0.4, 0.8)
# A rejection is answered at a multiple of this after the request, however little work led to it: the time
# does not reveal whether a token exists. It exceeds the pauses and a usual call to Kombo.
REJECTION_SECONDS = 2.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wake:
    """What is called after a commit.

    ``dispatcher``: it may have written an event for the host. ``details``: it may have made details due.
    """

    dispatcher: Callable[[], None]
    details: Callable[[], None]


class Completions:
    """Completes connection flows, for each end user within a rate. Close it with `aclose`."""

    def __init__(
        self,
        *,
        client: KomboClient,
        store: RecordStore,
        rate: RateLimiter,
        clock: Clock,
        wake: Wake,
        sleep: Sleep = asyncio.sleep,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._client = client
        self._store = store
        self._rate = rate
        self._clock = clock
        self._wake = wake
        self._sleep = sleep
        self._telemetry = telemetry
        self._calls = CustomerCalls()
        self._flights: SingleFlight[tuple[str, str], Completion] = SingleFlight()

    async def aclose(self) -> None:
        """Cancel the work that still runs."""
        await self._flights.aclose()

    async def complete(self, end_user: EndUser, activation_token: str) -> Completion:
        """Record the integration behind an activation token if it belongs to this end user.

        Raises `RateLimited`, `InvalidRequest`, `ActivationRejected`, `KomboError` or `StoreUnavailable`.
        After the last one, retrying the same call is safe.
        """
        with self._telemetry.operation("completion") as operation:
            await self._rate.spend(end_user)
            requests.verify_token(activation_token)  # before the database is read
            flight = (end_user.origin_id, activation_token)
            completion, joined = await self._flights.join(
                flight, lambda: self._complete(*flight, actor=end_user.email)
            )
            is_first = completion.first and not joined
            operation.count_as("recorded" if is_first else "repeated")
            return Completion(completion.integration, first=is_first)

    async def _complete(self, origin_id: str, activation_token: str, *, actor: str) -> Completion:
        started_at = self._clock.monotonic()
        known = await self._store.find_completion(activation_token)
        if known is not None and known.origin_id == origin_id:
            return Completion(known, first=False)
        # From here on, a token that is recorded for another origin id is treated as an unknown one.
        completion = await self._exchange(
            origin_id, activation_token, actor=actor, is_recorded=known is not None
        )
        if completion is None:
            completion = await self._completed_by_other_process(origin_id, activation_token)
        if completion is None:
            passed_seconds = self._clock.monotonic() - started_at
            await self._sleep(REJECTION_SECONDS - passed_seconds % REJECTION_SECONDS)
            raise ActivationRejected("Kombo does not accept this activation token.")
        return completion

    async def _exchange(
        self, origin_id: str, activation_token: str, *, actor: str, is_recorded: bool
    ) -> Completion | None:
        """Exchange a token at Kombo; return None if this end user may not use it.

        ``is_recorded`` is whether the token was exchanged before, for another origin id.
        """
        try:
            async with self._calls.of(origin_id):
                reported = await self._client.integration_by_token(activation_token)
        except ActivationRejected:
            return None
        if reported.origin_id == origin_id:
            completion = await self._record(reported, activation_token, origin_id, actor=actor)
            # It may have been recorded for another origin id before Kombo reported this one.
            is_own = completion is not None and completion.integration.origin_id == origin_id
            return completion if is_own else None
        if not is_recorded:
            await self._record_for_owner(reported, activation_token, actor=actor)
        return None

    async def _completed_by_other_process(self, origin_id: str, activation_token: str) -> Completion | None:
        """Wait briefly for a record: Kombo may accept a token once, and another process may have used it."""
        for seconds in PAUSES_AFTER_REJECTION_SECONDS:
            await self._sleep(seconds)
            known = await self._store.find_completion(activation_token)
            if known is not None and known.origin_id == origin_id:
                return Completion(known, first=False)
        return None

    async def _record_for_owner(
        self, reported: ReportedIntegration, activation_token: str, *, actor: str
    ) -> None:
        """Record an integration for the origin id that Kombo names: Kombo cannot list integrations later."""
        owner = reported.origin_id
        if owner is not None and await self._store.has_minted_link(owner):
            await self._record(reported, activation_token, owner, actor=actor, by_owner=False)

    async def _record(
        self,
        reported: ReportedIntegration,
        activation_token: str,
        origin_id: str,
        *,
        actor: str,
        by_owner: bool = True,
    ) -> Completion | None:
        """Record an integration; return None if it was deleted before, because a deletion is final."""
        completion = await self._store.save_completion(
            reported,
            activation_token=activation_token,
            origin_id=origin_id,
            actor=actor,
            by_owner=by_owner,
        )
        if completion is not None:
            self._wake.dispatcher()
            self._wake.details()
        return completion
