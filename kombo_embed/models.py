"""What this package speaks about: people, links, integrations, events.

Frozen values that know no framework, no database and no HTTP. Whatever a person should not read in a log is
left out of their ``repr``.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, NamedTuple, Self

from kombo_embed.errors import IdentityError

EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@.\x00-\x1f\x7f]+(\.[^\s@.\x00-\x1f\x7f]+)*")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
ORIGIN_ID_MAX_LENGTH = 512  # characters: databases index it
VERIFIED_KEPT = 1024
EMAIL_MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets

Category = Literal["HRIS", "ATS", "ASSESSMENT", "LMS"]
Language = Literal["en", "de", "fr", "it", "es"]
LinkType = Literal["EMBEDDED", "MAGIC_LINK"]
Duplicates = Literal["offer_reconnect", "allow"]


@dataclass(frozen=True, slots=True)
class EndUser:
    """The signed-in person of your customer who connects a tool.

    Args:
        email: The person's email; Kombo shows it beside the integration.
        organization_name: Your customer's name, as a person would write it.
        origin_id: Your customer's id in your own database, as a string. Integrations are recorded against it,
            so everybody of one customer shares it and nobody else does.

    Raises:
        IdentityError: A field is empty, not a string, has a NUL character, or is no email.
    """

    email: str = field(repr=False)
    organization_name: str = field(repr=False)
    origin_id: str

    def __post_init__(self) -> None:
        email, name, origin_id = self.email, self.organization_name, self.origin_id
        is_text = type(email) is type(name) is type(origin_id) is str
        verify = _verify_once if is_text else _verify
        verify(email, name, origin_id)


def _verify(email: object, organization_name: object, origin_id: object) -> None:
    named = ("email", email), ("organization_name", organization_name), ("origin_id", origin_id)
    for name, value in named:
        if not isinstance(value, str):
            raise IdentityError(
                f"EndUser.{name} must be a string, not {type(value).__name__}; pass str(...) of it"
            )
        if not value or value.isspace():
            raise IdentityError(f"EndUser.{name} must not be empty")
        if not value.isascii() and LONE_SURROGATE.search(value):
            raise IdentityError(f"EndUser.{name} has a lone surrogate, which is no text")
        if "\x00" in value:
            raise IdentityError(f"EndUser.{name} has a NUL character, which databases cannot hold")
    if len(str(origin_id)) > ORIGIN_ID_MAX_LENGTH:
        raise IdentityError(f"EndUser.origin_id is longer than {ORIGIN_ID_MAX_LENGTH} characters")
    if len(str(email)) > EMAIL_MAX_LENGTH or EMAIL.fullmatch(str(email)) is None:
        raise IdentityError("EndUser.email is not an email address")


# An app makes its end users anew in each request, and most ask several times.
_verify_once = functools.lru_cache(VERIFIED_KEPT)(_verify)


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What the server, never the browser, decides about a link; None leaves it to the settings and to Kombo.

    Args:
        scope_config_id: The scope config to use (Kombo: an advanced feature).
        remote_environment: Which of the tool's environments; only together with a tool.
        enable_filtering: Let the end user choose what is shared; HRIS only.
        enable_field_mapping: Let the end user map fields.
        enable_static_ips: Let Kombo call the tool from fixed addresses.
        duplicates: ``allow`` a second integration of the same tool and category (subsidiaries may have an
            account each), or ``offer_reconnect`` in its place. Only where the tool is known before the flow.

    Source: Kombo's "Create connection link".
    """

    scope_config_id: str | None = None
    remote_environment: str | None = None
    enable_filtering: bool | None = None
    enable_field_mapping: bool | None = None
    enable_static_ips: bool | None = None
    duplicates: Duplicates | None = None

    def over(self, defaults: LinkOptions) -> LinkOptions:
        """These, and the defaults where these say nothing."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What a connection link is asked for; with the end user, all that is baked into it."""

    category: str
    language: str
    tool: str | None = None
    options: LinkOptions = field(default=LinkOptions(), hash=False)  # seldom different, and slow to hash


@dataclass(frozen=True, slots=True)
class RelinkRequest:
    """What a reconnection link is asked for: new credentials for an integration that exists."""

    integration_id: str
    language: str
    scope_config_id: str | None = None


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """What a setup link is asked for: the steps that an integration still needs."""

    integration_id: str
    language: str


AnyLinkRequest = LinkRequest | RelinkRequest | SetupRequest


class _LinkKeyParts(NamedTuple):
    environment: str
    email: str
    organization_name: str
    origin_id: str
    request: AnyLinkRequest


class CacheKey(_LinkKeyParts):
    """Whose link, and for what: two requests get the same link only if all of this is equal.

    A flat tuple, since each request looks one up: its hash and its comparison need no Python.
    """

    __slots__ = ()

    def __new__(cls, environment: str, end_user: EndUser, request: AnyLinkRequest) -> Self:
        """The key of this end user's link."""
        who = end_user.email, end_user.organization_name, end_user.origin_id
        return super().__new__(cls, environment, *who, request)

    @property
    def end_user(self) -> EndUser:
        """Whose link."""
        return EndUser(self.email, self.organization_name, self.origin_id)

    def __repr__(self) -> str:
        return f"CacheKey(environment={self.environment!r}, origin_id={self.origin_id!r}, {self.request!r})"


class ConnectionLink(NamedTuple):
    """A short-lived EMBEDDED link. It is a credential: its ``repr`` does not show it.

    It is kept as the body that a browser gets, encoded once and not for each answer. ``deadline``, on the
    process's monotonic clock in seconds, is what expiry is decided by, so that a corrected wall clock never
    makes a dead link look alive; the end that people read, in the body, is on the wall clock. Both count from
    before the request to Kombo was sent.
    """

    body: bytes
    deadline: float

    def __repr__(self) -> str:
        return f"ConnectionLink(deadline={self.deadline})"

    @classmethod
    def minted(cls, link: str, *, expires_at: datetime, deadline: float) -> ConnectionLink:
        """The link of Kombo's answer, and when its hour is over."""
        end = expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # RFC 3339
        body = json.dumps({"link": link, "expires_at": end}, ensure_ascii=False, separators=(",", ":"))
        return cls(body.encode(), deadline)

    @property
    def link(self) -> str:
        """The URL."""
        return str(json.loads(self.body)["link"])


class CacheStatus(StrEnum):
    """What the link cache did for a request, in the words of RFC 9211."""

    HIT = "hit"
    STORED = "stored"
    COLLAPSED = "collapsed"
    PASSED = "passed"
    STALE = "stale"


class IssuedLink(NamedTuple):
    """A link on its way to the browser, with what the cache did and how many seconds it has left."""

    link: ConnectionLink
    outcome: CacheStatus
    remaining: float
