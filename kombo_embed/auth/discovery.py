"""Fetches an OpenID issuer's keys, which its discovery document locates."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from authlib.oidc.discovery import (  # type: ignore[import-untyped]  # it ships no types
    OpenIDProviderMetadata,
    get_well_known_url,
)

from kombo_embed.auth.jwk import KeySet, parse_key_set
from kombo_embed.errors import IdentityUnavailable
from kombo_embed.http_client import HttpClient, HttpError
from kombo_embed.urls import is_private_url

if TYPE_CHECKING:
    import httpx

BODY_MAX_BYTES = 256 * 1024


class Issuer:
    """An OpenID issuer. Constructing it makes no call; close it with `aclose`.

    Without a ``jwks_url``, OpenID Connect Discovery 1.0 locates the keys. ``timeout_seconds`` limits one
    `fetch_keys`.
    """

    def __init__(
        self,
        *,
        issuer: str,
        jwks_url: str | None,
        timeout_seconds: float,
        connect_timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._http = HttpClient(
            url=jwks_url or issuer,
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def fetch_keys(self) -> KeySet:
        """Fetch the keys that the issuer publishes.

        Raises `IdentityUnavailable` if it cannot be reached in time, or its responses cannot be used.
        """
        deadline = self._http.deadline()
        url = self._jwks_url or await self._discover(deadline)
        body = await self._get(url, "the key set", deadline=deadline)
        try:
            return parse_key_set(body)
        except ValueError as error:
            raise IdentityUnavailable(f"the issuer's key set cannot be used: {error}") from None

    async def _discover(self, deadline: float) -> str:
        url = get_well_known_url(self._issuer, external=True)
        body = await self._get(url, "the discovery document", deadline=deadline)
        try:
            return _parse_jwks_uri(json.loads(body), self._issuer)
        except (ValueError, RecursionError) as error:
            # No message of json's, authlib's or ours contains a part of the document.
            raise IdentityUnavailable(f"the issuer's discovery document cannot be used: {error}") from None

    async def _get(self, url: str, what: str, *, deadline: float) -> bytes:
        try:
            response = await self._http.request("GET", url, deadline=deadline, body_max_bytes=BODY_MAX_BYTES)
        except HttpError as error:
            raise IdentityUnavailable(f"{what} cannot be fetched: {error}") from None
        if response.status != HTTPStatus.OK:
            raise IdentityUnavailable(f"{what} was answered with status {response.status}")
        return response.body


def _parse_jwks_uri(document: Any, issuer: str) -> str:  # noqa: ANN401 - JSON from the issuer
    if not isinstance(document, dict) or not isinstance(document.get("jwks_uri"), str):
        raise ValueError("it has no jwks_uri")  # noqa: TRY004 - the input is wrong, not a type of ours
    # Discovery 1.0, 4.3: exactly equal, or one issuer could impersonate another.
    if document.get("issuer") != issuer:
        raise ValueError("its issuer is not the configured one")
    metadata = OpenIDProviderMetadata(document)
    metadata.validate_issuer()
    metadata.validate_jwks_uri()
    uri: str = metadata["jwks_uri"]
    if not is_private_url(uri):
        raise ValueError("its jwks_uri is not https")
    return uri
