"""The network under Kombo's words: one httpx client for the life of the app.

Every call has one deadline over all its attempts, follows no redirect, reads no more than it must, and leaves
nothing in httpx's logs: its lines hold URLs, and ours hold activation tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx
import stamina

from kombo_embed.errors import (
    ActivationRejected,
    KomboInvalidResponse,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
)
from kombo_embed.kombo import requests, responses
from kombo_embed.kombo.circuit_breaker import CircuitBreaker
from kombo_embed.kombo.retry import RetryPolicy
from kombo_embed.logs import mute_loggers, muted
from kombo_embed.models import AnyLinkRequest, EndUser, LinkType
from kombo_embed.ports import Clock, CoolDown
from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, Tool
from kombo_embed.urls import is_loopback

logger = logging.getLogger("kombo_embed.kombo")

FOREIGN_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "stamina",
)
BODY_MAX_BYTES = 64 * 1024
LONG_BODY_MAX_BYTES = 4 * 1024 * 1024  # for lists of tools and models
ATTEMPTS = 3
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60)


class KomboClient:
    """Calls Kombo with the API key. Close it with `aclose`.

    Args:
        base_url: Kombo's base URL, without a slash at the end.
        api_key: The bearer key.
        timeout: Seconds for a whole call, from its start to the last byte of its last attempt.
        connect_timeout: Seconds for the connection alone.
        clock: Where time comes from.
        share_cool_down: Called with each wait that Kombo asks for.
        transport: Another httpx transport than the network, for tests.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout: float,
        connect_timeout: float,
        clock: Clock,
        share_cool_down: Callable[[CoolDown], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        mute_loggers(*FOREIGN_LOGGERS)
        self._base_url = base_url
        self._timeout = timeout
        self._clock = clock
        self._circuit_breaker = CircuitBreaker(clock=clock, share_cool_down=share_cool_down)
        self._client = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {api_key}",
                "Accept": "application/json",
                # A small compressed answer may be a huge one: answers are short, so plain ones are asked for.
                "Accept-Encoding": "identity",
                "User-Agent": "kombo-embed",
            },
            timeout=httpx.Timeout(timeout, connect=min(connect_timeout, timeout)),
            limits=LIMITS,
            follow_redirects=False,
            # What Kombo sets for one call is not sent with another: calls are for different people.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # A proxy to the outside world does not know the way to a sandbox on this machine.
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def apply_cool_down(self, cool_down: CoolDown) -> None:
        """Do not call Kombo for as long as it told another process."""
        self._circuit_breaker.apply_cool_down(cool_down)

    async def mint_link(
        self, end_user: EndUser, request: AnyLinkRequest, *, link_type: LinkType = "EMBEDDED"
    ) -> str:
        """Mint a connection, reconnection or setup link.

        Raises:
            IntegrationNotFound: The integration to reconnect cannot be one of Kombo's; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        return responses.parse_link(await self._call(requests.mint_link(end_user, request, link_type)))

    async def integration_by_token(self, activation_token: str) -> ReportedIntegration:
        """Exchange an activation token for the integration that it stands for.

        Raises:
            InvalidRequest: The token cannot be one of Kombo's; nothing was sent.
            ActivationRejected: Kombo does not accept the token.
            KomboError: Kombo failed, refused our key, or could not be reached in time.
        """
        request = requests.integration_by_token(activation_token)
        try:
            body = await self._call(request)
        except KomboRejected as error:
            # Which code a spent or unknown token gets is documented nowhere: all of this kind mean the same.
            if error.cause == "request":
                raise ActivationRejected("Kombo does not accept this activation token.") from None
            raise
        return responses.parse_integration(body)

    async def integration_details(self, integration_id: str) -> IntegrationDetails:
        """How an integration is.

        Raises:
            IntegrationNotFound: The id cannot be one of Kombo's; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        request = requests.integration_details(integration_id)
        return responses.parse_details(await self._call(request, body_max_bytes=LONG_BODY_MAX_BYTES))

    async def set_enabled(self, integration_id: str, *, enabled: bool) -> None:
        """Switch an integration on or off.

        Raises:
            IntegrationNotFound: The id cannot be one of Kombo's; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        await self._call(requests.set_enabled(integration_id, enabled=enabled))

    async def delete_integration(self, integration_id: str) -> None:
        """Delete an integration at Kombo, for good.

        Raises:
            IntegrationNotFound: The id cannot be one of Kombo's; nothing was sent.
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        await self._call(requests.delete_integration(integration_id))

    async def check_api_key(self) -> str:
        """Kombo's id of the environment that the API key belongs to.

        Raises:
            KomboError: Kombo refused the key, failed, or could not be reached in time.
        """
        return responses.parse_environment(await self._call(requests.check_api_key()))

    async def list_tools(self, category: str) -> list[Tool]:
        """The tools of a category.

        Raises:
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        request = requests.list_tools(category)
        return responses.parse_tools(await self._call(request, body_max_bytes=LONG_BODY_MAX_BYTES))

    async def _call(self, request: requests.KomboRequest, *, body_max_bytes: int = BODY_MAX_BYTES) -> bytes:
        deadline = asyncio.get_running_loop().time() + self._timeout
        retries = stamina.retry_context(on=RetryPolicy(deadline), attempts=ATTEMPTS, timeout=None)
        with muted():
            async for attempt in retries:
                # Outside the attempt: what the gate refuses is told at once, not tried again.
                passage = self._circuit_breaker.enter(sent=attempt.num > 1)
                with attempt, passage:
                    return await self._attempt(request, deadline, body_max_bytes)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, request: requests.KomboRequest, deadline: float, body_max_bytes: int) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                status, retry_after, body = await self._exchange(request, body_max_bytes)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            raise KomboTimeout(f"Kombo did not answer within {self._timeout:g} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            logger.warning("kombo.unreachable: %s", type(error).__name__)
            raise KomboUnavailable(
                "Kombo cannot be reached.", retry_after=responses.RETRY_AFTER_DEFAULT
            ) from None
        if status == httpx.codes.OK:
            return body
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        failure = responses.parse_error(status, retry_after, body, now=now)
        logger.warning("kombo.refused: status %s, %s", status, failure)
        raise failure

    async def _exchange(
        self, request: requests.KomboRequest, body_max_bytes: int
    ) -> tuple[int, str | None, bytes]:
        url = self._base_url + request.path
        async with self._client.stream(request.method, url, json=request.body) as response:
            retry_after = response.headers.get("retry-after")
            try:
                body = await _read_body(response, body_max_bytes)
            except KomboInvalidResponse:
                if response.status_code == httpx.codes.OK:
                    raise
                body = b""  # the status tells enough of a failure
            return response.status_code, retry_after, body


async def _read_body(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise KomboInvalidResponse("Kombo's answer is compressed, which was not asked for.")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise KomboInvalidResponse(f"Kombo's answer is longer than {max_bytes} bytes.")
    return bytes(body)
