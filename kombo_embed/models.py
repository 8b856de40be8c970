"""Who asks for a link, for what, and the link itself.

Frozen values that know no framework, no database and no HTTP. Their ``repr`` leaves out what must not be
logged.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from kombo_embed.clock import rfc3339
from kombo_embed.errors import IdentityError

EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@.\x00-\x1f\x7f]+(\.[^\s@.\x00-\x1f\x7f]+)*")
EMAIL_MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
ORIGIN_ID_MAX_LENGTH = 512  # characters: databases index it
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
PREFETCHED = b',"prefetched_row_id":'  # in the body of a link that was only prefetched

Category = Literal["HRIS", "ATS", "ASSESSMENT", "LMS"]
Language = Literal["en", "de", "fr", "it", "es"]
LinkType = Literal["EMBEDDED", "MAGIC_LINK"]
Duplicates = Literal["offer_reconnect", "allow"]


@dataclass(frozen=True, slots=True)
class EndUser:
    """The signed-in person of your customer who connects a tool.

    Args:
        email: The person's email; Kombo displays it beside the integration.
        organization_name: Your customer's name, as a person would write it.
        origin_id: Your customer's id in your own database, as a string. Integrations are recorded under it,
            so all people of one customer share it, and no one else does.

    Raises:
        IdentityError: A field is empty, not a string, has a NUL character, or is not an email.
    """

    email: str = field(repr=False)
    organization_name: str = field(repr=False)
    origin_id: str

    def __post_init__(self) -> None:
        for name in ("email", "organization_name", "origin_id"):
            _validate_text(f"EndUser.{name}", getattr(self, name))
        _make_plain(self)
        if len(self.origin_id) > ORIGIN_ID_MAX_LENGTH:
            raise IdentityError(f"EndUser.origin_id is longer than {ORIGIN_ID_MAX_LENGTH} characters")
        if len(self.email) > EMAIL_MAX_LENGTH or EMAIL.fullmatch(self.email) is None:
            raise IdentityError("EndUser.email is not an email address")


def _make_plain(instance: object) -> None:
    """Replace strings of a subclass, such as markup: they may compare and serialize in their own way."""
    for name in instance.__slots__:  # type: ignore[attr-defined] # of a dataclass
        value = getattr(instance, name)
        if isinstance(value, str) and type(value) is not str:
            object.__setattr__(instance, name, str.__str__(value))


def is_origin_id(value: object) -> bool:
    """Return whether an end user can have this origin id: no other one is ever compared with theirs."""
    return isinstance(value, str) and 0 < len(value) <= ORIGIN_ID_MAX_LENGTH and is_storable(value)


def is_storable(text: str) -> bool:
    """Return whether UTF-8 can encode a text and every database can store it."""
    return "\x00" not in text and (text.isascii() or LONE_SURROGATE.search(text) is None)


def _validate_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise IdentityError(f"{name} must be a string, not {type(value).__name__}; pass str(...) of it")
    if not value or value.isspace():
        raise IdentityError(f"{name} must not be empty")
    if not is_storable(value):
        raise IdentityError(f"{name} has a NUL character, or a lone surrogate, which UTF-8 cannot encode")


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The choices about a link that only the server makes. None leaves one to the settings and to Kombo.

    Args:
        scope_config_id: The scope config to use (Kombo: an advanced feature).
        remote_environment: Which of the tool's environments; only together with a tool.
        enable_filtering: Let the end user choose what to share; HRIS only.
        enable_field_mapping: Let the end user map fields.
        enable_static_ips: Let Kombo call the tool from fixed addresses.
        duplicates: ``allow`` a second integration of the same tool and category (subsidiaries may have an
            account each), or ``offer_reconnect`` instead. Applies only if the tool is known before the flow.

    Source: Kombo's "Create connection link".
    """

    scope_config_id: str | None = None
    remote_environment: str | None = None
    enable_filtering: bool | None = None
    enable_field_mapping: bool | None = None
    enable_static_ips: bool | None = None
    duplicates: Duplicates | None = None

    def __post_init__(self) -> None:
        for name in ("scope_config_id", "remote_environment"):
            value = getattr(self, name)
            if isinstance(value, str) and not is_storable(value):
                raise IdentityError(f"LinkOptions.{name} has a NUL character or a lone surrogate")
        _make_plain(self)

    def over(self, defaults: LinkOptions) -> LinkOptions:
        """Return these options, with the defaults for those that are None."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What a connection link is for; with the end user, everything that Kombo bakes into it."""

    category: str
    language: str
    tool: str | None = None
    options: LinkOptions = LinkOptions()


