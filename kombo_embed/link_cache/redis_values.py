"""The values in Redis: serialized and parsed.

Anyone with write access to Redis may have written what is parsed here. So all of it is untrusted, and what
does not match its schema is rejected: the functions return None.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kombo_embed import errors
from kombo_embed.models import ConnectionLink
from kombo_embed.ports import Clock, CoolDown
from kombo_embed.urls import LINK_MAX_LENGTH, is_safe_link

logger = logging.getLogger("kombo_embed.link_cache")

CLOCK_DIFFERENCE_MS = 600_000  # that the clocks of two machines may have
RETRY_AFTER_MAX_SECONDS = 3600
CAUSES = {b"limited": True, b"unavailable": False}  # whether it is Kombo's rate limit
QUIET_SECONDS = 60.0  # between two log records about one kind of rejected value
EPOCH_BYTES = 8
EPOCH = re.compile(rb"[0-9a-f]{%d}" % (2 * EPOCH_BYTES))
ROW_ID = re.compile(rb"[0-9]{1,18}")
COMMAND = re.compile(rb"[a-z|]{1,40}")
REJECTED_KINDS = frozenset((b"link", b"generation", b"lease", b"failure", b"cool_down"))

RETRY = ("retry_after", "has_retry_after")
# The failures of a mint that concern every process that waits for it, with their attributes.
FAILURES: dict[type[errors.KomboEmbedError], tuple[str, ...]] = {
    errors.KomboRateLimited: RETRY,
    errors.KomboUnavailable: (*RETRY, "retryable", "sent"),
    errors.KomboTimeout: (),
    errors.KomboRejected: ("kombo_code", "cause"),
    errors.KomboInvalidResponse: (),
    errors.IntegrationNotFound: (),
    errors.RateLimited: RETRY,
    errors.StoreUnavailable: ("retry_after", "retryable"),
}
KINDS: dict[str, Callable[..., errors.KomboEmbedError]] = {kind.__name__: kind for kind in FAILURES}


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose values these are: the Kombo account, by its hash and its API's URL, and the environment."""

    account: str
    environment: str
    api_url: str


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Link(_Value):
    link: Annotated[str, Field(max_length=LINK_MAX_LENGTH)]
    minted_at: Annotated[int, Field(ge=0, lt=2**53)]  # milliseconds since the epoch
    prefetched_row_id: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class _Attributes(_Value):
    retry_after: Annotated[int, Field(ge=0, le=RETRY_AFTER_MAX_SECONDS)] = 1
    has_retry_after: bool = False
    retryable: bool = False
    sent: bool = False
    kombo_code: Annotated[str, Field(pattern=r"^[A-Z0-9_.]{1,80}\z")] | None = None
    cause: Literal["credentials", "request", "other"] = "other"


class _Failure(_Value):
    kind: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=200)]
    attributes: _Attributes


def serialize_link(link: ConnectionLink, *, lifetime_ms: int) -> bytes:
    """Return a link's content, with the time when it was minted."""
    content = {"link": link.link, "minted_at": round(link.expires_at.timestamp()) * 1000 - lifetime_ms}
    if link.prefetched_row_id is not None:  # earlier versions reject the field, and mint such a link again
        content["prefetched_row_id"] = link.prefetched_row_id
    return json.dumps(content).encode()


def parse_link(
    content: bytes, *, api_url: str, left_ms: int, lifetime_ms: int, now: float, now_monotonic: float
) -> ConnectionLink | None:
    """Return the link if it may be issued, until ``left_ms`` have passed or its own lifetime has.

    ``left_ms`` is negative if it does not expire in Redis, which is rejected.
    """
    try:
        stored = _Link.model_validate_json(content)
    except ValidationError:
        return None
    age_ms = now * 1000 - stored.minted_at
    if (
        not -CLOCK_DIFFERENCE_MS <= age_ms < lifetime_ms
        or left_ms < 0
        or not is_safe_link(stored.link, api_url=api_url)
    ):
        return None
    expires_at = datetime.fromtimestamp((stored.minted_at + lifetime_ms) / 1000, UTC)
    deadline = now_monotonic + min(left_ms, lifetime_ms, lifetime_ms - age_ms) / 1000
    return ConnectionLink.minted(
        stored.link, expires_at=expires_at, deadline=deadline, prefetched_row_id=stored.prefetched_row_id
    )


def serialize_failure(error: BaseException) -> bytes:
    """Return the failure for waiting processes, or ``b""`` if they should mint themselves."""
    if not isinstance(error, errors.KomboEmbedError) or type(error) not in FAILURES:
        return b""
    attributes = {name: getattr(error, name) for name in FAILURES[type(error)]}
    if "retry_after" in attributes:
        attributes["retry_after"] = min(attributes["retry_after"], RETRY_AFTER_MAX_SECONDS)
    failure = {"kind": type(error).__name__, "message": str(error)[:200], "attributes": attributes}
    return json.dumps(failure).encode()


def parse_failure(value: bytes) -> errors.KomboEmbedError | None:
    """Return the failure that another process serialized."""
    try:
        failure = _Failure.model_validate_json(value)
        kind = KINDS[failure.kind]
        return kind(failure.message, **failure.attributes.model_dump(exclude_unset=True))
    except (ValidationError, KeyError, TypeError):
        return None


def serialize_cool_down(cool_down: CoolDown) -> tuple[bytes, int]:
    """Return the cause and the duration in milliseconds."""
    cause = next(cause for cause, is_limit in CAUSES.items() if is_limit == cool_down.rate_limited)
    return cause, max(1, min(math.ceil(cool_down.seconds * 1000), RETRY_AFTER_MAX_SECONDS * 1000))


def parse_cool_down(cause: bytes, left_ms: int) -> CoolDown | None:
    """Return the cool-down."""
    if cause not in CAUSES or not 0 <= left_ms <= RETRY_AFTER_MAX_SECONDS * 1000:
        return None
    return CoolDown(left_ms / 1000, rate_limited=CAUSES[cause])


def parse_cool_down_error(cause: bytes, left_ms: int) -> errors.KomboEmbedError | None:
    """Return the error that a cool-down means for a mint."""
    cool_down = parse_cool_down(cause, left_ms)
    if cool_down is None:
        return None
    kind = errors.KomboRateLimited if cool_down.rate_limited else errors.KomboUnavailable
    return kind("Kombo asked for a pause.", retry_after=max(1, math.ceil(cool_down.seconds)))


def parse_position(reply: object) -> tuple[bytes, int] | None:
    """Return the epoch and the row up to which invalidations were applied."""
    match reply:
        case [bytes(epoch), bytes(row_id)] if EPOCH.fullmatch(epoch) and ROW_ID.fullmatch(row_id):
            return epoch, int(row_id)
    return None


def parse_commands(reply: object) -> list[str] | None:
    """Return a list of commands; None if the reply is none."""
    if not isinstance(reply, list) or not all(isinstance(command, bytes) for command in reply):
        return None
    return [command.decode() for command in reply if COMMAND.fullmatch(command)]


class RejectionLog:
    """Logs which kinds of values were rejected, without their content, each at most once a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logged_at: dict[bytes, float] = {}

    def log(self, *kinds: bytes) -> None:
        """Log the kinds of rejected values; others than ours are ignored."""
        now = self._clock.monotonic()
        for kind in REJECTED_KINDS.intersection(kinds):
            if now - self._logged_at.get(kind, -math.inf) >= QUIET_SECONDS:
                self._logged_at[kind] = now
                logger.warning("redis.value_rejected", extra={"kind": kind.decode()})
