"""The network under `kombo_embed.kombo.protocol`: one httpx client for the life of the app.

Every call has one deadline over all of it, follows no redirect, reads no more than it must, and leaves
nothing in httpx's logs: its lines hold URLs, and ours hold activation tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

import httpx

from kombo_embed.errors import (
    ActivationRejected,
    KomboInvalidResponse,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
)
from kombo_embed.kombo import protocol
from kombo_embed.models import EndUser, LinkRequest, ReportedIntegration
from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.kombo")

BODY_MAX_BYTES = 64 * 1024
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60)
FOREIGN_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)

_calling_kombo: ContextVar[bool] = ContextVar("kombo_embed_calling_kombo", default=False)


class KomboClient:
    """Calls Kombo with the API key. Close it with `aclose`.

    Args:
        base_url: Kombo's base URL, without a slash at the end.
        api_key: The bearer key.
        timeout: Seconds for a whole call, from its start to the last byte.
        connect_timeout: Seconds for the connection alone.
        clock: Where time comes from.
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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        _silence_foreign_loggers()
        self._base_url = base_url
        self._timeout = timeout
        self._clock = clock
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
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def create_link(self, end_user: EndUser, request: LinkRequest) -> str:
        """Mint an EMBEDDED connection link.

        Raises:
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        return protocol.read_link(await self._call(protocol.create_link(end_user, request)))

    async def integration_by_token(self, activation_token: str) -> ReportedIntegration:
        """Exchange an activation token for the integration that it stands for.

        Raises:
            InvalidRequest: The token cannot be one of Kombo's; nothing was sent.
            ActivationRejected: Kombo does not accept the token.
            KomboError: Kombo failed, refused our key, or could not be reached in time.
        """
        request = protocol.integration_by_token(activation_token)
        try:
            body = await self._call(request)
        except KomboRejected as error:
            # Which code a spent or unknown token gets is documented nowhere: all of this kind mean the same.
            if error.cause == "request":
                raise ActivationRejected("Kombo does not accept this activation token.") from None
            raise
        return protocol.read_integration(body)

    async def _call(self, request: protocol.KomboRequest) -> bytes:
        with _quietly():
            try:
                async with asyncio.timeout(self._timeout):
                    status, retry_after, body = await self._exchange(request)
            except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
                raise KomboTimeout(f"Kombo did not answer within {self._timeout:g} s.") from None
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                logger.warning("kombo.unreachable", extra={"cause": type(error).__name__})
                raise KomboUnavailable(
                    "Kombo cannot be reached.", retry_after=protocol.RETRY_AFTER_DEFAULT
                ) from None
        if status == httpx.codes.OK:
            return body
        failure = protocol.read_error(
            status, retry_after, body, now=datetime.fromtimestamp(self._clock.time(), UTC)
        )
        logger.warning("kombo.refused", extra={"status": status, "error_code": failure.code})
        raise failure

    async def _exchange(self, request: protocol.KomboRequest) -> tuple[int, str | None, bytes]:
        url = self._base_url + request.path
        async with self._client.stream(request.method, url, json=request.body) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise KomboInvalidResponse("Kombo's answer is compressed, which was not asked for.")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    raise KomboInvalidResponse(f"Kombo's answer is longer than {BODY_MAX_BYTES} bytes.")
            return response.status_code, response.headers.get("retry-after"), bytes(body)


class _NotWhileCallingKombo(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _calling_kombo.get()


_filter = _NotWhileCallingKombo()


def _silence_foreign_loggers() -> None:
    for name in FOREIGN_LOGGERS:
        logging.getLogger(name).addFilter(_filter)


@contextmanager
def _quietly() -> Iterator[None]:
    reset = _calling_kombo.set(True)
    try:
        yield
    finally:
        _calling_kombo.reset(reset)
