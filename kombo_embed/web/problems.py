"""Errors as RFC 9457 problems: the one table from our errors to HTTP statuses."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from kombo_embed import errors
from kombo_embed.web.responses import HEADERS, encoded
from kombo_embed.web.shown import show

STATUSES: dict[type[errors.KomboEmbedError], int] = {
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.CrossOriginRefused: 403,
    errors.IdentityError: 500,
    errors.IdentityUnavailable: 503,
    errors.InvalidRequest: 422,
    errors.MalformedBody: 400,
    errors.BodyTooLarge: 413,
    errors.BodyTooSlow: 408,
    errors.UnsupportedMediaType: 415,
    errors.RouteNotFound: 404,
    errors.BrowserModuleMissing: 404,
    errors.MethodNotAllowed: 405,
    errors.IntegrationNotFound: 404,
    errors.AlreadyConnected: 409,
    errors.SetupNotAvailable: 409,
    errors.ActivationRejected: 422,
    errors.RateLimited: 429,
    errors.WebhookRejected: 401,
    errors.WebhooksNotConfigured: 503,
    errors.StoreUnavailable: 503,
    errors.KomboRateLimited: 503,
    errors.KomboUnavailable: 503,
    errors.KomboTimeout: 504,
    errors.KomboRejected: 502,
    errors.KomboInvalidResponse: 502,
    errors.ConfigurationError: 500,
}
TITLES = {
    "unauthenticated": "Nobody is signed in",
    "forbidden": "Not allowed",
    "cross_origin": "Cross-origin request refused",
    "identity_error": "The signed-in user could not be told",
    "identity_unavailable": "Who is signed in cannot be verified at the moment",
    "invalid_request": "The request cannot be used",
    "not_found": "Not found",
    "method_not_allowed": "Method not allowed",
    "integration_not_found": "There is no such integration",
    "already_connected": "This tool is connected already",
    "setup_not_available": "Nothing is left to set up",
    "activation_rejected": "The activation token was not accepted",
    "rate_limited": "Too many requests",
    "webhook_rejected": "The webhook's signature is wrong",
    "webhooks_not_configured": "Webhooks are not set up",
    "store_unavailable": "The database is out of reach",
    "kombo_rate_limited": "Kombo asks for fewer requests",
    "kombo_unavailable": "Kombo is not available",
    "kombo_timeout": "Kombo did not answer in time",
    "kombo_rejected": "Kombo refused the request",
    "kombo_invalid_response": "Kombo's answer cannot be used",
    "configuration": "The server is not set up",
    "refused": "Refused",
}
# A host's problem carries these as all of ours do.
OURS = {"content-type", "content-length", "transfer-encoding", *(name.lower() for name in HEADERS)}
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, 5.5
# What these say is for the operator, and is in the log.
INTERNAL = {
    "identity_error": "The application could not tell who is signed in. Its log names the cause.",
    "identity_unavailable": "The issuer of the tokens is out of reach. Try again later.",
    "store_unavailable": "This cannot be read or stored at the moment. Please try again in a few seconds.",
    "kombo_rejected": "Kombo refused what the application asked for. The application's log names the cause.",
    "configuration": "The application's settings are missing or wrong. Its log names them.",
}


def problem(error: errors.KomboEmbedError) -> Response:
    """The answer that tells of an error, with its stable ``code``."""
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case errors.InvalidRequest(errors=fields):
            members["errors"] = [{"field": item.field, "reason": item.reason} for item in fields]
        case errors.AlreadyConnected(integration=integration):
            members["integration"] = show(integration)
        case errors.KomboRejected(kombo_code=str() as kombo_code):
            members["kombo_code"] = kombo_code
        case errors.Unauthenticated(challenge=str() as challenge):
            headers["WWW-Authenticate"] = challenge
        case errors.MethodNotAllowed(allowed=allowed):
            headers["Allow"] = ", ".join(allowed)
        case (
            errors.RateLimited(retry_after=seconds)
            | errors.IdentityUnavailable(retry_after=seconds)
            | errors.StoreUnavailable(retry_after=seconds)
            | errors.KomboRateLimited(retry_after=seconds)
            | errors.KomboUnavailable(retry_after=seconds)
        ):
            headers["Retry-After"] = str(seconds)
    detail = INTERNAL.get(error.code, str(error))
    return _problem(STATUSES[type(error)], error.code, detail, members, headers)


def problem_of_host(error: HTTPException) -> Response:
    """The answer that the host asked for by raising an ``HTTPException``, as a problem of that status."""
    codes = {401: "unauthenticated", 403: "forbidden"}
    code = "identity_error" if error.status_code >= 500 else codes.get(error.status_code, "refused")  # noqa: PLR2004 - where server errors begin
    given = ((str(name), str(value)) for name, value in (error.headers or {}).items())
    headers = {name: value for name, value in given if name.lower() not in OURS and _can_be_sent(name, value)}
    return _problem(error.status_code, code, _detail_of_host(error.detail), {}, headers)


def _detail_of_host(detail: object) -> str:
    """FastAPI's ``HTTPException`` takes anything as its detail; a problem's is text, so this is JSON then."""
    if isinstance(detail, str):
        return detail
    try:
        return json.dumps(detail, ensure_ascii=False)
    except (TypeError, ValueError):
        return "The application gave no reason that can be told."


def _can_be_sent(name: str, value: str) -> bool:
    return TOKEN.fullmatch(name) is not None and FIELD_VALUE.fullmatch(value) is not None


def _problem(
    status: int, code: str, detail: str, members: dict[str, Any], headers: dict[str, str]
) -> Response:
    body = {
        "type": f"urn:kombo-embed:problem:{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    return Response(
        encoded(body),
        status_code=status,
        headers={**headers, **HEADERS},
        media_type="application/problem+json",
    )
