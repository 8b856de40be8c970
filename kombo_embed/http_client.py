"""The bounded HTTP client: every call to another service goes through it.

A call has a deadline over everything, follows no redirect, keeps no cookie, reads a limited number of bytes
and accepts no compressed body. The libraries below log nothing of it, since URLs can contain tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx

from kombo_embed.errors import ConfigurationError
from kombo_embed.logs import mute_loggers, muted
from kombo_embed.otel import without_http_spans
from kombo_embed.urls import is_loopback

CONNECTIONS = 100
LIMITS = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=20, keepalive_expiry=60)
FOREIGN_LOGGERS = (
    *("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2"),
    *("httpcore.proxy", "httpcore.socks"),
)
HEADERS = {
    "Accept": "application/json",
    # A short compressed body can expand to a huge one.
    "Accept-Encoding": "identity",
    "User-Agent": "kombo-embed",
}


class HttpError(Exception):
    """A call failed. The messages and the contexts hold nothing of the call."""


class HttpTimeout(HttpError):
    """The deadline passed."""


class HttpUnreachable(HttpError):
    """The call failed below HTTP. The message is the name of the cause's type, such as ``ConnectError``."""


class HttpBodyRejected(HttpError):
    """The body is compressed or too long. ``response`` is what came before it."""

    def __init__(self, message: str, *, response: HttpResponse) -> None:
        super().__init__(message)
        self.response = response


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response that was read to its end."""

    status: int
    retry_after: str | None = None
    body: bytes = field(default=b"", repr=False)
    date: str | None = None


class HttpClient:
    """Calls one service. Constructing it opens no connection; close it with `aclose`.

    If ``url``, any URL of the service, is on this machine, the environment's proxies are not used.
    ``timeout_seconds`` is the deadline of a call, from its start to the last byte.
    """

    def __init__(
        self,
        *,
        url: str,
        timeout_seconds: float,
        connect_timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        mute_loggers(*FOREIGN_LOGGERS)
        self._timeout_seconds = timeout_seconds
        # The pool of httpcore looks at all connections for each call that waits in it, whenever a call ends.
        self._free_connections = asyncio.Semaphore(CONNECTIONS)
        self._client = _create_client(
            headers={**HEADERS, **(headers or {})},
            timeout=httpx.Timeout(timeout_seconds, connect=min(connect_timeout_seconds, timeout_seconds)),
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def deadline(self) -> float:
        """Return the event loop's time at which a call that starts now has to end."""
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def request(
        self,
        method: str,
        url: str,
        *,
        deadline: float,
        body_max_bytes: int,
        json: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Send a request and read the whole response, whatever its status. Calls can share a deadline.

        Raises an `HttpError`: `HttpTimeout`, `HttpUnreachable` or `HttpBodyRejected`.
        """
        try:
            with muted(), without_http_spans():
                async with asyncio.timeout_at(deadline), self._free_connections:
                    return await _read(self._client.stream(method, url, json=json), body_max_bytes)
        except HttpError:
            raise
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            raise HttpTimeout(f"no response within {self._timeout_seconds:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever the libraries below raise, in any version
            raise HttpUnreachable(type(error).__name__) from None


def _create_client(**options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - those of httpx.AsyncClient
    # Calls are made for different people: a cookie of one call must not be sent with another.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    try:
        return httpx.AsyncClient(limits=LIMITS, follow_redirects=False, cookies=cookies, **options)
    except Exception as error:  # httpx reads the environment
        raise ConfigurationError(
            f"kombo-embed cannot start: the HTTP client cannot be created ({type(error).__name__}). "
            "Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (SOCKS needs the package socksio), "
            "SSL_CERT_FILE and SSL_CERT_DIR."
        ) from error


async def _read(stream: AbstractAsyncContextManager[httpx.Response], max_bytes: int) -> HttpResponse:
    async with stream as response:
        retry_after, date = (response.headers.get(name) for name in ("retry-after", "date"))
        head = HttpResponse(response.status_code, retry_after, date=date)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HttpBodyRejected("the body is compressed, which was not asked for", response=head)
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise HttpBodyRejected(f"the body is longer than {max_bytes} bytes", response=head)
        return replace(head, body=bytes(body))
