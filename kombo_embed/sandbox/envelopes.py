"""Kombo's two envelopes. Source: docs.kombo.dev/guides/errors and the published OpenAPI document."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from kombo_embed.sandbox.errors import (
    ActivationUnknown,
    InputInvalid,
    IntegrationUnknown,
    KeyRejected,
)

_NOT_FOUND = (404, "PLATFORM.INTEGRATION_NOT_FOUND", "The integration was not found.")
# What an unusable activation token is answered with, is documented nowhere.
_KINDS: dict[type[Exception], tuple[int, str, str]] = {
    InputInvalid: (400, "PLATFORM.INPUT_INVALID", "The request is not valid."),
    IntegrationUnknown: _NOT_FOUND,
    ActivationUnknown: _NOT_FOUND,
    KeyRejected: (401, "PLATFORM.AUTHENTICATION_INVALID", "The API key is not valid."),
}


def success(data: Mapping[str, object]) -> JSONResponse:
    """Answer 200, the only success there is."""
    return JSONResponse({"status": "success", "data": data})


def failure(
    status: int,
    message: str,
    *,
    code: str | None = None,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Answer an error with all four keys; only the message is never null."""
    error = {"code": code, "title": title, "message": message, "log_url": None}
    return JSONResponse({"status": "error", "error": error}, status, headers)


async def answer_error(_request: Request, error: Exception) -> JSONResponse:
    """Answer what went wrong in the API, as an exception handler."""
    if isinstance(error, HTTPException):
        return failure(error.status_code, error.detail, headers=error.headers)
    status, code, title = _KINDS.get(type(error), (500, "PLATFORM.UNKNOWN_ERROR", "Something went wrong."))
    return failure(status, str(error), code=code, title=title)