@dataclass(frozen=True, slots=True)
class RelinkRequest:
    """What a reconnection link is for: new credentials for an existing integration."""

    integration_id: str
    language: str
    scope_config_id: str | None = None


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """What a setup link is for: the remaining setup steps of an existing integration."""

    integration_id: str
    language: str


AnyLinkRequest = LinkRequest | RelinkRequest | SetupRequest


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Whose link, and for what: two requests share a link only if all of this is equal.

    ``account`` is a keyed hash that identifies the Kombo account: the API's URL and the API key.
    """

    environment: str
    end_user: EndUser
    request: AnyLinkRequest
    account: str = ""

    @property
    def email(self) -> str:
        """Return the end user's email."""
        return self.end_user.email

    @property
    def origin_id(self) -> str:
        """Return the end user's origin id."""
        return self.end_user.origin_id


@dataclass(frozen=True, slots=True)
class ConnectionLink:
    """A short-lived EMBEDDED link. It is a credential, so its ``repr`` leaves it out.

    Attributes:
        body: The response body that the browser gets, JSON. Caches store it as it is. While the link was only
            prefetched, it ends with the row of the minted link.
        deadline: When the link expires, in seconds on the process's monotonic clock. It decides about expiry,
            because the wall clock, on which ``expires_at`` in the body stands, may be set back.
    """

    body: bytes = field(repr=False)
    deadline: float

    @classmethod
    def minted(
        cls, link: str, *, expires_at: datetime, deadline: float, prefetched_row_id: int | None = None
    ) -> ConnectionLink:
        """Return the link that Kombo minted. Both times count from before the request to Kombo was sent.

        ``prefetched_row_id`` is the row of a link that was minted before a click.
        """
        content = {"link": link, "expires_at": rfc3339(expires_at)}
        body = ENCODER.encode(content).encode()
        if prefetched_row_id is not None:
            body = body[:-1] + PREFETCHED + b"%d}" % prefetched_row_id
        return cls(body, deadline)

    @property
    def prefetched_row_id(self) -> int | None:
        """Return the row of a link that was only prefetched; None if it was minted for a click."""
        if self.body.endswith(b'"}'):  # after a time: the usual case, on the path of every cached link
            return None
        _, marker, rest = self.body.rpartition(PREFETCHED)
        return int(rest[:-1]) if marker else None

    def handed_out(self) -> ConnectionLink:
        """Return the link as the browser gets it."""
        if self.prefetched_row_id is None:
            return self
        return replace(self, body=self.body.rpartition(PREFETCHED)[0] + b"}")

    @property
    def link(self) -> str:
        """Return the URL."""
        return str(json.loads(self.body)["link"])

    @property
    def expires_at(self) -> datetime:
        """Return when the link expires, on the wall clock of the process that minted it."""
        return datetime.fromisoformat(json.loads(self.body)["expires_at"])


class CacheStatus(StrEnum):
    """What the link cache did for a request, in the terms of RFC 9211."""

    HIT = "hit"
    STORED = "stored"
    COLLAPSED = "collapsed"
    PASSED = "passed"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """A link for the browser, what the cache did for it, and how long it is still valid."""

    link: ConnectionLink
    cache_status: CacheStatus
    remaining_seconds: float
