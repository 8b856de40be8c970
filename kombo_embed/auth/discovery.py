"""The way to an OpenID issuer: its discovery document and its keys, over httpx."""

from __future__ import annotations

import asyncio
import json
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oidc.discovery import (  # type: ignore[import-untyped]  # it ships no types
    OpenIDProviderMetadata,
    get_well_known_url,
)
from joserfc.jwk import Key

from kombo_embed.auth.jwk_set import parse_key_set
from kombo_embed.errors import IdentityUnavailable
from kombo_embed.urls import is_loopback, is_private_url

BODY_MAX_BYTES = 256 * 1024


class Issuer:
    """Asks an issuer for its keys. Constructing it calls nobody; close it with `aclose`.

    Args:
        issuer: The issuer's URL, exactly as its tokens name it.
        jwks_url: Where its keys are; None looks into its discovery document (OpenID Connect Discovery 1.0).
        timeout: Seconds for all that one `fetch_keys` does.
        connect_timeout: Seconds for a connection alone.
        transport: Another httpx transport than the network, for tests.
    """

    def __init__(
        self,
        *,
        issuer: str,
        jwks_url: str | None,
        timeout: float,
        connect_timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._timeout = timeout
        self._client = httpx.AsyncClient(
            # A small compressed answer may be a huge one: answers are short, so plain ones are asked for.
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "kombo-embed",
            },
            timeout=httpx.Timeout(timeout, connect=min(connect_timeout, timeout)),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # A proxy to the outside world does not know the way to this machine.
            trust_env=not is_loopback(urlsplit(jwks_url or issuer).hostname or ""),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def fetch_keys(self) -> tuple[Key, ...]:
        """The keys that the issuer publishes now, as far as they can be used.

        Raises:
            IdentityUnavailable: It cannot be reached in time, or its answers cannot be used.
        """
        try:
            async with asyncio.timeout(self._timeout):
                url = self._jwks_url or await self._discover()
                body = await self._get(url, "the key set")
        except TimeoutError:
            raise IdentityUnavailable(f"the issuer did not answer within {self._timeout:g} s") from None
        try:
            return parse_key_set(body)
        except ValueError as error:
            raise IdentityUnavailable(f"the issuer's key set cannot be used: {error}") from None

    async def _discover(self) -> str:
        body = await self._get(get_well_known_url(self._issuer, external=True), "the discovery document")
        try:
            return _jwks_uri(json.loads(body), self._issuer)
        except (ValueError, RecursionError) as error:
            # What json says of a document holds nothing of it, and the rest is authlib's or ours.
            raise IdentityUnavailable(f"the issuer's discovery document cannot be used: {error}") from None

    async def _get(self, url: str, what: str) -> bytes:
        try:
            async with self._client.stream("GET", url) as response:
                if response.status_code != httpx.codes.OK:
                    raise IdentityUnavailable(f"{what} was answered with status {response.status_code}")
                return await _read_body(response, what)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise IdentityUnavailable(f"{what} cannot be had: {type(error).__name__}") from None


def _jwks_uri(document: Any, issuer: str) -> str:  # noqa: ANN401 - JSON of somebody else's
    if not isinstance(document, dict) or not isinstance(document.get("jwks_uri"), str):
        raise ValueError("it names no jwks_uri")  # noqa: TRY004 - what was received is wrong, not a type of ours
    # Discovery 1.0, 4.3: exactly, or one issuer could speak for another.
    if document.get("issuer") != issuer:
        raise ValueError("its issuer is not the one that was asked for")
    metadata = OpenIDProviderMetadata(document)
    metadata.validate_issuer()
    metadata.validate_jwks_uri()
    uri: str = metadata["jwks_uri"]
    if not is_private_url(uri):
        raise ValueError("its jwks_uri is not https")
    return uri


async def _read_body(response: httpx.Response, what: str) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise IdentityUnavailable(f"{what} is compressed, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise IdentityUnavailable(f"{what} is longer than {BODY_MAX_BYTES} bytes")
    return bytes(body)
