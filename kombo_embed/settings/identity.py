"""What the settings that say who is signed in may hold."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_settings import NoDecode

from kombo_embed.urls import is_private_url

AuthMethod = Literal["callable", "session", "request_user", "bearer"]
# Asymmetric ones alone (RFC 7518, 3.1; RFC 8037; RFC 9864): an issuer's keys are public, so with HS256
# anybody who can read them could sign, and with none anybody at all.
Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
    "Ed448",
]


def _algorithms(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    known = get_args(Algorithm)
    if not names or not set(names) <= set(known):
        raise ValueError(
            f"each must be one of {', '.join(known)}; none and HS* would let anybody sign who reads "
            "the issuer's public keys"
        )
    return names


def _private_url(value: str) -> str:
    if re.fullmatch(r"[\x21-\x7e]+", value) is None or not is_private_url(value) or "#" in value:
        raise ValueError("must be a URL such as https://login.example.com; http is for this machine alone")
    return value


def _issuer(value: str) -> str:
    # OpenID Connect Discovery 1.0, 3: no query and no fragment.
    if "?" in _private_url(value):
        raise ValueError("must be the issuer's URL exactly as its tokens name it, without a query")
    return value


Algorithms = Annotated[tuple[Algorithm, ...], NoDecode, BeforeValidator(_algorithms), Field(min_length=1)]
NonEmpty = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Issuer = Annotated[str, AfterValidator(_issuer)]
PrivateUrl = Annotated[str, AfterValidator(_private_url)]
