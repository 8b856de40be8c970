"""Errors as problems (RFC 9457): the one table from our errors to HTTP statuses."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from kombo_embed import errors
from kombo_embed.web.responses import HEADERS, EmbedResponse, encode_json
from kombo_embed.web.schemas import serialize_integration

logger = logging.getLogger("kombo_embed.web")

MEDIA_TYPE = "application/problem+json"
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
    "unauthenticated": "Not signed in",
    "forbidden": "Not allowed",
    "cross_origin": "Cross-origin request refused",
    "identity_error": "The signed-in user could not be determined",
    "identity_unavailable": "The sign-in cannot be verified at the moment",
    "invalid_request": "Invalid request",
    "body_too_slow": "Request body too slow",
    "not_found": "Not found",
    "method_not_allowed": "Method not allowed",
    "integration_not_found": "Integration not found",
    "already_connected": "Tool already connected",
    "setup_not_available": "No setup step available",
    "activation_rejected": "Activation token rejected",
    "rate_limited": "Too many requests",
    "webhook_rejected": "Webhook signature rejected",
    "webhooks_not_configured": "Webhooks not configured",
    "store_unavailable": "Database unavailable",
    "kombo_rate_limited": "Kombo's request limit reached",
    "kombo_unavailable": "Kombo unavailable",
    "kombo_timeout": "Kombo timed out",
    "kombo_rejected": "Kombo rejected the request",
    "kombo_invalid_response": "Invalid response from Kombo",
    "configuration": "Server not configured",
    "refused": "Refused",
}
# Pages show the detail to end users. Where an error's message is for the operator, who finds it in the log,
# they get this text instead: it says what they can do.
TRY_AGAIN = "This does not work at the moment. Please try again in a few minutes."
CONTACT_SUPPORT = "This does not work at the moment. Please contact support."
PUBLIC_DETAILS = {
    "identity_error": CONTACT_SUPPORT,
    "identity_unavailable": TRY_AGAIN,
    "store_unavailable": TRY_AGAIN,
    "rate_limited": "Too many attempts. Please try again in a few minutes.",
    "activation_rejected": "The connection could not be confirmed. Please try again.",
    "kombo_rate_limited": TRY_AGAIN,
    "kombo_unavailable": TRY_AGAIN,
    "kombo_timeout": TRY_AGAIN,
    "kombo_rejected": CONTACT_SUPPORT,
    "kombo_invalid_response": CONTACT_SUPPORT,
    "configuration": CONTACT_SUPPORT,
}
# A host's HTTPException cannot set these: its problem has them from us, as every problem.
RESERVED_HEADERS = {"content-type", "content-length", "transfer-encoding", *map(str.lower, HEADERS)}
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, 5.5


def problem_response(error: errors.KomboEmbedError) -> Response:
    """Return the problem for one of our errors, with its stable ``code``."""
    detail = PUBLIC_DETAILS.get(error.code, str(error))
    if isinstance(error, errors.KomboInvalidResponse):
        logger.warning("kombo.invalid_response", extra={"reason": str(error)})
    return _response(
        STATUSES[type(error)], error.code, detail, members=_members(error), headers=_headers(error)
    )


def host_problem_response(error: HTTPException) -> Response:
    """Return an ``HTTPException`` that the host raised, as a problem of the same status."""
    codes = {401: "unauthenticated", 403: "forbidden"}
    code = "identity_error" if error.status_code >= 500 else codes.get(error.status_code, "refused")  # noqa: PLR2004 - where server errors begin
    given = ((str(name), str(value)) for name, value in (error.headers or {}).items())
    headers = {name: value for name, value in given if _is_allowed_header(name, value)}
    return _response(error.status_code, code, _host_detail(error.detail), members={}, headers=headers)


def route_not_found() -> errors.RouteNotFound:
    """Return the error for a path that does not exist."""
    return errors.RouteNotFound("This path does not exist; openapi.json lists those that do.")


def method_not_allowed(allowed: Iterable[str]) -> errors.MethodNotAllowed:
    """Return the error for a path that has only these methods."""
    methods = tuple(sorted(allowed))
    return errors.MethodNotAllowed(f"This path allows only {', '.join(methods)}.", allowed=methods)


def _members(error: errors.KomboEmbedError) -> dict[str, Any]:
    match error:
        case errors.InvalidRequest(errors=fields):
            return {"errors": [{"field": item.field, "reason": item.reason} for item in fields]}
        case errors.AlreadyConnected(integration=integration):
            return {"integration": serialize_integration(integration)}
        case errors.KomboRejected(kombo_code=str() as kombo_code):
            return {"kombo_code": kombo_code}
    return {}


def _headers(error: errors.KomboEmbedError) -> dict[str, str]:
    match error:
        case errors.Unauthenticated(challenge=str() as challenge):
            return {"WWW-Authenticate": challenge}
        case errors.MethodNotAllowed(allowed=allowed):
            return {"Allow": ", ".join(allowed)}
        case errors.RetryLater(retry_after=seconds):
            return {"Retry-After": str(seconds)}
    return {}


def _host_detail(detail: object) -> str:
    """Return a detail as text: FastAPI's ``HTTPException`` accepts any object, which becomes JSON here."""
    if isinstance(detail, str):
        return detail
    try:
        return json.dumps(detail, ensure_ascii=False)
    except (TypeError, ValueError):
        return "The application refused the request with a reason that is not JSON."


def _is_allowed_header(name: str, value: str) -> bool:
    is_valid = TOKEN.fullmatch(name) is not None and FIELD_VALUE.fullmatch(value) is not None
    return is_valid and name.lower() not in RESERVED_HEADERS


def _response(
    status: int, code: str, detail: str, *, members: dict[str, Any], headers: dict[str, str]
) -> Response:
    content = {
        "type": f"urn:kombo-embed:problem:{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    body = encode_json(content)
    return EmbedResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)
