"""Calls Kombo: one method per endpoint, with one deadline over all attempts of a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

import stamina

from kombo_embed import errors
from kombo_embed.http_client import HttpBodyRejected, HttpClient, HttpResponse, HttpTimeout, HttpUnreachable
from kombo_embed.kombo import requests, responses
from kombo_embed.kombo.circuit_breaker import CircuitBreaker
from kombo_embed.kombo.requests import KomboRequest
from kombo_embed.kombo.retry import RetryPolicy
from kombo_embed.logs import mute_loggers, muted
from kombo_embed.models import AnyLinkRequest, EndUser, LinkType
from kombo_embed.ports import Clock, CoolDown, utc_now
from kombo_embed.upstream import ApiKeyCheck, IntegrationDetails, ReportedIntegration, Tool

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("kombo_embed.kombo")

ATTEMPTS = 3


class KomboClient:
    """Calls Kombo with the API key. Close it with `aclose`.

    ``timeout_seconds`` limits a call from its start to the last byte of its last attempt. All calls raise
    `KomboError`; an id or a token that is not of Kombo's form raises `IntegrationNotFound` or
    `InvalidRequest`, and nothing is sent.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout_seconds: float,
        connect_timeout_seconds: float,
        clock: Clock,
        share_cool_down: Callable[[CoolDown], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        mute_loggers("stamina")
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._circuit_breaker = CircuitBreaker(clock=clock, share_cool_down=share_cool_down)
        # What background calls meet pauses them alone: no end user waits for them.
        self._background = CircuitBreaker(clock=clock)
        self._http = HttpClient(
            url=base_url,
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            headers={"Authorization": f"Bearer {api_key}"},
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def apply_cool_down(self, cool_down: CoolDown) -> None:
        """Do not call Kombo during a wait that it asked another process for."""
        self._circuit_breaker.apply_cool_down(cool_down)

    def circuit_states(self) -> dict[str, str]:
        """Return the state of the circuit breaker for end users' calls, and of that for background calls."""
        return {"end_users": self._circuit_breaker.state, "background": self._background.state}

    async def mint_link(
        self, end_user: EndUser, request: AnyLinkRequest, *, link_type: LinkType = "EMBEDDED"
    ) -> str:
        """Mint a connection, reconnection or setup link."""
        body = await self._call(requests.mint_link(end_user, request, link_type))
        return responses.parse_link(body, api_url=self._base_url)

    async def integration_by_token(self, activation_token: str) -> ReportedIntegration:
        """Exchange an activation token for its integration, or raise `ActivationRejected`."""
        try:
            body = await self._call(requests.integration_by_token(activation_token))
        except errors.KomboRejected as error:
            # Kombo does not document the code for a used or unknown token, so all codes of this kind count.
            if error.cause == "request":
                raise errors.ActivationRejected("Kombo does not accept this activation token.") from None
            raise
        return responses.parse_integration(body)

    async def integration_details(self, integration_id: str) -> IntegrationDetails:
        """Return an integration's current details, in a background call: see `free_background_calls`."""
        body = await self._call_in_background(requests.integration_details(integration_id))
        details = responses.parse_details(body, api_url=self._base_url)
        if details.integration_id != integration_id:
            raise errors.KomboInvalidResponse("Kombo's response contains another integration.")
        return details

    def free_background_calls(self, limit: int) -> int:
        """Return how many background calls may begin now, at most ``limit``.

        Background calls obey the circuit breaker but do not count in it: neither can they open it, nor does
        their rate limit pause the calls that end users wait for. Each is one attempt; the caller retries.
        """
        return self._background.free_calls(limit) if self._circuit_breaker.free_calls(1) else 0

    async def delete_integration(self, integration_id: str) -> None:
        """Delete an integration at Kombo for good."""
        await self._call(requests.delete_integration(integration_id))

    async def check_api_key(self) -> ApiKeyCheck:
        """Return which environment the API key belongs to, and Kombo's time."""
        response = await self._exchange(requests.check_api_key())
        return responses.parse_api_key_check(response.body, date=response.date)

    async def list_tools(self, category: str) -> list[Tool]:
        """Return the tools of a category."""
        body = await self._call(requests.list_tools(category))
        return responses.parse_tools(body, api_url=self._base_url)

    async def _call_in_background(self, request: KomboRequest) -> bytes:
        self._circuit_breaker.reject_if_open()
        with muted(), self._background.enter():
            return (await self._attempt(request, deadline=self._http.deadline())).body

    async def _call(self, request: KomboRequest) -> bytes:
        return (await self._exchange(request)).body

    async def _exchange(self, request: KomboRequest) -> HttpResponse:
        deadline = self._http.deadline()
        retries = stamina.retry_context(on=RetryPolicy(deadline), attempts=ATTEMPTS, timeout=None)
        with muted():
            async for attempt in retries:
                # Outside the attempt: a rejection by the circuit breaker is final, not a reason to retry.
                call = self._circuit_breaker.enter(sent=attempt.num > 1)
                with attempt, call:
                    return await self._attempt(request, deadline=deadline)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, request: KomboRequest, *, deadline: float) -> HttpResponse:
        try:
            response = await self._send(request, deadline=deadline)
        except HttpTimeout as error:
            logger.warning("kombo.unreachable", extra={"error": str(error)})
            raise errors.KomboTimeout(f"Kombo did not answer within {self._timeout_seconds:g} s.") from None
        except HttpUnreachable as error:
            logger.warning("kombo.unreachable", extra={"error": str(error)})
            raise errors.KomboUnavailable(
                "Kombo cannot be reached.", retry_after=responses.RETRY_AFTER_DEFAULT_SECONDS
            ) from None
        if response.status == HTTPStatus.OK:
            return response
        now = utc_now(self._clock)
        failure = responses.parse_error(response.status, response.retry_after, response.body, now=now)
        fields = {"status": response.status, "error_code": failure.code, "reason": str(failure)}
        logger.warning("kombo.refused", extra=fields)
        raise failure

    async def _send(self, request: KomboRequest, *, deadline: float) -> HttpResponse:
        try:
            return await self._http.request(
                request.method,
                self._base_url + request.path,
                deadline=deadline,
                body_max_bytes=request.response_max_bytes,
                json=request.body,
            )
        except HttpBodyRejected as error:
            if error.response.status == HTTPStatus.OK:
                raise errors.KomboInvalidResponse(f"Kombo's response cannot be used: {error}.") from None
            return error.response  # the status says enough about a failure
