"""Everything that can go wrong, as one tree.

KomboEmbedError
├── ConfigurationError            a setting is missing or wrong: the start stops
├── Unauthenticated               nobody is signed in
├── Forbidden                     signed in, but may not do this
├── CrossOriginRefused            a browser calls from an origin that is not allowed
├── IdentityError                 the host's identity callable failed or gave half an identity
├── IdentityUnavailable           the issuer of the tokens cannot be reached, and was never before
├── InvalidRequest                the request's fields are wrong
│   ├── MalformedBody             its body is not JSON
│   ├── BodyTooLarge              its body is larger than anything we read
│   ├── BodyTooSlow               its body did not arrive in time
│   └── UnsupportedMediaType      its body does not say that it is JSON
├── RouteNotFound                 there is no such path here
│   └── BrowserModuleMissing      the browser module was not built into this installation
├── MethodNotAllowed              the path exists, the method does not
├── IntegrationNotFound           no such integration, or not this end user's
├── AlreadyConnected              this origin id has this tool in this category
├── SetupNotAvailable             Kombo has no setup step for this integration
├── ActivationRejected            the activation token is unknown, expired or somebody else's
├── RateLimited                   this end user asks too often
├── WebhookRejected               the webhook's signature is missing or wrong
├── WebhooksNotConfigured         no webhook secret is set
├── StoreUnavailable              the database is out of reach
└── KomboError                    Kombo, or the way to it
    ├── KomboRateLimited          Kombo says: not so often
    ├── KomboUnavailable          Kombo cannot be reached, or is down
    ├── KomboTimeout              the deadline passed
    ├── KomboRejected             Kombo refused
    └── KomboInvalidResponse      Kombo's answer cannot be read

Each class has a stable ``code`` for programs. None knows an HTTP status: `kombo_embed.web.problems` does.
Messages name the cause and the remedy, and never hold a link, a token, a key or an email.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from kombo_embed.integration import Integration


class KomboEmbedError(Exception):
    """The root of the tree: catch it to catch all of ours."""

    code: ClassVar[str] = "error"


class ConfigurationError(KomboEmbedError):
    """A setting is missing or wrong. The message names every variable at fault."""

    code = "configuration"


class Unauthenticated(KomboEmbedError):
    """Nobody is signed in, or what should prove it does not.

    ``challenge`` is what the answer's ``WWW-Authenticate`` says (RFC 9110, 11.6.1), where there is a scheme
    to sign in with. The message is one for every cause, so that nobody learns from the difference.
    """

    code = "unauthenticated"

    def __init__(self, message: str = "Sign in first.", *, challenge: str | None = None) -> None:
        super().__init__(message)
        self.challenge = challenge


class Forbidden(KomboEmbedError):
    """Somebody is signed in who may not do this."""

    code = "forbidden"


class CrossOriginRefused(KomboEmbedError):
    """A browser's request came from an origin that is not allowed."""

    code = "cross_origin"


class IdentityError(KomboEmbedError):
    """The host's identity callable failed, or gave something that is no whole end user.

    It is the host's bug, so the message is for the host's log and is never sent to a browser.
    """

    code = "identity_error"


class IdentityUnavailable(KomboEmbedError):
    """Tokens cannot be verified: the issuer's keys are not known yet, and cannot be had.

    The message is for the operator. ``retry_after`` is in seconds.
    """

    code = "identity_unavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request: which field (``body`` for the whole), and why."""

    field: str
    reason: str


class InvalidRequest(KomboEmbedError):
    """The request cannot be used. ``errors`` names each field at fault, with the reason."""

    code = "invalid_request"

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message)
        self.errors = errors


class MalformedBody(InvalidRequest):
    """The body is not a JSON object."""


class BodyTooLarge(InvalidRequest):
    """The body is larger than anything that this endpoint reads."""


class BodyTooSlow(InvalidRequest):
    """The body did not arrive in time."""


class UnsupportedMediaType(InvalidRequest):
    """The body's content type is not ``application/json``."""


class RouteNotFound(KomboEmbedError):
    """There is no such path below the mount path."""

    code = "not_found"


class BrowserModuleMissing(RouteNotFound):
    """This installation was built without npm, and so without the browser module."""


class MethodNotAllowed(KomboEmbedError):
    """The path exists, but not for this method. ``allowed`` has those that it does know."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class IntegrationNotFound(KomboEmbedError):
    """There is no such integration, or it is another origin id's: one error for both."""

    code = "integration_not_found"


class AlreadyConnected(KomboEmbedError):
    """This origin id has this tool in this category already: ``integration``, which can be reconnected."""

    code = "already_connected"

    def __init__(self, message: str, *, integration: Integration) -> None:
        super().__init__(message)
        self.integration = integration


class SetupNotAvailable(KomboEmbedError):
    """Kombo has no setup step for this integration."""

    code = "setup_not_available"


class ActivationRejected(KomboEmbedError):
    """The activation token cannot be used by this end user.

    Unknown, expired, used up or another organisation's: one error for all of them, so that nobody learns
    from the difference.
    """

    code = "activation_rejected"


class RateLimited(KomboEmbedError):
    """This end user asks too often (``KOMBO_LINK_RATE``, ``KOMBO_COMPLETION_RATE``).

    ``retry_after`` is in whole seconds, at least 1.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WebhookRejected(KomboEmbedError):
    """The webhook's signature is missing or wrong."""

    code = "webhook_rejected"


class WebhooksNotConfigured(KomboEmbedError):
    """A webhook came, but there is no secret to verify it with: nothing is believed."""

    code = "webhooks_not_configured"


class StoreUnavailable(KomboEmbedError):
    """The database cannot be used at the moment. Asking again later is right.

    ``retry_after`` is in seconds; ``retryable`` is whether asking again at once may help.
    """

    code = "store_unavailable"

    def __init__(self, message: str, *, retry_after: int = 5, retryable: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.retryable = retryable


class KomboError(KomboEmbedError):
    """Kombo, or the way to it, failed."""


class KomboRateLimited(KomboError):
    """Kombo's request limit is reached.

    ``retry_after`` is in seconds; ``told`` is whether Kombo itself said so.
    """

    code = "kombo_rate_limited"

    def __init__(self, message: str, *, retry_after: int, has_retry_after: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.has_retry_after = has_retry_after


class KomboUnavailable(KomboError):
    """Kombo cannot be reached, or says that it is down.

    ``retry_after`` is in seconds; ``told`` is whether Kombo itself said so; ``retryable`` is whether asking
    again at once is safe; ``tried`` is whether this call was sent, or was held back since others had failed.
    """

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
        super().__init__(message)
        self.retry_after = retry_after
        self.has_retry_after = has_retry_after
        self.retryable = retryable
        self.sent = sent


class KomboTimeout(KomboError):
    """Kombo did not answer before the deadline (``KOMBO_TIMEOUT``)."""

    code = "kombo_timeout"


class KomboRejected(KomboError):
    """Kombo understood the request and refused it.

    Attributes:
        kombo_code: Kombo's own code, where it gave one; open-ended.
        cause: ``credentials`` (bad key, blocked address), ``request`` (what was asked for) or ``other``.
    """

    code = "kombo_rejected"

    def __init__(
        self, message: str, *, kombo_code: str | None, cause: Literal["credentials", "request", "other"]
    ) -> None:
        super().__init__(message)
        self.kombo_code = kombo_code
        self.cause = cause


class KomboInvalidResponse(KomboError):
    """Kombo's answer cannot be read, or holds no link that may be given to a browser."""

    code = "kombo_invalid_response"
