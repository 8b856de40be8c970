"""Calls Kombo: one method per endpoint, with one deadline over all attempts of a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import stamina

from kombo_embed.errors import (
    ActivationRejected,
    KomboInvalidResponse,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
)
from kombo_embed.http_client import HttpBodyRejected, HttpClient, HttpResponse, HttpTimeout, HttpUnreachable
from kombo_embed.kombo import requests, responses
from kombo_embed.kombo.circuit_breaker import CircuitBreaker
from kombo_embed.kombo.retry import RetryPolicy
from kombo_embed.logs import mute_loggers, muted
from kombo_embed.models import AnyLinkRequest, EndUser, LinkType
from kombo_embed.ports import Clock, CoolDown
from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, Tool

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("kombo_embed.kombo")

BODY_MAX_BYTES = 64 * 1024
LONG_BODY_MAX_BYTES = 4 * 1024 * 1024  # lists of tools and models
ATTEMPTS = 3


class KomboClient:
    """Calls Kombo with the API key. Close it with `aclose`.

    Args:
        base_url: Kombo's base URL, without a slash at the end.
        api_key: The bearer key.
        timeout_seconds: The deadline of a call, from its start to the last byte of its last attempt.
        connect_timeout_seconds: The limit for a connection alone.
        clock: The source of time.
        share_cool_down: Called with each wait that Kombo asks for.
        transport: Replaces the network, for tests.
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

    async def mint_link(
        self, end_user: EndUser, request: AnyLinkRequest, *, link_type: LinkType = "EMBEDDED"
    ) -> str:
        """Mint a connection, reconnection or setup link.

        Raises:
            IntegrationNotFound: The integration's id is not of Kombo's form; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        return responses.parse_link(await self._call(requests.mint_link(end_user, request, link_type)))

    async def integration_by_token(self, activation_token: str) -> ReportedIntegration:
        """Exchange an activation token for its integration.

        Raises:
            InvalidRequest: The token is not of Kombo's form; nothing was sent.
            ActivationRejected: Kombo does not accept the token.
            KomboError: Kombo failed, refused our key, or could not be reached in time.
        """
        request = requests.integration_by_token(activation_token)
        try:
            body = await self._call(request)
        except KomboRejected as error:
            # Kombo does not document the code for a used or unknown token, so all codes of this kind count.
            if error.cause == "request":
                raise ActivationRejected("Kombo does not accept this activation token.") from None
            raise
        return responses.parse_integration(body)

    async def integration_details(self, integration_id: str) -> IntegrationDetails:
        """Return an integration's current details.

        Raises:
            IntegrationNotFound: The id is not of Kombo's form; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        request = requests.integration_details(integration_id)
        return responses.parse_details(await self._call(request, body_max_bytes=LONG_BODY_MAX_BYTES))

    async def delete_integration(self, integration_id: str) -> None:
        """Delete an integration at Kombo for good.

        Raises:
            IntegrationNotFound: The id is not of Kombo's form; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        await self._call(requests.delete_integration(integration_id))

    async def check_api_key(self) -> str:
        """Return Kombo's id of the environment that the API key belongs to.

        Raises:
            KomboError: Kombo refused the key, failed, or could not be reached in time.
        """
        return responses.parse_environment(await self._call(requests.check_api_key()))

    async def list_tools(self, category: str) -> list[Tool]:
        """Return the tools of a category.

        Raises:
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        request = requests.list_tools(category)
        return responses.parse_tools(await self._call(request, body_max_bytes=LONG_BODY_MAX_BYTES))

    async def _call(self, request: requests.KomboRequest, *, body_max_bytes: int = BODY_MAX_BYTES) -> bytes:
        deadline = self._http.deadline()
        retries = stamina.retry_context(on=RetryPolicy(deadline), attempts=ATTEMPTS, timeout=None)
        with muted():
            async for attempt in retries:
                # Outside the attempt: a rejection by the circuit breaker is final, not a reason to retry.
                call = self._circuit_breaker.enter(sent=attempt.num > 1)
                with attempt, call:
                    return await self._attempt(request, deadline=deadline, body_max_bytes=body_max_bytes)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(
        self, request: requests.KomboRequest, *, deadline: float, body_max_bytes: int
    ) -> bytes:
        try:
            response = await self._send(request, deadline=deadline, body_max_bytes=body_max_bytes)
        except HttpTimeout:
            raise KomboTimeout(f"Kombo did not answer within {self._timeout_seconds:g} s.") from None
        except HttpUnreachable as error:
            logger.warning("kombo.unreachable", extra={"error": str(error)})
            raise KomboUnavailable(
                "Kombo cannot be reached.", retry_after=responses.RETRY_AFTER_DEFAULT_SECONDS
            ) from None
        if response.status == HTTPStatus.OK:
            return response.body
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        failure = responses.parse_error(response.status, response.retry_after, response.body, now=now)
        fields = {"status": response.status, "error_code": failure.code, "reason": str(failure)}
        logger.warning("kombo.refused", extra=fields)
        raise failure

    async def _send(
        self, request: requests.KomboRequest, *, deadline: float, body_max_bytes: int
    ) -> HttpResponse:
        try:
            return await self._http.request(
                request.method,
                self._base_url + request.path,
                deadline=deadline,
                body_max_bytes=body_max_bytes,
                json=request.body,
            )
        except HttpBodyRejected as error:
            if error.response.status == HTTPStatus.OK:
                raise KomboInvalidResponse(f"Kombo's response cannot be used: {error}.") from None
            return error.response  # the status says enough about a failure
