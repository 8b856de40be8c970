"""The error tree.

KomboEmbedError
├── ConfigurationError
├── Unauthenticated · Forbidden · CrossOriginRefused · IdentityError · IdentityUnavailable
├── InvalidRequest ── MalformedBody · BodyTooLarge · BodyTooSlow · UnsupportedMediaType
├── RouteNotFound ── BrowserModuleMissing
├── MethodNotAllowed · RateLimited
├── IntegrationNotFound · AlreadyConnected · SetupNotAvailable · ActivationRejected
├── WebhookRejected · WebhooksNotConfigured · StoreUnavailable
└── KomboError ── KomboRateLimited · KomboUnavailable · KomboTimeout · KomboRejected · KomboInvalidResponse

Each class has a stable ``code``. Messages name the cause and the remedy, never a link, token, key or email.
`kombo_embed.web.problems` maps the classes to HTTP statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kombo_embed.integration import Integration

Cause = Literal["credentials", "request", "other"]


class KomboEmbedError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "error"


class RetryLater(KomboEmbedError):
    """An error that passes: the same call may succeed after ``retry_after`` seconds.

    ``has_retry_after``: Kombo itself sent that number. ``retryable``: an immediate retry is safe.
    """

    def __init__(
        self, message: str, *, retry_after: int = 5, has_retry_after: bool = False, retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.has_retry_after = has_retry_after
        self.retryable = retryable


class ConfigurationError(KomboEmbedError):
    """A setting is missing or invalid. The message names every variable at fault."""

    code = "configuration"


class Unauthenticated(KomboEmbedError):
    """Not signed in, or invalid credentials: one message for all. ``challenge``: RFC 9110, 11.6.1."""

    code = "unauthenticated"

    def __init__(self, *, challenge: str | None = None) -> None:
        super().__init__("Sign in first.")
        self.challenge = challenge


class Forbidden(KomboEmbedError):
    """The end user is signed in but not allowed to do this."""

    code = "forbidden"


class CrossOriginRefused(KomboEmbedError):
    """A browser's request came from an origin that is not allowed."""

    code = "cross_origin"


class IdentityError(KomboEmbedError):
    """The host's identity callable failed or returned an incomplete end user; for the log only."""

    code = "identity_error"


class IdentityUnavailable(RetryLater):
    """Tokens cannot be verified: the issuer's keys are not known yet and cannot be fetched."""

    code = "identity_unavailable"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field of a request (``body`` for the whole body), and the reason."""

    field: str
    reason: str


class InvalidRequest(KomboEmbedError):
    """The request is invalid. ``errors`` names each field at fault, with the reason."""

    code = "invalid_request"

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message)
        self.errors = errors


class MalformedBody(InvalidRequest):
    """The body is not a JSON object."""


class BodyTooLarge(InvalidRequest):
    """The body exceeds the limit of this endpoint."""


class BodyTooSlow(InvalidRequest):
    """The body did not arrive in time."""

    code = "body_too_slow"


class UnsupportedMediaType(InvalidRequest):
    """The body's content type is not ``application/json``."""


class RouteNotFound(KomboEmbedError):
    """The path does not exist below the mount path."""

    code = "not_found"


class BrowserModuleMissing(RouteNotFound):
    """This installation was built without npm, and so without the browser module."""


class MethodNotAllowed(KomboEmbedError):
    """The path does not accept the method. ``allowed`` lists those that it accepts."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class IntegrationNotFound(KomboEmbedError):
    """The integration does not exist, or is another origin id's; the two cases are not distinguished."""

    code = "integration_not_found"


class AlreadyConnected(KomboEmbedError):
    """This origin id already has this tool in this category: ``integration``."""

    code = "already_connected"

    def __init__(self, message: str, *, integration: Integration) -> None:
        super().__init__(message)
        self.integration = integration


class SetupNotAvailable(KomboEmbedError):
    """Kombo has no setup step for this integration."""

    code = "setup_not_available"


class ActivationRejected(KomboEmbedError):
    """This end user cannot use the activation token; unknown, expired and foreign ones look the same."""

    code = "activation_rejected"


class RateLimited(RetryLater):
    """This end user exceeds a rate limit (``KOMBO_LINK_RATE``, ``KOMBO_COMPLETION_RATE``)."""

    code = "rate_limited"


class WebhookRejected(KomboEmbedError):
    """The webhook's signature is missing or wrong."""

    code = "webhook_rejected"


class WebhooksNotConfigured(KomboEmbedError):
    """A webhook arrived, but no secret is set to verify it with."""

    code = "webhooks_not_configured"


class StoreUnavailable(RetryLater):
    """The database cannot be used at the moment."""

    code = "store_unavailable"


class KomboError(KomboEmbedError):
    """Kombo failed, or cannot be reached."""


class KomboRateLimited(KomboError, RetryLater):
    """Kombo's rate limit is reached."""

    code = "kombo_rate_limited"


class KomboUnavailable(KomboError, RetryLater):
    """Kombo cannot be reached, or reports that it is down. ``sent``: not rejected by the circuit breaker."""

    code = "kombo_unavailable"

    def __init__(
        self,
        message: str,
        *,
        retry_after: int,
        has_retry_after: bool = False,
        retryable: bool = True,
        sent: bool = True,
    ) -> None:
        super().__init__(
            message, retry_after=retry_after, has_retry_after=has_retry_after, retryable=retryable
        )
        self.sent = sent


class KomboTimeout(KomboError):
    """Kombo did not respond before the deadline (``KOMBO_TIMEOUT``)."""

    code = "kombo_timeout"


class KomboRejected(KomboError):
    """Kombo refused the request: its own code if it sent one (an open set), its status, the kind of cause."""

    code = "kombo_rejected"

    def __init__(
        self, message: str, *, kombo_code: str | None, cause: Cause, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.kombo_code = kombo_code
        self.cause = cause
        self.status = status


class KomboInvalidResponse(KomboError):
    """Kombo's response cannot be read, or contains no link that may be given to a browser."""

    code = "kombo_invalid_response"
