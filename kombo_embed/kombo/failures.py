"""What an answer other than 200 means: Kombo's error codes as our errors. No I/O.

Source: docs.kombo.dev/guides/errors.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel, ValidationError

from kombo_embed.errors import (
    KomboError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboRejected,
    KomboUnavailable,
)

RATE_LIMITED = {"PLATFORM.RATE_LIMIT_EXCEEDED", "PLATFORM.CONCURRENCY_LIMIT_EXCEEDED"}
SERVICE_UNAVAILABLE = "REMOTE.SERVICE_UNAVAILABLE"
UNAVAILABLE = {SERVICE_UNAVAILABLE, "PLATFORM.TASK_TIMED_OUT"}
RETRYABLE = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
CREDENTIALS = {"PLATFORM.AUTHENTICATION_INVALID", "PLATFORM.IP_NOT_WHITELISTED"}
INPUT_INVALID = "PLATFORM.INPUT_INVALID"
NOT_FOUND = "PLATFORM.INTEGRATION_NOT_FOUND"

CODE = re.compile(r"[A-Z0-9_.]{1,80}")
RETRY_AFTER_DEFAULT = 5  # seconds; Kombo documents none
RETRY_AFTER_MAX = 3600  # seconds


class _ErrorData(BaseModel):
    code: str | None = None


class _ErrorAnswer(BaseModel):
    error: _ErrorData


def read_error(status: int, retry_after: str | None, body: bytes, *, now: datetime) -> KomboError:
    """What an answer other than 200 means: by Kombo's code, by the status only where there is no code.

    Kombo says that its statuses may change and its codes do not (docs.kombo.dev/guides/errors). Its message
    is for people and can hold anything, so it is not passed on.
    """
    code = _read_code(body)
    told = read_retry_after(retry_after, now=now)
    wait = RETRY_AFTER_DEFAULT if told is None else told
    if code in RATE_LIMITED or (code is None and status == HTTPStatus.TOO_MANY_REQUESTS):
        return KomboRateLimited("Kombo asks for fewer requests.", retry_after=wait, told=told is not None)
    if code in UNAVAILABLE or (code is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return KomboUnavailable(
            f"Kombo is not available (status {status}).",
            retry_after=wait,
            told=told is not None,
            may_retry=code == SERVICE_UNAVAILABLE if code else status in RETRYABLE,
        )
    if code is None and status < HTTPStatus.BAD_REQUEST:
        return KomboInvalidResponse(f"Kombo answered with status {status}, which it does not document.")
    if code in CREDENTIALS or (code is None and status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}):
        message = "Kombo refused the API key, or this server's address. Check KOMBO_API_KEY and KOMBO_REGION."
        return KomboRejected(message, kombo_code=code, cause="credentials")
    cause: Literal["request", "other"] = "request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "other"
    return KomboRejected(f"Kombo refused the request ({code or status}).", kombo_code=code, cause=cause)


def read_retry_after(value: str | None, *, now: datetime) -> int | None:
    """Seconds to wait, from a ``Retry-After`` of either form (RFC 9110, 10.2.3), within 1 s and an hour.

    None where there is none, or none that can be read.
    """
    if value is None:
        return None
    try:
        seconds = int(value)
    except ValueError:
        try:
            seconds = round((parsedate_to_datetime(value) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    return max(1, min(seconds, RETRY_AFTER_MAX))


def _read_code(body: bytes) -> str | None:
    try:
        code = _ErrorAnswer.model_validate_json(body).error.code
    except ValidationError:
        return None
    return code if code is not None and CODE.fullmatch(code) else None
